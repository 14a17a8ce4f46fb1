"""Webhooks: every event reaches its receiver, in order, signed, whatever happens to the receiver or to the server."""
import collections
import sqlite3
import threading

import pytest

from conftest import emails, run_to_end
from harness import wait_until
from hooklib import Receiver, check_order, events_of
from test_api import GOOD, is_problem

QUICK = 'webhooks { allow_private = true  retry_first = "50ms"  retry_max = "400ms"  timeout = "2s" }\n'


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


def add(server, receiver, **fields):
    answer = server.api.post("/v1/webhooks", {"url": receiver.url, **fields})
    assert answer.status == 201, answer
    receiver.secrets = [answer.json["secret"]]
    return answer.json["id"]


def hook(server, number):
    return server.api.get("/v1/webhooks/%d" % number).json


def states(events):
    """What the events say became of each recipient in the end."""
    last = {}
    for event in events:
        if "email" in event["data"]:
            last[event["data"]["email"]] = event["type"]
    return collections.Counter(last.values())


def count(receiver, kind, campaign=None):
    with receiver.lock:
        return len({event["id"] for event in receiver.taken if event["type"] == kind and campaign in (None, event["data"]["campaign_id"])})


@pytest.mark.sanitize
def test_a_campaign_is_told(place, receiver):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 <b>nobody</b>"},
                                        {"command": "RCPT", "domain": "slow.test", "reply": "451 4.3.0 later", "first": 1}]})
    server = place.server(sink, config=QUICK)
    people = emails(90, ["one.test", "bad.test", "slow.test"])
    place.people(server, people)
    server.cli("suppress", "add", people[0])
    number = add(server, receiver, events=["*"], batch=7)
    campaign = server.create_campaign(tags=["spring"], metadata={"k": "v"})
    stats = run_to_end(server, campaign)
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 20, "the last event")
    assert not receiver.wrong and receiver.taken[0]["type"] == "campaign.started" and receiver.taken[-1]["type"] == "campaign.finished"
    ids = check_order(receiver.taken)
    assert len(ids) == len(receiver.taken)
    assert states(receiver.taken) == {"delivered": stats["delivered"], "bounced": 30, "dropped": 1}
    for headers, body, _ in receiver.requests:
        assert body["type"] == "events" and 1 <= len(body["data"]["events"]) <= 7
        assert headers["Content-Type"] == "application/json" and headers["User-Agent"].startswith("posthaste/")
    bounced = next(event for event in receiver.taken if event["type"] == "bounced")
    data = bounced["data"]
    assert data["tags"] == ["spring"] and data["metadata"] == {"k": "v"} and data["campaign_id"] == campaign
    assert data["code"] == 550 and data["enhanced"] == "5.1.1" and "<b>nobody</b>" in data["reply"] and data["attempt"] == 1
    assert any(event["type"] == "deferred" and event["data"]["code"] == 451 for event in receiver.taken)
    shown = wait_until(lambda: (now := hook(server, number))["behind"] == 0 and now, 10, "the place to be noted")
    assert shown["taken"] == len(ids) and shown["last_status"] == 200 and shown["attempts"] == 0


def test_long_metadata_makes_more_and_smaller_batches(place, receiver):
    """Each event repeats what its campaign was posted with: a thousand times 64 kB fit no request, one event always does."""
    server = place.server(place.sink(), config=QUICK.replace('"2s"', '"20s"'))
    place.people(server, emails(200, ["one.test"]))
    add(server, receiver, events=["*"], batch=1000)
    metadata = {"field%d" % n: "x" * 2000 for n in range(32)}
    receiver.status = lambda n: 503 if n == 0 else 200  # what is told first is one event; then there are many
    run_to_end(server, server.create_campaign(metadata=metadata))
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 30, "the last event")
    assert not receiver.wrong and count(receiver, "delivered") == 200
    assert len(check_order(receiver.taken)) == len(receiver.taken) == 202
    assert all(event["data"]["metadata"] == metadata for event in receiver.taken)
    sizes = [(int(headers["Content-Length"]), len(events_of(body))) for headers, body, _ in receiver.requests]
    assert max(size for size, _ in sizes) <= 1 << 20 and max(events for _, events in sizes) > 1, sizes
    # No event is larger than a batch may be: names have a limit as well.
    refused = server.api.post("/v1/campaigns", {**GOOD, "metadata": {"x" * 201: "y"}})
    assert refused.status == 422 and refused.json["errors"][0]["field"] == "metadata", refused.json


def test_only_what_was_asked_for(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(2000, ["one.test", "two.test"]))
    number = add(server, receiver, events=["campaign.*", "bounced"], batch=1)
    other = Receiver()
    try:
        assert server.api.post("/v1/webhooks", {"url": other.url, "events": ["delivered"], "batch": 1000}).status == 201
        run_to_end(server, server.create_campaign())
        wait_until(lambda: count(receiver, "campaign.finished") == 1 and count(other, "delivered") == 2000, 30, "both")
    finally:
        other.stop()
    assert [event["type"] for event in receiver.taken] == ["campaign.started", "campaign.finished"]
    headers, body, _ = receiver.requests[0]
    assert set(body) == {"id", "type", "timestamp", "data"} and headers["webhook-id"] == body["id"]
    assert wait_until(lambda: hook(server, number)["behind"] == 0, 15, "the place to pass what is not wanted")


@pytest.mark.sanitize
def test_a_receiver_that_is_down_slow_or_broken_gets_everything(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(600, ["one.test", "two.test"]))
    number = add(server, receiver, batch=50)
    receiver.status = lambda n: 500 if n % 3 else 200
    run_to_end(server, server.create_campaign())
    receiver.stop()
    wait_until(lambda: hook(server, number)["attempts"] > 1, 20, "it to be down")
    assert hook(server, number)["failing_since"] and hook(server, number)["last_error"]
    receiver.status, receiver.delay_s = 200, 0.2
    receiver.start(receiver.port)
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 60, "everything")
    assert not receiver.wrong and check_order(receiver.taken) and count(receiver, "delivered") == 600
    repeated = collections.defaultdict(set)
    for headers, body, _ in receiver.requests:
        repeated[headers["webhook-id"]].add(str(body))
    assert all(len(bodies) == 1 for bodies in repeated.values()), "the same id means the same content"
    shown = wait_until(lambda: (now := hook(server, number))["behind"] == 0 and now, 10, "the place to be noted")
    assert shown["attempts"] == 0 and shown["failing_since"] is None


def test_nothing_is_lost_over_kill_9(place, receiver):
    server = place.server(place.sink(), config=QUICK, profile='rate = "600/s"')
    place.people(server, emails(1500, ["one.test", "two.test"]))
    add(server, receiver, batch=40)
    receiver.status = lambda n: 503 if n % 4 == 1 else 200
    receiver.delay_s = 0.01
    campaign = server.create_campaign()
    for part in (1, 2, 3):
        wait_until(lambda: count(receiver, "delivered") > 350 * part, 30, "a part of the events")
        server.kill()
        server.start()
    stats = run_to_end(server, campaign)
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 60, "the last event")
    assert not receiver.wrong and check_order(receiver.taken)
    told = {event["data"]["email"] for event in receiver.taken if event["type"] == "delivered"}
    delivered = {row["email"] for row in server.api.pages("/v1/campaigns/%d/deliveries?state=delivered" % campaign)}
    assert told == delivered and len(delivered) == stats["delivered"] == 1500


def test_gone_is_gone_until_it_is_enabled(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(20, ["one.test"]))
    number = add(server, receiver)
    receiver.status = 410
    run_to_end(server, server.create_campaign())
    shown = wait_until(lambda: not (now := hook(server, number))["enabled"] and now, 20, "it to be disabled")
    assert shown["reason"] == "HTTP 410" and shown["last_status"] == 410
    asked = len(receiver.requests)
    receiver.status = 200
    run_to_end(server, server.create_campaign())
    assert len(receiver.requests) == asked
    assert server.api.call("PATCH", "/v1/webhooks/%d" % number, {"enabled": True}).json["enabled"]
    wait_until(lambda: count(receiver, "campaign.started") == 1, 20, "what it had not taken")
    assert {event["data"]["campaign_id"] for event in receiver.taken} == {1}, "what happened while it was disabled is not told"
    last = server.create_campaign()
    run_to_end(server, last)
    # Of the first campaign some may have been delivered before the receiver said that it is gone.
    wait_until(lambda: count(receiver, "delivered", last) == 20, 20, "what happens from now on")


def test_a_day_without_success_ends_it(place, receiver):
    server = place.server(place.sink(), config=QUICK.replace("}", ' give_up = "1s" }'))
    place.people(server, emails(3, ["one.test"]))
    number = add(server, receiver)
    receiver.status = 302
    receiver.headers = {"Location": "http://169.254.169.254/"}
    run_to_end(server, server.create_campaign())
    shown = wait_until(lambda: not (now := hook(server, number))["enabled"] and now, 20, "it to be disabled")
    assert "nothing was taken for too long" in shown["reason"] and "redirects are not followed" in shown["reason"]


def test_a_backlog_has_an_end(place, receiver):
    """What nobody takes is kept in the database, up to so many events; then the webhook is disabled, and the operator told."""
    server = place.server(place.sink(), config=QUICK.replace("}", " backlog = 1000 }"))
    place.people(server, emails(1200, ["one.test"]))
    number = add(server, receiver)
    receiver.status = 500
    run_to_end(server, server.create_campaign())
    shown = wait_until(lambda: not (now := hook(server, number))["enabled"] and now, 20, "it to be disabled")
    assert "events behind" in shown["reason"]
    alerts = wait_until(lambda: [alert for alert in server.api.get("/v1/stats").json["alerts"] if "gave up" in alert["text"]], 20, "the alert")
    assert alerts[0]["level"] == "warn"
    # A replay begins later, and so it goes on from there.
    receiver.status = 200
    assert server.api.post("/v1/webhooks/%d/replay" % number, {"from": "2099-01-01T00:00:00Z"}).status == 202
    assert server.api.call("PATCH", "/v1/webhooks/%d" % number, {"enabled": True}).json["enabled"]
    run_to_end(server, server.create_campaign())
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 20, "what happens from now on")
    assert hook(server, number)["enabled"]


def test_retry_after_is_honoured(place, receiver):
    server = place.server(place.sink(), config=QUICK.replace('"400ms"', '"5s"'))
    place.people(server, emails(1, ["one.test"]))
    receiver.status = lambda n: 429 if n == 0 else 200
    receiver.headers = {"Retry-After": "2"}
    add(server, receiver, events=["campaign.started"])
    run_to_end(server, server.create_campaign())
    wait_until(lambda: len(receiver.requests) == 2, 20, "the second attempt")
    first, second = (int(headers["webhook-timestamp"]) for headers, _, _ in receiver.requests)
    assert second - first >= 1 and receiver.requests[0][0]["webhook-id"] == receiver.requests[1][0]["webhook-id"]


def test_secrets_rotate_and_the_past_is_replayed(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(10, ["one.test"]))
    number = add(server, receiver)
    run_to_end(server, server.create_campaign())
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 20, "the events")
    first = [event["id"] for event in receiver.taken]
    new = server.api.post("/v1/webhooks/%d/rotate" % number).json["secret"]
    receiver.secrets = [new] + receiver.secrets
    answer = server.api.post("/v1/webhooks/%d/replay" % number, {"from": "2020-01-01T00:00:00Z"})
    assert answer.status == 202 and answer.json["events"] == len(first)
    wait_until(lambda: len(receiver.taken) == 2 * len(first), 20, "the events again")
    assert [event["id"] for event in receiver.taken[len(first):]] == first and not receiver.wrong


def test_a_change_while_a_request_is_out_counts_from_the_next_one(place, receiver):
    server = place.server(place.sink(), config=QUICK.replace('"2s"', '"30s"'))
    place.people(server, emails(5, ["one.test"]))
    number = add(server, receiver, events=["campaign.started"], batch=1)
    answered = threading.Event()
    receiver.status = lambda _: 200 if answered.wait(30) else 500
    other = Receiver()
    try:
        run_to_end(server, server.create_campaign())
        new = server.api.post("/v1/webhooks/%d/rotate" % number).json["secret"]
        other.secrets = [new] + receiver.secrets
        assert server.api.call("PATCH", "/v1/webhooks/%d" % number, {"url": other.url, "events": ["campaign.*", "delivered"]}).status == 200
        last = server.create_campaign()
        run_to_end(server, last)
        answered.set()
        wait_until(lambda: count(other, "campaign.finished", last) == 1, 20, "what is newly wanted, where it is wanted")
    finally:
        answered.set()
        other.stop()
    assert len(receiver.requests) == 1 and count(receiver, "campaign.started") == 1 and not other.wrong
    assert count(other, "campaign.started") == count(other, "campaign.started", last) == 1 and count(other, "delivered", last) == 5
    assert check_order(other.taken)


@pytest.mark.parametrize("status", [410, 500])
def test_a_new_address_is_not_blamed_for_the_old_one(place, receiver, status):
    server = place.server(place.sink(), config=QUICK.replace('"2s"', '"30s"').replace('"400ms"', '"60s"').replace('"50ms"', '"60s"'))
    place.people(server, emails(1, ["one.test"]))
    number = add(server, receiver, events=["campaign.started"])
    out, answered = threading.Event(), threading.Event()
    receiver.status = lambda _: out.set() or answered.wait(30) and status
    other = Receiver()
    try:
        server.create_campaign()
        assert out.wait(20)
        assert server.api.call("PATCH", "/v1/webhooks/%d" % number, {"url": other.url}).status == 200
        answered.set()
        wait_until(lambda: count(other, "campaign.started") == 1, 20, "the event at the new address, at once")
    finally:
        answered.set()
        other.stop()
    shown = hook(server, number)
    assert shown["enabled"] and shown["reason"] == "" and len(receiver.requests) == 1, shown


def test_what_is_newly_wanted_is_not_passed_over(place, receiver):
    """A change that the server was not told of: until it looks, it gathers what was wanted before."""
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(1, ["one.test"]))
    add(server, receiver, events=["campaign.finished"])
    for wider in (False, True):
        last = server.create_campaign()
        run_to_end(server, last)
        wait_until(lambda: count(receiver, "campaign.finished", last) == 1, 20, "what was wanted")
        if not wider:
            with sqlite3.connect(server.data_dir / "posthaste.db", timeout=20) as database:
                database.execute("UPDATE webhook SET kinds = -1")
                database.execute("UPDATE meta SET event_hooks = -1")
    assert count(receiver, "campaign.started", last) == count(receiver, "delivered", last) == 1


def test_no_event_goes_without_its_tags_because_of_a_failed_read(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(1, ["one.test"]))
    campaign = server.create_campaign(tags=["spring"], metadata={"k": "v"})
    run_to_end(server, campaign)
    add(server, receiver)
    columns = "campaign_id, recipient_id, at, attempt, uncertain, code, enhanced, mx_host, detail"
    with sqlite3.connect(server.data_dir / "posthaste.db", timeout=20) as database:
        database.execute("UPDATE campaign SET status = 77 + status")
        database.execute("INSERT INTO event (kind, %s) VALUES (0, %d, 1, 1, 1, 0, 250, '', '', '')" % (columns, campaign))
    wait_until(lambda: receiver.taken or "not_sent" in server.log.read_text(), 20, "the event to be looked at")
    with sqlite3.connect(server.data_dir / "posthaste.db", timeout=20) as database:
        database.execute("UPDATE campaign SET status = status - 77")
    wait_until(lambda: receiver.taken, 20, "the event")
    assert [(event["data"]["tags"], event["data"]["metadata"]) for event in receiver.taken] == [(["spring"], {"k": "v"})]


def test_they_are_made_by_the_command_line_too(place, receiver):
    server = place.server(place.sink(), config=QUICK)
    place.people(server, emails(5, ["one.test"]))
    made = server.cli_json("webhook", "add", receiver.url, "--event", "delivered", "--event", "campaign.finished", "--batch", "2")
    receiver.secrets = [made["secret"]]
    run_to_end(server, server.create_campaign())
    wait_until(lambda: count(receiver, "campaign.finished") == 1, 20, "the events")
    assert count(receiver, "delivered") == 5 and not receiver.wrong
    assert [row["id"] for row in server.cli_json("webhook", "list")] == [made["id"]]
    assert server.cli_json("webhook", "disable", made["id"])["enabled"] is False
    assert "disabled" in server.cli("webhook", "show", made["id"]).stdout
    assert server.cli_json("webhook", "enable", made["id"])["enabled"] is True
    assert server.cli_json("webhook", "replay", made["id"], "1h")["events"] >= 6
    assert server.cli_json("webhook", "rotate", made["id"])["secret"].startswith("whsec_")
    assert receiver.url in server.cli("webhook", "list").stdout
    assert server.cli("webhook", "add", "ftp://x.test/", check=False).returncode == 1
    assert server.cli("webhook", "show", "x", check=False).returncode == 2
    server.cli("webhook", "remove", made["id"])
    assert server.cli("webhook", "show", made["id"], check=False).returncode == 1
    assert any("webhook add" == entry.get("action") for entry in map(__import__("json").loads, (server.data_dir / "audit.jsonl").open()))


PRIVATE = ["http://127.0.0.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.1/", "https://[::1]/", "http://[::ffff:127.0.0.1]/",
           "http://[::]/", "http://10.1.2.3/", "http://192.168.0.1/", "http://172.16.9.9:8080/", "http://100.64.0.1/", "http://169.254.169.254/latest",
           "http://[fe80::1]/", "http://[fd00::1]/", "http://[64:ff9b::7f00:1]/", "http://0.0.0.0/", "http://localhost/", "http://224.0.0.1/"]


def test_private_addresses_are_not_knocked_at(place, receiver):
    server = place.server(place.sink(), config='webhooks { retry_first = "50ms"  retry_max = "200ms" }\n')
    place.people(server, emails(2, ["one.test"]))
    for url in PRIVATE + ["ftp://x.test/", "file:///etc/passwd", "gopher://x.test/", "https://u:p@x.test/", "https://x.test/#f", "x.test", "", "http:// x",
                          "https://x.test/" + "a" * 2000]:
        is_problem(server.api.post("/v1/webhooks", {"url": url}), 422)
    # A name that leads to a private address is known only when it is resolved: this host's own.
    name = "http://localhost.:%d/"
    number = server.api.post("/v1/webhooks", {"url": name % receiver.port}).json["id"]
    run_to_end(server, server.create_campaign())
    shown = wait_until(lambda: (now := hook(server, number))["attempts"] > 1 and now, 20, "it to be refused")
    assert "loopback, private or reserved" in shown["last_error"] or "resolve" in shown["last_error"].lower(), shown
    assert not receiver.requests


def test_wishes_are_checked(place):
    server = place.server(None, config=QUICK)
    for wish, field in (({}, "url"), ({"url": "https://x.test/", "events": ["deliverd"]}, "events[0]"), ({"url": "https://x.test/", "events": []}, "events"),
                        ({"url": "https://x.test/", "batch": 1001}, "batch"), ({"url": "https://x.test/", "enabled": False}, "enabled"),
                        ({"url": "https://x.test/", "secret": "x"}, "secret")):
        answer = is_problem(server.api.post("/v1/webhooks", wish), 422)
        assert [fault["field"] for fault in answer["errors"]] == [field], answer
    for n in range(100):
        assert server.api.post("/v1/webhooks", {"url": "https://x%d.test/" % n, "events": ["guard.paused"]}).status == 201
    is_problem(server.api.post("/v1/webhooks", {"url": "https://x.test/"}), 409)
    rows = server.api.pages("/v1/webhooks", limit=30)
    assert len(rows) == 100 and not any("secret" in row for row in rows)
    reader = server.cli_json("token", "create", "--name", "r", "--scope", "send")["token"]
    is_problem(server.api.get("/v1/webhooks", headers={"Authorization": "Bearer " + reader}), 403)
