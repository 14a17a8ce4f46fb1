"""The keys of tokens: a campaign keeps the one that it was launched with, old ones go on proving, a retired one proves nothing any more."""
import email
import email.policy
import re
import sqlite3

import pytest

from conftest import run_to_end, run_until
from harness import Api, wait_until
from test_unsubscribe import ONE_CLICK

HTML = '<p>Hello {{name}}</p><a href="https://shop.example/">shop</a> <a href="{{unsubscribe_url}}">leave</a> <a href="{{view_url}}">page</a> <a href="{{preferences_url}}">lists</a>'
SPEC = {"html": HTML, "track": {"clicks": True, "opens": True}}


def messages(sink, address):
    return [email.message_from_bytes(sink.content(line), policy=email.policy.SMTP) for line in sink.messages().get(address, [])]


def links(message):
    """Kind of link -> its path."""
    html = message.get_body(("html",)).get_content()
    paths = [re.sub(r"^https?://[^/]+", "", url) for url in re.findall(r'(?:href|src)="(https?://[^"]+)"', html)]
    return {path[:3]: path for path in paths}


def works(server, paths):
    """What each link answers to one who only looks."""
    return {kind: Api(server.url).get(path).status for kind, path in paths.items()}


GOOD = {"/c/": 302, "/o/": 200, "/u/": 200, "/v/": 200, "/p/": 200}
GONE = dict.fromkeys(GOOD, 404)


@pytest.mark.sanitize
def test_a_rotation_leaves_what_was_sent_alone_and_a_retirement_does_not(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["a@one.test"])
    run_to_end(server, server.create_campaign(**SPEC))
    assert [(key["id"], key["state"]) for key in server.cli_json("link-key", "list")] == [(0, "newest")]
    assert server.api.call("DELETE", "/v1/link-keys/0").status == 409  # the newest

    assert server.cli_json("link-key", "rotate")["id"] == 1
    run_to_end(server, server.create_campaign(**SPEC))  # the launch sees it at once
    keys = server.api.get("/v1/link-keys").json["data"]
    assert [(key["id"], key["state"], key["campaigns"]) for key in keys] == [(0, "old", 0), (1, "newest", 0)]
    first, second = messages(sink, "a@one.test")
    assert works(server, links(first)) == GOOD and works(server, links(second)) == GOOD

    refused = server.cli("link-key", "retire", 0, check=False)
    assert refused.returncode == 1 and "400 days" in refused.stderr
    assert server.api.call("DELETE", "/v1/link-keys/0?force=yes").status == 422
    assert server.api.call("DELETE", "/v1/link-keys/7?force=true").status == 404
    assert server.cli("link-key", "retire", 0, "--force").returncode == 0
    wait_until(lambda: works(server, links(first)) == GONE, 10, "the running server to notice")
    assert works(server, links(second)) == GOOD
    assert Api(server.url).post(links(first)["/u/"], **ONE_CLICK).status == 404
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        assert database.execute("SELECT length(value) FROM link_key ORDER BY id").fetchall() == [(0,), (32,)]
        assert database.execute("SELECT count(*) FROM member WHERE status <> 0").fetchone() == (0,)
    server.stop()
    server.start()
    server.login()
    assert works(server, links(first)) == GONE and works(server, links(second)) == GOOD
    assert Api(server.url).post(links(second)["/u/"], **ONE_CLICK).status == 200
    assert server.api.call("DELETE", "/v1/link-keys/0?force=true").status == 404


def test_a_running_campaign_keeps_its_key_over_retries_and_restarts(place):
    sink = place.sink(store=True, script={"rules": [{"command": "EOD", "rcpt": "late@*", "first": 3, "reply": "451 4.3.0 later"}]})
    server = place.server(sink)
    place.people(server, ["late@one.test", "now@one.test"])
    campaign = server.create_campaign(**SPEC)
    run_until(server, campaign, lambda stats: stats["delivered"] == 1 and stats["deferred"] == 1, "one to wait")
    assert server.api.post("/v1/link-keys").status == 201
    held = server.api.call("DELETE", "/v1/link-keys/0")
    assert held.status == 409 and "campaign" in held.json["detail"]
    server.stop()
    server.start()
    server.login()
    assert run_to_end(server, campaign)["delivered"] == 2
    tries = [line["message_id"] for line in sink.events("reject", to="late@one.test")]
    assert len(tries) == 3
    sent = messages(sink, "late@one.test")[0]
    assert {sent["Message-ID"].strip("<>")} == {one.strip("<>") for one in tries}
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        assert database.execute("SELECT token_key FROM campaign_frozen").fetchall() == [(0,)]
    assert server.api.call("DELETE", "/v1/link-keys/0?force=true").status == 204
    assert works(server, links(sent)) == GONE  # by the API: at once


def test_a_key_may_be_retired_when_its_time_is_over(place):
    sink = place.sink()
    server = place.server(sink, config='keep_links = "1s"\n')
    place.people(server, ["a@one.test"])
    run_to_end(server, server.create_campaign())
    server.cli("link-key", "rotate")
    wait_until(lambda: server.cli("link-key", "retire", 0, check=False).returncode == 0, 15, "the time of the key to be over")
    assert [key["state"] for key in server.cli_json("link-key", "list")] == ["retired", "newest"]


def test_keys_are_for_administrators(place):
    server = place.server()
    sender = Api(server.url, server.cli_json("token", "create", "--name", "s", "--scope", "send")["token"])
    assert sender.get("/v1/link-keys").status == sender.post("/v1/link-keys").status == sender.call("DELETE", "/v1/link-keys/0").status == 403
    assert sender.post("/v1/domains/sender.test/rotate").status == 403
    for _ in range(31):
        server.api.post("/v1/link-keys")
    assert server.api.post("/v1/link-keys").status == 409
    assert len(server.api.get("/v1/link-keys").json["data"]) == 32
