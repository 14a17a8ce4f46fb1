"""Starts posthaste and talks to it: what scripts/bench, share/demo and tests/e2e have in common. Python 3.11, standard library only."""
import http.client
import json
import os
import pathlib
import signal
import ssl
import subprocess
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTHASTE_BUILD", ROOT / "build")).resolve()
PROGRAM = BUILD / "api" / "posthaste"
SINK = BUILD / "tests" / "sink" / "sink"
STATES = ("pending", "sending", "delivered", "deferred", "bounced", "failed", "suppressed", "cancelled", "uncertain")


def wait_until(condition, timeout_s, what, every_s=0.02):
    """Polls until the condition gives something true, and returns that. TimeoutError says what was waited for."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError("after %g s still waiting for %s" % (timeout_s, what))
        time.sleep(every_s)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def fields(self):
        """The fields at fault of a problem+json."""
        return [error["field"] for error in self.json.get("errors", [])]

    def __repr__(self):
        return "<%d %s>" % (self.status, self.body[:500])


class Api:
    """One kept connection to the server; reconnects when it was closed."""

    def __init__(self, url, token=None):
        parts = urllib.parse.urlsplit(url)
        self.address = (parts.hostname, parts.port)
        self.token = token
        self.connection = None
        # Only ever for our own server, whose certificate a test or a demo has just made.
        self.tls = ssl._create_unverified_context() if parts.scheme == "https" else None

    def _once(self, method, path, body, headers):
        if self.connection is None:
            if self.tls is not None:
                self.connection = http.client.HTTPSConnection(*self.address, timeout=30, context=self.tls)
            else:
                self.connection = http.client.HTTPConnection(*self.address, timeout=30)
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if response.will_close:
            self.close()
        return answer

    def call(self, method, path, data=None, body=None, headers=None):
        headers = dict(headers or {})
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = "Bearer " + self.token
        if data is not None:
            body = json.dumps(data).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            return self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, http.client.CannotSendRequest):
            self.close()  # the server closed the kept connection while it was idle
            return self._once(method, path, body, headers)
        except OSError:
            self.close()
            raise

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, data=None, **more):
        return self.call("POST", path, data, **more)

    def pages(self, path, limit=1000):
        """All items of a list, over its cursor."""
        items, cursor = [], None
        while True:
            query = {"limit": limit}
            if cursor:
                query["cursor"] = cursor
            answer = self.get(path + ("&" if "?" in path else "?") + urllib.parse.urlencode(query))
            if answer.status != 200:
                raise RuntimeError("GET %s: %r" % (path, answer))
            page = answer.json
            items += page["data"]
            cursor = page["next"]
            if not cursor:
                return items

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Posthaste:
    """One data directory and configuration, with or without a running server."""

    def __init__(self, folder, config, program=PROGRAM):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.data_dir = self.folder / "data"
        self.config = self.folder / "posthaste.conf"
        self.log = self.folder / "serve.log"
        self.process = None
        self.url = None
        self.api = None
        self.write_config(config)

    def write_config(self, config):
        self.config_text = config
        head = 'hostname = "mta1.test"\ndata_dir = "%s"\nlisten = "127.0.0.1:0"\n' % self.data_dir
        if "preflight" not in config:
            head += 'preflight = "off"\n'  # nobody publishes DNS records for these domains; what is checked is checked by tests/e2e/test_preflight.py
        self.config.write_text(head + config)

    def cli(self, *words, stdin=None, check=True, timeout_s=120, env=None):
        """Runs a command; returns the CompletedProcess with text. With check, a status other than 0 is an error that shows stderr."""
        done = subprocess.run([str(self.program), "-c", str(self.config), *map(str, words)], input=stdin, capture_output=True, text=True,
                              timeout=timeout_s, env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            raise RuntimeError("posthaste %s: exit %d\n%s%s" % (" ".join(map(str, words)), done.returncode, done.stdout, done.stderr))
        return done

    def cli_json(self, *words, **more):
        return json.loads(self.cli(*words, "--json", **more).stdout)

    def spawn(self, env=None, **more):
        """Starts the server's process and waits for nothing."""
        assert self.process is None
        (self.data_dir / "serve.json").unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(self.program), "-c", str(self.config), "serve"], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, **more)
        return self

    def start(self, timeout_s=30, **more):
        """Starts the server and waits until it answers /healthz."""
        place = self.data_dir / "serve.json"
        self.spawn(**more)

        def answers():
            if self.process.poll() is not None:
                raise RuntimeError("serve ended with %d:\n%s" % (self.process.returncode, self.log.read_text(errors="replace")[-4000:]))
            try:
                self.url = json.loads(place.read_text())["url"]
                api = Api(self.url)
                healthy = api.get("/healthz").status == 200
                api.close()
                return healthy
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                return False

        wait_until(answers, timeout_s, "the server to answer /healthz")
        if self.api is not None:
            self.api = Api(self.url, self.api.token)
        return self

    def login(self, scope="admin"):
        """Makes a token with the command line and uses it from now on."""
        token = self.cli_json("token", "create", "--name", "test", "--scope", scope)["token"]
        self.api = Api(self.url, token)
        return self.api

    def signal(self, number, timeout_s=60):
        """Sends a signal, waits for the end, returns the exit status."""
        self.process.send_signal(number)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None
            if self.api is not None:
                self.api.close()
        return status

    def reload(self, config=None, timeout_s=30):
        """Lets the running server read its configuration again, after it was replaced; returns what its log says of that."""
        if config is not None:
            self.write_config(config)
        offset = self.log.stat().st_size
        self.process.send_signal(signal.SIGHUP)

        def said():
            text = self.log.read_bytes()[offset:].decode(errors="replace")
            return text if " reloaded config=" in text or " was not reloaded" in text else None

        return wait_until(said, timeout_s, "the server to reload", 0.005)

    def stop(self):
        return self.signal(signal.SIGTERM) if self.process is not None else 0

    def kill(self):
        return self.signal(signal.SIGKILL)

    # --- what nearly every use needs ---------------------------------------------------------------------------------

    def stats(self, campaign):
        answer = self.api.get("/v1/campaigns/%d/stats" % campaign)
        if answer.status != 200:
            raise RuntimeError("stats: %r" % answer)
        return answer.json

    def deliveries(self, campaign, query=""):
        return self.api.pages("/v1/campaigns/%d/deliveries%s" % (campaign, query))

    def create_campaign(self, **fields):
        """Creates a campaign (launched, unless said otherwise) and returns its id."""
        spec = {"name": "test", "lists": ["news"], "from": {"email": "news@sender.test", "name": "News"}, "subject": "Hello {{name}}",
                "text": "Hello {{name}}\n", "html": "<p>Hello {{name}}</p>", "launch": True, **fields}
        answer = self.api.post("/v1/campaigns", {key: value for key, value in spec.items() if value is not None})
        if answer.status != 201:
            raise RuntimeError("POST /v1/campaigns: %r" % answer)
        return answer.json["id"]
