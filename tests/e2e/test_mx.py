"""From the recipient's domain to the servers of its mail: MX records out of a real name server, sites that share them, and what DNS can do wrong."""
import collections
import contextlib
import socket

import pytest

import dnslib
from conftest import emails, run_to_end, run_until
from harness import wait_until
from test_rates import domain_of, most_connections, times_by_domain, worst_window

# Different addresses of the loopback stand for different providers.
ZONE = """
one        MX 10 mx1.big
           MX 20 mx2.big
two        MX 10 mx1.big
           MX 20 mx2.big
three      MX 20 mx2.big
           MX 10 mx1.big
mx1.big    A 127.0.0.2
mx2.big    A 127.0.0.3
small      MX 10 mx.small
mx.small   A 127.0.0.4
implicit   A 127.0.0.4
equal      MX 10 mx1.big
           MX 10 mx2.big
down       MX 10 gone.down
           MX 20 mx.small
gone.down  A 127.0.0.9
hanging    MX 10 mx.hang
           MX 20 mx.small
mx.hang    A 127.0.0.8
nullmx     MX 0 .
hollow     MX 10 mx.hollow
mx.hollow  TXT "no address"
broken     MX 10 mx.dead.
"""


@pytest.fixture
def knot():
    server = dnslib.Knot({"test": ZONE, "dead": None}).start()
    yield server
    server.stop()


def network(place, knot, sinks=("127.0.0.2", "127.0.0.3", "127.0.0.4"), config="", profile="", **options):
    """A sink on all these addresses and one port, and a server that finds them by MX."""
    first = place.sink(listen=["%s:0" % sinks[0]], **options)
    rest = [place.sink(listen=["%s:%d" % (host, first.port)], **options) for host in sinks[1:]]
    text = 'dns { server = "%s" }\nmx_port = %d\nallow_private_mx = true\n' % (knot.server, first.port)
    return [first] + rest, place.server(config=text + config, profile=profile)


def by_domain(sink):
    return collections.Counter(domain_of(line["to"]) for line in sink.events("message"))


def sites(server):
    return {row["site"]: row for row in server.api.get("/v1/stats/sites").json["data"]}


@pytest.mark.sanitize
def test_domains_go_to_their_servers(place, knot):
    (big1, big2, small), server = network(place, knot)
    place.people(server, emails(200, ["one.test", "two.test", "three.test", "small.test", "implicit.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 200
    assert by_domain(big1) == {"one.test": 40, "two.test": 40, "three.test": 40}
    assert by_domain(big2) == {}
    assert by_domain(small) == {"small.test": 40, "implicit.test": 40}
    assert {name: row["delivered"] for name, row in sites(server).items()} == {
        "(mx1|mx2).big.test": 120, "mx.small.test": 40, "implicit.test": 40}
    for name in sites(server):
        assert server.cli_json("site", "show", name)["site"] == name
    assert 'knows no site "a&site=implicit.test"' in server.cli("site", "show", "a&site=implicit.test", check=False).stderr


@pytest.mark.sanitize
def test_domains_of_a_provider_share_its_limits(place, knot):
    (big1, _, small), server = network(place, knot, config='profile "big" { mx = { ".big.test" }  connections = 2  rate = "60/s" }\n'
                                       'domain "two.test" { rate = "15/s"  connections = 1 }')
    place.people(server, emails(150, ["one.test"], "a") + emails(60, ["two.test"], "b") + emails(60, ["small.test"], "c"))
    assert run_to_end(server, server.create_campaign())["delivered"] == 270
    ledger = big1.ledger()
    times = times_by_domain(ledger)
    assert worst_window(sum(times.values(), [])) <= 60
    assert worst_window(times["two.test"]) <= 15
    open_now, most = 0, 0
    for line in ledger:
        open_now += {"connect": 1, "close": -1}.get(line["event"], 0)
        most = max(most, open_now)
    assert most <= 2
    assert max(times["one.test"]) < max(times["two.test"])  # the slow domain did not hold up the other
    assert sites(server)["(mx1|mx2).big.test"]["profile"] == "big"
    assert max(times_by_domain(small.ledger())["small.test"]) - min(times_by_domain(small.ledger())["small.test"]) < 2e6


@pytest.mark.parametrize("name, domain", [("small.test", "small.test"), ("mx.small.test", "small.test"), ("(mx1|mx2).big.test", "one.test")])
def test_what_is_suspended_before_its_first_mail_is_held(place, knot, name, domain):
    """By the domain, though the site that will serve it has another name, or by the name that a site had before."""
    sinks, server = network(place, knot)
    place.people(server, emails(10, [domain], "held") + emails(10, ["implicit.test"], "free"))
    env = {"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}
    server.cli("site", "suspend", name, "--reason", "they asked", env=env)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] == 10, "the others to be delivered")

    def held():
        answer = server.api.get("/v1/stats/sites/" + domain)
        return answer.json if answer.status == 200 and answer.json["limited_by"].endswith("suspended") else None

    site = wait_until(held, 20, "it to be held")
    assert any(limit["what"] == "suspended" and limit["binding"] for limit in site["limits"]), site
    assert sum((by_domain(sink) for sink in sinks), collections.Counter()) == {"implicit.test": 10}
    server.cli("site", "resume", name, env=env)
    assert run_to_end(server, campaign)["delivered"] == 20


def test_equal_preference_is_shared_out(place, knot):
    (big1, big2, _), server = network(place, knot, profile="connections = 1  messages_per_connection = 10")
    place.people(server, emails(300, ["equal.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 300
    assert sum(by_domain(big1).values()) >= 30 and sum(by_domain(big2).values()) >= 30


@pytest.mark.sanitize
def test_the_next_host_when_the_first_is_down(place, knot):
    (_, _, small), server = network(place, knot)
    place.people(server, emails(60, ["down.test"]))
    stats = run_to_end(server, server.create_campaign(), timeout_s=30)
    assert stats["delivered"] == 60 and by_domain(small) == {"down.test": 60}
    rows = server.deliveries(1, "?domain=down.test")
    assert {row["mx_host"] for row in rows} == {"mx.small.test"}


@pytest.mark.sanitize
def test_an_address_that_swallows_packets_costs_seconds(place, knot):
    """Its queue of connections is full, so a SYN gets no answer; the next address is tried long before the time-out of 60 s."""
    (_, _, small), server = network(place, knot, config='timeouts { connect = "60s" }\n')
    with socket.socket() as deaf, contextlib.ExitStack() as fillers:
        deaf.bind(("127.0.0.8", small.port))
        deaf.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.8", small.port))
        place.people(server, emails(30, ["hanging.test"]))
        assert run_to_end(server, server.create_campaign(), 40)["delivered"] == 30
    assert by_domain(small) == {"hanging.test": 30}


def test_final_answers_of_the_dns(place, knot):
    (_, _, small), server = network(place, knot)
    people = {"a@nullmx.test": (556, "5.1.10"), "b@nowhere.test": (None, "5.1.2"), "c@hollow.test": (None, "5.4.4")}
    place.people(server, list(people) + emails(20, ["small.test"]))
    stats = run_to_end(server, server.create_campaign())
    assert stats["delivered"] == 20 and stats["bounced"] == 3
    for row in server.deliveries(1, "?state=bounced"):
        code, enhanced = people[row["email"]]
        assert (row["code"] or None) == code and row["enhanced"] == enhanced and row["stage"] == "dns", row


def test_a_domain_whose_dns_fails_waits_as_a_whole(place, knot):
    sinks, server = network(place, knot)
    place.people(server, emails(50, ["broken.test"]) + emails(20, ["small.test"], "s"))
    campaign = server.create_campaign()
    stats = run_until(server, campaign, lambda stats: stats["delivered"] == 20, "the healthy domain", 60)
    assert stats["bounced"] == stats["failed"] == 0 and stats["sending"] + stats["deferred"] + stats["pending"] == 50
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
    run_until(server, campaign, lambda stats: stats["cancelled"] == 50, "what waited to be given back", 30)


@pytest.mark.sanitize
def test_loops_hand_domains_to_each_other(place, knot):
    """With more than one loop a domain is looked up on one and sent on another; a pause in between finds every job."""
    (big1, _, small), server = network(place, knot, config="loops = 4")
    place.people(server, emails(400, ["one.test", "two.test", "three.test", "small.test"]))
    campaign = server.create_campaign()
    server.api.post("/v1/campaigns/%d/pause" % campaign)
    run_until(server, campaign, lambda stats: stats["status"] == "paused" and stats["sending"] == 0, "nothing to be in the air")
    server.api.post("/v1/campaigns/%d/resume" % campaign)
    assert run_to_end(server, campaign)["delivered"] == 400
    assert sum(by_domain(big1).values()) == 300 and by_domain(small) == {"small.test": 100}


def test_private_addresses_are_refused(place, knot):
    sink = place.sink(listen=["127.0.0.4:0"])
    server = place.server(config='dns { server = "%s" }\nmx_port = %d\n' % (knot.server, sink.port))
    place.people(server, ["a@small.test"])
    assert run_to_end(server, server.create_campaign())["bounced"] == 1
    assert server.deliveries(1)[0]["enhanced"] == "5.4.4" and sink.events("connect") == []
