"""Listens to /v1/events in a thread."""
import http.client
import json
import threading


class Listener:
    def __init__(self, server, query="", last_id=None, read=True):
        self.events = []   # (type, id or None, data)
        self.comments = 0
        self.ended = threading.Event()
        self.connection = http.client.HTTPConnection(*server.api.address, timeout=120)
        headers = {"Authorization": "Bearer " + server.api.token}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        self.connection.request("GET", "/v1/events" + query, headers=headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.sock = self.connection.sock or self.answer.fp.raw._sock
        if read:
            self.thread = threading.Thread(target=self._read, daemon=True)
            self.thread.start()

    def _read(self):
        kind, number = None, None
        try:
            for line in self.answer:
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.events.append((kind, number, json.loads(line[6:])))
                    number = None
        except (OSError, http.client.HTTPException, AttributeError, ValueError):
            pass
        self.ended.set()

    def kinds(self):
        return [kind for kind, _, _ in list(self.events)]

    def of(self, kind):
        return [data for name, _, data in list(self.events) if name == kind]

    def close(self):
        try:
            self.sock.shutdown(2)
        except OSError:
            pass
        self.connection.close()
