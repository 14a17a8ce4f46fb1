"""Every example of README, docs/ and the manual pages is run: commands in an empty directory against a real server, a sink and a name server that publishes what
`domain add` told to publish; JSON as a request; configurations through `config check`. What stands inside a sentence is held against the tables.
"""
import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

import dnslib
import sinklib
from conftest import emails
from harness import BUILD, PROGRAM, ROOT, wait_until
from test_preflight import UNSUBSCRIBE
from weblib import Web

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SKIPPED = {
    "./scripts/demo": "tests/e2e/test_scripts.py runs it",
    "./scripts/test": "is what runs this",
    "./scripts/setup && meson setup build && ninja -C build && sudo meson install -C build": "is what this runs on; the installation: test_what_is_installed",
}
# What an example leaves to the reader, and what it prints.
FILES = {"people.csv": "email,name,city\n" + "".join("%s,Ann,Köln\n" % email for email in emails(5, ["one.example", "two.example"])),
         "spring.html": "<p>Hello {{name}}, <a href=\"{{unsubscribe_url}}\">unsubscribe</a></p>", "hello.html": "<p>Hello {{name}}</p>", "footer.html": "<p>Bye</p>"}
PRINTS = {"domain add": r"ph1\._domainkey\.example\.com\. IN TXT \( \"v=DKIM1; k=rsa; p=", "domain check": r"\nexample\.com: ok\n|\nexample\.com: warning\n",
          "import": r"\b5\b", "campaign create": r"campaign \d+", "campaign watch": r"delivered +5 +100\.0%", "webhook add": r"^whsec_\S{40,}\n$", "curl": r"^\{\"id\": ?\d+"}


def blocks(path):
    """(language, text, line) of each fenced block."""
    text = path.read_text()
    return [(found[1], found[2], text[:found.start()].count("\n") + 1) for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)]


def manual(path):
    text = path.read_text()
    examples = re.search(r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", text, re.M | re.S)
    return "\n".join(re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", examples[1], re.M | re.S)).replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")


def examples(language):
    found = [("%s:%d" % (path.name, line), text) for path in PAGES for kind, text, line in blocks(path) if kind == language]
    if language == "sh":
        found.append(("posthaste.1", manual(ROOT / "docs" / "posthaste.1")))
    if language == "conf":
        found.append(("posthaste.conf.5", manual(ROOT / "docs" / "posthaste.conf.5")))
    assert all(text.strip() for _, text in found), found
    return found


def commands(text):
    """The commands of a block: a line each, or several that a backslash or an open quote binds."""
    found, open_one = [], ""
    for line in text.splitlines():
        open_one += line + "\n"
        whole = re.sub(r"(^|\s)#.*", "", open_one)
        if line.endswith("\\") or whole.count("'") % 2:
            continue
        if whole.strip():
            found.append(open_one.strip())
        open_one = ""
    assert not open_one.strip(), open_one
    return found


class Scene:
    """An empty directory with the example's files, and a world around it in which mail for anybody arrives."""

    def __init__(self, place):
        self.folder = place.folder / "empty"
        self.folder.mkdir()
        for name, text in FILES.items():
            (self.folder / name).write_text(text)
        (place.folder / "bin").mkdir()
        os.symlink(PROGRAM, place.folder / "bin" / "posthaste")
        self.certificate = sinklib.certificate("t.example.com", "DNS:localhost")
        self.sink, self.web = place.sink(), Web(self.certificate, lambda path, _: UNSUBSCRIBE)
        self.dns, self.knot, self.server = dnslib.Fake().start(), None, None
        self.env = {**os.environ, "PATH": "%s:%s" % (place.folder / "bin", os.environ["PATH"])}
        (self.folder / "posthaste.conf").write_text("""hostname = "mta1.example.com"
listen = "127.0.0.1:0"
public_url = "https://t.example.com:%d"
dns { server = "%s" }
tls_ca_file = "%s"
allow_private_mx = true
route "*" { host = "127.0.0.1"  port = %d  tls = "none" }
source "ip1" { address = "127.0.0.1" }
pool "default" { sources = { "ip1" } }
""" % (self.web.port, self.dns.server, self.certificate.authority, self.sink.port))

    def publish(self, printed):
        """As a person would: the lines of the zone file, beside what the domain had before."""
        zone = "".join(line.strip() + "\n" for line in printed.splitlines() if " IN " in line) + "example MX 10 mta1.example\nmta1.example A 127.0.0.1\n"
        self.knot = dnslib.Knot({"com": zone, "127.in-addr.arpa": "1.0.0 PTR mta1.example.com."}).start()
        self.dns.answer = dnslib.passing_on(self.knot.port)

    def serve(self, command):
        with open(self.folder / "log", "wb") as log:
            self.server = subprocess.Popen(shlex.split(command.partition("#")[0].rstrip(" &")), cwd=self.folder, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until((self.folder / "posthaste-data" / "serve.json").exists, 20, "the server")

    def run(self, command):
        if re.search(r"&\s*(#.*)?$", command) and command.startswith("posthaste serve"):
            return self.serve(command)
        if "127.0.0.1:8025" in command.partition("#")[0]:
            command = command.replace("http://127.0.0.1:8025", json.loads((self.folder / "posthaste-data" / "serve.json").read_text())["url"])
        keep = "\ndeclare -p TOKEN >vars 2>/dev/null || true"  # what one command sets, the next may use
        done = subprocess.run(["bash", "-euc", "[ ! -s vars ] || . ./vars\n%s%s" % (command, keep)], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done)
        for words, shape in PRINTS.items():
            if re.match(r"(posthaste )?%s\b" % words, command):
                assert re.search(shape, done.stdout), (command, done)
        if command.startswith("posthaste domain add"):
            self.publish(done.stdout)

    def stop(self):
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(30) == 0, (self.folder / "log").read_text()
        for part in (self.knot, self.dns, self.web):
            if part is not None:
                part.stop()


@pytest.fixture
def scene(place):
    made = Scene(place)
    yield made
    made.stop()


def test_every_block_says_what_it_is():
    kinds = {(path.name, line): kind for path in PAGES for kind, _, line in blocks(path)}
    assert len(kinds) > 8 and set(kinds.values()) <= {"sh", "json", "conf", "text"}, kinds
    indented = [(path.name, line) for path in PAGES for line in re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S).split("\n") if re.match(r" {4}(posthaste|curl|\$) ", line)]
    assert not indented, "an example that is not fenced"


def test_commands(scene):
    """In the order of the pages, all in one directory: a reader does not begin anew for each page either."""
    done = []
    for where, text in examples("sh"):
        for command in commands(text):
            if command.partition("  #")[0].strip() in SKIPPED:
                assert all(os.access(ROOT / word, os.X_OK) for word in command.split() if word.startswith("./"))
            elif command.startswith(("posthaste serve", "posthaste domain add")) and re.sub(r"\s*#.*", "", command) in done:
                continue  # the same first steps on another page: it runs already
            else:
                scene.run(command)
            done.append(re.sub(r"\s*#.*", "", command))
    assert sum("posthaste" in command for command in done) >= 8
    campaigns = json.loads(subprocess.run(["posthaste", "campaign", "list", "--json"], cwd=scene.folder, env=scene.env, capture_output=True, text=True, timeout=30).stdout)
    for row in campaigns["data"]:
        if row["kind"] == "campaign":
            scene.run("posthaste campaign watch %d" % row["id"])
    wait_until(lambda: "ann@three.example" in scene.sink.messages(), 20, "the single message")
    assert {len(copies) for to, copies in scene.sink.messages().items() if to != "ann@three.example"} == {3}, campaigns


def test_json(place):
    server = place.server(place.sink(), config="preflight = \"off\"\n", start=True)
    place.people(server, emails(2, ["one.example"]))
    spec = {"name": "example", "lists": ["news"], "from": {"email": "news@sender.test"}, "subject": "s", "text": "t", "track": {"clicks": True}}
    for _ in range(12):  # the one that the example names
        server.create_campaign(launch=False)
    found = examples("json")
    assert len(found) >= 3
    for where, text in found:
        value = json.loads(text)
        tests = {"and", "or", "not", "attribute", "field", "list", "campaign"}
        answer = server.api.post("/v1/campaigns", {**spec, **({"segment": value} if tests & set(value) else value)})
        assert answer.status == 201, (where, answer)


def test_configurations(tmp_path):
    found = examples("conf")
    assert len(found) >= 2
    for where, text in found:
        (tmp_path / "example.conf").write_text(text)
        done = subprocess.run([PROGRAM, "-c", "example.conf", "config", "check"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and "is right" in done.stdout, (where, done)


def test_what_stands_inside_a_sentence(tmp_path):
    """Commands, options and paths that the text names are there."""
    table = json.loads(subprocess.run([PROGRAM, "help", "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=30).stdout)
    rows = {row["command"]: row for row in table["commands"]}
    common = {option["name"] for option in table["options"]}
    paths = json.loads((ROOT / "api" / "openapi.json").read_text())["paths"]
    routes = {re.sub(r"\{.*?\}", "{}", path): set(calls) for path, calls in paths.items()}
    dashboard = (ROOT / "api" / "dashboard" / "dashboard.html").read_text().replace("&lt;", "<").replace("&gt;", ">")
    text = "\n".join(path.read_text() for path in PAGES) + re.sub(r"<(?:pre|code)>(posthaste .*?)</(?:pre|code)>", lambda found: "`%s`" % found[1].replace("\\\n", " "), dashboard, flags=re.S)
    named = re.findall(r"`posthaste ([^`]+)`", text)
    assert len(named) > 15
    for words in named:
        command = next((row for name, row in sorted(rows.items(), reverse=True) if (words + " ").startswith(name + " ")), None)
        assert command, words
        options = {option["name"] for option in command["options"]} | common
        assert set(re.findall(r" --([\w-]+)", words)) <= options, words
    calls = re.findall(r"`(?:(GET|POST|PATCH|PUT|DELETE) )?(/v1/[^`? ]*)", text)
    assert len(calls) > 8
    for method, path in calls:
        known = routes.get(re.sub(r"\{.*?\}", "{}", path))
        assert known is not None and (not method or method.lower() in known), (method, path)


def test_what_is_installed(tmp_path):
    done = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir", str(tmp_path)], capture_output=True, text=True, timeout=60)
    if "no-rebuild" not in done.stdout + done.stderr and done.returncode != 0 and "not found" in done.stdout + done.stderr:
        pytest.skip("this build folder is not whole")
    assert done.returncode == 0, done
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for wanted in ("bin/posthaste", "man/man1/posthaste.1", "man/man5/posthaste.conf.5", "bash-completion/completions/posthaste", "zsh/site-functions/_posthaste", "profiles.conf"):
        assert any(wanted in name for name in names), (wanted, sorted(names))
    program = next(tmp_path.rglob("bin/posthaste"))
    assert subprocess.run([program, "version"], capture_output=True, text=True, cwd=tmp_path, timeout=30).stdout.startswith("posthaste ")
    shutil.rmtree(tmp_path)
