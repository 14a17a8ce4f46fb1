"""The resolver door: what other rooms learn of the domain name system, against a real server, a silent one and one that lies."""
import json
import os
import pathlib
import subprocess
import time

import dns.flags
import dns.message
import dns.rrset
import pytest

import dnslib

ZONE = """
a         A 192.0.2.1
          A 192.0.2.2
six       AAAA 2001:db8::1
mail      MX 10 MX1.mail
          MX 20 mx2.mail
nullmx    MX 0 .
text      TXT "v=spf1 " "-all"
          TXT "other"
long      TXT %s
alias     CNAME text
empty     TXT "x"
tlsa      TLSA 3 1 1 %s
1.2.0.192.rev PTR host.example.
""" % (" ".join('"%s"' % (chr(97 + n) * 255) for n in range(20)), "ab" * 32)


def ask(server, *questions, anchor="-", timeout_ms=10000, how="wait"):
    tool = pathlib.Path(os.environ["POSTHASTE_BUILD"]) / "tests" / "unit" / "engine" / "resolve_tool"
    words = [word for question in questions for word in question]
    done = subprocess.run([str(tool), server, anchor, str(timeout_ms), how, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def knot():
    server = dnslib.Knot({"test": ZONE, "signed.test": ZONE, "dead": None}, signed={"signed.test"}).start()
    yield server
    server.stop()


@pytest.mark.sanitize
def test_every_type_is_read(knot):
    rows = ask(knot.server, ("a.test", "A"), ("six.test.", "AAAA"), ("mail.test", "MX"), ("nullmx.test", "MX"), ("text.test", "TXT"), ("long.test", "TXT"),
               ("alias.test", "TXT"), ("alias.test", "CNAME"), ("tlsa.test", "TLSA"), ("1.2.0.192.rev.test", "PTR"))
    seen = {(row["name"], row["type"]): sorted(row["records"], key=str) for row in rows}
    assert all(row["status"] == "found" and row["ttl"] > 0 and not row["secure"] and row["malformed"] == 0 for row in rows)
    assert seen[("a.test", "A")] == ["192.0.2.1", "192.0.2.2"]
    assert seen[("six.test.", "AAAA")] == ["2001:db8::1"]
    assert seen[("mail.test", "MX")] == [[10, "mx1.mail.test"], [20, "mx2.mail.test"]]
    assert seen[("nullmx.test", "MX")] == [[0, ""]]
    assert seen[("text.test", "TXT")] == seen[("alias.test", "TXT")] == ["other", "v=spf1 -all"]
    assert seen[("long.test", "TXT")] == ["".join(chr(97 + n) * 255 for n in range(20))]
    assert seen[("alias.test", "CNAME")] == ["text.test"]
    assert seen[("tlsa.test", "TLSA")] == [35]
    assert seen[("1.2.0.192.rev.test", "PTR")] == ["host.example"]


def test_what_is_not_there(knot):
    rows = ask(knot.server, ("empty.test", "MX"), ("nowhere.test", "TXT"), ("x.dead", "TXT"), ("b" * 300, "A"))
    assert [row["status"] for row in rows] == ["no-data", "no-name", "failed", "failed"]
    assert "SERVFAIL" in rows[2]["why"] and "name" in rows[3]["why"]


def test_dnssec(knot):
    rows = ask(knot.server, ("text.signed.test", "TXT"), ("nowhere.signed.test", "TXT"), ("text.test", "TXT"), anchor=knot.anchor("signed.test"))
    assert [(row["status"], row["secure"], row["bogus"]) for row in rows] == [
        ("found", True, False), ("no-name", True, False), ("found", False, False)]
    other = dnslib.Knot({"signed.test": ZONE}, signed={"signed.test"}).start()  # the same zone with keys of its own
    try:
        rows = ask(knot.server, ("text.signed.test", "TXT"), anchor=other.anchor("signed.test"))
    finally:
        other.stop()
    assert (rows[0]["status"], rows[0]["bogus"], rows[0]["records"]) == ("failed", True, [])


@pytest.mark.sanitize
def test_a_silent_server_costs_the_deadline_and_no_more():
    server = dnslib.Fake().start()
    try:
        begun = time.monotonic()
        rows = ask(server.server, *[("n%d.test" % n, "TXT") for n in range(20)], timeout_ms=700, how="ask")
        assert [row["status"] for row in rows] == ["failed"] * 20 and {row["why"] for row in rows} == {"no answer in time"}
        assert time.monotonic() - begun < 20  # all at once, not one after the other
        rows = ask(server.server, *[("n%d.test" % n, "TXT") for n in range(5)], timeout_ms=60000, how="leave")
        assert {row["why"] for row in rows} == {"the program is stopping"}
    finally:
        server.stop()


def test_records_that_cannot_be_read_are_passed_over():
    def answer(wire, tcp):
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.AA
        name, kind = question.question[0].name, question.question[0].rdtype
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", kind, "10 ok.test.", "20 a\\032b.test."))
        return reply.to_wire()

    server = dnslib.Fake(answer).start()
    try:
        row, = ask(server.server, ("lies.test", "MX"))
    finally:
        server.stop()
    assert (row["status"], row["records"], row["malformed"]) == ("found", [[10, "ok.test"]], 1)
