"""Kill -9, at random moments and at each named place: nobody without a message, and twice only what was in the air. scripts/bench crash is
the long form."""
import random

import crashing
from conftest import emails
from harness import wait_until

DOMAINS = ["site%d.test" % n for n in range(3)]
CONNECTIONS, DEPTH = 2, 10
BOUND = len(DOMAINS) * CONNECTIONS * DEPTH


def scene(place, count, config=""):
    sink = place.sink()
    server = place.server(sink, config=config, profile="connections = %d  pipeline_depth = %d" % (CONNECTIONS, DEPTH), start=False)
    server.program = crashing.PROGRAM
    audience = emails(count, DOMAINS)
    place.people(server, audience)
    server.start()
    server.login()
    return sink, server, audience


def settle(totals):
    print(totals.words())
    assert not totals.problems, totals.problems[:20]
    assert totals.lost == 0 and totals.doubled_unlisted == 0
    assert totals.uncertain_most <= BOUND


def places(draw):
    """Every place once, at a random passing; those of the start at their first, behind a death in the air."""
    deaths = [("at", name, draw.randint(1, 3 if "commit" in name else 60)) for name in crashing.IN_THE_AIR]
    draw.shuffle(deaths)
    for n, name in enumerate(crashing.AT_START):
        deaths.insert(2 * n + 1, ("at", name, 1))
    return deaths


def test_killed_at_every_place(place):
    sink, server, audience = scene(place, 2500)
    totals = crashing.Totals()
    deaths = places(random.Random(6))
    crashing.run(server, sink, audience, deaths, totals, BOUND)
    settle(totals)
    assert totals.crashes == len(deaths) + 1, "not every place was reached"
    assert totals.recorded > 0 and totals.unsent > 0


def test_killed_at_random_moments(place):
    sink, server, audience = scene(place, 2500)
    draw = random.Random()
    totals = crashing.Totals()
    crashing.run(server, sink, audience, [("after", draw.uniform(0, 0.6)) for _ in range(9)], totals, BOUND)
    settle(totals)


def test_a_start_tells_what_it_recovered(place):
    _, server, _ = scene(place, 600, 'domain "site0.test" { rate = "20/s" }\n')
    assert not any(server.api.get("/v1/stats").json["recovered"].values())
    assert "recovered" not in server.cli("status").stdout
    campaign = server.create_campaign()
    wait_until(lambda: server.stats(campaign)["delivered"] > 0, 60, "the first delivery")
    server.kill()
    server.start()
    (_, unsent, recorded, uncertain), = crashing.RECOVERED.findall(server.log.read_text(errors="replace"))
    told = server.api.get("/v1/stats").json["recovered"]
    assert told == {"deliveries": int(unsent) + int(recorded) + int(uncertain), "unsent": int(unsent), "recorded": int(recorded),
                    "uncertain": int(uncertain)}
    assert told["unsent"] > 0
    assert "%s not sent, %s recorded, %s uncertain" % (unsent, recorded, uncertain) in server.cli("status").stdout


def test_killed_with_hold_sends_nothing_twice(place):
    sink, server, audience = scene(place, 1500, 'on_uncertain = "hold"')
    totals = crashing.Totals()
    deaths = [("at", name, 40) for name in ("content-told", "content-written", "reply-judged")] + [("at", "before-commit", 2)]
    crashing.run(server, sink, audience, deaths, totals, BOUND, hold=True)
    settle(totals)
    assert totals.doubled == 0


def test_power_cuts(place):
    sink, server, audience = scene(place, 4000)
    draw = random.Random()
    totals = crashing.Totals()
    cuts = [(draw.randint(*span), draw.randrange(1 << 31)) for span in ((3, 12), (8, 50), (8, 50), (1, 10), (12, 60), (12, 60))]
    print(cuts)
    crashing.run_power(server, sink, audience, cuts, totals)
    print(totals.words(), totals.shown)
    assert not totals.problems, totals.problems[:20]
    assert totals.lost == 0 and totals.doubled_unlisted == 0
    assert totals.crashes >= 3, "the campaign was over too early"
