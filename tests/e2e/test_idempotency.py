"""Idempotency-Key: what is sent twice is done once, also over the death of the server."""
import json
import sqlite3
import threading

import pytest

from conftest import emails
from test_api import GOOD, is_problem


@pytest.fixture
def server(place):
    server = place.server(place.sink())
    place.people(server, emails(3, ["one.test"]))
    return server


def post(server, path, data, key, **more):
    return server.api.post(path, data, headers={"Idempotency-Key": key}, **more)


@pytest.mark.sanitize
def test_the_same_answer_comes_again(server):
    first = post(server, "/v1/campaigns", GOOD, "one")
    again = post(server, "/v1/campaigns", GOOD, "one")
    assert first.status == again.status == 201 and again.body == first.body
    assert again.headers["Location"] == first.headers["Location"] and again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert server.api.get("/v1/campaigns").json["total"] == 1
    is_problem(post(server, "/v1/campaigns", {**GOOD, "name": "other"}, "one"), 422)
    is_problem(post(server, "/v1/lists", {"name": "other"}, "one"), 422)
    assert post(server, "/v1/campaigns", GOOD, "two").json["id"] != first.json["id"]
    other = server.cli_json("token", "create", "--name", "other", "--scope", "send")["token"]
    mine = server.api.post("/v1/campaigns", GOOD, headers={"Idempotency-Key": "one", "Authorization": "Bearer " + other})
    assert mine.status == 201 and mine.json["id"] != first.json["id"], "keys belong to their token"


@pytest.mark.sanitize
def test_it_outlives_the_server(server):
    first = post(server, "/v1/lists", {"name": "l"}, "k" * 256)
    server.kill()
    server.start()
    again = post(server, "/v1/lists", {"name": "l"}, "k" * 256)
    assert again.status == 201 and again.body == first.body
    assert server.api.get("/v1/lists").json["total"] == 2


def test_a_refusal_does_not_use_the_key_up(server):
    is_problem(post(server, "/v1/campaigns", {**GOOD, "lists": ["nobody"]}, "k"), 422)
    is_problem(post(server, "/v1/lists", {"name": "news"}, "k"), 409)
    assert post(server, "/v1/campaigns", GOOD, "k").status == 201


def test_keys_have_a_form(server):
    for key in ("", "k" * 257, "a b", "ä".encode("utf-8").decode("latin-1")):
        is_problem(post(server, "/v1/lists", {"name": "l"}, key), 400)
    assert server.api.get("/v1/lists").json["total"] == 1


def test_every_call_that_makes_something(server):
    calls = [("/v1/lists", {"name": "l"}, 201), ("/v1/lists/1/recipients", {"email": "x@two.test"}, 200),
             ("/v1/campaigns", GOOD, 201), ("/v1/campaigns/1/clone", None, 201), ("/v1/suppressions", {"email": "s@two.test"}, 201),
             ("/v1/domains", {"domain": "second.test"}, 201)]
    for path, data, status in calls:
        first, again = (post(server, path, data, path.replace("/", "-")) for _ in range(2))
        assert first.status == again.status == status and again.body == first.body, path
        assert again.headers["Idempotent-Replayed"] == "true", path
    csv = {"body": b"email\nup@two.test\n", "headers": {"Content-Type": "text/csv", "Idempotency-Key": "up"}}
    first, again = (server.api.post("/v1/lists/1/imports", **csv) for _ in range(2))
    assert first.status == again.status == 202 and first.json["id"] == again.json["id"]
    csv["body"] = b"email\nother@two.test\n"
    is_problem(server.api.post("/v1/lists/1/imports", **csv), 422)


def test_a_token_is_shown_once_only(server):
    made = post(server, "/v1/tokens", {"name": "t", "scope": "read"}, "t")
    assert made.status == 201
    answer = post(server, "/v1/tokens", {"name": "t", "scope": "read"}, "t")
    is_problem(answer, 409)
    assert made.json["token"] not in answer.body.decode()
    for path in server.data_dir.glob("posthaste.db*"):
        assert made.json["token"].encode() not in path.read_bytes(), path
    assert len([row for row in server.api.get("/v1/tokens").json["data"] if row["name"] == "t"]) == 1


@pytest.mark.sanitize
def test_many_at_once_make_one(server):
    answers = []

    def send():
        import harness
        api = harness.Api(server.url, server.api.token)
        answers.append(api.post("/v1/campaigns", GOOD, headers={"Idempotency-Key": "k"}))
        api.close()

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [answer for answer in answers if answer.status == 201]
    assert made and len({answer.body for answer in made}) == 1
    for answer in answers:
        if answer.status != 201:
            is_problem(answer, 409)
            assert answer.headers["Retry-After"] == "1"
    assert server.api.get("/v1/campaigns").json["total"] == 1


def break_on_insert(server, table, harm):
    """What is made cannot be read back: the disk fails between the two, or somebody is quicker."""
    with sqlite3.connect(server.data_dir / "posthaste.db", timeout=20) as database:
        database.execute("CREATE TRIGGER harm AFTER INSERT ON %s BEGIN %s; END" % (table, harm))


def mend(server, *statements):
    with sqlite3.connect(server.data_dir / "posthaste.db", timeout=20) as database:
        for statement in ("DROP TRIGGER harm", *statements):
            database.execute(statement)


def last_audit(server):
    return json.loads((server.data_dir / "audit.jsonl").read_text().splitlines()[-1])


@pytest.mark.sanitize
def test_what_is_made_and_cannot_be_shown_is_not_made_twice(server):
    break_on_insert(server, "campaign", "UPDATE campaign SET status = 77 WHERE id = NEW.id")
    first = post(server, "/v1/campaigns", GOOD, "one")
    mend(server, "UPDATE campaign SET status = 0 WHERE status = 77")
    assert first.status == 201 and first.json == {"id": 1} and first.headers["Location"] == "/v1/campaigns/1"
    entry = last_audit(server)
    assert (entry["action"], entry["status"], entry["made"]) == ("POST /v1/campaigns", 201, "/v1/campaigns/1")
    again = post(server, "/v1/campaigns", GOOD, "one")
    assert again.status == 201 and again.body == first.body and again.headers["Idempotent-Replayed"] == "true"
    assert server.api.get("/v1/campaigns").json["total"] == 1
    assert server.api.get("/v1/campaigns/1").json["name"] == GOOD["name"]


def test_a_message_that_cannot_be_shown_is_not_taken_twice(server):
    single = {"to": "one@one.test", "from": GOOD["from"], "subject": "s", "text": "t"}
    break_on_insert(server, "message", "DELETE FROM message WHERE id = NEW.id")
    first = post(server, "/v1/messages", single, "one")
    mend(server)
    assert first.status == 202 and list(first.json) == ["id"], first.body
    again = post(server, "/v1/messages", single, "one")
    assert again.status == 202 and again.body == first.body and again.headers["Idempotent-Replayed"] == "true"
