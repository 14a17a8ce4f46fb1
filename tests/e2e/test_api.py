"""The HTTP API as a client sees it: authorisation, shapes, and a clear problem for each wrong input, with nothing half done."""
import json
import re

import pytest

from conftest import emails, run_to_end, run_until

GOOD = {"name": "c", "lists": ["news"], "from": {"email": "news@sender.test", "name": "News"}, "subject": "s", "text": "t"}


@pytest.fixture
def server(place):
    server = place.server(place.sink())
    place.people(server, emails(3, ["one.test"]))
    return server


def is_problem(answer, status):
    """An RFC 9457 body that says the same as the status line."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json", answer.headers
    body = answer.json
    assert body["status"] == status and body["title"] and body["detail"], body
    return body


def campaigns(server):
    return server.api.get("/v1/campaigns").json["total"]


# --- authorisation --------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_without_a_token_nothing_is_told(server):
    for method, path in [("GET", "/v1/lists"), ("POST", "/v1/campaigns"), ("GET", "/v1/campaigns/1/stats"), ("GET", "/v1/tokens"),
                         ("DELETE", "/v1/lists/1")]:
        for value in (None, "Bearer ph_" + "0" * 48, "Bearer ", "Basic eDp5", "Bearer " + "x" * 5000):
            answer = server.api.call(method, path, headers={"Authorization": value or ""})
            is_problem(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.sanitize
def test_scopes(server):
    admin = server.api
    token = {scope: server.cli_json("token", "create", "--name", scope, "--scope", scope)["token"] for scope in ("read", "send", "admin")}
    calls = [("GET", "/v1/lists", None, "read"), ("GET", "/v1/campaigns", None, "read"), ("GET", "/v1/suppressions", None, "read"),
             ("POST", "/v1/lists", {"name": "by-%s"}, "send"), ("POST", "/v1/campaigns", GOOD, "send"),
             ("POST", "/v1/suppressions", {"email": "%s@two.test"}, "send"), ("GET", "/v1/tokens", None, "admin"),
             ("POST", "/v1/domains", {"domain": "%s.test"}, "admin"), ("POST", "/v1/tokens", {"name": "%s", "scope": "read"}, "admin")]
    order = ["read", "send", "admin"]
    for method, path, data, needs in calls:
        for scope in order:
            body = json.loads(json.dumps(data).replace("%s", scope)) if data else None
            answer = admin.call(method, path, body, headers={"Authorization": "Bearer " + token[scope]})
            if order.index(scope) < order.index(needs):
                assert is_problem(answer, 403)["detail"].count(needs), (path, scope)
            else:
                assert answer.status in (200, 201, 202), (path, scope, answer)


def test_a_revoked_token_is_refused_at_once(server):
    made = server.api.post("/v1/tokens", {"name": "short", "scope": "read"})
    assert made.status == 201, made
    headers = {"Authorization": "Bearer " + made.json["token"]}
    assert server.api.get("/v1/lists", headers=headers).status == 200
    number = [row["id"] for row in server.api.get("/v1/tokens").json["data"] if row["name"] == "short"][0]
    assert made.json["token"] not in json.dumps(server.api.get("/v1/tokens").json["data"]), "tokens are kept as hashes only"
    server.cli("token", "revoke", number)
    is_problem(server.api.get("/v1/lists", headers=headers), 401)


# --- bad input ------------------------------------------------------------------------------------------------------

BAD_CAMPAIGNS = {
    "unknown field": ({"colour": "red"}, "colour"),
    "unknown list": ({"lists": ["nobody"]}, "lists"),
    "unknown list id": ({"lists": [99]}, "lists"),
    "lists of a wrong type": ({"lists": "news"}, "lists"),
    "no lists": ({"lists": []}, "lists"),
    "unknown excluded list": ({"exclude_lists": ["nobody"]}, "exclude_lists"),
    "name of a wrong type": ({"name": 7}, "name"),
    "empty name": ({"name": ""}, "name"),
    "subject of a wrong type": ({"subject": ["x"]}, "subject"),
    "from of a wrong type": ({"from": "news@sender.test"}, "from"),
    "from without an address": ({"from": {"name": "x"}}, "from.email"),
    "from that is no address": ({"from": {"email": "news at sender.test"}}, "from.email"),
    "from that a reader would decode": ({"from": {"email": "=?utf-8?B?eA==?=@sender.test"}}, "from.email"),
    "reply_to that a reader would decode": ({"reply_to": "=?utf-8?B?eA==?=@sender.test"}, "reply_to"),
    "from with a line break": ({"from": {"email": "a@sender.test\r\nBcc: x@y.test"}}, "from.email"),
    "unknown field inside from": ({"from": {"email": "a@sender.test", "nick": "x"}}, "from.nick"),
    "reply_to that is no address": ({"reply_to": "x"}, "reply_to"),
    "neither html nor text": ({"text": None}, ""),
    "unclosed tag in the text": ({"text": "Hello {{name"}, "text"),
    "unclosed tag in the html": ({"html": "<p>\n\n  {{name"}, "html"),
    "unclosed tag in the subject": ({"subject": "{{"}, "subject"),
    "header that is ours": ({"headers": {"Subject": "x"}}, "headers.Subject"),
    "header name with a space": ({"headers": {"X Y": "x"}}, "headers"),
    "header of a wrong type": ({"headers": {"X-Y": 1}}, "headers.X-Y"),
    "schedule_at that is no time": ({"schedule_at": "tomorrow"}, "schedule_at"),
    "expires_after that is no duration": ({"expires_after": 3}, "expires_after"),
    "launch of a wrong type": ({"launch": "yes"}, "launch"),
}


@pytest.mark.parametrize("name", BAD_CAMPAIGNS)
def test_a_bad_campaign_is_422_with_the_field(server, name):
    change, field = BAD_CAMPAIGNS[name]
    spec = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    before = campaigns(server)
    answer = server.api.post("/v1/campaigns", spec)
    is_problem(answer, 422)
    assert any(at.startswith(field) for at in answer.fields()), answer
    assert all(error["message"] for error in answer.json["errors"])
    assert campaigns(server) == before, "nothing half done"


def test_all_faults_are_named_at_once(server):
    answer = server.api.post("/v1/campaigns", {"name": "", "lists": ["nobody"], "from": {"email": "x"}, "colour": 1})
    is_problem(answer, 422)
    fields = " ".join(answer.fields())
    for field in ("name", "lists", "from.email", "colour", "subject"):
        assert field in fields, answer


def test_a_template_error_names_line_and_column(server):
    answer = server.api.post("/v1/campaigns", {**GOOD, "html": "<p>\n  {{name</p>"})
    message = [error["message"] for error in answer.json["errors"] if error["field"] == "html"][0]
    assert re.search(r"line 2\b", message) and re.search(r"column 3\b", message), message


def test_launch_without_a_dkim_key_is_422(server):
    number = server.create_campaign(**{"from": {"email": "a@keyless.test"}}, launch=False)
    answer = server.api.post("/v1/campaigns/%d/launch" % number)
    is_problem(answer, 422)
    assert answer.fields() == ["from.email"] and "keyless.test" in answer.json["errors"][0]["message"]
    assert server.stats(number)["status"] == "draft"
    before = campaigns(server)
    is_problem(server.api.post("/v1/campaigns", {**GOOD, "from": {"email": "a@keyless.test"}, "launch": True}), 422)
    assert campaigns(server) == before, "nothing half done"
    server.cli("domain", "add", "keyless.test")
    assert server.api.post("/v1/campaigns/%d/launch" % number).status == 202
    run_to_end(server, number)


def test_an_attribute_that_is_missing_renders_empty_and_is_counted(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["with@one.test"], "with")
    place.people(server, ["without@one.test"], "without", columns=(), row=lambda email: ())
    number = server.create_campaign(lists=["with", "without"], subject="Hello [{{name}}]", text="Hello [{{name}}]", html=None)
    run_to_end(server, number)
    assert server.api.get("/v1/campaigns/%d" % number).json["missing_attributes"] == 1
    messages = sink.messages()
    assert b"Subject: Hello []" in sink.content(messages["without@one.test"][0])
    assert b"Subject: Hello [Ann]" in sink.content(messages["with@one.test"][0])


@pytest.mark.sanitize
@pytest.mark.parametrize("body, says", [
    (b"{", "line 1"), (b'{"name": "x",\n "lists": [}', "line 2"), (b"", ""), (b"[]", "object"), (b"7", ""), (b"\xff\xfe", ""),
    (b'{"name":"x","name":"y"}', "name"), (b"[" * 5000, ""), (b'{"name":"\\u0000"}', ""),
])
def test_bodies_that_are_not_json_objects(server, body, says):
    answer = server.api.post("/v1/campaigns", body=body, headers={"Content-Type": "application/json"})
    assert answer.status in (400, 422), answer
    assert says in is_problem(answer, answer.status)["detail"], answer


def test_other_content_types_are_415(server):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        is_problem(server.api.post("/v1/lists", body=b'{"name":"x"}', headers={"Content-Type": content_type}), 415)


def test_bodies_too_large_are_413(server):
    answer = server.api.post("/v1/campaigns", body=b'{"name":"' + b"x" * (11 << 20) + b'"}', headers={"Content-Type": "application/json"})
    is_problem(answer, 413)
    assert server.api.get("/healthz").status == 200


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v1/nothing", 404), ("GET", "/v1/campaigns/999", 404), ("GET", "/v1/campaigns/abc", 404), ("GET", "/v1/campaigns/0", 404),
    ("GET", "/v1/campaigns/-1", 404), ("GET", "/v1/campaigns/99999999999999999999", 404), ("GET", "/v1/campaigns/1x/stats", 404),
    ("POST", "/v1/campaigns/999/launch", 404), ("GET", "/v1/lists/999/recipients", 404), ("GET", "/v1/recipients/nobody@one.test", 404),
    ("DELETE", "/v1/suppressions/nobody@one.test", 404), ("PUT", "/v1/lists", 405), ("DELETE", "/v1/campaigns", 405), ("POST", "/healthz", 405),
    ("GET", "/v1/../etc/passwd", 404), ("GET", "/v1/lists?colour=red", 422), ("GET", "/v1/lists?limit=0", 422), ("GET", "/v1/lists?limit=many", 422),
    ("GET", "/v1/lists?cursor=%00", 422), ("GET", "/v1/campaigns/1/deliveries?state=happy", 422), ("GET", "/v1/campaigns?status=odd", 422),
])
def test_places_that_are_not_there(server, method, path, status):
    server.create_campaign(launch=False)
    answer = server.api.call(method, path)
    is_problem(answer, status)
    if status == 405:
        assert answer.headers["Allow"]


# --- shapes ---------------------------------------------------------------------------------------------------------


def test_lists(server):
    made = server.api.post("/v1/lists", {"name": "Ünïcode", "description": "d"})
    assert made.status == 201 and made.headers["Location"] == "/v1/lists/%d" % made.json["id"]
    is_problem(server.api.post("/v1/lists", {"name": "Ünïcode"}), 409)
    number = made.json["id"]
    assert server.api.call("PATCH", "/v1/lists/%d" % number, {"name": "other"}).json["name"] == "other"
    is_problem(server.api.call("PATCH", "/v1/lists/%d" % number, {"name": "news"}), 409)
    rows = [{"email": "M%d@Two.test" % n, "attributes": {"n": n}} for n in range(50)]
    assert server.api.post("/v1/lists/%d/recipients" % number, {"recipients": rows}).status in (200, 201, 422)
    assert server.api.call("DELETE", "/v1/lists/%d" % number).status == 204
    is_problem(server.api.get("/v1/lists/%d" % number), 404)


def test_pages_hold_each_delivery_once(place):
    server = place.server(place.sink())
    audience = emails(250, ["one.test", "two.test"])
    place.people(server, audience)
    number = server.create_campaign()
    run_to_end(server, number)
    path = "/v1/campaigns/%d/deliveries" % number
    for limit in (1000, 100, 7):
        rows = server.api.pages(path, limit)
        assert sorted(row["email"] for row in rows) == sorted(audience), limit
    page = server.api.get(path + "?limit=10").json
    assert len(page["data"]) == 10 and page["next"] and page["total"] == 250
    assert len(server.api.pages(path + "?domain=one.test")) == 125
    assert len(server.api.pages(path + "?state=delivered")) == 250
    assert server.api.pages(path + "?state=bounced") == []
    row = page["data"][0]
    assert row["code"] == 250 and row["attempts"] == 1 and row["state"] == "delivered"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row["updated_at"])


def test_a_recipient_with_all_that_is_known(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "first": 1, "reply": "451 4.7.1 greylisted"}]})
    server = place.server(sink)
    place.people(server, ["ann@one.test"])
    run_to_end(server, server.create_campaign())
    known = server.api.get("/v1/recipients/ann@one.test").json
    assert known["email"] == "ann@one.test" and known["attributes"] == {"name": "Ann", "city": "Köln"}
    text = json.dumps(known)
    assert "greylisted" in text and "delivered" in text and "news" in text
    shown = server.cli("recipient", "show", "Ann@One.test").stdout
    assert "ann@one.test" in shown and "delivered" in shown
    assert "JOINED" in shown  # joined_at, which is when it joined, whatever it is now


def test_stats_have_exactly_the_fields_of_the_contract(server):
    number = server.create_campaign()
    stats = run_to_end(server, number)
    assert set(stats) == {"status", "audience", "pending", "sending", "deferred", "delivered", "bounced", "failed", "suppressed", "cancelled",
                          "uncertain", "opened", "clicked", "unsubscribed", "complained", "hard_bounced", "pause_reason", "rate_now", "limited_by",
                          "eta_s"}
    assert stats["status"] == "finished" and stats["limited_by"] == "finished" and stats["eta_s"] == 0
    assert json.loads(server.cli("campaign", "stats", number, "--json").stdout)["delivered"] == 3


def test_what_is_left_for_a_retry_has_no_time_left(place):
    """The rate fades while nothing is due: hours, days, weeks were told for mail that goes out in five minutes."""
    sink = place.sink(script={"rules": [{"command": "RCPT", "share": 0.2, "reply": "451 4.7.1 later"}]})
    server = place.server(sink)
    place.people(server, emails(50, ["one.test"]))
    stats = run_until(server, server.create_campaign(), lambda stats: stats["pending"] + stats["sending"] == 0 and stats["rate_now"] > 0, "the first attempts")
    assert stats["deferred"] > 0 and stats["delivered"] > 0 and stats["eta_s"] is None, stats


def test_preview_is_the_message(server):
    number = server.create_campaign(launch=False)
    preview = server.api.get("/v1/campaigns/%d/preview?recipient=person1@one.test" % number).json
    assert preview["recipient"] == "person1@one.test" and preview["subject"] == "Hello Ann"
    assert "Hello Ann" in preview["text"] and "<p>Hello Ann</p>" in preview["html"]
    for header in ("List-Unsubscribe:", "Message-ID:", "From:", "To:", "Date:", "MIME-Version:"):
        assert header in preview["message"], header
    # An address that is not on a list is a preview too, or refused by name; never a crash.
    other = server.api.get("/v1/campaigns/%d/preview?recipient=nobody@nowhere.test" % number)
    assert other.status in (200, 404, 422), other


def test_openapi_tells_of_every_call(server):
    document = server.api.get("/openapi.json").json
    assert document["openapi"].startswith("3.")
    for path in ("/v1/campaigns", "/v1/campaigns/{id}/stats", "/v1/campaigns/{id}/deliveries", "/v1/lists", "/v1/suppressions"):
        assert path in document["paths"], path


def test_answers_are_not_kept_by_anybody(server):
    """Addresses are private: no cache may hold them, and no browser may guess at types."""
    headers = server.api.get("/v1/lists").headers
    assert "no-store" in headers.get("Cache-Control", "")
    assert headers.get("X-Content-Type-Options") == "nosniff"
