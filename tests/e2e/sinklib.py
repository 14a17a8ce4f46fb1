"""Drives tests/sink from Python tests.

    with Sink(script={"rules": [{"command": "RCPT", "share": 0.1, "reply": "451 4.3.0 later"}]}) as sink:
        ... deliver to sink.host, sink.port ...
        assert sink.messages()["someone@example.test"][0]["message_id"] == "<...>"

The build folder is taken from POSTHASTE_BUILD. Nothing outside loopback is listened on. Every wait has an end.
"""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict, namedtuple
from pathlib import Path

WAIT_S = 20
MASK = (1 << 64) - 1


def binary():
    """The sink's program; POSTHASTE_BUILD names the build folder."""
    build = os.environ.get("POSTHASTE_BUILD")
    if not build:
        raise RuntimeError("POSTHASTE_BUILD must name the build folder (the one that holds tests/sink/sink)")
    return str(Path(build) / "tests" / "sink" / "sink")


def share(seed, recipient):
    """The recipient's fate in [0, 1), by the definition in tests/sink/fate.h."""
    address = recipient if isinstance(recipient, bytes) else recipient.encode("utf-8", "surrogateescape")
    # bytes.lower() touches ASCII only, as the definition wants.
    value = 0xCBF29CE484222325
    for byte in b"%d:" % seed + address.lower():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    value ^= value >> 33
    value = (value * 0xFF51AFD7ED558CCD) & MASK
    value ^= value >> 33
    value = (value * 0xC4CEB9FE1A85EC53) & MASK
    value ^= value >> 33
    return (value >> 11) / float(1 << 53)


Certificate = namedtuple("Certificate", "certificate key authority")


def _openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=WAIT_S)


@functools.lru_cache(maxsize=None)
def _authority():
    folder = Path(tempfile.mkdtemp(prefix="sink-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj", "/CN=test authority",
             "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    return folder


@functools.lru_cache(maxsize=None)
def certificate(name="sink.test", names="DNS:localhost,IP:127.0.0.1"):
    """PEM files of a certificate for `name` (and the other subjectAltNames), its key, and the authority that signed it; made once per process,
    gone with it."""
    folder = _authority()
    stem = folder / ("certificate%d" % len(list(folder.glob("*.pem"))))
    extensions = stem.with_suffix(".ext")
    extensions.write_text("subjectAltName=DNS:%s%s\n" % (name, "," + names if names else ""))
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
             "-keyout", stem.with_suffix(".key"), "-out", stem.with_suffix(".csr"))
    _openssl("x509", "-req", "-in", stem.with_suffix(".csr"), "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
             "-days", 2, "-extfile", extensions, "-out", stem.with_suffix(".pem"))
    return Certificate(str(stem.with_suffix(".pem")), str(stem.with_suffix(".key")), str(folder / "ca.pem"))


class Sink:
    """A running sink. All its files lie in self.folder, which goes away with it unless `folder` was given.

    tls: True (a certificate for sink.test, see certificate()) or a Certificate; tls_implicit: listeners with TLS from the first byte on, behind
    those of `listen` in self.addresses; auth: "user:password"; the rest is as on the command line (see sink --help).
    """

    def __init__(self, listen=("127.0.0.1:0",), script=None, delay_ms=0, without=(), size=None, store=False, lax=False,
                 name=None, folder=None, ledger=True, extra=(), tls=None, tls_implicit=(), tls_min=None, tls_max=None, without_in_tls=None,
                 auth=None, auth_mechanisms=None, auth_clear=False):
        self._own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="sink-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger_path = self.folder / "ledger.jsonl"
        self.counts_path = self.folder / "counts.json"
        self.store_path = self.folder / "store"
        self.process = None
        self.addresses = []
        self._lock = threading.Lock()
        command = [binary(), "--counts", str(self.counts_path), "--delay-ms", str(delay_ms)]
        for address in listen:
            command += ["--listen", address]
        if ledger:
            command += ["--ledger", str(self.ledger_path)]
        if script is not None:
            script_path = self.folder / "script.json"
            script_path.write_text(script if isinstance(script, str) else json.dumps(script), encoding="utf-8")
            command += ["--script", str(script_path)]
        if without:
            command += ["--without", ",".join(without)]
        if size is not None:
            command += ["--size", str(size)]
        if store:
            command += ["--store", str(self.store_path)]
        if lax:
            command += ["--lax"]
        if name is not None:
            command += ["--name", name]
        self.certificate = certificate() if tls is True else tls
        if self.certificate:
            command += ["--tls-cert", self.certificate.certificate, "--tls-key", self.certificate.key]
        for address in tls_implicit:
            command += ["--tls-implicit", address]
        for option, value in [("--tls-min", tls_min), ("--tls-max", tls_max), ("--auth", auth)]:
            if value is not None:
                command += [option, value]
        if without_in_tls is not None:
            command += ["--without-in-tls", ",".join(without_in_tls)]
        if auth_mechanisms is not None:
            command += ["--auth-mechanisms", ",".join(auth_mechanisms)]
        if auth_clear:
            command += ["--auth-clear"]
        self.command = command + list(extra)
        self._listeners = len(listen) + len(tls_implicit)

    def start(self):
        self.counts_path.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watchdog = threading.Timer(WAIT_S, self.process.kill)
        watchdog.start()
        try:
            self.addresses = []
            for _ in range(self._listeners):
                line = self.process.stdout.readline()
                if not line.startswith("listening "):
                    self.process.wait(WAIT_S)
                    raise RuntimeError(f"sink did not start: {self.process.stderr.read()}")
                host, port = line.split()[1].rsplit(":", 1)
                self.addresses.append((host.strip("[]"), int(port)))
        finally:
            watchdog.cancel()
        return self

    def stop(self):
        """Ends the sink in order (its ledger is then complete) and returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(WAIT_S)
            raise
        finally:
            self.process.stdout.close()
            self.process.stderr.close()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self._clean()
            raise

    def __exit__(self, *_):
        try:
            if self.process.returncode is None:
                assert self.stop() == 0, "the sink must exit with 0"
        finally:
            self._clean()

    def _clean(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def host(self):
        return self.addresses[0][0]

    @property
    def port(self):
        return self.addresses[0][1]

    def _read_counts(self):
        try:
            return json.loads(self.counts_path.read_text())
        except FileNotFoundError:
            return {"flushes": 0}

    def counts(self):
        """Totals as of now. Flushes the ledger too; a stopped sink has written both already."""
        with self._lock:
            if self.process.poll() is not None:
                return self._read_counts()
            before = self._read_counts()["flushes"]
            self.process.send_signal(signal.SIGUSR1)
            deadline = time.monotonic() + WAIT_S
            while True:
                now = self._read_counts()
                if now["flushes"] > before:
                    return now
                if self.process.poll() is not None:
                    raise RuntimeError("the sink has ended")
                if time.monotonic() > deadline:
                    raise TimeoutError("the sink did not serve SIGUSR1")
                time.sleep(0.002)

    def ledger(self):
        """Every line so far, as dictionaries."""
        self.counts()
        with open(self.ledger_path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def events(self, event, **keys):
        """The lines of one event, and of these, those with the given values."""
        return [line for line in self.ledger()
                if line["event"] == event and all(line.get(key) == value for key, value in keys.items())]

    def messages(self):
        """Recipient -> the list of its accepted messages."""
        by_recipient = defaultdict(list)
        for line in self.ledger():
            if line["event"] == "message":
                by_recipient[line["to"]].append(line)
        return dict(by_recipient)

    def wait_for(self, condition, timeout_s=WAIT_S):
        """Reads the ledger until condition(ledger) is true, and returns it."""
        deadline = time.monotonic() + timeout_s
        while True:
            ledger = self.ledger()
            if condition(ledger):
                return ledger
            if time.monotonic() > deadline:
                raise TimeoutError(f"not met; the last lines: {ledger[-5:]}")
            time.sleep(0.01)

    def content(self, line):
        """The stored bytes of a "message", "reject" or "drop" line (store=True)."""
        return (self.store_path / line["file"]).read_bytes()
