"""Preview with its warnings, and the pages behind {{view_url}} and {{preferences_url}}."""
import email
import email.policy
import re

import pytest

from conftest import run_to_end
from harness import Api

CLEAN = {"html": '<p>Hello {{name}}</p><a href="https://shop.test/">shop</a> <a href="{{unsubscribe_url}}">leave</a>', "text": "Hello\n{{unsubscribe_url}}\n"}

WARNINGS = [
    ({}, set()),
    ({"track": {"clicks": True, "opens": True}}, set()),
    ({"text": None}, {"no_text"}),
    ({"html": "<p>x</p>"}, {"no_unsubscribe"}),
    ({"html": None, "text": "x"}, {"no_unsubscribe"}),
    ({"html": CLEAN["html"] + "<p>" + "x" * 110_000 + "</p>"}, {"clipped"}),
    ({"html": CLEAN["html"] + '<a href="">x</a>'}, {"broken_link"}),
    ({"html": CLEAN["html"] + '<a href="/relative">x</a>'}, {"broken_link"}),
    ({"html": CLEAN["html"] + '<a href="{{gone}}">x</a>'}, {"broken_link", "missing_attribute"}),
    ({"html": CLEAN["html"] + '<a href="https://localhost/">x</a>', "track": {"clicks": True}}, {"broken_link"}),
    ({"html": CLEAN["html"] + '<a href="http://shop.test/">x</a>'}, {"plain_http"}),
    ({"html": CLEAN["html"] + '<a href="mailto:a@b.test">x</a><a href="#top">y</a>'}, set()),
]


@pytest.mark.sanitize
def test_the_preview_warns(place):
    server = place.server()
    place.people(server, ["a@one.test"])
    for change, codes in WARNINGS:
        campaign = server.create_campaign(**{**CLEAN, **change}, launch=False)
        preview = server.api.get("/v1/campaigns/%d/preview?recipient=a@one.test" % campaign).json
        assert {warning["code"] for warning in preview["warnings"]} == codes, (change, preview["warnings"])
        assert preview["size_bytes"] == len(preview["message"].encode())
        message = email.message_from_string(preview["message"], policy=email.policy.default)
        assert [field["name"] for field in preview["headers"]] == message.keys()
        assert {"name": "To", "value": "a@one.test"} in preview["headers"]
    campaign = server.create_campaign(**{**CLEAN, "html": "<p>x</p>"}, launch=False)
    assert "warning: no unsubscribe link" in server.cli("campaign", "preview", campaign).stderr


def test_the_message_as_a_page(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["a@one.test"], row=lambda _: ("<script>alert(1)</script>", "x"))
    run_to_end(server, server.create_campaign(html='<p>Hi {{name}}</p><a href="{{view_url}}">v</a> <a href="{{preferences_url}}">p</a>', text=None))
    message = email.message_from_bytes(sink.content(sink.messages()["a@one.test"][0]), policy=email.policy.default)
    html = message.get_body(("html",)).get_content()
    view, preferences = (re.search(r"(/%s/[a-z2-7]+)" % kind, html).group(1) for kind in "vp")
    anyone = Api(server.url)
    page = anyone.get(view)
    assert page.status == 200 and page.body.decode().strip() == html.replace("\r\n", "\n").strip()
    policy = page.headers["Content-Security-Policy"]
    assert "script-src" not in policy and "default-src 'none'" in policy and "sandbox" in policy
    for wrong in (view[:-1], view.replace("/v/", "/p/"), preferences.replace("/p/", "/v/"), view + "a"):
        assert anyone.get(wrong).status == 404
    status = lambda: {row["list"]: row["status"] for row in server.api.get("/v1/recipients/a@one.test").json["lists"]}  # noqa: E731
    place.people(server, ["a@one.test"], "other & more")
    place.people(server, ["b@one.test"], "secret")
    shown = anyone.get(preferences).body.decode()
    assert shown.count("checkbox") == 2 == shown.count(" checked") and "other &amp; more" in shown and "secret" not in shown
    assert status() == {"news": "active", "other & more": "active"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    other = re.search(r'value="(\d+)" checked> other', shown).group(1)
    assert "Saved" in anyone.post(preferences, body=b"save=1&list=" + other.encode(), headers=form).body.decode()
    assert status() == {"news": "unsubscribed", "other & more": "active"}
    anyone.post(preferences, body=b"list=1&list=%s&save=1&list=3" % other.encode(), headers=form)
    assert status() == {"news": "active", "other & more": "active"}
    assert anyone.post(preferences, body=b"list=1", headers=form).status == 400
