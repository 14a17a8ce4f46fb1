"""What `scripts/bench http` measures: whether slow clients and huge bodies slow the sending down, statistics and redirects a second beside a running campaign, and
single messages a second. wrk asks; one thread of it, for the machine is shared with what it measures. Standard library only."""
import concurrent.futures
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

from bench_network import Receiver, start
from harness import Api

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SLOW = 200
MARKS = {"slow_ratio": 0.95, "stats_per_s": 5000, "redirects_per_s": 10000, "messages_per_s": 200}
CEILINGS = {"stats_p99_ms": 20, "rss_growth_mb": 64}
UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}


def cpu_s(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss_mb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path("/proc/%d/status" % pid).read_text(), re.M)[1]) / 1024


def wrk(url, seconds, token=None):
    """(requests/s, p99 in ms, answers that were no success)"""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("bench: wrk is missing; scripts/setup --bench installs it")
    words = [program, "-t1", "-c16", "-d%ds" % seconds, "--latency", url] + (["-H", "Authorization: Bearer " + token] if token else [])
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", out).groups()
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), float(value) * UNITS[unit], int(bad[1]) if bad else 0


class Nuisance:
    """200 clients that dribble heads and bodies, and two that send bodies of 10 GB, as far as they are let."""

    def __init__(self, server):
        self.server, self.ended, self.sent = server, threading.Event(), 0
        self.threads = [threading.Thread(target=self.dribble)] + [threading.Thread(target=self.flood, args=(chunked,)) for chunked in (True, False)]
        for thread in self.threads:
            thread.start()

    def open(self, more):
        connection = socket.create_connection(self.server.api.address, timeout=10)
        connection.sendall(("POST /v1/lists HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n%s" % (self.server.api.token, more)).encode())
        return connection

    def dribble(self):
        clients = []
        while not self.ended.wait(0.5):
            for number in range(len(clients), SLOW):
                clients.append(self.open("X-Slow: " if number % 2 else "Content-Length: 1000\r\n\r\n"))
            for client in list(clients):
                try:
                    client.sendall(b" ")
                except OSError:
                    clients.remove(client)
        for client in clients:
            client.close()

    def flood(self, chunked):
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if chunked else b"x" * 0x10000
        while not self.ended.is_set():
            client = self.open("Transfer-Encoding: chunked\r\n\r\n" if chunked else "Content-Length: %d\r\n\r\n" % (10 << 30))
            try:
                for _ in range((10 << 30) // 0x10000):
                    if self.ended.is_set():
                        break
                    client.sendall(piece)
                    self.sent += len(piece)
            except OSError:
                pass
            client.close()
            self.ended.wait(1)  # it has been refused; who comes again at once is stopped by api_rate

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def delivered_per_s(server, campaign, seconds):
    begin, before = time.monotonic(), server.stats(campaign)["delivered"]
    time.sleep(seconds)
    return (server.stats(campaign)["delivered"] - before) / (time.monotonic() - begin)


def sending_beside_nuisance(server, campaign, seconds):
    """The ratio, alternating, so that what else the machine does falls on both; and the growth of memory."""
    quiet, loud, before = [], [], rss_mb(server.process.pid)
    peak = before
    for _ in range(3):
        quiet.append(delivered_per_s(server, campaign, seconds))
        nuisance = Nuisance(server)
        time.sleep(1)
        loud.append(delivered_per_s(server, campaign, seconds))
        peak = max(peak, rss_mb(server.process.pid))
        nuisance.stop()
    return sorted(loud)[1] / sorted(quiet)[1], peak - before


def single_messages(server, seconds):
    end = time.monotonic() + seconds

    def one(number):
        api, count = Api(server.url, server.api.token), 0
        while time.monotonic() < end:
            answer = api.post("/v1/messages", {"to": "m%d.%d@domain1.example" % (number, count), "from": {"email": "shop@sender.test"}, "subject": "s", "text": "t"})
            if answer.status != 202:
                raise RuntimeError("POST /v1/messages: %r" % answer)
            count += 1
        api.close()
        return count

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(one, range(8))) / seconds


def bench_http(say, folder, quick):
    seconds = 3 if quick else 8
    sink = Receiver(folder / "sink")
    config = 'api_rate = "unlimited"\nroute "*" { host = "127.0.0.1"  port = %d  tls = "none" }\nprofile "default" { rate = "unlimited"  connections = 4 }\npreflight = "off"\n'
    server = start(folder, config % sink.port, 200_000 if quick else 400_000, 20)
    campaign = server.create_campaign(lists=["bench"], track={"clicks": True}, rate="500/s", html='<a href="https://one.test/">x</a>')
    figures = {}
    try:
        server.api.post("/v1/campaigns/%d/pause" % campaign)
        fast = server.create_campaign(lists=["bench"])
        ratio, growth = sending_beside_nuisance(server, fast, seconds)
        server.api.post("/v1/campaigns/%d/pause" % fast)
        server.api.post("/v1/campaigns/%d/resume" % campaign)
        figures.update(slow_ratio=ratio, rss_growth_mb=growth)
        say("sending beside %d slow clients and two bodies of 10 GB: %.3f of what it is without, %.1f MB more" % (SLOW, ratio, growth))
        for name, path, token in (("stats", "/v1/campaigns/%d/stats" % campaign, server.api.token), ("redirects", None, None)):
            if path is None:
                html = server.api.get("/v1/campaigns/%d/preview" % campaign).json["html"]
                path = re.search(r"/c/[a-z2-7]+", html)[0]
            used = cpu_s(server.process.pid)
            rate, p99, bad = wrk(server.url + path, seconds, token)
            used = (cpu_s(server.process.pid) - used) / seconds
            if bad:
                raise RuntimeError("%s: %d answers were no success" % (path, bad))
            figures.update({name + "_per_s": rate, name + "_p99_ms": p99})
            say("%s beside a campaign: %.0f/s, p99 %.1f ms, the server on %.2f cores" % (name, rate, p99, used))
        figures["messages_per_s"] = single_messages(server, seconds)
        say("single messages by single POSTs of 8 clients: %.0f/s" % figures["messages_per_s"])
    finally:
        server.stop()
        sink.stop()
    say("RESULT " + " ".join("%s=%.3f" % item for item in figures.items()))
    return all(figures[name] >= mark for name, mark in MARKS.items()) and all(figures[name] <= mark for name, mark in CEILINGS.items())
