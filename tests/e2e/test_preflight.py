"""What posthaste finds out about a sending domain before a launch: some sixty domains, each broken in one way, in zones of a real name server; and what
a launch makes of it."""
import json
import re
import sqlite3
import threading
import time

import dns.message
import dns.rcode
import pytest

import dnslib
import sinklib
from conftest import emails, run_to_end
from weblib import Web

SOURCE, OTHER, NAMELESS, LIAR, ALIAS = ("20.30.40.%d" % n for n in (50, 51, 52, 53, 54))
SPF, DMARC = "v=spf1 ip4:%s -all" % SOURCE, "v=DMARC1; p=none; rua=mailto:r@%s.test"
UNSUBSCRIBE = (404, {"Content-Type": "application/problem+json"}, '{"detail": "this is not an unsubscribe link of ours"}')

# name: (what is published in place of the good records, configuration, {code: status} of the findings that are not "ok")
# Keys of the zone: spf, dmarc, key (lists of TXT records), mx (lines), more (lines; "@" is the domain).
W, E = "warning", "error"
TABLE = {
    "good": ({}, {}, {}),
    # SPF
    "spf-none": ({"spf": []}, {}, {"spf-missing": E}),
    "spf-two": ({"spf": [SPF, "v=spf1 -all"]}, {}, {"spf-broken": E}),
    "spf-other": ({"spf": ["v=spf1 ip4:192.0.2.1 -all"]}, {}, {"spf-fail": E}),
    "spf-soft": ({"spf": ["v=spf1 ip4:192.0.2.1 ~all"]}, {}, {"spf-softfail": E}),
    "spf-neutral": ({"spf": ["v=spf1 ip4:192.0.2.1"]}, {}, {"spf-neutral": E}),
    "spf-bad-term": ({"spf": ["v=spf1 ip4:20.30.40.50 foo -all"]}, {}, {"spf-broken": E}),
    "spf-open": ({"spf": ["v=spf1 +all"]}, {}, {"spf-open": W}),
    "spf-many": ({"spf": ["v=spf1 " + " ".join("include:many%d.test" % n for n in range(12)) + " -all"]}, {}, {"spf-broken": E, "spf-costly": W}),
    "spf-three-hundred": ({"spf": ["v=spf1 " + " ".join("include:i%d.many1.test" % n for n in range(300)) + " -all"]}, {}, {"spf-broken": E, "spf-costly": W}),
    "spf-late": ({"spf": ["v=spf1 ip4:20.30.40.50 " + " ".join("a:n%d.nowhere.test" % n for n in range(4)) + " -all"]}, {}, {"spf-costly": W}),
    "spf-loop": ({"spf": ["v=spf1 include:spf-loop.test -all"]}, {}, {"spf-broken": E, "spf-costly": W}),
    "spf-redirect": ({"spf": ["v=spf1 redirect=good.test"]}, {}, {}),
    "spf-include": ({"spf": ["v=spf1 include:good.test -all"]}, {}, {}),
    "spf-no-include": ({"spf": ["v=spf1 include:nowhere.test -all"]}, {}, {"spf-broken": E}),
    "spf-macro": ({"spf": ["v=spf1 exists:%{i}.ok.test -all"]}, {}, {}),
    "spf-dead": ({"spf": ["v=spf1 include:x.dead -all"]}, {}, {"spf-unknown": W}),
    "spf-binary": ({"spf": ["v=spf1 ip4:20.30.40.50 \\255\\254 -all"]}, {}, {"spf-broken": E}),
    "spf-long": ({"spf": ["v=spf1 " + " ".join("ip4:192.0.2.%d" % n for n in range(60)) + " ip4:20.30.40.50 -all"]}, {}, {}),
    # DKIM
    "key-none": ({"key": []}, {}, {"dkim-missing": E}),
    "key-other": ({"key": "OTHER"}, {}, {"dkim-differs": E}),
    "key-revoked": ({"key": ["v=DKIM1; k=rsa; p="]}, {}, {"dkim-revoked": E}),
    "key-garbage": ({"key": ["v=DKIM1; k=rsa; p=AAAA"]}, {}, {"dkim-unreadable": E}),
    "key-no-p": ({"key": ["v=DKIM1; k=rsa"]}, {}, {"dkim-unreadable": E}),
    "key-version": ({"key": "v=DKIM2; k=rsa; p=KEY"}, {}, {"dkim-unreadable": E}),
    "key-kind": ({"key": "v=DKIM1; k=dsa; p=KEY"}, {}, {"dkim-unreadable": E}),
    "key-test": ({"key": "v=DKIM1; t=y; p=KEY"}, {}, {"dkim-testing": W}),
    "key-sha1": ({"key": "v=DKIM1; h=sha1; p=KEY"}, {}, {"dkim-restricted": E}),
    "key-service": ({"key": "v=DKIM1; s=tlsrpt; p=KEY"}, {}, {"dkim-restricted": E}),
    "key-plain": ({"key": "p=KEY"}, {}, {}),
    "key-spaces": ({"key": "v=DKIM1 ; k = rsa ; t=s; p = KEY ;"}, {}, {}),
    "key-twice": ({"key": "TWICE"}, {}, {"dkim-several": E}),
    "key-and-text": ({"key": "BESIDE"}, {}, {}),
    "key-short": ({"key": "SHORT"}, {}, {"dkim-differs": E}),
    "key-huge": ({"key": ["v=DKIM1; p=" + "A" * 12000]}, {}, {"dkim-unreadable": E}),
    "key-alias": ({"key": "ALIAS"}, {}, {}),
    # DMARC
    "dmarc-none": ({"dmarc": []}, {}, {"dmarc-missing": E}),
    "dmarc-two": ({"dmarc": [DMARC % "good", "v=DMARC1; p=reject"]}, {}, {"dmarc-several": E}),
    "dmarc-no-p": ({"dmarc": ["v=DMARC1; sp=none"]}, {}, {"dmarc-broken": E}),
    "dmarc-bad-p": ({"dmarc": ["v=DMARC1; p=maybe; rua=mailto:r@dmarc-bad-p.test"]}, {}, {"dmarc-sloppy": W}),
    "dmarc-version": ({"dmarc": ["v=DMARC2; p=none"]}, {}, {"dmarc-missing": E}),
    "dmarc-order": ({"dmarc": ["p=none; v=DMARC1"]}, {}, {"dmarc-missing": E}),
    "dmarc-no-rua": ({"dmarc": ["v=DMARC1; p=reject"]}, {}, {"dmarc-no-reports": W}),
    "dmarc-pct": ({"dmarc": ["v=DMARC1; p=none; pct=often; rua=mailto:r@dmarc-pct.test"]}, {}, {"dmarc-sloppy": W}),
    "dmarc-elsewhere": ({"dmarc": ["v=DMARC1; p=none; rua=mailto:r@third.test"]}, {}, {"dmarc-report-refused": W}),
    "dmarc-agreed": ({"dmarc": ["v=DMARC1; p=none; rua=mailto:r@agrees.test"]}, {}, {}),
    "dmarc-huge": ({"dmarc": ["v=DMARC1; p=none; x=" + "y" * 9000]}, {}, {"dmarc-broken": E}),
    "dmarc-alias": ({"dmarc": "ALIAS"}, {}, {"dmarc-report-refused": W}),
    "sub.dmarc-parent": ({"dmarc": [], "more": ["_dmarc.dmarc-parent.test. TXT \"v=DMARC1; p=reject; sp=none; rua=mailto:r@dmarc-parent.test\""]}, {}, {}),
    # the return path in another domain
    "bounce-below": ({"more": ["b.@ TXT \"%s\"" % SPF, "b.@ MX 10 mx.@"]}, {"bounce_domain": "b.@"}, {}),
    "bounce-foreign": ({}, {"bounce_domain": "good.test"}, {"dmarc-spf-alignment": W}),
    "bounce-strict": ({"dmarc": ["v=DMARC1; p=none; aspf=s; rua=mailto:r@bounce-strict.test"], "more": ["b.@ TXT \"%s\"" % SPF, "b.@ MX 10 mx.@"]},
                      {"bounce_domain": "b.@"}, {"dmarc-spf-alignment": W}),
    "bounce-no-spf": ({"more": ["b.@ MX 10 mx.@"]}, {"bounce_domain": "b.@"}, {"spf-missing": E}),
    "bounce-null": ({"more": ["b.@ TXT \"%s\"" % SPF, "b.@ MX 0 ."]}, {"bounce_domain": "b.@"}, {"bounce-null-mx": E}),
    "bounce-no-mx": ({"more": ["b.@ TXT \"%s\"" % SPF]}, {"bounce_domain": "b.@"}, {"bounce-no-mail": E}),
    "bounce-gone": ({}, {"bounce_domain": "gone.@"}, {"spf-missing": E, "bounce-no-mail": E}),
    "bounce-a": ({"more": ["b.@ TXT \"%s\"" % SPF, "b.@ A 20.30.40.60"]}, {"bounce_domain": "b.@"}, {"bounce-mx-implicit": W}),
    "bounce-dead": ({"more": ["b.@ TXT \"%s\"" % SPF, "b.@ MX 10 mx.dead."]}, {"bounce_domain": "b.@"}, {"bounce-mx-unknown": W}),
    # the From domain takes no mail
    "from-null": ({"mx": ["@ MX 0 ."], "more": ["b.@ TXT \"%s\"" % SPF, "b.@ MX 10 mx.@"]}, {"bounce_domain": "b.@"}, {"from-null-mx": W}),
    "from-no-mx": ({"mx": []}, {}, {"from-no-mail": E, "bounce-no-mail": E}),
    "from-host": ({"mx": ["@ MX 10 gone.@"]}, {}, {"from-no-host": E, "bounce-no-host": E}),
    # addresses and names
    "ptr-none": ({"spf": ["v=spf1 ip4:20.30.40.0/24 -all"]}, {"address": NAMELESS}, {"ptr-missing": E}),
    "ptr-lies": ({"spf": ["v=spf1 ip4:20.30.40.0/24 -all"]}, {"address": LIAR}, {"ptr-not-confirmed": E}),
    "ptr-other": ({"spf": ["v=spf1 ip4:20.30.40.0/24 -all"]}, {"address": OTHER}, {"ptr-other-name": W}),
    "ptr-two": ({"spf": ["v=spf1 ip4:20.30.40.0/24 -all"]}, {"address": ALIAS, "hostname": "alias.ok.test"}, {}),
    "ptr-dead": ({"spf": ["v=spf1 ip4:20.31.0.1 -all"]}, {"address": "20.31.0.1"}, {"ptr-unknown": W}),
    "helo-spf": ({}, {"hostname": "helo.ok.test"}, {"ptr-other-name": W, "spf-helo": W}),
    "no-source": ({"spf": ["v=spf1 ip4:20.30.40.50 ip6:2001:4860::25 -all"]}, {"address": None}, {}),
    "private-source": ({}, {"address": "10.1.2.3"}, {}),
    "unknown-source-no-spf": ({"spf": []}, {"address": None, "hostname": "gone.ok.test"}, {"source-unknown": W, "spf-missing": E}),
    "unknown-source-two-spf": ({"spf": [SPF, "v=spf1 -all"]}, {"address": None, "hostname": "gone.ok.test"}, {"source-unknown": W, "spf-broken": E}),
    "unknown-source-bad-spf": ({"spf": ["v=spf1 ip4:20.30.40.50 foo -all"]}, {"address": None, "hostname": "gone.ok.test"}, {"source-unknown": W, "spf-broken": E}),
    "unknown-source": ({}, {"address": None, "hostname": "gone.ok.test"}, {"source-unknown": W}),
    "six": ({"spf": ["v=spf1 ip6:2001:4860::/32 -all"]}, {"address": "2001:4860::25"}, {}),
    # the links
    "http": ({}, {"public_url": "http://t.ok.test"}, {"unsubscribe-not-https": E}),
    "no-tracking": ({}, {"public_url": "https://gone.ok.test"}, {"tracking-host-missing": E}),
    "certificate": ({}, {"public_url": "https://wrong.ok.test:WEB"}, {"tracking-certificate-bad": E, "unsubscribe-unreachable": E}),
    "elsewhere": ({}, {"public_url": "https://t.ok.test:ELSEWHERE"}, {"unsubscribe-elsewhere": E}),
    "web-down": ({}, {"public_url": "https://t.ok.test:1"}, {"unsubscribe-unreachable": W}),
}
# The certificates of the tests are good for two days, which is little.
ENDS = {"tracking-certificate-ends": W}


def strings(text):
    escaped = re.sub(r'"', r'\\"', text)
    pieces, piece = [], ""
    for unit in re.findall(r"\\\d\d\d|\\.|.", escaped):
        if len(piece) + len(unit) > 250:
            pieces.append(piece)
            piece = ""
        piece += unit
    return " ".join('"%s"' % part for part in pieces + [piece])


def zone_of(name, changes, key, other):
    def expand(text):
        return re.sub(r"@", name, text)

    lines = [expand(line) for line in changes.get("mx", ["@ MX 10 mx.@"])] + ["mx.%s A 20.30.40.60" % name]
    lines += ["%s TXT %s" % (name, strings(record)) for record in changes.get("spf", [SPF])]
    dmarc = changes.get("dmarc", [DMARC % name])
    if dmarc == "ALIAS":
        lines.append("_dmarc.%s CNAME _dmarc.good" % name)
    else:
        lines += ["_dmarc.%s TXT %s" % (name, strings(record)) for record in dmarc]
    at = "ph1._domainkey." + name
    record = changes.get("key", ["v=DKIM1; k=rsa; p=" + key])
    if record == "ALIAS":
        lines.append("%s CNAME ph1._domainkey.good" % at)
    else:
        record = {"OTHER": ["v=DKIM1; p=" + other], "TWICE": ["v=DKIM1; p=" + key, "v=DKIM1; p=" + other], "SHORT": ["v=DKIM1; p=" + SHORT_KEY],
                  "BESIDE": ["v=DKIM1; p=" + key, "some words"]}.get(record, record) if isinstance(record, str) else record
        record = [record.replace("KEY", key)] if isinstance(record, str) else record
        lines += ["%s TXT %s" % (at, strings(value)) for value in record]
    return "\n".join(lines + [re.sub(r"(?<=[.\s])@|^@", name, line) for line in changes.get("more", [])])


SHORT_KEY = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALq4IBgLYBxdV7c8Xt9KJpLhmsuAiEXpWl5XzRyCJpTyfUdZY1Va0NpVXjV8sBYyZMwjqzkzAMfGdKVZ1SZkiW8CAwEAAQ=="
OK_ZONE = """
mta1.ok   A 20.30.40.50
          AAAA 2001:4860::25
mta2.ok   A 20.30.40.51
alias.ok  A 20.30.40.54
helo.ok   TXT "v=spf1 -all"
helo.ok   A 20.30.40.59
t.ok      A 127.0.0.1
wrong.ok  A 127.0.0.1
20.30.40.50.ok A 127.0.0.2
good.test._report._dmarc.third TXT "other"
dmarc-agreed.test._report._dmarc.agrees TXT "v=DMARC1"
""" + "\n".join('many%d TXT "v=spf1 -all"' % n for n in range(12)) + "\n" + "\n".join('i%d.many1 TXT "v=spf1 -all"' % n for n in range(300))
REVERSE = """
50 PTR mta1.ok.test.
51 PTR mta2.ok.test.
53 PTR mta1.ok.test.
54 PTR mta1.ok.test.
54 PTR alias.ok.test.
"""
REVERSE6 = "5.2.0.0" + ".0.0.0.0" * 5 + " PTR mta1.ok.test."


class Scene:
    """A data directory with all the domains, which share one key, and the name server that knows them."""

    def __init__(self, place):
        self.place = place
        self.certificate = sinklib.certificate("t.ok.test", "DNS:localhost")
        self.web = Web(self.certificate, lambda path, headers: UNSUBSCRIBE)
        self.elsewhere = Web(self.certificate, lambda path, headers: (200, {}, "hello"))
        server = place.server(start=False)
        self.key = self._key("sender.test", server)
        other = place.server(start=False, domain="other.test")
        zones = "\n".join(zone_of(name, changes, self.key, self._key("other.test", other)) for name, (changes, _, _) in TABLE.items())
        self.knot = dnslib.Knot({"test": OK_ZONE + "\n" + zones, "dead": None, "40.30.20.in-addr.arpa": REVERSE, "31.20.in-addr.arpa": None,
                                 "0.6.8.4.1.0.0.2.ip6.arpa": REVERSE6}).start()
        self.server = server
        # As `domain add` would, with a key file that is there already; sixty processes in its place would cost half a minute.
        with sqlite3.connect(server.data_dir / "posthaste.db") as database:
            database.executemany("INSERT INTO sending_domain SELECT ?, selector, key_file, dkim_record, created FROM sending_domain WHERE name = 'sender.test'",
                                 [(name + ".test",) for name in TABLE])
            database.executemany("INSERT INTO dkim_key SELECT ?, selector, algorithm, key_file, record, state, created, changed FROM dkim_key "
                                 "WHERE domain = 'sender.test' AND algorithm = 'rsa'", [(name + ".test",) for name in TABLE])
        database.close()

    def _key(self, domain, server):
        record = server.cli_json("domain", "show", domain)["dns"][0]["value"]
        return record.split("p=")[1]

    def configure(self, name, options):
        address = options.get("address", SOURCE)
        config = 'dns { server = "%s" }\ntls_ca_file = "%s"\npublic_url = "%s"\n' % (
            self.knot.server, self.certificate.authority,
            options.get("public_url", "https://t.ok.test:WEB").replace("WEB", str(self.web.port)).replace("ELSEWHERE", str(self.elsewhere.port)))
        if address is not None:
            config += 'source "ip1" { address = "%s" }\npool "default" { sources = { "ip1" } }\n' % address
        if "bounce_domain" in options:
            config += 'bounce_domain = "%s"\n' % options["bounce_domain"].replace("@", name + ".test")
        self.server.config.write_text('hostname = "%s"\ndata_dir = "%s"\n%s' % (options.get("hostname", "mta1.ok.test"), self.server.data_dir, config))

    def check(self, name):
        self.configure(name, TABLE[name][1])
        done = self.server.cli("domain", "check", name + ".test", "--json", check=False)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["status"] == "error" else 0)
        return report

    def stop(self):
        self.knot.stop()
        self.web.stop()
        self.elsewhere.stop()


@pytest.fixture(scope="module")
def scene(tmp_path_factory, template):
    from conftest import Place
    place = Place(tmp_path_factory.mktemp("preflight"), template)
    scene = Scene(place)
    yield scene
    scene.stop()
    assert place.finish() == []


def trouble(report):
    return {finding["code"]: finding["status"] for finding in report["findings"] if finding["status"] != "ok"}


def test_each_domain_has_its_findings(scene):
    wrong = {}
    assert len(TABLE) >= 60
    for name, (_, options, expected) in TABLE.items():
        report = scene.check(name)
        expected = dict(expected)
        if not {"unsubscribe-not-https", "tracking-host-missing", "tracking-certificate-bad"} & set(expected) and name != "web-down":
            expected.update(ENDS)
        if trouble(report) != expected:
            wrong[name] = (trouble(report), expected, [f["seen"] for f in report["findings"] if f["status"] != "ok"])
        for finding in report["findings"]:
            assert finding["seen"] and finding["wanted"], finding
            if finding["status"] == "error" and finding["check"] in ("spf", "dkim", "dmarc") and finding["code"] != "dkim-several":
                assert finding["record"] and finding["providers"], finding
        worst = max(expected.values(), default="ok", key=["ok", W, E].index)
        if report["status"] != worst:
            wrong.setdefault(name, report["status"])
    assert wrong == {}, "\n".join(map(str, wrong.items()))


def test_the_record_to_publish_mends_it(scene):
    def record(name, code):
        return next(f["record"] for f in scene.check(name)["findings"] if f["code"] == code)

    assert record("spf-none", "spf-missing") == {"name": "spf-none.test", "type": "TXT", "value": "v=spf1 ip4:20.30.40.50 ~all"}
    assert record("spf-other", "spf-fail")["value"] == "v=spf1 ip4:20.30.40.50 ip4:192.0.2.1 -all"
    assert record("dmarc-none", "dmarc-missing") == {"name": "_dmarc.dmarc-none.test", "type": "TXT",
                                                     "value": "v=DMARC1; p=none; rua=mailto:dmarc@dmarc-none.test"}
    assert record("key-other", "dkim-differs") == {"name": "ph1._domainkey.key-other.test", "type": "TXT", "value": "v=DKIM1; k=rsa; p=" + scene.key}
    assert record("ptr-none", "ptr-missing") == {"name": "52.40.30.20.in-addr.arpa", "type": "PTR", "value": "mta1.ok.test."}
    assert record("bounce-no-mx", "bounce-no-mail") == {"name": "b.bounce-no-mx.test", "type": "MX", "value": "10 mta1.ok.test."}


def test_text_and_json_say_the_same(scene):
    report = scene.check("dmarc-none")
    text = scene.server.cli("domain", "check", "dmarc-none.test", check=False).stdout
    for finding in report["findings"]:
        assert finding["seen"] in text
    assert '_dmarc.dmarc-none.test. IN TXT ( "v=DMARC1; p=none' in text and "Microsoft (550 5.7.515)" in text
    assert text.rstrip().endswith("dmarc-none.test: error")
    assert scene.server.cli("domain", "check", "nobody.test", check=False).returncode == 1


def test_a_silent_name_server_costs_seconds(scene):
    silent = dnslib.Fake().start()
    try:
        scene.configure("good", {})
        scene.server.config.write_text(scene.server.config.read_text().replace(scene.knot.server, silent.server))
        report = json.loads(scene.server.cli("domain", "check", "good.test", "--json", check=False).stdout)
    finally:
        silent.stop()
    assert report["took_ms"] < 15000 and report["status"] == "warning"  # nothing is known: no reason to refuse
    assert {"spf-unknown", "dkim-unknown", "dmarc-unknown", "ptr-unknown"} <= set(trouble(report))


def test_domain_add_prints_the_complete_set(scene):
    scene.server.config.write_text('hostname = "mta1.ok.test"\ndata_dir = "%s"\nbounce_domain = "b.ok.test"\npublic_url = "https://t.ok.test"\n'
                                   'source "ip1" { address = "%s" }\nsource "ip2" { address = "2001:4860::25" }\n' % (scene.server.data_dir, SOURCE))
    dns = {(row["type"], row["name"]): row["value"] for row in scene.server.cli_json("domain", "show", "good.test")["dns"]}
    assert dns[("TXT", "ph1._domainkey.good.test")].endswith(scene.key)
    assert dns[("TXT", "b.ok.test")] == "v=spf1 ip4:20.30.40.50 ip6:2001:4860::25 ~all"
    assert dns[("TXT", "_dmarc.good.test")].startswith("v=DMARC1; p=none")
    assert dns[("MX", "b.ok.test")] == "10 mta1.ok.test." and dns[("CNAME", "t.ok.test")] == "mta1.ok.test."
    text = scene.server.cli("domain", "show", "good.test").stdout
    assert "b.ok.test. IN MX 10 mta1.ok.test." in text and 't.ok.test. IN CNAME mta1.ok.test.' in text


def test_a_host_without_a_domain_name_is_not_named_in_the_record(scene):
    """`a:vm` is looked up by every receiver, and found by none."""
    def spf(hostname):
        scene.server.config.write_text('hostname = "%s"\ndata_dir = "%s"\n' % (hostname, scene.server.data_dir))
        return next(row for row in scene.server.cli_json("domain", "show", "good.test")["dns"] if row["value"].startswith("v=spf1"))

    assert spf("mta1.ok.test") == {"name": "good.test", "type": "TXT", "value": "v=spf1 a:mta1.ok.test ~all"}
    record = spf("vm")
    assert record["value"] == "v=spf1 ip4:ADDRESS ~all" and "ADDRESS stands for" in record["note"]
    assert "note   ADDRESS stands for" in scene.server.cli("domain", "show", "good.test").stdout
    for name, says in (("spf-none", "has no SPF record; "), ("spf-two", "permerror: ")):
        scene.configure(name, {"address": None, "hostname": "vm"})
        report = scene.server.cli_json("domain", "check", name + ".test", check=False)
        finding = next(row for row in report["findings"] if row["check"] == "spf")
        assert finding["record"]["value"] == "v=spf1 ip4:ADDRESS ~all" and says in finding["seen"] and "ADDRESS stands for" in finding["seen"], finding


# ---- the launch ----

SPEC = {"name": "test", "lists": ["news"], "from": {"email": "news@sender.test", "name": "News"}, "subject": "Hello", "text": "Hello {{name}}\n"}


def launching(place, name, preflight="", front=lambda knot: knot, **changes):
    """A server that sends from 127.0.0.1 for sender.test, over a sink, with a name server that has what the changes leave of the good records.
    `front` makes what stands before it."""
    sink = place.sink()
    first = place.server(start=False)
    key = first.cli_json("domain", "show", "sender.test")["dns"][0]["value"].split("p=")[1]
    zone = zone_of("sender", {"spf": ["v=spf1 ip4:127.0.0.1 -all"], "more": ["mta1 A 127.0.0.1", "t A 127.0.0.1"], **changes}, key, SHORT_KEY)
    knot = dnslib.Knot({"test": zone, "127.in-addr.arpa": "1.0.0 PTR mta1.test."}).start()
    certificate = sinklib.certificate("t.test", "DNS:localhost")
    web = Web(certificate, lambda path, headers: UNSUBSCRIBE)
    server = place.server(sink=sink, config='dns { server = "%s" }\nallow_private_mx = true\ntls_ca_file = "%s"\npublic_url = "https://t.test:%d"\n'
                          'source "ip1" { address = "127.0.0.1" }\npool "default" { sources = { "ip1" } }\n%s' % (
                              front(knot).server, certificate.authority, web.port, preflight or 'preflight = "enforce"'))
    place.people(server, emails(5, ["one.test"]))
    return server, sink, knot, web


def refused(answer, check):
    assert answer.status == 422, answer
    problem = answer.json
    assert ["preflight." + check] == sorted({error["field"] for error in problem["errors"]}), problem["errors"]
    assert problem["preflight"]["status"] == "error"
    return problem


@pytest.mark.sanitize
def test_a_launch_without_dmarc_is_refused_and_forced(place):
    server, sink, knot, web = launching(place, "dmarc", dmarc=[])
    try:
        spec = SPEC
        answer = server.api.post("/v1/campaigns", {**spec, "launch": True})
        assert '_dmarc.sender.test TXT v=DMARC1; p=none' in refused(answer, "dmarc")["errors"][0]["message"]
        assert server.api.get("/v1/campaigns").json["total"] == 0  # nothing was stored
        campaign = server.api.post("/v1/campaigns", spec).json["id"]
        refused(server.api.post("/v1/campaigns/%d/launch" % campaign), "dmarc")
        done = server.cli("campaign", "launch", campaign, check=False)
        assert "nothing was made" not in done.stderr
        assert done.returncode == 1 and "_dmarc.sender.test TXT v=DMARC1" in done.stderr
        assert server.api.post("/v1/campaigns/%d/launch" % campaign, {"force": 1}).fields() == ["force"]
        assert sink.events("message") == []
        assert server.cli("campaign", "launch", campaign, "--force").returncode == 0
        assert run_to_end(server, campaign)["delivered"] == 5
        entries = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
        assert [entry["note"] for entry in entries if "note" in entry] == ["force"]
        check = server.api.get("/v1/domains/sender.test/check").json
        assert trouble(check) == {"dmarc-missing": "error", "dkim-missing": "warning", **ENDS}  # the Ed25519 key is not published either
        assert server.api.get("/v1/domains/nobody.test/check").status == 404
    finally:
        knot.stop()
        web.stop()


def test_a_launch_with_another_key_is_refused(place):
    server, _, knot, web = launching(place, "key", key="OTHER")
    try:
        answer = server.api.post("/v1/campaigns", {**SPEC, "launch": True})
        record = server.cli_json("domain", "show", "sender.test")["dns"][0]
        assert "%(name)s TXT %(value)s" % record in refused(answer, "dkim")["errors"][0]["message"]
        campaign = server.api.post("/v1/campaigns", {**SPEC, "launch": True, "force": True}).json["id"]
        assert run_to_end(server, campaign)["delivered"] == 5
    finally:
        knot.stop()
        web.stop()


def test_the_first_message_of_a_campaign_is_verified_with_the_key_in_dns(place):
    server, sink, knot, web = launching(place, "first", key=[])
    try:
        campaign = server.api.post("/v1/campaigns", SPEC).json["id"]
        report = refused(server.api.post("/v1/campaigns/%d/launch" % campaign), "dkim")["preflight"]
        assert {"dkim-missing", "dkim-message-does-not-verify"} <= set(trouble(report)), report
        # On the terminal each finding stands once, and that there is no draft of what was to be launched at once.
        (place.folder / "spec.json").write_text(json.dumps(SPEC))
        done = server.cli("campaign", "create", "--launch", place.folder / "spec.json", check=False)
        lines = done.stderr.splitlines()
        assert done.returncode == 1 and len(set(lines)) == len(lines) and "nothing was made, no draft either" in lines[-1], done
        assert server.api.get("/v1/campaigns").json["total"] == 1
        assert sink.events("message") == []
        assert server.api.post("/v1/campaigns/%d/launch" % campaign, {"force": True}).status == 202
        assert run_to_end(server, campaign)["delivered"] == 5
    finally:
        knot.stop()
        web.stop()


def test_a_launch_that_is_refused_at_the_first_message_leaves_no_draft(place):
    """The report of the domain is believed for a while; the first message is verified with the key that is in DNS now, and by then the draft is stored."""
    gone, fakes = threading.Event(), []

    def front(knot):
        ask = dnslib.passing_on(knot.port)

        def answer(wire, tcp):
            message = dns.message.from_wire(ask(wire, tcp))
            if b"_domainkey" in message.question[0].name.labels:
                if gone.is_set():
                    message.answer.clear()
                    message.set_rcode(dns.rcode.NXDOMAIN)
                for rrset in message.answer + message.authority:
                    rrset.ttl = 0  # asked for again each time
            return message.to_wire()

        fakes.append(dnslib.Fake(answer).start())
        return fakes[0]

    server, sink, knot, web = launching(place, "late", front=front)
    try:
        assert run_to_end(server, server.api.post("/v1/campaigns", {**SPEC, "launch": True}).json["id"])["delivered"] == 5
        gone.set()
        time.sleep(1.1)  # libunbound counts in seconds
        report = refused(server.api.post("/v1/campaigns", {**SPEC, "launch": True}), "dkim")["preflight"]
        assert [code for code, status in trouble(report).items() if status == "error"] == ["dkim-message-does-not-verify"], report
        (place.folder / "spec.json").write_text(json.dumps(SPEC))
        done = server.cli("campaign", "create", "--launch", place.folder / "spec.json", check=False)
        assert done.returncode == 1 and "nothing was made, no draft either" in done.stderr, done
        assert server.api.get("/v1/campaigns").json["total"] == 1
        assert len(sink.events("message")) == 5
    finally:
        fakes[0].stop()
        knot.stop()
        web.stop()


def test_a_silent_name_server_leaves_the_first_message_to_the_local_key(place):
    silent = dnslib.Fake().start()
    try:
        sink = place.sink()
        server = place.server(sink=sink, config='dns { server = "%s" }\npreflight = "enforce"\n' % silent.server)
        place.people(server, emails(2, ["one.test"]))
        campaign = server.api.post("/v1/campaigns", SPEC).json["id"]
        answer = server.api.post("/v1/campaigns/%d/launch" % campaign)
        codes = trouble(answer.json["preflight"]) if answer.status == 422 else {}
        assert not any(code.startswith("dkim") and status == "error" for code, status in codes.items()), codes
        assert "code=dkim-message-unknown" in server.log.read_text()
    finally:
        silent.stop()


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_launch_that_is_only_warned_about(place, mode):
    server, _, knot, web = launching(place, mode, 'preflight = "%s"' % mode, dmarc=[])
    try:
        campaign = server.api.post("/v1/campaigns", {**SPEC, "launch": True}).json["id"]
        assert run_to_end(server, campaign)["delivered"] == 5
        assert ("launch-warning" in server.log.read_text()) == (mode == "warn")
    finally:
        knot.stop()
        web.stop()


def test_a_good_domain_is_launched_and_checked_again(place):
    server, _, knot, web = launching(place, "good", 'preflight = "enforce"\npreflight_every = "300ms"\nprofile "p" { domain = { "one.test" }  rate = "2/s" }')
    try:
        campaign = server.api.post("/v1/campaigns", {**SPEC, "launch": True}).json["id"]
        assert run_to_end(server, campaign)["delivered"] == 5
        assert "checked domain=sender.test status=warning" in server.log.read_text()  # the certificate of the test ends soon
    finally:
        knot.stop()
        web.stop()
