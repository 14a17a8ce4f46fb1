"""The sink judges the rest, so it is judged here first, by raw sockets, byte for byte: session, extensions, content, BDAT, delay."""

import random
import socket
import time

import pytest

from rawclient import CONTENT, HELLO, Client, only, rules, streamed
from sinklib import Sink

pytestmark = pytest.mark.sanitize


# --- the ordinary session -----------------------------------------------------------------------------------------

def test_message_line_has_every_key():
    with Sink(name="mx.sink.test") as sink, Client(sink, greet=False) as client:
        assert client.reply() == "220 mx.sink.test ESMTP posthaste sink"
        client.hello()
        assert client.mail().startswith("250 2.0.0 Ok")
        line = only(sink.events("message"))
        assert line["from"] == "a@b.test" and line["to"] == "x@example.test"
        assert line["message_id"] == "<1@b.test>" and line["size"] == len(CONTENT)
        assert line["via"] == "DATA" and line["conn"] == 1 and line["reply"].startswith("250 2.0.0 Ok")
        assert abs(line["wall_us"] / 1e6 - time.time()) < 60
        assert abs(line["t_us"] / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 60
        connect = only(sink.events("connect"))
        assert connect["peer"] == "127.0.0.1:%d" % client.socket.getsockname()[1]
        assert connect["local"] == f"127.0.0.1:{sink.port}"


def test_close_line_says_who_and_how_many():
    with Sink() as sink:
        with Client(sink) as client:
            client.hello()
            client.mail()
            assert client.ask(b"QUIT\r\n").startswith("221 ")
            assert client.rest() == b""
        with Client(sink):
            pass
        ledger = sink.wait_for(lambda lines: sum(line["event"] == "close" for line in lines) == 2)
        closes = {line["conn"]: (line["messages"], line["by"]) for line in ledger if line["event"] == "close"}
        assert closes == {1: (1, "server"), 2: (0, "client")}


def test_one_line_per_recipient_and_one_message_in_the_counts():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.send(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<u%d@e.test>\r\n" % i for i in range(100)) + b"DATA\r\n")
        assert client.codes(102) == ["250"] * 101 + ["354"]
        client.ask(CONTENT + b".\r\n")
        assert sorted(sink.messages()) == sorted("u%d@e.test" % i for i in range(100))
        counts = sink.counts()
        assert (counts["messages"], counts["recipients"], counts["content_bytes"]) == (1, 100, len(CONTENT))
        assert sink.events("message")[0]["from"] == ""


def test_commands_out_of_sequence():
    with Sink() as sink, Client(sink) as client:
        table = [
            (b"MAIL FROM:<a@b.test>\r\n", "503"),
            (b"EHLO\r\n", "501"),
            (HELLO, "250"),
            (b"RCPT TO:<a@b.test>\r\n", "503"),
            (b"DATA\r\n", "503"),
            (b"MAIL FROM:<a@b.test>\r\n", "250"),
            (b"MAIL FROM:<a@b.test>\r\n", "503"),
            (b"DATA\r\n", "554"),
            (b"MAIL FROM:<a@b.test>\r\n", "503"),
            (b"RSET\r\n", "250"),
            (b"NOOP\r\n", "250"),
            (b"VRFY a\r\n", "252"),
            (b"VRFY\r\n", "501"),
            (b"XYZZY\r\n", "500"),
            (b"\r\n", "500"),
            (b"mail from:<a@b.test>\r\n", "250"),
            (b"HELO c.test\r\n", "250"),
            (b"RCPT TO:<a@b.test>\r\n", "503"),
            (b"MAIL FROM:<a@b.test> SIZE=10\r\n", "555"),
            (b"QUIT\r\n", "221"),
        ]
        for command, code in table:
            assert client.ask(command)[:3] == code, command
        rejects = [line["stage"] for line in sink.events("reject")]
        assert rejects == ["MAIL", "EHLO", "RCPT", "DATA", "MAIL", "DATA", "MAIL", "VRFY", "XYZZY", "COMMAND", "RCPT", "MAIL"]


@pytest.mark.parametrize("command, code", [
    (b"MAIL FROM: <a@b.test>", "501"), (b"MAIL FROM:a@b.test", "501"), (b"MAIL FROM:<a@b.test", "501"),
    (b"MAIL FROM:<a@>", "501"), (b"MAIL FROM:<@b.test>", "501"), (b"MAIL FROM:<a b@b.test>", "501"),
    (b"MAIL FROM:<a@b.test>SIZE=1", "501"), (b"MAIL TO:<a@b.test>", "501"), (b"MAIL", "501"),
    (b"MAIL FROM:<" + b"a" * 250 + b"@b.test>", "501"), (b"MAIL FROM:<a\x01@b.test>", "501"),
    (b"MAIL FROM:<\"a>b\\\" c\"@b.test>", "250"), (b"MAIL FROM:<@c.test:a@b.test>", "250"), (b"MAIL FROM:<>", "250"),
    (b"MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=abc", "250"),
    (b"MAIL FROM:<a@b.test> SIZE=x", "501"), (b"MAIL FROM:<a@b.test> SIZE=99999999999", "552"),
    (b"MAIL FROM:<a@b.test> BODY=BINARYMIME", "555"), (b"MAIL FROM:<a@b.test> RET=SOME", "501"),
    (b"MAIL FROM:<a@b.test> FOO=1", "555"), (b"MAIL FROM:<\xc3\xa9@b.test>", "553"),
    (b"MAIL FROM:<\xc3\xa9@b.test> SMTPUTF8", "250"),
])
def test_mail_syntax(command, code):
    with Sink() as sink, Client(sink) as client:
        client.hello()
        assert client.ask(command + b"\r\n")[:3] == code


@pytest.mark.parametrize("command, code", [
    (b"RCPT TO:<>", "501"), (b"RCPT TO:<a>", "501"), (b"RCPT TO:<Postmaster>", "250"),
    (b"RCPT TO:<a@b.test> NOTIFY=NEVER", "250"), (b"RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY", "250"),
    (b"RCPT TO:<a@b.test> NOTIFY=NEVER,DELAY", "501"), (b"RCPT TO:<a@b.test> NOTIFY=", "501"),
    (b"RCPT TO:<a@b.test> ORCPT=rfc822;a@b.test", "250"), (b"RCPT TO:<a@b.test> ORCPT=a@b.test", "501"),
    (b"RCPT TO:<\xff@b.test>", "553"),
])
def test_rcpt_syntax(command, code):
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.ask(b"MAIL FROM:<a@b.test>\r\n")
        assert client.ask(command + b"\r\n")[:3] == code


def test_the_1001st_recipient_is_one_too_many():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.send(b"MAIL FROM:<a@b.test>\r\n" + b"".join(b"RCPT TO:<u%d@e.test>\r\n" % i for i in range(1001)))
        assert client.codes(1002) == ["250"] * 1001 + ["452"]


# --- extensions ---------------------------------------------------------------------------------------------------

EXTENSIONS = ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]


def test_ehlo_lists_all_extensions():
    with Sink(size=1234) as sink, Client(sink) as client:
        lines = client.hello().split("\r\n")
        assert lines[0].startswith("250-") and lines[-1].startswith("250 ")
        assert sorted(line[4:] for line in lines[1:]) == sorted(e + " 1234" * (e == "SIZE") for e in EXTENSIONS)


@pytest.mark.parametrize("extension, command, code", [
    ("8BITMIME", b"MAIL FROM:<a@b.test> BODY=8BITMIME", "555"),
    ("SMTPUTF8", b"MAIL FROM:<a@b.test> SMTPUTF8", "555"),
    ("SIZE", b"MAIL FROM:<a@b.test> SIZE=10", "555"),
    ("DSN", b"MAIL FROM:<a@b.test> RET=FULL", "555"),
    ("CHUNKING", b"BDAT 0 LAST", "502"),
    ("ENHANCEDSTATUSCODES", b"MAIL FROM:<a@b.test>", "250"),
    ("PIPELINING", b"MAIL FROM:<a@b.test>", "250"),
])
def test_a_withheld_extension_is_not_there(extension, command, code):
    with Sink(without=[extension.lower()]) as sink, Client(sink) as client:
        listed = [line[4:].split()[0] for line in client.hello().split("\r\n")[1:]]
        assert sorted(listed) == sorted(set(EXTENSIONS) - {extension})
        reply = client.ask(command + b"\r\n")
        assert reply[:3] == code
        assert (reply[4:9].count(".") == 2) == (extension != "ENHANCEDSTATUSCODES")


def test_all_extensions_withheld_is_one_line():
    with Sink(without=EXTENSIONS, name="n.test") as sink, Client(sink) as client:
        assert client.hello() == "250 n.test"


def test_ehlo_withheld():
    with Sink(without=["EHLO"]) as sink, Client(sink) as client:
        assert client.hello()[:3] == "502"
        assert client.ask(b"HELO c.test\r\n") == "250 sink.test"
        assert client.mail().startswith("250 Ok")


def test_size_limit_for_data_and_bdat():
    with Sink(size=100) as sink, Client(sink) as client:
        client.hello()
        assert client.mail(content=b"x" * 98 + b"\r\n")[:3] == "250"
        assert client.mail(content=b"x" * 99 + b"\r\n")[:3] == "552"
        assert client.envelope() == ["250", "250"]
        assert client.ask(b"BDAT 60\r\n" + b"x" * 60)[:3] == "250"
        assert client.ask(b"BDAT 60 LAST\r\n" + b"x" * 60)[:3] == "552"
        assert client.mail()[:3] == "250"


# --- content ------------------------------------------------------------------------------------------------------

def test_dot_stuffing_is_undone_and_stored():
    wire = b"Subject: x\r\n\r\n..one\r\n...\r\n.two\r\n..\r\nthree.\r\n.\r\n"
    plain = b"Subject: x\r\n\r\n.one\r\n..\r\ntwo\r\n.\r\nthree.\r\n"
    with Sink(store=True) as sink, Client(sink) as client:
        client.hello()
        assert client.envelope() == ["250", "250"] and client.ask(b"DATA\r\n")[:3] == "354"
        assert client.ask(wire)[:3] == "250"
        line = only(sink.events("message"))
        assert line["size"] == len(plain) and sink.content(line) == plain and line["message_id"] is None


def test_content_split_at_every_byte():
    wire = b"Message-ID: <s@b.test>\r\n\r\n..\r\n.a\r\n..\r\r\n.\r\n"
    with Sink(store=True, lax=True) as sink, Client(sink) as client:
        client.hello()
        for at in range(1, len(wire)):
            assert client.envelope() == ["250", "250"] and client.ask(b"DATA\r\n")[:3] == "354"
            client.send(wire[:at])
            sink.counts()  # a round through the sink's loop: the first part has been read
            assert client.ask(wire[at:])[:3] == "250"
        for line in sink.events("message"):
            assert sink.content(line) == b"Message-ID: <s@b.test>\r\n\r\n.\r\na\r\n.\r\r\n"
            assert line["message_id"] == "<s@b.test>"


def reference(wire, strict):
    """The end of the content, found the slow way: (content, bytes used) or None."""
    content, at = b"", 0
    while True:
        newline = wire.find(b"\n", at)
        while strict and newline > at - 1 and newline >= 0 and (newline == at or wire[newline - 1:newline] != b"\r"):
            newline = wire.find(b"\n", newline + 1)
        if newline < 0:
            return None
        line = wire[at:newline + 1]
        at = newline + 1
        if line == b".\r\n" or (not strict and line == b".\n"):
            return content, at
        content += line[1:] if line.startswith(b".") else line


@pytest.mark.parametrize("lax", [False, True])
def test_end_of_data_agrees_with_a_slow_reference(lax):
    """Strings over CR, LF, dot and a letter, the stuff that smuggling is made of. The session must stay in step."""
    chooser = random.Random(5321)
    cases = [b"".join(chooser.choice([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n."]) for _ in range(chooser.randint(0, 9)))
             for _ in range(400)]
    with Sink(store=True, lax=lax) as sink, Client(sink) as client:
        client.hello()
        for case in cases:
            wire = case + b"\r\n.\r\n"
            content, used = reference(wire, not lax)
            sound = lax or (content.replace(b"\r\n", b"").find(b"\r") < 0 and content.replace(b"\r\n", b"").find(b"\n") < 0)
            assert client.envelope() == ["250", "250"] and client.ask(b"DATA\r\n")[:3] == "354"
            # What lies behind an early end would be commands; leave it out, it is the next test's matter.
            assert client.ask(wire[:used])[:3] == ("250" if sound else "554"), (case, content)
            event = only([line for line in sink.ledger() if line.get("size") is not None][-1:])
            assert event["event"] == ("message" if sound else "reject")
            assert sink.content(event) == content, case
        assert client.ask(b"NOOP\r\n")[:3] == "250"


@pytest.mark.parametrize("content, what", [
    (b"a\nb\r\n", "bare LF"), (b"a\rb\r\n", "bare CR"), (b"a\r\r\n", "bare CR"), (b"a\n\r\n", "bare LF"),
    (b"a\n.\r\nMAIL FROM:<evil@e.test>\r\n", "bare LF"), (b"a\n.\nMAIL FROM:<evil@e.test>\r\n", "bare LF"),
    (b"a\r\n.\nMAIL FROM:<evil@e.test>\r\n", "bare LF"), (b"a\r\n.\rb\r\n", "bare CR"),
])
def test_bare_line_ends_in_content_are_refused_and_smuggle_nothing(content, what):
    with Sink() as sink, Client(sink) as client:
        client.hello()
        assert client.mail(content=content)[:3] == "554"
        violation = only(sink.events("violation"))
        assert (violation["what"], violation["where"], violation["to"]) == (what, "EOD", "x@example.test")
        assert only(sink.events("reject"))["stage"] == "EOD" and sink.messages() == {}
        assert client.mail()[:3] == "250"


@pytest.mark.parametrize("chunks", [[b"a\r", b"\nb\r\n"], [b"", b"a\r\n"], [b"a\r\n", b""]])
def test_line_ends_may_be_split_between_chunks(chunks):
    with Sink(store=True) as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        assert client.ask(b"BDAT %d\r\n" % len(chunks[0]) + chunks[0])[:3] == "250"
        assert client.ask(b"BDAT %d LAST\r\n" % len(chunks[1]) + chunks[1])[:3] == "250"
        assert sink.content(only(sink.events("message"))) == b"".join(chunks)


def test_a_cr_at_the_very_end_of_bdat_is_bare():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        assert client.ask(b"BDAT 2 LAST\r\na\r")[:3] == "554"
        assert only(sink.events("violation"))["what"] == "bare CR"


def test_lax_takes_bare_line_feeds():
    with Sink(lax=True) as sink, Client(sink) as client:
        client.hello()
        assert client.ask(b"MAIL FROM: <a@b.test>\n")[:3] == "250"
        assert client.ask(b"RCPT TO:<x@e.test>\n")[:3] == "250"
        assert client.ask(b"DATA\n")[:3] == "354"
        assert client.ask(b"Message-Id: <lf@b.test>\n\nhi\n.\n")[:3] == "250"
        assert only(sink.events("message"))["message_id"] == "<lf@b.test>"
        assert sink.events("violation") == []


@pytest.mark.parametrize("command, what", [
    (b"NOOP\n", "bare LF"), (b"NO\rOP\r\n", "bare CR"), (b"NOOP \0\r\n", "NUL"), (b"NOOP " + b"x" * 5000 + b"\r\n", "line too long"),
])
def test_bad_bytes_in_commands(command, what):
    with Sink() as sink, Client(sink) as client:
        assert client.ask(command)[:3] == "500"
        assert client.ask(b"NOOP\r\n")[:3] == "250"
        assert [line["what"] for line in sink.events("violation")] == [what]


@pytest.mark.parametrize("header, message_id", [
    (b"Message-ID: <a@b>\r\n", "<a@b>"), (b"Subject: x\r\nmessage-id:\t<a@b> \r\n", "<a@b>"),
    (b"Message-ID:\r\n <folded@b>\r\nX: y\r\n", "<folded@b>"), (b"Subject: Message-ID: <no@b>\r\n", None),
    (b"X: 1\r\n Message-ID: <no@b>\r\n", None), (b"", None), (b"Message-ID: <1@b>\r\nMessage-ID: <2@b>\r\n", "<1@b>"),
    (b"X: " + b"y" * 900 + b"\r\n" + b"Z: z\r\n" * 5000 + b"Message-ID: <late@b>\r\n", "<late@b>"),
])
def test_message_id(header, message_id):
    with Sink() as sink, Client(sink) as client:
        client.hello()
        assert client.mail(content=header + b"\r\nMessage-ID: <body@b>\r\n")[:3] == "250"
        assert only(sink.events("message"))["message_id"] == message_id


def test_ledger_keeps_strange_bytes():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.send(b'MAIL FROM:<"\xff\\"<"@b.test> SMTPUTF8\r\nRCPT TO:<\xc3\xa9@b.test>\r\n')
        assert client.codes(2) == ["250", "250"]
        client.ask(b"DATA\r\n")
        client.ask(b"Message-ID: <\x01\x7f>\r\n\r\n.\r\n")
        line = only(sink.events("message"))
        assert line["from"].encode("utf-8", "surrogateescape") == b'"\xff\\"<"@b.test'
        assert line["to"] == "\u00e9@b.test" and line["message_id"] == "<\x01\x7f>"


# --- pipelining and BDAT ------------------------------------------------------------------------------------------

def test_streamed_messages_are_all_accepted_in_order():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.send(streamed(200))
        assert client.codes(600) == ["250"] * 600
        lines = sink.events("message")
        assert [line["to"] for line in lines] == ["r%d@example.test" % i for i in range(200)]
        assert {line["via"] for line in lines} == {"BDAT"} and sink.events("violation") == []


def test_next_envelope_behind_the_content():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\nDATA\r\n")
        assert client.codes(3) == ["250", "250", "354"]
        for _ in range(20):
            client.send(CONTENT + b".\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\nDATA\r\n")
            assert client.codes(4) == ["250", "250", "250", "354"]
        assert sink.events("violation") == [] and len(sink.events("message")) == 20


@pytest.mark.parametrize("without, data, where", [
    (["PIPELINING"], b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\n", "MAIL"),
    ([], b"NOOP\r\nNOOP\r\n", "NOOP"),
    ([], b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\n", "EHLO"),
    ([], b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\nDATA\r\n" + CONTENT + b".\r\n", "DATA"),
    (["PIPELINING"], b"NOOP\r\n", None),
    ([], b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@e.test>\r\nBDAT 2 LAST\r\n\r\nRSET\r\n", None),
])
def test_groups_that_rfc_2920_forbids_are_violations(without, data, where):
    with Sink(without=without) as sink, Client(sink) as client:
        client.hello()
        client.send(data)
        client.send(b"QUIT\r\n")
        client.rest()
        # QUIT may be read together with what is before it, so only what was asked about is looked at.
        violations = [line["where"] for line in sink.events("violation")]
        if where is None and without:
            violations = violations if len(violations) > 1 else []
        assert violations == ([where] if where else [])


def test_bdat_refusals_skip_their_bytes():
    chunk = b"QUIT\r\nQUIT\r\n"  # would end the session if it were taken for commands
    with Sink() as sink, Client(sink) as client:
        client.hello()
        assert client.ask(b"BDAT %d LAST\r\n" % len(chunk) + chunk)[:3] == "503"
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "250"
        assert client.ask(b"BDAT %d\r\n" % len(chunk) + chunk)[:3] == "554"
        assert client.ask(b"BDAT %d LAST\r\n" % len(chunk) + chunk)[:3] == "503"
        assert client.envelope() == ["250", "250"]
        assert client.ask(b"BDAT 2\r\n\r\n")[:3] == "250"
        assert client.ask(b"DATA\r\n")[:3] == "503"
        assert client.ask(b"RCPT TO:<y@e.test>\r\n")[:3] == "503"
        assert client.ask(b"RSET\r\n")[:3] == "250"
        assert client.mail()[:3] == "250"


@pytest.mark.parametrize("command", [b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 1 LAST LAST", b"BDAT 1 FIRST", b"BDAT 9999999999999999999"])
def test_malformed_bdat_ends_the_session(command):
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.envelope()
        client.send(command + b"\r\n")
        assert client.rest().startswith(b"501 ")
        assert only(sink.events("violation"))["what"] == "malformed BDAT"


def test_refused_chunk_fails_the_rest_of_its_message_only():
    script = rules({"command": "BDAT", "nth": 2, "reply": "451 4.3.0 no room"})
    with Sink(script=script) as sink, Client(sink) as client:
        client.hello()
        client.envelope("bad@e.test")
        client.send(b"BDAT 2\r\n\r\nBDAT 2\r\n\r\nBDAT 2\r\n\r\nBDAT 2 LAST\r\n\r\n" + streamed(1))
        assert client.codes(7) == ["250", "451", "503", "503", "250", "250", "250"]
        assert list(sink.messages()) == ["r0@example.test"]
        assert [line["to"] for line in sink.events("reject", stage="BDAT")] == ["bad@e.test"] * 3


# --- delay --------------------------------------------------------------------------------------------------------

def test_delay_applies_to_greeting_and_each_round_trip():
    with Sink(delay_ms=50) as sink:
        began = time.monotonic()
        with Client(sink) as client:
            greeting = time.monotonic() - began
            client.hello()
            assert greeting >= 0.05 and time.monotonic() - began >= 0.1


def test_delay_does_not_serialise():
    with Sink(delay_ms=50) as sink, Client(sink) as client:
        client.hello()
        began = time.monotonic()
        for i in range(50):
            client.send(streamed(1, to="m" + str(i) + "-%d@e.test"))
        assert client.codes(150) == ["250"] * 150
        took = time.monotonic() - began
        assert 0.05 <= took < 0.5, took
        assert len(sink.events("message")) == 50


def test_lock_step_pays_for_each_round_trip():
    with Sink(delay_ms=20) as sink, Client(sink) as client:
        client.hello()
        began = time.monotonic()
        for _ in range(10):
            client.ask(b"NOOP\r\n")
        assert time.monotonic() - began >= 0.2


def test_reply_lost_in_the_delay_is_null_in_the_ledger():
    with Sink(delay_ms=300) as sink:
        with Client(sink) as client:
            client.hello()
            client.send(streamed(1))
            sink.wait_for(lambda _: sink.counts()["messages"] == 1)
            assert sink.events("message") == []  # nothing has been said about it yet
        ledger = sink.wait_for(lambda lines: lines[-1]["event"] == "close")
        message = only([line for line in ledger if line["event"] == "message"])
        assert message["reply"] is None and sink.counts()["replies_lost"] == 1
