"""TLS reports (RFC 8460): what is counted while mail goes out is what the servers' ledgers show, and comes back as reports on the day after: by mail,
signed, whatever the receiver's own policy says, and by HTTPS. The day passes by a hand in the database."""
import collections
import email
import gzip
import json
import sqlite3
import time

import dkim
import pytest

import dnslib
import sinklib
from conftest import run_until
from test_transport import Scene, wait_for_trouble
from weblib import Web

REPORT_TO = "tls@enforce-clear.test"  # whose server has no TLS, though its policy demands it
MAIL = "v=TLSRPTv1; rua=mailto:" + REPORT_TO


def txt(name, *records):
    return "".join('\n_smtp._tls.%s TXT %s' % (name, " ".join('"%s"' % record[at:at + 200] for at in range(0, len(record), 200))) for record in records)


class Reports:
    def __init__(self, place, zone="", signed="", status=202):
        certificate = sinklib.certificate("rpt.test", "")
        self.status = status
        self.web = Web(certificate, lambda path, headers: (self.status, {}, ""))
        zone = zone.replace("WEB", "https://rpt.test:%d/tls" % self.web.port) + "\nrpt A 127.0.0.1"
        self.scene = Scene(place, zone=zone, signed=signed, store=True)

    def server(self, more=""):
        return self.scene.server('tls_rpt = "on"\ntls_rpt_delay = "0s"\n' + more)

    def stop(self):
        self.web.stop()
        self.scene.stop()

    def mails(self):
        sink = self.scene.sinks["clear"]
        return [sink.content(line) for line in sink.events("message", to=REPORT_TO)]


@pytest.fixture
def reports(place):
    made = []

    def make(**options):
        made.append(Reports(place, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def database(server):
    return sqlite3.connect(server.data_dir / "posthaste.db", timeout=20)


def tallies(server):
    with database(server) as db:
        return db.execute("SELECT domain, kind, result, sum(sessions) FROM tls_tally GROUP BY domain, kind, result ORDER BY 1, 2, 3").fetchall()


def yesterday(server):
    """What was counted today was counted yesterday."""
    with database(server) as db:
        db.execute("UPDATE tls_tally SET day = day - 1")


def read(message):
    """The JSON of a report's mail."""
    parsed = email.message_from_bytes(message)
    assert parsed.get_content_type() == "multipart/report" and parsed.get_param("report-type") == "tlsrpt"
    text, attached = parsed.get_payload()
    assert text.get_content_type() == "text/plain" and attached.get_content_type() == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(attached.get_payload(decode=True)))
    domain = report["policies"][0]["policy"]["policy-domain"]
    assert parsed["TLS-Report-Domain"] == domain and parsed["TLS-Report-Submitter"] == report["organization-name"] == "sender.test"
    assert attached.get_filename().startswith("sender.test!%s!" % domain) and attached.get_filename().endswith(".json.gz")
    assert " ".join(parsed["Subject"].split()) == "Report Domain: %s Submitter: sender.test Report-ID: <%s>" % (domain, report["report-id"])
    return report


def summary(report):
    return {entry["policy"]["policy-type"]: (entry["summary"]["total-successful-session-count"], entry["summary"]["total-failure-session-count"])
            for entry in report["policies"]}


@pytest.mark.sanitize
def test_reports_are_what_the_ledgers_show(place, reports):
    wanted = ["testing-valid.test", "testing-expired.test", "enforce-self.test", "enforce-valid.test", "none-wrong.test", "none-clear.test"]
    zone = "".join(txt(name.removesuffix(".test"), MAIL) for name in wanted) + txt("none-valid", "v=TLSRPTv1; rua=WEB,mailto:%s" % REPORT_TO)
    zone += txt("none-self", MAIL, MAIL + "; more=1") + txt("testing-self", "v=TLSRPTv1; rua=ftp://x") + txt("testing-wrong", "v=spf1 -all")
    made = reports(zone=zone, signed=txt("dane-valid", MAIL) + txt("dane-clear", MAIL))
    server = made.server()
    people = ["p%d@%s" % (n, name) for n in range(5) for name in wanted + ["none-valid.test", "none-self.test", "testing-self.test", "testing-wrong.test"]]
    people += ["p@dane-valid.signed", "p@dane-clear.signed"]
    place.people(server, people)
    campaign = server.create_campaign()
    held = sum("enforce-self" in name or "dane-clear" in name for name in people)
    run_until(server, campaign, lambda stats: stats["delivered"] == len(people) - held, "the mail")
    dnslib.wait_for("the tries", lambda: sum("enforce-self" in row["domain"] for row in server.deliveries(campaign)) == 5)
    wait_for_trouble(server, dane_clear="STARTTLS")
    server.cli("campaign", "pause", str(campaign))
    server.stop()
    ledger = collections.defaultdict(set)  # domain -> connections that carried its mail
    for kind, sink in made.scene.sinks.items():
        for line in sink.events("message"):
            ledger[line["to"].split("@")[1]].add((kind, line["conn"]))
    counted = {(domain, result): sessions for domain, _, result, sessions in tallies(server)}
    yesterday(server)
    server.start()
    expected = len(wanted) + 3
    dnslib.wait_for("reports", lambda: len(made.mails()) >= expected and len(made.web.requests) >= 1 and tallies(server) == [], 60)
    server.stop()
    found = {}
    for message in made.mails():
        report = read(message)
        found[report["policies"][0]["policy"]["policy-domain"]] = report
        record = server.cli_json("domain", "show", "sender.test")["dns"]
        keys = {row["name"].encode() + b".": row["value"].encode() for row in record if row["type"] == "TXT"}
        assert dkim.verify(message, dnsfunc=lambda name, timeout=5: keys.get(name, b"")), message
    assert set(found) == {*wanted, "none-valid.test", "dane-valid.signed", "dane-clear.signed"} and len(made.mails()) == expected
    for name, kind, good in (("testing-valid.test", "sts", True), ("enforce-valid.test", "sts", True), ("testing-expired.test", "sts", False),
                             ("none-wrong.test", "no-policy-found", True), ("none-clear.test", "no-policy-found", False),
                             ("none-valid.test", "no-policy-found", True), ("dane-valid.signed", "tlsa", True)):
        sessions = len(ledger[name])
        assert summary(found[name]) == {kind: (sessions, 0) if good else (0, sessions)} and sessions > 0, (name, found[name])
    for name, kind, result in (("enforce-self.test", "sts", "certificate-not-trusted"), ("testing-expired.test", "sts", "certificate-expired"),
                               ("dane-clear.signed", "tlsa", "starttls-not-supported"), ("none-clear.test", "no-policy-found", "starttls-not-supported")):
        (entry,) = found[name]["policies"]
        (detail,) = entry["failure-details"]
        assert detail["result-type"] == result and entry["policy"]["policy-type"] == kind and detail["receiving-ip"].startswith("127.0.1.")
        assert detail["receiving-mx-hostname"].startswith("mx-") and detail["failed-session-count"] == entry["summary"]["total-failure-session-count"] > 0
        assert sum(count for (domain, _), count in counted.items() if domain == name) == detail["failed-session-count"]
    policy = found["testing-valid.test"]["policies"][0]["policy"]
    assert policy["policy-string"] == ["version: STSv1", "mode: testing", "mx: mx-valid.test", "max_age: 86400"] and policy["mx-host"] == ["mx-valid.test"]
    assert found["dane-valid.signed"]["policies"][0]["policy"]["policy-string"][0].startswith("3 1 1 ")
    (method, _, headers, body) = made.web.requests[0]
    assert method == "POST" and headers["content-type"] == "application/tlsrpt+gzip" and json.loads(gzip.decompress(body)) == found["none-valid.test"]
    # A report is no campaign's mail, and is not reported on.
    assert server.data_dir.exists() and tallies(server) == []


def test_a_report_that_is_lost_is_sent_again(place, reports):
    made = reports(zone=txt("none-valid", "v=TLSRPTv1; rua=WEB") + txt("none-clear", MAIL), status=503)
    server = made.server()
    place.people(server, ["a@none-valid.test", "a@none-clear.test"])
    run_until(server, server.create_campaign(), lambda stats: stats["delivered"] == 2, "the mail")
    server.stop()
    yesterday(server)
    server.start()
    dnslib.wait_for("three tries", lambda: len(made.web.requests) >= 3)
    assert [row[0] for row in tallies(server)][-1] == "none-valid.test"
    made.status = 201
    dnslib.wait_for("the report", lambda: tallies(server) == [])
    server.stop()
    assert len(made.mails()) == 1 and len({body for _, _, _, body in made.web.requests}) >= 1


def test_a_report_is_not_posted_to_a_private_address(place, reports):
    made = reports(zone=txt("none-valid", "v=TLSRPTv1; rua=WEB"))
    server = made.server()
    place.people(server, ["a@none-valid.test"])
    run_until(server, server.create_campaign(), lambda stats: stats["delivered"] == 1, "the mail")
    server.stop()
    yesterday(server)
    server.write_config(server.config_text.replace("allow_private_mx = true\n", ""))
    server.start()
    dnslib.wait_for("the refusal", lambda: "no address that may be used" in server.log.read_text())
    server.stop()
    assert made.web.requests == []


def test_nothing_is_counted_unless_it_is_on(place, reports):
    made = reports()
    server = made.scene.server()
    place.people(server, ["a@none-valid.test"])
    run_until(server, server.create_campaign(), lambda stats: stats["delivered"] == 1, "the mail")
    server.stop()
    assert tallies(server) == []


def test_reports_of_the_day_before_yesterday_are_forgotten(place, reports):
    made = reports(zone=txt("none-valid", MAIL))
    server = made.server()
    server.stop()
    day = int(time.time() // 86400)
    with database(server) as db:
        db.executemany("INSERT INTO tls_tally VALUES (?, ?, 0, 1, '', '', '', 3, '')", [(day - 2, "none-valid.test"), (day, "none-valid.test")])
    server.start()
    dnslib.wait_for("the old day to go", lambda: len(tallies(server)) == 1)
    server.stop()
    assert tallies(server) == [("none-valid.test", 0, 1, 3)] and made.mails() == []
