"""A raw SMTP client for tests of the sink, and what those tests share: it says what it is told and no more."""

import socket
import ssl

from sinklib import WAIT_S

HELLO = b"EHLO client.test\r\n"
CONTENT = b"From: a@b.test\r\nMessage-ID: <1@b.test>\r\n\r\nHello\r\n"


class Client:
    """A client that does what it is told and no more."""

    def __init__(self, sink, address=None, greet=True, tls=None):
        """`tls`: an SSLContext, for a listener that speaks TLS from the first byte on."""
        self.socket = socket.create_connection(address or sink.addresses[0], timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if tls is not None:
            self.wrap(tls)
        if greet:
            assert self.reply().startswith("220 ")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wrap(self, context=None, name="sink.test", session=None):
        """From here on TLS."""
        assert self.buffer == b"", self.buffer
        self.socket = (context or trusting()).wrap_socket(self.socket, server_hostname=name, session=session)

    def starttls(self, context=None, **more):
        assert self.hello().startswith("250")
        assert self.ask(b"STARTTLS\r\n").startswith("220 ")
        self.wrap(context, **more)

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.buffer)
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return (line + b"\n").decode("latin-1")

    def reply(self):
        """One reply, of as many lines as it has, without the last CRLF."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        assert all(line.endswith("\r\n") for line in lines)
        return "".join(lines)[:-2]

    def ask(self, data):
        self.send(data)
        return self.reply()

    def codes(self, count):
        return [self.reply()[:3] for _ in range(count)]

    def rest(self):
        """Everything up to the end of the connection."""
        data = self.buffer
        while True:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return data + b"<reset>"
            if not more:
                return data
            data += more

    def silent_for(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.buffer + self.socket.recv(65536)
        except socket.timeout:
            return b""
        finally:
            self.socket.settimeout(WAIT_S)

    def hello(self):
        return self.ask(HELLO)

    def envelope(self, to="x@example.test", sender="a@b.test"):
        self.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{to}>\r\n".encode())
        return self.codes(2)

    def mail(self, to="x@example.test", content=CONTENT):
        """One whole message; its final reply."""
        assert self.envelope(to) == ["250", "250"]
        assert self.ask(b"DATA\r\n").startswith("354 ")
        return self.ask(content + b".\r\n")


def trusting(lowest=None, highest=None):
    """An SSLContext that takes any certificate, and old versions if they are asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if lowest or highest:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = lowest or highest
        context.maximum_version = highest or lowest
    return context


def only(lines):
    assert len(lines) == 1, lines
    return lines[0]


def rules(*rules, seed=1):
    return {"seed": seed, "rules": list(rules)}


def streamed(count, content=CONTENT, to="r%d@example.test"):
    """MAIL, RCPT, BDAT LAST again and again, as one group."""
    return b"".join(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<" + (to % i).encode() +
                    b">\r\nBDAT %d LAST\r\n" % len(content) + content for i in range(count))


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
