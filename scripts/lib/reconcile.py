"""Compares what posthaste says became of each recipient with what the sink says it was sent.

The sink's ledger (tests/sink/README.md) is the other side's book: it knows nothing of campaigns. For every recipient the two books must
agree; `differences()` returns one sentence for each that do not. Used by scripts/demo and by tests/e2e.
"""
import collections
import json


class Book:
    """What the sink saw of one recipient, in the order in which it happened."""

    def __init__(self):
        self.told = []  # content accepted, and the reply was written to the socket
        self.untold = []  # content accepted, but the connection was gone before the reply
        self.refused = []  # (code, stage)
        self.dropped = 0  # connection closed or stalled by the script in this recipient's transaction
        self.last = ""  # "told", "untold", "4xx", "5xx", "dropped"
        self.message_ids = set()


def read_ledger(path):
    """All events, oldest first. The last line may be half written while the sink runs; it is left out."""
    events = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.endswith("\n"):
                events.append(json.loads(line))
    return events


def books(events):
    """recipient -> Book"""
    result = collections.defaultdict(Book)
    for event in events:
        to = event.get("to")
        if not to or event["event"] not in ("message", "reject", "drop"):
            continue
        book = result[to.lower()]
        if event["event"] == "message":
            (book.told if event["reply"] else book.untold).append(event)
            book.last = "told" if event["reply"] else "untold"
            book.message_ids.add(event["message_id"])
        elif event["event"] == "reject":
            code = (event["reply"] or "000")[:3]
            book.refused.append((code, event["stage"]))
            book.last = code[0] + "xx"
        else:
            book.dropped += 1
            book.last = "dropped"
    return result


def _judge(delivery, book):
    """None, or why the row and the book do not agree."""
    state = delivery["state"]
    accepted = len(book.told) + len(book.untold)
    if len(book.message_ids) > 1:
        return "was sent under %d Message-IDs" % len(book.message_ids)
    if accepted > 1 and not delivery["uncertain"]:
        return "got the message %d times, and the delivery is not flagged uncertain" % accepted
    if state == "delivered":
        return None if book.told else "is delivered, but the sink never said so (last: %s)" % (book.last or "nothing")
    if book.told and not delivery["uncertain"]:
        return "was told 2xx, but is %s" % state
    if state == "bounced":
        return None if book.last == "5xx" else "is bounced, but the sink's last word was %s" % (book.last or "nothing")
    if state == "deferred":
        return None if book.last != "5xx" else "is deferred, but the sink refused it for good"
    if state in ("suppressed", "cancelled", "failed", "uncertain"):
        return None
    return "rests in the state %s" % state


def differences(deliveries, events, audience=None):
    """`deliveries`: rows of GET /v1/campaigns/ID/deliveries; `audience`: every address that was to be mailed (None = not checked)."""
    problems = []
    by_recipient = books(events)
    rows = {}
    for delivery in deliveries:
        email = delivery["email"].lower()
        if email in rows:
            problems.append("%s has two deliveries" % email)
        rows[email] = delivery
    for email, delivery in rows.items():
        why = _judge(delivery, by_recipient.get(email, Book()))
        if why:
            problems.append("%s %s" % (email, why))
    for email in by_recipient:
        if email not in rows:
            problems.append("%s is in the sink's ledger, but has no delivery" % email)
    if audience is not None:
        audience = {email.lower() for email in audience}
        problems += ["%s is missing" % email for email in sorted(audience - rows.keys())]
        problems += ["%s was never in the audience" % email for email in sorted(rows.keys() - audience)]
    return problems
