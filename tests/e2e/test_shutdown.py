"""SIGTERM in the middle of a campaign: what is in the air lands, the rest waits for the next start, nothing is uncertain."""
import signal

import pytest

from conftest import add_up, emails, run_to_end, run_until
from harness import wait_until
from reconcile import books, differences

DOMAINS = ["site%d.test" % n for n in range(6)]


@pytest.mark.sanitize
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_end_leaves_nothing_uncertain(place, number):
    sink = place.sink(delay_ms=15)
    server = place.server(sink, profile="connections = 2")
    audience = emails(1200, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign()
    for n in (200, 600):
        run_until(server, campaign, lambda stats: stats["delivered"] >= n, "%d deliveries" % n)
        assert server.signal(number) == 0
        told = sum(len(book.told) for book in books(sink.ledger()).values())
        server.start()
        stats = server.stats(campaign)
        assert stats["uncertain"] == 0
        assert stats["delivered"] >= told  # the restarted server is sending again already
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == 1200
    deliveries = server.deliveries(campaign)
    assert not differences(deliveries, sink.ledger(), audience)
    assert not [row for row in deliveries if row["uncertain"]]
    assert all(len(book.told) == 1 and not book.untold for book in books(sink.ledger()).values())


def test_a_peer_that_never_answers_does_not_hold_the_end(place):
    sink = place.sink(script={"rules": [{"command": "EOD", "stall": True}]})
    server = place.server(sink, config='shutdown = "1s"')
    place.people(server, emails(50, DOMAINS))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["sending"] > 0 and sink.events("drop"), "messages to hang at their end")
    assert server.signal(signal.SIGTERM, timeout_s=20) == 0
    server.start()
    stats = server.stats(campaign)
    assert stats["delivered"] == 0, stats
    # Their end-of-data was out: they are flagged, and nobody is lost.
    assert stats["pending"] + stats["sending"] + stats["deferred"] == 50


def test_the_second_signal_ends_at_once(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "stall": True}]})
    server = place.server(sink, config='shutdown = "10min"')
    place.people(server, emails(50, DOMAINS))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["sending"] > 0 and sink.events("drop"), "messages to hang")
    server.process.send_signal(signal.SIGTERM)
    # Two signals at once are one to the kernel, so the first must have been seen.
    wait_until(lambda: b"stopping" in server.log.read_bytes(), 10, "the server to take the first signal")
    server.process.send_signal(signal.SIGTERM)
    process, server.process = server.process, None
    try:
        process.wait(20)
    finally:
        process.kill()
    server.start()
    stats = add_up(server.stats(campaign))
    assert stats["pending"] + stats["sending"] + stats["deferred"] == stats["audience"] == 50, stats
    server.kill()  # it would wait ten minutes for its peers
