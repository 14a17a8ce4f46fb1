"""The comparison of deliveries and ledger judges everything else, so it must see each kind of difference."""
import pytest

from reconcile import differences


def row(email, state, uncertain=False):
    return {"email": email, "state": state, "uncertain": uncertain}


def told(email, message_id="<1@x>"):
    return {"event": "message", "to": email, "reply": "250 ok", "message_id": message_id}


def untold(email):
    return {"event": "message", "to": email, "reply": None, "message_id": "<1@x>"}


def refused(email, code):
    return {"event": "reject", "to": email, "stage": "RCPT", "reply": "%d no" % code}


AGREE = {
    "delivered": ([row("a@x", "delivered")], [told("a@x")]),
    "delivered at the second attempt": ([row("a@x", "delivered")], [refused("a@x", 451), told("a@x")]),
    "case does not matter": ([row("a@x", "delivered")], [told("A@X")]),
    "bounced": ([row("a@x", "bounced")], [refused("a@x", 550)]),
    "deferred": ([row("a@x", "deferred")], [refused("a@x", 451)]),
    "suppressed": ([row("a@x", "suppressed")], []),
    "sent twice, and known to be uncertain": ([row("a@x", "delivered", True)], [untold("a@x"), told("a@x")]),
    "held": ([row("a@x", "uncertain", True)], [untold("a@x")]),
}
DIFFER = {
    "delivered, the sink knows nothing": ([row("a@x", "delivered")], []),
    "delivered, the sink refused": ([row("a@x", "delivered")], [refused("a@x", 550)]),
    "delivered, the reply never went out": ([row("a@x", "delivered")], [untold("a@x")]),
    "bounced, the sink took it": ([row("a@x", "bounced")], [told("a@x")]),
    "bounced, the sink said 4xx": ([row("a@x", "bounced")], [refused("a@x", 451)]),
    "deferred, the sink said 5xx": ([row("a@x", "deferred")], [refused("a@x", 550)]),
    "failed, the sink took it": ([row("a@x", "failed")], [told("a@x")]),
    "sent twice": ([row("a@x", "delivered")], [told("a@x"), told("a@x")]),
    "sent twice under two ids": ([row("a@x", "delivered", True)], [told("a@x"), told("a@x", "<2@x>")]),
    "sent to a stranger": ([row("a@x", "delivered")], [told("a@x"), told("b@x")]),
    "two rows for one": ([row("a@x", "delivered"), row("a@x", "delivered")], [told("a@x")]),
    "still in the air": ([row("a@x", "sending")], []),
    "one is missing": ([], []),
    "one too many": ([row("a@x", "delivered"), row("b@x", "suppressed")], [told("a@x")]),
}


@pytest.mark.parametrize("name", AGREE)
def test_books_that_agree(name):
    deliveries, events = AGREE[name]
    assert differences(deliveries, events, ["a@x"]) == []


@pytest.mark.parametrize("name", DIFFER)
def test_books_that_differ(name):
    deliveries, events = DIFFER[name]
    assert len(differences(deliveries, events, ["a@x"])) == 1
