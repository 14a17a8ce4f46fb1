"""Stored partials: checked when they are stored, frozen when a campaign is launched."""
import email
import email.policy

import pytest

from conftest import emails, run_to_end, run_until


def test_a_snippet_is_checked_and_shown(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, emails(2, ["one.test"]))
    api = server.api
    assert api.post("/v1/snippets", {"name": "foot", "text": "<i>{{city}}</i>\n"}).status == 201
    assert api.post("/v1/snippets", {"name": "page", "text": "<b>{{name}}</b>\n{{>foot}}\n"}).status == 201
    wrong = {"text": [("{{#a}}", "line 1, column 1: the section is not closed"), ("ok\n {{x", "line 2, column 2: the tag is not closed"),
                      ("{{>nothing}}", 'line 1, column 1: there is no partial named "nothing"'), ("x{{>self}}", "without end")],
             "name": [("", ""), ("a b", ""), ("../x", ""), ("x" * 65, ""), (".x", "")]}
    for text, message in wrong["text"]:
        answer = api.post("/v1/snippets", {"name": "self", "text": text})
        assert answer.status == 422 and answer.fields() == ["text"] and message in answer.json["errors"][0]["message"], answer
    for name, _ in wrong["name"]:
        assert api.post("/v1/snippets", {"name": name, "text": "x"}).fields() == ["name"], name
    assert api.get("/v1/snippets/self").status == 404
    answer = api.post("/v1/campaigns", {"name": "x", "lists": ["news"], "from": {"email": "a@sender.test"}, "subject": "s", "html": "a\n {{>gone}}"})
    assert answer.fields() == ["html"] and "line 2, column 2" in answer.json["errors"][0]["message"]
    run_to_end(server, server.create_campaign(html="<p>{{>page}}</p>", text=None))
    message = email.message_from_bytes(sink.content(sink.messages()["person0@one.test"][0]), policy=email.policy.default)
    assert "<b>Ann</b>\n<i>Köln</i>" in message.get_body(("html",)).get_content().replace("\r\n", "\n")


def test_a_launched_campaign_keeps_its_snippets(place):
    """Also over a restart, which compiles it anew."""
    sink = place.sink(store=True)
    server = place.server(sink, profile='rate = "20/s"')
    place.people(server, emails(60, ["one.test"]))
    server.cli("snippet", "set", "foot", "-", stdin="before {{unsubscribe_url}}")
    campaign = server.create_campaign(html='<a href="https://a.test/">x</a> {{>foot}}', text=None, track={"clicks": True})
    run_until(server, campaign, lambda stats: stats["delivered"] > 5, "some to be delivered")
    server.cli("snippet", "set", "foot", "-", stdin='after <a href="https://b.test/">y</a>')
    server.stop()
    server.start()
    server.cli("snippet", "delete", "foot")
    server.stop()
    server.start()
    run_to_end(server, campaign)
    for lines in sink.messages().values():
        html = email.message_from_bytes(sink.content(lines[0]), policy=email.policy.default).get_body(("html",)).get_content()
        assert "before http" in html and "after" not in html and html.count("/c/") == 1
    assert [row["url"] for row in server.api.pages("/v1/campaigns/%d/links" % campaign)] == ["https://a.test/"]


@pytest.mark.sanitize
def test_the_command_line(place):
    server = place.server(start=False)
    path = place.folder / "part.html"
    path.write_text("<b>{{name}}</b>")
    server.cli("snippet", "set", "part", path)
    assert server.cli("snippet", "show", "part").stdout == "<b>{{name}}</b>"
    path.write_text("{{/x}}")
    refused = server.cli("snippet", "set", "part", path, check=False)
    assert refused.returncode == 1 and "line 1, column 1" in refused.stderr
    assert [row["name"] for row in server.cli_json("snippet", "list")] == ["part"]
    server.cli("snippet", "delete", "part")
    assert server.cli("snippet", "delete", "part", check=False).returncode == 1
    assert server.cli_json("snippet", "list") == []
