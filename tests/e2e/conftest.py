"""Fixtures of the end-to-end tests: servers, sinks, recipients. Everything runs on loopback, in the test's own folder.

POSTHASTE_BUILD names the build folder. A server must end with status 0 and without a word from a sanitizer, or its test has failed.
"""
import os
import pathlib
import re
import shutil
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "lib"))
os.environ.setdefault("POSTHASTE_BUILD", str(ROOT / "build"))

import harness  # noqa: E402
import sinklib  # noqa: E402

SANITIZER = re.compile(r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Sanitizer: DEADLYSIGNAL)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the end of each server's log into the report of a failed test."""
    report = (yield).get_result()
    if report.failed:
        for server in getattr(item, "servers", []):
            if server.log.exists():
                report.sections.append((str(server.log), server.log.read_text(errors="replace")[-6000:]))


class Place:
    """What a test builds its scene from. Everything it started ends with the test."""

    def __init__(self, folder, template):
        self.folder = folder
        self.template = template
        self.servers = []
        self.sinks = []

    def sink(self, **options):
        """A running sink; see sinklib.Sink for the options."""
        sink = sinklib.Sink(folder=self.folder / ("sink%d" % len(self.sinks)), **options)
        self.sinks.append(sink.start())
        return sink

    def server(self, sink=None, config="", profile="", start=True, domain="sender.test"):
        """A posthaste whose every route leads to the sink. Quick retries; `config` and `profile` are added to what it has."""
        text = 'retry { first = "1s"  max = "2s" }\n'
        if sink is not None:
            text += 'route "*" { host = "127.0.0.1"  port = %d  tls = "none" }\n' % sink.port
        if "rate" not in profile:
            profile += ' rate = "unlimited"'
        text += 'profile "default" { %s }\n%s\n' % (profile.strip(), config)
        server = harness.Posthaste(self.folder / ("server%d" % len(self.servers)), text)
        self.servers.append(server)
        if domain == "sender.test":
            shutil.copytree(self.template, server.data_dir)
        elif domain:
            server.cli("domain", "add", domain)
        if start:
            server.start()
            server.login()
        return server

    def people(self, server, emails, list_name="news", columns=("name", "city"), row=lambda email: ("Ann", "Köln")):
        """Imports the addresses (with attributes) into a list."""
        path = self.folder / ("%s.csv" % list_name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(",".join(("email",) + tuple(columns)) + "\n")
            for email in emails:
                out.write(",".join((email,) + tuple(row(email))) + "\n")
        return server.cli_json("import", "--list", list_name, path)

    def finish(self):
        problems = []
        for server in self.servers:
            try:
                status = server.stop()
                if status != 0:
                    problems.append("serve ended with status %d" % status)
            except Exception as problem:  # a server that hangs must not leave the others running
                problems.append("serve does not end: %s" % problem)
            if server.log.exists() and (found := SANITIZER.search(server.log.read_text(errors="replace"))):
                problems.append("%s in %s" % (found.group(1), server.log))
        for sink in self.sinks:
            try:
                if sink.stop() != 0:
                    problems.append("the sink did not end in order")
            except Exception as problem:
                problems.append("the sink does not end: %s" % problem)
        return problems


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A data directory with the domain sender.test, copied for each server: the making of an RSA key takes longer than many a test."""
    first = harness.Posthaste(tmp_path_factory.mktemp("template"), "")
    first.cli("domain", "add", "sender.test")
    return first.data_dir


@pytest.fixture
def place(tmp_path, request, template):
    scene = Place(tmp_path, template)
    request.node.servers = scene.servers
    yield scene
    problems = scene.finish()
    assert not problems, "; ".join(problems)


def emails(count, domains, prefix="person"):
    """`count` addresses spread evenly over the domains."""
    return ["%s%d@%s" % (prefix, n, domains[n % len(domains)]) for n in range(count)]


def add_up(stats):
    """The promise of every moment: audience = sum of the states."""
    total = sum(stats[state] for state in harness.STATES)
    assert total == stats["audience"], stats
    assert all(stats[state] >= 0 for state in harness.STATES), stats
    return stats


def run_until(server, campaign, condition, what, timeout_s=60):
    """Polls the statistics, which must add up each time, until condition(stats) is true; returns those."""
    last = None

    def met():
        nonlocal last
        last = add_up(server.stats(campaign))
        return condition(last)

    try:
        harness.wait_until(met, timeout_s, what)
    except TimeoutError as late:
        raise AssertionError("%s; the last statistics: %r" % (late, last)) from None
    return last


def run_to_end(server, campaign, timeout_s=90, until=("finished",)):
    """run_until() the campaign has one of the statuses."""
    return run_until(server, campaign, lambda stats: stats["status"] in until, "campaign %d to be %s" % (campaign, " or ".join(until)), timeout_s)
