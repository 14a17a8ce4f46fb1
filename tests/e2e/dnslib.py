"""Name servers for the tests, all on loopback: a real one (Knot DNS) with zones of the test's own, one that passes questions on and counts them,
one that answers whatever a function says; and the program that looks domains up as the engine does."""
import collections
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

KNOTD = shutil.which("knotd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def wait_for(what, condition, seconds=20.0):
    """Returns the first true value of condition(), or fails."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s for %s" % (seconds, what))
        time.sleep(0.01)


def udp_and_tcp(host="127.0.0.1"):
    """A UDP and a listening TCP socket on one free port."""
    for _ in range(50):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind((host, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        tcp.listen(64)
        return udp, tcp
    raise AssertionError("no port is free for UDP and TCP")


class Knot:
    """An authoritative server. `zones` maps "test" to the zone's records (without SOA and NS), or to None: a zone that cannot be
    loaded, about which it answers SERVFAIL. Names in `signed` are signed. Whatever is in no zone it refuses."""

    def __init__(self, zones, signed=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="knot-"))
        self.zones, self.signed, self.process, self.port = zones, set(signed), None, None

    def _write(self):
        conf = ["server:", "    listen: 127.0.0.1@%d" % self.port, "    rundir: %s" % self.folder, "    udp-workers: 1", "    tcp-workers: 2",
                "    background-workers: 1", "database:", "    storage: %s" % self.folder, "log:", "  - target: stderr", "    any: warning",
                "policy:", "  - id: plain", "    algorithm: ecdsap256sha256", "    single-type-signing: on", "zone:"]
        for zone, records in self.zones.items():
            path = self.folder / (zone + ".zone")
            if records is not None:
                path.write_text("$ORIGIN %s.\n$TTL 300\n@ SOA ns.%s. hostmaster.%s. 1 3600 600 86400 60\n@ NS ns.%s.\nns A 127.0.0.1\n%s\n"
                                % (zone, zone, zone, zone, records))
            conf += ["  - domain: %s." % zone, "    file: %s" % path]
            if zone in self.signed:
                conf += ["    dnssec-signing: on", "    dnssec-policy: plain", "    zonefile-sync: -1", "    zonefile-load: difference",
                         "    journal-content: changes"]
        (self.folder / "knot.conf").write_text("\n".join(conf) + "\n")

    def start(self):
        if KNOTD is None:
            raise AssertionError("knotd is not installed: ./scripts/setup --test")
        udp, tcp = udp_and_tcp()
        self.port = udp.getsockname()[1]
        udp.close()
        tcp.close()
        self._write()
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([KNOTD, "-c", str(self.folder / "knot.conf")], stdout=log, stderr=log)
        wait_for("knotd", self._ready)
        return self

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError("knotd ended: " + (self.folder / "log").read_text())
        try:
            for zone, records in self.zones.items():
                want = "DNSKEY" if zone in self.signed else "SOA"
                answer = self.ask(zone, want)
                if records is not None and not answer.answer:
                    return False
            return True
        except (dns.exception.DNSException, OSError):
            return False

    def ask(self, name, kind):
        return dns.query.udp(dns.message.make_query(name + ".", kind), "127.0.0.1", port=self.port, timeout=0.5)

    def anchor(self, zone):
        """A file with the zone's keys."""
        path = self.folder / ("%s.key" % zone)
        path.write_text("\n".join(rrset.to_text() for rrset in self.ask(zone, "DNSKEY").answer) + "\n")
        return str(path)

    @property
    def server(self):
        return "127.0.0.1@%d" % self.port

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Fake:
    """A name server of one function: answer(wire of the question, over TCP?) gives the bytes to send back, a list of several datagrams, or None for
    silence. Counts the questions by name and type. By default it never answers."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda wire, tcp: None)
        self.counts = collections.Counter()
        self.udp, self.tcp = udp_and_tcp()
        self.port = self.udp.getsockname()[1]
        self._end_read, self._end_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def _note(self, wire):
        try:
            question = dns.message.from_wire(wire).question[0]
            self.counts[(question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype))] += 1
        except Exception:  # not a question: nothing to count
            pass

    def _reply(self, wire, tcp):
        self._note(wire)
        reply = self.answer(wire, tcp)
        return reply if isinstance(reply, list) else [] if reply is None else [reply]

    def _serve_tcp(self):
        connection, _ = self.tcp.accept()
        with connection:
            connection.settimeout(2)
            try:
                stream = connection.makefile("rb")
                while True:
                    head = stream.read(2)
                    if len(head) < 2:
                        return
                    for reply in self._reply(stream.read(struct.unpack("!H", head)[0]), True):
                        connection.sendall(struct.pack("!H", len(reply)) + reply)
            except OSError:
                return

    def _run(self):
        while True:
            ready, _, _ = select.select([self.udp, self.tcp, self._end_read], [], [])
            if self._end_read in ready:
                return
            if self.tcp in ready:
                self._serve_tcp()
            if self.udp in ready:
                wire, peer = self.udp.recvfrom(65535)
                for reply in self._reply(wire, False):
                    try:
                        self.udp.sendto(reply, peer)
                    except OSError:
                        pass

    @property
    def server(self):
        return "127.0.0.1@%d" % self.port

    def count(self, name, kind):
        return self.counts[(name, kind)]

    def stop(self):
        os.write(self._end_write, b"x")
        self._thread.join(10)
        for fd in (self._end_read, self._end_write):
            os.close(fd)
        self.udp.close()
        self.tcp.close()


def passing_on(port):
    """An answer function for Fake: what the server on that port of loopback says."""

    def answer(wire, tcp):
        if tcp:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as upstream:
                upstream.sendall(struct.pack("!H", len(wire)) + wire)
                stream = upstream.makefile("rb")
                return stream.read(struct.unpack("!H", stream.read(2))[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(2)
            upstream.sendto(wire, ("127.0.0.1", port))
            try:
                return upstream.recv(65535)
            except OSError:
                return None

    return answer


class Tool:
    """tests/unit/engine/dns_tool, driven line by line. Leaving the `with` block ends it and looks at how it ended."""

    def __init__(self, server, *options):
        path = pathlib.Path(os.environ["POSTHASTE_BUILD"]) / "tests" / "unit" / "engine" / "dns_tool"
        self.errors = tempfile.TemporaryFile()
        self.pending = b""
        self.process = subprocess.Popen([str(path), "--server", server, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.process.kill()
        self.finish()

    def send(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()

    def read(self, seconds=60.0):
        end = time.monotonic() + seconds
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                self.errors.seek(0)
                raise AssertionError("dns_tool said nothing: " + self.errors.read().decode(errors="replace"))
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def ask(self, *domains):
        """The answers, by domain."""
        self.send(*domains)
        answers = {}
        for _ in domains:
            answer = self.read()
            answers[answer["domain"]] = answer
        return answers

    def one(self, domain):
        return self.ask(domain)[domain]

    def counters(self):
        self.send("?")
        return self.read()

    def finish(self):
        """Ends the input, and with it the program, once everything is answered."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except OSError:
                pass
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.errors.seek(0)
            text = self.errors.read().decode(errors="replace")
            self.errors.close()
        killed = status == -signal.SIGKILL
        assert killed or (status == 0 and text == ""), "dns_tool ended with %d: %s" % (status, text)
