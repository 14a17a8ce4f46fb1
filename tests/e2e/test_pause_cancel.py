"""Pause, resume, cancel, launch: the state rules of a campaign, and what they mean on the wire."""
import pytest

from conftest import emails, run_to_end, run_until
from reconcile import differences

DOMAINS = ["a.test", "b.test", "c.test"]


def accepted(sink):
    return sum(len(messages) for messages in sink.messages().values())


def settle(server, campaign):
    """After a pause or a cancel: waits until nothing is in the air."""
    return run_until(server, campaign, lambda stats: stats["sending"] == 0, "what is in the air to land")


@pytest.mark.sanitize
def test_pause_stops_the_wire_and_resume_finishes(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "100/s"  connections = 2')
    audience = emails(600, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign()
    for n in (60, 250):
        run_until(server, campaign, lambda stats: stats["delivered"] >= n, "%d deliveries" % n)
        answer = server.api.post("/v1/campaigns/%d/pause" % campaign)
        assert answer.status == 202, answer
        stats = settle(server, campaign)
        assert stats["status"] == "paused"
        quiet = accepted(sink)
        assert stats["delivered"] == quiet < 600
        # Another campaign's whole life passes, and the paused one stays as it is.
        other = server.create_campaign(name="other %d" % n, lists=["news"], launch=False)
        assert server.api.post("/v1/campaigns/%d/cancel" % other).status == 202
        assert server.api.post("/v1/campaigns/%d/pause" % campaign).status == 202  # a second time changes nothing
        assert accepted(sink) == quiet
        assert server.stats(campaign)["delivered"] == quiet
        assert server.api.post("/v1/campaigns/%d/resume" % campaign).status == 202
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == 600
    assert not differences(server.deliveries(campaign), sink.ledger(), audience)


def test_a_paused_campaign_stays_paused_over_a_restart(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "50/s"')
    place.people(server, emails(200, DOMAINS))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 20, "20 deliveries")
    server.api.post("/v1/campaigns/%d/pause" % campaign)
    settle(server, campaign)
    before = accepted(sink)
    server.stop()
    server.start()
    assert server.stats(campaign)["status"] == "paused"
    assert server.api.post("/v1/campaigns/%d/resume" % campaign).status == 202
    assert run_to_end(server, campaign)["delivered"] == 200
    assert before < accepted(sink) == 200


@pytest.mark.sanitize
def test_cancel_ends_it_for_good(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "c.test", "reply": "450 4.2.1 later"}]})
    server = place.server(sink, profile='rate = "60/s"  connections = 2')
    audience = emails(600, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 60 and stats["deferred"] >= 5, "deliveries and deferrals")
    assert server.api.post("/v1/campaigns/%d/cancel" % campaign).status == 202
    stats = run_until(server, campaign, lambda stats: stats["sending"] == stats["deferred"] == stats["pending"] == 0, "the cancellation")
    assert stats["status"] == "cancelled"
    assert stats["cancelled"] + stats["delivered"] == 600
    quiet = accepted(sink)
    assert quiet == stats["delivered"]
    for action in ("launch", "pause", "resume"):
        answer = server.api.post("/v1/campaigns/%d/%s" % (campaign, action))
        assert answer.status == 409, (action, answer)
        assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert server.api.post("/v1/campaigns/%d/cancel" % campaign).status == 202  # it is cancelled: nothing changes
    server.stop()
    server.start()
    assert server.stats(campaign) == {**stats, "rate_now": server.stats(campaign)["rate_now"]}
    assert accepted(sink) == quiet
    assert not differences(server.deliveries(campaign), sink.ledger())


def test_launching_twice_changes_nothing(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(300, DOMAINS))
    campaign = server.create_campaign(launch=False)
    assert server.stats(campaign)["status"] == "draft"
    for _ in range(3):
        assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 202
    assert run_to_end(server, campaign)["delivered"] == 300
    assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 409
    assert accepted(sink) == 300


def test_wrong_transitions_are_409_and_change_nothing(place):
    server = place.server(place.sink())
    place.people(server, emails(5, DOMAINS))
    draft = server.create_campaign(launch=False)
    for action in ("pause", "resume"):
        answer = server.api.post("/v1/campaigns/%d/%s" % (draft, action))
        assert answer.status == 409 and "state of the campaign is draft" in answer.json["detail"], (action, answer)
    assert server.stats(draft)["status"] == "draft"
    finished = server.create_campaign()
    run_to_end(server, finished)
    for action in ("pause", "resume", "cancel", "launch"):
        answer = server.api.post("/v1/campaigns/%d/%s" % (finished, action))
        assert answer.status == 409 and "state of the campaign is finished" in answer.json["detail"], (action, answer)
    assert server.stats(finished)["status"] == "finished"


def test_clone_is_a_new_draft(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(10, DOMAINS))
    first = server.create_campaign()
    run_to_end(server, first)
    answer = server.api.post("/v1/campaigns/%d/clone" % first)
    assert answer.status == 201, answer
    copy = answer.json["id"]
    assert answer.json["name"] == "test (copy)"
    assert server.stats(copy)["status"] == "draft"
    assert server.api.post("/v1/campaigns/%d/launch" % copy).status == 202
    assert run_to_end(server, copy)["delivered"] == 10
    assert accepted(sink) == 20
