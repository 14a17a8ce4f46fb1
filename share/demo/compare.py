#!/usr/bin/python3
"""Compares posthaste's deliveries with the sink's ledger, recipient by recipient: compare.py URL TOKEN CAMPAIGN LEDGER AUDIENCE-SIZE SINK-PID

Exit 0 only when both books agree on every one.
"""
import collections
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib"))
from harness import Api, wait_until  # noqa: E402
from reconcile import books, differences, read_ledger  # noqa: E402


def main():
    url, token, campaign, path, audience, sink_pid = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
    deliveries = Api(url, token).pages("/v1/campaigns/%s/deliveries" % campaign)
    delivered = sum(row["state"] == "delivered" for row in deliveries)
    os.kill(sink_pid, signal.SIGUSR1)  # the ledger is written through a buffer
    ledger = wait_until(lambda: [events for events in [read_ledger(path)] if sum(e["event"] == "message" for e in events) >= delivered],
                        10, "the sink's ledger to hold %d messages" % delivered, 0.2)[0]
    problems = differences(deliveries, ledger)
    if len(deliveries) != audience:
        problems.insert(0, "there are %d deliveries for an audience of %d" % (len(deliveries), audience))
    for problem in problems[:20]:
        print("  ✗ %s" % problem, file=sys.stderr)
    if problems:
        print("  %d recipients differ" % len(problems), file=sys.stderr)
        return 1
    seen = books(ledger)
    states = collections.Counter(row["state"] for row in deliveries)
    print("  ✓ %d recipients, each in the state that the sink's ledger says" % len(deliveries))
    print("  ✓ %d delivered once each, nobody twice; %d of them only at a later attempt" % (
        states["delivered"], sum(row["state"] == "delivered" and row["attempts"] > 1 for row in deliveries)))
    print("  ✓ %d refused for good; the ledger knows %d recipients" % (states["bounced"], len(seen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
