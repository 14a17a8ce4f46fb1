"""The suppression list as people use it: for a time, for one list, by digest, and out and in again."""
import csv
import hashlib
import io
import json
import sqlite3

from conftest import run_to_end


def add(server, body, status=201):
    answer = server.api.post("/v1/suppressions", body)
    assert answer.status == status, answer
    return answer.json


def test_scopes_and_ends(place):
    sink = place.sink()
    server = place.server(sink)
    for name in ("news", "offers"):
        place.people(server, ["a@one.test", "b@one.test", "c@one.test", "d@one.test"], list_name=name)
    row = add(server, {"email": "a@one.test", "list": "offers", "reason": "complaint", "origin": "phone"})
    assert (row["list"], row["reason"], row["origin"], row["expires_at"]) == ("offers", "complaint", "phone", None)
    assert add(server, {"email": "c@one.test", "expires_at": "1h"})["expires_at"] is not None
    digest = hashlib.sha256(b"d@one.test").hexdigest()
    assert add(server, {"email": digest.upper()})["email"] == "sha256:" + digest
    assert server.api.get("/v1/suppressions/a@one.test?list=offers").json["reason"] == "complaint"
    assert server.api.get("/v1/suppressions/a@one.test?list=news").status == 404
    news, offers = server.create_campaign(lists=["news"]), server.create_campaign(lists=["offers"])
    assert run_to_end(server, news)["suppressed"] == 2  # c for an hour, d by digest
    assert run_to_end(server, offers)["suppressed"] == 3
    assert server.api.call("DELETE", "/v1/suppressions/a@one.test").status == 404
    assert server.api.call("DELETE", "/v1/suppressions/a@one.test?list=offers").status == 204
    assert server.api.call("DELETE", "/v1/suppressions/sha256:" + digest).status == 204
    assert run_to_end(server, server.create_campaign(lists=["offers"]))["suppressed"] == 1
    for body, field in (({"email": "x@y.test", "list": "none"}, "list"), ({"email": "x@y.test", "expires_at": "soon"}, "expires_at"), ({"email": "x@y.test", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
                        ({"email": "sha256:12"}, "email")):
        assert [error["field"] for error in add(server, body, 422)["errors"]] == [field]


def test_out_and_in_again(place, tmp_path):
    server = place.server(start=False)
    server.cli("list", "create", "news")
    server.cli("suppress", "add", "a@one.test", "--reason", "complaint")
    server.cli("suppress", "add", "a@one.test", "b@one.test", "--list", "news", "--expires", "30d")
    server.cli("suppress", "add", hashlib.sha256(b"c@one.test").hexdigest())
    path, payload = tmp_path / "in.csv", '=HYPERLINK("http://x.test")'
    path.write_text('email,list,origin,reason\nd@one.test,news,"%s",unsubscribe\ne@one.test,none,,\nf@one.test,,,\n' % payload.replace('"', '""'))
    done = server.cli("suppress", "import", path, check=False)
    assert "there is no such list" in done.stderr and "added 2" in done.stdout, done
    assert "reasons" not in done.stderr
    # A word of somebody else's for a reason keeps nobody off the list, but is told; a file without one address is a failure.
    done = server.cli("suppress", "import", "-", stdin="email,reason\nh@one.test,Bounced\ni@one.test,\nh@one.test,Bounced\n")
    assert "2 reasons, the first in line 2, are not one of" in done.stderr and "they were" in done.stderr and "added 2" in done.stdout, done
    done = server.cli("suppress", "import", "--json", "-", stdin="h@one.test,Bounced\n")
    assert "the reason in line 1 is not one of" in done.stderr and "it was taken for manual" in done.stderr, done
    assert json.loads(done.stdout) == {"read": 1, "added": 0, "known": 1, "rejected": 0, "reasons_unknown": 1}
    for email in ("h@one.test", "i@one.test"):
        server.cli("suppress", "remove", email)
    assert server.cli("suppress", "import", "-", stdin="no address\n", check=False).returncode == 1
    assert 'no list "nothing"' in server.cli("suppress", "add", "x@one.test", "--list", "nothing", check=False).stderr
    hashed = tmp_path / "hashed.txt"
    hashed.write_text("G@one.test\n")
    assert server.cli_json("suppress", "import", hashed, "--hash")["added"] == 1
    out = server.cli("suppress", "export", "--raw").stdout
    rows = {(row["email"], row["list"]): row for row in csv.DictReader(io.StringIO(out))}
    assert rows[("d@one.test", "news")]["origin"] == payload
    assert ("sha256:" + hashlib.sha256(b"g@one.test").hexdigest(), "") in rows and len(rows) == 7
    safe = server.cli("suppress", "export").stdout
    assert "'=HYPERLINK" in safe and ',"=HYPER' not in safe
    again = place.server(start=False)
    again.cli("list", "create", "news")
    assert again.cli_json("suppress", "import", "-", stdin=out) == {"read": 7, "added": 7, "known": 0, "rejected": 0, "reasons_unknown": 0}
    strip = lambda text: [{k: v for k, v in row.items() if k != "created_at"} for row in csv.DictReader(io.StringIO(text))]
    assert strip(again.cli("suppress", "export", "--raw").stdout) == strip(out)
    # Page by page, an address of several entries at the border.
    again.start()
    again.login()
    seen = []
    cursor = ""
    while True:
        page = again.api.get("/v1/suppressions?limit=1" + cursor).json
        seen += [(row["email"], row["list"]) for row in page["data"]]
        if page["next"] is None:
            break
        cursor = "&cursor=" + page["next"]
    assert len(seen) == page["total"] == 7 and sorted(set(seen), key=str) == sorted(seen, key=str)
    server.cli("suppress", "remove", "b@one.test", "--list", "news")
    assert server.cli("suppress", "remove", "b@one.test", check=False).returncode == 1
    assert json.loads(server.cli("suppress", "list", "--json").stdout)["total"] == 6


def test_a_list_that_is_not_there_leaves_the_rows_around_it_alone(place):
    server = place.server(start=False)
    server.cli("list", "create", "news")
    for missing in ("shop", "99"):
        rows = "email,list\na@one.test,news\nb@one.test,%s\nc@one.test,news\nd@one.test,\n" % missing
        done = server.cli("suppress", "import", "-", stdin=rows, check=False)
        assert done.returncode == 0 and '"b@one.test": there is no such list' in done.stderr, done
        rows = json.loads(server.cli("suppress", "list", "--json").stdout)["data"]
        assert [(row["email"], row["list"]) for row in rows] == [("a@one.test", "news"), ("c@one.test", "news"), ("d@one.test", None)]
        for email, *options in (("a@one.test", "--list", "news"), ("c@one.test", "--list", "news"), ("d@one.test",)):
            server.cli("suppress", "remove", email, *options)


def test_a_list_that_is_deleted_leaves_nothing_to_export(place):
    server = place.server(start=False)
    server.cli("list", "create", "news")
    server.cli("suppress", "add", "a@one.test")
    server.cli("suppress", "add", "a@one.test", "b@one.test", "--list", "news")
    server.cli("list", "delete", "news")
    assert [line.split(",")[0] for line in server.cli("suppress", "export").stdout.splitlines()] == ["email", "a@one.test"]
    assert server.cli_json("suppress", "list")["total"] == 1


def test_what_a_spreadsheet_would_run_comes_back(place):
    """In an export without --raw an apostrophe stands before each such cell; import takes that off, and no other one."""
    server, again = place.server(), place.server()
    kinds = [guard + kind + "x" for kind in "=+-@|%" for guard in ("", "'", "''")] + ["'x", "'", "plain"]
    for kind in kinds:
        for each in (server, again):
            assert each.api.post("/v1/lists", {"name": kind}).status == 201
        email = kind.replace("@", "=") + "@one.test"
        add(server, {"email": email, "origin": kind, "list": kind}, 201)
    for number, kind in enumerate(("\tx", "\rx", "\nx", "'\tx", "a\r\nb", 'a"b', " x ", "x" * 500)):
        add(server, {"email": "line%d@one.test" % number, "origin": kind})
    columns = lambda text: sorted(tuple(v for k, v in row.items() if k != "created_at") for row in csv.DictReader(io.StringIO(text)))
    raw, safe = server.cli("suppress", "export", "--raw").stdout, server.cli("suppress", "export").stdout
    count = len(columns(raw))
    assert all(cell.lstrip("'")[:1] not in tuple("=+-@|%") or cell[0] == "'" for row in columns(safe) for cell in row)
    for text, options in ((safe, []), (raw, ["--raw"])):
        done = again.cli_json("suppress", "import", "-", *options, stdin=text)
        assert done == {"read": count, "added": count, "known": 0, "rejected": 0, "reasons_unknown": 0}
        assert again.cli("suppress", "export", "--raw").stdout.splitlines()[0] == raw.splitlines()[0]
        assert columns(again.cli("suppress", "export", "--raw").stdout) == columns(raw)
        assert columns(again.cli("suppress", "export").stdout) == columns(safe)
        for row in columns(raw):
            again.cli("suppress", "remove", *(["--list", row[-1]] if row[-1] else []), "--", row[0])
    # In a file of others an apostrophe is a part of the address, as ever.
    assert again.cli_json("suppress", "import", "-", stdin="email,reason\n'=x@two.test,manual\n")["added"] == 1
    assert "'=x@two.test," in again.cli("suppress", "export", "--raw").stdout


def test_what_is_refused_today_and_was_stored_before(place):
    """An address with "=?" is found, taken off its list and suppressed, by either way; nothing new with one is taken."""
    server = place.server()
    place.people(server, ["a@one.test", "b@one.test"])
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("UPDATE recipient SET email = 'a=?q@one.test' WHERE email = 'a@one.test'")
    path = "A=%3Fq@One.Test"
    assert server.api.get("/v1/recipients/" + path).json["email"] == "a=?q@one.test"
    assert server.cli_json("recipient", "show", "A=?q@One.Test")["lists"][0]["status"] == "active"
    assert server.api.call("DELETE", "/v1/lists/1/recipients/" + path).status == 204
    assert server.cli_json("recipient", "show", "a=?q@one.test")["lists"] == []
    assert add(server, {"email": "a=?q@one.test"})["email"] == "a=?q@one.test"
    assert server.api.get("/v1/suppressions/" + path).json["reason"] == "manual"
    assert server.api.get("/v1/recipients/" + path).json["suppression"]["reason"] == "manual"
    assert server.api.call("DELETE", "/v1/suppressions/" + path).status == 204
    server.cli("suppress", "add", "a=?q@one.test")
    server.cli("suppress", "remove", "a=?q@one.test")
    assert server.api.get("/v1/messages?to=" + path).json["data"] == []
    for email in ("a=?q@one.test", "c=?q@one.test"):
        assert server.api.post("/v1/lists/1/recipients", {"email": email}).status == 422
    assert server.cli("import", "--list", "news", "-", stdin="email\nc=?q@one.test\n", check=False).returncode == 1
