"""Each recipient has a random fate at the sink: accepted, refused for now or for good at any stage, the connection closed before or after the
end of the content, silence. What is recorded must equal the sink's ledger for every single one: at depth 1 and 10, with DATA and BDAT."""
import os

import pytest

from conftest import emails, run_to_end
from reconcile import differences
from sinklib import share

# 20,000 recipients, shared by the four ways of sending. Each way with 20,000 of its own: POSTHASTE_FATES=80000 pytest test_fates.py
COUNT = int(os.environ.get("POSTHASTE_FATES", "20000")) // 4
TIMES = ('timeouts { greeting = "2s"  ehlo = "2s"  mail = "2s"  rcpt = "2s"  data = "2s"  block = "2s"  final = "2s"  quit = "500ms" }\n'
         'guard { hard_bounces = "off" }\n')
FATES = [  # share of the recipients, rule, what becomes of them
    (0.04, {"command": "RCPT", "reply": "550 5.1.1 no such user"}, "bounced"),
    (0.04, {"command": "EOD", "reply": "554 5.7.1 not wanted"}, "bounced"),
    (0.05, {"command": "RCPT", "first": 1, "reply": "451 4.7.1 later"}, "delivered"),
    (0.04, {"command": "EOD", "first": 1, "reply": "452 4.3.1 full"}, "delivered"),
    (0.02, {"command": "RCPT", "first": 1, "close": True}, "delivered"),
    (0.02, {"command": "RCPT", "first": 1, "reply": "421 4.3.2 closing", "close": True}, "delivered"),
    (0.02, {"command": "DATA", "first": 1, "close": True}, "delivered"),
    (0.02, {"command": "BDAT", "first": 1, "reply": "451 4.3.0 not this one"}, "delivered"),
    (0.02, {"command": "EOD", "first": 1, "accept": False, "close": True}, "delivered"),
    (0.02, {"command": "EOD", "first": 1, "accept": True, "close": True}, "delivered"),
    (0.01, {"command": "EOD", "first": 1, "accept": True, "partial": "250 2.0", "close": True}, "delivered"),
    (0.01, {"command": "EOD", "first": 1, "accept": False, "rst": True}, "delivered"),
    (0.005, {"command": "RCPT", "first": 1, "stall": True}, "delivered"),
    (0.005, {"command": "EOD", "first": 1, "accept": False, "stall": True}, "delivered"),
    (0.01, {"command": "RCPT", "first": 1, "raw": "354 what?\r\n"}, "delivered"),
]


def script(seed):
    rules, low = [], 0.0
    for part, rule, _ in FATES:
        rules.append({**rule, "share": [round(low, 4), round(low + part, 4)]})
        low += part
    rules.append({"command": "MAIL", "every": 97, "reply": "451 4.3.0 later"})
    rules.append({"command": "MAIL", "every": 211, "close": True})
    return {"seed": seed, "rules": rules}


def fate(seed, email):
    at = share(seed, email)
    for part, _, state in FATES:
        if at < part:
            return state
        at -= part
    return "delivered"


@pytest.mark.parametrize("depth", [1, 10])
@pytest.mark.parametrize("via", ["DATA", "BDAT"])
def test_records_equal_the_ledger(place, depth, via):
    seed = 7 * depth + len(via)
    sink = place.sink(script=script(seed), without=["CHUNKING"] if via == "DATA" else [])
    server = place.server(sink, config=TIMES, profile="pipeline_depth = %d  connections = 6  messages_per_connection = 50" % depth)
    audience = emails(COUNT, ["site%d.test" % n for n in range(20)])
    place.people(server, audience)
    campaign = server.create_campaign()
    run_to_end(server, campaign, 120 + COUNT / 20)
    deliveries, ledger = server.deliveries(campaign), sink.ledger()
    problems = differences(deliveries, ledger, audience)
    assert not problems, problems[:20]
    # Shares are compared as the sink compares them; the edges of its ranges are rounded to four places.
    wrong = [row["email"] for row in deliveries if row["state"] != fate(seed, row["email"])]
    assert len(wrong) <= 2, wrong[:20]
    assert sink.events("violation") == []
    assert {line["via"] for line in ledger if line["event"] == "message"} <= {via, "DATA"}
