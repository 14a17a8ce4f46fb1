"""A program on a terminal of its own, as a person has it: what it writes is kept, its window can be made smaller, keys can be typed."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])")


def plain(text):
    return ESCAPES.sub("", text)


def cells(text):
    """How many columns of a terminal the text takes, by Python's own table."""
    return sum(0 if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain(text))


class Terminal:
    def __init__(self, *command, columns=100, rows=30, env=None, cwd=None):
        self.master, self.slave = pty.openpty()
        self.size(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "COLUMNS", "LINES")}
        self.process = subprocess.Popen([str(word) for word in command], stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True, cwd=cwd,
                                        env={**environment, "TERM": "xterm", **(env or {})}, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    def _read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        except OSError:
            return False
        return True

    def until(self, what, condition, timeout_s=30):
        """Reads until condition(what was written) is true, and returns that; a text is looked for as it is."""
        wanted = condition if callable(condition) else lambda text: condition in plain(text)
        end = time.monotonic() + timeout_s
        while not (value := wanted(self.text)):
            assert time.monotonic() < end, "still waiting for %s: %r" % (what, self.text[-3000:])
            self._read(0.2)
        return value

    def forget(self):
        self.text = ""

    def settings(self):
        return termios.tcgetattr(self.slave)

    def end(self, timeout_s=30):
        """The exit status, once it has ended by itself."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        status = self.process.poll()
        while self._read(0):
            pass
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)
