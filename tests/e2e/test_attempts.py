"""What is kept of each attempt: where it went, by which TLS, what was answered at which stage, and when."""
import pytest

from conftest import run_to_end

STAGES = ["connect", "greeting", "tls", "ehlo", "auth", "mail", "rcpt", "data", "content"]


def history(server, email):
    (delivery,) = server.api.get("/v1/recipients/%s" % email).json["deliveries"]
    return delivery["history"]


@pytest.mark.sanitize
def test_an_attempt_is_kept_whole(place):
    sink = place.sink(tls=True, delay_ms=20, script={"rules": [{"command": "RCPT", "first": 1, "reply": "451 4.7.1 come again"}]})
    server = place.server(config='route "*" { host = "127.0.0.1"  port = %d  tls = "required" }' % sink.port, profile="connections = 1")
    place.people(server, ["a@one.test", "b@one.test"])
    run_to_end(server, server.create_campaign())
    for email in ("a@one.test", "b@one.test"):
        first, second = history(server, email)
        for attempt in (first, second):
            assert attempt["address"] == "127.0.0.1:%d" % sink.port and attempt["mx_host"] == "127.0.0.1"
            assert attempt["tls"] and attempt["tls_version"] == "TLSv1.3" and attempt["tls_cipher"].startswith("TLS_")
            times = attempt["times_ms"]
            assert set(times) <= set(STAGES)
            assert [times[stage] for stage in STAGES[:5] if stage in times] == sorted(times[stage] for stage in STAGES[:5] if stage in times)
        assert (first["code"], first["enhanced"], first["stage"]) == (451, "4.7.1", "rcpt")
        assert first["reply"] == "come again" and second["stage"] == "content" and second["code"] == 250
        times = second["times_ms"]
        assert 1 <= times["mail"] <= times["rcpt"] <= times["content"] <= second["duration_ms"] + 1
    # Only the first message of a connection waited for it to be opened.
    waited = [history(server, email)[0]["times_ms"] for email in ("a@one.test", "b@one.test")]
    assert sorted("connect" in times for times in waited) == [False, True]
    (first,) = [times for times in waited if "connect" in times]
    assert {"connect", "tls", "greeting", "ehlo", "mail", "rcpt"} <= set(first)


def test_a_reply_that_never_came_has_no_time(place):
    sink = place.sink(without=["CHUNKING"], script={"rules": [{"command": "RCPT", "first": 2, "close": True}]})
    server = place.server(sink)
    place.people(server, ["a@one.test"])
    run_to_end(server, server.create_campaign())
    lost, there = history(server, "a@one.test")
    assert lost["code"] is None and lost["stage"] == "rcpt" and lost["address"] == there["address"] == "127.0.0.1:%d" % sink.port
    assert {"connect", "greeting", "ehlo"} <= set(lost["times_ms"]) and not {"rcpt", "data", "content"} & set(lost["times_ms"])
    assert (there["tls"], there["tls_version"], there["tls_cipher"]) == (False, "", "")
    assert {"mail", "rcpt", "content"} <= set(there["times_ms"])
