"""Hostile servers (the rows of failures that concern the session): whatever a server says, every recipient ends in one state that the sink's
ledger bears out, memory stays, and nobody else's mail waits. TLS and AUTH have their rows in test_tls.py."""
import itertools
import pathlib

import pytest

from conftest import emails, run_to_end, run_until
from reconcile import differences
from test_rates import times_by_domain

SHORT = ('timeouts { greeting = "1s"  ehlo = "1s"  mail = "1s"  rcpt = "1s"  data = "1s"  block = "1s"  final = "1s"  quit = "200ms" }\n'
         'shutdown = "1s"\n')


def deliver_all(place, script, count=24, domains=8, config=SHORT, bounced=0, **options):
    """Everybody but so many is delivered in the end, once, and the books agree."""
    sink = place.sink(script=script, **options)
    server = place.server(sink, config=config)
    audience = emails(count, ["site%d.test" % n for n in range(domains)])
    place.people(server, audience)
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign, 120)
    assert (stats["delivered"], stats["bounced"]) == (count - bounced, bounced)
    problems = differences(server.deliveries(campaign), sink.ledger(), audience)
    assert not problems, problems[:10]
    return sink, server


# --- row 4, 6: bad replies at each state ----------------------------------------------------------------------------

BAD = ["553-\r\n553\r\n", "999 what\r\n", "25\r\n", "banana\r\n", "250-a\r\n251 b\r\n", "250 a\n", "2500 a\r\n", "\x00\x00\r\n", "354 go\r\n",
       "220 hello\r\n", "503 5.5.1 bad sequence\r\n", "\r\n"]
STATES = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "EOD", "QUIT"]


@pytest.mark.parametrize("state", STATES)
def test_bad_replies(place, state):
    """Each of the replies is given once; the messages that met one go out again, nothing is lost or doubled. A bare "553" is a reply like any
    other (CVE-2020-8794 was in reading past it), and one to a message's command is final."""
    replies = [text for text in BAD if not (state == "DATA" and text.startswith("354")) and not (state == "CONNECT" and text.startswith("220"))]
    rules = [{"command": state, "nth": 1, "raw": text, **({"accept": False} if state == "EOD" else {})} for text in replies]
    final = int(state in ("MAIL", "RCPT", "DATA", "BDAT", "EOD"))
    _, server = deliver_all(place, {"rules": rules}, bounced=final, without=["CHUNKING"] if state == "DATA" else [])
    assert server.api.get("/healthz").status == 200


# --- row 5: endless, huge and slow replies --------------------------------------------------------------------------

def resident_kb(server):
    status = pathlib.Path("/proc/%d/status" % server.process.pid).read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


ENDLESS = {
    "lines without an end": {"raw": "250-more\r\n", "endless": True},
    "a line without an end": {"raw": "a" * 1000, "endless": True},
    "one byte a second": {"reply": "250 this takes its time", "drip_ms": 1000},
    "silence": {"stall": True},
}


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize("state", ["EHLO", "RCPT"])
def test_endless_replies_hold_up_nobody_else(place, how, state):
    """The hostile server has the address to itself; a second one gets its mail at the pace of its rate, within 5%."""
    hostile = place.sink(script={"rules": [{"command": state, **ENDLESS[how]}]})
    good = place.sink()
    routes = 'route "bad.test" { host = "127.0.0.1"  port = %d  tls = "none" }\nroute "good.test" { host = "127.0.0.1"  port = %d  tls = "none" }\n'
    server = place.server(config=routes % (hostile.port, good.port) + SHORT + 'domain "good.test" { rate = "50/s" }\n')
    place.people(server, emails(150, ["good.test"]) + emails(150, ["bad.test"], "b"))
    before = resident_kb(server)
    campaign = server.create_campaign()
    stats = run_until(server, campaign, lambda stats: stats["delivered"] >= 150, "the good server's mail")
    assert stats["delivered"] == 150 and stats["bounced"] == 0
    times = times_by_domain(good.ledger())["good.test"]
    assert (max(times) - min(times)) / 1e6 < 149 / 50 * 1.05 + 0.15
    hostile.wait_for(lambda ledger: sum(line["event"] == "close" for line in ledger) >= 2)  # closed by the deadline, and tried again
    assert resident_kb(server) - before < 60_000  # of which the campaign itself is the most


# --- row 7 is test_fates.py -----------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_421_on_an_idle_connection_is_no_failure(place):
    """The server closes after each third message, and says so; nobody's message is charged for it."""
    _, server = deliver_all(place, {"rules": [{"command": "MAIL", "message_nth": 4, "reply": "421 4.7.0 enough for one connection", "close": True}]}, 60, 2)
    assert all(row["attempts"] == 1 for row in server.deliveries(1))


# --- row 8: what a body can hold ------------------------------------------------------------------------------------

@pytest.mark.parametrize("without", [[], ["CHUNKING"]], ids=["BDAT", "DATA"])
@pytest.mark.parametrize("lax", [False, True])
def test_no_body_smuggles_a_message(place, without, lax):
    """All strings of CR, LF, '.' and 'a' up to five characters as a body: exactly one message each, to strict and to lax receivers."""
    bodies = ["".join(letters) for size in range(1, 6) for letters in itertools.product("\r\n.a", repeat=size)]
    sink = place.sink(without=without, lax=lax)
    server = place.server(sink, profile="connections = 4")
    audience = ["b%d@one.test" % n for n in range(len(bodies))]
    values = dict(zip(audience, bodies))
    place.people(server, audience, columns=("body",), row=lambda email: ('"%s"' % values[email],))
    campaign = server.create_campaign(text="{{body}}\n", html=None)
    assert run_to_end(server, campaign)["delivered"] == len(bodies)
    messages = sink.messages()
    assert len(messages) == len(bodies) and all(len(lines) == 1 for lines in messages.values())
    assert sink.events("violation") == []


# --- row 11: CHUNKING ------------------------------------------------------------------------------------------------

CHUNKING = {
    "refused for now": {"reply": "451 4.3.0 not now", "first": 1},
    "closed": {"close": True, "first": 1},
    "unknown after all": {"reply": "500 5.5.1 what is BDAT"},
}


@pytest.mark.sanitize
@pytest.mark.parametrize("how", CHUNKING)
def test_bdat_that_does_not_work(place, how):
    sink, _ = deliver_all(place, {"rules": [{"command": "BDAT", **CHUNKING[how]}]}, 40, 2)
    if how == "unknown after all":
        assert {line["via"] for line in sink.events("message")} == {"DATA"}
        assert len([line for line in sink.events("reject") if line["stage"] == "BDAT"]) <= 4  # then it is remembered


def test_the_third_message_of_a_stream_is_refused(place):
    sink = place.sink(script={"rules": [{"command": "BDAT", "message_nth": 3, "reply": "554 5.6.0 no"}]})
    server = place.server(sink, profile="connections = 1  messages_per_connection = 10")
    audience = emails(100, ["one.test"])
    place.people(server, audience)
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign)
    assert stats["bounced"] == 10 and stats["delivered"] == 90
    assert differences(server.deliveries(campaign), sink.ledger(), audience) == []


def test_chunking_lost_inside_tls(place):
    sink = place.sink(tls=True, without_in_tls=["CHUNKING"])
    server = place.server(config='route "*" { host = "127.0.0.1"  port = %d  tls = "required" }\n' % sink.port)
    place.people(server, emails(40, ["one.test"]))
    assert run_to_end(server, server.create_campaign())["delivered"] == 40
    assert {line["via"] for line in sink.events("message")} == {"DATA"}


# --- what a server does not offer -------------------------------------------------------------------------------------

@pytest.mark.parametrize("offer, address, subject, enhanced", [
    ({"without": ["SMTPUTF8"]}, "jürgen@one.test", "Hello", "5.6.7"),
    ({"size": 500}, "a@one.test", "Hello", "5.3.4"),
])
def test_what_cannot_be_said_there_is_a_clear_refusal(place, offer, address, subject, enhanced):
    sink = place.sink(**offer)
    server = place.server(sink)
    place.people(server, [address])
    assert run_to_end(server, server.create_campaign(subject=subject, text="x" * 60 + "\n" * 20))["bounced"] == 1
    row = server.deliveries(1)[0]
    assert row["enhanced"] == enhanced and row["reply"] != ""
    assert sink.events("message") == [] and sink.events("violation") == []
