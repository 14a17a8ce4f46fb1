"""What comes back: delivery reports, complaints and unsubscribes by mail act through our tokens, and through nothing else."""
import email
import email.policy
import json
import os
import re
import subprocess

import pytest

import harness
from conftest import add_up, emails, run_to_end, run_until

HARD = "550 5.1.1 <{who}>: Recipient address rejected: User unknown"
FULL = "552 5.2.2 <{who}>: mailbox is full"
BLOCK = "550 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org; user unknown"
DELAYED = "451 4.4.1 connection timed out"


def sent(sink, address):
    """The last message to the address, and the return path it came with."""
    line = sink.messages()[address][-1]
    message = email.message_from_bytes(sink.content(line), policy=email.policy.SMTP)
    return message, line["from"]


def report(who, said, to="postmaster@sender.test", message_id=None, action="failed", number=1):
    """A delivery report as Postfix writes it."""
    returned = "Message-ID: <%s>\n" % message_id.strip("<>") if message_id else ""
    return ("Return-Path: <>\nFrom: MAILER-DAEMON@mx.test (Mail Delivery System)\nTo: %s\nSubject: Undelivered Mail Returned to Sender\n"
            "Message-ID: <report%s@mx.test>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
            "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n"
            "--b\nContent-Type: text/plain\n\nI'm sorry.\n\n<%s>: %s\n\n"
            "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n"
            "Final-Recipient: rfc822; %s\nAction: %s\nStatus: %s\nRemote-MTA: dns; mx.test\nDiagnostic-Code: smtp; %s\n\n"
            "--b\nContent-Type: message/rfc822\n\n%sSubject: Hello\nFrom: news@sender.test\n\nHello\n--b--\n") % (
                to, number, who, said.format(who=who), who, action, said.split()[1], said.format(who=who), returned)


def complaint(message_id="<x@y>", mail_from="x@y", kind="abuse"):
    return ("From: fbl@isp.test\nTo: fbl@sender.test\nSubject: complaint\nMessage-ID: <c@isp.test>\nMIME-Version: 1.0\n"
            "Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\n\n"
            "--b\nContent-Type: text/plain\n\nThis is an abuse report.\n"
            "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: %s\nUser-Agent: x/1\nVersion: 1\nOriginal-Mail-From: <%s>\n\n"
            "--b\nContent-Type: message/rfc822\n\nMessage-ID: %s\nTo: redacted\nSubject: Hello\n\nHello\n--b--\n") % (kind, mail_from, message_id)


def ingest(server, mail=None, *words):
    if mail is not None:
        return server.cli_json("bounce", "ingest", "-", stdin=mail)
    return server.cli_json("bounce", "ingest", *words)


def suppressions(server):
    return {row["email"]: row for row in server.cli_json("suppress", "list")["data"]}


def state_of(server, campaign, address):
    return {row["email"]: row["state"] for row in server.deliveries(campaign)}[address]


@pytest.fixture
def scene(place):
    sink = place.sink(store=True)
    server = place.server(sink, config="bounces { complaint_dkim = false }\n")
    people = emails(6, ["one.test", "two.test"])
    place.people(server, people)
    campaign = server.create_campaign()
    assert run_to_end(server, campaign)["delivered"] == 6
    return sink, server, campaign, people


@pytest.mark.sanitize
def test_a_hard_bounce_suppresses_once(scene):
    sink, server, campaign, people = scene
    _, path = sent(sink, people[0])
    assert path.startswith("bounce+")
    mail = report(people[0], HARD, to=path)
    first = ingest(server, mail)
    assert (first["mails"], first["bounces"], first["hard"], first["bounced"], first["suppressed"]) == (1, 1, 1, 1, 1), first
    stats = add_up(server.stats(campaign))
    assert (stats["delivered"], stats["bounced"]) == (5, 1)
    assert state_of(server, campaign, people[0]) == "bounced"
    row = suppressions(server)[people[0]]
    assert row["reason"] == "hard-bounce"
    assert "user-unknown" in row["origin"] and "report1@mx.test" in row["origin"]
    # The reply that the report quotes, and the one with which the mail was taken.
    known = server.api.get("/v1/recipients/" + people[0]).json
    assert "User unknown" in json.dumps(known)

    for again in (mail, report(people[0], HARD, to=path, number=2)):
        second = ingest(server, again)
        assert (second["repeated"], second["bounced"], second["suppressed"]) == (1, 0, 0), second
    assert add_up(server.stats(campaign))["bounced"] == 1
    assert run_to_end(server, server.create_campaign())["suppressed"] == 1


def test_the_token_may_be_in_the_returned_message(scene):
    sink, server, campaign, people = scene
    message, path = sent(sink, people[0])
    assert ingest(server, report("hidden@behind.test", HARD, message_id=message["Message-ID"]))["bounced"] == 1
    assert list(suppressions(server)) == [people[0]]
    # Upper case, as some relays leave a local part; and traces that others leave.
    _, path = sent(sink, people[1])
    local, _, domain = path.partition("@")
    assert ingest(server, report(people[1], HARD, to=local.upper() + "@" + domain))["bounced"] == 1
    _, path = sent(sink, people[2])
    assert ingest(server, "Delivered-To: %s\n" % path + report(people[2], HARD))["bounced"] == 1
    assert add_up(server.stats(campaign))["bounced"] == 3


def test_forged_reports_change_nothing(scene, tmp_path):
    """Right in form, about a thousand addresses, with no token, altered ones, and one that is for something else."""
    sink, server, campaign, people = scene
    message, path = sent(sink, people[0])
    token = re.match(r"bounce\+([a-z2-7]+)@", path).group(1)
    unsubscribe = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
    box = tmp_path / "box"
    for folder in ("new", "cur", "tmp"):
        (box / folder).mkdir(parents=True)
    for n in range(1000):
        at = n % len(token)
        altered = token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1:]
        to = ("postmaster@sender.test", "bounce+%s@sender.test" % altered, "bounce+%s@sender.test" % unsubscribe)[n % 3]
        who = people[n % len(people)]
        mail = complaint("<%s@sender.test>" % altered, to) if n % 5 == 4 else report(who, HARD, to=to, message_id=altered + "@sender.test")
        (box / "new" / ("%d.forged" % n)).write_text(mail)
    summary = ingest(server, None, box)
    assert summary["mails"] == summary["no_token"] == 1000
    assert all(summary[key] == 0 for key in ("hard", "soft", "other_bounces", "bounced", "complained", "suppressed", "unsubscribed"))
    assert not suppressions(server)
    assert add_up(server.stats(campaign))["delivered"] == 6
    assert len(os.listdir(box / "cur")) == 1000 and not os.listdir(box / "new")


@pytest.mark.parametrize("mail, state, key", [
    (lambda who, path: report(who, BLOCK, to=path), "bounced", "other_bounces"),
    (lambda who, path: report(who, "554 5.6.1 content rejected", to=path), "bounced", "other_bounces"),
    (lambda who, path: report(who, FULL, to=path), "bounced", "soft"),
    (lambda who, path: report(who, DELAYED, to=path, action="delayed"), "delivered", "no_action"),
    (lambda who, path: report(who, "250 2.0.0 ok", to=path, action="delivered"), "delivered", "no_action"),
    (lambda who, path: complaint(mail_from=path, kind="auth-failure"), "delivered", "feedback"),
    (lambda who, path: "From: <%s>\nTo: %s\nSubject: Out of office\nAuto-Submitted: auto-replied\n\n550 5.1.1 user unknown\n" % (who, path),
     "delivered", "auto_replies"),
    (lambda who, path: "From: <%s>\nTo: %s\nSubject: Re: Hello\n\nThank you. 550 5.1.1 user unknown\n" % (who, path), "delivered", "other"),
])
def test_what_never_suppresses(scene, mail, state, key):
    sink, server, campaign, people = scene
    _, path = sent(sink, people[0])
    summary = ingest(server, mail(people[0], path))
    assert summary[key] == 1 and summary["suppressed"] == 0, summary
    assert state_of(server, campaign, people[0]) == state
    assert not suppressions(server)
    add_up(server.stats(campaign))


def test_three_soft_bounces_suppress(scene):
    sink, server, campaign, people = scene
    campaigns = [campaign]
    for round in range(3):
        if round > 0:
            campaigns.append(server.create_campaign())
            run_to_end(server, campaigns[-1])
        _, path = sent(sink, people[0])
        for _ in range(4):  # of the same mail: counts once
            summary = server.cli_json("bounce", "ingest", "-", "--soft-limit", "3", stdin=report(people[0], FULL, to=path))
        assert (people[0] in suppressions(server)) == (round == 2)
    assert suppressions(server)[people[0]]["reason"] == "soft-bounce"
    assert summary["repeated"] == 1


def test_a_complaint_is_flagged_and_suppresses(scene):
    sink, server, campaign, people = scene
    message, path = sent(sink, people[0])
    for mail in (complaint(message_id=message["Message-ID"]), complaint(mail_from=path)):
        ingest(server, mail)
    stats = add_up(server.stats(campaign))
    assert (stats["complained"], stats["delivered"]) == (1, 6)
    assert suppressions(server)[people[0]]["reason"] == "complaint"


def test_unsubscribe_by_mail(scene):
    sink, server, campaign, people = scene
    message, _ = sent(sink, people[0])
    token = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
    mail = "From: %s\nTo: <unsubscribe+%s@sender.test>\nSubject: unsubscribe\n\n"
    assert ingest(server, mail % ("anyone@else.test", token))["unsubscribed"] == 1
    assert ingest(server, mail % (people[1], token[::-1]))["no_token"] == 1
    assert server.stats(campaign)["unsubscribed"] == 1
    assert run_to_end(server, server.create_campaign())["audience"] == 5


def test_unsubscribe_by_mail_of_who_sounds_like_a_mail_system(scene):
    sink, server, campaign, people = scene
    mails = [("From: Bounce House <info@bouncehouse.test>\n", "unsubscribe"), ("From: postmaster@one.test\n", "unsubscribe"),
             ("From: office-admin@one.test\n", "unsubscribe"), ("From: ann@one.test\n", "Delayed: unsubscribe"),
             ("From: ann@one.test\n", "I am on holiday: unsubscribe")]
    robots = [("From: ann@one.test\nAuto-Submitted: auto-replied\n", "away"), ("From: <>\n", "Undelivered Mail")]
    for n, (head, subject) in enumerate(robots + mails):
        message, _ = sent(sink, people[max(0, n - len(robots))])
        token = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
        summary = ingest(server, "%sTo: <unsubscribe+%s@sender.test>\nSubject: %s\n\n\n" % (head, token, subject))
        assert (summary["unsubscribes"], summary["unsubscribed"]) == ((1, 1) if n >= len(robots) else (0, 0)), (head, subject)
    message, _ = sent(sink, people[5])
    token = re.search(r"/u/([a-z2-7]+)", message["List-Unsubscribe"]).group(1)
    assert ingest(server, report(people[5], HARD, to="<unsubscribe+%s@sender.test>" % token))["unsubscribes"] == 0
    assert server.stats(campaign)["unsubscribed"] == len(mails)


def test_states_other_than_delivered_stay(place):
    """A report about a delivery that waits or has ended changes no state; what it proves of the address holds."""
    script = {"rules": [{"command": "EOD", "domain": "later.test", "reply": "451 4.3.0 later"},
                        {"command": "EOD", "domain": "no.test", "reply": "554 5.6.0 no"}]}
    sink = place.sink(store=True, script=script)
    server = place.server(sink)
    place.people(server, ["a@later.test", "b@no.test", "c@yes.test"])
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["deferred"] == 1 and stats["bounced"] == 1 and stats["delivered"] == 1, "each its state")
    server.api.post("/v1/campaigns/%d/pause" % campaign)
    paths = {line["to"]: line["from"] for line in sink.ledger() if line["event"] in ("message", "reject")}
    before = server.stats(campaign)
    for who in ("a@later.test", "b@no.test"):
        summary = ingest(server, report(who, HARD, to=paths[who]))
        assert summary["bounced"] == 0 and summary["suppressed"] == 1, summary
    after = add_up(server.stats(campaign))
    assert (after["bounced"], after["delivered"]) == (before["bounced"], before["delivered"])


def test_a_maildir_is_worked_off_and_nothing_deleted(scene, tmp_path):
    sink, server, campaign, people = scene
    box, done = tmp_path / "box", tmp_path / "done"
    for folder in ("new", "cur", "tmp"):
        (box / folder).mkdir(parents=True)
        (done / folder).mkdir(parents=True)
    for n, who in enumerate(people[:3]):
        (box / "new" / ("%d.host" % n)).write_text(report(who, HARD, to=sent(sink, who)[1]))
    (box / "cur" / "9.host:2,FT").write_text(report(people[3], HARD, to=sent(sink, people[3])[1]))
    (box / "cur" / "8.host:2,S").write_text(report(people[4], HARD, to=sent(sink, people[4])[1]))  # seen: not ours to read
    (box / "new" / "7.host").symlink_to("/etc/passwd")
    summary = ingest(server, None, box)
    assert (summary["mails"], summary["hard"], summary["unreadable"]) == (4, 4, 1), summary
    assert set(os.listdir(box / "cur")) == {"0.host:2,S", "1.host:2,S", "2.host:2,S", "9.host:2,FST", "8.host:2,S"}
    assert os.listdir(box / "new") == ["7.host"]
    assert ingest(server, None, box)["mails"] == 0

    (box / "new" / "7.host").unlink()
    (box / "new" / "5.host").write_text("From: a@b.test\n\nhello\n")
    (box / "new" / "6.host").write_text("From: a@b.test\n\nhello\n")
    (done / "cur" / "6.host:2,S").write_text("taken")
    summary = ingest(server, None, box, "--move-to", done)
    assert (summary["mails"], summary["unreadable"]) == (2, 1)
    assert os.listdir(done / "cur").count("5.host:2,S") == 1
    assert (done / "cur" / "6.host:2,S").read_text() == "taken" and (box / "new" / "6.host").exists()
    assert add_up(server.stats(campaign))["bounced"] == 4


def test_without_a_server_and_with_bad_input(scene, tmp_path):
    sink, server, campaign, people = scene
    mail = tmp_path / "mail"
    mail.write_text("From MAILER-DAEMON Mon Nov 23 19:00:00 2026\n" + report(people[0], HARD, to=sent(sink, people[0])[1]))
    server.stop()
    assert ingest(server, None, mail)["suppressed"] == 1
    assert server.cli("bounce", "ingest", mail).stdout.strip().startswith("1  mails read")
    for words, text in (((tmp_path / "none",), "cannot read"), ((tmp_path,), "not a Maildir"), ((mail, "--soft-limit", "0"), "soft-limit"),
                        ((mail, "--rules", tmp_path / "none"), "cannot read")):
        done = server.cli("bounce", "ingest", *words, check=False)
        assert done.returncode in (1, 2) and text in done.stderr, (words, done.stderr)
    assert ingest(server, "")["mails"] == 1
    server.start()


def test_classify_explains():
    def classify(*words):
        done = subprocess.run([str(harness.PROGRAM), "bounce", "classify", "--json", *words], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    found = classify("550 5.1.1 <x@y.test>: Recipient address rejected: User unknown")
    assert (found["kind"], found["reason"], found["suppresses"]) == ("hard", "user-unknown", True)
    assert re.search(r"bounce-rules\.conf:\d+$", found["rule"])
    found = classify("550 5.7.1 blocked, user unknown")
    assert found["kind"] == "block" and not found["suppresses"]
    assert classify("550 gibberish")["rule"] is None
    found = classify("No mx record found for domain=example.org")
    assert (found["kind"], found["reason"], found["code"], found["enhanced"]) == ("hard", "no-mail", 0, "")
    assert classify("--stage", "connect", "Connection timed out")["reason"] == "expired"
    for text in ("gibberish", "", "55 no", "5500 no"):
        done = subprocess.run([str(harness.PROGRAM), "bounce", "classify", text], capture_output=True, text=True)
        assert done.returncode == 1 and "is no reply of a server" in done.stderr, done
