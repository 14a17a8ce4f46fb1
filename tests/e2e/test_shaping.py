"""Shaping: limits of every scope by the sink's ledger, the adaptive rate, automation rules, suspensions, quotas and warm-ups over restarts."""
import bisect
import collections
import os
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
    count = {"domain bytes": 150, "connection rate": 30}.get(what, 180)
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

    wait_until(explained, 20, "one.test to be limited by %r" % words)
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
