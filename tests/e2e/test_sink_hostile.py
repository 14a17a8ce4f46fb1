"""The hostile server of failures 4 to 6 and 11: the sink says exactly the bad bytes that the script wants, at every state, and its ledger stays true."""
import pytest

from rawclient import CONTENT, HELLO, Client, only, rss_kb, rules
from sinklib import Sink

pytestmark = pytest.mark.sanitize

STEPS = [("EHLO", HELLO), ("STARTTLS", b"STARTTLS\r\n"), ("AUTH", b"AUTH LOGIN\r\n"), ("MAIL", b"MAIL FROM:<a@b.test>\r\n"),
         ("RCPT", b"RCPT TO:<x@e.test>\r\n"), ("DATA", b"DATA\r\n"), ("EOD", CONTENT + b".\r\n"), ("RSET", b"RSET\r\n"), ("QUIT", b"QUIT\r\n")]
STATES = ["CONNECT"] + [name for name, _ in STEPS] + ["BDAT"]


def provoke(client, state):
    """Says what brings the client to the state; everything before it is answered in the ordinary way."""
    if state == "CONNECT":
        return
    client.reply()
    if state == "BDAT":
        client.hello()
        assert client.envelope() == ["250", "250"]
        client.send(b"BDAT 2 LAST\r\n\r\n")
        return
    for name, step in STEPS:
        if name != state and name in ("STARTTLS", "AUTH"):
            continue
        client.send(step)
        if name == state:
            return
        client.reply()


def hostile(**action):
    """A sink with a listener for each state, where that state is answered so."""
    return Sink(listen=["127.0.1.%d:0" % (n + 1) for n in range(len(STATES))], tls=True, auth="user:password", auth_clear=True,
                script=rules(*({"command": state, "listen": "127.0.1.%d" % (n + 1), **action} for n, state in enumerate(STATES))))


def clients(sink):
    """(state, a client that has provoked it, the number of its connection)"""
    for n, state in enumerate(STATES):
        with Client(sink, address=sink.addresses[n], greet=False) as client:
            provoke(client, state)
            yield state, client, n + 1


def noted(sink, connection):
    return [line for line in sink.ledger() if line["event"] in ("message", "reject", "drop") and line["conn"] == connection]


# What stands behind each: whether a careful client can take it for a reply with 2xx.
BAD_REPLIES = [
    (b"553-\r\n553\r\n", False),  # CVE-2020-8794: no blank behind the last code
    (b"999 what\r\n", False), (b"25 two digits\r\n", False), (b"2500 four digits\r\n", False), (b"354 go\r\n", False), (b"100 hm\r\n", False),
    (b"250-one\r\n550 two\r\n", False), (b"550-one\r\n250 two\r\n", False), (b"250-one\r\n250-two\r\n25\r\n", False),
    (b"250 \x00 NUL\r\n", True), (b"250 \xff\xfe 8bit\r\n", True), (b"\x00\x00\x00\r\n", False), (b"\r\n", False), (b"ok\r\n", False),
    (b" 250 blank before\r\n", False), (b"250 bare LF\n", True), (b"250" + b" long" * 2000 + b"\r\n", True),
]


@pytest.mark.parametrize("reply, good", BAD_REPLIES)
def test_bad_replies_at_each_state(reply, good):
    with hostile(raw_hex=reply.hex()) as sink:
        for state, client, connection in clients(sink):
            got = client.buffer
            while len(got) < len(reply):
                more = client.socket.recv(65536)
                assert more, state
                got += more
            assert got[:len(reply)] == reply
            lines = noted(sink, connection)
            if state in ("RSET", "QUIT"):
                assert lines.pop(0)["event"] == "message"
            if state in ("EOD", "BDAT"):
                assert only(lines)["event"] == ("message" if good else "reject"), state
            elif state == "DATA":
                assert [line["event"] for line in lines] == ([] if reply[:3] == b"354" else ["reject"])
            else:
                assert [(line["event"], line["stage"]) for line in lines] == ([] if good else [("reject", state)]), state


@pytest.mark.parametrize("raw", ["250-more\r\n", "2"])
def test_endless_at_each_state(raw):
    with hostile(raw=raw, endless=True) as sink:
        for state, client, connection in clients(sink):
            got = len(client.buffer)
            while got < 2 << 20:
                more = client.socket.recv(1 << 20)
                assert more, state
                got += len(more)
            assert noted(sink, connection)[-1]["event"] == "drop"


def test_a_gigabyte_without_a_line_end():
    """Row 5. The sink stays as small as the client has to."""
    with Sink(script=rules({"command": "EHLO", "raw": "2" * 1000, "endless": True})) as sink, Client(sink) as client:
        client.send(HELLO)
        before, size, buffer = rss_kb(sink.process.pid), 0, bytearray(1 << 20)
        while size < 1 << 30:
            got = client.socket.recv_into(buffer)
            assert got and buffer.find(b"\n", 0, got) < 0
            size += got
        assert rss_kb(sink.process.pid) - before < 4096


@pytest.mark.parametrize("action", [{"close": True}, {"stall": True}, {"partial": "250-x\r\n25"}, {"delay_ms": 1, "close": True}])
def test_closes_and_stalls_at_each_state(action):
    with hostile(**action) as sink:
        for state, _, connection in clients(sink):
            sink.wait_for(lambda _: any(line["event"] == "drop" for line in noted(sink, connection)))
            assert noted(sink, connection)[-1]["stage"] == state
        sink.wait_for(lambda _: sink.counts()["open"] == 0)
        assert {line["to"] for line in sink.events("message")} == {"x@e.test"} and len(sink.events("message")) == 2  # before RSET and QUIT


@pytest.mark.parametrize("action, answer", [({"reply": "451 4.3.0 no"}, "451"), ({"reply": "554 5.7.1 no"}, "554"), ({"close": True}, None)])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
def test_the_nth_chunk_is_refused(action, answer, chunk):
    """Row 11: in each message the same chunk, of four."""
    with Sink(script=rules({"command": "BDAT", "chunk_nth": chunk, **action})) as sink:
        for _ in range(2):
            with Client(sink) as client:
                client.hello()
                for _ in range(2):
                    client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\n" + b"BDAT 2\r\n\r\n" * 3 + b"BDAT 2 LAST\r\n\r\n")
                    if answer is None:
                        codes = client.codes(2 + chunk - 1)
                        assert codes == ["250"] * len(codes) and client.rest() == b""
                        break
                    assert client.codes(6) == ["250"] * (1 + chunk) + [answer] + ["503"] * (4 - chunk)
        assert not sink.messages()
        wanted = ("drop", 2) if answer is None else ("reject", 4 * (5 - chunk))
        lines = sink.events(wanted[0])
        assert len(lines) == wanted[1] and {line["stage"] for line in lines} <= {"BDAT", "EOD"}
