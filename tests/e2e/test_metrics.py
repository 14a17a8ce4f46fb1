"""/metrics as Prometheus reads it, and the Grafana dashboard that is installed beside the program."""
import json
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, emails, run_to_end
from harness import Api

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.eE+-]+|[+-]Inf|NaN)')
PROVIDERS, CAMPAIGNS = 31, 21


def parse(text):
    """(types by name, samples by name as [(labels, value)]); anything that is not exactly text format 0.0.4 fails."""
    types, helps, samples, order = {}, {}, {}, []
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, told = line[7:].partition(" ")
            assert name not in helps and told, line
            helps[name] = told
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types and name in helps and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            family = next((name for name in (found[1], re.sub("_(bucket|sum|count)$", "", found[1])) if name in types), None)
            assert family is not None and (family == found[1]) == (types[family] != "histogram"), line
            assert not order or family == order[-1] or family not in order, "%s is scattered" % family
            order.append(family)
            labels = dict(re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            assert (labels not in [had for had, _ in samples.get(found[1], [])]), "twice: " + line
            samples.setdefault(found[1], []).append((labels, float(found[3])))
    return types, samples


def check_histogram(samples, name):
    rows = {}
    for labels, value in samples[name + "_bucket"]:
        rows.setdefault(tuple(sorted((k, v) for k, v in labels.items() if k != "le")), []).append((float(labels["le"]), value))
    for key, buckets in rows.items():
        assert [bound for bound, _ in buckets] == sorted(bound for bound, _ in buckets) and buckets[-1][0] == float("inf")
        values = [value for _, value in buckets]
        assert values == sorted(values)
        [count] = [value for labels, value in samples[name + "_count"] if tuple(sorted(labels.items())) == key]
        [total] = [value for labels, value in samples[name + "_sum"] if tuple(sorted(labels.items())) == key]
        assert count == values[-1] and total >= 0 and (total > 0 or values[0] == count)
    return {key: buckets[-1][1] for key, buckets in rows.items()}


@pytest.fixture
def scraped(place):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 nobody"}]})
    server = place.server(sink)
    place.people(server, emails(30, ["one.test", "two.test", "bad.test"]))
    number = server.create_campaign()
    run_to_end(server, number)
    for name in range(CAMPAIGNS + 4):  # running ones without end
        server.create_campaign(name="c%d" % name, window={"days": ["mon"], "from": "00:00", "to": "00:01", "time_zone": "Pacific/Kiritimati"})
    return server, Api(server.url).get("/metrics")


def test_the_format(scraped, tmp_path):
    server, answer = scraped
    text = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    types, samples = parse(text)
    for name, kind in types.items():
        assert name.startswith("posthaste_") and (kind == "counter") == name.endswith("_total"), name
        assert not re.search("_(ms|us|kb|mb|percent|minutes)(_|$)", name), "not a base unit: " + name
    for name in (name for name, kind in types.items() if kind == "histogram"):
        assert name.endswith("_seconds")
        check_histogram(samples, name)
    if shutil.which("promtool"):
        told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
        assert told.returncode == 0, told


def test_what_they_count(scraped):
    server, answer = scraped
    types, samples = parse(answer.body.decode())
    providers = {(labels["provider"], labels["outcome"]): value for labels, value in samples["posthaste_provider_attempts_total"]}
    assert providers[("127.0.0.1", "delivered")] == 20 and providers[("127.0.0.1", "permanent")] == 10
    assert len({provider for provider, _ in providers}) <= PROVIDERS
    totals = {labels["outcome"]: value for labels, value in samples["posthaste_attempts_total"]}
    assert totals["delivered"] == 20 and totals["permanent"] == 10
    stages = {dict(key)["stage"]: count for key, count in check_histogram(samples, "posthaste_delivery_stage_seconds").items()}
    assert set(stages) == {"queue", "connect", "tls", "envelope", "content"}
    assert stages["content"] == 20 and stages["envelope"] == stages["queue"] == 30 and stages["connect"] >= 1 and stages["tls"] == 0
    rows = {}
    for labels, value in samples["posthaste_campaign_deliveries"]:
        rows.setdefault(labels["campaign"], {})[labels["state"]] = value
    assert len(rows) == CAMPAIGNS and "other" in rows
    states = {labels["state"]: value for labels, value in samples["posthaste_deliveries"]}
    for state, value in states.items():
        assert sum(row[state] for row in rows.values()) == value, state


def test_the_grafana_dashboard(scraped):
    """Every metric that a query names is served, with the labels by which it is asked."""
    server, answer = scraped
    types, samples = parse(answer.body.decode())
    board = json.loads((ROOT / "share" / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    named = set()
    for query in queries:
        for name, matchers in re.findall(r"\b(posthaste_\w+)(\{[^}]*\})?", query):
            assert name in samples, (name, query)
            named.add(name)
            asked = set(re.findall(r"(\w+)[=!]", matchers)) | set(sum((by.split(", ") for by in re.findall(r"by \(([^)]*)\)", query)), []))
            assert asked <= set(samples[name][0][0]), (name, query)
        assert query.count("(") == query.count(")")
    assert len(named) > 12
