"""scripts/bench scale: ten million recipients over 200,000 domains, as lists are: three quarters in ten large domains, the rest in the tail.

One list is imported, the campaign launched, and the first deliveries are watched: nothing may depend on how many wait behind them. Beside it, in the same
run, a campaign to a hundredth of the recipients over the same domains, whose CPU a message is the yardstick. The rest is not sent; the server is stopped and the
database measured.

Storage's CPU a delivery and the rows/s of the import are marked as they are; what one core of this machine is worth is told beside them, in bare RSA-2048
signatures a second before and after (the marks come from a machine whose core makes 4,100).
"""
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import time

from bench_network import Receiver
from harness import PROGRAM, Posthaste, wait_until

LARGE = 10  # domains with three quarters of the recipients
MARKS = {"import_rows_per_s": 150_000, "first_ms": 500, "rss_mb": 150, "cpu_growth": 1.10, "bytes_per_delivery": 150, "bytes_per_recipient": 180,
         "storage_us": 8}
STORAGE_THREADS = ("writer", "keeper")
SOURCES = 8  # a domain is a site and needs a connection of its own: one address runs out of ports, with 28,000 in TIME_WAIT
CONFIG = """
log_level = "warn"
%s
pool "default" { sources = { %s } }
route "*" { host = "127.0.0.1"  port = %d  tls = "none" }
profile "default" { connections = 10  messages_per_connection = 1000  rate = "unlimited" }
"""


def configuration(port):
    names = ['"ip%d"' % n for n in range(1, SOURCES + 1)]
    sources = "\n".join('source %s { address = "127.0.0.%d"  hostname = "mta.test" }' % (name, n) for n, name in enumerate(names, 1))
    return CONFIG % (sources, ", ".join(names), port)


def write_people(path, count, domains, names, cities):
    """Addresses of about 24 bytes, attributes of 54, in an order that no index likes. The step visits every number once: it is prime and does not divide the count."""
    step, n = 7_368_787, 0
    assert count % step != 0
    tail = max(1, domains - LARGE)
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write("email,name,city,customer\n")
        for begin in range(0, count, 10000):
            rows = []
            for _ in range(min(10000, count - begin)):
                domain = n % LARGE if n % 4 else LARGE + n // 4 % tail
                rows.append("user%d@d%d.example,%s,%s,C-%08d\n" % (n, domain, names[n % 8], cities[n // 8 % 8], n))
                n = (n + step) % count
            out.write("".join(rows))


def import_people(server, path):
    """Rows a second and the largest memory of the program."""
    begin = time.monotonic()
    process = subprocess.Popen([str(PROGRAM), "-c", str(server.config), "import", "--list", "bench", str(path)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    with process.stderr:
        if status != 0:
            raise RuntimeError("import: %s" % process.stderr.read().decode())
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def used_bytes(server):
    """Pages in use, everything carried over from the WAL. Only without a server."""
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages, free, size = (database.execute("PRAGMA " + name).fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def reached_domains(server):
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        return database.execute("SELECT count(DISTINCT r.domain_id) FROM delivery d JOIN recipient r ON r.id = d.recipient_id").fetchone()[0]


def storage_cpu_s(pid):
    total = 0
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        try:
            if (task / "comm").read_text().strip() in STORAGE_THREADS:
                total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it has just ended
    return total / 1e9


def rss_mb(pid, what):
    return int(re.search(r"^%s:\s+(\d+) kB" % what, pathlib.Path("/proc/%d/status" % pid).read_text(), re.M).group(1)) / 1024


def first_message_us(sink):
    """CLOCK_MONOTONIC of the first message that the sink took; None = none yet."""
    with open(sink.ledger, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if line.endswith("\n") and '"message"' in line:
                return json.loads(line)["t_us"]
    return None


def send(tools, server, sink, wanted):
    """Launches and watches the first `wanted` deliveries: milliseconds to the first message, CPU and storage CPU of each in us, memory."""
    campaign, size = tools.create_campaign(server)
    pid = server.process.pid
    cpu, storage, begin = tools.cpu_s(pid), storage_cpu_s(pid), time.monotonic()
    answer = server.api.post("/v1/campaigns/%d/launch" % campaign)
    if answer.status != 202:
        raise RuntimeError("launch: %r" % answer)
    first_ms = wait_until(lambda: first_message_us(sink), 60, "the first message") / 1000 - begin * 1000
    wait_until(lambda: server.stats(campaign)["delivered"] >= wanted, max(120, wanted / 200), "%d deliveries" % wanted, every_s=0.2)
    elapsed, cpu, storage = time.monotonic() - begin, tools.cpu_s(pid) - cpu, storage_cpu_s(pid) - storage
    stats = server.stats(campaign)
    done = stats["delivered"]
    return {"first_ms": first_ms, "cpu_us": cpu * 1e6 / done, "storage_us": storage * 1e6 / done, "rate": done / elapsed, "size": size,
            "audience": stats["audience"], "rss_mb": rss_mb(pid, "VmHWM"), "rss_now_mb": rss_mb(pid, "VmRSS")}


def one_size(tools, folder, count, domains, wanted):
    """Import, launch, deliver, stop, measure: the figures of one server."""
    sink = Receiver(folder / "sink")
    people = folder / "people.csv"
    write_people(people, count, domains, tools.FIRST, tools.CITIES)
    server = Posthaste(folder / "server", configuration(sink.port))
    try:
        seconds, import_rss = import_people(server, people)
        people.unlink()
        server.cli("domain", "add", "sender.test")
        before = used_bytes(server)
        server.start()
        server.login()
        figures = send(tools, server, sink, wanted)
        if figures["audience"] != count:
            raise RuntimeError("an audience of %d for %d recipients" % (figures["audience"], count))
        server.stop()
        figures["rows"] = sqlite3.connect(server.data_dir / "posthaste.db").execute("SELECT count(*) FROM delivery").fetchone()[0]
        figures["bytes_per_delivery"] = (used_bytes(server) - before) / figures["rows"]
        figures["domains"] = reached_domains(server)
    finally:
        if server.process is not None:
            server.kill()
        sink.stop()
    figures.update(import_rows_per_s=count / seconds, import_rss_mb=import_rss, bytes_per_recipient=before / count)
    tools.say("  %8d recipients: imported at %.0f rows/s in %.0f MB; %.0f messages/s, %.1f us of CPU each, %.1f us of it storage; %d domains reached; "
              "memory now %.0f MB, at most %.0f MB" % (count, figures["import_rows_per_s"], import_rss, figures["rate"], figures["cpu_us"],
                                                       figures["storage_us"], figures["domains"], figures["rss_now_mb"], figures["rss_mb"]))
    return figures


def bench_scale(tools, options, folder):
    count = options.recipients or (1_000_000 if options.quick else 10_000_000)
    domains, small = max(LARGE + 1, count // 50), max(1000, count // 100)
    wanted = min(count, 100_000 if options.quick else 500_000)
    tools.say("scale: %d recipients over %d domains, the first %d deliveries; beside it %d recipients" % (count, domains, wanted, small))
    core = [tools.rsa_signatures_per_s(2, 1)]
    base = one_size(tools, folder / "small", small, domains, small)
    figures = one_size(tools, folder / "large", count, domains, wanted)
    core.append(tools.rsa_signatures_per_s(2, 1))
    tools.say("  a core signs %.0f and %.0f times a second (RSA-2048, before and after): storage takes %.1f%% of a signature a delivery"
              % (*core, figures["storage_us"] * sum(core) / 2 / 1e4))
    figures["cpu_growth"] = figures["cpu_us"] / base["cpu_us"]
    shown = (("first_ms", 0), ("rss_mb", 0), ("cpu_growth", 2), ("bytes_per_delivery", 0), ("bytes_per_recipient", 0), ("import_rows_per_s", 0), ("storage_us", 1))
    tools.say("RESULT %s scale_core_rsa_per_s=%.0f" % (" ".join("scale_%s=%.*f" % (key, places, figures[key]) for key, places in shown), sum(core) / 2))
    return (figures["import_rows_per_s"] >= MARKS["import_rows_per_s"] and figures["rss_mb"] <= MARKS["rss_mb"]
            and all(figures[key] <= MARKS[key] for key in ("first_ms", "cpu_growth", "bytes_per_delivery", "bytes_per_recipient", "storage_us")))
