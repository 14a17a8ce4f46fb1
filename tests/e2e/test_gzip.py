"""gzip in both directions, within the limits; and the file of an import's rejected rows."""
import csv
import gzip
import io
import json
import zlib

import pytest

from conftest import emails
from harness import Api, wait_until
from test_api import is_problem

PACKED = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


@pytest.fixture
def server(place):
    server = place.server(domain=None)
    place.people(server, emails(50, ["one.test"]))
    return server


def upload(server, body, headers, status="finished"):
    answer = server.api.post("/v1/lists/1/imports", body=body, headers={"Content-Type": "text/csv", **headers})
    assert answer.status == 202, answer
    path = "/v1/imports/%d" % answer.json["id"]
    job = wait_until(lambda: (job := server.api.get(path).json)["state"] in ("finished", "failed") and job, 30, "the import")
    assert job["state"] == status, job
    return job


@pytest.mark.sanitize
def test_answers_are_packed_for_who_takes_it(server):
    for path in ("/v1/lists/1/recipients", "/openapi.json", "/dashboard/chart.js", "/dashboard"):
        plain = server.api.get(path)
        packed = server.api.get(path, headers={"Accept-Encoding": "br, gzip"})
        assert plain.headers["Content-Encoding"] is None and packed.headers["Content-Encoding"] == "gzip", path
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) / 2
        assert server.api.get(path, headers={"Accept-Encoding": "gzip;q=0"}).headers["Content-Encoding"] is None
    small = server.api.get("/v1/lists/1", headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] is None and small.json["name"] == "news"


@pytest.mark.sanitize
def test_json_may_come_packed(server):
    body = gzip.compress(json.dumps({"name": "packed"}).encode())
    assert server.api.post("/v1/lists", body=body, headers=PACKED).status == 201
    is_problem(server.api.post("/v1/lists", body=body[:-1], headers=PACKED), 400)
    is_problem(server.api.post("/v1/lists", body=body + b"x", headers=PACKED), 400)
    is_problem(server.api.post("/v1/lists", body=b'{"name":"plain"}', headers=PACKED), 400)
    is_problem(server.api.post("/v1/lists", body=zlib.compress(b"{}"), headers=PACKED), 400)
    for coding in ("br", "deflate", "gzip, gzip", "compress"):
        answer = server.api.post("/v1/lists", body=body, headers={**PACKED, "Content-Encoding": coding})
        is_problem(answer, 415)
        assert answer.headers["Accept-Encoding"] == "gzip"
    is_problem(Api(server.url).post("/u/x", body=body, headers={"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}), 415)
    assert server.api.get("/v1/lists").json["total"] == 2


@pytest.mark.sanitize
def test_a_bomb_does_not_go_off(server):
    body = gzip.compress(b'{"name":"' + b" " * (60 << 20) + b'"}')
    is_problem(server.api.post("/v1/lists", body=body, headers=PACKED), 413)
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = bomb.compress(b"email\n") + b"".join(bomb.compress(b"\n" * (1 << 20)) for _ in range(64)) + bomb.flush()
    answer = server.api.post("/v1/lists/1/imports", body=body, headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"})
    is_problem(answer, 413)
    with open("/proc/%d/status" % server.process.pid) as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 600_000


@pytest.mark.sanitize
def test_imports_may_come_packed(server):
    people = "email,name\n" + "".join("p%d@two.test,Ann\n" % n for n in range(5000))
    job = upload(server, gzip.compress(people.encode()), {"Content-Encoding": "gzip"})
    assert job["counts"]["new"] == 5000 and job["bytes"] == len(people)
    cut = gzip.compress(("email\nbroken@two.test\n" * 5).encode())[:-9]
    is_problem(server.api.post("/v1/lists/1/imports", body=cut, headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"}), 400)
    assert server.api.get("/v1/recipients/broken@two.test").status == 404


@pytest.mark.sanitize
def test_rejected_rows_can_be_fetched(server):
    bad = ["=cmd|' /C calc'!A0", "no-at-sign", '"quoted, comma', "+1@", "two@@ats.test"] + ["bad%d" % n for n in range(300)]
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["email", "name"])
    for address in bad:
        writer.writerow([address, "x"])
    writer.writerow(["good@two.test", "x"])
    job = upload(server, rows.getvalue().encode(), {})
    assert job["counts"]["rejected"] == len(bad) and len(job["rejects"]) == 100
    answer = server.api.get("/v1/imports/%d/rejects" % job["id"])
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="import-%d-rejects.csv"' % job["id"]
    lines = list(csv.reader(io.StringIO(answer.body.decode(), newline="")))
    assert lines[0] == ["line", "reason", "row"] and len(lines) == len(bad) + 1
    assert [int(row[0]) for row in lines[1:]] == list(range(2, len(bad) + 2))
    assert not [cell for row in lines[1:] for cell in row if cell[:1] in "=+-@\t"], "no formula"
    assert lines[1][2].startswith("'=cmd") and all(row[1] for row in lines)
    again = server.api.get("/v1/imports/%d/rejects" % job["id"])
    assert again.body == answer.body


def test_rejects_of_a_clean_import_and_of_none(server):
    job = upload(server, b"email\nclean@two.test\n", {})
    assert server.api.get("/v1/imports/%d/rejects" % job["id"]).body == b"line,reason,row\r\n"
    is_problem(server.api.get("/v1/imports/1/rejects"), 404)


def test_the_file_of_rejects_is_bounded(server):
    line = b"x" * 1000 + b"\n"
    job = upload(server, b"email\n" + line * 40000, {}, status="failed")  # no row could be taken
    assert job["counts"]["rejected"] == 40000
    answer = server.api.get("/v1/imports/%d/rejects" % job["id"])
    assert 15 << 20 < len(answer.body) <= 16 << 20 and answer.body.endswith(b"\r\n")
