"""Composed messages read by Python's e-mail parser and judged by dkimpy: what an author or a list puts in must come out where it belongs, and nowhere else."""

import base64
import email
import email.policy
import itertools
import json
import os
import random
import re
import subprocess
import time
from email.utils import parseaddr
from pathlib import Path

import dkim
import pytest

from conftest import run_to_end

pytestmark = pytest.mark.sanitize


def program(*parts):
    build = os.environ.get("POSTHASTE_BUILD")
    if not build:
        raise RuntimeError("POSTHASTE_BUILD must name the build folder")
    return str(Path(build, "tests", "unit", *parts))


def compose_all(requests):
    """One answer for each request, from one run of the tool."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([program("campaign", "compose_tool")], input=lines.encode(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


def request(spec=None, attributes=None, address="a@example.net", **more):
    base = {"from": {"email": "news@example.com", "name": "Example"}, "subject": "Hi {{name}}",
            "html": "<p>Hi {{name}}</p>\n<a href=\"{{link}}\">x</a>\n", "text": "Hi {{name}}\n{{link}}\n"}
    base.update(spec or {})
    out = {"spec": base, "campaign_id": 42, "lists": ["News"], "now_ms": 1795456970000,
           "recipient": {"id": 7, "email": address, "attributes": attributes if attributes is not None else {}}}
    out.update(more)
    return out


def wire(answer):
    assert "error" not in answer, answer
    return answer["message"].encode()


def parsed(answer):
    message = email.message_from_bytes(wire(answer), policy=email.policy.default)
    assert not message.defects, message.defects
    return message


def check_wire(data):
    """What every message must keep to, whatever went into it."""
    assert b"\0" not in data and data.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", data)
    head, body = data.split(b"\r\n\r\n", 1)
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    assert all(len(line) <= 76 for line in body.split(b"\r\n") if not line.startswith(b"Content-"))
    for line in head.split(b"\r\n"):
        assert re.match(rb"[!-9;-~]+:|[ \t]+\S", line), line
    return re.findall(rb"^([!-9;-~]+):", head, re.M), body


HOSTILE = ["\r\nBcc: x@example.com", "\n", "\r", "\0", "\u2028X-Evil: 1", "\u2029", "\u0085X-Evil: 1", "=?utf-8?B?DQpYOg==?=",
           "=?utf-8?Q?=0D=0AX-Evil:_1?=", "\r\n\r\nbody", "\r\n.\r\nMAIL FROM:<>", "\r\n--=_posthaste_42--\r\n", "\x0b\x0c\x1c\x1d\x1e",
           "</p></body>", "<script>alert(1)</script>", "\"><img src=x>", "{{link}}", "\U0001f600", "\u202e", " ", "", "a" * 1500, "é" * 700]


def text_form(value):
    """A value as it must read in a part: line ends are one line end, NUL is gone."""
    return value.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def html_form(value):
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;"), ("`", "&#96;"), ("=", "&#61;")):
        value = value.replace(plain, entity)
    return value


def header_form(value):
    value = "".join(" " if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" else c for c in value)
    return value.strip(" ")


def content(part):
    """Decoded by the parser; its own line ends made LF."""
    return part.get_payload(decode=True).decode("utf-8").replace("\r\n", "\n")


def test_hostile_attributes_stay_in_their_place():
    """failures.md rows 8 and 9: header fields and parts are the same for every value."""
    pairs = list(itertools.product(HOSTILE, HOSTILE))
    spec = {"headers": {"X-Own": "{{name}}"}}
    answers = compose_all([request(spec, {"name": "v", "link": "v"})] + [request(spec, {"name": "n" + a + "m", "link": "l" + b}) for a, b in pairs])
    names, _ = check_wire(wire(answers[0]))
    for answer, (a, b) in zip(answers[1:], pairs):
        data = wire(answer)
        assert check_wire(data)[0] == names
        assert answer["mail_from"] == answers[0]["mail_from"] and re.fullmatch(r"bounce\+[a-z2-7]{10,57}@example\.com", answer["mail_from"])
        message = parsed(answer)
        assert message.keys() == [n.decode() for n in names]
        assert message["To"] == "a@example.net" and not answer["missing"]
        if len(a) < 100:
            assert str(message["Subject"]) == header_form("Hi n" + a + "m")
            assert str(message["X-Own"]) == header_form("n" + a + "m")
        text, html = message.iter_parts()
        name, link = "n" + a + "m", "l" + b
        # A CR at the end of a value and the line end behind it are one line end.
        assert content(text) == text_form(f"Hi {name}\n{link}\n")
        assert content(html) == text_form(f"<p>Hi {html_form(name)}</p>\n<a href=\"{html_form(link)}\">x</a>\n")


def test_hostile_authors_are_refused_by_field():
    evil = "x\r\nBcc: y"
    specs = {"from.name": {"from": {"email": "a@example.com", "name": evil}}, "from.email": {"from": {"email": "a@example.com" + evil}},
             "reply_to": {"reply_to": "a@example.com" + evil}, "subject": {"subject": evil}, "headers.X-A": {"headers": {"X-A": evil}},
             "headers.Bcc": {"headers": {"Bcc": "x@example.com"}}, "headers.X:": {"headers": {"X:": "y"}}}
    for (field, _), answer in zip(specs.items(), compose_all([request(spec) for spec in specs.values()])):
        assert [problem["field"] for problem in answer["problems"]] == [field]


def test_hostile_addresses_are_refused():
    # An address is a C string: what stands behind a NUL does not exist.
    hostile = [h for h in HOSTILE if h.strip(" ") and "\0" not in h]
    addresses = ["a@example.net" + h for h in hostile] + [h + "@example.net" for h in hostile + [""] if "é" not in h and h not in ("\U0001f600", "\u202e")]
    for answer, address in zip(compose_all([request(address=a) for a in addresses]), addresses):
        if address in ("{{link}}@example.net",):  # braces are atom text, RFC 5322 section 3.2.3
            assert str(parsed(answer)["To"]) == address
        else:
            assert "normal form" in answer.get("error", ""), address


def test_hostile_names_of_lists_and_senders():
    names = [h for h in HOSTILE if not re.search("[\0-\x1f\x7f]|{{", h) and len(h) < 60]
    answers = compose_all([request({"from": {"email": "news@example.com", "name": n}}, lists=["L" + n]) for n in names])
    for answer, name in zip(answers, names):
        check_wire(wire(answer))
        message = parsed(answer)
        assert parseaddr(str(message["From"]))[1] == "news@example.com"
        if message["From"].addresses[0].display_name != header_form(name):
            # The parser may keep or drop white space around encoded words.
            assert message["From"].addresses[0].display_name.split() == header_form(name).split()
        assert re.search(r"<[a-z0-9-]+\.example\.com>$", str(message["List-Id"]))
        assert len(message.get_all("List-Id")) == 1


def random_text(rng, lines):
    words = ["word", "é", "€uro", "=", "==", ".", "..", " ", "  ", "\t", "From ", "\U0001f600", "a" * 80, "x" * 200, "<b>", "&"]
    return "".join(rng.choice(words) + rng.choice(["", " ", "\n", "\n\n"] if lines else ["", " "]) for _ in range(rng.randrange(1, 60)))


def test_random_content_comes_back():
    rng = random.Random(4711)
    specs = []
    for _ in range(300):
        text, html = random_text(rng, True), random_text(rng, True)
        subject = random_text(rng, False).replace("\t", " ")[:500].strip(" ") or "s"
        specs.append({"subject": subject, "text": text, "html": html})
    for answer, spec in zip(compose_all([request(spec) for spec in specs]), specs):
        check_wire(wire(answer))
        message = parsed(answer)
        assert str(message["Subject"]) == spec["subject"]
        for part, given in zip(message.iter_parts(), (spec["text"], spec["html"])):
            assert content(part) == given + ("" if given.endswith("\n") else "\n")


def test_signed_messages_verify_in_dkimpy(tmp_path):
    key = tmp_path / "key.pem"
    sign_tool = program("dkim", "sign_tool")
    key.write_bytes(subprocess.run([sign_tool, "--generate"], capture_output=True, check=True, timeout=60).stdout)
    record = subprocess.run([sign_tool, "--record", key], capture_output=True, check=True, timeout=60).stdout
    rng = random.Random(8)
    requests = [request({"text": random_text(rng, True), "html": random_text(rng, True)},
                        {"name": rng.choice(HOSTILE), "link": rng.choice(HOSTILE)}, key=key.read_text(), now_ms=int(time.time() * 1000))
                for _ in range(100)]
    for answer in compose_all(requests):
        data = wire(answer)
        assert data.startswith(b"DKIM-Signature: ")
        assert dkim.verify(data, dnsfunc=lambda name, timeout=5: record)
        assert not dkim.verify(data + b"appended\r\n", dnsfunc=lambda name, timeout=5: record)
        assert not dkim.verify(data.replace(b"\r\nFrom:", b"\r\nFrom: evil@example.com\r\nFrom:", 1), dnsfunc=lambda name, timeout=5: record)


def test_one_click_unsubscribe_fields():
    """RFC 8058: an https URI, the Post field, both signed (test_dkim.py)."""
    (answer,) = compose_all([request(public_url="https://mail.example.com/")])
    message = parsed(answer)
    assert re.fullmatch(r"<https://mail\.example\.com/u/[a-z2-7]+>", str(message["List-Unsubscribe"]))
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert re.fullmatch(r"<[a-z2-7]+@example\.com>", str(message["Message-ID"]))
    assert message["Feedback-ID"] == "42:news:bulk:example.com"


def test_same_names_for_every_attempt():
    first, again, other = compose_all([request({}, {"name": "a"}), request({}, {"name": "b"}, now_ms=1795556970000),
                                       request({}, {"name": "a"}, campaign_id=43)])
    for field in ("Message-ID", "List-Unsubscribe"):
        assert parsed(first)[field] == parsed(again)[field] != parsed(other)[field]
    assert first["mail_from"] == again["mail_from"] != other["mail_from"]


def test_international_address():
    (answer,) = compose_all([request(address="jörg@xn--bcher-kva.example")])
    assert answer["smtputf8"] and answer["eight_bit"]
    assert "To: jörg@xn--bcher-kva.example\r\n" in answer["message"]


def test_bad_attributes_are_told():
    bad = request()
    bad["recipient"]["attributes"] = "{\"name\":"
    (answer,) = compose_all([bad])
    assert "attributes are not a JSON object" in answer["error"]


# --- structure: what is in a message, and how ------------------------------------------------------------------------

SCRIPTS = {"latin": "Grüße aus Köln, dear reader; the weather is fine. ", "russian": "Привет, дорогой читатель, погода хорошая. ",
           "japanese": "こんにちは、お元気ですか。", "ascii": "Plain text of no interest = 100%. ", "emoji": "\U0001f600\U0001f468\u200d\U0001f469 hi "}
NAMES = ["a.pdf", "with \"quotes\".txt", "Präsentation 2026.pdf", "日本語のとても長いファイル名" * 4 + ".docx", "x" * 200 + ".txt", "=?utf-8?Q?x?=.txt", "ü.png"]
TYPES = ["application/pdf", "image/png", None, "text/calendar; method=REQUEST; charset=utf-8"]


def files(draw, inlined, attached):
    out = []
    for n in range(inlined + attached):
        data = bytes(draw.randrange(256) for _ in range(draw.choice([0, 1, 2, 3, 56, 57, 58, 1000])))
        entry = {"filename": draw.choice(NAMES), "content": base64.b64encode(data).decode()}
        kind = draw.choice(TYPES)
        if kind:
            entry["content_type"] = kind
        if n < inlined:
            entry.update(inline=True, cid="img%d@x" % n)
        out.append(entry)
    draw.shuffle(out)
    return out


def structure(part):
    if part.is_multipart():
        return part.get_content_subtype() + "(" + ",".join(structure(p) for p in part.iter_parts()) + ")"
    return "file" if part.get_filename() is not None else part.get_content_subtype()


def expected_structure(html, text, inlined, attached):
    out = "plain"
    if html:
        out = "alternative(plain,%s)" % ("related(html%s)" % (",file" * inlined) if inlined else "html")
    return "mixed(%s%s)" % (out, ",file" * attached) if attached else out


@pytest.mark.parametrize("seed", range(4))
def test_every_kind_of_message(seed):
    """Kinds of content x scripts x kinds of files x lengths: Python's strict parser finds nothing wrong, and everything that was put in."""
    draw = random.Random(seed)
    cases = []
    for script, (html, text), (inlined, attached), repeat in itertools.product(
            SCRIPTS, [(True, True), (True, False), (False, True)], [(0, 0), (1, 0), (0, 1), (2, 2)], [1, 40, 400]):
        if inlined and not html:
            continue
        story = SCRIPTS[script] * repeat
        broken = draw.choice(["\n", "", "\r\n"]).join(story[i:i + 37] for i in range(0, len(story), 37))
        spec = {"subject": SCRIPTS[script] * 3 + "{{name}}", "from": {"email": "news@example.com", "name": story[:60]},
                "html": "<p>%s {{name}}</p>{{#list}}<b>{{.}}</b>\n{{/list}}" % broken if html else None,
                "text": "%s {{name}}\n{{#list}}- {{.}}\n{{/list}}" % broken if text else None,
                "attachments": files(draw, inlined, attached) if inlined or attached else None}
        cases.append((spec, broken, html, text, inlined, attached))
    answers = compose_all([request(case[0], {"name": "Zoë 太郎", "list": ["ä", "б", "."]}) for case in cases])
    for answer, (spec, broken, html, text, inlined, attached) in zip(answers, cases):
        data = wire(answer)
        message = email.message_from_bytes(data, policy=email.policy.strict.clone(linesep="\r\n"))
        assert all(len(line) <= 998 for line in data.split(b"\r\n")) and data.isascii() and not re.search(rb"(?<!\r)\n|\r(?!\n)", data)
        assert structure(message) == expected_structure(html, text, inlined, attached)
        assert message["Subject"] == (spec["subject"].replace("{{name}}", "Zoë 太郎"))
        leaves = [part for part in message.walk() if not part.is_multipart()]
        assert not any(part.defects for part in message.walk())
        plain = broken.replace("\r\n", "\n")
        if html:
            part = next(p for p in leaves if p.get_content_type() == "text/html")
            assert content(part).rstrip("\n") == ("<p>%s Zoë 太郎</p><b>ä</b>\n<b>б</b>\n<b>.</b>" % plain)
        if text:
            part = next(p for p in leaves if p.get_content_type() == "text/plain" and p.get_filename() is None)
            assert content(part).rstrip("\n") == "%s Zoë 太郎\n- ä\n- б\n- ." % plain
        got = sorted((p.get_filename(), p.get_payload(decode=True), p.get_content_disposition(), p["Content-ID"], p.get_content_type())
                     for p in leaves if p.get_filename() is not None) if inlined or attached else []
        want = sorted((f["filename"], base64.b64decode(f["content"]), "inline" if f.get("inline") else "attachment",
                       "<%s>" % f["cid"] if f.get("inline") else None, f.get("content_type", "application/octet-stream").split(";")[0])
                      for f in spec["attachments"] or [])
        assert sorted(map(repr, got)) == sorted(map(repr, want))


def test_partials_are_filled_in_everywhere():
    spec = {"subject": "{{>who}}: news", "html": "{{>head}}<p>{{>who}}</p>", "text": None}
    answer = compose_all([request(spec, {"name": "A&B"}, partials={"who": "{{name|friend}}", "head": "<h1>{{>who}}</h1>\n"}, preview=True)])[0]
    assert answer["subject"] == "A&B: news"
    assert answer["html"] == "<h1>A&amp;B</h1>\n<p>A&amp;B</p>"
    assert answer["text"] == "A&B\n\nA&B\n"


def test_both_signatures_verify_in_dkimpy(tmp_path):
    """RFC 8463: RSA and Ed25519 on one message, over the same header, each good for a verifier that knows only the one."""
    pems, records = {}, {}
    for selector, words in (("rsa", ["-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"]), ("ed", ["-algorithm", "ed25519"])):
        path = tmp_path / (selector + ".pem")
        subprocess.run(["openssl", "genpkey", *words, "-out", path], check=True, timeout=60, capture_output=True)
        pems[selector] = path.read_text()
        records[selector] = subprocess.run([program("dkim", "sign_tool"), "--record", path], check=True, timeout=60, capture_output=True).stdout.strip()
    now = int(time.time() * 1000)
    for spec in ({}, {"html": None}, {"attachments": [{"filename": "ü.bin", "content": base64.b64encode(bytes(range(256))).decode()}]}):
        answer = compose_all([request(spec, {"name": "Zoë"}, now_ms=now, key=pems["rsa"], selector="rsa", second_key=pems["ed"], second_selector="ed")])[0]
        data = wire(answer)

        def dns(name, timeout=5):
            return records[name.decode().split(".")[0]]

        for altered, good in ((data, True), (data + b"more\r\n", False), (data.replace(b"\r\nTo:", b"\r\nSubject: x\r\nTo:", 1), False)):
            verifier = dkim.DKIM(altered)
            for index in (0, 1):
                try:
                    result = verifier.verify(idx=index, dnsfunc=dns)
                except dkim.ValidationError:
                    result = False
                assert bool(result) == good, (index, altered)
        assert data.count(b"DKIM-Signature:") == 2 and b"a=ed25519-sha256" in data and b"a=rsa-sha256" in data


def test_files_and_sections_through_the_api(place):
    """The whole way: posted, stored, composed, delivered; the text part made from the HTML; what is wrong is refused with its place."""
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["a@one.test", "b@one.test"], row=lambda address: ("Ann", "Köln") if address[0] == "a" else ("", ""))
    spec = {"from": {"email": "news@sender.test"}, "subject": "{{name|friend}}: news", "html":
            "<h1>Hi {{name|friend}}</h1><div style=\"display:none\">hidden</div>{{#city}}<p>to {{.}}</p>{{/city}}<img src=\"cid:logo\" alt=\"Logo\">",
            "attachments": [{"filename": "ü.txt", "content_type": "text/plain", "content": base64.b64encode("Grüße".encode()).decode()},
                            {"filename": "l.png", "content_type": "image/png", "content": "iVBORw==", "inline": True, "cid": "logo"}]}
    for change, field in (({"html": "a\n{{#x}}"}, "html"), ({"html": "{{>none}}"}, "html"), ({"attachments": 5}, "attachments"),
                          ({"attachments": [{"filename": "x", "content": "?"}]}, "attachments[0].content")):
        answer = server.api.post("/v1/campaigns", {"name": "bad", "lists": ["news"], **spec, **change})
        assert answer.status == 422 and field in answer.fields(), answer
    campaign = server.create_campaign(text=None, **spec)
    assert run_to_end(server, campaign)["delivered"] == 2
    for address, name, text in (("a@one.test", "Ann", "Hi Ann\n\nto Köln\n\nLogo\n"), ("b@one.test", "friend", "Hi friend\n\nLogo\n")):
        message = email.message_from_bytes(sink.content(sink.messages()[address][0]), policy=email.policy.default)
        assert message["Subject"] == name + ": news" and structure(message) == "mixed(alternative(plain,related(html,file)),file)"
        leaves = [part for part in message.walk() if not part.is_multipart()]
        assert content(leaves[0]) == text and leaves[2]["Content-ID"] == "<logo>"
        assert leaves[3].get_filename() == "ü.txt" and leaves[3].get_payload(decode=True) == "Grüße".encode()
