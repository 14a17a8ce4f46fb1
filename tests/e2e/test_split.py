"""A/B campaigns: a share gets the variants in turn, the rest the winner, over restarts and once each."""
import email as email_package
import email.policy
import re
import time

import pytest

from conftest import add_up, emails, run_to_end, run_until
from harness import Api, wait_until

VARIANTS = [{"subject": "Variant zero {{name}}"}, {"subject": "Variant one", "html": "<p>One</p>"}, {"text": "Two {{name}}"}]
DOMAINS = ["a.test", "b.test", "c.test", "d.test"]


def test_faults_are_told_field_by_field(place):
    server = place.server()
    place.people(server, ["a@a.test"])
    base = {"name": "x", "lists": ["news"], "from": {"email": "news@sender.test"}, "subject": "x", "text": "x"}
    good = {"share": 20, "variants": VARIANTS, "winner": "manual"}
    for change, field in [({"share": 0}, "ab.share"), ({"share": "20"}, "ab.share"), ({"variants": VARIANTS[:1]}, "ab.variants"),
                          ({"variants": [{}, 7]}, "ab.variants[1]"), ({"variants": [{}, {"name": "x"}]}, "ab.variants[1].name"),
                          ({"variants": [{}, {"subject": 7}]}, "ab.variants[1].subject"), ({"winner": "luck"}, "ab.winner"),
                          ({"winner": "clicks"}, "ab.after"), ({"after": "4h"}, "ab.after"), ({"until": 1}, "ab.until"),
                          ({"variants": [{}, {"html": "{{#open}}"}]}, "ab.variants[1].html")]:
        answer = server.api.post("/v1/campaigns", {**base, "ab": {**good, **change}})
        assert answer.status == 422 and field in answer.fields(), (change, answer)
    answer = server.api.post("/v1/campaigns", {**base, "ab": {**good, "winner": "opens", "after": "1h"}})
    assert answer.fields() == ["ab.winner"], answer  # nothing is tracked
    plain = server.create_campaign(launch=False)
    assert server.api.get("/v1/campaigns/%d/variants" % plain).status == 404
    draft = server.create_campaign(launch=False, ab=good)
    assert server.api.post("/v1/campaigns/%d/winner" % draft, {"variant": 0}).status == 409
    assert server.api.post("/v1/campaigns/%d/winner" % draft, {"variant": 3}).status == 422
    for share in (1, 12.34, 50, 90):
        draft = server.create_campaign(launch=False, ab={**good, "share": share})
        assert server.api.get("/v1/campaigns/%d/variants" % draft).json["share"] == share


@pytest.mark.sanitize
def test_the_rest_gets_the_winner_once_over_restarts(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    audience = emails(600, DOMAINS)
    place.people(server, audience)
    campaign = server.create_campaign(ab={"share": 30, "variants": VARIANTS, "winner": "manual"})
    stats = run_until(server, campaign, lambda stats: stats["limited_by"] == "winner" and stats["sending"] == 0, "the test to be sent")
    assert 150 <= stats["delivered"] <= 210 and stats["audience"] == 600, stats
    assert stats["eta_s"] is None, "nobody knows when the winner will be chosen"
    test_part = {row["email"] for row in server.deliveries(campaign)}
    before = server.api.get("/v1/campaigns/%d/variants" % campaign).json
    assert before["winner"] is None and not before["rest"] and before["tested_at"] is not None
    assert sum(variant["delivered"] for variant in before["variants"]) == stats["delivered"]
    assert min(variant["delivered"] for variant in before["variants"]) >= stats["delivered"] / 4, before
    server.kill()
    server.start()
    run_until(server, campaign, lambda stats: stats["limited_by"] == "winner", "the test to be seen again")
    assert server.cli_json("campaign", "winner", campaign, 1)["winner"] == 1
    assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 1}).status == 202  # a second time changes nothing
    assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 0}).status == 409
    run_until(server, campaign, lambda stats: stats["delivered"] > len(test_part), "the rest to begin")
    server.stop()
    server.start()
    stats = add_up(run_to_end(server, campaign))
    assert stats["delivered"] == stats["audience"] == 600, stats
    messages = sink.messages()
    assert sorted(messages) == sorted(audience)
    subjects = {}
    for email, copies in messages.items():
        assert len(copies) == 1
        text = sink.content(copies[0]).decode()
        kind = 0 if "Variant zero" in text else 1 if "Variant one" in text else 2
        subjects.setdefault(kind, set()).add(email)
    assert set(audience) - test_part <= subjects[1]
    after = server.api.get("/v1/campaigns/%d/variants" % campaign).json
    assert [variant["delivered"] for variant in after["variants"]] == [variant["delivered"] for variant in before["variants"]]
    assert len(subjects[0]) == after["variants"][0]["delivered"] and len(subjects[2]) == after["variants"][2]["delivered"]


def test_a_winner_that_is_chosen_early_waits_for_the_test(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "40/s"')
    place.people(server, emails(200, DOMAINS))
    campaign = server.create_campaign(ab={"share": 50, "variants": VARIANTS[:2], "winner": "manual"},
                                      segment={"field": "domain", "in": ["a.test", "b.test"]})
    run_until(server, campaign, lambda stats: stats["delivered"] >= 5, "5 deliveries")
    assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 0}).status == 202
    stats = run_to_end(server, campaign)
    assert stats["delivered"] == stats["audience"] == 100, stats
    assert all(len(copies) == 1 for copies in sink.messages().values())


def html_of(sink, address):
    message = email_package.message_from_bytes(sink.content(sink.messages()[address][0]), policy=email.policy.default)
    return message.get_body(("html",)).get_content()


def test_clicks_decide_and_segments_see_them(place):
    """Three people click, all on the second variant; the rest gets that, and a later campaign can ask who did."""
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, emails(100, DOMAINS))
    link = '<p>%s <a href="https://shop.test/%s">go</a></p>'
    campaign = server.create_campaign(text=None, html=link % ("base", "base"), track={"opens": True, "clicks": True},
                                      ab={"share": 50, "winner": "clicks", "after": "6s",
                                          "variants": [{}, {"html": link % ("other", "other")}]})
    stats = run_until(server, campaign, lambda stats: stats["limited_by"] == "winner" and stats["sending"] == 0, "the test to be sent")
    others = [row["email"] for row in server.deliveries(campaign) if "other" in html_of(sink, row["email"])]
    assert 10 <= len(others) <= stats["delivered"] - 10
    time.sleep(1.2)  # who comes sooner after the delivery is no person
    visitor = Api(server.url)
    for address in others[:3]:
        path = re.search(r'href="https?://[^/"]+(/c/[a-z2-7]+)"', html_of(sink, address)).group(1)
        answer = visitor.get(path, headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"})
        assert answer.status == 302 and answer.headers["Location"] == "https://shop.test/other"
    wait_until(lambda: server.api.get("/v1/campaigns/%d/variants" % campaign).json["variants"][1]["clicked"] == 3, 10, "the clicks to be recorded")
    add_up(run_to_end(server, campaign))
    variants = server.api.get("/v1/campaigns/%d/variants" % campaign).json
    assert variants["winner"] == 1 and [variant["clicked"] for variant in variants["variants"]] == [0, 3], variants
    kinds = [("other" in html_of(sink, row["email"])) for row in server.deliveries(campaign)]
    assert len(kinds) == 100 and sum(kinds) == 100 - (stats["delivered"] - len(others))
    for word, count in (("clicked", 3), ("opened", 3), ("not_clicked", 97)):
        later = server.create_campaign(segment={"campaign": campaign, "was": word})
        assert run_to_end(server, later)["audience"] == count, word


def test_a_recipient_sees_the_variant_that_was_sent(place):
    """As a page of the browser and as a preview, before the launch and behind it, in the test and beyond it."""
    sink = place.sink(store=True)
    server = place.server(sink)
    audience = emails(60, DOMAINS)
    place.people(server, audience)
    variants = [{"subject": "Zero", "html": '<p>zero</p><a href="{{view_url}}">v</a>'}, {"subject": "One", "html": '<p>one</p><a href="{{view_url}}">v</a>'}]
    campaign = server.create_campaign(html="<p>base</p>", ab={"share": 50, "variants": variants, "winner": "manual"}, launch=False)
    preview = lambda address: server.api.get("/v1/campaigns/%d/preview?recipient=%s" % (campaign, address)).json  # noqa: E731
    before = {address: preview(address)["subject"] for address in audience}
    assert set(before.values()) == {"Zero", "One"}
    assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 202
    run_until(server, campaign, lambda stats: stats["limited_by"] == "winner" and stats["sending"] == 0, "the test to be sent")
    tested = {row["email"] for row in server.deliveries(campaign)}
    assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 1}).status == 202
    run_to_end(server, campaign)
    anyone, seen = Api(server.url), set()
    for address in audience:
        html = html_of(sink, address)
        page = anyone.get(re.search(r"(/v/[a-z2-7]+)", html).group(1))
        assert page.status == 200 and page.body.decode().strip() == html.replace("\r\n", "\n").strip(), address
        subject = "One" if "one" in html else "Zero"
        assert preview(address)["subject"] == subject == (before[address] if address in tested else "One"), address
        seen.add((address in tested, subject))
    assert seen == {(True, "Zero"), (True, "One"), (False, "One")}


def test_all_that_the_variants_show_is_kept_from_the_launch_on(place):
    """Snippets and links of each, over a restart; one that leaves its markup open hides nothing of the others."""
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, emails(40, ["one.test"]))
    for name, text in (("greet", "Dear {{name}}"), ("foot", '<a href="https://shop.test/foot">f</a>')):
        server.cli("snippet", "set", name, "-", stdin=text)
    link = '<p><a href="https://shop.test/%s">go</a></p>'
    campaign = server.create_campaign(html=link % "base" + "<!--", text=None, track={"clicks": True},
                                      ab={"share": 50, "winner": "manual", "variants": [{}, {"subject": "{{>greet}}"}, {"html": link % "two" + "{{>foot}}"}]})
    run_until(server, campaign, lambda stats: stats["limited_by"] == "winner" and stats["sending"] == 0, "the test to be sent")
    assert {row["url"] for row in server.api.pages("/v1/campaigns/%d/links" % campaign)} == {"https://shop.test/" + name for name in ("base", "two", "foot")}
    server.cli("snippet", "delete", "greet")
    server.stop()
    server.start()
    assert server.api.post("/v1/campaigns/%d/winner" % campaign, {"variant": 1}).status == 202
    assert run_to_end(server, campaign)["delivered"] == 40
    subjects = [email_package.message_from_bytes(sink.content(lines[0]))["Subject"] for lines in sink.messages().values()]
    assert subjects.count("Dear Ann") > 20, subjects
    for address in sink.messages():
        html = html_of(sink, address)
        assert html.count("/c/") == html.count("href=") > 0, html


def test_variants_of_large_html_are_launched(place):
    server = place.server(place.sink())
    place.people(server, emails(4, ["one.test"]))
    campaign = server.create_campaign(html="<p>%s</p>" % ("x" * 120_000), track={"clicks": True},
                                      ab={"share": 50, "winner": "manual", "variants": [{"subject": "s%d" % n} for n in range(8)]}, launch=False)
    answer = server.api.post("/v1/campaigns/%d/launch" % campaign)
    assert answer.status == 202, answer
    # What became of a variant since it was posted is told at its place.
    server.cli("snippet", "set", "greet", "-", stdin="Dear")
    campaign = server.create_campaign(ab={"share": 50, "winner": "manual", "variants": [{}, {"subject": "{{>greet}}"}]}, launch=False)
    server.cli("snippet", "delete", "greet")
    answer = server.api.post("/v1/campaigns/%d/launch" % campaign)
    assert answer.fields() == ["ab.variants[1].subject"], answer
