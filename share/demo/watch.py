#!/usr/bin/python3
"""Shows a campaign's progress until it has finished, then its statistics: watch.py URL TOKEN CAMPAIGN SECONDS

Exit 0 when it finished and its numbers add up, 1 when not within SECONDS.
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib"))
from harness import STATES, Api  # noqa: E402

COLOURS = {"delivered": "32", "bounced": "31", "failed": "31", "deferred": "33", "uncertain": "33", "suppressed": "35"}


def paint(text, colour):
    return "\033[%sm%s\033[0m" % (colour, text) if text and colour and sys.stdout.isatty() else text


def bar(stats, width=40):
    audience = max(stats["audience"], 1)
    parts = [("delivered", "█"), ("bounced", "▓"), ("deferred", "▒"), ("sending", "░")]
    drawn = "".join(paint(sign * (stats[state] * width // audience), COLOURS.get(state)) for state, sign in parts)
    used = sum(stats[state] * width // audience for state, _ in parts)
    return drawn + " " * (width - used)


def line(stats, seconds):
    return "  [%s] %6d of %d delivered, %d deferred, %d bounced  %5.0f/s  %3.0f s" % (
        bar(stats), stats["delivered"], stats["audience"], stats["deferred"], stats["bounced"], stats["rate_now"], seconds)


def table(stats):
    print("\n  %-12s %8s %8s" % ("state", "count", "share"))
    for state in STATES:
        if stats[state] or state in ("pending", "delivered"):
            text = "  %-12s %8d %7.1f%%" % (state, stats[state], 100 * stats[state] / max(stats["audience"], 1))
            print(paint(text, COLOURS.get(state)))
    print("  %-12s %8d\n" % ("audience", stats["audience"]))


def main():
    url, token, campaign, limit = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    api = Api(url, token)
    begin = last_line = time.monotonic()
    while True:
        answer = api.get("/v1/campaigns/%s/stats" % campaign)
        if answer.status != 200:
            print("  the statistics cannot be read: %r" % answer, file=sys.stderr)
            return 1
        stats, now = answer.json, time.monotonic()
        if sum(stats[state] for state in STATES) != stats["audience"]:
            print("\n  the states do not add up to the audience: %r" % stats, file=sys.stderr)
            return 1
        if sys.stdout.isatty():
            print("\r" + line(stats, now - begin) + "\033[K", end="", flush=True)
        elif now - last_line >= 2:
            print(line(stats, now - begin), flush=True)
            last_line = now
        if stats["status"] == "finished":
            print()
            table(stats)
            return 0
        if now - begin > limit:
            print("\n  not finished after %.0f s: %r" % (limit, stats), file=sys.stderr)
            return 1
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
