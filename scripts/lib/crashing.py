"""Kills posthaste in the middle of campaigns, starts it again, and compares what it says with the receiver's ledger.

Used by tests/e2e/test_crash.py (short) and scripts/bench crash (long). A death is a moment, ("after", seconds from the start of the process), or a
place, ("at", name, N): see tests/crash/README.md. What must hold after each campaign:

    nobody is without a message            (with on_uncertain = "hold": nobody but who rests as uncertain)
    who has more than one is flagged uncertain, and has no more of them than crashes left in doubt (with "hold": nobody has two)
    one crash leaves in doubt at most sites x connections x depth
"""
import http.client
import json
import os
import pathlib
import re
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from harness import BUILD, Api, wait_until  # noqa: E402
from reconcile import books, differences  # noqa: E402

PROGRAM = BUILD / "tests" / "crash" / "posthaste-crash"
IN_THE_AIR = ("content-told", "content-written", "slot-filled", "reply-judged", "outcome-filled", "reply-noted", "outcomes-posted",
              "before-commit", "after-commit", "slot-cleared")
AT_START = ("recover-rows", "recovered", "run-marked")
RECOVERED = re.compile(r" recovered claims=(\d+) unsent=(\d+) recorded=(\d+) uncertain=(\d+) ")
KILLED = -9
os.environ.setdefault("POSTHASTE_BUILD", str(BUILD))  # for sinklib


class Totals:
    """What a series of campaigns came to."""

    def __init__(self):
        self.campaigns = self.crashes = self.recipients = 0
        self.lost = self.doubled = self.doubled_unlisted = 0
        self.shown = 0  # who was seen delivered before a power cut
        self.uncertain = self.uncertain_most = self.unsent = self.recorded = 0
        self.problems = []

    def words(self):
        return ("crash_runs=%d campaigns=%d recipients=%d lost=%d doubled=%d doubled_not_listed=%d uncertain=%d uncertain_most_in_one=%d recorded=%d "
                "unsent=%d" % (self.crashes, self.campaigns, self.recipients, self.lost, self.doubled, self.doubled_unlisted, self.uncertain,
                               self.uncertain_most, self.recorded, self.unsent))


def ended(server):
    """The status of a process that has ended by itself, else None."""
    return server.process.poll() if server.process is not None else None


def die(server, death, wait_s=60):
    """Starts the server and lets it die as said. False: it did not come to that place (the campaign was over before)."""
    if death[0] == "after":
        server.spawn()
        time.sleep(death[1])
        server.kill()
        return True
    server.spawn(env={"POSTHASTE_CRASH": "%s:%d" % death[1:]})
    try:
        wait_until(lambda: ended(server) is not None, wait_s, "the server to die at %s:%d" % death[1:])
    except TimeoutError:
        server.kill()
        return False
    status, server.process = server.process.wait(), None
    if status != KILLED:
        raise RuntimeError("serve ended with %d at %s:%d" % ((status,) + death[1:]))
    return True


def power_cut(server, campaign, operations, seed):
    """Starts the server on a machine whose power goes at that operation of the disk. Returns who was shown as delivered until then, which a reader of
    the database only sees once it is durable; None: the campaign was over before."""
    shown = set()
    server.spawn(env={"POSTHASTE_POWER": "%d:%d:%s" % (operations, seed, server.data_dir)})
    place = server.data_dir / "serve.json"
    while ended(server) is None:
        try:
            if server.api is None or server.api.address is None or not place.exists():
                time.sleep(0.005)
                continue
            server.api = Api(json.loads(place.read_text())["url"], server.api.token)
            shown.update(row["email"] for row in server.deliveries(campaign, "?state=delivered"))
            finished = server.stats(campaign)["status"] == "finished"
        except (OSError, ValueError, KeyError, RuntimeError, http.client.HTTPException):
            continue  # it is starting, or gone
        if finished:
            server.kill()
            return None
    status, server.process = server.process.wait(), None
    if status != KILLED:
        raise RuntimeError("serve ended with %d at the power cut %d:%d" % (status, operations, seed))
    return shown


def run_power(server, sink, audience, cuts, totals, finish_s=120):
    """One campaign over the list "news" through that many power cuts, at random moments. `cuts`: (operations, seed)."""
    offset = len(server.log.read_text(errors="replace"))
    campaign = server.create_campaign()
    server.kill()
    shown = set()
    for operations, seed in cuts:
        seen = power_cut(server, campaign, operations, seed)
        if seen is None:
            break
        shown |= seen
        totals.crashes += 1
        checked = server.cli("db", "check", check=False)
        if checked.returncode != 0:
            totals.problems.append("after the cut %d:%d: %s%s" % (operations, seed, checked.stdout, checked.stderr))
            return campaign
    server.start()
    wait_until(lambda: server.stats(campaign)["status"] == "finished", finish_s, "the campaign to finish after %d power cuts" % len(cuts), 0.1)
    stats = server.stats(campaign)
    if stats["delivered"] != len(audience):
        totals.problems.append("the statistics are %r" % stats)
    note_recoveries(server, offset, totals, 1 << 30)
    deliveries = server.deliveries(campaign)
    compare(deliveries, sink.ledger(), audience, totals, False)
    accepted = {email: len(book.told) + len(book.untold) for email, book in books(sink.ledger()).items()}
    flagged = {row["email"] for row in deliveries if row["uncertain"]}
    totals.problems += ["%s was shown as delivered, and has %d messages" % (email, accepted.get(email, 0)) for email in sorted(shown)
                        if accepted.get(email, 0) != 1 and email not in flagged][:10]
    totals.shown += len(shown)
    return campaign


def note_recoveries(server, offset, totals, bound):
    """Adds up what the log from `offset` on says of recoveries."""
    for found in RECOVERED.finditer(server.log.read_text(errors="replace")[offset:]):
        _, unsent, recorded, uncertain = map(int, found.groups())
        totals.unsent += unsent
        totals.recorded += recorded
        totals.uncertain += uncertain
        totals.uncertain_most = max(totals.uncertain_most, uncertain)
        if uncertain > bound:
            totals.problems.append("one crash left %d in doubt, %d could be in the air" % (uncertain, bound))


def compare(deliveries, ledger, audience, totals, hold):
    """The two books of one campaign."""
    flagged = {row["email"] for row in deliveries if row["uncertain"]}
    resting = {row["email"] for row in deliveries if row["state"] == "uncertain"}
    accepted = {email: len(book.told) + len(book.untold) for email, book in books(ledger).items()}
    lost = [email for email in audience if accepted.get(email, 0) == 0 and not (hold and email in resting)]
    doubled = [email for email, count in accepted.items() if count > 1]
    unlisted = [email for email in doubled if email not in flagged or hold]
    totals.campaigns += 1
    totals.recipients += len(audience)
    totals.lost += len(lost)
    totals.doubled += len(doubled)
    totals.doubled_unlisted += len(unlisted)
    totals.problems += ["%s has no message" % email for email in lost[:10]]
    totals.problems += ["%s has %d messages, and is %slisted as uncertain" % (email, accepted[email], "" if email in flagged else "not ")
                        for email in unlisted[:10]]
    if not hold:
        totals.problems += differences(deliveries, ledger, audience)[:10]


def run(server, sink, audience, deaths, totals, bound, hold=False, finish_s=120, first_s=0.0, spec=None):
    """One campaign over the list "news". The server is started, logged in and has the list; it is killed `first_s` after the launch, dies the other
    deaths, and runs at the end again."""
    offset = len(server.log.read_text(errors="replace"))
    campaign = server.create_campaign(**(spec or {}))
    time.sleep(first_s)
    server.kill()
    totals.crashes += 1
    for death in deaths:
        totals.crashes += die(server, death)
    server.start()
    wait_until(lambda: server.stats(campaign)["status"] == "finished", finish_s, "the campaign to finish after %d deaths" % len(deaths), 0.1)
    stats = server.stats(campaign)
    if stats["delivered"] + stats["uncertain"] != len(audience):
        totals.problems.append("the statistics are %r" % stats)
    note_recoveries(server, offset, totals, bound)
    compare(server.deliveries(campaign), sink.ledger(), audience, totals, hold)
    return campaign
