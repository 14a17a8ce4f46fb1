"""The ledger of the sink is complete and true, whatever the peer does."""

import json
import socket
import struct
import threading
import time

import pytest

from rawclient import Client, only, rss_kb, rules, streamed
from sinklib import WAIT_S, Sink, share


# --- the ledger ---------------------------------------------------------------------------------------------------

def test_ledger_is_flushed_by_the_clock():
    with Sink() as sink, Client(sink) as client:
        client.hello()
        client.mail()
        deadline = time.monotonic() + 5
        while '"message"' not in sink.ledger_path.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_ledger_is_complete_up_to_the_last_reply():
    """After each reply that a client has read, a flush must show the line; and the end of the sink must lose none."""
    with Sink() as sink:
        with Client(sink) as client:
            client.hello()
            for i in range(50):
                client.mail("n%d@e.test" % i)
                assert len(sink.events("message")) == i + 1
            client.send(streamed(2000))
            replies = [client.reply()[:3] for _ in range(3 * 1234)]
            assert sink.stop() == 0
        lines = [json.loads(line) for line in sink.ledger_path.read_text().splitlines()]
        told = [line for line in lines if line["event"] == "message" and line["reply"] is not None]
        assert len(told) >= 50 + replies.count("250") // 3
        assert lines[-1]["event"] == "close" and lines[-1]["by"] == "server"
        assert sink.counts()["messages"] == len([line for line in lines if line["event"] == "message"])


def test_random_fates_are_told_as_they_were_written():
    """Pipelined, with a random fate for each recipient: the client's view and the ledger's are the same, recipient by recipient."""
    script = rules({"command": "RCPT", "share": [0.0, 0.1], "reply": "450 4.2.1 later"},
                   {"command": "RCPT", "share": [0.1, 0.2], "reply": "550 5.1.1 unknown"},
                   {"command": "EOD", "share": [0.2, 0.3], "reply": "451 4.3.0 later"},
                   {"command": "EOD", "share": [0.3, 0.4], "reply": "554 5.7.1 no"},
                   {"command": "EOD", "share": [0.4, 0.45], "reply": "250 2.0.0 Ok", "close": True})
    seen = {}
    with Sink(script=script, delay_ms=1) as sink:
        pending = ["p%d@e.test" % i for i in range(500)]
        while pending:
            batch, pending = pending[:25], pending[25:]
            with Client(sink) as client:
                client.hello()
                client.send(b"".join(streamed(1, to=address.replace("@", "%.0s@")) for address in batch))
                for address in batch:
                    try:
                        seen[address] = client.codes(3)
                    except (EOFError, ConnectionResetError):
                        pending = batch[batch.index(address):] + pending
                        break
        ledger = sink.ledger()
    accepted = {line["to"] for line in ledger if line["event"] == "message"}
    assert accepted == {address for address, codes in seen.items() if codes[2] == "250"}
    assert accepted == {address for address in seen if share(1, address) >= 0.4}
    assert len([line for line in ledger if line["event"] == "message"]) == len(accepted)
    refused = {line["to"]: line["reply"][:3] for line in ledger if line["event"] == "reject" and line["stage"] in ("RCPT", "EOD")}
    assert refused == {a: c[1] if c[1] != "250" else c[2] for a, c in seen.items() if c[2] != "250"}


def test_peer_that_does_not_read_is_held_and_memory_stays():
    with Sink() as sink, Client(sink) as client:
        client.socket.setblocking(False)
        block, sent, stuck = b"RSET\r\n" * 10000, 0, 0
        while sent < 64 << 20 and stuck < 100:
            try:
                sent += client.socket.send(block[sent % 6:])
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.002)
        assert sent < 64 << 20, "the sink must stop reading"
        assert rss_kb(sink.process.pid) < 40000
        client.socket.setblocking(True)
        client.socket.settimeout(WAIT_S)
        missing = (6 - sent % 6) % 6
        wanted = (sent + missing) // 6
        got = 0
        # Both ways are full, so the rest of a command that was cut off can only be sent while replies are read.
        tail = threading.Thread(target=client.send, args=(b"RSET\r\n"[6 - missing:],))
        tail.start()
        while got < wanted:
            more = client.socket.recv(1 << 20)
            assert more, f"closed after {got} of {wanted} replies"
            got += more.count(b"\n")
        tail.join()
        assert got == wanted


def test_reset_by_the_client_harms_nobody():
    with Sink() as sink:
        for _ in range(20):
            with Client(sink) as client:
                client.send(streamed(3))
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with Client(sink) as client:
            client.hello()
            assert client.mail()[:3] == "250"
        counts = sink.counts()
        assert counts["connections"] == 21
        sink.wait_for(lambda _: sink.counts()["open"] == 0)


def test_ipv6_listener():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with Sink(listen=["[::1]:0"]) as sink, Client(sink) as client:
        client.hello()
        assert client.mail()[:3] == "250"
        assert only(sink.events("connect"))["local"] == f"[::1]:{sink.port}"
