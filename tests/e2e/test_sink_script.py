"""The sink by script: what a rule matches, what it does, and which scripts are refused."""

import socket
import subprocess
import time

import pytest

from rawclient import CONTENT, HELLO, Client, only, rss_kb, rules
from sinklib import WAIT_S, Sink, binary, share


# --- script: what a rule matches ----------------------------------------------------------------------------------

def test_share_agrees_between_c_and_python():
    addresses = ["User.%d@Example%d.test" % (i, i % 7) for i in range(400)] + ["\u00e9%d@e.test" % i for i in range(50)]
    script = rules({"command": "RCPT", "share": 0.1, "reply": "451 4.3.0 later"},
                   {"command": "RCPT", "share": [0.1, 0.25], "reply": "550 5.1.1 no"}, seed=77)
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        client.ask(b"MAIL FROM:<a@b.test> SMTPUTF8\r\n")
        client.send("".join(f"RCPT TO:<{address}>\r\n" for address in addresses).encode())
        fates = [share(77, address) for address in addresses]
        assert client.codes(len(addresses)) == ["451" if f < 0.1 else "550" if f < 0.25 else "250" for f in fates]
        assert 0.05 < sum(f < 0.1 for f in fates) / len(fates) < 0.16


def test_share_has_a_fixed_value_and_is_even():
    assert share(1, "a@example.test") == share(1, "A@EXAMPLE.test") != share(2, "a@example.test")
    values = [share(3, "u%d@example.com" % i) for i in range(20000)]
    for tenth in range(10):
        assert 0.09 < sum(tenth / 10 <= v < (tenth + 1) / 10 for v in values) / len(values) < 0.11


def test_globs_domain_and_from():
    script = rules({"rcpt": "a*z@*", "reply": "550 rcpt"}, {"domain": "*.example.test", "reply": "551 domain"},
                   {"command": "MAIL", "from": "evil@*", "reply": "552 from"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        assert client.ask(b"MAIL FROM:<EVIL@b.test>\r\n") == "552 from"
        client.ask(b"MAIL FROM:<a@b.test>\r\n")
        for address, code in [("abcz@q.test", "550"), ("AZ@q.test", "550"), ("azb@q.test", "250"),
                              ("x@mx.example.test", "551"), ("x@example.test", "250"), ("x@MX.Example.TEST", "551")]:
            assert client.ask(f"RCPT TO:<{address}>\r\n".encode())[:3] == code, address


def test_first_counts_per_recipient():
    script = rules({"command": "RCPT", "first": 2, "reply": "451 greylisted"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        client.ask(b"MAIL FROM:<a@b.test>\r\n")
        asked = ["a@e.test", "b@e.test", "A@E.test", "a@e.test", "b@e.test", "b@e.test"]
        client.send("".join(f"RCPT TO:<{a}>\r\n" for a in asked).encode())
        assert client.codes(6) == ["451", "451", "451", "250", "451", "250"]


def test_first_for_many_recipients():
    with Sink(script=rules({"command": "RCPT", "first": 1, "reply": "451 x"})) as sink, Client(sink) as client:
        client.hello()
        for turn in range(2):
            for block in range(5):
                client.ask(b"MAIL FROM:<a@b.test>\r\n")
                client.send("".join(f"RCPT TO:<u{block}-{i}@e.test>\r\n" for i in range(1000)).encode())
                assert client.codes(1000) == ["250" if turn else "451"] * 1000
                client.ask(b"RSET\r\n")


@pytest.mark.parametrize("rule, codes", [
    ({"nth": 2}, "250 450 250 250 250 250"), ({"every": 3}, "250 250 450 250 250 450"), ({"first": 2}, "450 450 250 250 250 250"),
])
def test_counters_of_a_rule(rule, codes):
    with Sink(script=rules({"command": "NOOP", "reply": "450 x", **rule})) as sink, Client(sink) as client:
        assert [client.ask(b"NOOP\r\n")[:3] for _ in range(6)] == codes.split()


def test_connection_message_and_listener_numbers():
    script = rules({"command": "NOOP", "conn_nth": 2, "reply": "450 conn"},
                   {"command": "EOD", "message_nth": 2, "reply": "451 message"},
                   {"command": "MAIL", "message_nth": 3, "reply": "452 mail"},
                   {"command": "VRFY", "listen": "127.0.0.2", "reply": "550 listener"})
    with Sink(listen=["127.0.0.1:0", "127.0.0.2:0"], script=script) as sink:
        with Client(sink) as one, Client(sink, address=sink.addresses[1]) as two:
            assert (one.ask(b"NOOP\r\n"), two.ask(b"NOOP\r\n")) == ("250 Ok", "450 conn")
            assert (one.ask(b"VRFY a\r\n")[:3], two.ask(b"VRFY a\r\n")[:3]) == ("252", "550")
            one.hello()
            assert [one.mail()[:3] for _ in range(2)] == ["250", "451"]
            assert one.ask(b"MAIL FROM:<a@b.test>\r\n") == "452 mail"


def test_listen_with_port():
    probe = socket.socket()
    probe.bind(("127.0.0.3", 0))
    port = probe.getsockname()[1]
    probe.close()
    script = rules({"command": "NOOP", "listen": f"127.0.0.3:{port}", "reply": "450 here"})
    with Sink(listen=["127.0.0.1:0", f"127.0.0.3:{port}"], script=script) as sink:
        with Client(sink) as one, Client(sink, address=sink.addresses[1]) as two:
            assert (one.ask(b"NOOP\r\n")[:3], two.ask(b"NOOP\r\n")[:3]) == ("250", "450")


def test_the_first_rule_wins():
    with Sink(script=rules({"command": "NOOP", "reply": "450 a"}, {"reply": "220 b"})) as sink, Client(sink) as client:
        assert client.ask(b"NOOP\r\n") == "450 a"
        assert client.ask(b"RSET\r\n") == "220 b"


# --- script: what a rule does -------------------------------------------------------------------------------------

def test_replies_at_each_stage():
    for stage, step in [("EHLO", HELLO), ("HELO", b"HELO c\r\n"), ("RSET", b"RSET\r\n"), ("NOOP", b"NOOP\r\n"),
                        ("VRFY", b"VRFY a\r\n"), ("QUIT", b"QUIT\r\n"), ("STARTTLS", b"STARTTLS\r\n")]:
        with Sink(script=rules({"command": stage, "reply": "421-4.3.2 one\n421 4.3.2 two"})) as sink, Client(sink) as client:
            assert client.ask(step) == "421-4.3.2 one\r\n421 4.3.2 two"
            line = only(sink.events("reject"))
            assert line["stage"] == stage and line["reply"] == "421-4.3.2 one\r\n421 4.3.2 two"


def test_refused_connection():
    with Sink(script=rules({"command": "CONNECT", "reply": "554 5.7.1 go away"})) as sink, Client(sink, greet=False) as client:
        assert client.reply() == "554 5.7.1 go away"
        assert client.hello()[:3] == "503"
        assert client.ask(b"QUIT\r\n")[:3] == "221"
        assert sink.events("reject")[0]["stage"] == "CONNECT"


def test_refused_data_and_end_of_data():
    script = rules({"command": "DATA", "rcpt": "d@*", "reply": "451 4.3.0 not now"},
                   {"command": "EOD", "rcpt": "e@*", "reply": "554 5.7.1 spam"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        client.envelope("d@e.test")
        assert client.ask(b"DATA\r\n") == "451 4.3.0 not now"
        client.ask(b"RSET\r\n")
        assert client.mail("e@e.test") == "554 5.7.1 spam"
        assert client.mail("f@e.test")[:3] == "250"
        rejects = [(line["stage"], line["from"], line["to"], line["reply"]) for line in sink.events("reject")]
        assert rejects == [("DATA", "a@b.test", "d@e.test", "451 4.3.0 not now"), ("EOD", "a@b.test", "e@e.test", "554 5.7.1 spam")]
        assert sink.events("reject")[1]["message_id"] == "<1@b.test>"
        assert list(sink.messages()) == ["f@e.test"]


def test_354_without_a_valid_recipient():
    script = rules({"command": "RCPT", "reply": "550 no"}, {"command": "DATA", "reply": "354 go on"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\nDATA\r\n")
        assert client.codes(3) == ["250", "550", "354"]
        assert client.ask(b".\r\n")[:3] == "554"
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "250" and sink.messages() == {}


@pytest.mark.parametrize("raw, code_is_good", [
    ("553-\r\n553\r\n", False), ("250\r\n", True), ("25\r\n", False), ("hello\r\n", False), ("250 a\n", True), ("250 \u0000x\r\n", True),
])
def test_raw_bytes_at_end_of_data(raw, code_is_good):
    with Sink(script=rules({"command": "EOD", "raw": raw})) as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        client.ask(b"DATA\r\n")
        client.send(CONTENT + b".\r\nQUIT\r\n")
        assert client.rest().startswith(raw.encode() + b"221 ")
        assert len(sink.events("message")) == code_is_good and len(sink.events("reject")) == (not code_is_good)


def test_raw_hex():
    with Sink(script=rules({"command": "NOOP", "raw_hex": "32353020ff000d0a"})) as sink, Client(sink) as client:
        client.send(b"NOOP\r\nQUIT\r\n")
        assert client.rest().startswith(b"250 \xff\x00\r\n221")


ENDINGS = [
    ({"close": True}, b"", b""), ({"rst": True}, b"", b"<reset>"), ({"stall": True}, b"", None),
    ({"partial": "25"}, b"25", None), ({"partial": "25", "close": True}, b"25", b""),
    ({"reply": "421 4.3.2 bye", "close": True}, b"421 4.3.2 bye\r\n", b""),
]


# A reset in place of the greeting has a test of its own: connect() itself may fail.
@pytest.mark.parametrize("stage, action, sent, end", [
    (stage, *ending) for stage in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "EOD") for ending in ENDINGS
    if stage != "CONNECT" or "rst" not in ending[0]
])
def test_endings_at_each_stage(stage, action, sent, end):
    steps = {"EHLO": HELLO, "MAIL": b"MAIL FROM:<a@b.test>\r\n", "RCPT": b"RCPT TO:<x@e.test>\r\n", "DATA": b"DATA\r\n",
             "EOD": CONTENT + b".\r\n"}
    with Sink(script=rules({"command": stage, **action})) as sink:
        with Client(sink, greet=False) as client:
            if stage != "CONNECT":
                client.reply()
                for name, step in steps.items():
                    client.send(step)
                    if name == stage:
                        break
                    client.reply()
            if end is not None:
                assert client.rest() == sent + end
                if not end:
                    client.send(b"NOOP\r\n")  # what the client still says is not answered, and kills nobody
            else:
                while sent and client.buffer != sent:
                    client.buffer += client.socket.recv(100)
                client.buffer = b""
                client.send(b"NOOP\r\n")
                assert client.silent_for(0.05) == b""
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        line = only([line for line in ledger if line["event"] in ("drop", "reject")])
        assert line["event"] == ("reject" if "reply" in action else "drop") and line["stage"] == stage
        assert ledger[-1]["by"] == ("client" if end is None else "server")
        if line["event"] == "drop":
            assert line["after_eod"] == (stage == "EOD") and line["accepted"] is False
            assert line["from"] == ("a@b.test" if stage in ("MAIL", "RCPT", "DATA", "EOD") else None)
            assert line["to"] == ("x@e.test" if stage in ("RCPT", "DATA", "EOD") else None)


def test_reset_in_place_of_a_greeting():
    """The reset may be there before connect() has returned."""
    with Sink(script=rules({"command": "CONNECT", "rst": True})) as sink:
        with pytest.raises(ConnectionResetError):
            with Client(sink, greet=False) as client:
                client.socket.recv(1)
        assert [line["event"] for line in sink.ledger()] == ["connect", "drop", "close"]


def test_accept_then_drop_is_the_real_life_duplicate():
    script = rules({"command": "EOD", "first": 1, "accept": True, "close": True})
    with Sink(script=script) as sink:
        for _ in range(2):
            with Client(sink) as client:
                client.hello()
                client.envelope()
                client.ask(b"DATA\r\n")
                client.send(CONTENT + b".\r\nQUIT\r\n")
                client.rest()
        first, second = sink.messages()["x@example.test"]
        assert first["reply"] is None and second["reply"].startswith("250 ")
        drop = only(sink.events("drop"))
        assert drop["after_eod"] and drop["accepted"] and drop["message_id"] == "<1@b.test>"


def test_accept_against_the_reply():
    script = rules({"command": "EOD", "nth": 1, "accept": True, "reply": "451 4.3.0 no"},
                   {"command": "EOD", "accept": False, "reply": "250 2.0.0 yes"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        assert client.mail("one@e.test") == "451 4.3.0 no" and client.mail("two@e.test") == "250 2.0.0 yes"
        assert only(sink.events("message"))["to"] == "one@e.test" and only(sink.events("reject"))["to"] == "two@e.test"


def test_close_in_the_middle_of_a_chunk():
    with Sink(script=rules({"command": "BDAT", "close": True})) as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        client.send(b"BDAT 100000 LAST\r\n" + b"x" * 50)
        assert client.rest() == b""
        drop = only(sink.events("drop"))
        assert (drop["stage"], drop["after_eod"], drop["to"]) == ("BDAT", False, "x@example.test")


def test_delayed_reply_holds_back_what_follows():
    with Sink(script=rules({"command": "RSET", "delay_ms": 400})) as sink, Client(sink) as client:
        client.hello()
        began = time.monotonic()
        client.send(b"RSET\r\nRSET\r\nNOOP\r\n")
        assert client.codes(3) == ["250"] * 3
        assert 0.4 <= time.monotonic() - began < 0.75


def test_drip():
    with Sink(script=rules({"command": "EOD", "drip_ms": 5, "reply": "250 drip"})) as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        client.ask(b"DATA\r\n")
        began = time.monotonic()
        client.send(CONTENT + b".\r\nQUIT\r\n")
        assert client.rest() == b"250 drip\r\n221 2.0.0 Bye\r\n"
        assert time.monotonic() - began >= 0.045
        assert only(sink.events("message"))["reply"] == "250 drip"


def test_a_drip_cut_short_is_a_lost_reply():
    with Sink(script=rules({"command": "EOD", "drip_ms": 50, "reply": "250 drip"})) as sink:
        with Client(sink) as client:
            client.hello()
            client.envelope()
            client.ask(b"DATA\r\n")
            client.send(CONTENT + b".\r\n")
            client.socket.recv(1)
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert only([line for line in ledger if line["event"] == "message"])["reply"] is None


def test_endless_reply_is_bounded_by_the_peer():
    with Sink(script=rules({"command": "EHLO", "raw": "250-more\r\n", "endless": True})) as sink:
        with Client(sink) as client:
            client.send(HELLO)
            before, size = rss_kb(sink.process.pid), 0
            while size < 8 << 20:
                size += len(client.socket.recv(1 << 20))
            # ... and a peer that stops reading does not make the sink grow.
            sink.counts()
            assert rss_kb(sink.process.pid) - before < 8192
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        assert only([line for line in ledger if line["event"] == "drop"])["stage"] == "EHLO"


def test_endless_drip():
    with Sink(script=rules({"command": "EHLO", "raw": "ab", "endless": True, "drip_ms": 2})) as sink, Client(sink) as client:
        client.send(HELLO)
        got = b""
        while len(got) < 20:
            got += client.socket.recv(100)
        assert got == (b"ab" * 20)[:len(got)]


# --- scripts that are wrong ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("script, message", [
    ('{"rules": [', ":1:"), ('{"rules": [],\n "rules": []}', ":2:"), ('[]', "must be"), ('{"rules": 1}', "must be"),
    ('{"rules": [], "sed": 1}', "sed: unknown key"), ('{"seed": -1, "rules": []}', "seed: must be"),
    ('{"rules": [{"reply": "250 x"}, {"command": "MIAL", "reply": "250 x"}]}', 'rule 2: command: unknown command "MIAL"'),
    ('{"rules": [{"replay": "250 x"}]}', "rule 1: replay: unknown key"), ('{"rules": [{"reply": "ok"}]}', "rule 1: reply: must begin"),
    ('{"rules": [{"reply": "2500 x"}]}', "rule 1: reply: must begin"), ('{"rules": [{"command": "RCPT"}]}', "rule 1: says nothing to do"),
    ('{"rules": [{"reply": "250 x", "raw": "y"}]}', "rule 1: only one of reply"),
    ('{"rules": [{"close": true, "stall": true}]}', "rule 1: only one of close"),
    ('{"rules": [{"endless": true, "reply": "250 x"}]}', "rule 1: endless needs raw"),
    ('{"rules": [{"command": "RCPT", "accept": true, "reply": "250 x"}]}', "rule 1: accept can only"),
    ('{"rules": [{"share": 1.5, "reply": "250 x"}]}', "rule 1: share: must lie"),
    ('{"rules": [{"share": [0.5, 0.1], "reply": "250 x"}]}', "rule 1: share: must lie"),
    ('{"rules": [{"share": "all", "reply": "250 x"}]}', "rule 1: share: must be a number"),
    ('{"rules": [{"nth": 0, "reply": "250 x"}]}', "rule 1: nth: must be a whole number"),
    ('{"rules": [{"first": 1.5, "reply": "250 x"}]}', "rule 1: first: must be a whole number"),
    ('{"rules": [{"close": 1}]}', "rule 1: close: must be true or false"), ('{"rules": ["x"]}', "rule 1: must be an object"),
    ('{"rules": [{"raw_hex": "0g"}]}', "rule 1: raw_hex: must be pairs"), ('{"rules": [{"raw": ""}]}', "rule 1: raw: must be"),
])
def test_wrong_script_is_refused(script, message, tmp_path):
    path = tmp_path / "script.json"
    path.write_text(script)
    result = subprocess.run([binary(), "--listen", "127.0.0.1:0", "--script", str(path)], capture_output=True, text=True,
                            timeout=WAIT_S, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert str(path) in result.stderr and message in result.stderr


@pytest.mark.parametrize("arguments, code, message", [
    ([], 2, "--listen is needed"), (["--listen", "nowhere"], 2, "nowhere"), (["--listen", "127.0.0.1:99999"], 2, "99999"),
    (["--listen", "127.0.0.1:0", "--without", "SIZE,PIPES"], 2, "PIPES"), (["--listen", "127.0.0.1:0", "--delay-ms", "-1"], 2, "-1"),
    (["--listen", "127.0.0.1:0", "extra"], 2, "extra"), (["--frob"], 2, "frob"), (["--help"], 0, ""),
    (["--listen", "127.0.0.1:0", "--ledger", "/nonexistent/x"], 1, "/nonexistent/x"),
    (["--listen", "127.0.0.1:0", "--script", "/nonexistent/x"], 1, "/nonexistent/x"),
    (["--listen", "127.0.0.1:0", "--store", "/nonexistent/x"], 1, "/nonexistent/x"),
])
def test_wrong_command_lines(arguments, code, message):
    result = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert result.returncode == code and message in result.stderr


def test_port_in_use_is_refused():
    with Sink() as sink:
        result = subprocess.run([binary(), "--listen", f"127.0.0.1:{sink.port}"], capture_output=True, text=True,
                                timeout=WAIT_S, check=False)
        assert result.returncode == 1 and "127.0.0.1" in result.stderr
