"""Memory does not depend on what waits: an idle campaign, deferred recipients by the hundred thousand, a provider that is away."""
import os
import re
import socket
import sqlite3
import time
from pathlib import Path

import harness
from conftest import add_up, run_until

PEOPLE = int(os.environ.get("MEMORY_PEOPLE", "200000"))


def rss_mb(server):
    return int(re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/%d/status" % server.process.pid).read_text(), re.M).group(1)) / 1024


def settled_mb(server):
    """The highest of a few looks once the server has nothing new to do."""
    looks = []
    for _ in range(5):
        server.api.get("/v1/status")
        looks.append(rss_mb(server))
        time.sleep(0.1)
    return max(looks)


def dead_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_waits_costs_no_memory(place):
    sink = place.sink()
    server = place.server(sink, config='route "dead.test" { host = "127.0.0.1"  port = %d  tls = "none" }\n' % dead_port(), start=False)
    path = place.folder / "people.csv"
    with open(path, "w", encoding="utf-8") as out:
        out.write("email,name\n")
        out.writelines("person%d@%s,Ann\n" % (n, "dead.test" if n % 4 == 0 else "d%d.test" % (n % 500)) for n in range(PEOPLE))
    server.cli("import", "--list", "news", path)
    server.start()
    server.login()
    empty = settled_mb(server)

    # Idle: its window is closed, and nothing of it is read.
    hour = (time.gmtime().tm_hour + 6) % 24
    idle = server.create_campaign(window={"from": "%02d:00" % hour, "to": "%02d:30" % hour})
    run_until(server, idle, lambda stats: stats["limited_by"] == "window", "the window to be seen")
    assert settled_mb(server) < empty + 10
    server.api.post("/v1/campaigns/%d/pause" % idle)
    server.stop()

    # Deferred, all of them, and due in a day.
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        now = int(time.time() * 1000)
        database.execute("INSERT INTO delivery (campaign_id, recipient_id, state, uncertain, attempts, next_attempt, updated, code, stage, tls, duration,"
                         " enhanced, reply, mx_host, source) SELECT ?, id, 3, 0, 1, ?, ?, 451, 5, 0, 12, '4.7.1', 'later, please', 'mx.test', '' FROM recipient",
                         (idle, now + 86400000, now))
        database.execute("INSERT INTO delivery_block SELECT DISTINCT campaign_id, id >> 8 FROM delivery")
        database.execute("UPDATE campaign_lane SET cursor = 9223372036854775807, done = 1 WHERE campaign_id = ?", (idle,))
        database.execute("UPDATE campaign SET deferred = audience, status = 2 WHERE id = ?", (idle,))
        database.execute("UPDATE campaign_spec SET spec = json_remove(spec, '$.window') WHERE campaign_id = ?", (idle,))
    server.start()
    run_until(server, idle, lambda stats: stats["limited_by"] == "retries", "the retries to be seen")
    assert server.stats(idle)["deferred"] == PEOPLE
    assert settled_mb(server) < empty + 15

    # A provider that does not answer: a bounded number waits for it in memory, the others go on.
    going = server.create_campaign(segment={"or": [{"field": "domain", "eq": "dead.test"}, {"field": "domain", "in": ["d%d.test" % n for n in range(1, 40)]}]})
    run_until(server, going, lambda stats: stats["delivered"] >= 10000, "the others to be delivered", timeout_s=120)
    peak = settled_mb(server)
    stats = add_up(server.stats(going))
    assert stats["pending"] + stats["deferred"] + stats["sending"] >= PEOPLE / 4
    assert peak < empty + 60, peak
    server.api.post("/v1/campaigns/%d/cancel" % going)
    harness.wait_until(lambda: server.stats(going)["sending"] == 0, 30, "what is in the air to land")
