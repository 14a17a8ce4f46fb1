"""`scripts/bench bounces`: delivery reports from a Maildir, each about a delivery of its own, with the token in its recipient.

The reports are of the kinds that make up most of what comes back, with the mail that they return (5 KB): three kinds of Postfix's, of a dead
address, a full mailbox and a block, qmail's, Exim's, and vacation notices. CPU is that of the command alone, the parsing and the
database's writer together; a report costs one core that much.
"""
import os
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "e2e"))
from harness import Posthaste, wait_until  # noqa: E402
from sinklib import Sink  # noqa: E402

MARK = 2000
RETURNED = "From: News <news@sender.test>\nTo: %s\nSubject: Hello\nMessage-ID: <m%d@sender.test>\nMIME-Version: 1.0\nContent-Type: text/plain\n\n" + (
    "A line of the newsletter that did not arrive, of common length.\n" * 75)
DSN = ("Return-Path: <>\nDelivered-To: {path}\nFrom: MAILER-DAEMON@mx.test (Mail Delivery System)\nTo: {path}\n"
       "Subject: Undelivered Mail Returned to Sender\nMessage-ID: <r{n}@mx.test>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
       "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n--b\nContent-Type: text/plain\n\n"
       "This is the mail system at host mx.test.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients.\n\n"
       "<{who}>: host mx.{domain}[192.0.2.1] said: {said} (in reply to RCPT TO command)\n\n--b\nContent-Type: message/delivery-status\n\n"
       "Reporting-MTA: dns; mx.test\nX-Postfix-Queue-ID: ABC\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0000\n\nFinal-Recipient: rfc822; {who}\n"
       "Original-Recipient: rfc822;{who}\nAction: failed\nStatus: {status}\nRemote-MTA: dns; mx.{domain}\nDiagnostic-Code: smtp; {said}\n\n"
       "--b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n")
QMAIL = ("Return-Path: <>\nDelivered-To: {path}\nFrom: MAILER-DAEMON@mx.test\nTo: {path}\nSubject: failure notice\nMessage-ID: <r{n}@mx.test>\n\n"
         "Hi. This is the qmail-send program at mx.test.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\n<{who}>:\n"
         "192.0.2.1 does not like recipient.\nRemote host said: {said}\nGiving up on 192.0.2.1.\n\n--- Below this line is a copy of the message.\n\n{returned}")
EXIM = ("Return-Path: <>\nDelivered-To: {path}\nX-Failed-Recipients: {who}\nAuto-Submitted: auto-replied\nFrom: Mail Delivery System <Mailer-Daemon@mx.test>\n"
        "To: {path}\nSubject: Mail delivery failed: returning message to sender\nMessage-ID: <r{n}@mx.test>\n\n"
        "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\n"
        "recipients. This is a permanent error. The following address(es) failed:\n\n  {who}\n    SMTP error from remote mail server after RCPT TO:<{who}>:\n"
        "    host mx.{domain} [192.0.2.1]: {said}\n\n------ This is a copy of the message, including all the headers. ------\n\n{returned}")
VACATION = ("Return-Path: <{who}>\nDelivered-To: {path}\nFrom: {who}\nTo: {path}\nSubject: Out of office: Hello\nMessage-ID: <r{n}@mx.test>\n"
            "Auto-Submitted: auto-replied\n\nI am away until Monday.\n")
DEAD = "550 5.1.1 <{who}>: Recipient address rejected: User unknown"
KINDS = [(DSN, DEAD, "5.1.1"), (DSN, "552 5.2.2 <{who}>: mailbox is full", "5.2.2"),
         (DSN, "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org", "5.7.1"), (QMAIL, DEAD, ""), (EXIM, DEAD, ""),
         (VACATION, "", "")]

def bench_bounces(say, folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    sink = Sink(folder=folder / "sink").start()
    server = Posthaste(folder / "server", 'log_level = "warn"\nroute "*" { host = "127.0.0.1"  port = %d  tls = "none" }\n'
                       'profile "default" { rate = "unlimited"  messages_per_connection = 1000 }\nguard { hard_bounces = off }\n' % sink.port)
    try:
        return measure(say, folder, count, sink, server)
    finally:
        if server.process is not None:
            server.kill()
        sink.stop()

def measure(say, folder, count, sink, server):
    people = folder / "people.csv"
    people.write_text("email\n" + "".join("person%d@domain%d.test\n" % (n, n % 20) for n in range(count)))
    server.cli("domain", "add", "sender.test")
    server.cli("import", "--list", "news", people, timeout_s=600)
    server.start()
    server.login()
    campaign = server.create_campaign(text="Hello\n", html=None)
    wait_until(lambda: server.stats(campaign)["status"] == "finished", 300, "the campaign to finish")
    server.stop()
    box = folder / "box"
    for name in ("new", "cur", "tmp"):
        (box / name).mkdir(parents=True)
    wanted = 0
    for n, line in enumerate(line for line in sink.ledger() if line["event"] == "message"):
        form, said, status = KINDS[n % len(KINDS)]
        who = line["to"]
        wanted += form is not VACATION
        (box / "new" / ("%d.bench" % n)).write_text(form.format(path=line["from"], who=who, n=n, domain=who.partition("@")[2], said=said.format(who=who),
                                                                status=status, returned=RETURNED % (who, n)))
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    summary = server.cli_json("bounce", "ingest", box, timeout_s=600)
    took_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if summary["mails"] != count or summary["bounced"] != wanted:
        raise RuntimeError("%d reports, %d of them bounces, gave %r" % (count, wanted, summary))
    say("bounces: %d reports of %d kinds, %d deliveries bounced, %d addresses suppressed, in %.1f s (%.1f s of CPU)"
        % (count, len(KINDS), summary["bounced"], summary["suppressed"], took_s, cpu_s))
    say("RESULT bounces_reports_per_s_core=%.0f reports_per_s=%.0f cpu_us_per_report=%.0f" % (count / cpu_s, count / took_s, cpu_s * 1e6 / count))
    return count / cpu_s >= MARK
