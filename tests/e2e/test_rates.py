"""Limits, judged by the sink's clock: never above, over any window, and no domain slows another."""
import bisect
import collections

import pytest

from conftest import emails, run_to_end, run_until

pytestmark = pytest.mark.alone


def worst_window(times_us, window_us=1_000_000):
    """The most events that fall into any window that is open at its end."""
    times = sorted(times_us)
    return max((bisect.bisect_left(times, begin + window_us) - index for index, begin in enumerate(times)), default=0)


def domain_of(email):
    return email.rpartition("@")[2]


def times_by_domain(ledger):
    result = collections.defaultdict(list)
    for line in ledger:
        if line["event"] == "message":
            result[domain_of(line["to"])].append(line["t_us"])
    return result


def most_connections(ledger):
    """Domain -> the most connections that the sink had open at one time for it."""
    domain = {line["conn"]: domain_of(line["to"]) for line in ledger if line["event"] == "message"}
    now, most = collections.Counter(), collections.Counter()
    for line in ledger:
        if line["event"] in ("connect", "close") and line["conn"] in domain:
            name = domain[line["conn"]]
            now[name] += 1 if line["event"] == "connect" else -1
            most[name] = max(most[name], now[name])
    return most


@pytest.mark.sanitize
def test_rate_and_connections_hold_over_any_second(place):
    sink = place.sink(delay_ms=5)
    server = place.server(sink, profile='rate = "50/s"  connections = 2  messages_per_connection = 20')
    audience = emails(360, ["one.test", "two.test"])
    place.people(server, audience)
    assert run_to_end(server, server.create_campaign())["delivered"] == 360
    ledger = sink.ledger()
    times = times_by_domain(ledger)
    assert set(times) == {"one.test", "two.test"}
    for domain, at in times.items():
        assert len(at) == 180
        assert worst_window(at) <= 50, domain
        # And not far below it either: 180 messages at 50/s are 3.6 s.
        assert (max(at) - min(at)) / 1e6 < 6, domain
    assert all(most <= 2 for most in most_connections(ledger).values()), most_connections(ledger)


def test_the_rate_of_a_recipient_domain(place):
    sink = place.sink()
    server = place.server(sink, config='domain "slow.test" { rate = "25/s"  connections = 1 }', profile="connections = 5")
    place.people(server, emails(100, ["slow.test"]) + emails(600, ["quick.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 700
    ledger = sink.ledger()
    times = times_by_domain(ledger)
    assert worst_window(times["slow.test"]) <= 25
    assert most_connections(ledger)["slow.test"] == 1
    assert max(times["quick.test"]) - min(times["quick.test"]) < (max(times["slow.test"]) - min(times["slow.test"])) / 2


def test_a_slow_domain_does_not_slow_another(place):
    sink = place.sink()
    server = place.server(sink, config='domain "slow.test" { rate = "20/s" }', profile="connections = 4")
    place.people(server, emails(120, ["slow.test"]) + emails(2000, ["quick%d.test" % n for n in range(10)]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 2120
    times = times_by_domain(sink.ledger())
    begin = min(min(at) for at in times.values())
    quick_end = max(max(at) for domain, at in times.items() if domain != "slow.test") - begin
    slow_end = max(times["slow.test"]) - begin
    assert slow_end > 5e6
    assert quick_end < slow_end / 2, (quick_end, slow_end)


def test_a_silent_domain_does_not_hold_the_others(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "silent.test", "stall": True}]})
    server = place.server(sink, profile="connections = 2", config='shutdown = "1s"')
    place.people(server, emails(100, ["silent.test"]) + emails(900, ["a.test", "b.test", "c.test"]))
    campaign = server.create_campaign()
    stats = run_until(server, campaign, lambda stats: stats["delivered"] >= 900, "the other domains to be delivered")
    assert stats["status"] == "running"


def test_messages_per_connection(place):
    sink = place.sink()
    server = place.server(sink, profile="connections = 3  messages_per_connection = 7")
    place.people(server, emails(200, ["one.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 200
    per_connection = collections.Counter(line["conn"] for line in sink.events("message"))
    assert max(per_connection.values()) <= 7
    assert sum(per_connection.values()) == 200
    assert len(per_connection) < 60  # connections are reused


def test_the_rate_holds_over_a_restart(place):
    """A server that comes back keeps its distance to what it sent before."""
    sink = place.sink()
    server = place.server(sink, profile='rate = "40/s"  connections = 4')
    place.people(server, emails(200, ["one.test"]))
    campaign = server.create_campaign()
    for n in (40, 100):
        run_until(server, campaign, lambda stats: stats["delivered"] >= n, "%d deliveries" % n)
        server.stop()
        server.start()
    assert run_to_end(server, campaign)["delivered"] == 200
    assert worst_window(times_by_domain(sink.ledger())["one.test"]) <= 40
