"""A receiver of webhooks that checks signatures and can be down, slow or broken, as its test says."""
import base64
import hashlib
import hmac
import http.server
import json
import threading
import time


def signature(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b"%s.%s.%s" % (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body)
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


class Receiver:
    """Every request is kept in `requests` as (headers, parsed body, answered status); `taken` are the events of those answered 2xx."""

    def __init__(self, port=0):
        self.requests = []
        self.taken = []
        self.wrong = []
        self.secrets = None  # when set, each request must carry exactly their signatures
        self.status = 200    # or a function of the request's number
        self.headers = {}
        self.delay_s = 0
        self.lock = threading.Lock()
        self.server = None
        self.start(port)

    def start(self, port=0):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, extra = receiver.take(self.headers, body)
                time.sleep(receiver.delay_s)
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = "http://127.0.0.1:%d/hook" % self.port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def take(self, headers, body):
        with self.lock:
            status = self.status(len(self.requests)) if callable(self.status) else self.status
            parsed = json.loads(body)
            self.requests.append((headers, parsed, status))
            if self.secrets is not None:
                expected = " ".join(signature(secret, headers, body) for secret in self.secrets)
                if headers["webhook-signature"] != expected or abs(int(headers["webhook-timestamp"]) - time.time()) > 60:
                    self.wrong.append(dict(headers))
            if 200 <= status < 300:
                self.taken += events_of(parsed)
            return status, self.headers

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


def events_of(body):
    return body["data"]["events"] if body["type"] == "events" else [body]


def check_order(events):
    """Ids never fall: a repeated batch may begin again further back, but from there on nothing is left out."""
    seen = set()
    last = 0
    for event in events:
        number = int(event["id"].removeprefix("evt_"))
        assert number in seen or number > last, "event %d came behind %d" % (number, last)
        seen.add(number)
        last = max(last, number)
    return seen
