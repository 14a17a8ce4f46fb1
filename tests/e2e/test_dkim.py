"""Signatures of dkim/ judged by dkimpy, a verifier that shares no code with us (libopendkim judges in tests/unit/dkim)."""

import os
import random
import re
import subprocess
import time
from pathlib import Path

import dkim
import pytest

pytestmark = pytest.mark.sanitize

DOMAIN = "example.com"
SELECTOR = "s1"


def tool(*args, data=b""):
    build = os.environ.get("POSTHASTE_BUILD")
    if not build:
        raise RuntimeError("POSTHASTE_BUILD must name the build folder")
    program = str(Path(build) / "tests" / "unit" / "dkim" / "sign_tool")
    return subprocess.run([program, *map(str, args)], input=data, capture_output=True, timeout=120)


def checked(*args, data=b""):
    done = tool(*args, data=data)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    path.write_bytes(checked("--generate"))
    return path


def verifies(message, record):
    names = []

    def answer(name, timeout=5):
        names.append(name)
        return record

    good = dkim.verify(message, dnsfunc=answer)
    assert names == [f"{SELECTOR}._domainkey.{DOMAIN}.".encode()]
    return good


def sign_all(key, messages):
    frames = b"".join(b"%d\n%s" % (len(m), m) for m in messages)
    out = checked("--frames", key, DOMAIN, SELECTOR, int(time.time()), data=frames)
    signed = []
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        length = int(out[at:end])
        signed.append(out[end + 1 : end + 1 + length])
        at = end + 1 + length
    assert len(signed) == len(messages)
    return signed


def random_message(rng):
    """A header with folds and odd white space, and a body of anything that has CRLF line ends."""
    folds = [b" ", b"  ", b"\t", b"\r\n ", b"\r\n\t", b" \r\n  "]
    words = [b"word", b"a", b"b:c", b"=?utf-8?Q?=C3=A4?=", b"<x@example.net>", b"\xc3\xa4", b";", b"l=3"]

    def value():
        return b"".join(rng.choice(folds) + rng.choice(words) for _ in range(rng.randrange(1, 12)))

    fields = [b"From:" + value() + b" <news@example.com>"]
    for name in (b"To", b"subject", b"DATE", b"Message-ID", b"X-Own", b"Content-Type", b"List-Unsubscribe", b"Reply-To",
                 b"Cc", b"References"):
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            fields.append(name + b":" + value())
    rng.shuffle(fields)
    pieces = [b"text ", b"  ", b"\t", b"\r\n", b"\r\n\r\n", b".", b"\xe2\x82\xac", b"=3D", b"From ", b"x" * 70]
    body = b"".join(rng.choice(pieces) for _ in range(rng.randrange(0, 200)))
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def test_random_messages_verify(key):
    rng = random.Random(20261123)
    record = checked("--record", key)
    for message in sign_all(key, [random_message(rng) for _ in range(400)]):
        assert verifies(message, record), message


def test_short_bodies_verify(key):
    record = checked("--record", key)
    head = b"From: news@example.com\r\nTo: a@example.net\r\nSubject: x\r\n\r\n"
    pieces = [b"", b" ", b"\t", b".", b"a", b"\r\n", b" \r\n", b"a \r\n", b"..\r\n"]
    bodies = {a + b + c for a in pieces for b in pieces for c in pieces}
    bodies = {b if b.endswith(b"\r\n") or not b else b + b"\r\n" for b in bodies}
    for message in sign_all(key, [head + body for body in sorted(bodies)]):
        assert verifies(message, record), message


def test_ed25519_verifies(tmp_path):
    path = tmp_path / "ed.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, timeout=60)
    rng = random.Random(5)
    record = checked("--record", path)
    assert b"k=ed25519" in record
    for message in sign_all(path, [random_message(rng) for _ in range(50)]):
        assert verifies(message, record), message


BASE = (b"From: News <news@example.com>\r\nTo: a@example.net\r\nSubject: Hello\r\nDate: Mon, 23 Nov 2026 17:25:09 +0000\r\n"
        b"Content-Type: text/plain\r\nList-Unsubscribe: <https://e/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        b"\r\nThe body.\r\n")


@pytest.mark.parametrize("find, put", [
    (b"The body", b"the body"),
    (b"body.\r\n", b"body.\r\nappended\r\n"),
    (b"news@", b"evil@"),
    (b"Subject: Hello", b"Subject: Hullo"),
    (b"\r\n\r\nThe", b"\r\nSubject: second\r\n\r\nThe"),
    (b"\r\n\r\nThe", b"\r\nFrom: evil@example.com\r\n\r\nThe"),
    (b"From: News", b"From: evil@example.com\r\nFrom: News"),
    (b"From: News", b"To: evil@example.com\r\nFrom: News"),
    (b"From: News", b"Date: never\r\nFrom: News"),
    (b"From: News", b"Content-Type: text/html\r\nFrom: News"),
    (b"From: News", b"List-Unsubscribe: <https://evil/>\r\nFrom: News"),
    (b"From: News", b"List-Unsubscribe-Post: x\r\nFrom: News"),
])
def test_changes_fail(key, find, put):
    record = checked("--record", key)
    (message,) = sign_all(key, [BASE])
    assert verifies(message, record)
    at = message.index(find, message.index(b"\r\nFrom:"))
    changed = message[:at] + put + message[at + len(find) :]
    assert not verifies(changed, record)


def test_one_message_on_standard_input(key):
    record = checked("--record", key)
    message = checked(key, DOMAIN, SELECTOR, int(time.time()), data=BASE)
    assert message.endswith(BASE) and message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n")
    assert not re.search(rb"[;\s]l=", message.split(b"\r\nFrom:")[0])
    assert verifies(message, record)


def test_bad_input_is_told(key, tmp_path):
    no_from = tool(key, DOMAIN, SELECTOR, 1, data=b"To: a@example.net\r\n\r\nx\r\n")
    assert no_from.returncode == 1 and b"no From" in no_from.stderr
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    refused = tool(wrong, DOMAIN, SELECTOR, 1, data=BASE)
    assert refused.returncode == 1 and b"PEM" in refused.stderr
