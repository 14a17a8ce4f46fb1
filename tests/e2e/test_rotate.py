"""Two keys of a domain, and their rotation: made, seen in DNS, used, kept, retired; each step survives whatever comes between."""
import re
import sqlite3

import dkim
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

import dnslib
from conftest import emails, run_to_end, run_until
from harness import wait_until
from test_signatures import records


def keys_of(domain):
    return [record for record in domain["dns"] if "._domainkey." in record["name"]]


def zone_of(domain):
    """Zone lines of what the domain should publish."""
    lines = []
    for record in keys_of(domain):
        value = record["value"]
        strings = " ".join('"%s"' % value[at:at + 200].replace(";", "\\;") for at in range(0, len(value), 200))
        lines.append("%s TXT ( %s )" % (record["name"].removesuffix(".test"), strings))
    return "\n".join(lines)


def states(domain):
    return {key["selector"]: (key["algorithm"], key["state"]) for key in domain["keys"]}


def published(records):
    """A name server that has these TXT records (name -> value), and nothing else; the dictionary may change."""

    def answer(wire, tcp):
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question)
        name = question.question[0].name.to_text(omit_final_dot=True).lower()
        if name in records:
            value = " ".join('"%s"' % records[name][at:at + 200] for at in range(0, len(records[name]), 200))
            reply.answer.append(dns.rrset.from_text(name + ".", 0, "IN", "TXT", value))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if not tcp and len(reply.to_wire()) > 512:
            short = dns.message.make_response(question)
            short.flags |= dns.flags.TC
            return short.to_wire()
        return reply.to_wire()

    return dnslib.Fake(answer).start()


def zone_server(server, lines):
    """A name server with these lines, known to the configuration from now on."""
    knot = dnslib.Knot({"test": lines}).start()
    text = "\n".join(line for line in server.config.read_text().splitlines() if not line.startswith("dns "))
    server.config.write_text(text + '\ndns { server = "%s" }\n' % knot.server)
    return knot


def both_verify(content, published):
    judge = dkim.DKIM(content)

    def answer(name, timeout=5):
        return published.get(name)

    return judge.verify(idx=0, dnsfunc=answer) and judge.verify(idx=1, dnsfunc=answer)


@pytest.mark.sanitize
def test_a_rotation_step_by_step(place):
    sink = place.sink(store=True)
    server = place.server(sink, start=False)
    place.people(server, ["a@one.test"])
    first = server.cli_json("domain", "show", "sender.test")
    assert states(first) == {"ph1": ("rsa", "used"), "ph1e": ("ed25519", "used")}

    made = server.cli_json("domain", "rotate", "sender.test")
    assert made["rotation"]["step"] == "made"
    assert states(made) == {**states(first), "ph2": ("rsa", "next"), "ph2e": ("ed25519", "next")}

    knot = zone_server(server, zone_of(first) or "x A 127.0.0.1")
    try:
        early = server.cli("domain", "rotate", "sender.test", check=False)
        assert early.returncode == 1 and "ph2._domainkey.sender.test" in early.stderr
        assert states(server.cli_json("domain", "show", "sender.test")) == states(made)
    finally:
        knot.stop()
    other = {"dns": [{**record, "value": record["value"][:-8] + "AAAAAAA="} if "ph2e" in record["name"] else record for record in keys_of(made)]}
    knot = zone_server(server, zone_of(other))
    try:
        assert "another record" in server.cli("domain", "rotate", "sender.test", check=False).stderr
    finally:
        knot.stop()
    knot = zone_server(server, zone_of(made))
    try:
        switched = server.cli_json("domain", "rotate", "sender.test")
        assert switched["rotation"]["step"] == "switched"
        assert states(switched) == {"ph1": ("rsa", "old"), "ph1e": ("ed25519", "old"), "ph2": ("rsa", "used"), "ph2e": ("ed25519", "used")}
        assert switched["selector"] == "ph2"
    finally:
        knot.stop()

    server.start()
    server.login()
    run_to_end(server, server.create_campaign())
    content = sink.content(sink.messages()["a@one.test"][0])
    assert content.count(b"s=ph2;") == 1 and content.count(b"s=ph2e;") == 1 and b"s=ph1" not in content
    assert both_verify(content, records(server))
    server.stop()

    waits = server.cli_json("domain", "rotate", "sender.test")
    assert waits["rotation"]["step"] == "waits" and waits["rotation"]["wait_until"] and not waits["rotation"]["why"]
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("UPDATE dkim_key SET changed = changed - 16 * 86400000 WHERE state = 2")
    database.close()
    retired = server.cli_json("domain", "rotate", "sender.test")
    assert retired["rotation"]["step"] == "retired" and len(keys_of(retired)) == 2
    assert states(retired)["ph1"] == ("rsa", "retired")
    assert states(server.cli_json("domain", "rotate", "sender.test"))["ph3"] == ("rsa", "next")
    assert server.cli("domain", "rotate", "nobody.test", check=False).returncode == 1


@pytest.mark.sanitize
def test_a_running_campaign_takes_the_new_keys_without_a_restart(place):
    sink = place.sink(store=True)
    records_now = {}
    name_server = published(records_now)
    try:
        server = place.server(sink, config='dns { server = "%s" }\npreflight = "off"\n' % name_server.server)
        place.people(server, emails(60, ["one.test"]))
        campaign = server.create_campaign(ab={"share": 50, "variants": [{}, {"subject": "Hi {{name}}"}], "winner": "manual"})
        run_until(server, campaign, lambda stats: stats["limited_by"] == "winner" and stats["sending"] == 0, "the test's share to be sent")
        rotate = "/v1/domains/sender.test/rotate"
        made = server.api.post(rotate)
        assert made.status == 200 and made.json["rotation"]["step"] == "made"
        records_now.update({record["name"]: record["value"] for record in keys_of(made.json)})
        assert server.api.post(rotate).json["rotation"]["step"] == "switched"
        wait_until(lambda: "signs with other keys" in server.log.read_text(), 20, "the campaign to take them")
        assert server.stats(campaign)["status"] == "running"
        waits = server.api.post(rotate).json["rotation"]
        assert waits["step"] == "waits" and waits["wait_until"]
        assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 1}).status == 202
        assert run_to_end(server, campaign)["delivered"] == 60
    finally:
        name_server.stop()
    published_now = records(server)
    signed = {}
    for lines in sink.messages().values():
        assert len(lines) == 1
        content = sink.content(lines[0])
        assert both_verify(content, published_now)
        new = content.count(b"s=ph2;")
        assert content.count(b"s=ph1;") == 1 - new and content.count(b"s=ph2e;") == new and content.count(b"s=ph1e;") == 1 - new
        signed[new] = signed.get(new, 0) + 1
    assert signed[0] >= 15 and signed[1] >= 15, signed


def test_signatures_expire_when_asked_to(place):
    sink = place.sink(store=True)
    for config, life in ("", None), ('signature_expires = "14d"\n', 14 * 86400):
        server = place.server(sink, config=config)
        place.people(server, ["a@one.test"])
        run_to_end(server, server.create_campaign())  # its launch has libopendkim verify it
        content = sink.content(sink.messages()["a@one.test"][-1])
        assert both_verify(content, records(server))
        times = re.findall(rb"t=(\d+);(?: x=(\d+);)?", content.replace(b"\r\n", b"").replace(b"\t", b" "))
        assert len(times) == 2, content
        assert [int(expires) - int(made) if expires else None for made, expires in times] == [life, life]
