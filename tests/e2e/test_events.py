"""/v1/events and the event log: what happens is told while it happens, to who listens and to nobody else."""
import json
import os
import resource
import select
import stat
import time

import pytest

from conftest import emails, run_to_end
from harness import wait_until
from streamlib import Listener
from test_api import is_problem


@pytest.fixture
def server(place):
    server = place.server(place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 nobody"}]}))
    place.people(server, emails(60, ["one.test", "bad.test"]))
    return server


@pytest.mark.sanitize
def test_a_listener_hears_everything_in_order(server):
    listener = Listener(server)
    assert listener.status == 200 and listener.answer.headers["Content-Type"].startswith("text/event-stream")
    run_to_end(server, server.create_campaign())
    wait_until(lambda: "campaign.finished" in listener.kinds(), 20, "the end")
    kinds = listener.kinds()
    assert kinds[0] == "campaign.started" and kinds[-1] == "campaign.finished"
    assert kinds.count("delivered") == 30 and kinds.count("bounced") == 30
    numbers = [number for _, number, _ in listener.events]
    assert numbers == sorted(set(numbers)) and all(data["id"] == "evt_%d" % number for _, number, data in listener.events)
    listener.close()
    half = numbers[len(numbers) // 2]
    again = Listener(server, last_id=half)
    wait_until(lambda: "campaign.finished" in again.kinds(), 20, "what came after")
    assert [number for _, number, _ in again.events] == [number for number in numbers if number > half]
    some = Listener(server, "?types=bounced,campaign.*", last_id=0)
    wait_until(lambda: "campaign.finished" in some.kinds(), 20, "what it wants")
    assert len(some.events) == 32 and set(some.kinds()) == {"bounced", "campaign.started", "campaign.finished"}
    again.close()
    some.close()


def test_statistics_every_second(server):
    listener = Listener(server, "?types=stats")
    wait_until(lambda: len(listener.of("stats")) >= 2, 20, "two of them")
    known = server.api.get("/v1/stats").json
    assert set(listener.of("stats")[-1]) == set(known) and listener.of("stats")[0]["recipients"] == 60
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    wait_until(lambda: listener.of("stats")[-1]["deliveries"]["delivered"] == 30, 20, "the numbers")
    assert set(listener.kinds()) == {"stats"}
    assert server.api.get("/v1/stats").json["events"]["listeners"] == 1
    listener.close()


def test_a_gap_is_told(place, server):
    first = Listener(server)
    run_to_end(server, server.create_campaign())
    wait_until(lambda: "campaign.finished" in first.kinds(), 20, "the end")
    last = first.events[-1][1]
    server.kill()  # nobody else may have the database while its events are taken away
    import sqlite3
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("DELETE FROM event WHERE id < ?", (last,))
    server.start()
    second = Listener(server, last_id=1)
    wait_until(lambda: len(second.events) >= 2, 20, "the gap and what is left")
    assert second.kinds()[:2] == ["gap", "campaign.finished"] and second.events[0][2] == {"after": 1, "oldest": last}
    second.close()


def test_nobody_pays_for_nobody(server):
    run_to_end(server, server.create_campaign())
    listener = Listener(server, last_id=0)
    time.sleep(0.2)
    assert listener.events == []
    listener.close()


def test_wishes_are_checked(server):
    is_problem(server.api.get("/v1/events?types=deliverd"), 422)
    is_problem(server.api.get("/v1/events?types="), 422)
    is_problem(server.api.get("/v1/events", headers={"Last-Event-ID": "x"}), 422)
    is_problem(server.api.get("/v1/events", headers={"Authorization": ""}), 401)
    assert server.api.call("HEAD", "/v1/events").status == 200


@pytest.mark.sanitize
def test_too_many_listeners_and_the_end_of_the_server(server):
    all_of_them = [Listener(server, "?types=guard.paused") for _ in range(64)]
    assert {listener.status for listener in all_of_them} == {200}
    one_more = Listener(server, read=False)
    assert one_more.status == 503 and one_more.answer.headers["Retry-After"]
    one_more.close()
    assert server.stop() == 0
    for listener in all_of_them:
        assert listener.ended.wait(20)
        listener.close()


def test_one_that_takes_nothing_holds_up_nobody(place, server):
    place.people(server, emails(3000, ["one.test"], prefix="more"), list_name="many")
    lazy = Listener(server, read=False)
    quick = Listener(server)
    run_to_end(server, server.create_campaign(lists=["many"], metadata={"filler": "x" * 500}))
    wait_until(lambda: quick.kinds().count("delivered") == 3000, 30, "the quick one")
    lazy.close()
    quick.close()


@pytest.mark.sanitize
def test_the_event_log(place):
    path = place.folder / "events.jsonl"
    server = place.server(place.sink(), config='events { log = "%s"  log_mb = 1  log_files = 2 }\n' % path)
    place.people(server, emails(1500, ["one.test", "two.test"]))
    campaign = server.create_campaign(metadata={"filler": "x" * 700})
    wait_until(lambda: server.stats(campaign)["delivered"] > 300, 30, "a part")
    server.kill()
    server.start()
    run_to_end(server, campaign)

    def lines():
        rows = {}
        for name in (path.with_name("events.jsonl.1"), path):
            if name.exists():
                rows.update((row["id"], row) for row in map(json.loads, filter(lambda line: line.endswith("\n"), name.open())))
        return rows

    wait_until(lambda: any(row["type"] == "campaign.finished" for row in lines().values()), 30, "the last line")
    told = {row["data"]["email"] for row in lines().values() if row["type"] == "delivered"}
    assert told == {row["email"] for row in server.api.pages("/v1/campaigns/%d/deliveries?state=delivered" % campaign)}
    assert path.with_name("events.jsonl.1").exists(), "it was renamed when it was large"


def log_server(place, path):
    server = place.server(place.sink(), config='events { log = "%s" }\n' % path)
    place.people(server, emails(50, ["one.test"]))
    return server


def ended(path):
    text = path.read_text()
    return text.endswith("\n") and '"campaign.finished"' in text


def test_a_piece_that_does_not_fit_leaves_no_half_line(place):
    path = place.folder / "events.jsonl"
    path.write_text('{"id":"evt_0"}\n' * (1 << 19))  # larger than whatever else the server writes: the limit meets the log alone
    server = log_server(place, path)
    run_to_end(server, server.create_campaign())
    wait_until(lambda: ended(path), 20, "the last line")
    before = path.read_text()
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (len(before) + 100, resource.RLIM_INFINITY))
    run_to_end(server, server.create_campaign())
    wait_until(lambda: "log_not_written" in server.log.read_text(), 20, "the log to be full")
    assert path.stat().st_size == len(before), "what was written of the piece is taken back"
    assert server.stop() == 0
    server.start()
    wait_until(lambda: path.read_text().count('"campaign.finished"') == 2, 20, "the last line")
    assert path.read_text()[:len(before)] == before
    ids = [json.loads(line)["id"] for line in path.read_text()[len(before):].splitlines()]
    assert len(ids) == len(set(ids)) == 52


def test_what_the_log_could_not_take_from_the_first_event_on(place):
    path = place.folder / "events.jsonl"
    server = log_server(place, "/dev/full")
    run_to_end(server, server.create_campaign())
    wait_until(lambda: "log_not_written" in server.log.read_text(), 20, "the log to be full")
    assert server.stop() == 0
    server.config.write_text(server.config.read_text().replace("/dev/full", str(path)))
    server.start()
    wait_until(lambda: path.exists() and ended(path), 20, "the last line")
    assert len(path.read_text().splitlines()) == 52


def reader_of(path):
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)


def is_full(path):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb") as other:
        return not select.select([], [other], [], 0)[1]


def take(pipe, into, enough):
    """What comes, until it is enough."""
    def step():
        into.extend(pipe.read(1 << 16) or b"")
        return enough(into)
    wait_until(step, 20, "the pipe to give enough", every_s=0.001)


@pytest.mark.sanitize
def test_a_pipe_is_not_renamed_and_holds_up_nobody(place):
    path = place.folder / "events.pipe"
    os.mkfifo(path)
    server = place.server(place.sink(), config='events { log = "%s"  log_mb = 1 }\n' % path)
    place.people(server, emails(1500, ["one.test"]))
    # Nobody reads it: that holds up neither the beginning nor the end of the server.
    assert server.stop() == 0
    server.start()
    assert server.log.read_text().count("nobody reads it") == 2
    got = bytearray()
    with reader_of(path) as pipe:
        listener = Listener(server, "?types=campaign.finished")
        run_to_end(server, server.create_campaign(metadata={"filler": "x" * 700}))
        wait_until(listener.kinds, 20, "what others are told although the pipe is full")
        listener.close()
        take(pipe, got, lambda got: len(got) > 100_000)
    wait_until(lambda: server.log.read_text().count("nobody reads it") == 3, 20, "it to be said")
    # The next reader goes on where this one left.
    with reader_of(path) as pipe:
        take(pipe, got, lambda got: b'"campaign.finished"' in got and got.endswith(b"\n"))
        assert stat.S_ISFIFO(path.stat().st_mode) and not path.with_name("events.pipe.1").exists()
        ids = [json.loads(line)["id"] for line in got.splitlines()]
        assert len(ids) == len(set(ids)) == 1502 and len(got) > 1 << 20
        # One that takes nothing any more: what does not fit is written by the next server, in whole lines.
        run_to_end(server, server.create_campaign(metadata={"filler": "y" * 700}))
        wait_until(lambda: is_full(path), 20, "the pipe to be full")
        begun = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - begun < 10
        server.start()
        rest = bytearray()
        take(pipe, rest, lambda rest: rest.count(b'"campaign.finished"') == 1 and rest.endswith(b"\n"))
        assert len({json.loads(line)["id"] for line in rest.splitlines()}) == 1502
    assert server.log.read_text().count("nobody reads it") == 3, "once each time"


def test_a_half_line_is_ended_before_the_next_one(place):
    path = place.folder / "events.jsonl"
    half = '{"id":"evt_7","type":"deliv'
    path.write_text('{"id":"evt_6"}\n' + half)
    server = log_server(place, path)
    run_to_end(server, server.create_campaign())
    wait_until(lambda: ended(path), 20, "the last line")
    lines = path.read_text().split("\n")
    assert lines[1] == half and lines[-1] == ""
    assert len([json.loads(line) for line in lines[2:-1]]) == 52
    server.stop()
    server.start()  # a whole last line needs no other end
    run_to_end(server, server.create_campaign())
    wait_until(lambda: path.read_text().count('"campaign.finished"') == 2, 20, "the last line")
    assert "" not in path.read_text().split("\n")[:-1]
