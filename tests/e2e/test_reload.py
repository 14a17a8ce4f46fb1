"""SIGHUP: another configuration under a running server. No connection is lost, no limit exceeded, nothing half taken over."""
import bisect
import itertools
import os
import signal
import ssl
import subprocess

import pytest

from conftest import emails, run_to_end, run_until
from harness import PROGRAM, Api, wait_until
from rawclient import Client
from reconcile import differences
from test_guarding import certificate
from test_listener import address_of

UNLIMITED = 'rate = "unlimited"'


def times(ledger):
    return sorted(line["t_us"] for line in ledger if line["event"] == "message")


def most_before(at, since_us):
    """The most messages that the receiver had within one second, over all seconds that end with a message after `since_us`."""
    return max((n + 1 - bisect.bisect_right(at, t - 1_000_000) for n, t in enumerate(at) if t > since_us), default=0)


@pytest.mark.alone
@pytest.mark.sanitize
def test_a_new_rate_holds_at_once_on_the_same_connections(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "40/s"  connections = 2  messages_per_connection = 1000  idle_timeout = "1min"')
    audience = emails(420, ["one.test"])
    place.people(server, audience)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 50, "50 deliveries")
    slow = times(sink.ledger())
    assert "changed: profile \"default\": rate = \"160/s\", was \"40/s\"" in server.reload(server.config_text.replace("40/s", "160/s"))
    run_until(server, campaign, lambda stats: stats["delivered"] >= 280, "280 deliveries")
    server.reload(server.config_text.replace("160/s", "20/s"))
    lowered_us = times(sink.ledger())[-1] + 100_000  # what was in the air has come
    run_until(server, campaign, lambda stats: stats["delivered"] >= 360, "360 deliveries")
    unlimited_us = times(sink.ledger())[-1]
    server.reload(server.config_text.replace("20/s", "unlimited"))
    assert run_to_end(server, campaign)["delivered"] == 420
    ledger = sink.ledger()
    at = times(ledger)
    assert most_before(slow, 0) <= 40
    assert most_before([t for t in at if t <= lowered_us], 0) <= 160
    assert 5 <= most_before([t for t in at if t <= unlimited_us], lowered_us) <= 20
    quick = [t for t in at if slow[-1] < t <= lowered_us]
    assert (quick[-1] - quick[0]) / 1e6 < len(quick) / 50, "the higher rate was not used"
    assert len([line for line in ledger if line["event"] == "connect"]) == 2, "a connection was lost"
    assert not differences(server.deliveries(campaign), ledger, audience)


@pytest.mark.sanitize
def test_a_broken_configuration_is_refused_whole(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "30/s"  connections = 1')
    place.people(server, emails(120, ["one.test"]))
    campaign = server.create_campaign()
    right = server.config_text
    broken = [
        (right + 'log_level = "debug"\nevents { keep = "soon" }\n', 'posthaste.conf:%d: events: keep: '),
        (right + 'log_level = "debug"\nspeed = "high"\n', "posthaste.conf:%d: speed: unknown key"),
        (right + 'log_level = "debug"\npool "default" { sources = { "nobody" } }\n', 'there is no source "nobody"'),
        (right + 'log_level = "debug"\nroute "a.test" { host = "127.0.0.1"  tls = "required"  user = "u"  password_file = "/nowhere" }\n', "/nowhere"),
    ]
    for text, words in broken:
        said = server.reload(text)
        assert " was not reloaded, all is as before: " in said and "changed:" not in said, said
        line = server.config.read_text().count("\n")
        assert (words % line if "%d" in words else words) in said, said
    server.config.unlink()
    assert " was not reloaded" in server.reload()
    loaded = server.api.get("/v1/stats").json["config_loaded_at"]
    said = server.reload(right)
    assert " reloaded " in said and "changed:" not in said
    assert server.api.get("/v1/stats").json["config_loaded_at"] > loaded
    assert "level=debug" not in server.log.read_text()
    assert run_to_end(server, campaign)["delivered"] == 120
    assert len(sink.events("connect")) == 1 + 120 // 100  # messages_per_connection is 100


@pytest.mark.skipif(os.path.exists("/etc/posthaste/posthaste.conf"), reason="this machine has a configuration")
def test_the_file_that_was_found_at_the_start_is_kept_to(tmp_path):
    """While an editor or a deployment has moved ./posthaste.conf away, neither /etc's nor the defaults take its place."""
    config, log = tmp_path / "posthaste.conf", tmp_path / "log"

    def hup():
        before = log.read_text()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in log.read_text()[len(before):], 10, "the reload")
        return log.read_text()[len(before):]

    config.write_text('listen = "127.0.0.1:0"\ndomain "a.test" { rate = "1/d" }\n')
    for found in (True, False):  # at the start; by a reload of a server that began without one
        if not found:
            config.unlink()
        with open(log, "wb") as out:
            process = subprocess.Popen([str(PROGRAM), "serve"], cwd=tmp_path, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None, 20, "the server")
            if process.poll() is not None and "in use" in log.read_text():
                pytest.skip("the default port is taken")
            if not found:
                assert ' reloaded config="built in"' in hup()
                config.write_text('domain "a.test" { rate = "1/d" }\n')
                assert "changed:" in hup()
            config.rename(tmp_path / "away")
            said = hup()
            assert "not reloaded" in said and "posthaste.conf" in said and "changed:" not in said, said
            (tmp_path / "away").rename(config)
            said = hup()
            assert ' reloaded config="./posthaste.conf"' in said and "changed:" not in said, said
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()


def test_what_needs_a_start_is_named(place):
    sink = place.sink()
    server = place.server(sink)
    said = server.reload(server.config_text + 'loops = 7\nlog_level = "debug"\nbounces { domain = "b.test"  listen = "127.0.0.1:0"  soft_bounces = 9 }\n')
    for words in ("loops = 7", "bounces: domain = \"b.test\"", "bounces: listen = \"127.0.0.1:0\""):
        assert "takes effect at the next start: " + words in said
    assert "changed: bounces: soft_bounces = 9, was 5" in said and "changed: log_level" in said
    assert " reloaded " in said
    place.people(server, emails(5, ["one.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 5


def connections_now(ledger):
    ended = {line["conn"] for line in ledger if line["event"] == "close"}
    return [line["conn"] for line in ledger if line["event"] == "connect" and line["conn"] not in ended]


@pytest.mark.sanitize
def test_mail_goes_another_way_from_then_on(place):
    """Another route, another source, fewer connections: what is under way ends in order, nobody is lost or mailed twice."""
    first, second = place.sink(delay_ms=5), place.sink(delay_ms=5)
    server = place.server(first, profile="connections = 4", config='source "a" { address = "127.0.0.2" }\npool "default" { sources = { "a" } }')
    audience = emails(1200, ["one.test", "two.test", "three.test"])
    place.people(server, audience)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 200, "200 deliveries")
    server.reload(server.config_text + 'source "b" { address = "127.0.0.3" }\n')  # not in the pool: nothing changes
    server.reload(server.config_text.replace('sources = { "a" }', 'sources = { "b" }'))
    run_until(server, campaign, lambda stats: stats["delivered"] >= 500, "500 deliveries")
    server.reload(server.config_text.replace("connections = 4", "connections = 1"))
    first.wait_for(lambda ledger: len(connections_now(ledger)) <= 3)
    server.reload(server.config_text + 'route "two.test" { host = "127.0.0.1"  port = %d  tls = "none" }\n' % second.port)
    run_until(server, campaign, lambda stats: stats["delivered"] >= 700, "700 deliveries")
    server.reload(server.config_text.replace("port = %d" % first.port, "port = %d" % second.port))
    assert run_to_end(server, campaign)["delivered"] == 1200
    before, after = first.ledger(), second.ledger()
    assert not differences(server.deliveries(campaign), before + [dict(line, conn="second-%s" % line["conn"]) if "conn" in line else line
                                                                  for line in after], audience)
    peers = [line["peer"].rsplit(":", 1)[0] for line in before if line["event"] == "connect"]
    assert set(peers) == {"127.0.0.2", "127.0.0.3"} and peers == sorted(peers), "the order of the sources"
    assert {line["peer"].rsplit(":", 1)[0] for line in after if line["event"] == "connect"} == {"127.0.0.3"}
    assert {line["to"].split("@")[1] for line in after if line["event"] == "message"} == {"one.test", "two.test", "three.test"}
    assert not [line for line in before + after if line["event"] == "drop"], "content was cut off"


VARIANTS = [
    ('rate = "unlimited"', 'rate = "300/s"'),
    ("connections = 3", "connections = 1"),
    ("", 'domain "two.test" { rate = "200/s"  connections = 1 }'),
    ("", 'limits { rate = "2000/s"  connections = 50  byte_rate = "50M/s" }'),
    ("", 'sending_domain "sender.test" { rate = "1000/s" }'),
    ("", 'profile "second" { domain = { "three.test" }  connections = 2  source_rate = "500/s"  provider_connections = 4 }'),
    ("", 'source "a" { address = "127.0.0.2"  connections = 4 }\npool "default" { sources = { "a" } }'),
    ("", 'source "a" { address = "127.0.0.2" }\nsource "b" { address = "127.0.0.3"  rate = "900/s" }\npool "default" { sources = { "b", "a" } }\n'
         'warmup "b" { start = "5000/d" }'),
    ('tls = "none" }', 'tls = "opportunistic" }'),
    ('retry { first = "1s"  max = "2s" }', 'retry { first = "2s"  max = "3s" }\ntimeouts { final = "1min" }\nwebhooks { timeout = "1s" }'),
    ("", 'profile "burst" { domain = { "one.test" }  rate = "50000/h"  burst = 5000 }'),
]


@pytest.mark.sanitize
def test_a_hundred_reloads_under_load(place):
    sink = place.sink(delay_ms=2)
    server = place.server(sink, profile="connections = 3", config='loops = 2\nprofiles = "none"')
    plain = server.config_text
    audience = emails(3000, ["one.test", "two.test", "three.test"])
    place.people(server, audience)
    campaign = server.create_campaign()
    for n, (old, new) in zip(range(100), itertools.cycle(VARIANTS)):
        said = server.reload(plain.replace(old, new) if old else plain + new + "\n")
        assert " reloaded " in said, said
    server.reload(plain)
    assert run_to_end(server, campaign)["delivered"] == 3000
    ledger = sink.ledger()
    assert not differences(server.deliveries(campaign), ledger, audience)
    assert not [line for line in ledger if line["event"] == "drop"], "content was cut off"


@pytest.mark.sanitize
def test_a_server_that_ends_does_not_reload(place):
    sink = place.sink(delay_ms=50)
    server = place.server(sink, profile='connections = 2  rate = "40/s"')
    place.people(server, emails(200, ["one.test"]))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 10, "10 deliveries")
    process = server.process
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
        process.send_signal(number)
    assert process.wait(30) == 0
    server.process = None
    server.start()
    stats = server.stats(campaign)
    assert stats["uncertain"] == 0 and stats["status"] == "running"


def shown(address):
    """The certificate that a new connection is shown."""
    return ssl.get_server_certificate(address, timeout=10)


def shown_by_listener(server):
    with Client(None, address_of(server)) as client:
        context = ssl._create_unverified_context()
        client.starttls(context)
        return ssl.DER_cert_to_PEM_cert(client.socket.getpeercert(binary_form=True))


@pytest.mark.sanitize
def test_a_renewed_certificate_is_shown_from_then_on(place, tmp_path):
    cert, key = certificate(tmp_path)
    first = cert.read_text()
    server = place.server(place.sink(), config='tls_cert = "%s"\ntls_key = "%s"\nbounces { listen = "127.0.0.1:0"  domain = "b.test"  tls_cert = "%s"'
                          '  tls_key = "%s" }\n' % (cert, key, cert, key))
    address = server.api.address
    assert shown(address) == shown_by_listener(server) == first
    kept = Api(server.url, server.api.token)  # its connection was there before
    assert kept.get("/healthz").status == 200
    other = certificate(tmp_path, "other")
    shown_before = {first}
    for n in range(5):
        cert.write_text(other[0].read_text())  # half of it: the renewing program is not done
        assert "was not reloaded" in server.reload() and shown(address) in shown_before
        key.write_text(other[1].read_text())
        said = server.reload()
        assert "certificate_renewed" in said and " reloaded " in said, said
        assert shown(address) == shown_by_listener(server) == other[0].read_text()
        shown_before.add(other[0].read_text())
        assert "certificate_renewed" not in server.reload()  # nothing is new
        assert kept.get("/healthz").status == 200
        other = certificate(tmp_path, "other")
    cert.write_text("")
    assert "was not reloaded" in server.reload() and server.api.get("/healthz").status == 200
    server.stop()
