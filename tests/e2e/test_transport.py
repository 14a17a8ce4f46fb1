"""What recipient domains publish about TLS: twenty combinations of a server (no TLS, a valid certificate, one that is expired, for another name, signed by
itself) and a policy (none, MTA-STS testing, MTA-STS enforce, DANE), judged by the servers' ledgers; and policies that lie, drip or vanish."""
import hashlib
import subprocess
import threading
import time

import pytest

import dnslib
import sinklib
from conftest import run_until
from sinklib import Certificate
from weblib import Web

KINDS = ("clear", "valid", "expired", "wrong", "self")
POLICIES = ("none", "testing", "enforce")
# RFC 8461 section 5: only enforce holds mail back. RFC 7672 section 3.1.1: with usage 3 neither dates nor names nor authorities count.
DELIVERED = {(kind, policy) for kind in KINDS for policy in ("none", "testing")} | {("valid", "enforce")} | {(kind, "dane") for kind in KINDS[1:]}


def run(*words):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def certificate(folder, kind):
    """A certificate of the kind for mx-KIND.test and mx-KIND.signed."""
    names = "DNS:other.test" if kind == "wrong" else "DNS:mx-%s.test,DNS:mx-%s.signed" % (kind, kind)
    if kind in ("valid", "wrong"):
        first, _, rest = names.partition(",")
        return sinklib.certificate(first[4:], rest)
    cert, key = folder / (kind + ".pem"), folder / (kind + ".key")
    if kind == "self":
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj", "/CN=self", "-addext",
            "subjectAltName=" + names, "-keyout", key, "-out", cert)
        return Certificate(str(cert), str(key), None)
    good = sinklib.certificate("mx-expired.test", "DNS:mx-expired.signed")
    authority = good.authority
    # `openssl ca` is what can set dates in the past.
    (folder / "index").write_text("")
    (folder / "ca.conf").write_text("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%s\ndefault_md=sha256\nrand_serial=yes\npolicy=p\n"
                                    "copy_extensions=none\nx509_extensions=e\nemail_in_dn=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=%s\n" % (
                                        folder / "index", folder, names))
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=expired", "-keyout", key, "-out", folder / "e.csr")
    run("ca", "-batch", "-config", folder / "ca.conf", "-in", folder / "e.csr", "-cert", authority, "-keyfile", authority.replace("ca.pem", "ca.key"),
        "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-notext", "-out", cert)
    return Certificate(str(cert), str(key), authority)


def spki_digest(path):
    key = run("x509", "-in", path, "-noout", "-pubkey").stdout.decode()
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.encode(), check=True, capture_output=True, timeout=60).stdout
    return hashlib.sha256(der).hexdigest()


def policy(mode, *hosts, more=""):
    return "version: STSv1\r\nmode: %s\r\n%smax_age: 86400\r\n%s" % (mode, "".join("mx: %s\r\n" % host for host in hosts), more)


class Scene:
    """Mail servers of every kind on addresses of their own and one port, a policy host for all domains, and a name server with a signed zone."""

    def __init__(self, place, kinds=KINDS, domains=(), zone="", signed="", zones=None, answer=None, raw=None, store=False, script=None):
        self.place = place
        self.sinks, self.certificates, self.policies = {}, {}, {}
        port = 0
        for n, kind in enumerate(kinds):
            self.certificates[kind] = None if kind == "clear" else certificate(place.folder, kind)
            self.sinks[kind] = place.sink(listen=["127.0.1.%d:%d" % (n + 1, port)], tls=self.certificates[kind], store=store, script=script)
            port = self.sinks[kind].port
            host = "mx-" + kind
            zone += "\n%s A 127.0.1.%d" % (host, n + 1)
            signed += "\n%s A 127.0.1.%d" % (host, n + 1)
            zone += "".join("\n%s-%s MX 10 %s" % (name, kind, host) for name in POLICIES)
            record = "3 1 1 " + (spki_digest(self.certificates[kind].certificate) if kind != "clear" else "00" * 32)
            if kind == "self":  # the whole certificate
                record = "3 0 0 " + run("x509", "-in", self.certificates[kind].certificate, "-outform", "DER").stdout.hex()
            signed += "\ndane-%s MX 10 %s\n_%d._tcp.%s TLSA %s" % (kind, host, port, host, record)
            for mode in POLICIES[1:]:
                self.publish("%s-%s.test" % (mode, kind), policy(mode, "mx-%s.test" % kind))
        self.port = port
        signed = signed.replace("PORT", str(port))
        names = [*self.policies, *domains]
        for name in names:
            short = name.removesuffix(".test")
            zone += '\n_mta-sts.%s 0 TXT "v=STSv1; id=1;"\nmta-sts.%s A 127.0.0.1' % (short, short)
        self.web_certificate = sinklib.certificate("policies.test", ",".join("DNS:mta-sts." + name for name in names))
        self.web = Web(self.web_certificate, answer or self.answer, raw)
        self.knot = dnslib.Knot({"test": zone, "signed": signed, **{name.replace("PORT", str(port)): value for name, value in (zones or {}).items()}},
                                signed={"signed"}).start()

    def publish(self, domain, text):
        self.policies[domain] = text

    def answer(self, path, headers):
        host = headers["host"].split(":")[0]
        return 200, {"Content-Type": "text/plain"}, self.policies.get(host.removeprefix("mta-sts."), "")

    def config(self, more=""):
        return ('dns { server = "%s"  trust_anchor = "%s" }\nmx_port = %d\nhttps_port = %d\nallow_private_mx = true\ntls_ca_file = "%s"\n'
                'timeouts { tls = "5s"  greeting = "5s"  quit = "200ms" }\nshutdown = "1s"\n%s' % (
                    self.knot.server, self.knot.anchor("signed"), self.port, self.web.port, self.web_certificate.authority, more))

    def server(self, more=""):
        return self.place.server(config=self.config(more))

    def stop(self):
        self.knot.stop()
        self.web.stop()


@pytest.fixture
def scene(place):
    scenes = []

    def make(**options):
        scenes.append(Scene(place, **options))
        return scenes[-1]

    yield make
    for made in scenes:
        made.stop()


def outcome(place, server, people, expected, timeout_s=60):
    """Sends to one address a domain; waits until what should be delivered is, and the rest has been tried and put off. Rows by domain."""
    place.people(server, people, list_name="l%d" % time.monotonic_ns())
    lists = [row["name"] for row in server.api.pages("/v1/lists")]
    campaign = server.create_campaign(lists=[lists[-1]])

    def settled(stats):
        return stats["delivered"] == expected and stats["deferred"] + stats["sending"] + stats["delivered"] == len(people)

    try:
        run_until(server, campaign, settled, "%d delivered" % expected, timeout_s)
    except AssertionError as late:
        rows = [(row["domain"], row["state"], row["tls"], row["reply"]) for row in server.deliveries(campaign)]
        raise AssertionError("%s %r" % (late, rows)) from None
    return campaign


def wait_for_attempts(server, campaign, domains):
    """Until each of the domains has been tried and put off. The rows by domain, then."""

    def rows():
        return {row["domain"]: row for row in server.deliveries(campaign)}

    def tried():
        now = rows()
        return all(now[name]["attempts"] >= 1 and now[name]["state"] == "deferred" for name in domains if name in now) and set(domains) <= set(now)

    try:
        dnslib.wait_for("attempts", tried, 60)
    except AssertionError as late:
        raise AssertionError("%s %r" % (late, [(row["domain"], row["state"], row["attempts"], row["reply"]) for row in rows().values()])) from None
    return rows()


def wait_for_trouble(server, **words):
    """Until the site of each domain (below "signed") has these words in its explanation: mail waits for a host that DANE forbids."""
    for name, word in words.items():
        dnslib.wait_for("%s at %s" % (word, name), lambda: word in server.cli("site", "explain", name.replace("_", "-") + ".signed", check=False).stdout)


# The words of RFC 8460 section 4.3 for what is wrong with a server.
RESULTS = {"clear": "starttls-not-supported", "valid": "ok", "expired": "certificate-expired", "wrong": "certificate-host-mismatch",
           "self": "certificate-not-trusted"}


@pytest.mark.sanitize
def test_each_combination_ends_as_the_rfcs_say(place, scene):
    made = scene()
    server = made.server()
    people = ["a@%s-%s.test" % (name, kind) for name in POLICIES for kind in KINDS] + ["a@dane-%s.signed" % kind for kind in KINDS]
    campaign = outcome(place, server, people, len(DELIVERED))
    # Those that are held back have been tried before the ledgers are read.
    held = {(kind, name) for kind in KINDS for name in (*POLICIES, "dane")} - DELIVERED
    rows = wait_for_attempts(server, campaign, ["enforce-%s.test" % kind for kind, name in held if name == "enforce"])
    wait_for_trouble(server, dane_clear="STARTTLS")
    metrics = server.api.get("/metrics").body.decode()
    sites = {row["site"]: row["tls_policy"] for row in server.api.pages("/v1/stats/sites")}
    server.stop()
    seen = set()
    for kind, sink in made.sinks.items():
        for line in sink.events("message"):
            name = line["to"].split("@")[1].split(".")[0].rpartition("-")[0]
            seen.add((kind, name))
            assert name in ("none", "testing") or line["tls"], line  # nothing that a policy protects went in clear
    assert seen == DELIVERED
    for kind, name in held:
        if name == "enforce":
            assert "MTA-STS policy" in rows["enforce-%s.test" % kind]["reply"] and rows["enforce-%s.test" % kind]["stage"] == "tls"
    for kind in KINDS:
        for name, says in (("none", "none"), ("testing", "sts-testing"), ("enforce", "sts-enforce")):
            row = rows["%s-%s.test" % (name, kind)]
            assert (row["tls_policy"], row["tls_result"]) == (says, "" if name == "none" else RESULTS[kind]), row
        row = rows.get("dane-%s.signed" % kind)
        assert row is None if kind == "clear" else (row["tls_policy"], row["tls_result"]) == ("dane", "ok"), row
    for policy_name, result in (("sts-testing", "certificate-expired"), ("sts-enforce", "certificate-host-mismatch")):
        assert 'posthaste_tls_policy_total{policy="%s",result="%s"} ' % (policy_name, result) in metrics
    assert 'posthaste_tls_policy_total{policy="dane",result="ok"} 4\n' in metrics
    table = sites["mx-self.test"]
    assert table["good"] == 0 and table["bad"] >= 2 and table["last_failure"] == "certificate-not-trusted" and table["policy"].startswith("sts-")
    assert sites["mx-valid.signed"] == {"policy": "dane", "good": 1, "bad": 0, "last_failure": ""}


def test_dane_defers_and_never_downgrades(place, scene):
    made = scene(kinds=("clear", "valid"), signed="""
other        MX 10 mx-other
mx-other     A 127.0.1.2
_PORT._tcp.mx-other TLSA 3 1 1 %s
failing      MX 10 mx-failing
mx-failing   A 127.0.1.2
_tcp.mx-failing NS ns
useless      MX 10 mx-useless
mx-useless   A 127.0.1.2
_PORT._tcp.mx-useless TLSA 3 1 1 abcd
_PORT._tcp.mx-useless TLSA 1 1 1 %s
useless-clear MX 10 mx-uc
mx-uc        A 127.0.1.1
_PORT._tcp.mx-uc TLSA 3 1 9 abcd
nothing      MX 10 mx-nothing
mx-nothing   A 127.0.1.1
""" % ("ab" * 32, "cd" * 32), zones={"_tcp.mx-failing.signed": None})
    server = made.server()
    people = ["a@%s.signed" % name for name in ("other", "failing", "useless", "useless-clear", "nothing")]
    campaign = outcome(place, server, people, 2, 15)  # useless: TLS with any certificate; nothing: no TLSA, no demand
    wait_for_trouble(server, other="certificate", failing="TLSA", useless_clear="STARTTLS")
    rows = {row["domain"]: row for row in server.deliveries(campaign)}
    server.stop()
    assert {name: (row["state"], row["tls_policy"], row["tls_result"]) for name, row in rows.items()} == {
        "useless.signed": ("delivered", "dane", "tlsa-invalid"), "nothing.signed": ("delivered", "none", "")}
    assert {line["to"] for sink in made.sinks.values() for line in sink.events("message")} == {"a@useless.signed", "a@nothing.signed"}
    assert all(line["tls"] for line in made.sinks["valid"].events("message"))


def test_a_zone_that_is_forged(place, scene):
    made = scene(kinds=("valid",))
    forged = dnslib.Knot({"signed": "x A 127.0.0.1"}, signed={"signed"}).start()
    try:
        text = made.config().replace(made.knot.anchor("signed"), forged.anchor("signed"))
        server = place.server(config=text)
        outcome(place, server, ["a@dane-valid.signed"], 0, 20)
        wait_for_trouble(server, dane_valid="dane-valid.signed")
        server.stop()
    finally:
        forged.stop()
    assert made.sinks["valid"].events("connect") == []


# MX records in order of preference; the policy names those in the second; who may have the mail.
SEVERAL = {
    "two alike": (("10 mx-valid", "10 mx-expired"), ("valid", "expired"), "valid"),
    "the better one fails": (("10 mx-expired", "20 mx-valid"), ("valid", "expired"), "valid"),
    "the better one is not named": (("10 mx-wrong", "20 mx-valid"), ("valid",), "valid"),
    "only the last of four": (("10 mx-clear", "20 mx-expired", "30 mx-self", "40 mx-valid"), KINDS, "valid"),
    "none": (("10 mx-expired", "20 mx-self"), ("expired", "self"), None),
    "none is named": (("10 mx-expired", "20 mx-valid"), ("wrong",), None),
}


@pytest.mark.parametrize("connections", [1, 10])
@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.sanitize if "four" in case else ()) for case in SEVERAL])
def test_the_next_mx_is_tried_in_the_same_attempt(place, scene, case, connections):
    """RFC 8461 section 5.1. A neighbour on the same servers without a policy goes wherever there is room."""
    records, named, good = SEVERAL[case]
    zone = "".join("\n%s MX %s" % (name, record) for name in ("strict", "easy") for record in records)
    made = scene(zone=zone, domains=["strict.test"])
    made.publish("strict.test", policy("enforce", *["mx-%s.test" % kind for kind in named]))
    server = place.server(config=made.config(), profile="connections = %d" % connections)
    people = ["p%d@%s.test" % (n, name) for n in range(30) for name in ("strict", "easy")]
    place.people(server, people)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] == (60 if good else 30) and stats["pending"] == stats["sending"] == 0, case)
    rows = [row for row in server.deliveries(campaign) if row["domain"] == "strict.test"]
    assert len(rows) == 30 and all(row["attempts"] == 1 for row in rows), rows
    strict = [kind for kind, sink in made.sinks.items() for line in sink.events("message") if line["to"].endswith("@strict.test")]
    assert set(strict) == ({good} if good else set()) and len(strict) == (30 if good else 0)
    assert all("MTA-STS policy" in row["reply"] for row in rows if not good)


def test_a_name_that_is_not_proved_says_nothing_of_another(place, scene):
    """Two MX hosts at one address, whose certificate is good for the second name."""
    made = scene(kinds=("valid",), zone="\nmx-alias A 127.0.1.1\nstrict MX 10 mx-alias\nstrict MX 20 mx-valid", domains=["strict.test"])
    made.publish("strict.test", policy("enforce", "mx-alias.test", "mx-valid.test"))
    server = made.server()
    campaign = outcome(place, server, ["p%d@strict.test" % n for n in range(10)], 10)
    assert {(row["attempts"], row["mx_host"], row["tls_result"]) for row in server.deliveries(campaign)} == {(1, "mx-valid.test", "ok")}


def test_a_handshake_that_failed_once_holds_back_nothing(place, scene):
    """The next connection is in clear text, as for mail without a policy; for mail that needs it TLS is tried once more, and then TLS is back for all."""
    made = scene(kinds=("valid",), script={"rules": [{"command": "TLS", "nth": 1, "cut": 100, "close": True}]})
    server = made.server()
    people = ["p%d@%s-valid.test" % (n, name) for n in range(10) for name in ("none", "enforce")]
    campaign = outcome(place, server, people, len(people))
    rows = [row for row in server.deliveries(campaign) if row["domain"] == "enforce-valid.test"]
    assert len(rows) == 10 and all(row["attempts"] == 1 and row["tls_result"] == "ok" for row in rows), rows
    clear = [line["to"] for line in made.sinks["valid"].events("message") if not line["tls"]]
    assert not [to for to in clear if to.endswith("@enforce-valid.test")]
    outcome(place, server, ["later%d@none-valid.test" % n for n in range(5)], 5)
    assert all(line["tls"] for line in made.sinks["valid"].events("message") if line["to"].startswith("later"))


@pytest.mark.parametrize("connections", [1, 10])
def test_a_handshake_that_always_fails_ends_the_attempt(place, scene, connections):
    """TLS is tried once more for mail that needs it, and not again and again: the mail waits for its next attempt, and other mail goes in clear text."""
    made = scene(kinds=("valid",), script={"rules": [{"command": "TLS", "cut": 100, "close": True}]})
    server = place.server(config=made.config(), profile="connections = %d" % connections)
    place.people(server, ["p%d@%s-valid.test" % (n, name) for n in range(30) for name in ("none", "enforce")])
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] == 30 and stats["pending"] == stats["sending"] == 0, "the attempt to end", 20)
    rows = [row for row in server.deliveries(campaign) if row["domain"] == "enforce-valid.test"]
    assert len(rows) == 30 and all(row["attempts"] == 1 and row["state"] == "deferred" and "MTA-STS policy" in row["reply"] for row in rows), rows
    sink, = made.sinks.values()
    assert {line["to"].split("@")[1] for line in sink.events("message")} == {"none-valid.test"}
    assert len(sink.events("connect")) <= 2 * connections + 6


def test_a_policy_is_kept_over_a_restart_and_a_failing_refresh(place, scene):
    made = scene(kinds=("clear",))
    server = made.server()
    outcome(place, server, ["a@enforce-clear.test"], 0)
    dnslib.wait_for("the policy", lambda: any(path.endswith("mta-sts.txt") for _, path, _, _ in made.web.requests))
    dnslib.wait_for("the file", (server.data_dir / "mta-sts.state").exists)
    server.stop()
    made.web.stop()
    asked = len(made.web.requests)
    server.start()
    server.login()
    campaign = outcome(place, server, ["b@enforce-clear.test"], 0)
    wait_for_attempts(server, campaign, ["enforce-clear.test"])
    server.stop()
    assert made.sinks["clear"].events("message") == [] and len(made.web.requests) == asked
    assert "enforce-clear.test 1 2 86400" in (server.data_dir / "mta-sts.state").read_text()


def test_a_new_policy_rules_what_waits_already(place, scene):
    """A campaign's mail waits for its domain's rate; other mail for the domain brings a policy that forbids the server (RFC 8461 section 3.1)."""
    made = scene(kinds=("clear",), script={"rules": [{"command": "EOD", "rcpt": "w0@*", "delay_ms": 6000}]})
    second = threading.Event()
    ask = dnslib.passing_on(made.knot.port)

    def answer(wire, tcp):
        reply = ask(wire, tcp)
        return reply.replace(b"id=1;", b"id=2;") if reply and second.is_set() else reply

    between = dnslib.Fake(answer).start()
    try:
        slow = made.config('domain "testing-clear.test" { rate = "2/s" }\n').replace(made.knot.server, between.server)
        server = place.server(config=slow)
        place.people(server, ["w%d@testing-clear.test" % n for n in range(60)], list_name="waits")
        place.people(server, ["n@testing-clear.test"], list_name="new")
        campaign = server.create_campaign(lists=["waits"])
        run_until(server, campaign, lambda stats: stats["delivered"] >= 3, "the first few")
        made.publish("testing-clear.test", policy("enforce", "mx-clear.test"))
        second.set()
        other = server.create_campaign(lists=["new"])
        run_until(server, other, lambda stats: stats["deferred"] == 1, "the new policy to be met")
        run_until(server, campaign, lambda stats: stats["pending"] == stats["sending"] == 0, "what waits to be judged anew")
        rows = server.deliveries(campaign)
    finally:
        between.stop()
    reasons = {row["reply"].split(":")[0] for row in rows if row["state"] == "deferred"}
    assert sum(row["state"] == "delivered" for row in rows) < 30 and any("MTA-STS policy" in reason for reason in reasons), reasons
    # One was under way when the policy came: its row says what held when it went.
    assert {row["tls_policy"] for row in rows if row["state"] == "delivered"} == {"sts-testing"}, rows
    assert {row["tls_policy"] for row in rows if "MTA-STS policy" in row["reply"]} == {"sts-enforce"}, rows


def test_a_policy_host_at_a_private_address_is_not_asked(place, scene):
    """Whoever sends us to a name of his must not reach what only we can reach."""
    made = scene(kinds=("clear",))
    server = place.server(config=made.config('log_level = "debug"\n').replace("allow_private_mx = true\n", ""))
    place.people(server, ["a@enforce-clear.test"])
    server.create_campaign()
    dnslib.wait_for("a fetch that is refused", lambda: "mta-sts-not-fetched" in server.log.read_text() and "no usable address" in server.log.read_text())
    server.stop()
    assert made.web.requests == [] and made.sinks["clear"].events("connect") == []


BAD_POLICIES = {
    "missing": (404, {"Content-Type": "text/plain"}, policy("enforce", "mx-clear.test")),
    "redirect": (301, {"Content-Type": "text/plain", "Location": "https://mta-sts.enforce-clear.test/"}, ""),
    "html": (200, {"Content-Type": "text/html"}, policy("enforce", "mx-clear.test")),
    "huge": (200, {"Content-Type": "text/plain"}, policy("enforce", "mx-clear.test") + "x: y\r\n" * 2000000),
    "binary": (200, {"Content-Type": "text/plain"}, b"version: STSv1\0\nmode: enforce\nmx: a.test\nmax_age: 1\n"),
    "no mode": (200, {"Content-Type": "text/plain"}, "version: STSv1\nmx: a.test\nmax_age: 86400\n"),
    "no mx": (200, {"Content-Type": "text/plain"}, "version: STSv1\nmode: enforce\nmax_age: 86400\n"),
    "bad age": (200, {"Content-Type": "text/plain"}, policy("enforce", "mx-clear.test").replace("86400", "-1")),
    "version": (200, {"Content-Type": "text/plain"}, policy("enforce", "mx-clear.test").replace("STSv1", "STSv2")),
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_policy_that_cannot_be_taken_counts_as_none(place, scene, name):
    made = scene(kinds=("clear",), answer=lambda path, headers: BAD_POLICIES[name])
    server = made.server()
    campaign = outcome(place, server, ["a@enforce-clear.test"], 1)
    assert made.web.requests
    (row,) = server.deliveries(campaign)
    fetched = name in ("missing", "redirect", "html", "huge")
    assert (row["tls_policy"], row["tls_result"]) == ("none", "sts-policy-fetch-error" if fetched else "sts-policy-invalid")


def test_an_age_of_a_million_years_is_a_year(place, scene):
    made = scene(kinds=("clear",))
    made.publish("enforce-clear.test", policy("enforce", "*.test").replace("86400", "1000000000000"))
    server = made.server()
    outcome(place, server, ["a@enforce-clear.test"], 0)
    dnslib.wait_for("the file", (server.data_dir / "mta-sts.state").exists)
    assert "enforce-clear.test 1 2 31557600 " in (server.data_dir / "mta-sts.state").read_text()


def test_a_host_that_drips_ends_with_the_server(place, scene):
    def drip(connection, ending):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not ending.wait(0.2):
            connection.sendall(b"v")

    made = scene(kinds=("clear",), raw=drip)
    server = made.server()
    place.people(server, ["a@enforce-clear.test", "b@none-clear.test"])
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] == 1, "the other domain's mail")
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 20
