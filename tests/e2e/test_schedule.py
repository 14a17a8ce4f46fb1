"""schedule_at: not before its time, and whatever happens to the server meanwhile."""
import datetime
import time

import pytest

from conftest import emails, run_to_end, run_until
from test_window import closed


def at(seconds):
    """RFC 3339, so many seconds from now; and the same in microseconds since 1970."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), int(moment.timestamp() * 1e6)


@pytest.mark.sanitize
def test_it_starts_at_its_time(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(50, ["one.test"]))
    when, wall_us = at(3)
    campaign = server.create_campaign(schedule_at=when)
    assert server.stats(campaign)["status"] == "scheduled"
    assert run_to_end(server, campaign)["delivered"] == 50
    first = min(line["wall_us"] for line in sink.events("message"))
    assert wall_us - 2000 <= first < wall_us + 10_000_000


def test_a_scheduled_campaign_survives_a_restart(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(20, ["one.test"]))
    when, wall_us = at(3)
    campaign = server.create_campaign(schedule_at=when)
    server.kill()
    server.start()
    assert run_to_end(server, campaign)["delivered"] == 20
    assert min(line["wall_us"] for line in sink.events("message")) >= wall_us - 2000


def test_a_time_that_passed_while_the_server_was_down(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(20, ["one.test"]))
    when, wall_us = at(1)
    campaign = server.create_campaign(schedule_at=when)
    server.stop()
    while time.time() * 1e6 < wall_us:
        time.sleep(0.02)
    server.start()
    assert run_to_end(server, campaign)["delivered"] == 20


def test_a_time_in_the_past_is_now(place):
    server = place.server(place.sink())
    place.people(server, emails(5, ["one.test"]))
    assert run_to_end(server, server.create_campaign(schedule_at=at(-3600)[0]))["delivered"] == 5


def test_a_time_in_the_past_that_was_to_expire_is_refused(place):
    """A mistyped year, by somebody who said that late is not wanted."""
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(5, ["one.test"]))
    past = {"schedule_at": at(-3600)[0], "missed": "expire"}
    spec = server.api.get("/v1/campaigns/%d" % server.create_campaign(launch=False, **past)).json
    launched = server.api.post("/v1/campaigns/%d/launch" % spec["id"])
    made = server.api.post("/v1/campaigns", {"name": "at once", "lists": ["news"], "from": spec["content"]["from"], "subject": "s", "text": "t", "launch": True, **past})
    for answer in (launched, made):
        assert answer.status == 422, answer
        assert [error["field"] for error in answer.json["errors"]] == ["schedule_at"], answer.json
    assert [campaign["status"] for campaign in server.api.get("/v1/campaigns").json["data"]] == ["draft"], "nothing else was made"
    # Less than a minute is on time, as it is when a server comes back.
    assert run_to_end(server, server.create_campaign(schedule_at=at(-10)[0], missed="expire"))["delivered"] == 5
    assert len(sink.events("message")) == 5


def test_the_command_warns_of_a_time_in_the_past(place):
    server = place.server(place.sink())
    place.people(server, emails(1, ["one.test"]))
    (place.folder / "text").write_text("hello")
    (place.folder / "expire.json").write_text('{"missed": "expire"}')
    for seconds, spec, says in ((-3600, (), "a launch sends at once"), (3600, (), None),
                                (-3600, (place.folder / "expire.json",), "a launch will be refused"),
                                (-10, (place.folder / "expire.json", "--launch"), "a launch sends at once")):
        done = server.cli("campaign", "create", *spec, "--name", "n", "--list", "news", "--from", "news@sender.test", "--subject", "s", "--text", place.folder / "text", "--schedule-at", at(seconds)[0])
        assert (says or "") in done.stderr and ("warning: schedule_at " in done.stderr) == (says is not None), done


def test_a_draft_with_a_time_is_scheduled_by_its_launch(place):
    server = place.server(place.sink())
    place.people(server, emails(5, ["one.test"]))
    campaign = server.create_campaign(schedule_at=at(600)[0], launch=False)
    assert server.stats(campaign)["status"] == "draft"
    assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 202
    assert server.stats(campaign)["status"] == "scheduled"


def test_a_scheduled_campaign_is_told_once(place):
    """Every launch and every key makes the server look at all campaigns; the log names only what has changed."""
    server = place.server(place.sink())
    place.people(server, emails(5, ["one.test"]))
    waiting = server.create_campaign(name="waiting", schedule_at=at(4)[0])
    open_ended = server.create_campaign(name="open", window=closed())
    run_until(server, open_ended, lambda stats: stats["limited_by"] == "window", "the window to be seen")
    server.cli("domain", "add", "other.test")
    for name in ("a", "b"):
        assert run_to_end(server, server.create_campaign(name=name, **{"from": {"email": "news@other.test"}}))["delivered"] == 5
    assert server.stats(waiting)["status"] == "scheduled"
    assert server.log.read_text().count("campaign=%d status=scheduled " % waiting) == 1
    assert "signs with other keys" not in server.log.read_text()
    assert run_to_end(server, waiting)["delivered"] == 5
    assert server.log.read_text().count("campaign=%d status=running " % waiting) == 1


def test_a_scheduled_campaign_can_be_cancelled(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(5, ["one.test"]))
    when, wall_us = at(1.5)
    campaign = server.create_campaign(schedule_at=when)
    assert server.api.post("/v1/campaigns/%d/cancel" % campaign).status == 202
    # One that is due later runs; the cancelled one must not have.
    later = server.create_campaign(schedule_at=at(2)[0], name="later")
    assert run_to_end(server, later)["delivered"] == 5
    assert server.stats(campaign)["status"] == "cancelled"
    assert len(sink.events("message")) == 5


def test_members_who_join_before_the_launch_are_mailed(place):
    server = place.server(place.sink())
    place.people(server, emails(5, ["one.test"]))
    campaign = server.create_campaign(schedule_at=at(3)[0])
    place.people(server, emails(7, ["one.test"], "late"))
    assert run_to_end(server, campaign)["delivered"] == 12
