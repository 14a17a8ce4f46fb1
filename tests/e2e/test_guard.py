"""A campaign that bounces or annoys too much pauses by itself, says why, and goes on when a person says so."""
import re

import pytest

from conftest import add_up, emails, run_to_end, run_until
from test_bounce import complaint, sent

GUARD = 'guard { hard_bounces = "10%" complaints = "5%" after = 40 }\nbounces { complaint_dkim = false }\n'


@pytest.mark.sanitize
def test_hard_bounces_pause_and_resume_begins_anew(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "dead.test", "reply": "550 5.1.1 no such user"}]})
    server = place.server(sink, config=GUARD, profile='rate = "100/s" connections = 1 pipeline_depth = 1')
    people = [address for pair in zip(emails(300, ["dead.test"]), emails(300, ["live.test"])) for address in pair]
    place.people(server, people)
    campaign = server.create_campaign()
    stats = run_until(server, campaign, lambda stats: stats["status"] == "paused", "the guard to pause")
    assert stats["limited_by"] == "guard" and stats["hard_bounced"] <= stats["bounced"] < 300
    assert re.fullmatch(r"hard bounces are [\d.]+% \(\d+ of \d+ delivered or bounced\), more than 10%", stats["pause_reason"])
    assert stats["pause_reason"] in server.cli("campaign", "stats", campaign).stdout
    assert stats["pause_reason"] in server.cli("status").stdout
    assert "paused_by=guard" in server.log.read_text()
    # The pause is in the database: a restart does not send on.
    server.stop()
    server.start()
    assert server.stats(campaign)["pause_reason"] == stats["pause_reason"]
    before = server.stats(campaign)
    server.api.post("/v1/campaigns/%d/resume" % campaign)
    again = run_until(server, campaign, lambda stats: stats["status"] != "running", "the guard to pause again, or the end")
    assert again["bounced"] + again["delivered"] >= before["bounced"] + before["delivered"] + 40
    if again["status"] == "paused":
        assert again["pause_reason"] is not None
    # A pause of a person's has no reason, and cancelling clears it.
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
    assert server.stats(campaign)["pause_reason"] is None


def test_complaints_pause(place):
    sink = place.sink(store=True)
    server = place.server(sink, config=GUARD, profile='rate = "20/s"')
    people = emails(400, ["one.test"])
    place.people(server, people)
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] >= 45, "enough to judge")
    heard = [line["to"] for line in sink.ledger() if line["event"] == "message"][:20]
    for who in heard:
        server.cli_json("bounce", "ingest", "-", stdin=complaint(message_id=sent(sink, who)[0]["Message-ID"]))
        if server.stats(campaign)["status"] == "paused":
            break
    stats = run_until(server, campaign, lambda stats: stats["status"] == "paused", "the guard to pause")
    assert stats["pause_reason"].startswith("complaints are ") and 0 < stats["complained"] <= 20


def test_off_means_off(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "reply": "550 5.1.1 no such user"}]})
    server = place.server(sink, config="guard { hard_bounces = off complaints = off after = 1 }\nbounces { suppress_hard = false }\n")
    place.people(server, emails(60, ["dead.test"]))
    campaign = server.create_campaign()
    stats = run_to_end(server, campaign)
    assert (stats["bounced"], stats["hard_bounced"], stats["pause_reason"]) == (60, 60, None)
    assert server.cli_json("suppress", "list")["total"] == 0
