"""HTTPS servers for the tests, on loopback: one answer to everything, or whatever a function does with the connection."""
import contextlib
import socket
import ssl
import threading


class Web:
    """Answers every request with what `answer(path, headers)` gives: (status, headers, body); or, with `raw`, lets raw(connection, request) write what it likes.
    Keeps the requests (method, path, headers, body) in self.requests."""

    def __init__(self, certificate, answer=None, raw=None, host="127.0.0.1", tls=True):
        self.answer, self.raw, self.requests = answer, raw, []
        self.socket = socket.create_server((host, 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.certificate, certificate.key)
        self.ending = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ending.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(20)
        with contextlib.suppress(OSError), connection:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                head += chunk
            head, _, body = head.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            while len(body) < int(headers.get("content-length", 0)):
                body += connection.recv(65536)
            self.requests.append((method, path, headers, body))
            if self.raw is not None:
                self.raw(connection, self.ending)
                return
            status, more, content = self.answer(path, headers)
            content = content if isinstance(content, bytes) else content.encode()
            reply = "HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n" % (status, len(content))
            reply += "".join("%s: %s\r\n" % pair for pair in more.items()) + "\r\n"
            connection.sendall(reply.encode() + content)
            if self.context is not None:
                connection.unwrap()

    def stop(self):
        self.ending.set()
        self.socket.close()
