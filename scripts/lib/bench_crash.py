"""`scripts/bench crash`: the long form of tests/e2e/test_crash.py, a campaign a crash, at full speed."""
import random
import shutil
import time

import crashing
from harness import Posthaste  # noqa: E402
from sinklib import Sink

DOMAINS, CONNECTIONS, DEPTH = 10, 2, 10
BOUND = DOMAINS * CONNECTIONS * DEPTH
SPEC = {"text": "Hello {{name}}\n", "html": None}


def prepare(folder, count, hold):
    config = ('log_level = "warn"\nretry { first = "1s"  max = "2s" }\nroute "*" { host = "127.0.0.1"  port = %%d  tls = "none" }\n'
              'profile "default" { connections = %d  pipeline_depth = %d  messages_per_connection = 1000  rate = "unlimited" }\n%s'
              % (CONNECTIONS, DEPTH, 'on_uncertain = "hold"\n' if hold else ""))
    server = Posthaste(folder / "server", config % 9, program=crashing.PROGRAM)
    people = folder / "people.csv"
    audience = ["person%d@domain%d.test" % (n, n % DOMAINS) for n in range(count)]
    people.write_text("email,name\n" + "".join(email + ",Ann\n" for email in audience))
    server.cli("domain", "add", "sender.test")
    server.cli("import", "--list", "news", people, timeout_s=600)
    return server, config, audience


def one(server, config, folder, audience, deaths, first_s, totals, hold):
    sink = Sink(folder=folder / "sink").start()
    try:
        server.write_config(config % sink.port)
        server.start()
        server.login()
        crashing.run(server, sink, audience, deaths, totals, BOUND, hold, finish_s=600, first_s=first_s, spec=SPEC)
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        sink.stop()
        shutil.rmtree(folder / "sink", ignore_errors=True)


def bench_crash(say, folder, runs, count):
    seed = int(time.time())
    say("crash: %d campaigns of %d recipients over %d domains, each killed once at a random moment or place, every tenth with on_uncertain = hold; "
        "seed %d" % (runs, count, DOMAINS, seed))
    draw = random.Random(seed)
    totals = {False: crashing.Totals(), True: crashing.Totals()}
    parts = {}
    for hold in (False, True):
        (folder / str(hold)).mkdir(parents=True)
        parts[hold] = prepare(folder / str(hold), count, hold)
    length_s = count / 3000
    places = crashing.IN_THE_AIR + crashing.AT_START
    for n in range(runs):
        hold = n % 10 == 9
        name = places[n // 2 % len(places)]
        passing = 1 if name in crashing.AT_START else draw.randint(1, 40) if "commit" in name else draw.randint(1, count // 2)
        deaths = [("at", name, passing)] if n % 2 else []
        first_s = draw.uniform(0, length_s) if not deaths or name in crashing.AT_START else 0
        begin = time.monotonic()
        one(parts[hold][0], parts[hold][1], folder / str(hold), parts[hold][2], deaths, first_s, totals[hold], hold)
        length_s = 0.7 * (time.monotonic() - begin)
        if n % 10 == 9 or n + 1 == runs:
            say("  %4d campaigns: %s" % (n + 1, totals[False].words()))
    for hold in (False, True):
        for problem in totals[hold].problems:
            say("  PROBLEM %s" % problem)
    say("  with hold     %s" % totals[True].words())
    say("RESULT %s bound=%d hold_doubled=%d hold_lost=%d" % (totals[False].words(), BOUND, totals[True].doubled, totals[True].lost))
    return not (totals[False].problems or totals[True].problems)


CUTS = 6  # power cuts a campaign


def bench_power(say, folder, runs, count):
    """The long form of test_power_cuts. Each campaign in a database of its own, whose image the shim keeps in memory."""
    seed = int(time.time())
    say("crash --power: %d campaigns of %d recipients over %d domains, each through %d power cuts at random operations of the disk; seed %d"
        % (runs, count, DOMAINS, CUTS, seed))
    draw = random.Random(seed)
    totals = crashing.Totals()
    for n in range(runs):
        place = folder / ("run%d" % n)
        place.mkdir()
        server, config, audience = prepare(place, count, False)
        with Sink(folder=place / "sink") as sink:
            try:
                server.write_config(config % sink.port)
                server.start()
                server.login()
                cuts = [(draw.randint(1, 10) if draw.random() < 0.3 else draw.randint(8, 50), draw.randrange(1 << 31)) for _ in range(CUTS)]
                crashing.run_power(server, sink, audience, cuts, totals, finish_s=600)
                server.stop()
            finally:
                if server.process is not None:
                    server.kill()
        shutil.rmtree(place, ignore_errors=True)
        if n % 10 == 9 or n + 1 == runs:
            say("  %4d campaigns: %s" % (n + 1, totals.words()))
    for problem in totals.problems:
        say("  PROBLEM %s" % problem)
    say("RESULT %s shown_durable=%d" % (totals.words().replace("crash_runs", "power_cuts"), totals.shown))
    return not totals.problems
