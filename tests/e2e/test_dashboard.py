"""The page, its numbers, and what monitoring reads."""
import re

import pytest

from conftest import emails, run_to_end
from harness import STATES, Api


@pytest.mark.sanitize
def test_the_page_and_all_that_it_loads(place):
    server = place.server(place.sink())
    anyone = Api(server.url)
    page = anyone.get("/dashboard")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy or "default-src 'self'" in policy
    assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
    text = page.body.decode()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text), "nothing is loaded from elsewhere"
    loaded = re.findall(r"(?:src|href)=\"(/dashboard/[^\"]+)\"", text)
    assert any(path.endswith(".js") for path in loaded) and any(path.endswith(".css") for path in loaded)
    for path in loaded:
        answer = anyone.get(path)
        assert answer.status == 200 and len(answer.body) > 100, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    root = anyone.get("/")
    assert root.status in (301, 302, 303, 307, 308) and root.headers["Location"].endswith("/dashboard")


@pytest.mark.sanitize
def test_its_numbers(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 nobody"}]})
    server = place.server(sink)
    place.people(server, emails(60, ["one.test", "two.test", "bad.test"]))
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    stats = server.api.get("/v1/stats").json
    assert stats["recipients"] == 60 and stats["lists"] == 1 and stats["suppressions"] == 20
    assert stats["deliveries"]["delivered"] == 40 and stats["deliveries"]["bounced"] == 20
    assert set(STATES) <= set(stats["deliveries"])
    assert stats["storage"]["healthy"] is True
    assert [row["id"] for row in stats["campaigns"]] == [campaign]
    sites = {row["site"]: row for row in server.api.get("/v1/stats/sites").json["data"]}
    assert sites["one.test"]["delivered"] == 20 and sites["bad.test"]["permanent"] == 20
    assert sites["bad.test"]["last_reply"] == "550 5.1.1 nobody"
    minutes = server.api.get("/v1/campaigns/%d/timeseries" % campaign).json["data"]
    assert sum(row["delivered"] for row in minutes) == 40 and sum(row["bounced"] for row in minutes) == 20


def test_metrics(place):
    sink = place.sink()
    server = place.server(sink)
    place.people(server, emails(10, ["one.test"]))
    run_to_end(server, server.create_campaign())
    text = Api(server.url).get("/metrics").body.decode()
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = re.fullmatch(r"([a-z_]+(?:\{[^}]*\})?) (\S+)", line).groups()
            values[name] = float(value)
    assert values['posthaste_deliveries{state="delivered"}'] == 10
    assert values["posthaste_storage_healthy"] == 1
    assert values["posthaste_storage_outcomes_total"] == 10
    commits = [value for name, value in values.items() if name.startswith("posthaste_storage_commit_seconds_bucket")]
    assert commits == sorted(commits) and commits[-1] == values["posthaste_storage_commit_seconds_count"] >= 2
    assert 0 < values["posthaste_storage_commit_max_seconds"] <= values["posthaste_storage_commit_seconds_sum"]


def test_health(place):
    server = place.server(place.sink())
    anyone = Api(server.url)
    assert anyone.get("/healthz").status == 200
    assert anyone.get("/readyz").status == 200
