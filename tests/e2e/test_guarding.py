"""What stands around the API: HTTPS, the limit of requests, the audit log."""
import json
import os
import ssl
import socket
import subprocess
import threading

import pytest

from conftest import emails, run_to_end
from harness import Api
from test_api import GOOD, is_problem
from test_http import Raw


def audit(server):
    path = server.data_dir / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- HTTPS -----------------------------------------------------------------------------------------------------------


def certificate(folder, name="cert"):
    cert, key = folder / (name + ".pem"), folder / (name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=mta.test"], check=True, capture_output=True)
    return cert, key


@pytest.mark.sanitize
def test_https(place, tmp_path):
    cert, key = certificate(tmp_path)
    server = place.server(place.sink(), config='tls_cert = "%s"\ntls_key = "%s"\n' % (cert, key))
    assert server.url.startswith("https://127.0.0.1:")
    place.people(server, emails(20, ["one.test"]))
    campaign = server.create_campaign()
    assert run_to_end(server, campaign)["delivered"] == 20
    assert server.cli_json("campaign", "stats", campaign)["delivered"] == 20, "the CLI trusts the server's own certificate"
    host, port = server.url.rpartition("/")[2].rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    with context.wrap_socket(socket.create_connection((host, int(port)), 10)) as peer:
        assert peer.version() in ("TLSv1.2", "TLSv1.3")
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 200")
    old = ssl._create_unverified_context()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        old.wrap_socket(socket.create_connection((host, int(port)), 10))
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    assert Api(server.url).get("/healthz").status == 200
    links = server.api.get("/v1/campaigns/%d/preview" % campaign).json["message"]
    assert "<https://127.0.0.1:%s/u/" % port in links.replace("\r\n", "").replace("\n", "")


def test_https_that_cannot_be(place, tmp_path):
    cert, key = certificate(tmp_path)
    other = certificate(tmp_path, "other")[1]
    (tmp_path / "none.pem").write_text("hello\n")
    for lines, words in (('tls_cert = "%s"\n' % cert, ["tls_cert", "tls_key", "together"]),
                         ('tls_cert = "%s"\ntls_key = "/nowhere.key"\n' % cert, ["tls_key", "/nowhere.key"]),
                         ('tls_cert = "%s"\ntls_key = "%s"\n' % (tmp_path / "none.pem", key), ["tls_cert", "none.pem", "PEM"]),
                         ('tls_cert = "%s"\ntls_key = "%s"\n' % (cert, other), ["tls_cert", "tls_key", "together"])):
        server = place.server(config=lines, start=False, domain=None)
        done = server.cli("serve", check=False, timeout_s=30)
        assert done.returncode == 1, (lines, done)
        for word in words:
            assert word in done.stderr, (lines, done.stderr)


# --- how often -------------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_too_many_requests(place):
    server = place.server(domain=None, config='api_rate = "60/min"\n')
    statuses = [server.api.get("/v1/lists") for _ in range(70)]
    refused = [answer for answer in statuses if answer.status == 429]
    assert 5 <= len(refused) <= 10 and all(answer.status in (200, 429) for answer in statuses)
    for answer in refused:
        is_problem(answer, 429)
        assert 1 <= int(answer.headers["Retry-After"]) <= 2
    other = server.cli_json("token", "create", "--name", "other", "--scope", "read")["token"]
    assert server.api.get("/v1/lists", headers={"Authorization": "Bearer " + other}).status == 200, "each token has its own"
    assert Api(server.url).get("/healthz").status == 200, "so has who has none"
    guesses = [Api(server.url).get("/v1/lists", headers={"Authorization": "Bearer ph_%048d" % n}).status for n in range(70)]
    assert guesses[0] == 401 and guesses[-1] == 429 and set(guesses) == {401, 429}


# --- who did what ----------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_every_change_is_noted(place):
    server = place.server(place.sink())
    place.people(server, emails(3, ["one.test"]))
    made = server.api.post("/v1/campaigns", GOOD, headers={"Idempotency-Key": "k"})
    server.api.post("/v1/campaigns", GOOD, headers={"Idempotency-Key": "k"})
    server.cli("campaign", "launch", made.json["id"])
    server.api.call("PATCH", "/v1/lists/1", {"description": "d"})
    server.api.post("/v1/tokens", {"name": "t", "scope": "read"})
    is_problem(server.api.post("/v1/lists", {"name": "news"}), 409)
    server.api.get("/v1/lists")
    server.cli("suppress", "add", "=1+1@two.test")
    entries = [entry for entry in audit(server) if entry["action"] not in ("domain add",)]
    assert [entry["action"] for entry in entries] == [
        "token create", "import", "POST /v1/campaigns", "POST /v1/campaigns/1/launch", "PATCH /v1/lists/1", "POST /v1/tokens", "suppress add"]
    token = entries[2]["who"]
    assert token["name"] == "test" and isinstance(token["token"], int) and entries[2]["address"] == "127.0.0.1"
    assert entries[2]["status"] == 201 and entries[2]["made"] == "/v1/campaigns/1"
    assert entries[3]["who"] == {"local": True}
    assert set(entries[0]["who"]) == {"cli"} and entries[0]["arguments"][:2] == ["--name", "test"]
    assert entries[1]["arguments"][:2] == ["--list", "news"] and entries[1]["status"] == 0
    text = (server.data_dir / "audit.jsonl").read_text()
    assert "ph_" not in text and all(entry["time"].endswith("Z") for entry in entries)
    assert (server.data_dir / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_target_that_is_no_text_hides_nothing(place):
    """Half of a letter percent-encoded, half as a byte: together they name something, the target alone is not UTF-8."""
    server = place.server(domain=None)
    assert server.api.post("/v1/suppressions", {"email": "b\u00fc@one.test"}).status == 201
    with Raw(server) as raw:
        raw.send(b"DELETE /v1/suppressions/b%C3\xbc@one.test HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + server.api.token.encode() + b"\r\n\r\n")
        assert raw.answer()[0] == 204
    assert audit(server)[-1]["action"] == "DELETE /v1/suppressions/b%C3%BC@one.test"
    assert "not_written" not in server.log.read_text()


def test_what_commands_change_is_noted(place):
    server = place.server(start=False)
    server.cli("snippet", "set", "footer", "-", stdin="bye")
    server.cli("snippet", "delete", "footer")
    server.cli("domain", "add", "other.test")
    server.cli("domain", "rotate", "other.test")
    server.cli("link-key", "rotate")
    server.cli("link-key", "retire", "0", "--force")
    assert [(entry["action"], *entry["arguments"]) for entry in audit(server)[-6:]] == [
        ("snippet set", "footer", "-"), ("snippet delete", "footer"), ("domain add", "other.test"), ("domain rotate", "other.test"), ("link-key rotate",),
        ("link-key retire", "--force", "0")]


def test_the_log_turns_over(place):
    server = place.server(domain=None)
    path = server.data_dir / "audit.jsonl"
    with open(path, "ab") as log:
        log.write(b"{}\n" * ((16 << 20) // 3 + 1))
    for n in range(8):
        (server.data_dir / ("audit.jsonl.%d" % (n + 1))).write_text("%d\n" % (n + 1))

    def make(n):
        api = Api(server.url, server.api.token)
        assert api.post("/v1/lists", {"name": "l%d" % n}).status == 201
        api.close()

    threads = [threading.Thread(target=make, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(audit(server)) == 10
    assert os.path.getsize(server.data_dir / "audit.jsonl.1") > 16 << 20
    assert [(server.data_dir / ("audit.jsonl.%d" % n)).read_text() for n in range(2, 9)] == ["%d\n" % n for n in range(1, 8)]
    assert not (server.data_dir / "audit.jsonl.9").exists()


def test_a_log_that_cannot_be_written_stops_nobody(place):
    server = place.server(domain=None)
    (server.data_dir / "audit.jsonl").unlink(missing_ok=True)
    (server.data_dir / "audit.jsonl").mkdir()
    assert server.api.post("/v1/lists", {"name": "l"}).status == 201
    assert "audit" in server.log.read_text()
