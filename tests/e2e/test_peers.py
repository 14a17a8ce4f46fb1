"""Real mail servers receive: first what the fixtures themselves are worth, then a campaign of posthaste to each, with nothing lost, nothing doubled,
and every signature verified by dkimpy from what the peer has delivered."""
import collections
import smtplib
import ssl
import time

import dkim
import pytest

from conftest import emails, run_to_end
from harness import PROGRAM, wait_until
from peerlib import Aiosmtpd, Exim, OpenSMTPD, Postfix
from rawclient import Client, trusting

PEERS = {
    "postfix-chunking": lambda: Postfix(chunking=True),
    "postfix": lambda: Postfix(chunking=False),
    "exim-chunking": lambda: Exim(chunking=True),
    "exim": lambda: Exim(chunking=False),
    "opensmtpd": OpenSMTPD,
    "aiosmtpd": Aiosmtpd,
}
COUNT = 50
CAMPAIGN = 2000


def running(make):
    """The peer, started; the test is skipped where it cannot run."""
    made = make()
    why = made.missing()
    if why:
        pytest.skip("%s: %s" % (made.name, why))
    return made


@pytest.fixture(params=PEERS)
def peer(request):
    with running(PEERS[request.param]) as made:
        yield made


def content(number):
    """Dots, blanks at line ends, 8-bit bytes and a long line: what transport must not touch. No two are alike."""
    return ("From: News <a@sender.test>\r\nTo: <r%d@e.test>\r\nSubject: number %d\r\nDate: Mon, 23 Nov 2026 18:00:00 +0000\r\n"
            "Message-ID: <m%d@sender.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
            "\r\n.\r\n..dots\r\n. \r\nblank at the end \r\n\r\nwörter %s\r\n%s\r\n\r\n.\r\nend\r\n"
            % (number, number, number, "x" * 900, "line\r\n" * (number % 7))).encode()


def check_all(peer, sender_content, count=COUNT):
    """Each recipient exactly once, with the bytes that were sent."""
    messages = peer.wait_for(count)
    got = collections.Counter(recipient for message in messages for recipient in message.recipients)
    assert got == {"r%d@e.test" % n: 1 for n in range(count)}
    for message in messages:
        number = int(message.recipients[0][1:].split("@")[0])
        assert message.message_id == "<m%d@sender.test>" % number
        assert message.content == sender_content(number), (peer.name, number)
    assert len(peer.messages()) == count


# --- the fixtures -------------------------------------------------------------------------------------------------

def test_smtplib_delivers(peer):
    """A client in lock step, which nobody refuses; with TLS where that works."""
    with smtplib.SMTP(peer.host, peer.port, local_hostname="client.test", timeout=30) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        if peer.tls_works:
            client.starttls(context=trusting())
            client.ehlo()
        for number in range(COUNT):
            client.sendmail("a@sender.test", ["r%d@e.test" % number], content(number), ["BODY=8BITMIME"])
    check_all(peer, content)


def stuffed(data):
    return data.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def hello(client):
    return {line[4:].split()[0].upper() for line in client.hello().split("\r\n")[1:]}


def envelope(number):
    return b"MAIL FROM:<a@sender.test> BODY=8BITMIME\r\nRCPT TO:<r%d@e.test>\r\n" % number


def stream_bdat(client):
    """All of it outstanding at once (RFC 3030 lets BDAT be pipelined)."""
    client.send(b"".join(envelope(n) + b"BDAT %d LAST\r\n" % len(content(n)) + content(n) for n in range(COUNT)))
    assert client.codes(3 * COUNT) == ["250"] * (3 * COUNT)


def stream_data(client):
    """The next envelope rides behind the content (RFC 2920 3.1)."""
    client.send(envelope(0) + b"DATA\r\n")
    assert client.codes(3) == ["250", "250", "354"]
    for number in range(1, COUNT):
        client.send(stuffed(content(number - 1)) + envelope(number) + b"DATA\r\n")
        assert client.codes(4) == ["250", "250", "250", "354"]
    assert client.ask(stuffed(content(COUNT - 1)))[:3] == "250"


def lock_step(client):
    for number in range(COUNT):
        for line in envelope(number).splitlines(keepends=True):
            assert client.ask(line)[:3] == "250"
        assert client.ask(b"DATA\r\n")[:3] == "354"
        assert client.ask(stuffed(content(number)))[:3] == "250"


def test_streams_are_taken(peer):
    """As deep as the peer allows, on one connection."""
    with Client(None, address=(peer.host, peer.port)) as client:
        if peer.tls_works:
            client.starttls()
        offered = hello(client)
        assert ("CHUNKING" in offered) == getattr(peer, "chunking", False)
        send = lock_step
        if "PIPELINING" in offered:
            send = stream_bdat if "CHUNKING" in offered else stream_data
        send(client)
        assert client.ask(b"QUIT\r\n")[:3] == "221"
    check_all(peer, content)


def test_postfix_forbids_what_was_not_offered_yet():
    """smtpd_forbid_unauth_pipelining: commands sent behind EHLO before its reply end the connection, so a sender that did it would be found out."""
    with running(Postfix) as peer, Client(None, address=(peer.host, peer.port)) as client:
        client.send(b"EHLO client.test\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<r0@e.test>\r\n")
        assert client.rest().startswith(b"554 ")
        wait_until(lambda: "improper command pipelining after EHLO" in peer.log(), 20, "Postfix to log it")


def test_opensmtpd_fails_in_the_handshake():
    """The distribution's OpenSMTPD offers STARTTLS and cannot do it (see peerlib): what an opportunistic sender has to survive."""
    with running(OpenSMTPD) as peer:
        with Client(None, address=(peer.host, peer.port)) as client, pytest.raises((ssl.SSLError, ConnectionError)):
            client.starttls()
        with Client(None, address=(peer.host, peer.port)) as client:
            offered = hello(client)
            assert "STARTTLS" in offered and "PIPELINING" not in offered
            client.send(envelope(0).replace(b" BODY=8BITMIME", b""))
            assert client.rest() == b"500 5.5.1 Invalid command: Pipelining not supported\r\n", "and it means that"


def test_the_certificate_is_for_the_peer():
    with Aiosmtpd() as peer, Client(None, address=(peer.host, peer.port)) as client:
        context = ssl.create_default_context(cafile=peer.certificate.authority)
        client.starttls(context, name="aiosmtpd.test")


# --- posthaste ----------------------------------------------------------------------------------------------------

def check_signatures(server, messages):
    """dkimpy, over what the peer has delivered."""
    records = {record["name"].encode() + b".": record["value"].encode() for domain in server.api.pages("/v1/domains") for record in domain["dns"]}
    for message in messages:
        assert dkim.verify(message.content, dnsfunc=lambda name, timeout=5: records.get(name if isinstance(name, bytes) else name.encode())), \
            message.recipients


TEXT = "Hello {{name}}\n.\n..\n. \nblank at the end \n\tFrom {{city}}\n%s\n.\n\n" % ("wörter " * 200)


def send_campaign(place, peer, tls):
    """2,000 recipients over some domains, by a few connections: each gets one message, posthaste says delivered of each, all signatures verify."""
    # OpenSMTPD takes 100 messages on one connection, which is what the profile sends.
    server = place.server(config='route "*" { host = "%s"  port = %d  tls = "%s" }' % (peer.host, peer.port, tls),
                          profile="connections = 4  messages_per_connection = 100")
    audience = emails(CAMPAIGN, ["one.test", "two.test", "three.test"])
    place.people(server, audience)
    began = time.monotonic()
    campaign = server.create_campaign(text=TEXT, html="<p>.</p>\n.\n<p>Hello {{name}}</p>\n")
    stats = run_to_end(server, campaign, 120)
    took = time.monotonic() - began
    assert stats["delivered"] == CAMPAIGN, stats
    rows = server.deliveries(campaign)
    assert {row["email"] for row in rows} == set(audience) and not any(row["uncertain"] for row in rows)
    messages = peer.wait_for(CAMPAIGN)
    got = collections.Counter(recipient for message in messages for recipient in message.recipients)
    assert got == {address: 1 for address in audience}
    assert len({message.message_id for message in messages}) == CAMPAIGN
    print("%s: %d messages in %.1f s" % (peer.name, CAMPAIGN, took))
    check_signatures(server, messages)


@pytest.mark.skipif(not PROGRAM.exists(), reason="posthaste is not built")
@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_campaign(name, place):
    """Under TLS, streamed as deep as the peer allows. OpenSMTPD's TLS does not work: there an opportunistic sender falls back to clear text."""
    with running(PEERS[name]) as peer:
        send_campaign(place, peer, "required" if peer.tls_works else "opportunistic")
