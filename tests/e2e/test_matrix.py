"""More than 5,000 messages, kinds of content x scripts x attachments x lengths: each one is read without a defect by Python's parser (strict) and by
GMime, keeps to the line limits, and bears two signatures that libopendkim and dkimpy both find good.

The normal run takes every fifth, about a thousand, which meets each value of each side with all others; POSTHASTE_MATRIX=1 takes all.
"""
import base64
import concurrent.futures
import email
import email.policy
import json
import os
import re
import subprocess
import time

import dkim
import pytest

from test_message import check_wire, program

STRICT = email.policy.SMTP.clone(raise_on_defect=True)
SCRIPTS = {
    "ascii": "The quick brown fox jumps over the lazy dog = 2 . ",
    "latin": "Übergrößenträger façade naïve señor ",
    "greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία ",
    "cyrillic": "Съешь же ещё этих мягких французских булок ",
    "han": "中文郵件測試內容沒有空格",
    "hangul": "키스의 고유조건은 입술끼리 만나야 하고 ",
    "arabic": "نص حكيم له سر قاطع وذو شأن عظيم ",
    "emoji": "👩‍👩‍👧‍👦🎉 ok ",
    "markup": "a<b & \"c\" 'd' =?utf-8?Q?x?= {not} \t.\n.\n..\nFrom here\n--=_posthaste_42--\n",
}
LENGTHS = [1, 74, 75, 76, 77, 78, 200, 500, 998, 999, 1500, 4000, 10000, 30000]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3).decode()


def file_of(name, kind, content=b"some bytes \x00\xff\r\n" * 20, **more):
    return {"filename": name, "content_type": kind, "content": base64.b64encode(content).decode(), **more}


FILES = {
    "none": [],
    "pdf": [file_of("terms.pdf", "application/pdf")],
    "script name": [file_of("Ünïcodé 中文 файл.txt", "text/plain", "Grüße\n".encode())],
    "long name": [file_of("n" * 200 + ".bin", "application/octet-stream", b"x" * 5000)],
    "calendar": [file_of("a.ics", "text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), file_of("empty", "application/x-empty", b"")],
    "quotes": [file_of('a"b;c=d e.txt', "text/plain", b"\r\n.\r\n")],
}
IMAGE = {"filename": "l.png", "content_type": "image/png", "content": PNG, "inline": True, "cid": "logo"}
KINDS = ["text", "html", "both", "images", "tracked", "headers", "mailbox"]


def build(kind, script, files, length):
    sample = SCRIPTS[script]
    long = (sample * (length // len(sample) + 1))[:length]
    line = sample.replace("\n", " ").replace("\t", " ").strip()
    html = "<html><body><p>{{long}} {{>foot}}</p>\n<a href=\"https://shop.test/?n={{name}}\">%s</a>\n%s</body></html>\n" % (
        line.replace("<", "&lt;"), "<img src=\"cid:logo\">" if kind == "images" else "")
    spec = {"from": {"email": "news@example.com", "name": line[:60].strip()}, "subject": "{{name}}: %s {{head}}" % line, "attachments": list(FILES[files])}
    if kind in ("html", "both", "images", "tracked", "headers"):
        spec["html"] = html
    if kind not in ("html", "images"):
        spec["text"] = "{{long}}\n%s\nhttps://shop.test/{{name}}\n" % sample
    if kind == "images":
        spec["attachments"].append(IMAGE)
    if kind == "tracked":
        spec["track"] = {"clicks": True, "opens": True}
    if kind == "headers":
        spec["headers"] = {"X-Long": "{{head}}", "X-Fixed": line, "X-Name": "{{name}} " * 20}
    if kind == "mailbox":
        spec["reply_to"] = "replies@example.com"
    address = "someone@example.net"
    return {"spec": spec, "partials": {"foot": "<i>%s</i>\n" % line.replace("<", "&lt;")}, "campaign_id": 42, "lists": [line], "now_ms": int(time.time() * 1000),
            "recipient": {"id": 7, "email": address, "attributes": {"name": line, "long": long, "head": long[:10000]}}}


def matrix():
    step = int(os.environ.get("POSTHASTE_MATRIX", "5"))
    cases = [(kind, script, files, length) for kind in KINDS for script in SCRIPTS for files in FILES for length in LENGTHS]
    assert len(cases) >= 5000
    return cases[::step]


def expected(kind, files):
    """The structure, with a mark for each attached file."""
    inner = {"text": "plain", "mailbox": "plain", "images": "alternative(plain,related(html,png))"}.get(kind, "alternative(plain,html)")
    names = {"none": [], "pdf": ["pdf"], "script name": ["plain"], "long name": ["octet-stream"], "calendar": ["calendar", "x-empty"], "quotes": ["plain"]}
    return "mixed(%s)" % ",".join([inner] + names[files]) if names[files] else inner


ONCE = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Content-Type")


def check_python(data, case):
    """Every access of a header parses it anew, so each is looked at once."""
    kind, script, _, length = case
    message = email.message_from_bytes(data, policy=STRICT)
    fields = message.items()
    for name, value in fields:
        assert not value.defects, (name, value, value.defects)
    names = [name for name, _ in fields]
    assert all(names.count(name) == 1 for name in ONCE) and names.count("DKIM-Signature") == 2, names
    texts = []
    for part in message.walk():
        assert not part.defects, part.defects
        if not part.is_multipart():
            bytes_of = part.get_payload(decode=True)
            assert not part.defects, part.defects
            if not texts:
                texts.append(bytes_of.decode())
    if kind not in ("html", "images"):
        sample = SCRIPTS[script]
        assert (sample * (length // len(sample) + 1))[:length].rstrip() in texts[0].replace("\r\n", "\n")


def check_dkimpy(data, records):
    asked = []

    def answer(name, timeout=5):
        asked.append(name)
        return records[name.split(b".")[0]]

    judge = dkim.DKIM(data)
    assert judge.verify(idx=0, dnsfunc=answer) and judge.verify(idx=1, dnsfunc=answer)
    assert sorted(name.split(b".")[0] for name in asked) == sorted(records)


def check_slice(cases, keys, records):
    """Composes, parses and verifies; runs in a process of its own. Returns what is wrong."""
    requests = "".join(json.dumps({**build(*case), **keys}) + "\n" for case in cases)
    composed = subprocess.run([program("campaign", "compose_tool")], input=requests.encode(), capture_output=True, timeout=300, check=True)
    answers = [json.loads(line) for line in composed.stdout.splitlines()]
    wrong = ["%s: %s" % (case, answer) for case, answer in zip(cases, answers) if "error" in answer][:5]
    if wrong:
        return wrong
    messages = [answer["message"].encode() for answer in answers]
    judged = subprocess.run([program("campaign", "check_tool"), *("%s=%s" % (name.decode(), text.decode()) for name, text in records.items())],
                            input=b"".join(b"%d\n%s" % (len(data), data) for data in messages), capture_output=True, timeout=300, check=True)
    lines = judged.stdout.decode(errors="replace").splitlines()
    assert len(messages) == len(cases) == len(lines)
    for case, data, line in zip(cases, messages, lines):
        try:
            assert line == "ok " + expected(case[0], case[2]), line
            check_wire(data)
            check_python(data, case)
            check_dkimpy(data, records)
        except Exception as fault:  # of any of the readers
            wrong.append("%s: %r" % (case, fault))
    return wrong


def keys_and_records(folder):
    keys, records = {}, {}
    for number, kind in enumerate((["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], ["ed25519"])):
        path = folder / ("key%d.pem" % number)
        subprocess.run(["openssl", "genpkey", "-algorithm", *kind, "-out", path], check=True, capture_output=True, timeout=60)
        record = subprocess.run([program("dkim", "sign_tool"), "--record", path], check=True, capture_output=True, timeout=60).stdout
        keys[("key", "second_key")[number]] = path.read_text()
        records[b"s%d" % (number + 1)] = record
    return keys, records


def test_every_message_of_the_matrix(tmp_path):
    cases = matrix()
    keys, records = keys_and_records(tmp_path)
    slices = [cases[n::16] for n in range(16)]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        wrong = [fault for faults in pool.map(check_slice, slices, [keys] * 16, [records] * 16) for fault in faults]
    assert not wrong, "%d of %d: %s" % (len(wrong), len(cases), "\n".join(wrong[:20]))
    assert re.match(rb"v=DKIM1; k=rsa", records[b"s1"]) and re.match(rb"v=DKIM1; k=ed25519", records[b"s2"])


@pytest.mark.sanitize
def test_some_of_it_under_sanitizers(tmp_path):
    keys, records = keys_and_records(tmp_path)
    cases = [(kind, script, files, length) for kind in KINDS for script in SCRIPTS for files in FILES for length in LENGTHS][::211]
    assert not check_slice(cases, keys, records)
