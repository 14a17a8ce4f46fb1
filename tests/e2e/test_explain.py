"""`site explain`: what limits a destination right now, in words."""
import pytest

import dnslib
from conftest import emails, run_to_end, run_until
from harness import wait_until


def explained(server, name, needle):
    """The site's explanation, once it holds the words."""
    def look():
        answer = server.api.get("/v1/stats/sites/" + name)
        return answer.json if answer.status == 200 and needle in "\n".join(answer.json["explanation"]) else None

    site = wait_until(look, 20, "%s to be explained by %r" % (name, needle))
    assert needle in server.cli("site", "explain", name, env={"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}).stdout
    return site


@pytest.mark.sanitize
def test_a_rate(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "2/s"')
    place.people(server, emails(50, ["one.test"]))
    campaign = server.create_campaign()
    site = explained(server, "one.test", "Its rate of 2/s (profile \"default\") is reached")
    assert site["limited_by"] == "rate" and site["site"] == "one.test"
    assert server.api.get("/v1/stats/sites/nowhere.test").status == 404
    server.api.post("/v1/campaigns/%d/cancel" % campaign)


def test_a_back_off_and_its_reason(place):
    sink = place.sink(script={"rules": [{"command": "CONNECT", "reply": "554 5.7.1 not from you"}]})
    server = place.server(sink, config='shutdown = "1s"')
    place.people(server, emails(3, ["one.test"]))
    server.create_campaign()
    site = explained(server, "one.test", 'failed at the stage "greeting": not from you')
    assert "Server 127.0.0.1 at 127.0.0.1:%d, preference 0." % sink.port in site["explanation"]


def test_busy_connections(place):
    sink = place.sink(script={"rules": [{"command": "EOD", "stall": True}]})
    server = place.server(sink, profile="connections = 1", config='shutdown = "100ms"')
    place.people(server, emails(20, ["one.test"]))
    server.create_campaign()
    explained(server, "one.test", "All 1 connections that it may have are busy")


def test_a_server_that_answers_badly(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "nth": 3, "raw": "354 what?\r\n"}]})
    server = place.server(sink)
    place.people(server, emails(50, ["one.test"]))
    server.create_campaign()
    explained(server, "one.test", "One message at a time")


@pytest.mark.sanitize
def test_sites_by_mx_and_failing_dns(place):
    with_zone = dnslib.Knot({"test": "one MX 10 mx.big\nmx.big A 127.0.0.2\nbroken MX 10 mx.dead.\n", "dead": None}).start()
    try:
        sink = place.sink(listen=["127.0.0.2:0"])
        server = place.server(config='dns { server = "%s" }\nmx_port = %d\nallow_private_mx = true\nshutdown = "1s"\n'
                              'domain "one.test" { rate = "2/s"  connections = 1 }\n' % (with_zone.server, sink.port))
        place.people(server, emails(20, ["one.test"]) + ["a@broken.test"])
        server.create_campaign()
        site = explained(server, "one.test", "Held by the rate of the domain")
        assert site["site"] == "mx.big.test" and site["limited_by"] == "domain rate"
        assert "Server mx.big.test at 127.0.0.2:%d, preference 10." % sink.port in site["explanation"]
        assert explained(server, "broken.test", "The look-up of its mail servers")["limited_by"] == "dns"
    finally:
        with_zone.stop()


def test_a_campaign_is_limited_by_what_holds_up_its_own_mail(place):
    """Its own rate, and a site that is suspended; what holds up another campaign is not its matter."""
    server = place.server(place.sink(), config='shutdown = "1s"', profile='rate = "20/s"')
    for name in ("slow", "stuck"):
        place.people(server, emails(60, [name + ".test"]), name)
    server.cli("site", "suspend", "stuck.test", "--reason", "a test", env={"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token})
    slow = server.create_campaign(name="slow", lists=["slow"], rate="1/s")
    stuck = server.create_campaign(name="stuck", lists=["stuck"])
    run_until(server, slow, lambda stats: stats["limited_by"] == "campaign rate", "its own rate to be seen")
    stats = run_until(server, stuck, lambda stats: stats["limited_by"] == "suspended", "the suspension to be seen")
    assert stats["pending"] + stats["sending"] == 60
    for name, words in (("slow.test", "campaign rate"), ("stuck.test", "suspended")):
        assert server.api.get("/v1/stats/sites/" + name).json["limited_by"] == words
    shared = server.create_campaign(name="shared", lists=["slow"])  # at the same site, beside the one that its own rate holds up
    run_until(server, shared, lambda stats: stats["limited_by"] == "rate", "the site's rate to be seen")
    assert run_to_end(server, shared)["delivered"] == 60
    for campaign in (slow, stuck):
        server.api.post("/v1/campaigns/%d/cancel" % campaign)
