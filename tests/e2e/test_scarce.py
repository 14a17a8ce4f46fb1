"""Where something is scarce: memory, a disk that fails once, file descriptors. Nobody is lost, nothing crashes, and the words are clear.

POSTHASTE_EVERY_FAULT=1/1 fails them all in turn (two hours), 1/3 the first third of them, for three walks beside one another; otherwise it is a
sample, another one each time. A write to the disk fails at each moment there is; memory fails at each place in the code that asks for it, told by the
calls that led there: some 2,800 of them."""
import os
import pathlib
import random
import resource
import socket
import time
import zlib

import pytest

from conftest import emails, run_to_end
from harness import BUILD, Api, wait_until
from reconcile import books, differences

DOMAINS = ["site%d.test" % n for n in range(3)]
FAULTS = BUILD / "tests" / "crash" / "faults.so"
SAMPLE = 5


def insist(call):
    """A request that met the fault says so, and is made again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except RuntimeError as refused:
            assert time.monotonic() < deadline and ("<5" in str(refused) or "memory" in str(refused)), refused
            time.sleep(0.1)


def create_once(server):
    """The first answer may have been lost, and not the campaign."""
    there = server.api.pages("/v1/campaigns")
    if not there:
        return server.create_campaign()
    if there[0]["status"] == "draft" and server.api.post("/v1/campaigns/%d/launch" % there[0]["id"]).status != 202:
        raise RuntimeError("<5xx>")
    return there[0]["id"]


def one_campaign(place, fault, count_file=None, places_file=None):
    """A small campaign with that fault, and without it if the server would not even start. Returns whether it started with it."""
    sink = place.sink()
    server = place.server(sink, profile="connections = 1  pipeline_depth = 5", start=False)
    audience = emails(60, DOMAINS)
    place.people(server, audience, "news")
    env = {"LD_PRELOAD": str(FAULTS), "POSTHASTE_FAULT": fault}
    if count_file:
        env["POSTHASTE_FAULT_COUNT"] = str(count_file)
    if places_file:
        env["POSTHASTE_FAULT_STACKS"] = str(places_file)
    started = True
    try:
        server.start(env=env)
    except RuntimeError:
        assert server.process.wait(10) == 1, "%s: serve ended with %d" % (fault, server.process.returncode)
        log = server.log.read_text()
        assert "memory" in log if fault.startswith("memory") else ("error" in log or "refuses" in log), log
        server.process = None
        started = False
        server.start()
    server.api = Api(server.url)
    server.login()
    campaign = insist(lambda: create_once(server))

    def finished():
        answer = server.api.get("/v1/campaigns/%d/stats" % campaign)
        return answer.status == 200 and answer.json["status"] == "finished"

    wait_until(finished, 60, "the campaign with %s to finish" % fault, 0.1)
    deliveries = insist(lambda: server.deliveries(campaign))
    problems = differences(deliveries, sink.ledger(), audience)
    assert not problems, (fault, problems[:10])
    states = {row["state"] for row in deliveries}
    assert states == {"delivered"}, (fault, states)
    assert all(len(book.told) == 1 for book in books(sink.ledger()).values()), fault
    assert server.stop() == 0, fault
    sink.stop()
    return started


def chosen(faults):
    """All of them, a share of them, or a few that are spread over them."""
    share = os.environ.get("POSTHASTE_EVERY_FAULT")
    if share:
        number, of = map(int, share.split("/"))
        return [fault for fault in faults if zlib.crc32(str(fault).encode()) % of == number - 1]
    return [faults[(len(faults) * n + random.randrange(len(faults))) // SAMPLE] for n in range(SAMPLE)]


def test_one_write_fails(place, tmp_path):
    count_file = tmp_path / "count"
    one_campaign(place, "io:1000000000", count_file=count_file)
    total = int(count_file.read_text())
    assert total > 50
    assert any([one_campaign(place, "io:%d" % n) for n in chosen(range(1, total + 1))])


def test_memory_is_short_once(place, tmp_path):
    places_file = tmp_path / "places"
    one_campaign(place, "memory:1000000000", places_file=places_file)
    places = sorted(places_file.read_text().split())
    assert len(places) > 500
    assert any([one_campaign(place, "memory:@" + name) for name in chosen(places)])


def cpu_s(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_share(server, seconds=2.0):
    begin, at = cpu_s(server.process.pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(server.process.pid) - begin) / (time.monotonic() - at)


def test_sixty_four_descriptors_and_five_hundred_sites(place):
    sink = place.sink()
    server = place.server(sink, start=False)
    domains = ["site%d.test" % n for n in range(500)]
    audience = emails(1500, domains)
    place.people(server, audience)
    server.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    server.login()
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign, 90)
    assert stats["delivered"] == 1500
    assert not differences(server.deliveries(campaign), sink.ledger(), audience)
    assert idle_share(server) < 0.2
    # All that is left is taken by clients who say nothing: no thread may spin on what it cannot accept.
    clients = []
    try:
        for _ in range(64):
            clients.append(socket.create_connection(server.api.address, timeout=5))
        assert idle_share(server) < 0.2
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: server.api.get("/healthz").status == 200, 30, "the server to answer again")
    server.stop()
