"""The sink's AUTH: four mechanisms, where they are offered, and the ways in which a server can be hostile there."""
import base64
import hashlib
import hmac
import os
import smtplib

import pytest

from rawclient import Client, only, rules
from sinklib import Sink

pytestmark = pytest.mark.sanitize

ACCOUNT = "user@sender.test:pass word:=,"
USER, PASSWORD = ACCOUNT.split(":", 1)


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode())


def unb64(text):
    return base64.b64decode(text, validate=True)


def plain(user=USER, password=PASSWORD, identity=""):
    return b64(f"{identity}\0{user}\0{password}")


def sink_with(**options):
    return Sink(tls=True, auth=ACCOUNT, **options)


class Inside(Client):
    """A client behind STARTTLS and EHLO."""

    def __init__(self, sink):
        super().__init__(sink)
        self.starttls()
        self.greeting = self.hello()

    def respond(self, data):
        return self.ask(b64(data) + b"\r\n")


def scram(client, user=USER, password=PASSWORD, binding=b"biws", initial=True):
    """RFC 5802, by hand: the reply to each step."""
    nonce = b64(os.urandom(12)).decode()
    bare = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), nonce)
    if initial:
        reply = client.ask(b"AUTH SCRAM-SHA-256 " + b64("n,," + bare) + b"\r\n")
    else:
        assert client.ask(b"AUTH SCRAM-SHA-256\r\n") == "334 "
        reply = client.respond("n,," + bare)
    if reply[:4] != "334 ":
        return [reply]
    first = unb64(reply[4:]).decode()
    fields = dict(part.split("=", 1) for part in first.split(","))
    assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce) and int(fields["i"]) >= 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), unb64(fields["s"]), int(fields["i"]))
    without_proof = "c=%s,r=%s" % (binding.decode(), fields["r"])
    message = ",".join((bare, first, without_proof)).encode()

    def mac(key, data):
        return hmac.new(key, data, "sha256").digest()

    client_key = mac(salted, b"Client Key")
    signature = mac(hashlib.sha256(client_key).digest(), message)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    reply2 = client.respond(without_proof + ",p=" + b64(proof).decode())
    if reply2[:4] != "334 ":
        return [reply, reply2]
    assert unb64(reply2[4:]) == b"v=" + b64(mac(mac(salted, b"Server Key"), message))
    return [reply, reply2, client.ask(b"\r\n")]


# --- where it is offered ------------------------------------------------------------------------------------------

def test_offered_inside_tls_only():
    with sink_with() as sink, Client(sink) as client:
        assert "AUTH" not in client.hello()
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "538"
        assert only(sink.events("violation"))["what"] == "AUTH in clear text"
        client.starttls()
        assert "AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256" in client.hello()


def test_offered_in_clear_when_said():
    with Sink(auth=ACCOUNT, auth_clear=True, auth_mechanisms=["cram-md5", "PLAIN"]) as sink, Client(sink) as client:
        assert "AUTH PLAIN CRAM-MD5" in client.hello()
        assert client.ask(b"AUTH LOGIN\r\n")[:3] == "504"
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "235"
        assert only(sink.events("auth"))["tls"] is None


def test_not_there_without_an_account():
    with Sink(tls=True) as sink, Inside(sink) as client:
        assert "AUTH" not in client.greeting
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "500"


# --- the mechanisms -----------------------------------------------------------------------------------------------

def test_plain():
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "235"
        assert client.mail()[:3] == "250"
        auth = only(sink.events("auth"))
        assert (auth["mechanism"], auth["auth"], auth["tls"]) == ("PLAIN", USER, "TLSv1.3")
        assert only(sink.events("message"))["auth"] == USER
        assert sink.counts()["auths"] == 1
        assert PASSWORD not in sink.ledger_path.read_text() and plain().decode() not in sink.ledger_path.read_text()
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "503", "only once"
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH PLAIN\r\n") == "334 "
        assert client.ask(plain(identity=USER) + b"\r\n")[:3] == "235"


@pytest.mark.parametrize("response, code", [
    (plain(password="wrong"), "535"), (plain(user="other"), "535"), (plain(password=""), "535"), (plain(identity="root"), "535"),
    (b64("\0" + USER), "501"), (b64(USER), "501"), (b64("\0a\0b\0c"), "501"), (b"=", "501"), (b"*", "501"), (b"====", "501"),
    (b"AGEAYg", "501"), (b"AGEAYg=", "501"), (b"AGEAYh==", "501"), (b"AGEA Yg==", "501"), (b"A" * 9000, "500"),
])
def test_plain_that_is_wrong(response, code):
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH PLAIN " + response + b"\r\n")[:3] == code
        assert sink.events("auth") == [] and sink.events("reject")[-1]["stage"] in ("AUTH", "COMMAND")
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "235", "another try may succeed"


def test_login():
    with sink_with() as sink, Inside(sink) as client:
        assert unb64(client.ask(b"auth login\r\n")[4:]) == b"Username:"
        assert unb64(client.respond(USER)[4:]) == b"Password:"
        assert client.respond(PASSWORD)[:3] == "235"
    for user, password in [(USER, "x"), ("x", PASSWORD)]:
        with sink_with() as sink, Inside(sink) as client:
            assert unb64(client.ask(b"AUTH LOGIN " + b64(user) + b"\r\n")[4:]) == b"Password:"
            assert client.respond(password)[:3] == "535"


def test_cram_md5():
    with sink_with() as sink, Inside(sink) as client:
        for password, code in [("wrong", "535"), (PASSWORD, "235")]:
            challenge = unb64(client.ask(b"AUTH CRAM-MD5\r\n")[4:])
            assert challenge.startswith(b"<") and challenge.endswith(b"@sink.test>")
            assert client.respond(USER + " " + hmac.new(password.encode(), challenge, "md5").hexdigest())[:3] == code
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH CRAM-MD5 " + b64("x") + b"\r\n")[:3] == "501", "the server speaks first"


def test_scram():
    with sink_with() as sink, Inside(sink) as client:
        assert [reply[:3] for reply in scram(client)] == ["334", "334", "235"]
        assert only(sink.events("auth"))["mechanism"] == "SCRAM-SHA-256"
    with sink_with() as sink, Inside(sink) as client:
        assert scram(client, password="wrong")[-1][:3] == "535"
        assert scram(client, user="other")[-1][:3] == "535"
        assert scram(client, binding=b"eSws")[-1][:3] == "535"
        assert scram(client, initial=False)[-1][:3] == "235"


@pytest.mark.parametrize("first", [b"", b"n", b"n,,", b"n,,n=x", b"n,,n=x,r=", b"p=tls-unique,,n=x,r=y", b"n,a=me,n=x,r=y", b"n,,m=1,n=x,r=y"])
def test_scram_first_messages_that_are_wrong(first):
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH SCRAM-SHA-256 " + (b64(first) or b"=") + b"\r\n")[:3] == "501"


@pytest.mark.parametrize("final", [b"", b"c=biws", b"c=biws,r=x", b"c=biws,r=x,p=x", b"c=biws,r=x,p=AAAA,z=1", b"r=x,c=biws,p=AAAA"])
def test_scram_final_messages_that_are_wrong(final):
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH SCRAM-SHA-256 " + b64("n,,n=x,r=y") + b"\r\n")[:3] == "334"
        assert client.respond(final)[:3] == "501"


def test_cancelled_and_misplaced():
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH LOGIN\r\n")[:3] == "334"
        assert client.ask(b"*\r\n")[:3] == "501"
        assert client.ask(b"AUTH\r\n")[:3] == "504" and client.ask(b"AUTH GSSAPI\r\n")[:3] == "504"
        assert client.ask(b"MAIL FROM:<a@b.test> AUTH=<>\r\n")[:3] == "250"
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n")[:3] == "503"


def test_a_response_may_have_12288_octets():
    with sink_with() as sink, Inside(sink) as client:
        assert client.ask(b"AUTH PLAIN\r\n")[:3] == "334"
        assert client.ask(b64(b"\0x\0" + b"y" * 9207) + b"\r\n")[:3] == "535"
        assert client.ask(b"AUTH PLAIN\r\n")[:3] == "334"
        assert client.ask(b64(b"\0x\0" + b"y" * 9300) + b"\r\n")[:3] == "500"
        assert client.hello()[:3] == "250"


def test_smtplib_agrees():
    """A client that is not ours."""
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        with Sink(auth=ACCOUNT, auth_clear=True, auth_mechanisms=[mechanism]) as sink, smtplib.SMTP(sink.host, sink.port, timeout=20) as client:
            client.login(USER, PASSWORD)
            client.sendmail("a@b.test", ["x@e.test"], "Subject: x\r\n\r\nx\r\n")
            assert only(sink.events("auth"))["mechanism"] == mechanism and only(sink.events("message"))["auth"] == USER


# --- hostile by script --------------------------------------------------------------------------------------------

def test_endless_challenges():
    """Row 12: whatever the client answers, there is one more question."""
    with sink_with(script=rules({"command": "AUTH", "reply": "334 eA=="})) as sink, Inside(sink) as client:
        assert client.ask(b"AUTH PLAIN " + plain() + b"\r\n") == "334 eA=="
        for _ in range(200):
            assert client.ask(b"eA==\r\n") == "334 eA=="
        assert client.ask(b"*\r\n")[:3] == "501"
        assert sink.events("auth") == []


def test_a_challenge_of_a_megabyte():
    with sink_with(script=rules({"command": "AUTH", "raw": "334 " + "QUFB" * 262144 + "\r\n"})) as sink, Inside(sink) as client:
        assert len(client.ask(b"AUTH CRAM-MD5\r\n")) == 4 + (1 << 20)


@pytest.mark.parametrize("reply", ["334 ***", "334 A", "334 QQ==QQ==", "334", "334 =", "335 eA==", "235", "250 2.0.0 Ok", "535 5.7.8 no", "454 4.7.0 later"])
def test_other_answers(reply):
    with sink_with(script=rules({"command": "AUTH", "reply": reply})) as sink, Inside(sink) as client:
        assert client.ask(b"AUTH CRAM-MD5\r\n") == reply
        if reply[:3] == "334":
            assert client.ask(b"eA==\r\n") == reply
        else:
            assert client.ask(b"NOOP\r\n")[:3] == "250", "the exchange is over"
            assert len(sink.events("auth")) == (reply[0] == "2")


def test_a_false_signature_of_the_server():
    with sink_with(script=rules({"command": "AUTH", "nth": 2, "reply": "334 " + b64(b"v=" + b64("x" * 32)).decode()})) as sink, Inside(sink) as client:
        with pytest.raises(AssertionError):
            scram(client)


def test_authentication_asked_for_by_script():
    script = rules({"command": "MAIL", "auth": False, "reply": "530 5.7.0 Authentication required"})
    with sink_with(script=script) as sink, Inside(sink) as client:
        assert client.ask(b"MAIL FROM:<a@b.test>\r\n")[:3] == "530"
        client.ask(b"AUTH PLAIN " + plain() + b"\r\n")
        assert client.mail()[:3] == "250"
