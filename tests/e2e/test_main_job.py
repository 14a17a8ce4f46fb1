"""The main job: a list in, a campaign out, and what became of each recipient equal to the sink's ledger, recipient by recipient."""
import collections

import pytest

from conftest import add_up, emails, run_to_end, run_until
from reconcile import books, differences
from sinklib import share

DOMAINS = ["site%d.test" % n for n in range(12)]

TROUBLE = {"seed": 11, "rules": [
    {"command": "RCPT", "share": [0.00, 0.03], "reply": "550 5.1.1 no such user"},
    {"command": "EOD", "share": [0.03, 0.05], "reply": "554 5.7.1 not wanted"},
    {"command": "RCPT", "share": [0.05, 0.10], "first": 1, "reply": "451 4.7.1 come back later"},
    {"command": "EOD", "share": [0.10, 0.15], "first": 1, "reply": "452 4.3.1 full"},
    {"command": "CONNECT", "nth": 5, "close": True},
    {"command": "EHLO", "nth": 9, "close": True},
    {"command": "MAIL", "every": 149, "close": True},
    {"command": "RCPT", "every": 163, "rst": True},
    {"command": "DATA", "every": 179, "close": True},
    {"command": "EOD", "every": 211, "accept": False, "close": True},
    {"command": "EOD", "every": 251, "accept": True, "close": True},
]}


def fate(email):
    """What TROUBLE means for a recipient in the end."""
    return "bounced" if share(TROUBLE["seed"], email) < 0.05 else "delivered"


def check(server, sink, campaign, audience):
    deliveries = server.deliveries(campaign)
    problems = differences(deliveries, sink.ledger(), audience)
    assert not problems, problems[:20]
    return deliveries


@pytest.mark.sanitize
def test_every_recipient_ends_in_the_state_that_the_sink_says(place):
    sink = place.sink(script=TROUBLE)
    server = place.server(sink, profile="connections = 3  messages_per_connection = 40")
    audience = emails(2000, DOMAINS)
    counts = place.people(server, audience)
    assert counts["read"] == counts["new"] == 2000
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign)
    deliveries = check(server, sink, campaign, audience)
    assert stats["audience"] == 2000
    wrong = [row["email"] for row in deliveries if row["state"] != fate(row["email"])]
    assert not wrong, wrong[:20]
    assert stats["delivered"] == sum(fate(email) == "delivered" for email in audience)
    assert stats["bounced"] == 2000 - stats["delivered"]
    assert collections.Counter(row["state"] for row in deliveries) == {"delivered": stats["delivered"], "bounced": stats["bounced"]}

    # Refused once means delivered at a later attempt.
    for row in deliveries:
        if 0.05 <= share(TROUBLE["seed"], row["email"]) < 0.15:
            assert row["attempts"] >= 2, row
    # Each message has an id of its own, and the sink found nothing to complain about.
    by_recipient = books(sink.ledger())
    ids = [next(iter(book.message_ids)) for book in by_recipient.values() if book.message_ids]
    assert len(set(ids)) == len(ids)
    assert not sink.events("violation")
    # Unknown users are suppressed, refused content is not.
    suppressed = {row["email"] for row in server.api.pages("/v1/suppressions")}
    assert suppressed == {email for email in audience if share(TROUBLE["seed"], email) < 0.03}


def test_accepted_without_a_reply_is_the_only_duplicate(place):
    """RFC 1047: the sink takes the message and drops the connection instead of the reply."""
    script = {"rules": [{"command": "EOD", "share": 0.05, "first": 1, "accept": True, "close": True}]}
    sink = place.sink(script=script)
    server = place.server(sink, profile="connections = 2")
    audience = emails(300, DOMAINS[:4])
    place.people(server, audience)
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == 300
    deliveries = check(server, sink, campaign, audience)
    by_recipient = books(sink.ledger())
    hit = {email for email in audience if share(1, email) < 0.05}
    assert hit
    for row in deliveries:
        book = by_recipient[row["email"]]
        accepted = len(book.told) + len(book.untold)
        if row["email"] in hit:
            assert row["uncertain"] and accepted == 2, row
        # A message behind it in the same connection may have met the same end.
        assert accepted == 1 or row["uncertain"], row


def test_uncertain_rests_when_configured_so(place):
    script = {"rules": [{"command": "EOD", "share": 0.05, "first": 1, "accept": True, "close": True}]}
    sink = place.sink(script=script)
    server = place.server(sink, config='on_uncertain = "hold"', profile="connections = 2")
    audience = emails(300, DOMAINS[:4])
    place.people(server, audience)
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign)
    assert stats["uncertain"] >= sum(share(1, email) < 0.05 for email in audience) > 0
    for email, book in books(sink.ledger()).items():
        assert len(book.told) + len(book.untold) == 1, email
    check(server, sink, campaign, audience)


def test_expired_recipients_fail(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "never.test", "reply": "450 4.2.1 not now"}]})
    server = place.server(sink)
    audience = emails(20, ["never.test", "always.test"])
    place.people(server, audience)
    campaign = server.create_campaign(expires_after="4s")
    stats = run_to_end(server, campaign)
    assert (stats["failed"], stats["delivered"]) == (10, 10)
    for row in check(server, sink, campaign, audience):
        if row["domain"] == "never.test":
            assert row["state"] == "failed" and row["attempts"] >= 2 and row["code"] == 450, row


@pytest.mark.sanitize
def test_killed_in_the_middle_loses_nobody(place):
    sink = place.sink(delay_ms=20)
    server = place.server(sink, profile="connections = 2")
    audience = emails(1500, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign()
    for share_done in (0.15, 0.35, 0.6):
        run_until(server, campaign, lambda stats: stats["delivered"] >= share_done * 1500, "%d %% to be delivered" % (100 * share_done))
        assert server.kill() == -9
        server.start()
        add_up(server.stats(campaign))
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == 1500, stats
    deliveries = check(server, sink, campaign, audience)
    twice = [email for email, book in books(sink.ledger()).items() if len(book.told) + len(book.untold) > 1]
    flagged = {row["email"] for row in deliveries if row["uncertain"]}
    assert set(twice) <= flagged
    # What was in the air is bounded by what the engine keeps in hand, not by the list.
    assert len(flagged) < 1500 * 0.9


def test_killed_with_hold_sends_nothing_twice(place):
    sink = place.sink(delay_ms=20)
    server = place.server(sink, config='on_uncertain = "hold"', profile="connections = 2")
    audience = emails(800, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 200, "200 to be delivered")
    server.kill()
    server.start()
    stats = run_to_end(server, campaign)
    assert stats["delivered"] + stats["uncertain"] == 800
    for email, book in books(sink.ledger()).items():
        assert len(book.told) + len(book.untold) == 1, email
    assert {row["email"] for row in server.deliveries(campaign)} == set(audience)


def test_the_audience_is_frozen_at_launch(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "20/s"')
    before = emails(60, ["one.test"])
    place.people(server, before)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] > 0, "the first delivery")
    place.people(server, emails(40, ["two.test"], "late"))
    stats = run_to_end(server, campaign)
    assert stats["audience"] == stats["delivered"] == 60
    assert not [line for line in sink.events("message") if line["to"].startswith("late")]


def test_the_suppressed_are_not_mailed(place):
    sink = place.sink()
    server = place.server(sink)
    audience = emails(50, ["one.test"])
    place.people(server, audience)
    server.cli("suppress", "add", audience[7])
    server.cli("suppress", "add", audience[8].upper())
    stats = run_to_end(server, server.create_campaign())
    assert (stats["suppressed"], stats["delivered"]) == (2, 48)
    assert not {audience[7], audience[8]} & set(sink.messages())


def test_excluded_lists_and_overlaps(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(50, ["one.test"]), "first")
    place.people(server, emails(80, ["one.test"]), "second")
    place.people(server, emails(10, ["one.test"]), "staff")
    campaign = server.create_campaign(lists=["first", "second"], exclude_lists=["staff"])
    stats = run_to_end(server, campaign)
    assert stats["audience"] == stats["delivered"] == 70
    check(server, sink, campaign, emails(80, ["one.test"])[10:])


def test_an_empty_list_finishes_at_once(place):
    server = place.server(place.sink())
    server.cli("list", "create", "news")
    stats = run_to_end(server, server.create_campaign(), 20)
    assert stats["audience"] == 0


def test_two_campaigns_at_once(place):
    sink = place.sink()
    server = place.server(sink)
    audience = emails(400, DOMAINS)
    place.people(server, audience)
    campaigns = [server.create_campaign(name="c%d" % n) for n in range(3)]
    for campaign in campaigns:
        assert run_to_end(server, campaign)["delivered"] == 400
    for email, messages in sink.messages().items():
        assert len(messages) == 3 and len({line["message_id"] for line in messages}) == 3, email
    assert {row["email"] for row in server.deliveries(campaigns[1])} == set(audience)


def test_without_pipelining(place):
    sink = place.sink(without=["PIPELINING", "CHUNKING"])
    server = place.server(sink, profile="connections = 2")
    audience = emails(200, DOMAINS[:3])
    place.people(server, audience)
    campaign = server.create_campaign()
    assert run_to_end(server, campaign)["delivered"] == 200
    check(server, sink, campaign, audience)


def test_a_server_that_is_not_there_is_waited_for(place):
    """Connection refused is a matter of the site, not of the recipient."""
    sink = place.sink()
    port = sink.port
    server = place.server(sink)
    audience = emails(30, ["one.test"])
    place.people(server, audience)
    assert sink.stop() == 0
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["sending"] + stats["deferred"] == 30, "all to wait for the site")
    assert server.stats(campaign)["bounced"] == 0
    again = place.sink(listen=("127.0.0.1:%d" % port,))
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == 30
    assert set(again.messages()) == set(audience)
