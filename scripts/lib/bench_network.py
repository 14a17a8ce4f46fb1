"""What `scripts/bench rtt` and `scripts/bench connections` measure: one connection behind a round trip, and two thousand slow ones. Standard library only."""
import json
import os
import pathlib
import resource
import signal
import subprocess
import time

from harness import SINK, Posthaste, wait_until

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
RTT_MS = 50
RTT_MARKS = {"rtt50_bdat10": 140, "rtt50_pipelining": 18}
CONNECTIONS = 2000
SITES = 20
PER_SITE = 120  # a little more, because not every site has work for all of its own at the same moment
CONNECTION_MARKS = {"rss_kb_per_connection": 40, "loop_cpu_percent": 20}  # ceilings


class Receiver:
    """tests/sink as a child; its ledger is the clock."""

    def __init__(self, folder, *words):
        folder.mkdir(parents=True)
        self.ledger, self.counts_path = folder / "ledger.jsonl", folder / "counts.json"
        self.process = subprocess.Popen([SINK, "--listen", "127.0.0.1:0", "--ledger", self.ledger, "--counts", self.counts_path, *words],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            raise RuntimeError("the sink did not start")
        self.port = int(line.split()[1].rsplit(":", 1)[1])

    def counts(self):
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        return json.loads(self.counts_path.read_text())

    def times_us(self):
        with open(self.ledger, encoding="utf-8", errors="surrogateescape") as lines:
            return sorted(event["t_us"] for event in map(json.loads, lines) if event["event"] == "message")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def people(folder, count, domains):
    path = folder / "people.csv"
    with open(path, "w", encoding="utf-8") as out:
        out.write("email,name\n")
        out.writelines("person%d@domain%d.example,Anna\n" % (n, n % domains) for n in range(count))
    return path


def start(folder, config, count, domains):
    server = Posthaste(folder / "server", config)
    server.cli("import", "--list", "bench", people(folder, count, domains))
    server.cli("domain", "add", "sender.test")
    server.start()
    server.login()
    return server


def one_connection(folder, without, depth, count, spec):
    """Messages a second over one connection, by the receiver's clock, the first few left out."""
    receiver = Receiver(folder / "sink", "--delay-ms", str(RTT_MS), *(["--without", ",".join(without)] if without else []))
    config = ('log_level = "warn"\nroute "*" { host = "127.0.0.1"  port = %d  tls = "none" }\n'
              'profile "default" { connections = 1  messages_per_connection = 100000  rate = "unlimited"  pipeline_depth = %d }\n' % (receiver.port, depth))
    server = start(folder, config, count, 1)
    try:
        campaign = server.create_campaign(**spec)
        wait_until(lambda: server.stats(campaign)["delivered"] == count, 300, "%d deliveries" % count)
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        receiver.stop()
    times = receiver.times_us()
    if len(times) != count:
        raise RuntimeError("%d of %d messages arrived" % (len(times), count))
    times = times[min(20, count // 4):]
    return (len(times) - 1) * 1e6 / (times[-1] - times[0])


def bench_rtt(say, folder, spec, quick):
    say("rtt: one connection, %d ms of round trip, 10 KB messages, receiver tests/sink" % RTT_MS)
    figures = {}
    for key, text, without, depth, count in (
            ("rtt50_lockstep", "lock step", ["PIPELINING", "CHUNKING"], 1, 60),
            ("rtt50_envelope", "envelope pipelined, wait after content", ["CHUNKING"], 1, 120),
            ("rtt50_pipelining", "content and next envelope in one group", ["CHUNKING"], 10, 240),
            ("rtt50_bdat10", "BDAT streamed, 10 messages outstanding", [], 10, 1500)):
        part = folder / key
        part.mkdir()
        figures[key] = one_connection(part, without, depth, max(count // (3 if quick else 1), 30), spec)
        say("  %-40s %7.1f messages/s" % (text, figures[key]))
    say("RESULT " + " ".join("%s=%.1f" % (key, figures[key]) for key in ("rtt50_bdat10", "rtt50_pipelining", "rtt50_envelope", "rtt50_lockstep")))
    return all(figures[key] >= mark for key, mark in RTT_MARKS.items())


def resident_kb(pid):
    status = pathlib.Path("/proc/%d/status" % pid).read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def loop_cpu_s(pid):
    """CPU time of the engine's loops (composing and signing have threads of their own)."""
    times = []
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        if (task / "comm").read_text().strip() == "engine":
            times.append((int(fields[11]) + int(fields[12])) / CLOCK_TICKS)
    return sum(times)


def bench_connections(say, folder, quick):
    seconds = 5 if quick else 15
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 600:
        raise RuntimeError("%d descriptors are not enough for %d connections" % (hard, CONNECTIONS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    say("connections: %d at a time to a receiver that takes 1 s for each reply, %d sites, one loop" % (CONNECTIONS, SITES))
    receiver = Receiver(folder / "sink", "--delay-ms", "1000")
    config = ('log_level = "warn"\nloops = 1\nshutdown = "1s"\nroute "*" { host = "127.0.0.1"  port = %d  tls = "none" }\n'
              'profile "default" { connections = %d  messages_per_connection = 100000  rate = "unlimited"  pipeline_depth = 1  idle_timeout = "5min" }\n'
              % (receiver.port, PER_SITE))
    server = start(folder, config, 100_000, SITES)
    try:
        idle_kb = resident_kb(server.process.pid)
        server.create_campaign(name="bench", lists=["bench"], text="Hello {{name}}\n", html=None)
        wait_until(lambda: receiver.counts()["open"] >= CONNECTIONS, 120, "%d connections to be open" % CONNECTIONS, every_s=0.5)
        before, begin = loop_cpu_s(server.process.pid), time.monotonic()
        time.sleep(seconds)
        cpu = 100 * (loop_cpu_s(server.process.pid) - before) / (time.monotonic() - begin)
        most = receiver.counts()["most_open"]
        per_connection = (resident_kb(server.process.pid) - idle_kb) / most
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        receiver.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if most > SITES * PER_SITE:
        raise RuntimeError("%d connections were open, %d are allowed" % (most, SITES * PER_SITE))
    say("  memory       %d KB before, all that came with the campaign shared out over the connections" % idle_kb)
    say("RESULT connections=%d rss_kb_per_connection=%.1f loop_cpu_percent=%.1f" % (most, per_connection, cpu))
    return per_connection <= CONNECTION_MARKS["rss_kb_per_connection"] and cpu < CONNECTION_MARKS["loop_cpu_percent"]
