"""posthaste import: what a person sees, what is stored, and what is left alone."""
import csv
import json
import os
import re
import subprocess
import threading
import time

import pytest

from conftest import emails, run_to_end
from harness import wait_until

LINE = re.compile(r"read (\d+), new (\d+), updated (\d+), unchanged (\d+), rejected (\d+)")


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def numbers(done):
    """The five numbers of the closing line."""
    lines = [LINE.search(line.replace(",", ", ").replace(",  ", ", ")) for line in (done.stdout + done.stderr).splitlines()]
    found = [line for line in lines if line]
    assert len(found) == 1, (done.stdout, done.stderr)
    return tuple(int(number) for number in found[0].groups())


def members(server, list_name="news"):
    """email -> attributes, through the API."""
    lists = {row["name"]: row["id"] for row in server.api.pages("/v1/lists")}
    return {row["email"]: row["attributes"] for row in server.api.pages("/v1/lists/%d/recipients" % lists[list_name])}


@pytest.mark.sanitize
def test_rows_become_recipients(place, tmp_path):
    server = place.server()
    path = write(tmp_path / "people.csv", b"\xef\xbb\xbfName;EMAIL;Stadt\r\nAnn;Ann@One.Test;K\xc3\xb6ln\r\n\"O;Neil\"\"s\";o@b\xc3\xbccher.test;\r\n"
                                          b"Bob;no address;X\r\n\r\nJ\xc3\xb6;j\xc3\xb6@two.test;\"a\r\nb\"\r\n")
    rejects = tmp_path / "rejects.csv"
    done = server.cli("import", "--list", "news", "--reject-file", rejects, path)
    assert numbers(done) == (4, 3, 0, 0, 1)
    assert members(server) == {"ann@one.test": {"Name": "Ann", "Stadt": "Köln"}, "o@xn--bcher-kva.test": {"Name": "O;Neil\"s", "Stadt": ""},
                               "jö@two.test": {"Name": "Jö", "Stadt": "a\r\nb"}}
    rejected = list(csv.reader(rejects.read_text().splitlines()))
    assert len(rejected) in (1, 2), rejected  # with or without a header
    assert rejected[-1][0] == "4" and len(rejected[-1][1]) > 5, rejected
    assert "no address" in " ".join(rejected[-1])


def test_update_and_skip(place, tmp_path):
    server = place.server()
    first = write(tmp_path / "1.csv", "email,name,city\na@one.test,Ann,Cork\nb@one.test,Bob,Graz\n")
    second = write(tmp_path / "2.csv", "email,city\na@one.test,Porto\nb@one.test,Graz\nc@one.test,Brno\n")
    assert numbers(server.cli("import", "--list", "news", first)) == (2, 2, 0, 0, 0)
    assert numbers(server.cli("import", "--list", "news", first)) == (2, 0, 0, 2, 0)
    assert numbers(server.cli("import", "--list", "news", "--skip", second)) == (3, 1, 0, 2, 0)
    assert members(server)["a@one.test"] == {"name": "Ann", "city": "Cork"}
    assert numbers(server.cli("import", "--list", "news", "--update", second)) == (3, 0, 1, 2, 0)
    assert members(server)["a@one.test"] == {"name": "Ann", "city": "Porto"}
    # Joining another list is a change, even when the attributes stay.
    assert numbers(server.cli("import", "--list", "other", first))[:2] == (2, 0)
    assert set(members(server, "other")) == {"a@one.test", "b@one.test"}


def test_duplicates_in_one_file_are_merged(place, tmp_path):
    server = place.server()
    path = write(tmp_path / "p.csv", "email,name,city\na@one.test,Ann,\nA@One.test,Anna,Cork\nb@one.test,Bob,\na@one.test,Anne,Graz\n")
    read, new, updated, unchanged, rejected = numbers(server.cli("import", "--list", "news", path))
    assert (read, new, rejected) == (4, 2, 0) and new + updated + unchanged == 4
    assert members(server) == {"a@one.test": {"name": "Anne", "city": "Graz"}, "b@one.test": {"name": "Bob", "city": ""}}


def test_jsonl_and_stdin(place):
    server = place.server()
    lines = [{"email": "a@one.test", "name": "Ann", "tags": ["x", 1, None]}, {"email": "b@one.test", "attributes": {"age": 7}}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "not json\n"
    path = write(place.folder / "people.jsonl", text)
    assert numbers(server.cli("import", "--list", "news", path)) == (3, 2, 0, 0, 1)
    assert members(server) == {"a@one.test": {"name": "Ann", "tags": ["x", 1, None]}, "b@one.test": {"age": 7}}
    assert numbers(server.cli("import", "--list", "news", "-", stdin="email\nc@one.test\n")) == (1, 1, 0, 0, 0)


def test_json_output(place, tmp_path):
    server = place.server()
    path = write(tmp_path / "p.csv", "email\na@one.test\nwrong\n")
    counts = server.cli_json("import", "--list", "news", path)
    assert {key: counts[key] for key in ("read", "new", "updated", "unchanged", "rejected")} == {
        "read": 2, "new": 1, "updated": 0, "unchanged": 0, "rejected": 1}


@pytest.mark.parametrize("name, data, says", [
    ("no email column", "name,mail\nx,a@one.test\n", "email"),
    ("no header", "a@one.test,Ann\n", "email"),
    ("empty", "", "empty"),
    ("UTF-16", b"\xff\xfee\0m\0a\0i\0l\0", "UTF-16"),
    ("the same column twice", "email,a,a\nx@one.test,1,2\n", "twice"),
])
def test_a_file_that_is_refused_changes_nothing(place, tmp_path, name, data, says):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "people.csv", data)
    done = server.cli("import", "--list", "fresh", path, check=False)
    assert done.returncode == 1, done
    assert says in done.stderr and "people.csv" in done.stderr, done.stderr
    assert "fresh" not in server.cli("list").stdout, "no list was made"


def test_files_that_cannot_be_read(place, tmp_path):
    server = place.server(start=False, domain=None)
    for path in (tmp_path / "none.csv", tmp_path):
        done = server.cli("import", "--list", "fresh", path, check=False)
        assert done.returncode == 1
        assert str(path) in done.stderr, done.stderr
    assert "fresh" not in server.cli("list").stdout


def test_a_reject_file_that_cannot_be_written(place, tmp_path):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "p.csv", "email\na@one.test\n")
    done = server.cli("import", "--list", "fresh", "--reject-file", tmp_path / "none" / "r.csv", path, check=False)
    assert done.returncode == 1 and "r.csv" in done.stderr
    assert "fresh" not in server.cli("list").stdout


def test_the_input_is_no_reject_file(place, tmp_path):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "p.csv", "email\na@one.test\nbad\n")
    (tmp_path / "other.csv").symlink_to(path)
    for rejects in (path, tmp_path / "other.csv"):
        with open(path) as stdin:
            for words in ((path, {}), ("-", {"stdin": stdin})):
                done = subprocess.run([str(server.program), "-c", str(server.config), "import", "--list", "fresh", "--reject-file", str(rejects), str(words[0])],
                                      capture_output=True, text=True, **words[1])
                assert done.returncode == 1 and "is the file that is read" in done.stderr, done
                assert path.read_text() == "email\na@one.test\nbad\n"
    assert "fresh" not in server.cli("list").stdout


def test_wrong_use_is_2(place, tmp_path):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "p.csv", "email\na@one.test\n")
    for words in (("import",), ("import", path), ("import", "--list", "x"), ("import", "--list", "x", "--nonsense", path),
                  ("import", "--list", "x", "--update", "--skip", path), ("import", "--list", "x", path, path)):
        done = server.cli(*words, check=False)
        assert done.returncode == 2, (words, done)
        assert done.stderr.strip(), words


def test_every_bad_row_is_in_the_reject_file_with_its_line(place, tmp_path):
    server = place.server(start=False, domain=None)
    rows = ["email,n"] + ["good%d@one.test,%d" % (n, n) if n % 10 else "bad row %d,%d" % (n, n) for n in range(1, 1001)]
    path = write(tmp_path / "p.csv", "\n".join(rows) + "\n")
    rejects = tmp_path / "r.csv"
    assert numbers(server.cli("import", "--list", "news", "--reject-file", rejects, path)) == (1000, 900, 0, 0, 100)
    lines = [int(row[0]) for row in csv.reader(rejects.read_text().splitlines()) if row[0].isdigit()]
    assert lines == list(range(11, 1002, 10))


def test_hostile_file(place, tmp_path):
    """A gigabyte would do the same; twenty megabytes are enough to see it."""
    server = place.server(start=False, domain=None)
    data = b"email,x\na@one.test,1\n" + b"y" * (20 << 20) + b"\n\"open," + b"z@one.test,1\n" * 1000 + b"b@one.test,\x00\nc@one.test,\xff\nd@one.test,1\n"
    path = write(tmp_path / "p.csv", data)
    done = server.cli("import", "--list", "news", path, check=False)
    assert done.returncode == 1 and "is never closed" in done.stderr
    read, new, _, _, rejected = numbers(done)
    assert (new, read) == (1, 1 + rejected), done.stdout  # a@one.test; all behind the open quote is one rejected row


def test_beside_a_running_campaign(place, tmp_path):
    """An import takes its turns: the server goes on delivering, and answers."""
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(3000, ["a.test", "b.test"]))
    path = tmp_path / "large.csv"
    path.write_text("email,name\n" + "".join("member%d@domain%d.test,N\n" % (n, n % 500) for n in range(200_000)))
    campaign = server.create_campaign()
    done = []
    worker = threading.Thread(target=lambda: done.append(server.cli("import", "--list", "large", path, timeout_s=300)))
    worker.start()
    slowest, answers = 0.0, []
    try:
        while worker.is_alive():
            begin = time.monotonic()
            answer = server.api.post("/v1/suppressions", {"email": "x%d@suppressed.test" % len(answers)})
            slowest = max(slowest, time.monotonic() - begin)
            answers.append(answer.status)
        stats = run_to_end(server, campaign, 120)
    finally:
        worker.join()
    assert stats["delivered"] == 3000
    assert numbers(done[0]) == (200_000, 200_000, 0, 0, 0)
    assert all(status in (200, 201) for status in answers), answers
    # What was imported is there for the server at once.
    second = server.create_campaign(lists=["large"], launch=False)
    assert server.stats(second)["status"] == "draft"
    lists = {row["name"]: row["active"] for row in server.api.pages("/v1/lists")}
    assert lists["large"] == 200_000
    assert slowest < 5


def test_memory_does_not_grow_with_the_file(place, tmp_path):
    server = place.server(start=False, domain=None)

    def peak_kib(rows):
        path = tmp_path / ("%d.csv" % rows)
        with open(path, "w") as out:
            out.write("email,name\n")
            for n in range(rows):
                out.write("m%d@domain%d.test,%s\n" % (n, n % 5000, "N" * 40))
        process = subprocess.Popen([str(server.program), "-c", str(server.config), "import", "--list", "news", str(path)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        return usage.ru_maxrss

    small = peak_kib(1_000_000)  # one chunk is written while the next is read
    large = peak_kib(2_500_000)
    assert large < small * 1.35 + 20_000, (small, large)


def test_no_progress_bar_without_a_terminal(place, tmp_path):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "p.csv", "email\n" + "".join("m%d@one.test\n" % n for n in range(5000)))
    done = server.cli("import", "--list", "news", path)
    assert "\r" not in done.stdout + done.stderr and "\033" not in done.stdout + done.stderr


def test_a_progress_bar_on_a_terminal(place, tmp_path):
    server = place.server(start=False, domain=None)
    path = write(tmp_path / "p.csv", "email\n" + "".join("m%d@one%d.test\n" % (n, n % 100) for n in range(150_000)))
    master, slave = os.openpty()
    try:
        process = subprocess.Popen([str(server.program), "-c", str(server.config), "import", "--list", "news", str(path)],
                                   stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:
                break
            if not block:
                break
            seen += block
        out = process.communicate(timeout=60)[0]
    finally:
        os.close(master)
    assert process.returncode == 0
    assert b"\r" in seen and b"%" in seen, seen[-300:]
    assert LINE.search((out + seen).decode().replace(",", ", ").replace(",  ", ", "))


def test_an_import_that_is_not_what_the_file_says(place, tmp_path):
    """Rows in an open or a stray quote, or no row at all: what could be taken is stored, but it did not succeed."""
    server = place.server()
    quote = 'email,x\na@one.test,1\nb@one.test,"2\nc@one.test,3\nd@one.test,4\n'
    stray = 'email,x\na@one.test,"Ann\nb@one.test,Bob\nc@one.test,"Carl"\nd@one.test,Dan\n'
    none = "email,x\nbad,1\nworse,2\n"
    for name, text, says, counts in (("quote", quote, "the quote opened in line 3 is never closed; the rest of the file, lines 3 to 6, was taken for one row; the other rows are stored", (2, 1, 0, 0, 1)),
                                     ("stray", stray, "column 2 has text behind its closing quote; lines 2 to 4 were skipped; the other rows are stored", (2, 1, 0, 0, 1)),
                                     ("none", none, "all rows were rejected (2)", (2, 0, 0, 0, 2))):
        path = write(tmp_path / "p.csv", text)
        done = server.cli("import", "--list", name, path, check=False)
        assert done.returncode == 1 and says in done.stderr and numbers(done) == counts
        done = server.cli("import", "--list", name + "2", "--json", path, check=False)
        assert done.returncode == 1 and json.loads(done.stdout)["error"] == says and says in done.stderr
        number = server.api.post("/v1/lists", {"name": name + "3"}).json["id"]
        job = server.api.post("/v1/lists/%d/imports" % number, body=text.encode(), headers={"Content-Type": "text/csv"}).json
        last = wait_until(lambda: (now := server.api.get("/v1/imports/%d" % job["id"]).json)["ended_at"] and now, 60, "the import")
        assert (last["state"], last["error"]) == ("failed", says)
        assert tuple(last["counts"][key] for key in ("read", "updated", "rejected")) == (counts[0], counts[1], counts[4])
    assert set(members(server, "stray")) == {"d@one.test"}
    assert set(members(server, "quote")) == set(members(server, "quote3")) == {"a@one.test"}
    good = 'email,x\na@one.test,"two\nlines"\nb@one.test,"one"line\nbad\n'
    assert server.cli_json("import", "--list", "good", write(tmp_path / "p.csv", good))["error"] is None


@pytest.mark.sanitize
def test_over_http(place):
    server = place.server()
    answer = server.api.post("/v1/lists", {"name": "uploaded"})
    assert answer.status == 201, answer
    number = answer.json["id"]
    body = "email,name\n" + "".join("m%d@one.test,N%d\n" % (n, n) for n in range(3000)) + "wrong,x\n"
    answer = server.api.post("/v1/lists/%d/imports" % number, body=body.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status == 202, answer
    job = "/v1/imports/%d" % answer.json["id"]
    last = wait_until(lambda: (now := server.api.get(job).json)["ended_at"] and now, 60, "the import")
    assert last["error"] is None and last["bytes_done"] == last["bytes"] == len(body), last
    assert last["counts"] == {"read": 3001, "new": 3000, "updated": 0, "unchanged": 0, "rejected": 1}
    assert [row["line"] for row in last["rejects"]] == [3002]
    assert len(members(server, "uploaded")) == 3000
