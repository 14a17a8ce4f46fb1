"""Opens and clicks over HTTP: where links lead, what is counted, and that a token which is not ours does nothing at all."""
import email
import email.policy
import random
import re
import sqlite3
import time

import pytest

from conftest import emails, run_to_end
from harness import Api, wait_until
from streamlib import Listener

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}
HTML = ('<html><body><p>Hello {{name}}</p><a href="https://shop.test/one?a=1&amp;b=2">one</a> <a href="https://shop.test/{{city}}?who={{name}}">two</a> '
        '<a href="https://quiet.test/" data-track="off">quiet</a> <a href="{{unsubscribe_url}}">leave</a></body></html>')
SPEC = {"html": HTML, "text": None, "track": {"opens": True, "clicks": True}}


def paths_of(sink, address):
    """The paths of the tracked links (in order) and of the pixel in the message to this address."""
    message = email.message_from_bytes(sink.content(sink.messages()[address][-1]), policy=email.policy.default)
    html = message.get_body(("html",)).get_content()
    return re.findall(r'href="https?://[^/"]+(/c/[a-z2-7]+)"', html), re.search(r'src="https?://[^/"]+(/o/[a-z2-7]+)"', html).group(1)


def links(server, campaign):
    return {row["url"]: row for row in server.api.pages("/v1/campaigns/%d/links" % campaign)}


def delivery(server, campaign, address):
    return next(row for row in server.deliveries(campaign) if row["email"] == address)


def later(server, campaign, address):
    """A person comes more than a second after the delivery."""
    row = delivery(server, campaign, address)
    assert row["state"] == "delivered"
    at = time.mktime(time.strptime(row["updated_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0." + row["updated_at"][20:23])
    wait_until(lambda: time.time() > at + 1.1, 10, "a second after the delivery")


def change_counter(server):
    """Raised by every transaction that writes to the database, whoever makes it."""
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True) as database:
        return [database.execute("SELECT count(*), sum(first + last + people + machines) FROM hit").fetchone(),
                database.execute("SELECT sum(hits), sum(machines) FROM campaign_link").fetchone(),
                database.execute("SELECT opened, clicked, unsubscribed FROM campaign").fetchall()]


@pytest.fixture
def scene(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, emails(4, ["one.test"]), row=lambda address: (address.split("@")[0] + " & co", "Köln"))
    campaign = server.create_campaign(**SPEC)
    run_to_end(server, campaign)
    return sink, server, campaign, Api(server.url)


@pytest.mark.sanitize
def test_clicks_and_opens_are_counted_once_a_person(scene):
    sink, server, campaign, anyone = scene
    one, two, off = "https://shop.test/one?a=1&b=2", "https://shop.test/{{{city}}}?who={{{name}}}", "https://quiet.test/"
    assert set(links(server, campaign)) == {one, two}
    listener = Listener(server, "?types=clicked,opened")
    clicks, pixel = paths_of(sink, "person0@one.test")
    later(server, campaign, "person0@one.test")
    for _ in range(3):
        answer = anyone.get(clicks[0], headers=BROWSER)
        assert (answer.status, answer.headers["Location"], answer.body) == (302, one, b"")
        assert answer.headers["Cache-Control"] == "no-store" and "Set-Cookie" not in answer.headers
    answer = anyone.get(clicks[1], headers=BROWSER)
    assert answer.headers["Location"] == "https://shop.test/K%C3%B6ln?who=person0%20&%20co"
    answer = anyone.get(pixel, headers=BROWSER)
    assert answer.status == 200 and answer.headers["Content-Type"] == "image/gif" and answer.body.startswith(b"GIF89a")
    wait_until(lambda: server.stats(campaign)["opened"] == 1 and links(server, campaign)[two]["people"] == 1, 10, "the hits to be recorded")
    table = links(server, campaign)
    assert (table[one]["people"], table[one]["clicks"], table[one]["machines"]) == (1, 3, 0)
    assert server.stats(campaign)["clicked"] == 1
    wait_until(lambda: len(listener.events) >= 5, 10, "the events")
    told = [(kind, event["data"]["email"], event["data"].get("url")) for kind, _, event in listener.events]
    assert sorted(told, key=str) == sorted(3 * [("clicked", "person0@one.test", one)] + [("clicked", "person0@one.test", two), ("opened", "person0@one.test", None)], key=str)
    listener.close()
    row = delivery(server, campaign, "person0@one.test")
    assert row["opened_at"] and row["clicked_at"]
    assert delivery(server, campaign, "person1@one.test")["opened_at"] is None
    assert "shop.test/one" in server.cli("campaign", "links", campaign).stdout

    later(server, campaign, "person1@one.test")
    anyone.get(paths_of(sink, "person1@one.test")[0][0], headers=BROWSER)
    wait_until(lambda: server.stats(campaign)["clicked"] == 2, 10, "the second person")
    assert links(server, campaign)[one]["people"] == 2
    # Numbers, tables and tokens outlive the process.
    server.stop()
    server.start()
    assert Api(server.url).get(clicks[1], headers=BROWSER).status == 302
    wait_until(lambda: links(server, campaign)[two]["clicks"] == 2, 10, "the click after the restart")


def test_built_in_tags_of_a_link_are_filled_in(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["a@one.test"])
    url = "https://shop.test/?utm_campaign={{campaign.name}}&c={{campaign.id}}&r={{recipient.id}}&e={{recipient.email}}&d={{recipient.domain}}"
    run_to_end(server, server.create_campaign(name="Spring & sale", html='<a href="%s">x</a>' % url, text=None, track={"clicks": True, "opens": True}))
    answer = Api(server.url).get(paths_of(sink, "a@one.test")[0][0], headers=BROWSER)
    assert answer.headers["Location"] == "https://shop.test/?utm_campaign=Spring%20&%20sale&c=1&r=1&e=a@one.test&d=one.test"


MACHINES = [("HEAD", {}), ("GET", {"User-Agent": "Mozilla/5.0"}), ("GET", {"Sec-Purpose": "prefetch;prerender"}), ("GET", {"Purpose": "prefetch"}),
            ("GET", {"X-Moz": "prefetch"}), ("GET", {"User-Agent": "Example Link Preview/1.0"}), ("GET", {"User-Agent": "SomeBot/2.1"})]


def test_machines_are_kept_apart(scene):
    """failures.md row 27: scanners and prefetchers count as such, and unsubscribe nobody."""
    sink, server, campaign, anyone = scene
    clicks, pixel = paths_of(sink, "person0@one.test")
    later(server, campaign, "person0@one.test")
    for method, headers in MACHINES:
        assert anyone.call(method, clicks[0], headers={**BROWSER, **headers}).status == 302
        assert anyone.call(method, pixel, headers={**BROWSER, **headers}).status == 200
    first = list(links(server, campaign))[0]
    wait_until(lambda: links(server, campaign)[first]["machines"] == len(MACHINES), 10, "the hits to be recorded")
    stats = server.stats(campaign)
    assert (stats["opened"], stats["clicked"], stats["unsubscribed"]) == (0, 0, 0)
    assert links(server, campaign)[first]["clicks"] == 0
    assert delivery(server, campaign, "person0@one.test")["clicked_at"] is None


def test_nobody_is_faster_than_a_second(place):
    sink = place.sink(store=True)
    server = place.server(sink)
    place.people(server, ["a@one.test"])
    campaign = server.create_campaign(**SPEC)
    run_to_end(server, campaign)
    clicks, _ = paths_of(sink, "a@one.test")
    anyone = Api(server.url)
    begin = time.time()
    assert anyone.get(clicks[0], headers=BROWSER).status == 302
    row = delivery(server, campaign, "a@one.test")
    wait_until(lambda: sum(link["machines"] + link["clicks"] for link in links(server, campaign).values()) == 1, 10, "the hit")
    delivered = time.mktime(time.strptime(row["updated_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    if begin < delivered + 0.9:  # else the machine was too slow to be fast
        assert server.stats(campaign)["clicked"] == 0


@pytest.mark.sanitize
def test_links_lead_only_to_what_was_sent(scene):
    """failures.md row 26."""
    sink, server, campaign, anyone = scene
    clicks, pixel = paths_of(sink, "person0@one.test")
    other = paths_of(sink, "person1@one.test")[0]
    assert len(set(clicks) | set(other)) == len(clicks) + len(other)
    before = change_counter(server)
    for path in ("/c//evil.test", "/c/https://evil.test/", "/c/javascript:alert(1)",
                 "/c/%2F%2Fevil.test", clicks[0] + "/x", clicks[0].replace("/c/", "/o/"), clicks[0].replace("/c/", "/u/"), pixel.replace("/o/", "/c/"),
                 pixel.replace("/o/", "/u/"), clicks[0].upper(), clicks[0] + "a", clicks[0][:-1], clicks[0][:20] + other[0][20:]):
        answer = anyone.get(path, headers=BROWSER)
        assert answer.status in (404, 422) and "Location" not in answer.headers, (path, answer)
        assert anyone.get(path + "?utm_source=x", headers=BROWSER).status in (404, 422), path
    assert change_counter(server) == before


def test_what_others_append_to_a_link_changes_nothing(scene):
    """Mail readers, social networks and analytics append parameters of their own, not always well-formed ones."""
    sink, server, campaign, anyone = scene
    clicks, pixel = paths_of(sink, "person0@one.test")
    asked = anyone.get(clicks[0], headers=BROWSER)
    assert asked.status == 302
    many = "?" + "&".join("p%d=1" % n for n in range(30))
    for query in ("?fbclid=IwAR0&utm_source=x", "?url=https://evil.test/", "?u=//evil.test", "?", "?&&", "?a=1&a=2", "?a=%zz", many):
        answer = anyone.get(clicks[0] + query, headers=BROWSER)
        assert (answer.status, answer.headers["Location"]) == (302, asked.headers["Location"]), query
        assert anyone.get(pixel + query).status == 200, query
        assert anyone.get(clicks[0][:-1] + query, headers=BROWSER).status == 404, query


def forged(rng, tokens, count):
    """Tokens that nobody made: changed by a bit, cut, grown, mixed, random."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    made = set()
    for token in tokens:  # each bit of each token
        for at, char in enumerate(token):
            for bit in range(5):
                made.add(token[:at] + alphabet[alphabet.index(char) ^ (1 << bit)] + token[at + 1:])
        made |= {token[:n] for n in range(1, len(token))} | {token + c for c in alphabet}
    while len(made) < count:
        a, b = rng.choice(tokens), rng.choice(tokens)
        cut = rng.randrange(1, len(a))
        made.add(rng.choice((a[:cut] + b[cut:], a[:cut] + "".join(rng.choices(alphabet, k=len(a) - cut)), "".join(rng.choices(alphabet, k=rng.randrange(1, 60))))))
        made -= set(tokens)
    return sorted(made)[:count] if len(made) > count else sorted(made)


def statuses(url, requests, depth=64):
    """Pipelined over one connection: a list of (method, path) -> statuses. Fast enough for a hundred thousand."""
    import socket
    from urllib.parse import urlsplit
    parts = urlsplit(url)
    found = []
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        reader = connection.makefile("rb")
        for begin in range(0, len(requests), depth):
            batch = requests[begin:begin + depth]
            connection.sendall(b"".join(request(method, path) for method, path in batch))
            for method, _ in batch:
                status = int(reader.readline().split()[1])
                length = 0
                while (line := reader.readline()) not in (b"\r\n", b""):
                    if line[:15].lower() == b"content-length:":
                        length = int(line[15:])
                if method != "HEAD":
                    reader.read(length)
                found.append(status)
    return found


def request(method, path):
    body = b"List-Unsubscribe=One-Click" if method == "POST" else b""
    kind = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body) if body else b""
    return b"%s %s HTTP/1.1\r\nHost: x\r\nUser-Agent: Mozilla/5.0 (X11)\r\n%s\r\n%s" % (method.encode(), path.encode(), kind, body)


def test_a_hundred_thousand_forged_tokens_change_nothing(place):
    """Each is 404, and the database does not get a single write: its change counter stands still."""
    sink = place.sink(store=True)
    server = place.server(sink, config='api_rate = "unlimited"\n')
    place.people(server, emails(3, ["one.test"]))
    campaign = server.create_campaign(**SPEC)
    run_to_end(server, campaign)
    good = {kind: [] for kind in "cou"}
    for address in emails(3, ["one.test"]):
        message = email.message_from_bytes(sink.content(sink.messages()[address][-1]), policy=email.policy.default)
        for kind, token in re.findall(r"/([cou])/([a-z2-7]+)", message.get_body(("html",)).get_content()):
            good[kind].append(token)
    assert all(good.values())
    server.stop()  # what was pending is written, and the files are at rest
    server.start()
    database = sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "posthaste.db"), uri=True)
    seen = lambda: database.execute("PRAGMA data_version").fetchone()[0]  # noqa: E731
    before, version, wal = change_counter(server), seen(), wal_bytes(server)
    rng = random.Random(5)
    share = {"c": 40_000, "o": 30_000, "u": 30_000}
    count = 0
    for kind, tokens in good.items():
        wrong = forged(rng, tokens, share[kind])
        requests = [(("POST" if n % 2 else "GET") if kind == "u" else "HEAD" if n % 10 == 9 else "GET", "/%s/%s" % (kind, token)) for n, token in enumerate(wrong)]
        found = statuses(server.url, requests)
        assert set(found) == {404}, [pair for pair in zip(requests, found) if pair[1] != 404][:5]
        count += len(found)
    assert count >= 100_000
    time.sleep(0.2)  # longer than hits are gathered
    assert seen() == version and wal_bytes(server) == wal and change_counter(server) == before
    database.close()
    stats = server.stats(campaign)
    assert (stats["opened"], stats["clicked"], stats["unsubscribed"]) == (0, 0, 0)


def wal_bytes(server):
    return (server.data_dir / "posthaste.db-wal").stat().st_size
