"""Single messages: stored before the 202, sent before campaigns, counted and told of like every delivery."""
import concurrent.futures
import email.header
import time

import pytest

from conftest import add_up, emails, run_until
from harness import Api, wait_until
from hooklib import Receiver
from test_api import is_problem

RECEIPT = {"to": "ann@one.test", "from": {"email": "shop@sender.test", "name": "Shop"}, "subject": "Order {{order}}",
           "text": "Dear {{name}}, {{order}} is on its way.\n", "attributes": {"order": "A-17", "name": "Ann"}}


def post(server, status=202, **fields):
    answer = server.api.post("/v1/messages", {**RECEIPT, **fields})
    assert answer.status == status, answer
    return answer.json


def show(server, number):
    answer = server.api.get("/v1/messages/%d" % number)
    assert answer.status == 200, answer
    return answer.json


def ended(server, number, state="delivered", timeout_s=20):
    try:
        wait_until(lambda: show(server, number)["state"] == state, timeout_s, state)
    except TimeoutError as late:
        raise AssertionError("%s: %r" % (late, show(server, number))) from None
    return show(server, number)


def totals(server):
    return add_up(server.api.get("/v1/messages/stats").json)


@pytest.mark.sanitize
def test_one_message(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    files = [{"filename": "r.txt", "content_type": "text/plain", "content": "cmVjZWlwdA=="}]
    made = post(server, reply_to="help@sender.test", headers={"X-Order": "{{order}}"}, attachments=files, tags=["receipt"],
                metadata={"order": "17"}, html="<p>{{order}}</p>")
    assert made["to"] == "ann@one.test" and made["tags"] == ["receipt"] and made["metadata"] == {"order": "17"}
    assert made["transactional"] is True and made["state"] in ("pending", "sending", "delivered")
    done = ended(server, made["id"])
    assert done["attempts"] == 1 and done["code"] == 250 and [entry["state"] for entry in done["history"]] == ["delivered"]
    [line] = sink.messages()["ann@one.test"]
    content = sink.content(line).decode()
    for text in ("Subject: Order A-17", "X-Order: A-17", "Reply-To: help@sender.test", "DKIM-Signature:", "cmVjZWlwdA==", "Dear Ann"):
        assert text in content, text
    assert "\nList-Unsubscribe" not in content and ":transactional:sender.test" in content
    # A second one to the same address is another message, with a Message-ID of its own.
    again = ended(server, post(server)["id"])
    first, second = sink.messages()["ann@one.test"]
    assert again["id"] > done["id"] and first["message_id"] != second["message_id"]
    assert totals(server)["delivered"] == 2
    stream = server.api.get("/v1/campaigns/%d" % done["campaign_id"]).json
    assert stream["kind"] == "messages" and stream["stats"]["delivered"] == 2 and stream["status"] == "running"
    is_problem(server.api.post("/v1/campaigns/%d/cancel" % done["campaign_id"]), 409)
    person = server.api.get("/v1/recipients/ann%40one.test").json
    assert [d["message_id"] for d in person["deliveries"]] == [again["id"], done["id"]]
    assert {d["recipient_id"] for d in person["deliveries"]} == {person["id"]} == {done["recipient_id"]}
    # Attributes are of the message, not kept with the recipient.
    assert person["attributes"] == {}
    assert [m["id"] for m in server.api.pages("/v1/messages", limit=1)] == [again["id"], done["id"]]
    assert [m["id"] for m in server.api.pages("/v1/messages?state=delivered&to=Ann%40ONE.test")] == [again["id"], done["id"]]
    assert server.api.pages("/v1/messages?state=bounced") == server.api.pages("/v1/messages?to=nobody%40one.test") == []
    assert server.api.get("/v1/messages/7").status == 404


def test_what_is_wrong_is_named(place):
    server = place.server()
    cases = [({"text": "a\nb {{#x}}"}, "text", "line 2, column 3"), ({"to": "nobody"}, "to", ""), ({"to": None}, "to", "missing"),
             ({"from": {"email": "a@other.test"}}, "from.email", "no DKIM key"), ({"subject": None}, "subject", ""),
             ({"attributes": [1]}, "attributes", ""), ({"metadata": {"a": 1}}, "metadata", ""), ({"transactional": 1}, "transactional", ""),
             ({"expires_after": "31d"}, "expires_after", ""), ({"template": 99}, "template", "no campaign"), ({"lists": []}, "lists", ""),
             ({"headers": {"To": "x@y.test"}}, "headers.To", ""), ({"html": "{{view_url}}"}, "html", "view_url"),
             ({"text": None}, "html", "missing"), ({"attributes": {"a": "x" * 70000}}, "attributes", "")]
    for fields, field, text in cases:
        answer = server.api.post("/v1/messages", {**RECEIPT, **fields})
        is_problem(answer, 422)
        assert field in answer.fields() and text in str(answer.json["errors"]), answer
    is_problem(server.api.post("/v1/messages", [RECEIPT]), 422)
    assert server.api.get("/v1/messages").json["data"] == [] and totals(server)["audience"] == 0
    reader = server.cli_json("token", "create", "--name", "r", "--scope", "read")["token"]
    is_problem(Api(server.url, reader).post("/v1/messages", RECEIPT), 403)
    is_problem(Api(server.url).post("/v1/messages", RECEIPT), 401)


def test_template_is_frozen_when_posted(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["ann@one.test"])  # with the attributes name and city
    server.cli("snippet", "set", "foot", "-", stdin="old foot")
    template = server.create_campaign(launch=False, subject="Hi {{name}} of {{city}}", text="{{>foot}} {{n}}", html=None, tags=["welcome"])
    stream = post(server)["campaign_id"]
    wait_until(lambda: totals(server)["delivered"] == 1, 20, "the first")
    server.api.post("/v1/campaigns/%d/pause" % stream)
    waiting = server.api.post("/v1/messages", {"to": "ann@one.test", "template": template, "attributes": {"n": 5}}).json
    assert waiting["state"] == "pending" and waiting["tags"] == ["welcome"]
    server.cli("snippet", "set", "foot", "-", stdin="new foot")
    server.api.call("PATCH", "/v1/campaigns/%d" % template, {"subject": "changed"})
    assert server.api.post("/v1/campaigns/%d/resume" % stream).status == 202
    ended(server, waiting["id"])
    content = sink.content(sink.messages()["ann@one.test"][-1])
    assert b"old foot 5" in content and "Subject: Hi Ann of Köln" in str(email.header.make_header(email.header.decode_header(
        content.decode().replace("\r\n ", " "))))


def test_suppressed_addresses(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    for reason, address in (("unsubscribe", "left@one.test"), ("complaint", "angry@one.test"), ("hard-bounce", "dead@one.test")):
        assert server.api.post("/v1/suppressions", {"email": address, "reason": reason}).status in (200, 201)
    dead, angry = post(server, to="dead@one.test"), post(server, to="angry@one.test")
    asked, ad = post(server, to="left@one.test"), post(server, to="left@one.test", transactional=False)
    ended(server, asked["id"])
    for message in (dead, angry, ad):
        done = ended(server, message["id"], "suppressed")
        assert done["reply"].startswith("suppressed: ") and done["attempts"] == 0
    assert list(sink.messages()) == ["left@one.test"]
    stats = totals(server)
    assert stats["suppressed"] == 3 and stats["delivered"] == 1
    # What is no receipt can be unsubscribed from; then it is for everything but receipts.
    news = ended(server, post(server, to="bob@one.test", transactional=False)["id"])
    content = sink.content(sink.messages()["bob@one.test"][0]).decode().replace("\r\n ", "")
    token = content.partition("/u/")[2].partition(">")[0]
    assert "List-Unsubscribe-Post" in content
    assert server.api.post("/u/" + token, body=b"List-Unsubscribe=One-Click").status == 200
    assert server.api.get("/v1/suppressions/bob%40one.test").json["reason"] == "unsubscribe"
    assert server.api.get("/v1/campaigns/%d/stats" % news["campaign_id"]).json["unsubscribed"] == 1
    ended(server, post(server, to="bob@one.test", transactional=False)["id"], "suppressed")
    ended(server, post(server, to="bob@one.test")["id"])


def test_retries_bounces_and_expiry(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 nobody"},
                                        {"command": "RCPT", "domain": "later.test", "first": 1, "reply": "451 4.3.0 later"},
                                        {"command": "RCPT", "domain": "never.test", "reply": "451 4.3.0 never"}]})
    receiver = Receiver()
    server = place.server(sink, config="webhooks { allow_private = true }")
    assert server.api.post("/v1/webhooks", {"url": receiver.url}).status == 201
    bad = post(server, to="x@bad.test", tags=["t"], metadata={"k": "v"})
    later, never = post(server, to="x@later.test"), post(server, to="x@never.test", expires_after="3s")
    assert ended(server, bad["id"], "bounced")["code"] == 550
    tried = ended(server, later["id"])
    assert [entry["state"] for entry in tried["history"]] == ["deferred", "delivered"] and tried["attempts"] == 2
    assert ended(server, never["id"], "failed")["reply"].startswith("4.3.0 never") or show(server, never["id"])["attempts"] >= 2
    assert server.api.get("/v1/suppressions/x%40bad.test").json["reason"] == "hard-bounce"
    ended(server, post(server, to="x@bad.test")["id"], "suppressed")
    wait_until(lambda: {"bounced", "delivered", "deferred", "failed", "dropped"} <= {event["type"] for event in receiver.taken}, 20, "events")
    [bounced] = [event["data"] for event in receiver.taken if event["type"] == "bounced"]
    assert bounced["message_id"] == bad["id"] and bounced["tags"] == ["t"] and bounced["metadata"] == {"k": "v"}
    assert bounced["recipient_id"] == bad["recipient_id"] and bounced["email"] == "x@bad.test"
    totals(server)
    receiver.stop()


@pytest.mark.sanitize
def test_killed_behind_the_answer(place):
    """Whatever was answered with 202 is delivered once, over kill -9 at any moment; a repeated key makes nothing new."""
    sink = place.sink(delay_ms=20)
    server = place.server(sink)
    posted, rounds = {}, 4
    for part in range(rounds):
        def one(number):
            api = Api(server.url, server.api.token)
            key = "key-%d" % number
            answer = api.post("/v1/messages", {**RECEIPT, "to": "p%d@one.test" % number}, headers={"Idempotency-Key": key})
            api.close()
            return number, answer
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number, answer in pool.map(one, range(part * 20, part * 20 + 20)):
                assert answer.status == 202, answer
                posted[number] = answer
        server.kill()
        server.start()
    for number in (0, 25, 79):
        again = server.api.post("/v1/messages", {**RECEIPT, "to": "p%d@one.test" % number}, headers={"Idempotency-Key": "key-%d" % number})
        assert again.status == 202 and again.body == posted[number].body and again.headers["Idempotent-Replayed"] == "true"
    wait_until(lambda: totals(server)["delivered"] == rounds * 20, 40, "all messages")
    messages = sink.messages()
    assert set(messages) == {"p%d@one.test" % number for number in posted}
    for address, copies in messages.items():
        assert len({copy["message_id"] for copy in copies}) == 1
        if len(copies) > 1:
            assert server.api.pages("/v1/messages?to=" + address.replace("@", "%40"))[0]["uncertain"], address


def test_restarted_in_the_middle(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "first": 2, "reply": "451 4.3.0 later"}]})
    server = place.server(sink)
    made = [post(server, to="p%d@one.test" % number)["id"] for number in range(10)]
    wait_until(lambda: totals(server)["deferred"] > 0, 20, "a deferral")
    assert server.stop() == 0
    server.start()
    for number in made:
        assert ended(server, number)["attempts"] == 3
    assert totals(server)["delivered"] == 10


@pytest.mark.alone
def test_goes_before_a_campaign(place):
    """A site with a rate of its own and 3,000 mails of a campaign before it."""
    sink = place.sink()
    server = place.server(sink, profile='rate = "5/s"')
    place.people(server, emails(3000, ["one.test"]))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 5, "the campaign to be under way")
    for number in range(3):
        begun = time.monotonic()
        ended(server, post(server, to="me%d@one.test" % number)["id"], timeout_s=5)
        assert time.monotonic() - begun < 1.0
    assert server.stats(campaign)["pending"] + server.stats(campaign)["sending"] > 2000


@pytest.mark.alone
def test_is_composed_before_a_campaign(place):
    """Sites without limits, so that the composers are what is short: they owe some 3,000 mails of the campaign when the message comes."""
    sink = place.sink()
    server = place.server(sink)
    domains = ["large%d.test" % n for n in range(30)]
    place.people(server, emails(30_000, domains))
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 3000, "the campaign to be under way")
    number = post(server)["id"]
    before = sum(line["event"] == "message" for line in sink.ledger())
    ended(server, number)
    arrived = [line["to"] for line in sink.ledger() if line["event"] == "message"]
    assert arrived.index("ann@one.test") - before < 800
    assert server.stats(campaign)["delivered"] < 25_000
