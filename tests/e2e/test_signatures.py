"""What arrives at the sink verifies with dkimpy, which has no line of code in common with our signer, and reads well in Python's own mail parser."""
import email
import email.policy
import re
from html import unescape

import dkim
import pytest

from conftest import emails, run_to_end

HTML = """<p>Hello {{name}} from {{city}}</p>
.a line that begins with a dot
<p>%s</p>
<a href="{{unsubscribe_url}}">leave</a>""" % ("a long line without any break " * 60)
TEXT = "Hello {{name}} from {{city}}\n.\n..\n\ttabs \n%s\nFrom here\n{{unsubscribe_url}}\n\n\n" % ("wörter " * 200)


def records(server):
    """name. -> TXT, as dkimpy asks."""
    found = {}
    for domain in server.api.get("/v1/domains").json["data"]:
        for record in domain["dns"]:
            found[record["name"].encode() + b"."] = record["value"].encode()
    return found


def verify(content, dns):
    return dkim.verify(content, dnsfunc=lambda name, timeout=5: dns.get(name if isinstance(name, bytes) else name.encode()))


HOSTILE = ["Ann", "Jürgen", "李娜", 'O"Brien \\ <x@y.test>', "two\r\nBcc: victim@one.test", "=?utf-8?B?DQpYOg==?=", "x" * 3000, "a\u2028b", "=1+2", "&lt;b&gt;",
           "<script>alert(1)</script>", "", " ", ".", "\u202ereversed", "🎉" * 40, "\t", "%s%n", "{{city}}", "é" * 998]


@pytest.mark.sanitize
def test_every_message_verifies_and_says_what_it_should(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    people = emails(len(HOSTILE) * 3, ["one.test", "two.test", "three.test"])
    names = {address: HOSTILE[n % len(HOSTILE)] for n, address in enumerate(people)}
    place.people(server, people, row=lambda address: ('"%s"' % names[address].replace('"', '""'), "Köln"))
    campaign = server.create_campaign(subject="{{name}}, hello", html=HTML, text=TEXT, headers={"X-Greeting": "for {{name}}"},
                                      **{"from": {"email": "news@sender.test", "name": "Nachrichten für alle"}}, reply_to="reply@sender.test")
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == len(people), stats
    dns = records(server)
    assert dns
    for address, lines in sink.messages().items():
        content = sink.content(lines[0])
        assert verify(content, dns), address
        check_form(content, address)
        check_words(content, names[address])
    assert not sink.events("violation")


def check_form(content, address):
    """RFC 5322: CRLF only, short lines, each header once."""
    assert b"\r" not in content.replace(b"\r\n", b"") and b"\n" not in content.replace(b"\r\n", b"")
    assert b"\0" not in content
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
    head = content.partition(b"\r\n\r\n")[0]
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    for name in ("from", "to", "subject", "date", "message-id", "reply-to", "mime-version", "content-type", "list-unsubscribe",
                 "list-unsubscribe-post"):
        assert names.count(name.encode()) == 1, (address, name)
    assert b"bcc" not in names and names.count(b"dkim-signature") == 2
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert address in str(message["To"])
    assert re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", message["Message-ID"].strip())
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def check_words(content, name):
    """The parts decode to what the template and the attributes say."""
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    text, html = (part.get_content() for part in message.iter_parts())
    assert "from Köln" in text and "from Köln" in html
    assert "\n.\n..\n" in text.replace("\r\n", "\n")
    assert "<script>" not in html
    if name in ("Ann", "Jürgen", "李娜", "=1+2"):
        assert str(message["Subject"]) == name + ", hello"
        assert "Hello %s from" % name in text and "Hello %s from" % name in unescape(html)
    if name == "{{city}}":
        assert "Hello {{city}} from" in text, "a value is not a template"


def test_a_changed_message_does_not_verify(place):
    """Row 30 of the failures: appended text, and a second From."""
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["ann@one.test"])
    run_to_end(server, server.create_campaign())
    content = sink.content(sink.messages()["ann@one.test"][0])
    dns = records(server)
    assert verify(content, dns)
    assert b"; l=" not in content and b";l=" not in content
    for changed in (content + b"more\r\n", b"From: other@evil.test\r\n" + content, content.replace(b"Hello", b"Hallo"),
                    b"Subject: another\r\n" + content, b"List-Unsubscribe: <https://evil.test/>\r\n" + content):
        assert not verify(changed, dns)


def test_the_return_path_and_the_ids_are_stable_over_retries(place):
    sink = place.sink(store=True, script={"rules": [{"command": "EOD", "first": 1, "reply": "451 4.3.0 once more"}]})
    server = place.server(sink)
    audience = emails(10, ["one.test"])
    place.people(server, audience)
    run_to_end(server, server.create_campaign())
    ledger = sink.ledger()
    for address in audience:
        attempts = [line for line in ledger if line.get("to") == address and line["event"] in ("message", "reject")]
        assert len(attempts) == 2
        assert len({line["from"] for line in attempts}) == 1
        contents = [email.message_from_bytes(sink.content(line), policy=email.policy.SMTP) for line in attempts]
        assert len({message["Message-ID"] for message in contents}) == 1
        assert len({message["List-Unsubscribe"] for message in contents}) == 1
    assert len({line["from"] for line in ledger if line["event"] == "message"}) == 10, "the return path tells who bounced (VERP)"
