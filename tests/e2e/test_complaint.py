"""Abuse reports: they count only through a token in what they return, and only when their source has signed them."""
import os
import subprocess
import time

import pytest

import dnslib
from conftest import add_up, emails, run_to_end
from test_bounce import complaint, ingest, sent, suppressions
from test_listener import connector, crlf

SIGN = os.path.join(os.environ.get("POSTHASTE_BUILD", "build"), "tests", "unit", "dkim", "sign_tool")


class Signer:
    """A report source with keys in the DNS: isp.test good, revoked.test without its record."""

    def __init__(self, folder):
        self.key = folder / "isp.pem"
        self.key.write_bytes(subprocess.run([SIGN, "--generate"], capture_output=True, check=True).stdout)
        record = subprocess.run([SIGN, "--record", self.key], capture_output=True, check=True, text=True).stdout.strip()
        strings = " ".join('"%s"' % record[at:at + 200] for at in range(0, len(record), 200))
        self.knot = dnslib.Knot({"isp.test": "s._domainkey TXT %s\ns._domainkey.sub TXT %s" % (strings, strings), "evil.test": "s._domainkey TXT %s" % strings,
                                 "revoked.test": "", "silent.test": None}).start()

    def sign(self, mail, domain="isp.test"):
        return subprocess.run([SIGN, self.key, domain, "s", str(int(time.time()))], input=mail.replace("\n", "\r\n").encode(), capture_output=True,
                              check=True).stdout.decode()


@pytest.fixture
def signer(tmp_path):
    source = Signer(tmp_path)
    yield source
    source.knot.stop()


def scene(place, signer, more=""):
    sink = place.sink(store=True)
    server = place.server(sink, config='dns { server = "%s" }\nbounces { listen = "127.0.0.1:0" domain = "bounce.test" %s }\n' % (signer.knot.server, more))
    people = emails(4, ["one.test"])
    place.people(server, people)
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    return server, campaign, people, [sent(sink, who) for who in people]


def test_only_signed_ones_count(place, signer):
    server, campaign, people, mails = scene(place, signer)
    message, path = mails[0]
    plain = complaint(message_id=message["Message-ID"])
    signed = signer.sign(plain)
    wrong = {"unsigned": plain, "changed": signed.replace("This is an abuse report", "This is another report"),
             "another's signature": signer.sign(plain, "evil.test"), "no such record": signer.sign(plain.replace("isp.test", "revoked.test"), "revoked.test"),
             "two senders": signed.replace("From: fbl@isp.test", "From: fbl@isp.test\r\nFrom: x@evil.test"),
             "another sender": signed.replace("From: fbl@isp.test", "From: fbl@evil.test")}
    for name, mail in wrong.items():
        summary = ingest(server, mail)
        assert (summary["complaints"], summary["untrusted"], summary["complained"]) == (1, 1, 0), (name, summary)
    # No token in what is returned, though it was sent to one; no DNS: nothing is done, and the mail system is told.
    assert ingest(server, signer.sign(complaint().replace("fbl@sender.test", path)))["no_token"] == 1
    done = server.cli("bounce", "ingest", "-", stdin=signer.sign(plain.replace("isp.test", "silent.test"), "silent.test"), check=False)
    assert done.returncode == 1 and "DNS does not answer" in done.stderr
    assert not suppressions(server) and server.stats(campaign)["complained"] == 0
    # The signature of the domain, of one below it, and with the line ends of a mailbox.
    assert ingest(server, signed)["complained"] == 1
    assert ingest(server, signed)["repeated"] == 1
    below = signer.sign(complaint(mail_from=mails[1][1]), "sub.isp.test")
    assert ingest(server, below)["complained"] == 1
    assert ingest(server, signer.sign(complaint(mail_from=mails[2][1])).replace("\r\n", "\n"))["complained"] == 1
    stats = add_up(server.stats(campaign))
    assert (stats["complained"], stats["delivered"]) == (3, 4) and len(suppressions(server)) == 3


def test_by_smtp_and_only_from_named_sources(place, signer):
    server, campaign, people, mails = scene(place, signer, 'complaint_sources = { "isp.test" }')
    good, evil, silent = (signer.sign(complaint(mail_from=mails[n][1]).replace("isp.test", domain), domain)
                          for n, domain in enumerate(("isp.test", "evil.test", "silent.test")))
    with connector(server)() as client:
        client.hello()
        for mail, code in ((good, "250 "), (evil, "250 "), (silent, "250 ")):
            client.send(b"MAIL FROM:<x@y.test>\r\nRCPT TO:<fbl@bounce.test>\r\nDATA\r\n")
            assert client.codes(3) == ["250", "250", "354"]
            assert client.ask(crlf(mail) + b".\r\n").startswith(code)
    assert list(suppressions(server)) == [people[0]]


def test_a_silent_dns_puts_the_report_off(place, signer):
    server, campaign, people, mails = scene(place, signer)
    with connector(server)() as client:
        client.hello()
        client.send(b"MAIL FROM:<x@y.test>\r\nRCPT TO:<fbl@bounce.test>\r\nDATA\r\n")
        assert client.codes(3) == ["250", "250", "354"]
        mail = signer.sign(complaint(mail_from=mails[0][1]).replace("isp.test", "silent.test"), "silent.test")
        assert client.ask(crlf(mail) + b".\r\n").startswith("451 ")
    assert not suppressions(server)
