"""Real mail servers as receivers: Postfix, Exim, OpenSMTPD, aiosmtpd. Each on 127.0.0.x, with STARTTLS, taking every recipient.

    with Exim() as peer:
        ... deliver to peer.host, peer.port ...
        peer.wait_for(50)
        for message in peer.messages():
            message.recipients, message.message_id, message.content

The peer's own idea of what it has taken is read back from where it delivered to, not from its replies. The MTAs need root (they drop it); check
missing() first. Nothing outside the peer's own folder is changed; the folder goes with it.
"""
import email
import email.policy
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

import sinklib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "tests" / "peers"
START_S = 30

# recipients: of the envelope; content: what was sent, with CRLF line ends, below the trace header fields of the peer
Message = namedtuple("Message", "recipients message_id content")


def trees():
    """The folder with the unpacked servers; fetched when it is not there yet."""
    build = os.environ.get("POSTHASTE_BUILD")
    if not build:
        raise RuntimeError("POSTHASTE_BUILD must name the build folder")
    folder = pathlib.Path(build) / "peers"
    done = subprocess.run([str(ROOT / "scripts" / "fetch-peers"), str(folder)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return folder


# Runs the server until it ends or our end of the pipe is closed: a test run that is killed leaves no server behind. (PR_SET_PDEATHSIG would be
# forgotten when the server changes its user.)
GUARD = 'exec 3<&0; "$@" </dev/null 3<&- & child=$!; (cat >/dev/null; kill -TERM "$child") <&3 & wait "$child"'


def _runs(pid):
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Peer:
    """One server. Subclasses say how it is set up, run and read."""

    name = ""
    host = "127.0.0.1"
    trace = ()  # names of header fields that the peer puts on top
    needs_root = True
    tls_works = True
    log_name = "output"

    def __init__(self):
        self.folder = None
        self.port = None
        self.process = None
        self._known = {}  # file -> Message: a message that is there does not change

    @classmethod
    def missing(cls):
        """Why it cannot run here; None when it can."""
        return "needs root" if cls.needs_root and os.geteuid() != 0 else None

    # --- what a subclass brings ---

    def prepare(self):
        """Fills the folder; returns the command that runs in the foreground."""
        raise NotImplementedError

    def files(self):
        """The files that hold one message each."""
        raise NotImplementedError

    def recipients(self, path, message):
        raise NotImplementedError

    # --- life ---

    def start(self):
        # Not in pytest's folder: that is closed to the users that the servers become.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="peer-"))
        self.folder.chmod(0o755)
        try:
            self.port = free_port(self.host)
            self.certificate = sinklib.certificate(self.name + ".test")
            command = self.prepare()
            with open(self.folder / "output", "wb") as output:
                self.process = subprocess.Popen(["bash", "-c", GUARD, "guard", *command], stdin=subprocess.PIPE, stdout=output, stderr=output,
                                                start_new_session=True)
            self._wait_until_it_greets()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_it_greets(self):
        deadline = time.monotonic() + START_S
        while True:
            try:
                with socket.create_connection((self.host, self.port), timeout=START_S) as probe:
                    if probe.recv(1000).startswith(b"220"):
                        probe.sendall(b"QUIT\r\n")
                        probe.recv(1000)
                        return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s did not start:\n%s" % (self.name, self.log()))
            time.sleep(0.02)

    def _end_process(self):
        """Ends the server by its guard, and then what is left of the process group."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def stop(self):
        if self.process is not None:
            self._end_process()
            self.process = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # --- what it says ---

    def log(self):
        text = ""
        for name in {"output", self.log_name}:
            path = self.folder / name
            if path.exists():
                text += path.read_text(errors="replace")[-6000:]
        return text

    def messages(self):
        for path in self.files():
            if path not in self._known:
                self._known[path] = self._read(path)
        return list(self._known.values())

    def wait_for(self, count, timeout_s=120):
        """Waits until `count` messages are delivered (the servers take first and deliver then), and returns them."""
        deadline = time.monotonic() + timeout_s
        while len(self.files()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError("%s has delivered %d of %d\n%s" % (self.name, len(self.files()), count, self.log()))
            time.sleep(0.05)
        return self.messages()

    def _read(self, path):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        message = email.message_from_bytes(content, policy=email.policy.compat32)
        lines = content.split(b"\n")
        at = 0
        while at < len(lines) and lines[at].split(b":")[0].lower().decode("latin-1") in self.trace:
            at += 1
            while lines[at][:1] in (b" ", b"\t"):
                at += 1
        return Message(self.recipients(path, message), message["Message-ID"], b"\r\n".join(lines[at:]))

    def fill(self, template, target, **more):
        text = (CONFIGURATION / template).read_text()
        values = {"ADDRESS": self.host, "PORT": self.port, "FOLDER": self.folder, **more}
        for key, value in values.items():
            text = text.replace("@%s@" % key, str(value))
        target.write_text(text)
        target.chmod(0o644)


class Postfix(Peer):
    name = "postfix"
    host = "127.0.0.21"
    trace = ("return-path", "x-original-to", "delivered-to", "received")
    log_name = "log"

    def __init__(self, chunking=True):
        super().__init__()
        self.chunking = chunking

    @classmethod
    def missing(cls):
        return super().missing() or (None if shutil.which("postfix", path="/usr/sbin") else "postfix is not installed")

    def prepare(self):
        etc = self.folder / "etc"
        # queue/pid: where it looks for a running one before it makes what is missing.
        for name in ("etc", "queue", "queue/pid", "data", "mail"):
            (self.folder / name).mkdir()
        owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.folder / "mail", nobody.pw_uid, nobody.pw_gid)
        for source, target in ((self.certificate.certificate, etc / "mx.pem"), (self.certificate.key, etc / "mx.key")):
            shutil.copyfile(source, target)
        (etc / "mx.key").chmod(0o600)
        self.fill("postfix-main.cf", etc / "main.cf", CERTIFICATE=etc / "mx.pem", KEY=etc / "mx.key", UID=nobody.pw_uid, GID=nobody.pw_gid,
                  DISCARD="" if self.chunking else "chunking")
        self.fill("postfix-master.cf", etc / "master.cf")
        # What `postfix start-fg` does, without the shell that would stand between us and the master.
        done = subprocess.run(["/usr/sbin/postfix", "-c", str(etc), "check"], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError("postfix check: %s%s" % (done.stdout, done.stderr))
        return ["/usr/lib/postfix/sbin/master", "-c", str(etc), "-s"]

    def _end_process(self):
        # The master may be a child of the process that we started; its own file names it.
        named = self.folder / "queue" / "pid" / "master.pid"
        master = int(named.read_text()) if named.exists() else None
        super()._end_process()
        deadline = time.monotonic() + 10
        while master and _runs(master):
            if time.monotonic() > deadline:
                os.kill(master, signal.SIGKILL)
                break
            time.sleep(0.01)

    def files(self):
        box = self.folder / "mail" / "all" / "new"
        return list(box.iterdir()) if box.is_dir() else []

    def recipients(self, path, message):
        return message.get_all("X-Original-To", [])


class Chrooted(Peer):
    """A server out of an unpacked package, in a copy of its tree."""

    users = ()
    key_owner = 0

    def prepare(self):
        tree = self.folder / "root"
        shutil.copytree(trees() / self.name, tree, symlinks=True)
        tree.chmod(0o755)
        (tree / "etc").mkdir(exist_ok=True)
        (tree / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n" + "".join(
            "%s:x:%d:%d::%s:/bin/sh\n" % (user, number, number, home) for user, number, home in self.users))
        (tree / "etc" / "group").write_text("root:x:0:\n" + "".join("%s:x:%d:\n" % (user, number) for user, number, _ in self.users))
        (tree / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
        (tree / "etc" / "services").write_text("smtp 25/tcp\nsubmissions 465/tcp\nsubmission 587/tcp\n")
        for device, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            try:
                os.mknod(tree / "dev" / device, 0o666 | 0o020000, os.makedev(1, minor))
                (tree / "dev" / device).chmod(0o666)
            except PermissionError:  # a container without devices; the libraries ask the kernel for random bytes
                pass
        shutil.copyfile(self.certificate.certificate, tree / "etc" / "mx.pem")
        shutil.copyfile(self.certificate.key, tree / "etc" / "mx.key")
        # Exim reads the key as the user that it has become.
        os.chown(tree / "etc" / "mx.key", self.key_owner, -1)
        (tree / "etc" / "mx.key").chmod(0o600)
        for _, _, home in self.users:
            (tree / home.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return ["/usr/sbin/chroot", str(tree), *self.set_up(tree)]

    def set_up(self, tree):
        raise NotImplementedError

    def own(self, path, user, mode):
        path.mkdir(parents=True, exist_ok=True)
        number = next(number for name, number, _ in self.users if name == user)
        os.chown(path, number, number)
        path.chmod(mode)


class Exim(Chrooted):
    name = "exim"
    host = "127.0.0.22"
    trace = ("return-path", "envelope-to", "received")
    users = (("Debian-exim", 64801, "/var/spool/exim4"),)
    key_owner = 64801
    log_name = "root/var/log/exim4/mainlog"

    def __init__(self, chunking=True):
        super().__init__()
        self.chunking = chunking

    def set_up(self, tree):
        for folder, mode in (("var/spool/exim4", 0o750), ("var/log/exim4", 0o750), ("var/mail", 0o755)):
            self.own(tree / folder, "Debian-exim", mode)
        self.fill("exim.conf", tree / "etc" / "exim4" / "exim4.conf", CHUNKING="*" if self.chunking else "")
        return ["/usr/sbin/exim4", "-bdf", "-q10s"]

    def files(self):
        box = self.folder / "root" / "var" / "mail" / "box" / "new"
        return list(box.iterdir()) if box.is_dir() else []

    def recipients(self, path, message):
        return [address.strip() for address in message["Envelope-to"].split(",")]


class OpenSMTPD(Chrooted):
    # It offers STARTTLS and fails in the handshake: the distribution's 6.8.0p2 cannot use its keys with OpenSSL 3 (OpenSMTPD issues 1171 and 1239).
    # That is a case that a sender meets in the wild.
    tls_works = False
    name = "opensmtpd"
    host = "127.0.0.23"
    trace = ("return-path", "delivered-to", "received")
    users = (("opensmtpd", 64811, "/var/lib/opensmtpd/empty"), ("opensmtpq", 64812, "/var/lib/opensmtpd/empty"), ("judge", 64813, "/home/judge"))

    def set_up(self, tree):
        (tree / "var" / "lib" / "opensmtpd" / "empty").chmod(0o755)
        for folder in ("var/run", "var/spool", "var/mail"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        self.own(tree / "home" / "judge", "judge", 0o755)
        self.fill("smtpd.conf", tree / "etc" / "smtpd.conf")
        return ["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]

    def files(self):
        box = self.folder / "root" / "home" / "judge" / "Maildir" / "new"
        return list(box.iterdir()) if box.is_dir() else []

    def recipients(self, path, message):
        return message.get_all("Delivered-To", [])


class Aiosmtpd(Peer):
    name = "aiosmtpd"
    host = "127.0.0.24"
    needs_root = False

    def prepare(self):
        (self.folder / "mail").mkdir()
        return [sys.executable, str(CONFIGURATION / "aiosmtpd_peer.py"), self.host, str(self.port), str(self.folder / "mail"),
                self.certificate.certificate, self.certificate.key]

    def files(self):
        return [path.with_suffix(".eml") for path in (self.folder / "mail").glob("*.json")]

    def recipients(self, path, message):
        return json.loads(path.with_suffix(".json").read_text())["to"]
