"""What a claim brings beyond a lane's window waits beside it, unbegun: however the campaign or the server ends then, it ends as what the engine holds does."""
import re
import signal

import pytest

from conftest import emails, run_to_end, run_until
from harness import Api
from reconcile import books, differences

AUDIENCE = 1000  # of one domain, so of one lane; at 150/s its claims come often, and soon bring more than its window of 64
AHEAD = 60


def in_the_engine(server):
    text = Api(server.url).get("/metrics").body.decode()
    return sum(int(value) for value in re.findall(r"^posthaste_(?:queued|in_flight) (\d+)$", text, re.M))


def scene(place, **campaign):
    """A running campaign, caught when AHEAD or more are claimed of which the engine knows nothing."""
    sink = place.sink()
    server = place.server(sink, profile='rate = "150/s"  connections = 2')
    audience = emails(AUDIENCE, ["big.test"])
    place.people(server, audience)
    number = server.create_campaign(**campaign)
    run_until(server, number, lambda stats: stats["sending"] - in_the_engine(server) >= AHEAD, "a claim beyond the window")
    return sink, server, number, audience


def each_once(server, sink, campaign, audience):
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == AUDIENCE, stats
    deliveries = server.deliveries(campaign)
    assert not differences(deliveries, sink.ledger(), audience)
    assert not [row for row in deliveries if row["uncertain"]]
    assert all(len(book.told) == 1 and not book.untold for book in books(sink.ledger()).values())


@pytest.mark.sanitize
def test_a_pause_gives_it_back_and_a_resume_sends_it(place):
    sink, server, campaign, audience = scene(place)
    assert server.api.post("/v1/campaigns/%d/pause" % campaign).status == 202
    stats = run_until(server, campaign, lambda stats: stats["sending"] == 0, "what is claimed to come back")
    assert stats["deferred"] >= AHEAD and stats["uncertain"] == stats["failed"] == 0, stats
    server.api.post("/v1/campaigns/%d/resume" % campaign)
    each_once(server, sink, campaign, audience)


def test_a_cancellation_cancels_it(place):
    sink, server, campaign, audience = scene(place)
    assert server.api.post("/v1/campaigns/%d/cancel" % campaign).status == 202
    stats = run_until(server, campaign, lambda stats: stats["sending"] == stats["pending"] == 0, "the cancellation")
    assert stats["delivered"] + stats["cancelled"] == AUDIENCE and stats["cancelled"] >= AHEAD, stats
    assert stats["delivered"] == len(sink.messages())


def test_its_time_ends_with_the_campaign(place):
    sink, server, campaign, audience = scene(place, expires_after="4s")
    stats = run_to_end(server, campaign)
    assert stats["delivered"] + stats["failed"] == AUDIENCE and stats["failed"] >= AHEAD, stats
    assert stats["delivered"] == len(sink.messages())


@pytest.mark.sanitize
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_new_server_sends_it(place, number):
    sink, server, campaign, audience = scene(place)
    server.signal(number)
    server.start()
    # A kill may have had messages in the air: those may be there twice, and are flagged.
    if number == signal.SIGTERM:
        each_once(server, sink, campaign, audience)
        return
    assert run_to_end(server, campaign)["delivered"] == AUDIENCE
    deliveries = server.deliveries(campaign)
    assert not differences(deliveries, sink.ledger(), audience)
    assert len([row for row in deliveries if row["uncertain"]]) <= 20
