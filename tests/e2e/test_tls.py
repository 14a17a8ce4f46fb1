"""STARTTLS, TLS from the first byte on, and logging in: what each policy does with each kind of server, judged by the sink's ledger."""
import base64
import os

import pytest

from conftest import emails, run_to_end, run_until

TIMES = 'timeouts { tls = "1s"  greeting = "2s"  quit = "200ms" }  shutdown = "1s"'


def route(sink, tls, more="", port=None):
    return 'route "*" { host = "127.0.0.1"  port = %d  tls = "%s"  %s }\n%s' % (port or sink.port, tls, more, TIMES)


def deliver(place, sink, config, count=20):
    """Delivers `count` messages; the ledger's lines of them."""
    server = place.server(config=config)
    place.people(server, emails(count, ["one.test"]))
    stats = run_to_end(server, server.create_campaign())
    assert stats["delivered"] == count
    lines = sink.events("message")
    assert len(lines) == len({line["to"] for line in lines}) == count
    return lines


def refused(place, sink, config):
    """Nothing is delivered, everything is kept for later, and the site says why."""
    server = place.server(config=config)
    place.people(server, emails(3, ["one.test"]))
    campaign = server.create_campaign()
    sink.wait_for(lambda ledger: sum(line["event"] == "close" for line in ledger) >= 2)
    run_until(server, campaign, lambda stats: stats["sending"] + stats["deferred"] == 3, "the messages to wait")
    site = server.api.get("/v1/stats/sites").json["data"][0]
    assert site["delivered"] == 0 and site["limited_by"] in ("back-off", "connections", "rate")
    server.stop()
    assert sink.events("message") == []
    return server


@pytest.mark.sanitize
@pytest.mark.parametrize("tls, inside", [("none", False), ("opportunistic", True), ("required", True)])
def test_a_server_with_starttls(place, tls, inside):
    sink = place.sink(tls=True)
    lines = deliver(place, sink, route(sink, tls), 60)
    assert all((line["tls"] is not None) == inside for line in lines)
    assert all(line["via"] == "BDAT" for line in lines)  # capabilities are asked for anew inside TLS


@pytest.mark.parametrize("tls", ["none", "opportunistic"])
def test_a_server_without_starttls(place, tls):
    sink = place.sink()
    assert all(line["tls"] is None for line in deliver(place, sink, route(sink, tls)))


@pytest.mark.parametrize("tls", ["required", "verified"])
def test_no_mail_without_tls_when_it_is_required(place, tls):
    sink = place.sink()
    refused(place, sink, route(sink, tls))


@pytest.mark.sanitize
def test_a_certificate_is_verified(place):
    sink = place.sink(tls=True)  # its certificate is for 127.0.0.1 too
    lines = deliver(place, sink, 'tls_ca_file = "%s"\n' % sink.certificate.authority + route(sink, "verified"))
    assert all(line["tls"] for line in lines)


def test_an_unknown_authority_is_not_trusted(place):
    sink = place.sink(tls=True)
    refused(place, sink, route(sink, "verified"))


BROKEN = {
    "refused": {"command": "STARTTLS", "reply": "454 4.7.0 not now"},
    "closed in the handshake": {"command": "TLS", "cut": 100, "close": True},
    "garbage for a handshake": {"command": "TLS", "raw": "this is no TLS\r\n"},
    "silent in the handshake": {"command": "TLS", "stall": True},
}


@pytest.mark.sanitize
@pytest.mark.parametrize("how", BROKEN)
def test_opportunistic_falls_back_once_and_remembers(place, how):
    sink = place.sink(tls=True, script={"rules": [BROKEN[how]]})
    lines = deliver(place, sink, route(sink, "opportunistic") + '\nprofile "p" { domain = { "one.test" }  messages_per_connection = 5 }', 30)
    assert all(line["tls"] is None for line in lines)
    if how != "refused":
        assert len(sink.events("handshake")) <= 2  # connections after the first few go without


@pytest.mark.parametrize("how", BROKEN)
def test_required_does_not_fall_back(place, how):
    sink = place.sink(tls=True, script={"rules": [BROKEN[how]]})
    refused(place, sink, route(sink, "required"))


def test_old_tls_is_refused(place):
    sink = place.sink(tls=True, tls_min="1.0", tls_max="1.1")
    lines = deliver(place, sink, route(sink, "opportunistic"))
    assert all(line["tls"] is None for line in lines)


@pytest.mark.sanitize
@pytest.mark.parametrize("behind", ["250-injected\r\n250 AUTH PLAIN\r\n", "250-frag"])
@pytest.mark.parametrize("tls", ["opportunistic", "required"])
def test_bytes_behind_the_220_end_the_connection(place, tls, behind):
    """CVE-2011-0411, CVE-2021-38371: no command is sent, inside TLS or out of it."""
    sink = place.sink(tls=True, script={"rules": [{"command": "STARTTLS", "raw": "220 go\r\n" + behind}]})
    refused(place, sink, route(sink, tls))
    for line in sink.events("close"):
        assert line["commands"] == 2 and line["secure_commands"] == 0  # EHLO, STARTTLS


@pytest.mark.sanitize
def test_tls_from_the_first_byte_on(place):
    sink = place.sink(tls=True, tls_implicit=["127.0.0.1:0"])
    port = sink.addresses[1][1]
    lines = deliver(place, sink, route(sink, "required", "implicit_tls = true", port), 60)
    assert all(line["tls"] for line in lines)
    assert all(line["tls"] for line in sink.events("connect"))


def test_sessions_are_resumed(place):
    sink = place.sink(tls=True)
    deliver(place, sink, route(sink, "required") + '\nprofile "p" { domain = { "one.test" }  connections = 1  messages_per_connection = 5 }', 50)
    counts = sink.counts()
    assert counts["handshakes"] >= 10 and counts["resumptions"] >= counts["handshakes"] - 2


@pytest.mark.sanitize
@pytest.mark.parametrize("command", ["BDAT", "EOD"])
def test_after_close_notify_nothing_is_believed(place, command):
    """CVE-2026-45185: TLS closed in the middle of a transfer, then a 250 in clear text."""
    rule = {"command": command, "first": 1, "tls_close_then": "250 2.0.0 taken\r\n", "close": True}
    sink = place.sink(tls=True, script={"rules": [rule]})
    server = place.server(config=route(sink, "required"))
    place.people(server, emails(1, ["one.test"]))
    stats = run_to_end(server, server.create_campaign())
    assert stats["delivered"] == 1
    assert len(sink.events("message")) == 1  # taken at the second attempt only: the first was "uncertain"


# --- logging in ---------------------------------------------------------------------------------------------------

def login(place, password="secret"):
    path = place.folder / "password"
    path.write_text(password + "\n")
    os.chmod(path, 0o600)
    return 'user = "sender"  password_file = "%s"' % path


@pytest.mark.sanitize
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_logs_in(place, mechanism):
    sink = place.sink(tls=True, auth="sender:secret", auth_mechanisms=[mechanism], script={"rules": [
        {"command": "MAIL", "auth": False, "reply": "530 5.7.0 log in first"}]})
    lines = deliver(place, sink, route(sink, "required", login(place)))
    assert all(line["auth"] == "sender" for line in lines)
    assert {line["mechanism"] for line in sink.events("auth")} == {mechanism}


def test_no_mail_without_a_login(place):
    refused(place, *with_route(place.sink(tls=True), place, login(place)))


def not_logged(server):
    """Neither the password nor what is sent of it."""
    log = server.log.read_bytes()
    for secret in (b"secret", base64.b64encode(b"secret").rstrip(b"="), base64.b64encode(b"\0sender\0secret").rstrip(b"=")):
        assert secret not in log, secret


def test_a_wrong_password_sends_nothing(place):
    sink, config = with_route(place.sink(tls=True, auth="sender:other"), place, login(place))
    not_logged(refused(place, sink, 'log_level = "debug"\n' + config))


@pytest.mark.parametrize("raw", ["334 " + "QUJD" * 20000 + "\r\n", "334 ***\r\n", "334 QUJD\r\n"], ids=["long", "no base64", "endless"])
def test_hostile_challenges(place, raw):
    """A line of 80,000 bytes, no base64, and an exchange without an end: the connection ends, nothing is sent, the password is not logged."""
    sink = place.sink(tls=True, auth="sender:secret", auth_mechanisms=["CRAM-MD5"], script={"rules": [{"command": "AUTH", "raw": raw}]})
    sink, config = with_route(sink, place, login(place))
    not_logged(refused(place, sink, 'log_level = "debug"\n' + config))


def with_route(sink, place, words):
    return sink, route(sink, "required", words)


def test_a_password_in_clear_text_only_when_that_was_said(place):
    sink = place.sink(auth="sender:secret", auth_clear=True, auth_mechanisms=["PLAIN"])
    lines = deliver(place, sink, route(sink, "none", login(place) + "  auth_clear = true"))
    assert all(line["auth"] == "sender" for line in lines)
    server = place.server(config=route(sink, "none", login(place)), start=False)
    assert server.cli("config", "check", check=False).returncode == 1


def test_a_password_file_that_others_can_read_is_refused(place):
    words = login(place)
    os.chmod(place.folder / "password", 0o644)
    server = place.server(config=route(place.sink(), "required", words), start=False)
    done = server.cli("serve", check=False)
    assert done.returncode == 1 and "chmod 600" in done.stderr
