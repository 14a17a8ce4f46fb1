"""The sink's TLS: STARTTLS, TLS from the first byte on, what the ledger says of it, and the ways in which a server can be hostile there."""
import socket
import ssl
import subprocess
import time

import pytest

from rawclient import CONTENT, HELLO, Client, only, rules, streamed, trusting
from sinklib import WAIT_S, Certificate, Sink, binary, certificate

pytestmark = [pytest.mark.sanitize, pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")]

CLEAR = {"tls": None, "cipher": None, "resumed": False, "sni": None}


def channel(line):
    return {key: line[key] for key in CLEAR}


def verifying(sink):
    context = ssl.create_default_context(cafile=sink.certificate.authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


# --- the ordinary way ---------------------------------------------------------------------------------------------

def test_starttls_is_offered_only_with_a_certificate_and_only_in_clear():
    with Sink() as sink, Client(sink) as client:
        assert "STARTTLS" not in client.hello()
        assert client.ask(b"STARTTLS\r\n")[:3] == "500"
        assert client.mail()[:3] == "250"
        assert channel(only(sink.events("message"))) == channel(only(sink.events("connect"))) == CLEAR
    with Sink(tls=True) as sink, Client(sink) as client:
        assert "STARTTLS" in [line[4:] for line in client.hello().split("\r\n")]
        client.starttls()
        assert "STARTTLS" not in client.hello()
        assert client.ask(b"STARTTLS\r\n")[:3] == "500"
    with Sink(tls=True, without=["STARTTLS"]) as sink, Client(sink) as client:
        assert "STARTTLS" not in client.hello()


def test_message_over_starttls_and_what_the_ledger_says():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.starttls(verifying(sink))
        client.hello()
        assert client.mail()[:3] == "250"
        version, cipher = client.socket.version(), client.socket.cipher()[0]
        want = {"tls": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "resumed": False, "sni": "sink.test"}
        assert (version, cipher) == (want["tls"], want["cipher"])
        assert channel(only(sink.events("connect"))) == CLEAR
        assert channel(only(sink.events("message"))) == want and only(sink.events("message"))["auth"] is None
        handshake = only(sink.events("handshake"))
        assert channel(handshake) == want and handshake["error"] is None
        counts = sink.counts()
        assert (counts["handshakes"], counts["resumptions"], counts["handshakes_failed"]) == (1, 0, 0)


def test_tls_from_the_first_byte_on():
    with Sink(listen=[], tls=True, tls_implicit=["127.0.0.1:0", "127.0.0.2:0"]) as sink:
        with Client(sink, address=sink.addresses[1], tls=verifying(sink)) as client:
            assert "STARTTLS" not in client.hello()
            assert client.mail()[:3] == "250"
            assert client.ask(b"QUIT\r\n")[:3] == "221"
            assert client.rest() == b"", "close_notify, then the end"
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert [line["event"] for line in ledger] == ["connect", "handshake", "message", "close"]
        assert ledger[0]["tls"] == "TLSv1.3" and ledger[0]["local"].startswith("127.0.0.2:")
        assert (ledger[-1]["commands"], ledger[-1]["secure_commands"]) == (5, 5)


def test_clear_and_implicit_listeners_side_by_side():
    with Sink(tls=True, tls_implicit=["127.0.0.1:0"]) as sink:
        with Client(sink) as one, Client(sink, address=sink.addresses[1], tls=trusting()) as two:
            assert "STARTTLS" in one.hello() and "STARTTLS" not in two.hello()


def test_everything_said_in_clear_is_forgotten():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.starttls()
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "503"
        client.hello()
        assert client.envelope() == ["250", "250"]


def test_the_close_line_counts_the_commands_inside_tls():
    with Sink(tls=True) as sink:
        with Client(sink) as client:
            client.starttls()
            client.hello()
            client.ask(b"QUIT\r\n")
        close = sink.wait_for(lambda lines: lines[-1]["event"] == "close")[-1]
        assert (close["commands"], close["secure_commands"], close["by"]) == (4, 2, "server")


def test_starttls_inside_a_transaction_or_with_a_parameter_is_refused():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.hello()
        assert client.ask(b"STARTTLS now\r\n")[:3] == "501"
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "250"
        assert client.ask(b"STARTTLS\r\n")[:3] == "503"
        assert [line["stage"] for line in sink.events("reject")] == ["STARTTLS", "STARTTLS"]


def test_other_extensions_behind_tls():
    with Sink(tls=True, without_in_tls=["CHUNKING", "PIPELINING"]) as sink, Client(sink) as client:
        assert "CHUNKING" in client.hello()
        client.starttls()
        assert "CHUNKING" not in client.hello()
        client.envelope()
        assert client.ask(b"BDAT 2 LAST\r\n\r\n")[:3] == "502"
        assert "BDAT without CHUNKING" in {line["what"] for line in sink.events("violation")}


@pytest.mark.parametrize("version, name", [
    (ssl.TLSVersion.TLSv1, "TLSv1"), (ssl.TLSVersion.TLSv1_1, "TLSv1.1"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
])
def test_versions(version, name):
    number = "1.0" if name == "TLSv1" else name[4:]
    with Sink(tls=True, tls_min=number, tls_max=number) as sink:
        with Client(sink) as client:
            client.starttls(trusting(version))
            client.hello()
            assert client.mail()[:3] == "250"
            assert only(sink.events("message"))["tls"] == name == client.socket.version()
        other = ssl.TLSVersion.TLSv1_2 if version != ssl.TLSVersion.TLSv1_2 else ssl.TLSVersion.TLSv1_3
        with Client(sink) as client, pytest.raises((ssl.SSLError, ConnectionError)):
            client.starttls(trusting(other))
        failed = sink.wait_for(lambda lines: any(line.get("error") for line in lines))
        assert only([line for line in failed if line.get("error")])["tls"] is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumption(version):
    context = trusting(version)
    with Sink(tls=True) as sink:
        session = None
        for _ in range(3):
            with Client(sink) as client:
                client.starttls(context, session=session)
                client.hello()
                assert client.mail()[:3] == "250"
                session = client.socket.session
                client.ask(b"QUIT\r\n")
        assert [line["resumed"] for line in sink.events("message")] == [False, True, True]
        assert sink.counts()["resumptions"] == 2


def test_sni_is_what_the_client_named():
    with Sink(tls=True) as sink:
        for name in ("sink.test", "other.test", None):
            with Client(sink) as client:
                client.starttls(name=name)
        lines = sink.wait_for(lambda lines: sum(line["event"] == "handshake" for line in lines) == 3)
        assert [line["sni"] for line in lines if line["event"] == "handshake"] == ["sink.test", "other.test", None]


def test_streamed_messages_over_tls():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.starttls()
        client.hello()
        content = CONTENT + b"x" * 60 + b"\r\n"
        client.send(streamed(1000, content=content * 20))
        assert client.codes(3000) == ["250"] * 3000
        assert sink.counts()["messages"] == 1000 and sink.events("violation") == []


def test_a_big_message_in_data_over_tls():
    with Sink(tls=True, store=True) as sink, Client(sink) as client:
        client.starttls()
        client.hello()
        content = CONTENT + b"0123456789abcdef" * 4 * 100000 + b"\r\n"
        assert client.mail(content=content)[:3] == "250"
        assert sink.content(only(sink.events("message"))) == content


def test_delay_counts_for_the_handshake_too():
    with Sink(tls=True, delay_ms=50) as sink, Client(sink) as client:
        client.hello()
        client.ask(b"STARTTLS\r\n")
        began = time.monotonic()
        client.wrap()
        assert time.monotonic() - began >= 0.05
        began = time.monotonic()
        client.hello()
        client.send(streamed(50))
        assert client.codes(150) == ["250"] * 150
        assert 0.1 <= time.monotonic() - began < 0.6


# --- what a bad client does ---------------------------------------------------------------------------------------

def test_what_is_pipelined_behind_starttls_is_thrown_away():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.hello()
        client.send(b"STARTTLS\r\nMAIL FROM:<evil@e.test>\r\n")
        assert client.reply()[:3] == "220"
        client.wrap()
        client.hello()
        assert client.ask(b"RCPT TO:<x@e.test>\r\n")[:3] == "503"
        assert only(sink.events("violation"))["where"] == "STARTTLS"


def test_clear_text_in_place_of_a_handshake():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.hello()
        client.ask(b"STARTTLS\r\n")
        client.send(HELLO)
        client.rest()
        handshake = only(sink.events("handshake"))
        assert handshake["tls"] is None and handshake["error"]
        assert sink.counts()["handshakes_failed"] == 1


def test_a_client_that_leaves_in_the_handshake():
    with Sink(tls=True) as sink:
        with Client(sink) as client:
            client.hello()
            client.ask(b"STARTTLS\r\n")
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert [line["error"] for line in ledger if line["event"] == "handshake"] == ["not finished"]
        assert ledger[-1]["by"] == "client"


def test_a_client_that_refuses_the_certificate():
    with Sink(tls=True) as sink:
        with Client(sink) as client, pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(ssl.create_default_context())
        ledger = sink.wait_for(lambda lines: any(line["event"] in ("close", "violation") for line in lines))
        told = [line.get("error") or line.get("what") for line in ledger if line["event"] in ("handshake", "violation")]
        assert any("unknown ca" in (text or "") for text in told), ledger


def test_broken_records_end_the_connection():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.starttls()
        raw = socket.socket(fileno=client.socket.detach())
        raw.settimeout(WAIT_S)
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        while raw.recv(65536):
            pass
        raw.close()
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert only([line for line in ledger if line["event"] == "violation"])["where"] == "TLS"


# --- hostile by script --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("injected", [b"250-X\r\n250 AUTH PLAIN\r\n", b"250-X", b"\0", b"220 again\r\n"])
def test_bytes_injected_behind_the_220(injected):
    """Row 1: in one write with the 220. The client here shows what came; a good one closes."""
    script = rules({"command": "STARTTLS", "raw": "220 go\r\n" + injected.decode()})
    with Sink(tls=True, script=script) as sink, Client(sink) as client:
        client.hello()
        client.send(b"STARTTLS\r\n")
        got = b""
        while len(got) < len(b"220 go\r\n" + injected):
            got += client.socket.recv(100)
        assert got == b"220 go\r\n" + injected
        client.wrap()  # and TLS does begin behind it
        assert client.hello()[:3] == "250"


@pytest.mark.parametrize("reply", ["454 4.7.0 TLS not available", "500 what", "503 5.5.1 no"])
def test_starttls_refused(reply):
    with Sink(tls=True, script=rules({"command": "STARTTLS", "reply": reply})) as sink, Client(sink) as client:
        client.hello()
        assert client.ask(b"STARTTLS\r\n") == reply
        assert client.mail()[:3] == "250", "still in clear text"
        assert only(sink.events("reject"))["stage"] == "STARTTLS"


@pytest.mark.parametrize("action, seen", [
    ({"raw": "this is no TLS\r\n"}, b"this is no TLS\r\n"), ({"close": True}, b""), ({"rst": True}, b"<reset>"),
    ({"raw_hex": "1503030002022f", "close": True}, b"\x15\x03\x03\x00\x02\x02\x2f"), ({"stall": True}, b""),
    ({"partial": "\x16\x03"}, b"\x16\x03"), ({"cut": 40}, 40), ({"cut": 40, "close": True}, 40), ({"cut": 1, "rst": True}, None),
])
@pytest.mark.parametrize("implicit", [False, True])
def test_handshakes_by_script(action, seen, implicit):
    with Sink(tls=True, tls_implicit=["127.0.0.1:0"], script=rules({"command": "TLS", **action})) as sink:
        with Client(sink, address=sink.addresses[int(implicit)], greet=not implicit) as client:
            if not implicit:
                client.hello()
                client.ask(b"STARTTLS\r\n")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            engine = trusting().wrap_bio(incoming, outgoing, server_hostname="sink.test")
            with pytest.raises(ssl.SSLWantReadError):
                engine.do_handshake()
            client.send(outgoing.read())
            if action.get("close") or action.get("rst"):
                got = client.rest()
            else:
                got = b""
                while len(got) < (seen if isinstance(seen, int) else len(seen)):
                    got += client.socket.recv(65536)
                assert client.silent_for(0.05) == b""
            if isinstance(seen, int):
                assert len(got) == seen and got[0] == 0x16
            elif seen is not None:
                assert got == seen
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert [line["event"] for line in ledger] == ["connect", "drop", "handshake", "close"]
        assert ledger[1]["stage"] == "TLS" and ledger[2]["error"] == "not finished"


def test_a_slow_handshake():
    with Sink(tls=True, script=rules({"command": "TLS", "drip_ms": 1})) as sink, Client(sink) as client:
        began = time.monotonic()
        client.starttls(trusting(ssl.TLSVersion.TLSv1_2))
        assert time.monotonic() - began > 0.3, "some hundreds of bytes, one each millisecond"
        assert client.hello()[:3] == "250"


def test_endless_bytes_in_place_of_a_handshake():
    with Sink(tls=True, script=rules({"command": "TLS", "raw": "x", "endless": True})) as sink:
        with Client(sink) as client:
            client.hello()
            client.ask(b"STARTTLS\r\n")
            client.send(b"\x16\x03\x01")
            got = 0
            while got < 4 << 20:
                got += len(client.socket.recv(1 << 20))
        sink.wait_for(lambda lines: lines[-1]["event"] == "close")


@pytest.mark.parametrize("stage", ["EHLO", "MAIL", "DATA", "BDAT", "EOD"])
def test_close_notify_then_clear_text(stage):
    """Row 3: after close_notify nothing is to be believed."""
    script = rules({"command": stage, "tls": True, "tls_close_then": "250 2.0.0 OK\r\n"})
    with Sink(tls=True, script=script) as sink:
        with Client(sink) as client:
            client.starttls()
            client.send(HELLO)
            if stage != "EHLO":
                client.reply()
                client.send(b"MAIL FROM:<a@b.test>\r\n")
                if stage != "MAIL":
                    client.reply()
                    assert client.ask(b"RCPT TO:<x@e.test>\r\n")[:3] == "250"
                    if stage == "BDAT":
                        client.send(b"BDAT 100000 LAST\r\n" + b"x" * 500)
                    elif stage == "DATA":
                        client.send(b"DATA\r\n")
                    else:
                        client.ask(b"DATA\r\n")
                        client.send(CONTENT + b".\r\n")
            assert client.socket.recv(100) == b"", "close_notify"
            raw = socket.socket(fileno=client.socket.detach())
            raw.settimeout(WAIT_S)
            got = b""
            while len(got) < 14:
                more = raw.recv(100)
                assert more
                got += more
            raw.close()
            # Python's ssl may have read the clear bytes along with the record; what it left shows that they are clear.
            assert got == b"250 2.0.0 OK\r\n"
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        drop = only([line for line in ledger if line["event"] == "drop"])
        assert drop["stage"] == stage and drop["accepted"] is False and not sink.messages()


def test_a_client_that_says_close_notify_is_the_one_who_left():
    with Sink(tls=True) as sink, Client(sink) as client:
        client.starttls()
        client.hello()
        client.socket.unwrap()  # waits for the sink's close_notify
        close = sink.wait_for(lambda lines: lines[-1]["event"] == "close")[-1]
        assert close["by"] == "client" and not sink.events("violation")


def test_tls_close_then_does_not_match_in_clear():
    with Sink(tls=True, script=rules({"command": "EHLO", "tls_close_then": "250 x\r\n"})) as sink, Client(sink) as client:
        assert client.hello().startswith("250-")


def test_rules_for_tls_only_or_clear_only():
    script = rules({"command": "EHLO", "tls": True, "reply": "250-n\n250 PIPELINING"}, {"command": "MAIL", "tls": False, "reply": "530 5.7.0 TLS first"})
    with Sink(tls=True, script=script) as sink, Client(sink) as client:
        assert "CHUNKING" in client.hello()
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n") == "530 5.7.0 TLS first"
        client.starttls()
        assert client.hello() == "250-n\r\n250 PIPELINING"
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "250"


@pytest.mark.parametrize("action, sent, end", [
    ({"close": True}, b"", b""), ({"rst": True}, b"", b"<reset>"), ({"partial": "25", "close": True}, b"25", b""),
    ({"reply": "421 4.3.2 bye", "close": True}, b"421 4.3.2 bye\r\n", b""), ({"drip_ms": 2, "reply": "421 slow", "close": True}, b"421 slow\r\n", b""),
])
@pytest.mark.parametrize("stage", ["EHLO", "EOD"])
def test_endings_inside_tls(stage, action, sent, end):
    with Sink(tls=True, script=rules({"command": stage, "tls": True, **action})) as sink, Client(sink) as client:
        client.starttls()
        client.send(HELLO)
        if stage == "EOD":
            client.reply()
            client.envelope()
            client.ask(b"DATA\r\n")
            client.send(CONTENT + b".\r\n")
        if "rst" in action:
            client.socket = socket.socket(fileno=client.socket.detach())  # Python's ssl takes a reset for an end
            client.socket.settimeout(WAIT_S)
            assert client.rest().endswith(end)
        else:
            assert client.rest() == sent + end


def test_drip_and_endless_inside_tls():
    script = rules({"command": "NOOP", "drip_ms": 5, "reply": "250 drip"}, {"command": "VRFY", "raw": "250-more\r\n", "endless": True},
                   {"command": "RSET", "raw": "ab", "endless": True, "drip_ms": 2})
    with Sink(tls=True, script=script) as sink:
        with Client(sink) as client:
            client.starttls()
            client.send(b"NOOP\r\n")
            began = time.monotonic()
            assert client.socket.recv(100) == b"2", "a record for each byte"
            client.buffer = b"2"
            assert client.reply() == "250 drip" and time.monotonic() - began >= 0.03
            client.send(b"VRFY a\r\n")
            size = 0
            while size < 4 << 20:
                size += len(client.socket.recv(1 << 20))
        with Client(sink) as client:
            client.starttls()
            client.send(b"RSET\r\n")
            got = b""
            while len(got) < 20:
                got += client.socket.recv(100)
            assert got == (b"ab" * 20)[:len(got)]


# --- what is refused at the start ---------------------------------------------------------------------------------

def test_wrong_command_lines(tmp_path):
    good, other = certificate(), certificate("other.test")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    listen = ["--listen", "127.0.0.1:0"]
    for arguments, code, message in [
        (listen + ["--tls-cert", good.certificate], 2, "--tls-cert and --tls-key"),
        (listen + ["--tls-implicit", "127.0.0.1:0"], 2, "--tls-cert and --tls-key"),
        (["--tls-implicit", "nowhere", "--tls-cert", good.certificate, "--tls-key", good.key], 2, "--tls-implicit"),
        (listen + ["--tls-cert", good.certificate, "--tls-key", other.key], 1, other.key),
        (listen + ["--tls-cert", str(junk), "--tls-key", good.key], 1, str(junk)),
        (listen + ["--tls-min", "1.4"], 2, "1.4"), (listen + ["--tls-min", "1.3", "--tls-max", "1.2"], 2, "above"),
        (listen + ["--auth", "user"], 2, "USER:PASSWORD"), (listen + ["--auth-mechanisms", "PLAIN,NTLM"], 2, "NTLM"),
    ]:
        result = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert result.returncode == code and message in result.stderr, (arguments, result)


def test_a_certificate_of_ones_own():
    mine = certificate("mine.test", "")
    with Sink(tls=Certificate(*mine)) as sink, Client(sink) as client:
        context = verifying(sink)
        client.starttls(context, name="mine.test")
        with Client(sink) as another, pytest.raises(ssl.SSLCertVerificationError):
            another.starttls(context, name="yours.test")
