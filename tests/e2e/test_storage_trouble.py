"""Stop before the record is lost: a database that takes nothing pauses the sending, says so everywhere, and the sending goes on by itself."""
import os
import resource
import signal
import sqlite3
import subprocess
import time

import pytest

from conftest import emails, run_to_end, run_until
from harness import wait_until
from reconcile import books, differences

DOMAINS = ["site%d.test" % n for n in range(3)]
CONNECTIONS, DEPTH = 2, 5
BOUND = len(DOMAINS) * CONNECTIONS * DEPTH


def scene(place, count=1500, config=""):
    sink = place.sink(delay_ms=25)
    server = place.server(sink, profile="connections = %d  pipeline_depth = %d" % (CONNECTIONS, DEPTH), config='shutdown = "2s"\n' + config)
    audience = emails(count, DOMAINS)
    place.people(server, audience)
    return sink, server, audience


def accepted(sink):
    return len(sink.events("message"))


def is_paused(server, word):
    """The reason is in the log, in the statistics and in /readyz, and the program is told by `status`."""
    wait_until(lambda: server.api.get("/readyz").status == 503, 20, "/readyz to say no")
    assert word in server.api.get("/readyz").json["detail"]
    stats = wait_until(lambda: (stats := server.api.get("/v1/stats").json)["engine"]["in_flight"] == 0 and stats, 20, "what is in the air to land")
    assert word in stats["engine"]["held_by"] and word in stats["storage"]["why"] and not stats["storage"]["healthy"]
    assert word in server.cli("status", env={"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}).stdout
    assert "sending paused" in server.log.read_text()


def rests(sink, campaign, server):
    """Nothing more leaves; and what left since the last commit is no more than what was under way."""
    before = accepted(sink)
    assert before - server.stats(campaign)["delivered"] <= 2 * BOUND + 100
    time.sleep(0.7)
    assert accepted(sink) == before


def all_once(server, sink, campaign, audience):
    run_to_end(server, campaign)
    deliveries = server.deliveries(campaign)
    assert not differences(deliveries, sink.ledger(), audience)
    assert all(len(book.told) == 1 and not book.untold for book in books(sink.ledger()).values())
    assert not [row for row in deliveries if row["uncertain"]]


def limit_files(server, count):
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


def begin(server, sink, wanted=150):
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= wanted, "the campaign to be under way")
    return campaign


def test_an_io_error_pauses_and_its_end_resumes(place):
    sink, server, audience = scene(place)
    campaign = begin(server, sink)
    limit_files(server, 4096)
    is_paused(server, "error")
    rests(sink, campaign, server)
    limit_files(server, resource.RLIM_INFINITY)
    wait_until(lambda: server.api.get("/readyz").status == 200, 20, "/readyz to say yes")
    all_once(server, sink, campaign, audience)
    assert "sending goes on" in server.log.read_text()


def test_a_full_disk_pauses_and_room_resumes(place, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("a small file system takes a mount")
    try:
        sink = place.sink(delay_ms=25)
        server = place.server(sink, profile="connections = %d  pipeline_depth = %d" % (CONNECTIONS, DEPTH), start=False)
        for path in server.data_dir.iterdir():
            subprocess.run(["cp", "-a", path, disk], check=True)
        server.data_dir = disk
        server.write_config(server.config.read_text().split("\n", 3)[3])
        audience = emails(1500, DOMAINS)
        place.people(server, audience)
        server.start()
        server.login()
        campaign = begin(server, sink)
        filler = open(disk / "filler", "wb", buffering=0)
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
        is_paused(server, "full")
        rests(sink, campaign, server)
        (disk / "filler").unlink()
        filler.close()
        all_once(server, sink, campaign, audience)
        server.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_lock_of_another_program_pauses_and_its_end_resumes(place):
    sink, server, audience = scene(place)
    campaign = begin(server, sink)
    other = sqlite3.connect(server.data_dir / "posthaste.db", isolation_level=None, timeout=20)
    other.execute("BEGIN IMMEDIATE")
    try:
        is_paused(server, "locked")
        before = accepted(sink)
        time.sleep(0.7)
        assert accepted(sink) == before
    finally:
        other.execute("ROLLBACK")
        other.close()
    all_once(server, sink, campaign, audience)


def test_a_stop_while_the_disk_refuses_ends_and_the_journal_keeps_what_was_sent(place):
    sink, server, audience = scene(place)
    campaign = begin(server, sink)
    limit_files(server, 4096)
    is_paused(server, "error")
    sent = accepted(sink)
    begun = time.monotonic()
    server.signal(signal.SIGTERM, timeout_s=40)
    assert time.monotonic() - begun < 30
    assert accepted(sink) == sent
    server.start()
    all_once(server, sink, campaign, audience)


def test_a_damaged_database_is_refused(place):
    sink, server, _ = scene(place, 50)
    server.stop()
    path = server.data_dir / "posthaste.db"
    whole = path.read_bytes()
    path.write_bytes(b"x" * 200 + whole[200:])
    with pytest.raises(RuntimeError) as refused:
        server.start()
    server.process = None
    assert "damaged" in str(refused.value) or "not a database" in str(refused.value)
    path.write_bytes(whole)


def test_a_second_server_is_refused(place):
    _, server, _ = scene(place, 10)
    done = server.cli("serve", check=False)
    assert done.returncode == 1 and "another server" in done.stderr
    # Nor is the port the cause when both would listen at the same.
    server.config.write_text(server.config.read_text().replace('"127.0.0.1:0"', '"%s"' % server.url.split("/")[2]))
    done = server.cli("serve", check=False)
    assert done.returncode == 1 and "another server runs on %s" % server.data_dir in done.stderr, done
    # But it is no cause where the address is not ours.
    server.config.write_text(server.config.read_text().replace(server.url.split("/")[2], "192.0.2.1:80"))
    done = server.cli("serve", check=False)
    assert done.returncode == 1 and "cannot listen on 192.0.2.1:80" in done.stderr and "another server" not in done.stderr, done
    assert server.api.get("/readyz").status == 200
