"""SPF against the published test suite of RFC 7208, against pyspf on made-up zones, and what a zone can do wrong. No sockets: the evaluator is asked
through tests/unit/campaign/spf_tool."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import tarfile

import pytest

BUILD = pathlib.Path(os.environ["POSTHASTE_BUILD"])
IP, IP6 = "192.0.2.1", "2001:db8::1"


def evaluate(cases):
    """[(zone, ip, domain, sender, helo, exhaust)] -> verdicts"""
    lines, before = [], None
    for zone, ip, domain, sender, helo, exhaust in cases:
        case = {"ip": ip, "domain": domain, "sender": sender, "helo": helo, "exhaust": exhaust}
        if zone is not before:
            case["zone"] = before = zone
        lines.append(json.dumps(case))
    done = subprocess.run([str(BUILD / "tests/unit/campaign/spf_tool")], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(cases)
    return verdicts


def check(zone, ip=IP, domain="d.test", exhaust=False):
    return evaluate([(zone, ip, domain, "user@" + domain, "mta.d.test", exhaust)])[0]


def txt(*records, **more):
    return {"TXT": list(records), **more}


# ---- the published suite ----

def suite_file():
    """The suite's YAML: it comes with the source of pyspf and is not kept here."""
    folder = BUILD / "spf-suite"
    found = folder / "rfc7208-tests.yml"
    if os.environ.get("POSTHASTE_SPF_SUITE"):
        return pathlib.Path(os.environ["POSTHASTE_SPF_SUITE"])
    if not found.exists():
        pip = shutil.which("pip3") or shutil.which("pip")
        if pip is None:
            pytest.skip("no pip to fetch the suite with; POSTHASTE_SPF_SUITE may name its file")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run([pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), "pyspf==2.0.14"],
                                  capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the suite cannot be fetched within a minute")
        archives = list(folder.glob("pyspf-*.tar.gz"))
        if done.returncode != 0 or not archives:
            pytest.skip("the suite cannot be fetched: " + done.stderr[-200:])
        with tarfile.open(archives[0]) as archive:
            member = next(entry for entry in archive.getmembers() if entry.name.endswith("/rfc7208-tests.yml"))
            found.write_bytes(archive.extractfile(member).read())
    return found


def suite_zone(data):
    zone = {}
    for name, entries in data.items():
        node = {}
        for entry in entries:
            kind, value = ("FAIL", True) if isinstance(entry, str) else next(iter(entry.items()))
            if kind == "FAIL" or value == "TIMEOUT":
                node["FAIL"] = True
            elif kind == "MX":
                node.setdefault("MX", []).append([int(value[0]), value[1]])
            else:
                node.setdefault(kind, []).append("".join(value) if isinstance(value, list) else value)
        # The suite was made when type SPF stood beside TXT: it counts as TXT unless the case says that there is none.
        spf = node.pop("SPF", None)
        node.setdefault("TXT", spf or [])
        node = {kind: [v for v in values if v != "NONE"] if isinstance(values, list) else values for kind, values in node.items()}
        if "\0" not in name:
            zone[name.lower().rstrip(".")] = {kind: values for kind, values in node.items() if values}
    return zone


def test_the_published_suite():
    yaml = pytest.importorskip("yaml")
    cases, wanted = [], []
    for section in yaml.safe_load_all(suite_file().read_text(encoding="utf-8")):
        zone = suite_zone(section["zonedata"])
        for name, case in section["tests"].items():
            sender = case["mailfrom"] or "postmaster@" + case["helo"]
            domain = sender.rsplit("@", 1)[-1]
            cases.append((zone, case["host"], domain, sender if "@" in sender else "postmaster@" + sender, case["helo"], False))
            results = case["result"] if isinstance(case["result"], list) else [case["result"]]
            wanted.append((name, results))
    wrong = [(name, results, verdict) for (name, results), verdict in zip(wanted, evaluate(cases)) if verdict["result"] not in results]
    assert len(cases) > 190 and wrong == []


# ---- against pyspf ----

def made_up_zone(rng):
    names = ["d.test", "a.test", "b.test", "c.d.test", "e.test"]
    hosts = ["h%d.test" % n for n in range(4)]
    addresses = ["192.0.2.%d" % n for n in range(1, 4)] + ["2001:db8::%d" % n for n in range(1, 3)]
    zone = {}
    for host in hosts:
        zone[host] = {"A": [a for a in addresses if ":" not in a and rng.random() < 0.6] or ["198.51.100.9"],
                      "AAAA": [a for a in addresses if ":" in a and rng.random() < 0.6] or ["2001:db8:9::9"]}
    for address, reverse in (("192.0.2.1", "1.2.0.192.in-addr.arpa"), ("192.0.2.2", "2.2.0.192.in-addr.arpa")):
        zone[reverse] = {"PTR": rng.sample(hosts, 2)}
    for name in names:
        terms = []
        for _ in range(rng.randint(1, 5)):
            sign = rng.choice(["", "", "+", "-", "~", "?"])
            terms.append(sign + rng.choice([
                "ip4:192.0.2.%d" % rng.randint(0, 3), "ip4:192.0.2.0/%d" % rng.randint(28, 32), "ip6:2001:db8::/%d" % rng.randint(120, 128),
                "a:" + rng.choice(hosts), "a:%s/%d" % (rng.choice(hosts), rng.randint(28, 32)), "mx:" + rng.choice(names), "a", "mx//126",
                "include:" + rng.choice([other for other in names if other != name]), "exists:" + rng.choice(hosts), "exists:%{h}", "a:h%{d1r}.test", "ptr:" + rng.choice(hosts), "ptr:test",
                "exists:%{l}.test", "a:%{l1r-}.test", "ip4:192.0.2.300", "ip4:192.0.2.1/33", "a:%{z}.test", "a:h1.test/", "all"]))
        if rng.random() < 0.3:
            terms.append("redirect=" + rng.choice(names))
        if rng.random() < 0.2:
            terms.append(rng.choice(["exp=why.test", "op=auth", "x=%{d}"]))
        zone[name] = {"TXT": ["v=spf1 " + " ".join(terms)], "MX": [[10, host] for host in rng.sample(hosts, rng.randint(1, 3))],
                      "A": ["192.0.2.%d" % rng.randint(1, 3)], "AAAA": ["2001:db8::%d" % rng.randint(1, 3)]}
    return zone


def test_pyspf_agrees(monkeypatch):
    spf = pytest.importorskip("spf")
    zone = {}

    def look_up(name, kind, *_, **__):
        for value in zone.get(name.lower().rstrip("."), {}).get(kind, []):
            if kind == "TXT":
                value = (value.encode(),)
            elif kind == "MX":
                value = (value[0], value[1])
            yield (name, kind), value

    monkeypatch.setattr(spf, "DNSLookup", lambda name, kind, *a, **k: list(look_up(name, kind)))
    monkeypatch.setattr(spf, "MAX_VOID_LOOKUPS", 1000)  # it counts other look-ups than the RFC names
    rng, cases, wanted = random.Random(7208), [], []
    for _ in range(60):
        zone = made_up_zone(rng)
        for _ in range(5):
            ip, sender = rng.choice([IP, "192.0.2.2", "192.0.2.3", IP6, "198.51.100.1"]), rng.choice(["h1@d.test", "x-h2@a.test", "n@b.test"])
            cases.append((zone, ip, sender.split("@")[1], sender, "h0.test", False))
            query = spf.query(i=ip, s=sender, h="h0.test", timeout=20)
            wanted.append(query.check()[0])
    got = evaluate(cases)
    wrong = [(case, want, verdict) for case, want, verdict in zip(cases, wanted, got)
             if verdict["result"] != want and "found nothing" not in verdict["why"]]
    assert wrong == []
    assert {"pass", "fail", "softfail", "neutral", "permerror"} <= set(wanted) and len(cases) == 300


# ---- what a zone can do wrong ----

def test_three_hundred_includes_end_after_ten():
    zone = {"d.test": txt("v=spf1 " + " ".join("include:i%d.test" % n for n in range(300)) + " -all")}
    zone.update({"i%d.test" % n: txt("v=spf1 -all") for n in range(300)})
    verdict = check(zone)
    assert verdict["result"] == "permerror" and "more than 10" in verdict["why"] and verdict["asked"] <= 12


@pytest.mark.parametrize("zone", [
    {"d.test": txt("v=spf1 include:d.test -all")},
    {"d.test": txt("v=spf1 redirect=e.test"), "e.test": txt("v=spf1 redirect=d.test")},
    {"d.test": txt("v=spf1 include:e.test -all"), "e.test": txt("v=spf1 include:d.test -all")},
])
def test_loops_end(zone):
    verdict = check(zone)
    assert verdict["result"] == "permerror" and "more than 10" in verdict["why"] and verdict["asked"] <= 12


def test_a_record_of_64_kilobytes_is_read():
    terms = ["ip4:198.51.%d.%d" % (n // 250, n % 250) for n in range(3500)]
    record = "v=spf1 " + " ".join(terms) + " ip4:192.0.2.1 -all"
    assert len(record) > 50000 and check({"d.test": txt(record)})["result"] == "pass"
    assert check({"d.test": txt("v=spf1 " + "a" * 60000)})["result"] == "permerror"
    assert check({"d.test": txt("v=spf1 exists:" + "%{d}" * 15000 + ".test -all")})["result"] == "fail"


@pytest.mark.parametrize("record, why", [
    ("v=spf1 ip4:192.0.2.1 é -all", "printable"), ("v=spf1 ip4:192.0.2.1\0 -all", "printable"), ("v=spf1 ip4:192.0.2.1 foo:bar -all", "unknown"),
    ("v=spf1 include: -all", "domain"), ("v=spf1 include -all", "without"), ("v=spf1 a:%{x}.test -all", "domain"), ("v=spf1 a/33 -all", "prefix"),
    ("v=spf1 ip6:::1/129 -all", "network"), ("v=spf1 redirect=a.test redirect=a.test", "twice"), ("v=spf1 ip4:192.0.2.1 -al", "unknown"),
])
def test_a_bad_term_spoils_the_record_and_is_named(record, why):
    verdict = check({"d.test": txt(record)})
    assert verdict["result"] == "permerror" and why in verdict["why"]


def test_records_beside_one_another():
    assert check({"d.test": txt("v=spf1 -all", "v=spf1 +all")})["result"] == "permerror"
    assert check({"d.test": txt("v=spf10 -all", "spf2.0/pra -all", "hello")})["result"] == "none"
    assert check({})["result"] == "none"
    assert check({"d.test": {"FAIL": True}})["result"] == "temperror"


def test_what_a_record_costs_at_most():
    zone = {"d.test": txt("v=spf1 ip4:192.0.2.1 a mx include:i.test -all", A=["192.0.2.9"], MX=[[1, "d.test"]]), "i.test": txt("v=spf1 a:d.test ?all")}
    assert check(zone)["lookups"] == 0
    verdict = check(zone, exhaust=True)
    assert (verdict["result"], verdict["lookups"]) == ("neutral", 4)
