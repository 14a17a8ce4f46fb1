"""bench adapt: the adaptive rate against a sink that answers 421 above 20 messages a second, and then does not any more. Draws the run as an SVG."""
import json
import pathlib
import time

from harness import Posthaste, ROOT, wait_until

BEARS = 20  # messages a second
RATE = 100  # configured
SETTLED_S, BEFORE_S, AFTER_S = 60, 120, 125
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 420, 60, 50, 30


def sink_of(folder):
    import sys
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    import os
    os.environ.setdefault("POSTHASTE_BUILD", str(ROOT / "build"))
    import sinklib
    return sinklib.Sink(folder=folder, script={"rules": [
        {"command": "MAIL", "above": BEARS, "until_s": BEFORE_S, "reply": "421 4.7.0 rate limited"}]}).start()


def per_second(events, begin_us, seconds):
    counts = [0] * seconds
    for t_us in events:
        at = int((t_us - begin_us) / 1e6)
        if 0 <= at < seconds:
            counts[at] += 1
    return counts


def svg(path, accepted, refused, adaptive, seconds):
    def x(second):
        return LEFT + second * (WIDTH - LEFT - 20) / seconds

    def y(rate):
        return HEIGHT - BOTTOM - rate * (HEIGHT - BOTTOM - TOP) / (RATE * 1.1)

    def line(points, colour, width=1.5):
        return '<polyline fill="none" stroke="%s" stroke-width="%g" points="%s"/>' % (
            colour, width, " ".join("%.1f,%.1f" % (x(a), y(b)) for a, b in points))

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>']
    for rate in range(0, RATE + 1, 20):
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d</text>'
                   % (LEFT, WIDTH - 20, y(rate), y(rate), LEFT - 6, y(rate) + 4, rate))
    for second in range(0, seconds + 1, 30):
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%d s</text>' % (x(second), HEIGHT - BOTTOM + 18, second))
    out.append(line([(0, BEARS), (BEFORE_S, BEARS), (BEFORE_S, RATE), (seconds, RATE)], "#bbb", 3))
    out.append(line(list(enumerate(accepted)), "#2a7"))
    out.append(line(adaptive, "#27c"))
    out += ['<rect x="%.1f" width="3" y="%.1f" height="%.1f" fill="#c33"/>' % (x(at), y(count), y(0) - y(count)) for at, count in enumerate(refused) if count]
    out.append('<text x="%d" y="18">messages a second: grey what the sink bears, green accepted, blue the adaptive rate, red refused</text></svg>' % LEFT)
    path.write_text("\n".join(out))


def run(folder, out):
    sink = sink_of(folder / "sink")
    seconds = BEFORE_S + AFTER_S
    server = Posthaste(folder / "server", 'route "*" { host = "127.0.0.1"  port = %d  tls = "none" }\nretry { first = "1s"  max = "2s" }\n'
                       'profile "default" { rate = "%d/s"  connections = 5 }\n' % (sink.port, RATE))
    try:
        server.cli("domain", "add", "sender.test")
        people = folder / "people.csv"
        people.write_text("email\n" + "".join("p%d@one.test\n" % n for n in range(BEARS * BEFORE_S + RATE * AFTER_S + 1000)))
        server.start()
        server.login()
        server.cli_json("import", "--list", "news", people)
        server.create_campaign(subject="Hello", text="Hello", html="<p>Hello</p>")
        wait_until(lambda: sink.events("message"), 30, "the first message", 0.2)
        begin, adaptive = time.monotonic(), []
        while time.monotonic() - begin < seconds:
            answer = server.api.get("/v1/stats/sites/one.test")
            if answer.status == 200:
                adaptive.append((time.monotonic() - begin, min(answer.json["adaptive_rate"] or RATE, RATE)))
            time.sleep(1)
    finally:
        server.stop()
        sink.stop()
    ledger = sink.ledger()
    messages = [line["t_us"] for line in ledger if line["event"] == "message"]
    # One refusal a transaction: what was pipelined behind the refused MAIL is the same message.
    refusals = [line["t_us"] for line in ledger if line["event"] == "reject" and line["stage"] == "MAIL"]
    accepted, refused = per_second(messages, messages[0], seconds), per_second(refusals, messages[0], seconds)
    svg(out, accepted, refused, adaptive, seconds)
    settled = sum(accepted[SETTLED_S:BEFORE_S]) / (BEFORE_S - SETTLED_S)
    share = sum(refused[SETTLED_S:BEFORE_S]) / max(sum(accepted[SETTLED_S:BEFORE_S]) + sum(refused[SETTLED_S:BEFORE_S]), 1)
    recovered = next((at - BEFORE_S for at in range(BEFORE_S, seconds - 2) if sum(accepted[at:at + 3]) >= 3 * 0.95 * RATE), None)
    return settled, share, recovered
