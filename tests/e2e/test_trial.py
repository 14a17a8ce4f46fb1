"""`campaign test`: the real path without the books. What leaves is signed, limited and answered as a campaign's mail; what stays is nothing."""
import email
import email.policy
import re
import sqlite3
import time

import pytest

from conftest import run_to_end
from harness import Api, wait_until
from test_signatures import records, verify
from test_unsubscribe import ONE_CLICK

HTML = '<p>Hello {{name}}</p><a href="https://shop.example/{{name}}">shop</a> <a href="{{unsubscribe_url}}">leave</a> <a href="{{preferences_url}}">lists</a> <a href="{{view_url}}">page</a>'
TEXT = "Hello {{name}} of {{recipient.email}}\n{{unsubscribe_url}}\n"


def ask(server, campaign, **fields):
    return server.api.post("/v1/campaigns/%d/test" % campaign, fields)


def ended(server, answer):
    assert answer.status == 202, answer
    path = answer.headers["Location"]
    wait_until(lambda: server.api.get(path).json["done"], 30, "the test to end")
    return server.api.get(path).json


def rows(server):
    """What could have been counted: every table that tells of mail."""
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        return {table: database.execute("SELECT * FROM " + table).fetchall()
                for table in ("delivery", "attempt", "claim", "suppression", "hit", "event")
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()}


def parsed(sink, address, which=-1):
    content = sink.content(sink.messages()[address][which])
    return content, email.message_from_bytes(content, policy=email.policy.SMTP)


@pytest.mark.sanitize
def test_a_draft_is_sent_as_it_will_be_and_counted_nowhere(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["ann@one.test"], row=lambda address: ("Änn", "Köln"))
    campaign = server.create_campaign(launch=False, html=HTML, text=TEXT, track={"clicks": True, "opens": True}, subject="News for {{name}}")
    before, stats = rows(server), server.stats(campaign)

    done = ended(server, ask(server, campaign, recipients=["me@corp.test", "you@other.test"]))
    assert done["shown"] == "ann@one.test"
    assert [(row["recipient"], row["state"], row["code"], row["stage"]) for row in done["results"]] == [
        ("me@corp.test", "delivered", 250, "content"), ("you@other.test", "delivered", 250, "content")]
    assert sorted(sink.messages()) == ["me@corp.test", "you@other.test"]
    assert rows(server) == before and server.stats(campaign) == stats

    ids = set()
    for address in ("me@corp.test", "you@other.test"):
        content, message = parsed(sink, address)
        assert verify(content, records(server))
        assert message["To"] == address and message["Subject"] == "News for Änn"
        assert "Hello Änn of ann@one.test" in message.get_body(("plain",)).get_content()
        ids.add(message["Message-ID"])
    again = ended(server, ask(server, campaign, recipients=["me@corp.test"], subject_prefix="[Test] "))
    assert again["id"] != done["id"]
    content, message = parsed(sink, "me@corp.test")
    assert message["Subject"] == "[Test] News for Änn"
    ids.add(message["Message-ID"])
    assert len(ids) == 3, "each test has its own Message-ID"

    # Its links lead on, its pages open, and nothing acts.
    anyone, html = Api(server.url), message.get_body(("html",)).get_content()
    paths = [re.sub(r"^https?://[^/]+", "", url) for url in re.findall(r'(?:href|src)="(https?://[^"]+)"', html)]
    kinds = {path[:3]: path for path in paths}
    assert set(kinds) == {"/c/", "/u/", "/p/", "/v/", "/o/"}
    assert anyone.get(kinds["/c/"]).headers["Location"].startswith("https://shop.example/")
    for kind in ("/u/", "/p/", "/v/", "/o/"):
        assert anyone.get(kinds[kind]).status == 200, kind
    assert "Änn" in anyone.get(kinds["/v/"]).body.decode()
    assert anyone.post(kinds["/u/"], **ONE_CLICK).status == 200
    header = re.search(r"<https?://[^/]+(/u/[^>]+)>", "".join(message["List-Unsubscribe"].split()))
    assert anyone.post(header[1], **ONE_CLICK).status == 200
    assert rows(server) == before

    server.api.post("/v1/campaigns/%d/launch" % campaign)
    assert run_to_end(server, campaign)["delivered"] == 1
    real = parsed(sink, "ann@one.test")[1]
    assert real["Message-ID"] not in ids


@pytest.mark.sanitize
def test_what_a_server_refuses_is_told_and_suppresses_nobody(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "rcpt": "gone@*", "reply": "550 5.1.1 no such user"},
                                        {"command": "RCPT", "rcpt": "later@*", "reply": "451 4.3.0 try later"}]})
    server = place.server(sink)
    place.people(server, ["ann@one.test"])
    campaign = server.create_campaign(launch=False)
    before = rows(server)
    done = ended(server, ask(server, campaign, recipients=["gone@one.test", "later@one.test", "me@one.test"]))
    assert [(row["state"], row["code"], row["enhanced"], row["text"], row["stage"]) for row in done["results"]][:2] == [
        ("bounced", 550, "5.1.1", "no such user", "rcpt"), ("deferred", 451, "4.3.0", "try later", "rcpt")]
    assert done["results"][2]["state"] == "delivered"
    assert rows(server) == before and not server.api.get("/v1/suppressions").json["data"]

    shown = server.cli("campaign", "test", campaign, "--to", "me@one.test")
    assert "delivered" in shown.stdout and "250" in shown.stdout
    refused = server.cli("campaign", "test", campaign, "--to", "gone@one.test", check=False)
    assert refused.returncode == 1 and "no such user" in refused.stdout
    told = server.cli_json("campaign", "test", campaign, "--to", "me@one.test", "--to", "ann@one.test", "--recipient", "ann@one.test")
    assert told["done"] and [row["state"] for row in told["results"]] == ["delivered", "delivered"]
    assert server.cli("campaign", "test", campaign, check=False).returncode == 2


def test_what_is_asked_wrongly_is_refused_by_field(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, ["ann@one.test"])
    campaign = server.create_campaign(launch=False)
    server.cli("suppress", "add", "barred@one.test")
    cases = [({"recipients": ["barred@one.test"]}, "recipients[0]", "suppressed"),
             ({"recipients": ["me@one.test", "no address"]}, "recipients[1]", ""),
             ({"recipients": ["me@one.test", "ME@One.test"]}, "recipients[1]", "twice"),
             ({"recipients": []}, "recipients", ""), ({"recipients": ["a%d@one.test" % n for n in range(11)]}, "recipients", "10"),
             ({"recipients": [7]}, "recipients", ""), ({}, "recipients", ""), ({"recipients": ["me@one.test"], "recipient": "who@one.test"}, "recipient", "not known"),
             ({"recipients": ["me@one.test"], "variant": 0}, "variant", "variants"), ({"recipients": ["me@one.test"], "to": "x"}, "to", "")]
    for fields, field, says in cases:
        answer = ask(server, campaign, **fields)
        assert answer.status == 422 and field in answer.fields(), (fields, answer)
        assert says in str(answer.json), answer
    assert ask(server, 999, recipients=["me@one.test"]).status == 404
    assert server.api.get("/v1/campaigns/%d/test/999" % campaign).status == 404
    reader = Api(server.url, server.cli_json("token", "create", "--name", "r", "--scope", "read")["token"])
    assert reader.post("/v1/campaigns/%d/test" % campaign, {"recipients": ["me@one.test"]}).status == 403
    keyless = server.create_campaign(launch=False, **{"from": {"email": "news@nokey.test", "name": "News"}})
    answer = ask(server, keyless, recipients=["me@one.test"])
    assert answer.status == 422 and "from.email" in answer.fields(), answer


@pytest.mark.sanitize
def test_a_stop_in_the_middle_ends_in_order(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "stall": True}]})
    server = place.server(sink, config='shutdown = "1s"')
    place.people(server, ["ann@one.test"])
    campaign = server.create_campaign(launch=False)
    answer = ask(server, campaign, recipients=["me@one.test", "you@two.test"])
    assert answer.status == 202 and [row["state"] for row in answer.json["results"]] == ["sending", "sending"]
    sink.wait_for(lambda ledger: any(line["event"] == "connect" for line in ledger))
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20
    server.start()
    server.login()
    assert server.api.get(answer.headers["Location"]).status == 404
    assert server.stats(campaign)["status"] == "draft"
