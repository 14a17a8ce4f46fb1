"""Send windows, time zones, missed schedules, rate and priority of a campaign."""
import datetime
import sqlite3

import pytest

from conftest import add_up, emails, run_to_end, run_until
from test_shaping import FAKETIME_ENV, needs_faketime

UTC = datetime.timezone.utc


def clock(minutes):
    return (datetime.datetime.now(UTC) + datetime.timedelta(minutes=minutes)).strftime("%H:%M")


def sql(server, text):
    """Only while no server runs."""
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute(text)


def closed():
    """A window that opens in some hours, whatever the time is."""
    return {"from": clock(300), "to": clock(400)}


WRONG = [
    ("window", "always", "window"),
    ("window", {"days": ["monday"]}, "window.days[0]"),
    ("window", {"days": []}, "window.days"),
    ("window", {"from": "9:00"}, "window.from"),
    ("window", {"to": "24:30"}, "window.to"),
    ("window", {"from": "09:00", "to": "09:00"}, "window.to"),
    ("window", {"from": "00:00", "to": "00:00"}, "window.to"),
    ("window", {"time_zone": "Mars/Olympus"}, "window.time_zone"),
    ("window", {"time_zone": "../../etc/passwd"}, "window.time_zone"),
    ("window", {"time_zone_attribute": ""}, "window.time_zone_attribute"),
    ("window", {"until": "18:00"}, "window.until"),
    ("missed", "maybe", "missed"),
    ("rate", 100, "rate"),
    ("rate", "fast", "rate"),
    ("priority", 0, "priority"),
    ("priority", 1001, "priority"),
    ("priority", "high", "priority"),
]


def test_faults_are_told_field_by_field(place):
    server = place.server()
    place.people(server, ["a@a.test"])
    base = {"name": "x", "lists": ["news"], "from": {"email": "news@sender.test"}, "subject": "x", "text": "x"}
    for key, value, field in WRONG:
        answer = server.api.post("/v1/campaigns", {**base, key: value})
        assert answer.status == 422 and field in answer.fields(), (key, value, answer)


@pytest.mark.sanitize
def test_a_closed_window_sends_nothing_and_an_open_one_everything(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(50, ["a.test", "b.test"]))
    waiting = server.create_campaign(window=closed())
    going = server.create_campaign(window={"from": clock(-60), "to": clock(120), "time_zone": "UTC"})
    assert run_to_end(server, going)["delivered"] == 50
    stats = add_up(server.stats(waiting))
    assert stats["status"] == "running" and stats["pending"] == 50 and stats["limited_by"] == "window", stats
    # It holds over a restart, and a cancel ends it.
    server.stop()
    server.start()
    run_until(server, waiting, lambda stats: stats["limited_by"] == "window", "the window to be seen")
    assert server.stats(waiting)["pending"] == 50
    assert server.api.post("/v1/campaigns/%d/cancel" % waiting).status == 202
    assert run_to_end(server, waiting, until=("cancelled",))["cancelled"] == 50
    assert sum(len(messages) for messages in sink.messages().values()) == 50


def test_each_recipient_has_its_own_window(place):
    """The same hours in zones all around the world: only those are mailed for whom they are now."""
    zones = {"Pacific/Kiritimati": 14, "Asia/Kolkata": 5.5, "UTC": 0, "Etc/GMT+10": -10, "": 0, "Mars/Olympus": 0}
    sink = place.sink()
    server = place.server(sink)
    who = dict(zip(emails(len(zones), ["a.test"]), zones))
    place.people(server, list(who), columns=("tz",), row=lambda email: (who[email],))
    campaign = server.create_campaign(window={"from": clock(-30), "to": clock(30), "time_zone": "UTC", "time_zone_attribute": "tz"})
    stats = run_until(server, campaign, lambda stats: stats["deferred"] + stats["delivered"] == 6, "all to be judged")
    assert stats["delivered"] == 3, stats
    for row in server.deliveries(campaign):
        offset = zones[who[row["email"]]]
        if offset == 0:
            assert row["state"] == "delivered"
            continue
        assert row["state"] == "deferred" and row["attempts"] == 0
        due = datetime.datetime.fromisoformat(row["next_attempt_at"].replace("Z", "+00:00"))
        local = due + datetime.timedelta(hours=offset)
        assert local.strftime("%H:%M") == clock(-30), (row, local)
        assert datetime.timedelta(0) < due - datetime.datetime.now(UTC) < datetime.timedelta(days=1)


@needs_faketime
def test_a_window_that_closes_takes_back_what_waits(place):
    """Under a rate most mail waits in the engine while the hours of half the recipients end, an hour before those of the other half."""
    sink = place.sink()
    server = place.server(sink, start=False)
    offset = place.folder / "clock"
    offset.write_text("+0")
    server.start(env=dict(FAKETIME_ENV, FAKETIME_TIMESTAMP_FILE=str(offset)))
    server.login()
    who = dict.fromkeys(emails(60, ["a.test"], "early"), "UTC") | dict.fromkeys(emails(60, ["b.test"], "late"), "Etc/GMT+1")
    place.people(server, list(who), columns=("tz",), row=lambda email: (who[email],))
    opens, closes = clock(-90), clock(120)
    campaign = server.create_campaign(window={"from": opens, "to": closes, "time_zone_attribute": "tz"}, rate="10/s", expires_after="5d")
    run_until(server, campaign, lambda stats: stats["delivered"] >= 10, "some to be sent")
    offset.write_text("+9000")  # seconds: the hours have ended in UTC, and have 30 minutes to go behind it
    rows = []

    def settled(_stats):
        rows[:] = server.deliveries(campaign)
        return len(rows) == 120 and all(row["state"] == "delivered" or (row["state"] == "deferred" and who[row["email"]] == "UTC") for row in rows)

    run_until(server, campaign, settled, "the late to be sent, and the early to be sent or deferred")
    waiting = [row for row in rows if row["state"] == "deferred"]
    assert len(waiting) > 10
    for row in waiting:
        due = datetime.datetime.fromisoformat(row["next_attempt_at"].replace("Z", "+00:00"))
        assert row["attempts"] == 0 and due.strftime("%H:%M") == opens, row
    assert sum(len(messages) for messages in sink.messages().values()) == 120 - len(waiting)
    offset.write_text("+%d" % (22.5 * 3600))  # and the next day
    assert run_to_end(server, campaign)["delivered"] == 120
    assert {len(messages) for messages in sink.messages().values()} == {1}


def test_what_expires_outside_its_window_still_ends(place):
    server = place.server(place.sink())
    place.people(server, emails(5, ["a.test"]))
    campaign = server.create_campaign(window=closed(), expires_after="2s")
    stats = run_to_end(server, campaign)
    assert stats["failed"] == 5, stats


def test_a_missed_schedule_is_sent_or_expires(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(5, ["a.test"]))
    soon = (datetime.datetime.now(UTC) + datetime.timedelta(seconds=600)).isoformat()
    ids = {word: server.create_campaign(name=word, schedule_at=soon, missed=word) for word in ("send", "expire")}
    late = server.create_campaign(name="late", schedule_at=soon, missed="expire")
    server.stop()
    sql(server, "UPDATE campaign SET scheduled = scheduled - 1200000 WHERE id IN (%d, %d)" % tuple(ids.values()))
    sql(server, "UPDATE campaign SET scheduled = scheduled - 610000 WHERE id = %d" % late)  # 10 s late is not missed
    server.start()
    assert run_to_end(server, ids["send"])["delivered"] == 5
    assert run_to_end(server, late)["delivered"] == 5
    stats = run_to_end(server, ids["expire"], until=("cancelled",))
    assert stats["audience"] == 0 and stats["delivered"] == 0
