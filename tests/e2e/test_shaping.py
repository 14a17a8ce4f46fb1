"""Shaping: limits of every scope by the sink's ledger, the adaptive rate, automation rules, suspensions, quotas and warm-ups over restarts."""
import bisect
import collections
import contextlib
import ctypes
import email.utils
import os
import pathlib
import sqlite3
import statistics
import time

import pytest

from conftest import emails, run_to_end, run_until
from harness import wait_until

SECONDS = float(os.environ.get("SHAPING_SECONDS", "20"))  # the test runs for 60


def domain_of(email):
    return email.rpartition("@")[2]


def times_by(ledger, key):
    result = collections.defaultdict(list)
    for line in ledger:
        if line["event"] == "message":
            result[key(line)].append(line["t_us"])
    return result


def worst_window(times_us, window_us):
    times = sorted(times_us)
    return max((bisect.bisect_left(times, begin + window_us) - index for index, begin in enumerate(times)), default=0)


def assert_never_above(times_us, count, period_s, burst=1):
    """In a window of any length W lie at most max(burst, 1) + count * W / period, and in one period never more than `count`."""
    for seconds in (0.25, 0.5, 1, 2, 3.7, 5, 10, 20, 40, 60):
        allowed = count * max(seconds, period_s) / period_s if seconds >= period_s else count * seconds / period_s + max(burst, 1)
        if seconds > period_s:
            allowed = count * -(-seconds // period_s)  # whole periods, begun ones included
        found = worst_window(times_us, int(seconds * 1e6))
        assert found <= allowed + 1e-9, "%d in %g s, allowed %g" % (found, seconds, allowed)


# --- twelve sites ----------------------------------------------------------------------------------------------------

TWELVE = {"s%d.test" % index: rate for index, rate in enumerate(
    ["5/s", "10/s", "20/s", "35/s", "50/s", "75/s", "100/s", "120/min", "300/min", "900/min", "7200/h", "18000/h"])}
PERIOD = {"s": 1, "min": 60, "h": 3600}


def parts(rate):
    count, unit = rate.split("/")
    return int(count), PERIOD[unit]


@pytest.mark.alone
def test_twelve_sites_keep_their_limits_and_reach_them(place):
    sink = place.sink()
    config = "\n".join('profile "p%d" { domain = { "%s" }  rate = "%s"  connections = 4 }' % (index, site, rate)
                       for index, (site, rate) in enumerate(TWELVE.items()))
    server = place.server(sink, config=config)
    people = []
    for site, rate in TWELVE.items():
        count, period = parts(rate)
        people += ["p%d@%s" % (n, site) for n in range(int(count * (SECONDS + 8) / period) + 20)]
    place.people(server, people)
    campaign = server.create_campaign()
    wait_until(lambda: len({domain_of(line["to"]) for line in sink.events("message")}) == len(TWELVE), 30, "every site to have begun", 0.5)
    time.sleep(SECONDS)
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
    times = times_by(sink.ledger(), lambda line: domain_of(line["to"]))
    for site, rate in TWELVE.items():
        count, period = parts(rate)
        at = sorted(times[site])
        assert_never_above(at, count, period, burst=count / period)
        if period == 1:
            assert worst_window(at, 1_000_000) <= count, site
        # From the second message on, so that the start does not count.
        span = (at[-1] - at[1]) / 1e6
        reached = (len(at) - 2) / span / (count / period)
        assert reached >= 0.97, "%s: %.1f %% of %s" % (site, reached * 100, rate)


# --- scopes that span sites ------------------------------------------------------------------------------------------

@pytest.mark.alone
@pytest.mark.parametrize("what", ["machine", "source", "sending domain", "campaign", "domain bytes", "provider", "connection rate"])
def test_limits_of_every_scope(place, what):
    sink = place.sink()
    sources = 'source "ip1" { address = "127.0.0.1" %s }\npool "default" { sources = { "ip1" } }\n'
    config = {
        "machine": 'limits { rate = "40/s" }',
        "source": sources % 'rate = "40/s"',
        "sending domain": 'sending_domain "sender.test" { rate = "40/s" }',
        "campaign": "",
        "domain bytes": 'domain "one.test" { byte_rate = "60k/s" }',
        "provider": "",
        "connection rate": "",
    }[what]
    profile = {"provider": 'provider_rate = "40/s"', "connection rate": 'connection_rate = "8/s"  messages_per_connection = 1  connections = 20'}.get(what, "")
    server = place.server(sink, config=config, profile=profile + ' rate = "unlimited"')
    domains = ["one.test", "two.test", "three.test"] if what not in ("domain bytes", "connection rate") else ["one.test"]
    count = {"domain bytes": 150, "connection rate": 60}.get(what, 180)
    place.people(server, emails(count, domains))
    campaign = server.create_campaign(**({"rate": "40/s"} if what == "campaign" else {}))
    words = {"machine": "machine rate", "source": "source rate", "sending domain": "sending domain rate", "campaign": "campaign rate",
             "domain bytes": "domain byte rate", "provider": "provider rate", "connection rate": "connection rate"}[what]
    seen = set()

    def explained():
        answer = server.api.get("/v1/stats/sites/one.test")
        if answer.status == 200:
            seen.add(answer.json["limited_by"])
        return words in seen

    try:
        wait_until(explained, 20, "one.test to be limited by %r" % words)
    except TimeoutError as late:
        raise AssertionError("seen: %r" % seen) from late
    assert run_to_end(server, campaign)["delivered"] == count
    lines = [line for line in sink.ledger() if line["event"] == ("connect" if what == "connection rate" else "message")]
    at = [line["t_us"] for line in lines]
    if what == "domain bytes":
        size = max(line["size"] for line in lines)
        for seconds in (0.5, 1, 2):
            assert worst_window(at, int(seconds * 1e6)) * size <= 60000 * seconds + 2 * size
        return
    limit = 8 if what == "connection rate" else 40
    assert worst_window(at, 1_000_000) <= limit
    span = (max(at) - min(at)) / 1e6
    assert (len(at) - 1) / span >= 0.8 * limit, (len(at), span)


# --- adaptive --------------------------------------------------------------------------------------------------------

def adaptive_run(place, limit, before_s, after_s):
    """The sink refuses above `limit`/s for before_s seconds, and then nothing."""
    sink = place.sink(script={"rules": [{"command": "MAIL", "above": limit, "until_s": before_s, "reply": "421 4.7.0 rate limited"}]})
    server = place.server(sink, profile='rate = "100/s"  connections = 5')
    place.people(server, emails(limit * before_s + 100 * after_s + 500, ["one.test"]))
    campaign = server.create_campaign()
    begin = time.monotonic()
    last = {}

    def look():
        answer = server.api.get("/v1/stats/sites/one.test")
        if answer.status == 200:
            last.update(answer.json)
        return time.monotonic() - begin > before_s - 1

    wait_until(look, before_s + 20, "the sink's patience", 0.5)
    middle = dict(last)
    wait_until(lambda: time.monotonic() - begin > before_s + after_s, after_s + 20, "the recovery", 0.5)
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
    return sink.ledger(), middle


@pytest.mark.alone
def test_it_settles_below_what_a_site_bears(place):
    ledger, site = adaptive_run(place, 20, 30, 0)
    begin = min(line["t_us"] for line in ledger if line["event"] == "message")
    accepted = [line["t_us"] for line in ledger if line["event"] == "message" and line["t_us"] > begin + 12e6 and line["t_us"] < begin + 28e6]
    refused = [line["t_us"] for line in ledger if line["event"] == "reject" and line["stage"] == "MAIL" and line["t_us"] > begin + 12e6 and line["t_us"] < begin + 28e6]
    rate = len(accepted) / 16
    assert 18 <= rate <= 22, rate
    assert len(refused) < 0.02 * (len(accepted) + len(refused)), (len(accepted), len(refused))
    assert 10 < site["adaptive_rate"] < 30
    adapted = [limit for limit in site["limits"] if limit["what"] == "adaptive rate"]
    assert adapted and "rate limited" in adapted[0]["origin"], site["limits"]


# --- what outlives the process ---------------------------------------------------------------------------------------

def kill_and_start(server):
    server.kill()
    server.start()


def test_a_quota_outlives_kills(place):
    """60 an hour, all at once if need be: whatever ends the server, 60 are sent, and hardly fewer."""
    sink = place.sink(delay_ms=1)
    server = place.server(sink, profile='rate = "60/h"  burst = 60  connections = 2  adaptive = false')
    place.people(server, emails(120, ["one.test"]))
    server.create_campaign()
    for n in (10, 25):
        wait_until(lambda: len(sink.events("message")) >= n, 30, "%d messages" % n, 0.05)
        kill_and_start(server)
    wait_until(lambda: len(sink.events("message")) >= 40, 30, "40 messages", 0.05)
    server.stop()
    server.start()

    def full():
        answer = server.api.get("/v1/stats/sites/one.test")
        return answer.status == 200 and answer.json["limited_by"] in ("quota", "rate") and answer.json["queued"] > 0 and answer.json["in_flight"] <= 2

    wait_until(lambda: len(sink.events("message")) >= 50, 30, "50 messages", 0.05)
    wait_until(full, 30, "the quota to be used up")
    time.sleep(1)
    assert 50 <= len(sink.events("message")) <= 60
    site = server.api.get("/v1/stats/sites/one.test").json
    quota = [limit for limit in site["limits"] if limit["what"] == "quota"]
    assert quota and "of 60 used" in quota[0]["now"] and ":" in quota[0]["origin"]


SOURCES = 'source "ip1" { address = "127.0.0.1" }\nsource "ip2" { address = "127.0.0.2" }\n'


def test_a_cold_source_leaves_the_rest_to_a_warm_one(place):
    sink = place.sink()
    server = place.server(sink, config=SOURCES + 'pool "default" { sources = { "ip1", "ip2" } }\nwarmup "ip1" { start = "20/d"  growth = 2 }')
    place.people(server, emails(90, ["one.test", "two.test"]))
    campaign = server.create_campaign()
    wait_until(lambda: len(sink.events("message")) >= 15, 30, "the first messages", 0.02)
    kill_and_start(server)
    assert run_to_end(server, campaign)["delivered"] >= 80
    peers = {line["conn"]: line["peer"].rpartition(":")[0] for line in sink.events("connect")}
    by = collections.Counter(peers[line["conn"]] for line in sink.events("message"))
    assert by["127.0.0.1"] <= 20 and by["127.0.0.2"] >= 60, by
    source = {row["source"]: row for row in server.api.get("/v1/sources").json["data"]}
    assert source["ip1"]["warmup"]["day"] == 1 and source["ip1"]["warmup"]["per_provider"] == 20
    assert source["ip2"]["warmup"] is None
    assert "day 1 of 30" in server.cli("source", "show", "ip1", env={"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}).stdout


def test_a_warm_up_alone_waits_over_restarts(place):
    sink = place.sink()
    server = place.server(sink, config=SOURCES + 'pool "default" { sources = { "ip1" } }\nwarmup "ip1" { start = "30/d" }')
    place.people(server, emails(80, ["one.test"]))
    server.create_campaign()
    wait_until(lambda: len(sink.events("message")) >= 10, 30, "the first messages", 0.02)
    kill_and_start(server)
    wait_until(lambda: len(sink.events("message")) >= 26, 30, "nearly all of the day", 0.05)
    site = wait_until(lambda: by_limit(server, "one.test", "warm-up"), 30, "the day to be used up")
    assert any(limit["what"] == "warm-up" and "day 1 of 30" in limit["value"] for limit in site["limits"])
    server.stop()
    server.start()
    wait_until(lambda: by_limit(server, "one.test", "warm-up"), 30, "the day to be used up still")
    assert 26 <= len(sink.events("message")) <= 30


def begun_a_day_earlier(server):
    """As if the machine had been started anew since then, so that the wall clock counts."""
    server.stop()
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        (value,), = database.execute("SELECT value FROM shaping WHERE key = 'warmup-begun ip1'")
        _, _, wall_ms, begun = value.split()
        database.execute("UPDATE shaping SET value = ? WHERE key = 'warmup-begun ip1'", ("another-boot 0 %d %s" % (int(wall_ms) - 86400000, begun),))
    server.start()


def test_a_warm_up_grows_by_the_day_and_ends(place):
    sink = place.sink()
    server = place.server(sink, config=SOURCES + 'pool "default" { sources = { "ip1" } }\nwarmup "ip1" { start = "20/d"  growth = 2  days = 2 }')
    place.people(server, emails(90, ["one.test"]))
    campaign = server.create_campaign()
    wait_until(lambda: len(sink.events("message")) >= 16 and by_limit(server, "one.test", "warm-up"), 30, "the first day to be used up")
    wait_until(lambda: server.stats(campaign)["sending"] == 0 or len(sink.events("message")) == 20, 30, "what is in the air to land")
    first = len(sink.events("message"))
    assert first <= 20
    begun_a_day_earlier(server)
    wait_until(lambda: len(sink.events("message")) >= first + 10, 30, "the second day's mail", 0.02)
    kill_and_start(server)
    wait_until(lambda: len(sink.events("message")) >= first + 30 and by_limit(server, "one.test", "warm-up"), 30, "the second day to be used up")
    source, = (row for row in server.api.get("/v1/sources").json["data"] if row["source"] == "ip1")
    assert source["warmup"]["day"] == 2 and source["warmup"]["per_provider"] == 40
    assert len(sink.events("message")) <= first + 40, "twice the first day's"
    begun_a_day_earlier(server)
    assert run_to_end(server, campaign)["delivered"] == 90


def by_limit(server, name, words):
    answer = server.api.get("/v1/stats/sites/" + name)
    return answer.json if answer.status == 200 and answer.json["limited_by"] == words else None


@pytest.mark.parametrize("scope", ["site", "source", "domain", "campaign", "sending_domain"])
def test_what_is_suspended_rests_over_a_kill_and_comes_back(place, scope):
    sink = place.sink()
    server = place.server(sink, config=SOURCES + 'pool "default" { sources = { "ip1" } }')
    place.people(server, emails(20, ["one.test"]))
    campaign = server.create_campaign(launch=False)
    target = {"site": "one.test", "source": "ip1", "domain": "one.test", "campaign": campaign, "sending_domain": "sender.test"}[scope]
    made = server.api.post("/v1/suspensions", {scope: target, "reason": "they asked us to"})
    assert made.status == 201, made
    assert server.api.post("/v1/campaigns/%d/launch" % campaign).status == 202
    site = wait_until(lambda: by_limit(server, "one.test", "suspended"), 20, "one.test to be suspended")
    measure = [limit for limit in site["limits"] if limit["what"] == "suspended"]
    assert measure and measure[0]["binding"] and "they asked us to" in measure[0]["origin"], site["limits"]
    assert 'is suspended until it is resumed (by hand: they asked us to)' in " ".join(site["explanation"]), site["explanation"]
    kill_and_start(server)
    wait_until(lambda: by_limit(server, "one.test", "suspended"), 20, "one.test to be suspended still")
    listed = server.api.get("/v1/suspensions").json["data"]
    assert [row["reason"] for row in listed] == ["they asked us to"] and listed[0]["until"] is None
    stats = server.stats(campaign)
    assert stats["delivered"] == 0 and not sink.events("message")
    assert server.api.call("DELETE", "/v1/suspensions/%d" % listed[0]["id"]).status == 204
    assert run_to_end(server, campaign)["delivered"] == 20
    assert server.api.get("/v1/suspensions").json["total"] == 0


def test_a_suspension_ends_by_itself(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(5, ["one.test"]))
    env = {"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}
    server.cli("site", "suspend", "one.test", "--for", "3s", "--reason", "a test", env=env)
    begin = time.monotonic()
    assert "a test" in server.cli("site", "suspensions", env=env).stdout
    campaign = server.create_campaign()
    assert run_to_end(server, campaign)["delivered"] == 5
    assert time.monotonic() - begin > 2


def test_what_does_not_exist_is_not_suspended(place):
    server = place.server(place.sink(), config=SOURCES + 'pool "default" { sources = { "ip1" } }')
    env = {"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}
    for scope, name, says in (("campaign", 999, "there is no campaign 999"), ("source", "ip9", 'there is no source "ip9"'), ("site", "a b", "is no site and no domain"),
                              ("domain", "a b", "is no domain"), ("sending_domain", "..", "is no domain")):
        answer = server.api.post("/v1/suspensions", {scope: name, "reason": "r"})
        assert answer.status == 422 and answer.json["errors"][0]["field"] == scope and says in answer.json["errors"][0]["message"], answer
        done = server.cli("site", "suspend", name, "--scope", scope, env=env, check=False)
        assert done.returncode == 1 and says in done.stderr, done
    assert server.cli("site", "suspend", "one.test", "--scope", "planet", env=env, check=False).returncode == 2
    assert server.api.get("/v1/suspensions").json["total"] == 0
    # What nothing was sent to yet may be suspended all the same, in whatever spelling.
    for scope, name, target in (("site", "New.Test", "new.test"), ("site", "(mx1|mx2).example.com", "(mx1|mx2).example.com"), ("domain", "bücher.test", "xn--bcher-kva.test"), ("source", "ip2", "ip2")):
        assert server.api.post("/v1/suspensions", {scope: name, "reason": "r"}).json.get("target") == target


@contextlib.contextmanager
def standing(server, name):
    """The threads of this name stand still meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    seize, interrupt, detach, wait_all = 0x4206, 0x4207, 17, 0x40000000
    tasks = [int(task.name) for task in pathlib.Path("/proc/%d/task" % server.process.pid).iterdir() if (task / "comm").read_text() == name + "\n"]
    assert tasks
    try:
        for task in tasks:
            assert libc.ptrace(seize, task, None, None) == 0 and libc.ptrace(interrupt, task, None, None) == 0, os.strerror(ctypes.get_errno())
            os.waitpid(task, wait_all)
        yield
    finally:
        for task in tasks:
            libc.ptrace(detach, task, None, None)


def test_what_cannot_be_looked_up_is_not_suspended(place):
    server = place.server(place.sink())
    place.people(server, emails(1, ["one.test"]))
    campaign = server.create_campaign(launch=False)

    def refused(field, value):
        answer = server.api.post("/v1/suspensions", {field: value, "reason": "r"})
        assert answer.status == 503 and "nothing was suspended" in answer.json["detail"], answer
        assert server.api.get("/v1/suspensions").json["total"] == 0

    with standing(server, "engine"):
        refused("site", "one.test")
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("ALTER TABLE campaign RENAME TO gone")
        database.commit()
        refused("campaign", campaign)
        database.execute("ALTER TABLE gone RENAME TO campaign")
    database.close()
    for field, value in (("site", "one.test"), ("campaign", campaign)):
        assert server.api.post("/v1/suspensions", {field: value, "reason": "r"}).status == 201


def test_what_was_suspended_is_resumed_by_the_same_name(place):
    server = place.server(place.sink(), config='source "IP1.Test" { address = "127.0.0.2" }\nsource "ip1.test" { address = "127.0.0.3" }\n')
    env = {"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}
    for scope, name in (("site", "Example.COM"), ("domain", "bücher.test"), ("sending_domain", "News.Test"), ("source", "IP1.Test")):
        for more in ((), ("--scope", scope)):
            server.cli("site", "suspend", name, "--scope", scope, env=env)
            server.cli("site", "resume", name, *more, env=env)
            assert server.api.get("/v1/suspensions").json["total"] == 0
    # A source's name is no domain.
    server.cli("site", "suspend", "ip1.test", "--scope", "source", env=env)
    assert server.cli("site", "resume", "IP1.Test", env=env, check=False).returncode == 1


def test_a_number_that_is_a_name_too_resumes_nothing(place):
    server = place.server(place.sink())
    place.people(server, emails(1, ["one.test"]))
    env = {"POSTHASTE_URL": server.url, "POSTHASTE_TOKEN": server.api.token}
    first = server.api.post("/v1/suspensions", {"site": "one.test", "reason": "r"}).json["id"]
    campaign = server.create_campaign(launch=False)
    assert campaign == first == 1
    second = server.api.post("/v1/suspensions", {"campaign": campaign, "reason": "r"}).json["id"]
    held = lambda: [row["id"] for row in server.api.get("/v1/suspensions").json["data"]]
    assert "until resumed" in server.cli("site", "suspensions", env=env).stdout
    done = server.cli("site", "resume", first, env=env, check=False)
    assert done.returncode == 1 and '"one.test"' in done.stderr and 'campaign "%d"' % campaign in done.stderr and sorted(held()) == sorted((first, second)), done
    server.cli("site", "resume", campaign, "--scope", "campaign", env=env)
    assert held() == [first]
    server.cli("site", "resume", first, env=env)
    assert held() == []


def test_what_waits_for_a_suspended_site_expires_with_its_campaign(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(20, ["one.test"]))
    assert server.api.post("/v1/suspensions", {"site": "one.test", "reason": "for good"}).status == 201
    campaign = server.create_campaign(expires_after="3s")
    stats = run_to_end(server, campaign)
    assert stats["failed"] == 20 and not sink.events("connect")


def rows_of(server, domain):
    """What the database holds of the domain's recipients: (state, attempts counted, attempts kept beside) of each delivery row."""
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        return database.execute("SELECT state, attempts, (SELECT count(*) FROM attempt WHERE delivery_id = delivery.id) FROM delivery"
                                " JOIN recipient ON recipient.id = recipient_id WHERE email LIKE ?", ("%@" + domain,)).fetchall()


def test_a_site_that_is_away_writes_no_rows(place):
    """Neither for the domain with a lane of its own nor for those of the tail; when the site is back each is tried for the first time."""
    sink = place.sink()
    away = place.sink()
    port = away.port
    server = place.server(config='route ".away.test" { host = "127.0.0.1"  port = %d  tls = "none" }\n'
                          'route "*" { host = "127.0.0.1"  port = %d  tls = "none" }' % (port, sink.port))
    people = emails(3000, ["big.away.test"]) + emails(60, ["d%d.away.test" % n for n in range(30)]) + emails(500, ["here.test"])
    place.people(server, people)
    assert away.stop() == 0
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] == 500, "the others to be delivered")
    # The back-off doubles from a second on: it has failed several times then.
    seconds = float(os.environ.get("AWAY_SECONDS", "8"))
    wait_until(lambda: (answer := server.api.get("/v1/stats/sites/big.away.test")).status == 200 and answer.json["limited_by"] == "back-off", 20, "the back-off")
    time.sleep(seconds)
    assert rows_of(server, "big.away.test") == [] and not any(rows_of(server, "d%d.away.test" % n) for n in range(30))
    stats = server.stats(campaign)
    assert stats["deferred"] == 0 and stats["sending"] + stats["pending"] == 3060 and stats["sending"] < 2000 + 60
    back = place.sink(listen=("127.0.0.1:%d" % port,))
    assert run_to_end(server, campaign)["delivered"] == len(people)
    assert len(back.events("message")) == 3060
    assert set(rows_of(server, "big.away.test")) == {(2, 1, 0)}  # delivered at the first attempt


def test_what_waits_for_a_site_that_is_away_expires_with_its_campaign(place):
    away = place.sink()
    server = place.server(away)
    place.people(server, emails(200, ["big.test"]) + emails(20, ["d%d.test" % n for n in range(10)]))
    assert away.stop() == 0
    campaign = server.create_campaign(expires_after="4s")
    stats = run_to_end(server, campaign)
    assert stats["failed"] == 220
    assert set(rows_of(server, "big.test")) == {(5, 0, 0)}
    shown = server.api.get("/v1/recipients/person0@big.test").json["deliveries"][0]
    assert "refused" in str(shown), shown  # the reason that there is


def test_an_urgent_campaign_starts_everywhere_within_a_second(place):
    sink = place.sink(delay_ms=5)
    domains = ["d%d.test" % n for n in range(10)]
    server = place.server(sink, profile='rate = "20/s"  connections = 2')
    place.people(server, emails(int(os.environ.get("URGENT_BEHIND", "20000")), domains), "big")
    place.people(server, emails(10, domains, prefix="urgent"), "small")
    big = server.create_campaign(lists=["big"], priority=1)
    run_until(server, big, lambda stats: stats["delivered"] >= 200, "the big one to run")
    begin_us = time.monotonic_ns() // 1000
    server.create_campaign(lists=["small"], priority=1000)

    def urgent():
        return {domain_of(line["to"]): line["t_us"] for line in sink.events("message") if line["to"].startswith("urgent")}

    wait_until(lambda: len(urgent()) == 10, 20, "the urgent ones", 0.5)
    late = {domain: (t_us - begin_us) / 1e6 for domain, t_us in urgent().items()}
    assert max(late.values()) < float(os.environ.get("URGENT_SECONDS", "2.5")), late  # a second on a machine of its own
    server.api.post("/v1/campaigns/%d/cancel" % big)


def test_an_automation_rule_suspends_and_says_so(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "one.test", "reply": "421 4.7.0 Messages from 127.0.0.1 temporarily deferred", "close": True}]})
    server = place.server(sink)
    place.people(server, emails(30, ["one.test"]) + emails(10, ["two.test"]))
    server.create_campaign()

    def measures():  # at the first reply both
        found = server.api.get("/v1/suspensions").json["data"]
        return found if len(found) == 2 else None

    rows = wait_until(measures, 40, "the rule to act")
    assert {row["value"] for row in rows} == {"1/min", 1}
    for row in rows:
        assert row["scope"] == "source at site" and row["target"] == "one.test"
        assert "address deferred" in row["origin"] and "temporarily deferred" in row["reason"]

    def are_durable():  # they act before they are written down
        with sqlite3.connect(server.data_dir / "posthaste.db") as database:
            return all(database.execute("SELECT count(*) FROM shaping WHERE key = ?", ("measure %s" % row["id"],)).fetchone()[0] for row in rows)

    wait_until(are_durable, 10, "the measures to be durable")
    kill_and_start(server)
    assert sorted(row["id"] for row in server.api.get("/v1/suspensions").json["data"]) == sorted(row["id"] for row in rows)


# --- clocks ----------------------------------------------------------------------------------------------------------

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
# The monotonic clock stays true: a day that is set by hand does not touch it either. And libfaketime's "monotonic fix" ends each wait for a condition of
# that clock at once, so that the threads under test would turn in circles (seen with 0.9.10 and glibc 2.36).
FAKETIME_ENV = {"LD_PRELOAD": FAKETIME, "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
needs_faketime = pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is not installed")


@pytest.mark.alone
@needs_faketime
def test_a_day_forward_or_back_changes_no_rate(place):
    """40/s before the clock is set, after it is set a day forward, and after it is set back to a day before the first: 1 % each."""
    sink = place.sink()
    server = place.server(sink, profile='rate = "40/s"', start=False)
    clock = place.folder / "clock"
    clock.write_text("+0")
    server.start(env=dict(FAKETIME_ENV, FAKETIME_TIMESTAMP_FILE=str(clock)))
    server.login()
    place.people(server, emails(1200, ["one.test"]))
    campaign = server.create_campaign(expires_after="30d")
    parts, sent = {}, 0
    for jump, count in (("+0", 260), ("+1d", 340), ("-1d", 340)):
        clock.write_text(jump)
        sent += count
        wait_until(lambda: len(sink.events("message")) >= sent, 30, "%d messages" % sent, 0.5)
        parts[jump] = slice(sent - count + 20, sent)  # without the start, and without the second in which the clock is set
        said = email.utils.parsedate_to_datetime(server.api.get("/v1/status").headers["Date"]).timestamp()
        assert abs(said - time.time() - 86400 * int(jump.rstrip("d"))) < 60, "the server's clock was not set to %s" % jump
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
    at = sorted(line["t_us"] for line in sink.events("message"))
    assert worst_window(at, 1_000_000) <= 40
    for jump, part in parts.items():
        # The slope of all, not of the first and the last one: either may have come late on a busy machine.
        rate = 1e6 / statistics.linear_regression(range(len(at[part])), at[part]).slope
        assert 39.6 <= rate <= 40.4, "%.2f/s with the clock at %s" % (rate, jump)
