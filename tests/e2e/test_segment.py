"""Segments: a filter over attributes, lists and earlier campaigns decides who of the lists is mailed."""
import pytest

from conftest import add_up, emails, run_to_end, run_until

PEOPLE = {
    "ann": {"city": "Köln", "age": "35", "plan": "gold", "born": "1990-05-01", "tags": ["a", "b"], "address": {"zip": "50667"}},
    "bob": {"city": "Bonn", "age": 20, "vip": True, "born": "2001-01-01T10:00:00+02:00", "seen": "2020-01-01"},
    "cat": {"city": "köln", "age": 35.5, "vip": "false", "tags": ["b", 7], "note": "50% \"off\""},
    "dan": {"age": "n/a", "plan": None, "tags": "abc", "address": {"zip": None}},
    "eve": {},
    "fay": {"city": "", "age": -3, "vip": False, "we.ird": "x", "born": "soon"},
}
CASES = [
    ({"attribute": "city", "eq": "Köln"}, "ann"),
    ({"attribute": "city", "ne": "Köln"}, "bob cat dan eve fay"),
    ({"attribute": "city", "exists": True}, "ann bob cat fay"),
    ({"attribute": "plan", "exists": False}, "bob cat dan eve fay"),
    ({"attribute": "city", "in": ["Köln", "Bonn", ""]}, "ann bob fay"),
    ({"attribute": "age", "eq": 35}, "ann"),
    ({"attribute": "age", "gte": 20, "lt": 35.5}, "ann bob"),
    ({"attribute": "age", "in": [20, -3]}, "bob fay"),
    ({"attribute": "age", "gt": "2"}, "ann dan"),
    ({"attribute": "vip", "eq": True}, "bob"),
    ({"attribute": "vip", "eq": False}, "cat fay"),
    ({"attribute": "city", "contains": "ö"}, "ann cat"),
    ({"attribute": "city", "starts_with": "K"}, "ann"),
    ({"attribute": "tags", "contains": "b"}, "ann cat dan"),
    ({"attribute": "tags", "contains": 7}, "cat"),
    ({"attribute": "address.zip", "eq": "50667"}, "ann"),
    ({"attribute": "note", "contains": "\"off\""}, "cat"),
    ({"attribute": "born", "before": "2000-01-01"}, "ann"),
    ({"attribute": "born", "after": "2001-01-01T08:00:00Z"}, "bob"),
    ({"attribute": "seen", "within": "30d"}, ""),
    ({"field": "created", "within": "1d"}, "ann bob cat dan eve fay"),
    ({"field": "email", "starts_with": "e"}, "eve"),
    ({"field": "domain", "eq": "b.test"}, "bob dan fay"),
    ({"list": "vips"}, "ann eve"),
    ({"list": "vips", "status": "none"}, "bob cat dan fay"),
    ({"list": "vips", "status": "unsubscribed"}, ""),
    ({"and": [{"attribute": "age", "gte": 20}, {"not": {"list": "vips"}}]}, "bob cat"),
    ({"or": [{"attribute": "plan", "eq": "gold"}, {"and": [{"attribute": "vip", "eq": False}, {"attribute": "age", "lt": 0}]}]}, "ann fay"),
    ({"not": {"attribute": "city", "exists": True}}, "dan eve"),
]
WRONG = [
    ([], "segment"),
    ({}, "segment"),
    ({"and": []}, "segment.and"),
    ({"and": [{"attribute": "a", "eq": 1}], "or": []}, "segment"),
    ({"and": [{"attribute": "a", "eq": 1}, {"attribute": "a", "like": "x"}]}, "segment.and[1].like"),
    ({"not": {"attribute": "a"}}, "segment.not"),
    ({"attribute": "", "eq": 1}, "segment.attribute"),
    ({"attribute": "a\"b", "eq": 1}, "segment.attribute"),
    ({"attribute": "a", "eq": None}, "segment.eq"),
    ({"attribute": "a", "in": "x"}, "segment.in"),
    ({"attribute": "a", "in": ["x", {}]}, "segment.in[1]"),
    ({"attribute": "a", "before": "yesterday"}, "segment.before"),
    ({"attribute": "a", "within": "30"}, "segment.within"),
    ({"attribute": "a", "exists": "yes"}, "segment.exists"),
    ({"field": "age", "eq": 1}, "segment.field"),
    ({"attribute": "city", "field": "email", "eq": "x"}, "segment.field"),
    ({"field": "created", "eq": "2026-01-01"}, "segment.eq"),
    ({"list": "nobody"}, "segment.list"),
    ({"list": "news", "status": "happy"}, "segment.status"),
    ({"campaign": 999, "was": "delivered"}, "segment.campaign"),
    ({"campaign": "1", "was": "delivered"}, "segment.campaign"),
    ({"attribute": "a", "in": list(range(1001))}, "segment.in"),
]


def names(server, campaign):
    return " ".join(sorted(row["email"].split("@")[0] for row in server.deliveries(campaign)))


def load(server):
    lists = {}
    for name in ("news", "vips"):
        lists[name] = server.api.post("/v1/lists", {"name": name}).json["id"]
    rows = [{"email": "%s@%s.test" % (name, "ab"[n % 2]), "attributes": attributes} for n, (name, attributes) in enumerate(PEOPLE.items())]
    assert server.api.post("/v1/lists/%d/recipients" % lists["news"], rows).status == 200
    assert server.api.post("/v1/lists/%d/recipients" % lists["vips"], [row for row in rows if row["email"][:3] in ("ann", "eve")]).status == 200


def test_each_test_of_a_segment_selects_whom_it_says(place):
    server = place.server(place.sink())
    load(server)
    campaigns = [server.create_campaign(name="case %d" % n, segment=segment) for n, (segment, _) in enumerate(CASES)]
    for campaign, (segment, expected) in zip(campaigns, CASES):
        stats = run_to_end(server, campaign)
        assert names(server, campaign) == expected, segment
        assert stats["audience"] == stats["delivered"] == len(expected.split()), (segment, stats)


def test_what_an_earlier_campaign_did_selects(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "rcpt": "dan@*", "reply": "550 5.2.0 refused"}]})
    server = place.server(sink)
    load(server)
    first = server.create_campaign(segment={"field": "email", "in": ["ann@a.test", "dan@b.test"]})
    run_to_end(server, first)
    expected = {"sent": "ann dan", "delivered": "ann", "bounced": "dan"}
    for word, who in expected.items():
        campaign = server.create_campaign(segment={"campaign": first, "was": word})
        run_to_end(server, campaign)
        assert names(server, campaign) == who, word
    campaign = server.create_campaign(segment={"not": {"campaign": first, "was": "sent"}})
    run_to_end(server, campaign)
    assert names(server, campaign) == "bob cat eve fay"
    # A copy keeps its segment.
    copy = server.api.post("/v1/campaigns/%d/clone" % campaign).json["id"]
    assert server.api.post("/v1/campaigns/%d/launch" % copy).status == 202
    run_to_end(server, copy)
    assert names(server, copy) == "bob cat eve fay"


def test_faults_are_told_field_by_field(place):
    server = place.server()
    load(server)
    base = {"name": "x", "lists": ["news"], "from": {"email": "news@sender.test"}, "subject": "x", "text": "x"}
    for segment, field in WRONG:
        answer = server.api.post("/v1/campaigns", {**base, "segment": segment})
        assert answer.status == 422 and field in answer.fields(), (segment, answer)
    deep = {"attribute": "a", "eq": 1}
    for _ in range(8):
        deep = {"not": deep}
    answer = server.api.post("/v1/campaigns", {**base, "segment": deep})
    assert answer.status == 422 and answer.fields()[0].startswith("segment.not"), answer
    several = server.api.post("/v1/campaigns", {**base, "segment": {"and": [{"attribute": "a", "eq": []}, {"list": 77}]}})
    assert several.fields() == ["segment.and[0].eq", "segment.and[1].list"], several
    # A draft's segment is changed by a patch, and taken away by null.
    draft = server.create_campaign(launch=False, segment={"attribute": "city", "eq": "Bonn"})
    assert server.api.call("PATCH", "/v1/campaigns/%d" % draft, {"segment": {"attribute": "city", "eq": 1, "like": 2}}).fields() == ["segment.like"]


@pytest.mark.sanitize
def test_a_large_segment_is_counted_beside_and_survives_a_kill(place):
    """Half of 6,000; a kill in the middle, and attributes that change while the campaign is away."""
    sink = place.sink()
    server = place.server(sink, profile='rate = "2000/s" connections = 8')
    audience = emails(6000, ["a.test", "b.test", "c.test", "d.test"])
    place.people(server, audience, columns=("half",), row=lambda email: (str(int(email[6:].split("@")[0]) % 2),))
    campaign = server.create_campaign(segment={"attribute": "half", "eq": 1})
    run_until(server, campaign, lambda stats: stats["delivered"] >= 500, "500 deliveries")
    server.kill()
    # Whoever was claimed goes on, whatever its attributes say now; the rest is asked anew: so now it is everybody.
    place.people(server, audience, columns=("half",), row=lambda email: ("1",))
    server.start()
    stats = add_up(run_to_end(server, campaign))
    assert stats["audience"] == stats["delivered"] >= 3000, stats
    rows = server.deliveries(campaign)
    assert len(rows) == len({row["email"] for row in rows}) == stats["audience"]
    reached = {to for to in sink.messages()}
    assert {row["email"] for row in rows} == reached
    assert {email for email in audience if int(email[6:].split("@")[0]) % 2} <= reached
