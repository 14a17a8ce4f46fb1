"""The SMTP listener for what comes back: whom it takes, what it refuses, and that a 250 means that it is recorded."""
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

import harness
from conftest import add_up, emails, run_to_end
from rawclient import Client, trusting
from test_bounce import HARD, report, sent, suppressions

BOUNCES = 'bounces { listen = "127.0.0.1:0"  domain = "bounce.test" %s }\n'


def listener(place, more="", config="", people=3, domains=("one.test",)):
    """(server, its people, their return paths, a function that connects to the listener)"""
    sink = place.sink(store=True)
    server = place.server(sink, config=BOUNCES % more + config)
    who = emails(people, list(domains))
    place.people(server, who)
    campaign = server.create_campaign()
    assert run_to_end(server, campaign)["delivered"] == people
    paths = [sent(sink, address)[1] for address in who]
    return server, campaign, who, paths, connector(server)


def address_of(server):
    return "127.0.0.1", int(re.findall(r"reports are taken at \S+ port (\d+)", server.log.read_text())[-1])


def connector(server):
    def connect(**more):
        return Client(None, address=address_of(server), **more)
    return connect


def crlf(mail):
    return re.sub(r"(?m)^\.", "..", mail).replace("\r\n", "\n").replace("\n", "\r\n").encode()


def give(client, mail, *to, sender=""):
    client.send(b"MAIL FROM:<%s>\r\n" % sender.encode() + b"".join(b"RCPT TO:<%s>\r\n" % one.encode() for one in to))
    assert client.codes(1 + len(to)) == ["250"] * (1 + len(to))
    assert client.ask(b"DATA\r\n").startswith("354 ")
    return client.ask(crlf(mail) + b".\r\n")


@pytest.mark.sanitize
def test_a_report_is_recorded_before_its_250(place):
    server, campaign, who, paths, connect = listener(place)
    assert paths[0].endswith("@bounce.test")
    with connect() as client:
        client.hello()
        assert give(client, report(who[0], HARD, to="somebody@else.test"), paths[0]).startswith("250 ")
        server.kill()  # the 250 was said: whatever happens now
    server.start()
    assert suppressions(server)[who[0]]["reason"] == "hard-bounce"
    with connector(server)() as client:
        client.hello()
        # Twice is once; in upper case; two recipients of one mail; one whose header alone knows the token.
        assert give(client, report(who[0], HARD), paths[0].upper()).startswith("250 ")
        assert give(client, report("x@y.test", HARD), paths[1], paths[2]).startswith("250 ")
        assert client.ask(b"QUIT\r\n").startswith("221 ")
    stats = add_up(server.stats(campaign))
    assert (stats["bounced"], stats["delivered"], stats["hard_bounced"]) == (3, 0, 3)
    assert sorted(suppressions(server)) == sorted(who)
    stats = server.api.get("/v1/stats").json
    assert stats["bounces"]["mails"] == 3 and stats["bounces"]["hard"] == 2 and stats["bounces"]["repeated"] == 1, stats


def test_only_our_addresses_are_taken(place):
    server, _, who, paths, connect = listener(place)
    local, _, _ = paths[0].partition("@")
    altered = local[:-1] + ("a" if local[-1] != "a" else "b")
    refused = [who[0], "postmaster@else.test", "%s@bounce.test" % altered, "%s@else.test" % local, "bounce+@bounce.test", "bounce@bounce.test",
               "bounce+%s@bounce.test" % ("a" * 60), "unsubscribe+%s@bounce.test" % local.partition("+")[2], "info@bounce.test",
               "%s%%else.test@bounce.test" % who[0].replace("@", "%"), "fbl", "\"%s\"@bounce.test" % who[0], "%s@bounce.test@else.test" % local]
    taken = [paths[0], "fbl@bounce.test", "FBL@Bounce.Test", "postmaster@bounce.test", "Postmaster", "@relay.test:%s" % paths[0]]
    for wanted, addresses in (("550 5.1.1", refused), ("250 2.1.5", taken)):
        with connect() as client:
            client.hello()
            assert client.ask(b"MAIL FROM:<>\r\n").startswith("250 ")
            for address in addresses:
                assert client.ask(b"RCPT TO:<%s>\r\n" % address.encode()).startswith(wanted), address
            if wanted[0] == "5":
                assert client.ask(b"DATA\r\n").startswith("554 ")
    with connect() as client:  # who tries names ends soon
        client.hello()
        client.ask(b"MAIL FROM:<>\r\n")
        client.send(b"".join(b"RCPT TO:<u%d@bounce.test>\r\n" % n for n in range(100)))
        answers = client.rest().decode().split("\r\n")
        assert sum(line.startswith("550 ") for line in answers) == 20 and answers[20].startswith("421 "), answers


def test_smtp_as_it_is_written(place):
    server, _, _, paths, connect = listener(place, more="message_bytes = 100000")
    path = paths[0].encode()
    with connect(greet=False) as client:
        assert re.fullmatch(r"220 mta1\.test ESMTP", client.reply())
        offered = client.hello().split("\r\n")
        assert {line[4:] for line in offered[1:]} == {"PIPELINING", "SIZE 100000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}
        for command, code in ((b"NOOP", "250"), (b"VRFY <root>", "252"), (b"EXPN x", "500"), (b"AUTH PLAIN AAAA", "500"), (b"STARTTLS", "502"),
                              (b"RCPT TO:<%s>" % path, "503"), (b"DATA", "503"), (b"MAIL FROM:x@y.test", "501"), (b"MAIL FROM:<a b@y.test>", "501"),
                              (b"MAIL FROM:<x@y.test> SIZE=100001", "552"), (b"MAIL FROM:<x@y.test> RET=FULL", "555"),
                              (b"MAIL FROM:<\xff@y.test>", "500"), (b"mail from: <x@y.test> body=8bitmime smtputf8 size=100", "250"),
                              (b"MAIL FROM:<x@y.test>", "503"), (b"RCPT TO:<>", "501"), (b"RCPT TO:<%s> NOTIFY=NEVER" % path, "555"),
                              (b"RCPT TO:<%s>" % path, "250"), (b"RSET", "250"), (b"DATA", "503"), (b"HELO", "501"), (b"HELO x", "250")):
            assert client.ask(command + b"\r\n").startswith(code), command
        # All of it in one packet; the next envelope right behind the dot.
        envelope = b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % path
        client.send(envelope)
        assert client.codes(3) == ["250", "250", "354"]
        client.send(b"Subject: x\r\n\r\n..\r\n.\r\n" + envelope)
        assert client.codes(4) == ["250", "250", "250", "354"]
        client.send(b"x" * 200000 + b"\r\n.\r\nNOOP\r\n")
        assert client.codes(2) == ["552", "250"]
        assert give(client, "small\n", paths[0]).startswith("250 ")
        client.send(b"N" * 3000)
        assert client.rest().startswith(b"421 ")


@pytest.mark.parametrize("data", [
    b"Subject: x\r\n\r\nx\n.\r\nMAIL FROM:<a@b.test>\r\n", b"x\r\n.\nMAIL FROM:<a@b.test>\r\n", b"x\n.\n", b"x\r.\r\n.\r\n", b"x\r\r\n.\r\n",
    b"x\r\n.\r\r\n", b"\n", b"\r\n.\n"], ids=lambda data: repr(data)[:30])
def test_nothing_can_be_smuggled(place, data):
    server, _, who, paths, connect = listener(place)
    with connect() as client:
        client.hello()
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % paths[0].encode())
        assert client.codes(3) == ["250", "250", "354"]
        client.send(data + crlf(report(who[0], HARD)) + b".\r\n")
        assert client.rest().startswith(b"521 5.5.2 ") and not suppressions(server)
    for command in (b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\x00OP\r\n"):
        with connect() as client:
            client.hello()
            client.send(command)
            assert client.reply()[:3] in ("521", "500")


def test_starttls(place, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=bounce.test"], check=True, capture_output=True)
    server, _, who, paths, connect = listener(place, more='tls_cert = "%s" tls_key = "%s"' % (cert, key))
    with connect() as client:
        assert "STARTTLS" in client.hello()
        client.ask(b"MAIL FROM:<>\r\n")
        assert client.ask(b"STARTTLS\r\n").startswith("220 ")
        client.wrap(trusting())
        assert client.ask(b"RCPT TO:<%s>\r\n" % paths[0].encode()).startswith("503 ")  # nothing of before holds
        assert "STARTTLS" not in client.hello()
        assert give(client, report(who[0], HARD), paths[0]).startswith("250 ")
        assert client.ask(b"QUIT\r\n").startswith("221 ")
    assert list(suppressions(server)) == [who[0]]
    with connect() as client:  # CVE-2011-0411: what was said before is not said under TLS
        client.hello()
        client.send(b"STARTTLS\r\nEHLO x\r\nMAIL FROM:<>\r\n")
        assert client.rest() in (b"220 2.0.0 go on\r\n", b"220 2.0.0 go on\r\n<reset>", b"")
    with connect() as client:
        client.hello()
        assert client.ask(b"STARTTLS\r\n").startswith("220 ")
        client.send(b"EHLO in clear text\r\n" * 10)
        assert b"250" not in client.rest()
    with connect() as client:
        assert client.mail is not None and client.hello()  # and it still serves


def test_bounds_of_connections_and_time(place):
    server, _, _, paths, connect = listener(place, more="connections = 5 connections_per_address = 3 timeout = 1s")
    clients = [connect() for _ in range(3)]
    late = connect(greet=False)
    assert late.rest().startswith(b"421 4.7.0 ")
    others = [socket.create_connection(address_of(server), source_address=("127.0.0.%d" % n, 0)) for n in (2, 3, 4)]
    assert [one.recv(100)[:4] for one in others] == [b"220 ", b"220 ", b"421 "]
    for one in others:
        one.close()
    for client in clients:  # nobody says anything
        assert client.rest() in (b"", b"<reset>")
    with connect() as client:
        client.hello()
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: x" % paths[0].encode())
        assert client.codes(3) == ["250", "250", "354"]
        assert client.rest() in (b"", b"<reset>")
    time.sleep(1.5)  # nobody comes for longer than that: it is no fault of the next one
    with connect() as client:
        time.sleep(0.3)
        client.hello()
        assert client.ask(b"NOOP\r\n").startswith("250 ")


def test_postmaster_is_heard_and_nobody_is_answered(place):
    server, _, who, paths, connect = listener(place)
    with connect() as client:
        client.hello()
        assert give(client, "From: ann@a.test\nSubject: hello\n\nWho are you?\n.\n", "postmaster", sender="ann@a.test").startswith("250 ")
        assert give(client, report(who[0], HARD), "postmaster@bounce.test", paths[0]).startswith("250 ")
        assert give(client, "From: ann@a.test\nSubject: Re: news\n\nThanks.\n", paths[1]).startswith("250 ")
    letters = server.data_dir / "postmaster" / "new"
    assert len(os.listdir(letters)) == 1
    text = (letters / os.listdir(letters)[0]).read_bytes()
    assert text.startswith(b"Return-Path: <ann@a.test>\nDelivered-To: postmaster\n") and text.endswith(b"\nWho are you?\n.\n") and b"\r" not in text
    assert list(suppressions(server)) == [who[0]]


def test_unsubscribe_by_mail(place):
    sink = place.sink(store=True)
    server = place.server(sink, config=BOUNCES % "")
    place.people(server, ["a@one.test", "b@one.test"])
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    message, _ = sent(sink, "a@one.test")
    token = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
    with connector(server)() as client:
        client.hello()
        assert give(client, "From: a@one.test\nSubject: unsubscribe\n\n\n", "unsubscribe+%s@bounce.test" % token).startswith("250 ")
        assert server.stats(campaign)["unsubscribed"] == 1
        message, _ = sent(sink, "b@one.test")
        token = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
        assert give(client, "From: Bounce House <b@one.test>\nSubject: x\n\n\n", "unsubscribe+%s@bounce.test" % token).startswith("250 ")
    assert server.stats(campaign)["unsubscribed"] == 2


@pytest.mark.sanitize
def test_a_new_link_key_is_known_at_once(place):
    """Nothing else was mailed since the key was made: its first report must not be refused for that. Reloads beside it."""
    sink = place.sink(store=True)
    server = place.server(sink, config=BOUNCES % "")
    people = emails(2, ["one.test"])
    place.people(server, people)
    server.cli("link-key", "rotate")
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    fresh = [sent(sink, address)[1] for address in people]
    with connector(server)() as client:
        client.hello()
        for path, address in zip(fresh, people):
            server.process.send_signal(signal.SIGHUP)
            assert give(client, report(address, HARD, to="somebody@else.test"), path).startswith("250 ")
    assert add_up(server.stats(campaign))["bounced"] == 2


def test_with_smtplib_and_the_end_of_the_server(place):
    server, _, who, paths, connect = listener(place)
    with smtplib.SMTP(*address_of(server)) as client:
        client.sendmail("", [paths[0]], report(who[0], HARD))
    idle = connect()
    idle.hello()
    half = connect()
    half.hello()
    half.send(b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: x\r\n" % paths[1].encode())
    assert half.codes(3) == ["250", "250", "354"]
    assert server.stop() == 0
    for client in (idle, half):
        assert client.rest().startswith(b"421 4.3.2 ")
    assert server.start() and list(suppressions(server)) == [who[0]]


def test_what_cannot_listen_is_said(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = place.server(config='bounces { listen = "127.0.0.1:%d" domain = "b.test" }' % port, start=False)
        with pytest.raises(RuntimeError, match="bounces: cannot listen at 127.0.0.1 port %d" % port):
            server.start()
        server.process = None
    server = place.server(config='bounces { listen = "127.0.0.1:0" domain = "b.test" tls_cert = "/nowhere" tls_key = "/nowhere" }', start=False)
    with pytest.raises(RuntimeError, match="/nowhere"):
        server.start()
    server.process = None
