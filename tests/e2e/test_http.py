"""The HTTP server against clients that get the protocol wrong, on purpose or not: raw sockets, nothing between the bytes and the server.

After each of them the server answers the next client as if nothing had been.
"""
import json
import re
import socket
import threading
import time

import pytest

from conftest import emails
from harness import Api, wait_until

LIMIT = 10 << 20


class Raw:
    """A connection that sends what it is told and reads what comes."""

    def __init__(self, server, timeout_s=20):
        host, port = server.url.rpartition("/")[2].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout_s)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def answer(self):
        """(status, headers, body) of the next response; None when the server closed without one."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        status = int(line.split()[1])
        headers = {}
        while (line := self.file.readline().rstrip(b"\r\n")):
            name, value = line.split(b":", 1)
            headers[name.decode().lower()] = value.strip().decode()
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def closed(self):
        """True when the server ends the connection (a reset is an end, too)."""
        try:
            return self.file.read(1) == b""
        except (ConnectionResetError, TimeoutError):
            return True

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def server(place):
    server = place.server(domain=None)
    place.people(server, emails(3, ["one.test"]))
    yield server
    assert Api(server.url).get("/healthz").status == 200


def head(server, method="POST", path="/v1/lists", body_headers="Content-Type: application/json\r\n", token=True):
    return "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s" % (method, path, "Authorization: Bearer %s\r\n" % server.api.token if token else "", body_headers)


def is_problem(answer, status):
    got, headers, body = answer
    assert got == status, answer
    assert headers["content-type"] == "application/problem+json", headers
    problem = json.loads(body)
    assert problem["status"] == status and problem["title"] and problem["detail"]
    return problem


def lists(server):
    return server.api.get("/v1/lists").json["total"]


# --- framing (RFC 9112 section 6.3) ----------------------------------------------------------------------------------

AMBIGUOUS = {
    "length and chunked": "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": "Transfer-Encoding: chunked\r\nContent-Length: 13\r\n",
    "two different lengths": "Content-Length: 13\r\nContent-Length: 3\r\n",
    "two equal lengths": "Content-Length: 13\r\nContent-Length: 13\r\n",
    "plus sign": "Content-Length: +13\r\n",
    "minus sign": "Content-Length: -13\r\n",
    "hexadecimal": "Content-Length: 0xd\r\n",
    "list of lengths": "Content-Length: 13, 13\r\n",
    "letters": "Content-Length: 13x\r\n",
    "no number": "Content-Length: many\r\n",
    "too large a number": "Content-Length: 99999999999999999999999\r\n",
    "unknown encoding": "Transfer-Encoding: gzip\r\n",
    "chunked is not the last": "Transfer-Encoding: chunked, gzip\r\n",
    "odd chunked": "Transfer-Encoding: xchunked\r\n",
}


@pytest.mark.sanitize
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_length_that_can_be_read_in_two_ways_is_refused(server, name):
    """What stands behind such a body must never be taken for a second request."""
    smuggled = head(server, "POST", "/v1/lists") + "Content-Length: 19\r\n\r\n" + '{"name":"smuggled"} '
    with Raw(server) as raw:
        try:
            raw.send(head(server) + AMBIGUOUS[name] + "\r\n" + '{"name":"one"}' + smuggled)
            data = raw.file.read()  # to the end of the connection
        except (BrokenPipeError, ConnectionResetError):
            data = b""
        statuses = set(re.findall(rb"HTTP/1\.1 (\d+)", data))
        assert statuses <= {b"400", b"413", b"501"}, (name, data)
    assert lists(server) == 1, name


@pytest.mark.sanitize
def test_chunked_bodies_are_bodies(server):
    with Raw(server) as raw:
        raw.send(head(server) + "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"name\":\r\n7\r\n\"split\"\r\n1\r\n}\r\n0\r\n\r\n")
        assert raw.answer()[0] == 201
        raw.send(head(server, "GET", "/v1/lists", "") + "\r\n")
        assert raw.answer()[0] == 200  # the connection goes on behind it


@pytest.mark.parametrize("chunk", ["-1\r\n{}\r\n", "zz\r\n{}\r\n", "fffffffffffffffff\r\n", "2\r\n{}XX0\r\n\r\n", "\r\n\r\n"])
def test_broken_chunks_end_the_connection(server, chunk):
    with Raw(server) as raw:
        raw.send(head(server) + "Transfer-Encoding: chunked\r\n\r\n" + chunk)
        raw.socket.shutdown(socket.SHUT_WR)
        answer = raw.answer()
        assert answer is None or answer[0] >= 400, answer
    assert lists(server) == 1


@pytest.mark.sanitize
def test_two_requests_in_one_write(server):
    with Raw(server) as raw:
        raw.send((head(server, "GET", "/v1/lists", "") + "\r\n") * 5)
        assert [raw.answer()[0] for _ in range(5)] == [200] * 5


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_a_declared_huge_body_is_refused_before_it_comes(server):
    with Raw(server) as raw:
        raw.send(head(server) + "Content-Length: 1000000000000\r\n\r\n")
        is_problem(raw.answer(), 413)
        assert raw.closed()


@pytest.mark.sanitize
def test_a_body_over_the_limit(server):
    body = b'{"name":"' + b"x" * LIMIT + b'"}'
    with Raw(server) as raw:
        raw.send(head(server) + "Content-Length: %d\r\n\r\n" % len(body)).send(body)
        is_problem(raw.answer(), 413)


def test_a_chunked_body_without_end_is_cut_off(server):
    """It never says how much is to come; it is not read for ever, and not kept in memory."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sent = 0
    with Raw(server) as raw:
        raw.send(head(server) + "Transfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 200 << 20:
                raw.send(chunk)
                sent += len(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 60 << 20
    with open("/proc/%d/status" % server.process.pid) as status:
        peak_kib = int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1))
    assert peak_kib < 600_000  # with room for a sanitizer


def test_heads_that_are_too_long(server):
    for lines in ("X-Long: " + "x" * 200_000 + "\r\n", "".join("X-%d: y\r\n" % n for n in range(20_000))):
        with Raw(server) as raw:
            try:
                raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n")
                answer = raw.answer()
            except (BrokenPipeError, ConnectionResetError):
                answer = None
            assert answer is None or answer[0] in (400, 413, 431), answer[0]
    with Raw(server) as raw:
        raw.send("GET /" + "a" * 5000 + " HTTP/1.1\r\nHost: x\r\n\r\n")
        is_problem(raw.answer(), 400)


def test_a_refusal_does_not_wait_for_a_body_that_waits_for_it(server):
    with Raw(server) as raw:
        raw.send(head(server, token=False) + "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        is_problem(raw.answer(), 401)
    with Raw(server) as raw:
        raw.send(head(server) + "Content-Length: 16\r\nExpect: 100-continue\r\n\r\n")
        assert raw.answer()[0] == 100
        raw.send('{"name":"later"}')
        assert raw.answer()[0] == 201


# --- time ------------------------------------------------------------------------------------------------------------


def test_slow_clients_do_not_hold_others_up(server):
    """Two hundred connections that have said half a head each; everybody else is served at once."""
    slow = [Raw(server) for _ in range(200)]
    try:
        for raw in slow:
            raw.send("GET /v1/lists HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        begin = time.monotonic()
        for _ in range(20):
            assert server.api.get("/v1/lists").status == 200
        assert time.monotonic() - begin < 5
    finally:
        for raw in slow:
            raw.close()


def test_a_head_that_drips_is_cut_off(server):
    """A byte now and then keeps no connection: the head has 30 s from its first byte, however lively it is."""
    with Raw(server, timeout_s=60) as raw:
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Drip: ")
        begin = time.monotonic()
        ended = threading.Event()

        def drip():
            while not ended.wait(0.5):
                try:
                    raw.socket.send(b"x")
                except OSError:
                    return

        worker = threading.Thread(target=drip)
        worker.start()
        try:
            assert raw.closed()
        finally:
            ended.set()
            worker.join()
        assert 20 < time.monotonic() - begin < 45


def test_one_address_cannot_take_every_connection(server):
    many = []
    try:
        for _ in range(300):
            many.append(Raw(server))
        alive = 0
        for raw in many:
            try:
                raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                alive += raw.answer() is not None
            except OSError:
                pass
        assert 100 < alive <= 256, alive
    finally:
        for raw in many:
            raw.close()
    wait_until(lambda: Api(server.url).get("/healthz").status == 200, 20, "connections to be free again")


# --- nonsense --------------------------------------------------------------------------------------------------------

NONSENSE = [
    b"\r\n\r\n", b"\x00\x01\x02\x03\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"EHLO mail.test\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /u/%2e%2e%2f%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: x\r\nCookie: y\r\n\r\n", b"A" * 70000,
]


@pytest.mark.sanitize
@pytest.mark.parametrize("number", range(len(NONSENSE)))
def test_nonsense(server, number):
    with Raw(server) as raw:
        try:
            raw.send(NONSENSE[number])
            raw.socket.shutdown(socket.SHUT_WR)
            answer = raw.answer()
        except OSError:
            answer = None
        # Line folding and a missing Host are forgiven by some; nothing else is a success.
        assert answer is None or answer[0] >= 300 or number in (3, 5, 7, 8), answer


@pytest.mark.sanitize
def test_clients_that_go_away(server):
    for data in ("GET /v1/li", head(server) + "Content-Length: 100\r\n\r\n{", head(server) + "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
                 head(server, "GET", "/v1/lists", "") + "\r\n", head(server, "POST", "/v1/lists/1/imports", "Content-Type: text/csv\r\n") +
                 "Content-Length: 1000000\r\n\r\nemail\nx@broken.test\n"):
        for _ in range(5):
            Raw(server).send(data).close()
    # An upload that breaks off imports nothing.
    assert server.api.get("/v1/recipients/x@broken.test").status == 404
    assert lists(server) == 1


@pytest.mark.sanitize
@pytest.mark.parametrize("depth, status", [(31, 422), (32, 422), (33, 400), (100_000, 400)])
def test_deep_json(server, depth, status):
    body = b'{"name":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    answer = server.api.post("/v1/lists", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == status, answer


@pytest.mark.sanitize
def test_json_that_is_not_and_where(server):
    answer = server.api.post("/v1/lists", body=b'{"name":\n  "x",\n  oops}', headers={"Content-Type": "application/json; charset=utf-8"})
    detail = answer.json["detail"]
    assert answer.status == 400 and "line 3" in detail and "column" in detail


# --- methods and headers ---------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_wrong_methods_name_the_right_ones(server):
    for path, allowed in (("/v1/lists", {"GET", "HEAD", "POST", "OPTIONS"}), ("/v1/lists/1", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
                          ("/v1/campaigns/1/launch", {"POST", "OPTIONS"}), ("/u/x", {"GET", "HEAD", "POST", "OPTIONS"})):
        answer = server.api.call("PUT", path, body=b"{}")
        assert answer.status == 405 and answer.headers["Content-Type"] == "application/problem+json"
        assert set(answer.headers["Allow"].split(", ")) == allowed, path
        answer = server.api.call("OPTIONS", path)
        assert answer.status == 204 and set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.sanitize
def test_head_is_get_without_its_body(server):
    for path in ("/dashboard", "/openapi.json", "/healthz"):
        got = Api(server.url).get(path)
        with Raw(server) as raw:
            raw.send("HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
            data = raw.file.read()
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(got.body) in data


def test_pages_are_not_sent_again(server):
    first = Api(server.url).get("/dashboard/chart.js")
    again = Api(server.url).get("/dashboard/chart.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304 and again.body == b""


def test_cookies_are_neither_set_nor_read(server):
    for path in ("/dashboard", "/healthz", "/v1/lists", "/u/x"):
        answer = Api(server.url).get(path, headers={"Cookie": "token=" + server.api.token})
        assert "Set-Cookie" not in answer.headers
    assert Api(server.url).get("/v1/lists", headers={"Cookie": "Authorization=Bearer " + server.api.token}).status == 401
    assert Api(server.url).get("/v1/lists?token=" + server.api.token).status == 401


def test_other_origins_get_no_permission(server):
    answer = server.api.call("OPTIONS", "/v1/lists", headers={"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "POST"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.alone
def test_a_slow_handler_keeps_nobody_else_waiting(place):
    """Two checks of a domain wait for a name server that never answers. Whoever comes meanwhile is served by a thread that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = place.server(place.sink(), config='dns { server = "127.0.0.1@%d" }\nsource "ip1" { address = "127.0.0.1" }\n' % silent.getsockname()[1])
        checks = [threading.Thread(target=Api(server.url, server.api.token).get, args=("/v1/domains/sender.test/check",)) for _ in range(2)]
        for check in checks:
            check.start()
        silent.settimeout(10)
        silent.recv(4096)  # the first question: it has begun
        took = []
        for _ in range(40):
            begin = time.monotonic()
            assert Api(server.url).get("/healthz").status == 200
            took.append(time.monotonic() - begin)
        assert any(check.is_alive() for check in checks), "the checks were not slow"
        assert max(took) < 2, sorted(took)[-5:]
        for check in checks:
            check.join()
