"""Connections come from the sources of the pool, by weight; one that cannot be bound costs no mail."""
import collections

import pytest

from conftest import emails, run_to_end, run_until

ROUTE = 'route "*" { host = "127.0.0.1"  port = %d  tls = "none" }\n'


def peers(sink):
    return collections.Counter(line["peer"].rsplit(":", 1)[0] for line in sink.events("connect"))


@pytest.mark.sanitize
def test_connections_are_shared_by_weight(place):
    sink = place.sink()
    server = place.server(config=ROUTE % sink.port + 'source "a" { address = "127.0.0.10"  weight = 4 }\n'
                          'source "b" { address = "127.0.0.11" }\npool "default" { sources = { "a", "b" } }\n',
                          profile="messages_per_connection = 2")
    place.people(server, emails(400, ["one.test", "two.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 400
    counts = peers(sink)
    assert set(counts) == {"127.0.0.10", "127.0.0.11"}
    assert counts["127.0.0.10"] > 2 * counts["127.0.0.11"] > 0


def test_a_source_has_its_own_limit_of_connections(place):
    sink = place.sink(delay_ms=5)
    server = place.server(config=ROUTE % sink.port + 'source "a" { address = "127.0.0.10"  connections = 2 }\n'
                          'pool "default" { sources = { "a" } }\nloops = 1\n')
    place.people(server, emails(300, ["one.test", "two.test", "three.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 300
    now, most = 0, 0
    for line in sink.ledger():
        now += {"connect": 1, "close": -1}.get(line["event"], 0)
        most = max(most, now)
    assert most == 2


@pytest.mark.sanitize
def test_a_source_that_cannot_be_bound_is_suspended(place):
    sink = place.sink()
    server = place.server(config=ROUTE % sink.port + 'source "gone" { address = "192.0.2.77" }\nsource "b" { address = "127.0.0.11" }\n'
                          'pool "default" { sources = { "gone", "b" } }\n')
    place.people(server, emails(60, ["one.test", "two.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 60
    assert set(peers(sink)) == {"127.0.0.11"}
    # 1 of 2 connections at least would have come from it.
    assert "source-suspended source=gone" in server.log.read_text() or sum(peers(sink).values()) < 12


def test_without_any_source_the_mail_waits(place):
    sink = place.sink()
    server = place.server(config=ROUTE % sink.port + 'source "gone" { address = "192.0.2.77" }\npool "default" { sources = { "gone" } }\n')
    place.people(server, emails(5, ["one.test"]))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: "source-suspended source=gone" in server.log.read_text(), "the source to be suspended")
    stats = server.stats(campaign)
    assert stats["sending"] + stats["deferred"] + stats["pending"] == 5 and sink.events("connect") == []
