"""posthaste db: check, backup and vacuum, beside a sending server and without one; retention."""
import os
import sqlite3
import stat

import harness
from conftest import add_up, emails, run_to_end, run_until

DOMAINS = ["a.test", "b.test", "c.test"]


def test_backup_of_a_sending_server_is_whole(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "400/s"')
    place.people(server, emails(3000, DOMAINS))
    campaign = server.create_campaign()
    before = run_until(server, campaign, lambda stats: stats["delivered"] >= 300, "300 deliveries")
    copy = place.folder / "copy" / "posthaste.db"
    copy.parent.mkdir()
    answer = server.cli_json("db", "backup", copy)
    assert answer["file"] == str(copy) and answer["bytes"] > 0
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    assert server.cli_json("db", "check") == {"sound": True, "finding": None}
    again = server.cli("db", "backup", copy, check=False)
    assert again.returncode == 1 and "is there already" in again.stderr
    nowhere = server.cli("db", "backup", place.folder / "no" / "such", check=False)
    assert nowhere.returncode == 1 and "cannot create" in nowhere.stderr
    vacuum = server.cli("db", "vacuum", check=False)
    assert vacuum.returncode == 1 and "a server runs" in vacuum.stderr
    assert run_to_end(server, campaign)["delivered"] == 3000  # the server did not mind
    with sqlite3.connect(copy) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        row = database.execute("SELECT delivered, sending, audience FROM campaign").fetchone()
        counted = database.execute("SELECT count(*) FROM delivery WHERE state = 2").fetchone()[0]
    assert before["delivered"] <= row[0] == counted < 3000 and row[2] == 3000
    # A server on the copy goes on where the snapshot was: everybody gets a message, those in flight then a second one.
    other = harness.Posthaste(place.folder / "copy-server", server.config.read_text().split("listen", 1)[1].split("\n", 1)[1])
    other.data_dir.mkdir()
    copy.rename(other.data_dir / "posthaste.db")
    os.symlink(server.data_dir / "dkim", other.data_dir / "dkim")
    place.servers.append(other)
    other.start()
    other.login()
    assert add_up(run_to_end(other, campaign))["delivered"] == 3000


def test_check_finds_damage_and_vacuum_shrinks(place):
    server = place.server(place.sink(), config='keep_deliveries = "1s"')
    place.people(server, emails(4000, DOMAINS))
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    # Retention: the rows go, what they added up to stays.
    harness.wait_until(lambda: not server.api.get("/v1/campaigns/%d/deliveries" % campaign).json["data"], 60, "the deliveries to be removed")
    stats = add_up(server.stats(campaign))
    assert stats["status"] == "finished" and stats["delivered"] == stats["audience"] == 4000
    assert sum(minute["delivered"] for minute in server.api.get("/v1/campaigns/%d/timeseries" % campaign).json["data"]) == 4000
    server.stop()
    sizes = server.cli_json("db", "vacuum")
    assert 0 < sizes["bytes"] < sizes["bytes_before"], sizes
    assert server.cli("db", "check").stdout == "the database is sound\n"
    assert server.cli("db", "check", "--quick").returncode == 0
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'recipient'").fetchone()[0]
    with open(server.data_dir / "posthaste.db", "r+b") as file:
        file.seek((root - 1) * 4096 + 100)
        file.write(b"\xff" * 2000)
    damaged = server.cli("db", "check", check=False)
    assert damaged.returncode == 1 and "damaged" in damaged.stderr, damaged
    answer = server.cli("db", "check", "--json", check=False)
    assert answer.returncode == 1 and '"sound": false' in answer.stdout, answer


def test_retention_leaves_what_has_not_ended(place):
    sink = place.sink()
    server = place.server(sink, config='keep_deliveries = "1s"', profile='rate = "60/s"')
    place.people(server, emails(600, DOMAINS))
    paused = server.create_campaign()
    run_until(server, paused, lambda stats: stats["delivered"] >= 30, "30 deliveries")
    assert server.api.post("/v1/campaigns/%d/pause" % paused).status == 202
    run_until(server, paused, lambda stats: stats["sending"] == 0, "what is in the air to land")
    done = server.create_campaign(segment={"field": "email", "in": ["person1@b.test", "person2@c.test"]})
    run_to_end(server, done)
    harness.wait_until(lambda: not server.api.get("/v1/campaigns/%d/deliveries" % done).json["data"], 60, "the deliveries to be removed")
    stats = server.stats(paused)
    assert len(server.deliveries(paused)) == stats["delivered"] + stats["deferred"] > 0
