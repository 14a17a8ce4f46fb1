"""MX and address look-ups against a real authoritative server, and against servers that lie, stay silent or break the rules."""
import random
import struct
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

import dnslib

ZONE = """
one          MX 10 mx1.one
mx1.one      A 192.0.2.1
             AAAA 2001:db8::1
implicit     A 192.0.2.2
implicit6    AAAA 2001:db8::2
nullmx       MX 0 .
             A 192.0.2.3
empty        TXT "no mail here"
hollow       MX 10 mx.hollow
             A 192.0.2.4
mx.hollow    TXT "no address"
ghost        MX 10 nowhere.ghost
             A 192.0.2.5
alias        CNAME one
aliasmx      MX 10 www.aliasmx
www.aliasmx  CNAME mid.aliasmx
mid.aliasmx  CNAME mx1.one
nothing      CNAME gone.nothing
loop         CNAME loop2
loop2        CNAME loop
backup       MX 10 dead.backup
             MX 20 mx1.one
dead.backup  TXT "gone"
tempmx       MX 10 mx.broken.
             A 192.0.2.6
halfmx       MX 10 mx.broken.
             MX 20 mx1.one
refusedmx    MX 10 mx.elsewhere.
twice        MX 10 mx1.one
             MX 20 MX1.ONE
             MX 30 mx2.twice
mx2.twice    A 192.0.2.7
             A 192.0.2.8
nullplus     MX 0 .
             MX 10 mx1.one
literal      MX 10 192.0.2.9.
             A 192.0.2.9
strange      MX 10 mx\\013\\010x.strange
             MX 20 a\\.b.strange
odd          MX 10 under_score.odd
under_score.odd A 192.0.2.10
localhost    MX 10 localhost.
loopback     MX 10 mx.loopback
mx.loopback  A 127.0.0.1
loop6        MX 10 mx.loop6
mx.loop6     AAAA ::1
zero         MX 10 mx.zero
mx.zero      A 0.0.0.0
private      MX 10 mx.private
mx.private   A 10.1.2.3
             A 192.168.1.1
             AAAA fd00::1
mapped       MX 10 mx.mapped
mx.mapped    AAAA ::ffff:192.0.2.77
mixed        MX 10 mx.mixed
mx.mixed     A 10.1.2.3
             A 192.0.2.11
own          MX 10 mx.own
mx.own       A 192.0.2.99
ownsecond    MX 10 mx1.one
             MX 20 mx.own
             MX 30 mx2.twice
""" + "".join("big MX 10 mx%03d.big\nmx%03d.big A 192.0.2.%d\n" % (i, i, i % 200 + 1) for i in range(500)) + \
    "".join("even MX 10 mx%d.even\nmx%d.even A 198.51.100.%d\n" % (i, i, i) for i in range(1, 5)) + \
    "".join("wide MX 10 mx.wide\nmx.wide A 198.51.100.%d\nmx.wide AAAA 2001:db8::%d\n" % (i, i) for i in range(1, 31))

# domain, status, enhanced code, hosts in order (None: not looked at), further fields
TABLE = [
    ("one.test", "ok", "", ["mx1.one.test"], {"implicit": False, "site": "mx1.one.test"}),
    ("implicit.test", "ok", "", ["implicit.test"], {"implicit": True, "site": "implicit.test"}),
    ("implicit6.test", "ok", "", ["implicit6.test"], {"implicit": True}),
    ("absent.test", "no-domain", "5.1.2", [], {"class": "permanent"}),
    ("nullmx.test", "null-mx", "5.1.10", [], {"class": "permanent", "code": 556}),
    ("empty.test", "no-address", "5.1.2", [], {"class": "permanent"}),
    ("hollow.test", "no-address", "5.4.4", [], {"class": "permanent"}),
    ("ghost.test", "no-address", "5.4.4", [], {"class": "permanent"}),
    ("alias.test", "ok", "", ["mx1.one.test"], {"implicit": False}),
    ("aliasmx.test", "ok", "", ["www.aliasmx.test"], {}),
    ("nothing.test", "no-domain", "5.1.2", [], {"class": "permanent"}),
    ("loop.test", "temporary", "4.4.3", [], {"class": "transport"}),
    ("backup.test", "ok", "", ["mx1.one.test"], {"site": "(dead.backup|mx1.one).test"}),
    ("any.broken", "temporary", "4.4.3", [], {"class": "transport"}),
    ("any.elsewhere", "temporary", "4.4.3", [], {"class": "transport"}),
    ("tempmx.test", "temporary", "4.4.3", [], {"class": "transport"}),
    ("halfmx.test", "ok", "", ["mx1.one.test"], {"partial": True}),
    ("refusedmx.test", "temporary", "4.4.3", [], {"class": "transport"}),
    ("twice.test", "ok", "", ["mx1.one.test", "mx2.twice.test"], {"site": "(mx1.one|mx2.twice).test"}),
    ("nullplus.test", "ok", "", ["mx1.one.test"], {"implicit": False}),
    ("literal.test", "no-address", "5.4.4", [], {"class": "permanent"}),
    ("strange.test", "no-address", "5.4.4", [], {"class": "permanent"}),
    ("odd.test", "ok", "", ["under_score.odd.test"], {}),
    ("localhost.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("loopback.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("loop6.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("zero.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("private.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("mapped.test", "refused", "5.4.4", [], {"class": "permanent"}),
    ("mixed.test", "ok", "", ["mx.mixed.test"], {}),
    ("own.test", "loop", "5.4.6", [], {"class": "permanent"}),
    ("ownsecond.test", "ok", "", ["mx1.one.test"], {}),
]


@pytest.fixture(scope="module")
def knot():
    server = dnslib.Knot({"test": ZONE, "broken": None, "signed": "d MX 10 mx.d\nmx.d A 192.0.2.50\nnull MX 0 .\n"}, signed=["signed"])
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def fakes():
    """Makes Fake servers that end with the test."""
    made = []

    def make(answer=None):
        made.append(dnslib.Fake(answer).start())
        return made[-1]

    yield make
    for fake in made:
        fake.stop()


def hosts_of(answer):
    """Host names in the order in which they would be tried, each once."""
    return list(dict.fromkeys(target[0] for target in answer["order"]))


def addresses_of(answer):
    return [target[1] for target in answer["order"]]


@pytest.mark.sanitize
def test_zone_table(knot):
    """Each row of the zone has one outcome; all are asked at once."""
    with dnslib.Tool(knot.server, "--own", "192.0.2.99") as tool:
        answers = tool.ask(*(row[0] for row in TABLE))
        for domain, status, enhanced, hosts, fields in TABLE:
            answer = answers[domain]
            got = {"status": answer["status"], "enhanced": answer["enhanced"], "hosts": hosts_of(answer), **{key: answer[key] for key in fields}}
            assert got == {"status": status, "enhanced": enhanced, "hosts": hosts, **fields}, (domain, answer)
            assert (status == "ok") == (answer["text"] == ""), answer
            assert status == "ok" or "\n" not in answer["text"]
        assert addresses_of(answers["one.test"]) == ["2001:db8::1", "192.0.2.1"]
        assert addresses_of(answers["mixed.test"]) == ["192.0.2.11"]
        assert "SERVFAIL" in answers["any.broken"]["text"] and "any.broken" in answers["any.broken"]["text"]
        assert "127.0.0.1" in answers["loopback.test"]["text"]


@pytest.mark.sanitize
def test_private_addresses_can_be_allowed(knot):
    with dnslib.Tool(knot.server, "--allow-private", "--own", "192.0.2.99") as tool:
        answers = tool.ask("loopback.test", "private.test", "own.test", "mapped.test", "zero.test")
        assert {answer["status"] for answer in answers.values()} == {"ok"}, answers
        assert addresses_of(answers["loopback.test"]) == ["127.0.0.1"]


@pytest.mark.sanitize
def test_five_hundred_mx(knot):
    """Over TCP, as it does not fit a datagram; ten of them are taken, others each time, but the site is the same."""
    seen, sites = set(), set()
    for _ in range(2):
        with dnslib.Tool(knot.server) as tool:
            answer = tool.one("big.test")
            assert answer["status"] == "ok" and answer["hosts"] == 10 and len(answer["order"]) == 10, answer
            seen.update(hosts_of(answer))
            sites.add(answer["site"])
    assert len(seen) > 10, seen
    assert len(sites) == 1 and sites.pop().startswith("(500 hosts ")


def test_five_hundred_mx_whose_addresses_hang(knot, fakes):
    """The look-up ends at its deadline, and the domain is tried again later: nothing is known about its hosts."""
    relay = dnslib.passing_on(knot.port)
    fake = fakes(lambda wire, tcp: relay(wire, tcp) if dns.message.from_wire(wire).question[0].rdtype == 15 else None)
    with dnslib.Tool(fake.server, "--deadline", "1500") as tool:
        answer = tool.one("big.test")
        assert answer["status"] == "temporary" and answer["class"] == "transport", answer
        assert 1400 <= answer["took_ms"] < 20000, answer


def test_equal_preference_is_randomised(knot):
    with dnslib.Tool(knot.server) as tool:
        orders = [tuple(hosts_of(tool.one("even.test"))) for _ in range(60)]
        assert {order[0] for order in orders} == {"mx%d.even.test" % i for i in range(1, 5)}
        assert len(set(orders)) > 8
        assert tool.counters()["looked_up"] == 1


def test_many_addresses_of_one_host(knot):
    """No more than eight of a host, both families in turn, IPv6 first."""
    with dnslib.Tool(knot.server) as tool:
        families = [":" in address for address in addresses_of(tool.one("wide.test"))]
        assert families == [True, False] * 4


@pytest.mark.sanitize
def test_cache_and_coalescing(knot, fakes):
    """Forty that ask at once cause one question; who asks later, none. The same for what does not exist."""
    fake = fakes(dnslib.passing_on(knot.port))
    with dnslib.Tool(fake.server) as tool:
        for domain in ("one.test", "absent.test", "nullmx.test", "empty.test"):
            tool.send(*[domain] * 40)
            answers = [tool.read() for _ in range(40)]
            assert len({answer["status"] for answer in answers}) == 1
            again = tool.one(domain)
            assert again["status"] == answers[0]["status"]
            assert 30000 <= again["lifetime_ms"] <= 300000, again
            assert fake.count(domain, "MX") == 1, fake.counts
        assert fake.count("mx1.one.test", "A") == 1 and fake.count("mx1.one.test", "AAAA") == 1
        counters = tool.counters()
        assert counters["looked_up"] == 4 and counters["running"] == 0 and counters["entries"] == 4, counters


def test_implicit_mx_is_not_asked_when_mx_exists(knot, fakes):
    """RFC 5321 section 5.1: dead MX hosts, or an MX look-up that fails, never lead to the domain's own address."""
    fake = fakes(dnslib.passing_on(knot.port))
    with dnslib.Tool(fake.server) as tool:
        tool.ask("hollow.test", "ghost.test", "tempmx.test", "nullmx.test", "any.broken")
    for name in ("hollow.test", "ghost.test", "tempmx.test", "nullmx.test", "any.broken"):
        assert fake.count(name, "A") == 0 and fake.count(name, "AAAA") == 0, name


def test_failing_domain_is_backed_off(knot, fakes):
    """While it backs off nobody asks its server; afterwards once, and the wait has doubled."""
    fake = fakes(dnslib.passing_on(knot.port))
    with dnslib.Tool(fake.server, "--backoff", "3000") as tool:
        first = tool.one("any.broken")
        assert first["status"] == "temporary" and 2000 < first["lifetime_ms"] <= 3000, first
        asked = fake.count("any.broken", "MX")
        tool.send(*["any.broken"] * 100)
        assert {tool.read()["status"] for _ in range(100)} == {"temporary"}
        assert fake.count("any.broken", "MX") == asked and tool.counters()["looked_up"] == 1
        second = dnslib.wait_for("the next look-up", lambda: [a for a in [tool.one("any.broken")] if a["lifetime_ms"] > 3000])[0]
        assert 5000 < second["lifetime_ms"] <= 6000, second
        assert tool.counters()["looked_up"] == 2


@pytest.mark.sanitize
def test_server_that_never_answers(fakes):
    """The deadline holds for all that were asked, and ends what libunbound would go on with."""
    fake = fakes()
    with dnslib.Tool(fake.server, "--deadline", "1000", "--outstanding", "20") as tool:
        answers = tool.ask(*("d%d.test" % i for i in range(50)))
        assert {answer["status"] for answer in answers.values()} == {"temporary"}
        assert all("no answer in time" in answer["text"] for answer in answers.values())
        assert all(answer["took_ms"] >= 900 for answer in answers.values())
        counters = tool.counters()
        assert counters["outstanding"] == 0 and counters["waiting"] == 0, counters


def test_server_that_comes_back(knot, fakes):
    """A resolver that was away is used again soon after its return."""
    relay = dnslib.passing_on(knot.port)
    state = {"up": False}
    fake = fakes(lambda wire, tcp: relay(wire, tcp) if state["up"] else None)
    with dnslib.Tool(fake.server, "--deadline", "700", "--backoff", "100") as tool:
        for _ in range(4):
            assert tool.one("one.test")["status"] == "temporary"
        state["up"] = True
        dnslib.wait_for("an answer", lambda: tool.one("one.test")["status"] == "ok", 30)


@pytest.mark.sanitize
def test_dead_backup_does_not_hold_up_the_mail(knot, fakes):
    """Once patience is over, the addresses of the best host are enough."""
    relay = dnslib.passing_on(knot.port)
    fake = fakes(lambda wire, tcp: None if b"\x03mx2\x05twice" in wire else relay(wire, tcp))
    with dnslib.Tool(fake.server, "--patience", "500") as tool:
        answer = tool.one("twice.test")
        assert answer["status"] == "ok" and answer["partial"] and hosts_of(answer) == ["mx1.one.test"], answer
        assert 450 <= answer["took_ms"] < 10000 and answer["lifetime_ms"] <= 60000, answer


def test_slow_resolver_is_waited_for(knot, fakes):
    """One that is near, and so answers at once what it knows, but needs three seconds for what it has to ask around for."""
    relay, first = dnslib.passing_on(knot.port), {}

    def answer(wire, tcp):
        slow = b"\x06backup" in wire and time.monotonic() < first.setdefault(wire[12:], time.monotonic()) + 3
        return None if slow else relay(wire, tcp)

    with dnslib.Tool(fakes(answer).server) as tool:
        tool.ask(*("x%d.test" % i for i in range(50)))
        answer = tool.one("backup.test")
        assert answer["status"] == "ok" and answer["took_ms"] >= 2900, answer


def test_names_without_answer_do_not_slow_the_others(knot, fakes):
    """A resolver that stays silent about some names is not taken for dead: the others are answered as fast as before."""
    relay = dnslib.passing_on(knot.port)
    fake = fakes(lambda wire, tcp: None if b"\x04dead" in wire else relay(wire, tcp))
    with dnslib.Tool(fake.server, "--deadline", "8000") as tool:
        dead = ["d%d.dead.test" % i for i in range(100)]
        tool.send(*dead)
        dnslib.wait_for("questions", lambda: sum(fake.counts.values()) >= 100)
        for turn in range(3):  # at first, and while the silence goes on
            live = ["%s.test" % "one implicit even".split()[turn]] + ["x%d.turn%d.test" % (i, turn) for i in range(200)]
            tool.send(*live)
            took = []
            while len(took) < len(live):
                answer = tool.read()
                if answer["domain"] in dead:
                    assert answer["status"] == "temporary"
                    dead.remove(answer["domain"])
                else:
                    assert answer["status"] != "temporary", answer
                    took.append(answer["took_ms"])
            assert max(took) < 2500, sorted(took)[-10:]
            seen = sum(fake.counts.values())
            if turn < 2:
                dnslib.wait_for("the next tries", lambda: sum(fake.counts.values()) > seen + 20, 10)
        while dead:
            answer = tool.read()
            assert answer["status"] == "temporary"
            dead.remove(answer["domain"])


@pytest.mark.sanitize
def test_leaving_with_look_ups_under_way(knot, fakes):
    """Nothing is answered any more, nothing leaks (the sanitizers look), and it does not take long."""
    silent = fakes()
    with dnslib.Tool(silent.server) as tool:
        tool.send(*("d%d.test" % i for i in range(600)))
        dnslib.wait_for("questions", lambda: sum(silent.counts.values()) > 50)
        tool.send("!")
        tool.process.wait(20)
    with dnslib.Tool(knot.server) as tool:
        tool.send(*("d%d.test" % i for i in range(300)), "!")
        tool.process.wait(20)


@pytest.mark.sanitize
def test_dnssec(knot, tmp_path):
    """With a trust anchor: signed is secure, unsigned is not, and what its zone did not sign is not believed."""
    with dnslib.Tool(knot.server, "--anchor", knot.anchor("signed")) as tool:
        answers = tool.ask("d.signed", "null.signed", "absent.signed", "one.test")
        assert answers["d.signed"]["status"] == "ok" and answers["d.signed"]["secure"] and answers["d.signed"]["order"][0][3] is True
        assert answers["null.signed"]["status"] == "null-mx" and answers["null.signed"]["secure"]
        assert answers["absent.signed"]["status"] == "no-domain" and answers["absent.signed"]["secure"]
        assert answers["one.test"]["status"] == "ok" and not answers["one.test"]["secure"]
    wrong = tmp_path / "wrong.key"
    wrong.write_text("test. IN DS 12345 13 2 %s\n" % ("ab" * 32))
    with dnslib.Tool(knot.server, "--anchor", str(wrong)) as tool:
        answer = tool.one("one.test")
        assert answer["status"] == "temporary" and not answer["secure"], answer
    with dnslib.Tool(knot.server) as tool:
        assert not tool.one("d.signed")["secure"]


def test_unusable_settings():
    for options, word in ((["--server", "not an address"], "dns server"), (["--server", "", "--resolv-conf", "/nonexistent"], "/nonexistent"),
                          (["--server", "127.0.0.1", "--anchor", "/nonexistent"], "trust_anchor")):
        tool = dnslib.Tool("", *options)
        assert tool.process.wait(20) == 1
        tool.errors.seek(0)
        assert word in tool.errors.read().decode()
        tool.process.stdin.close()
        tool.process.stdout.close()
        tool.errors.close()


def question_of(wire):
    return dns.message.from_wire(wire).question[0]


@pytest.mark.sanitize
def test_mangled_answers(fakes):
    """Answers cut, flipped, lengthened, repeated and pointing at themselves: each look-up ends, in time, as temporary or with a well-formed result."""
    dice = random.Random(20261123)

    def mangle(wire, tcp):
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question)
        name, kind = question.question[0].name, question.question[0].rdtype
        text = {15: ["MX", "10 mx.%s" % name, "20 mx2.%s" % name], 1: ["A", "192.0.2.1"], 28: ["AAAA", "2001:db8::1"]}.get(kind)
        if text:
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", *text))
        raw = bytearray(reply.to_wire())
        way = dice.randrange(8)
        if way == 0:
            raw = raw[:dice.randrange(12, len(raw) + 1)]
        elif way == 1:
            for _ in range(dice.randrange(1, 6)):
                raw[dice.randrange(2, len(raw))] ^= 1 << dice.randrange(8)
        elif way == 2:
            raw += bytes(dice.randrange(256) for _ in range(dice.randrange(1, 300)))
        elif way == 3:  # more records than there are
            raw[6:8] = struct.pack("!H", dice.choice([0xffff, 400, 2]))
        elif way == 4:  # a name that points at itself
            at = raw.find(b"\xc0\x0c", 12)
            if at > 0:
                raw[at:at + 2] = struct.pack("!H", 0xc000 | at)
        elif way == 5:  # RDLENGTH that lies
            at = raw.rfind(b"\x00\x00\x01\x2c")
            if at > 0 and at + 6 <= len(raw):
                raw[at + 4:at + 6] = struct.pack("!H", dice.choice([0, 1, 0xffff, 3]))
        elif way == 6:
            return [bytes(raw[:14]), bytes(raw)]
        return bytes(raw)

    fake = fakes(mangle)
    with dnslib.Tool(fake.server, "--deadline", "3000") as tool:
        answers = tool.ask(*("d%d.test" % i for i in range(250)))
        statuses = {answer["status"] for answer in answers.values()}
        assert statuses <= {"ok", "temporary", "no-domain", "no-address", "null-mx", "refused"}, statuses
        assert "ok" in statuses
        for answer in answers.values():
            assert answer["took_ms"] < 60000
            for host, _, _, _ in answer["order"]:
                assert all(c.isalnum() or c in "-_." for c in host), host


@pytest.mark.sanitize
def test_names_that_no_dns_holds(knot):
    """Too long, empty labels, wild bytes: an answer comes, and it is not a crash."""
    with dnslib.Tool(knot.server) as tool:
        for name in ("a" * 64 + ".test", ".".join(["abcdefgh"] * 40), "a..test", "..", "x y.test", "\x01.test", "\\999.test", "\\"):
            assert tool.one(name)["status"] in ("temporary", "no-domain"), name


def test_answers_for_other_names_are_not_believed(fakes):
    """A server that answers another question, or adds records for names that nobody asked about, gets nowhere."""

    def lie(wire, tcp):
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question)
        name, kind = question.question[0].name.to_text(), question.question[0].rdtype
        if name == "poison.test." and kind == 15:
            reply.answer.append(dns.rrset.from_text("poison.test.", 300, "IN", "MX", "10 mx.victim.test."))
            reply.additional.append(dns.rrset.from_text("mx.victim.test.", 86400, "IN", "A", "203.0.113.66"))
            reply.additional.append(dns.rrset.from_text("victim.test.", 86400, "IN", "MX", "1 mx.evil.test."))
        elif name == "victim.test." and kind == 15:
            reply.answer.append(dns.rrset.from_text("victim.test.", 300, "IN", "MX", "10 mx.victim.test."))
        elif name == "mx.victim.test." and kind == 1:
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "A", "192.0.2.20"))
        return reply.to_wire()

    fake = fakes(lie)
    with dnslib.Tool(fake.server) as tool:
        tool.one("poison.test")
        answer = tool.one("victim.test")
        assert answer["status"] == "ok" and addresses_of(answer) == ["192.0.2.20"], answer
