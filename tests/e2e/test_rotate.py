"""Two keys of a domain, and their rotation: made, seen in DNS, used, kept, retired; each step survives whatever comes between."""
import sqlite3

import dkim
import pytest

import dnslib
from conftest import run_to_end
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


def dns(server, lines):
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

    knot = dns(server, zone_of(first) or "x A 127.0.0.1")
    try:
        early = server.cli("domain", "rotate", "sender.test", check=False)
        assert early.returncode == 1 and "ph2._domainkey.sender.test" in early.stderr
        assert states(server.cli_json("domain", "show", "sender.test")) == states(made)
    finally:
        knot.stop()
    other = {"dns": [{**record, "value": record["value"][:-8] + "AAAAAAA="} if "ph2e" in record["name"] else record for record in keys_of(made)]}
    knot = dns(server, zone_of(other))
    try:
        assert "another record" in server.cli("domain", "rotate", "sender.test", check=False).stderr
    finally:
        knot.stop()
    knot = dns(server, zone_of(made))
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
