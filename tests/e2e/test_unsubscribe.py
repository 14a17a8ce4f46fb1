"""One-click unsubscription (RFC 8058): a GET shows, a POST acts, and only a token of ours does anything."""
import email
import email.policy
import re

import pytest

from conftest import emails, run_to_end
from harness import Api

ONE_CLICK = {"body": b"List-Unsubscribe=One-Click", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}


def link_of(sink, address):
    """The path of the link in the header of the message to this address."""
    content = sink.content(sink.messages()[address][-1])
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    links = re.findall(r"<(https?://[^>]+)>", message["List-Unsubscribe"].replace("\r\n", "").replace(" ", ""))
    assert len(links) == 1
    return re.sub(r"^https?://[^/]+", "", links[0])


def status_of(server, address):
    known = server.api.get("/v1/recipients/" + address).json
    return {row["list"]: row["status"] for row in known.get("memberships", known.get("lists"))}


@pytest.fixture
def scene(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, emails(4, ["one.test"]))
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    return sink, server, campaign, Api(server.url)


@pytest.mark.sanitize
def test_a_get_changes_nothing_and_a_post_acts(scene):
    sink, server, campaign, anyone = scene
    path = link_of(sink, "person0@one.test")
    for method in ("GET", "HEAD", "GET"):
        answer = anyone.call(method, path)
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"].startswith("text/html")
    assert "Set-Cookie" not in answer.headers
    assert status_of(server, "person0@one.test") == {"news": "active"}
    assert server.stats(campaign)["unsubscribed"] == 0

    for _ in range(2):  # providers repeat it
        assert anyone.post(path, **ONE_CLICK).status == 200
    assert status_of(server, "person0@one.test") == {"news": "unsubscribed"}
    assert server.stats(campaign)["unsubscribed"] == 1
    assert status_of(server, "person1@one.test") == {"news": "active"}

    second = server.create_campaign()
    assert run_to_end(server, second)["delivered"] == 3
    assert len(sink.messages()["person0@one.test"]) == 1


def test_an_import_does_not_subscribe_again(scene, place):
    sink, server, _, anyone = scene
    assert anyone.post(link_of(sink, "person0@one.test"), **ONE_CLICK).status == 200
    place.people(server, emails(4, ["one.test"]))
    assert status_of(server, "person0@one.test") == {"news": "unsubscribed"}
    assert run_to_end(server, server.create_campaign())["delivered"] == 3


def test_tokens_that_are_not_ours(scene):
    sink, server, campaign, anyone = scene
    path = link_of(sink, "person1@one.test")
    token = path.rpartition("/")[2]
    wrong = [token[:-1], token + "A", token[::-1], "", "x", "%00", "A" * len(token), "../" + token]
    # Every character changed, one by one.
    wrong += [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1:] for n in range(len(token))]
    for bad in wrong:
        for method in ("GET", "POST"):
            more = ONE_CLICK if method == "POST" else {}
            assert anyone.call(method, "/u/" + bad, **more).status == 404, bad
    assert status_of(server, "person1@one.test") == {"news": "active"}
    assert server.stats(campaign)["unsubscribed"] == 0


def test_posts_that_are_not_one_click(scene):
    sink, server, campaign, anyone = scene
    path = link_of(sink, "person2@one.test")
    for body, content_type in ((b"", "application/x-www-form-urlencoded"), (b"x=y", "application/x-www-form-urlencoded"),
                               (b"List-Unsubscribe=No", "application/x-www-form-urlencoded")):
        assert anyone.post(path, body=body, headers={"Content-Type": content_type}).status >= 400
    assert server.stats(campaign)["unsubscribed"] == 0
    multipart = (b"--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n")
    assert anyone.post(path, body=multipart, headers={"Content-Type": "multipart/form-data; boundary=b"}).status == 200
    assert server.stats(campaign)["unsubscribed"] == 1


def test_links_live_over_a_restart(scene):
    sink, server, campaign, _ = scene
    path = link_of(sink, "person3@one.test")
    server.stop()
    server.start()
    assert Api(server.url).post(path, **ONE_CLICK).status == 200
    assert server.stats(campaign)["unsubscribed"] == 1


def test_it_is_honoured_while_the_campaign_runs(place):
    """The audience is frozen, but who leaves before the cursor comes by is not mailed."""
    sink = place.sink(store=True)
    server = place.server(sink, profile='rate = "400/s"')
    audience = emails(3000, ["one.test"])
    place.people(server, audience)
    last = server.api.pages("/v1/lists/1/recipients")[-1]["email"]
    place.people(server, [last], "first")
    run_to_end(server, server.create_campaign(lists=["first"]))
    running = server.create_campaign()
    # The link is of the first campaign; leave the second one's list by the command of an administrator.
    assert server.api.call("DELETE", "/v1/lists/1/recipients/" + last).status in (200, 204)
    assert server.stats(running)["status"] == "running"
    stats = run_to_end(server, running)
    assert (stats["audience"], stats["delivered"], stats["suppressed"]) == (3000, 2999, 1)
    assert len(sink.messages()[last]) == 1
