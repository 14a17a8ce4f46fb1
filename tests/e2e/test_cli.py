"""The command line: exit codes, sentences, and the commands that work with and without a running server."""
import csv
import io
import json
import os
import sqlite3
import stat
import subprocess

import pytest

from conftest import emails, run_to_end


def test_help_and_version(place):
    server = place.server(start=False, domain=None)
    assert "0.1.0" in server.cli("version").stdout
    overview = server.cli("help").stdout
    for command in ("serve", "import", "list", "campaign", "domain", "suppress", "token", "status", "top", "site", "config"):
        assert command in overview, command
        done = server.cli(command, "--help")
        assert command in done.stdout, command
    assert not server.data_dir.exists(), "help makes nothing"


@pytest.mark.parametrize("words, says", [
    (("imprt",), "import"), (("campain", "launch", "1"), "campaign"), (("campaign", "lanch", "1"), "launch"), (("token", "creat"), "create"),
    (("suppress",), "add"), ((), "usage"), (("--nonsense",), "nonsense"), (("campaign", "launch"), ""), (("campaign", "launch", "x"), "x"),
    (("recipient", "show"), ""), (("campaign", "list", "--limit", "0"), "1 to 1000"), (("site", "suspend", "x.test", "--scope", "foo"), "--scope"),
    (("site", "resume", "x.test", "--scope", "foo"), "--scope"), (("webhook", "add", "https://x.test/", "--batch", "x"), "1 to 1000"),
    (("top", "--once", "--lines", "x"), "--lines"), (("top", "--lines", "0"), "--lines"), (("campaign", "winner", "1", "x"), "variant"),
    (("campaign", "test", "1", "--to", "a@one.test", "--variant", "x"), "variant"), (("token", "create", "--name", ""), "name"),
    (("suppress", "add", "a@one.test", "--expires", "soon"), "--expires"),
])
def test_wrong_use_is_2_with_a_hint(place, words, says):
    done = place.server(start=False, domain=None).cli(*words, check=False)
    assert done.returncode == 2, done
    assert says.lower() in done.stderr.lower(), done.stderr


def test_a_reader_that_has_enough(place):
    """`… | head` is no fault to tell of; a full disk is."""
    server = place.server(start=False, domain=None)
    server.config.write_text(server.config.read_text() + "".join('profile "p%d" { rate = "1/s" }\n' % n for n in range(2000)))
    server.cli("list")
    for words in (("config", "show"), ("config", "show", "--json"), ("suppress", "export")):
        command = [str(server.program), "-c", str(server.config), *words]
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        assert done.returncode == 1 and done.stderr == "", (words, done)
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "cannot write to standard output" in done.stderr, (words, done)


def test_a_server_that_does_not_run_is_said_so(place):
    server = place.server(start=False)
    for words in (("status",), ("campaign", "show", "1"), ("campaign", "launch", "1"), ("site", "show")):
        done = server.cli(*words, check=False)
        assert done.returncode == 1, (words, done)
        assert len(done.stderr.strip().splitlines()) <= 2 and done.stderr.strip(), done.stderr


@pytest.mark.parametrize("running", [False, True], ids=["alone", "beside a server"])
def test_tokens(place, running):
    server = place.server(start=running, domain=None)
    made = server.cli_json("token", "create", "--name", "shop", "--scope", "read")
    assert made["token"].startswith("ph_")
    listed = server.cli("token", "list").stdout
    assert "shop" in listed and made["token"] not in listed
    assert server.cli("token", "create", "--scope", "everything", "--name", "x", check=False).returncode in (1, 2)
    assert server.cli("token", "revoke", "99", check=False).returncode == 1


@pytest.mark.parametrize("running", [False, True], ids=["alone", "beside a server"])
def test_domains(place, running):
    server = place.server(start=running, domain=None)
    made = server.cli_json("domain", "add", "Bücher.example")
    assert made["domain"] == "xn--bcher-kva.example"
    record = made["dns"][0]
    assert record["type"] == "TXT" and record["name"].endswith("._domainkey.xn--bcher-kva.example")
    assert record["value"].startswith("v=DKIM1;") and "p=MII" in record["value"]
    assert server.cli_json("domain", "show", "bücher.example")["dns"] == made["dns"]
    assert server.cli("domain", "add", "bücher.example", check=False).returncode == 1
    for wrong in ("nodot", "two words.test", "-x.test", "a..b", ""):
        done = server.cli("domain", "add", wrong, check=False)
        assert done.returncode in (1, 2) and done.stderr.strip(), wrong
    keys = list((server.data_dir / "dkim").iterdir())
    assert len(keys) == 2 and "k=ed25519" in made["dns"][1]["value"]
    for key in keys:
        assert stat.S_IMODE(os.stat(key).st_mode) == 0o600 and b"PRIVATE KEY" in key.read_bytes()


def test_files_are_private(place):
    server = place.server(place.sink())
    assert stat.S_IMODE(os.stat(server.data_dir).st_mode) == 0o700
    for path in server.data_dir.rglob("*"):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        assert mode & 0o077 == 0, (path, oct(mode))


@pytest.mark.parametrize("running", [False, True], ids=["alone", "beside a server"])
def test_suppressions(place, running):
    server = place.server(start=running, domain=None)
    assert server.cli("suppress", "add", "Ann@One.Test").returncode == 0
    assert "ann@one.test" in server.cli("suppress", "list").stdout
    assert server.cli("suppress", "add", "not an address", check=False).returncode == 1
    path = place.folder / "s.csv"
    path.write_text("email,reason\nb@one.test,complaint\nwrong\nc@one.test,manual\n")
    server.cli("suppress", "import", path, check=False)
    rows = list(csv.DictReader(io.StringIO(server.cli("suppress", "export").stdout)))
    assert {row["email"] for row in rows} >= {"ann@one.test", "b@one.test", "c@one.test"}
    assert server.cli("suppress", "remove", "ann@one.test").returncode == 0
    assert server.cli("suppress", "remove", "ann@one.test", check=False).returncode == 1
    assert "ann@one.test" not in server.cli("suppress", "list").stdout


def test_exports_neutralise_formulas(place):
    server = place.server(domain=None)
    assert server.api.post("/v1/suppressions", {"email": "=cmd@one.test", "origin": "@SUM(A1)"}).status in (200, 201)
    rows = list(csv.reader(io.StringIO(server.cli("suppress", "export").stdout)))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t" and cell], cells
    assert "=cmd@one.test" in server.cli("suppress", "export", "--raw").stdout


def test_a_suppression_from_the_command_line_holds_for_a_running_campaign(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "20/s"')
    audience = emails(100, ["one.test"])
    place.people(server, audience)
    campaign = server.create_campaign(launch=False)
    server.cli("suppress", "add", audience[50])
    assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 202
    stats = run_to_end(server, campaign)
    assert (stats["delivered"], stats["suppressed"]) == (99, 1)
    assert audience[50] not in sink.messages()


@pytest.mark.sanitize
def test_a_campaign_by_command_line(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(20, ["one.test"]))
    html = place.folder / "spring.html"
    html.write_text("<p>Hello {{name}}</p>")
    made = server.cli_json("campaign", "create", "--name", "Spring", "--list", "news", "--from", "News <news@sender.test>", "--subject",
                           "Hello {{name}}", "--html", html)
    number = made["id"]
    assert "Spring" in server.cli("campaign", "show", number).stdout
    assert "Hello Ann" in server.cli("campaign", "preview", number).stdout
    server.cli("campaign", "launch", number)
    run_to_end(server, number)
    assert "20" in server.cli("campaign", "stats", number).stdout
    assert server.cli("campaign", "launch", number, check=False).returncode == 1
    assert len(sink.messages()) == 20
    status = server.cli("status")
    assert status.returncode == 0 and status.stdout.strip()
    json.loads(server.cli("status", "--json").stdout)


def test_bad_campaigns_by_command_line_name_the_field(place):
    server = place.server(place.sink())
    place.people(server, emails(2, ["one.test"]))
    base = ["campaign", "create", "--name", "x", "--subject", "s", "--from", "news@sender.test"]
    text = place.folder / "t.txt"
    text.write_text("Hello {{name")
    for words, says in ((base + ["--list", "nobody", "--text", text], "nobody"), (base + ["--list", "news", "--text", text], "line 1"),
                        (base + ["--list", "news", "--text", place.folder / "none.txt"], "none.txt")):
        done = server.cli(*words, check=False)
        assert done.returncode == 1 and says in done.stderr, done
    assert server.api.get("/v1/campaigns").json["total"] == 0


def test_lists_by_command_line(place):
    server = place.server(start=False, domain=None)
    server.cli("list", "create", "news")
    assert server.cli("list", "create", "news", check=False).returncode == 1
    assert "news" in server.cli("list").stdout
    assert server.cli_json("list")
    done = server.cli("list", "show", "nobody", check=False)
    assert done.returncode == 1 and "nobody" in done.stderr


def test_what_a_list_may_be_called(place, tmp_path):
    """A number alone would hide the list of that number. One that is called so since before is found, filled and named anew."""
    server = place.server()
    path = tmp_path / "p.csv"
    path.write_text("email\na@one.test\n")
    for name, says in (("1", "may not be a number alone"), ("  ", "may not be blank"), ("x" * 201, "is longer than 200 bytes"), ("a\tb", "control characters")):
        for words in (("list", "create", name), ("import", "--list", name, path)):
            done = server.cli(*words, check=False)
            assert done.returncode == 1 and says in done.stderr or (words[0], name, done.returncode) == ("import", "  ", 2), done
        answer = server.api.post("/v1/lists", {"name": name})
        assert answer.status == 422 and answer.fields() == ["name"], answer
    assert server.cli_json("list") == []
    server.cli("list", "create", "x" * 200)
    server.cli("list", "create", "Ünï 2")
    assert server.api.call("PATCH", "/v1/lists/1", {"name": "2"}).status == 422
    server.stop()
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("UPDATE list SET name = '2' WHERE id = 1")
    assert server.cli_json("list", "show", "2")["id"] == 1
    assert server.cli_json("import", "--list", "2", path)["list_id"] == 1
    server.start()
    assert server.api.call("PATCH", "/v1/lists/1", {"name": "2", "description": "d"}).json["description"] == "d"


def test_a_wrong_token_in_the_environment(place):
    server = place.server(place.sink())
    done = server.cli("status", check=False, env={"POSTHASTE_TOKEN": "ph_" + "0" * 48, "POSTHASTE_URL": server.url})
    assert done.returncode == 1 and "token" in done.stderr
