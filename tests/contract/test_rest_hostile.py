"""Servers, networks and proxies that behave badly: every call ends in time, with a trouble that names it."""

import contextlib
import gzip
import logging
import random
import socket
import struct
import zlib

import pytest
from rest_server import LOGIN, PASSWORD, QUICK, READ, TOKEN, Server, Worker, answer, ask, say

from mt1bridge.cloud.rest import Deadlines
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, NoAnswer, RestEvent, Trouble

SMALL = Deadlines(max_body=100_000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def check(event: RestEvent, trouble: Trouble, *words: str) -> None:
    assert isinstance(event, NoAnswer), event
    assert event.trouble is trouble, event
    assert event.text.startswith("localhost:")
    for word in words:
        assert word in event.text
    assert PASSWORD not in event.text
    assert TOKEN not in event.text


@contextlib.contextmanager
def full_queue():
    """An address that drops every SYN: nobody accepts, and the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


# --- too slow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\n\r\n[",
    ],
    ids=["nothing", "headers", "body", "body-without-length"],
)
@pytest.mark.parametrize("beat", [b"", b" "], ids=["silent", "a-byte-now-and-then"])
def test_a_server_cannot_hold_a_call_beyond_the_deadline(start, beat):
    def slow(conn, _):
        conn.sendall(start)
        while not server.over.wait(0.05):
            conn.sendall(beat)

    with Server(slow) as server, Worker(server.url, QUICK) as worker:
        check(worker.ask(), Trouble.TIMEOUT)


def test_endless_continues_end_at_the_deadline():
    def endless(conn, _):
        while not server.over.wait(0.01):
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with Server(endless) as server, Worker(server.url, QUICK) as worker:
        check(worker.ask(LOGIN), Trouble.TIMEOUT)


def test_the_call_after_a_late_one_is_fine():
    def slow_once(conn, _):
        if len(server.requests) == 1:
            server.over.wait(5)
        conn.sendall(answer(b"[]"))

    with Server(slow_once) as server, Worker(server.url, QUICK) as worker:
        check(worker.ask(), Trouble.TIMEOUT)
        # A busy machine may miss the short deadline once more, but not for ever.
        assert Answer(2, 200, b"[]") in [worker.ask() for _ in range(10)]


@pytest.mark.parametrize("status", ["302 Found", "403 Forbidden", "503 Busy"])
def test_the_endless_body_of_another_status_is_not_waited_for(status):
    def endless(conn, _):
        conn.sendall(answer(b"<", status, "Location: /", length=10**9))
        server.over.wait()

    with Server(endless) as server, Worker(server.url, Deadlines(total_s=3600.0)) as worker:
        assert worker.answer() == Answer(2, int(status[:3]), b"")


def test_an_address_that_never_answers_is_a_time_out():
    with full_queue() as (host, port), Worker(f"http://{host}:{port}", Deadlines(connect_s=0.5)) as worker:
        event = worker.trouble()
    assert (event.trouble, event.text.partition(": ")[2]) == (Trouble.TIMEOUT, "cannot be reached in time")


# --- too much ---------------------------------------------------------------------------------------


def test_a_body_above_the_limit_is_refused_and_one_at_the_limit_is_not():
    assert ask(say(answer(b"x" * 100_000)), deadlines=SMALL) == Answer(2, 200, b"x" * 100_000)
    check(ask(say(answer(b"x" * 100_001)), deadlines=SMALL), Trouble.PROTOCOL, "100000")


def test_the_limit_counts_what_comes_out_of_the_compression():
    zipped = "Content-Encoding: gzip"
    fits = gzip.compress(b"x" * 100_000)
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert ask(say(answer(fits, "200 OK", zipped)), deadlines=SMALL) == Answer(2, 200, b"x" * 100_000)
    check(ask(say(answer(bomb, "200 OK", zipped)), deadlines=SMALL), Trouble.PROTOCOL, "100000")
    check(ask(say(answer(bomb, "200 OK", zipped))), Trouble.PROTOCOL)


def test_an_endless_body_is_cut_at_the_limit():
    def endless(conn, _):
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.over.is_set():
            conn.sendall(b"x" * 65536)

    with Server(endless) as server, Worker(server.url, SMALL) as worker:
        check(worker.ask(), Trouble.PROTOCOL)


@pytest.mark.parametrize(
    "headers", [["X: " + "y" * 100_000], [f"X-{number}: y" for number in range(500)]], ids=["long", "many"]
)
def test_headers_without_end_are_refused(headers):
    check(ask(say(answer(b"[]", "200 OK", *headers))), Trouble.PROTOCOL)


def test_a_cookie_of_60_kb_is_survived():
    cookie = "Set-Cookie: a=" + "b" * 60_000

    def script(conn, _):
        conn.sendall(answer(b"[]", "200 OK", cookie))
        return True

    with Server(script) as server, Worker(server.url) as worker:
        assert worker.answer() == Answer(2, 200, b"[]")
        assert worker.answer() == Answer(2, 200, b"[]")


def test_long_values_of_the_headers_handed_on_are_cut():
    event = ask(say(answer(b"", "429 Slow", "Retry-After: " + "9" * 9000, "Date: " + "x" * 9000)))
    assert isinstance(event, Answer)
    assert (len(event.retry_after or ""), len(event.date or "")) == (200, 200)


# --- cut short --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer(b'{"status":0,"data":[]}', length=1000),
        answer(b"", length=1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2,\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1",
        answer(gzip.compress(b"[1,2,3]")[:-9], "200 OK", "Content-Encoding: gzip"),
    ],
    ids=["nothing", "body", "no-body", "no-last-chunk", "chunk", "gzip"],
)
def test_an_answer_cut_short_is_no_answer(data):
    event = ask(say(data))
    assert isinstance(event, NoAnswer), event
    assert event.trouble is Trouble.CLOSED


def test_headers_cut_short_leave_nothing_that_could_be_taken_for_a_login():
    assert ask(say(b"HTTP/1.1 200 OK\r\nAuthorization: T0K"), LOGIN) == Answer(1, 200, b"", Secret("T0K"))


@pytest.mark.parametrize("data", [b"", answer(b"[", length=1000)], ids=["before", "in-the-body"])
def test_a_reset_is_no_answer(data):
    def reset(conn, _):
        conn.sendall(data)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    check(ask(reset), Trouble.CLOSED)


# --- no HTTP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n[1,2]\r\n",
        answer(b"[]", "200 OK", "Content-Encoding: gzip"),
        answer(zlib.compress(b"[]"), "200 OK", "Content-Encoding: deflate"),
        answer(b"[]", "200 OK", "Content-Encoding: br"),
    ],
    ids=["ssh", "tls", "status", "chunk-size", "no-gzip", "deflate", "br"],
)
def test_what_is_no_answer_is_called_so(data):
    event = ask(say(data))
    assert isinstance(event, NoAnswer), event
    assert event.trouble in (Trouble.PROTOCOL, Trouble.CLOSED)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_end_in_an_event(seed):
    noise = random.Random(seed).randbytes(200 * seed)
    for data in (noise, b"HTTP/1.1 200 OK\r\n" + noise, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + noise):
        assert isinstance(ask(say(data)), Answer | NoAnswer)


def test_broken_headers_are_neither_logged_nor_shown(caplog):
    caplog.set_level(logging.DEBUG)
    broken = (f"Authorization: {TOKEN}", "no colon here", f"Authorization: {TOKEN}")
    event = ask(say(answer(b"[]", "200 OK", *broken)), LOGIN)
    assert TOKEN not in repr(event)
    assert TOKEN not in caplog.text
    assert PASSWORD not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- nobody there -----------------------------------------------------------------------------------


def test_a_port_without_a_server_refuses():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Worker(f"http://localhost:{port}") as worker:
        check(worker.ask(LOGIN), Trouble.REFUSED)


def test_a_dead_address_beside_a_living_one_does_not_use_up_the_call(monkeypatch):
    with Server(say(answer(b"[]"))) as server, full_queue() as dead:
        # The resolver is not ours: what it would say of a host whose IPv6 is dead, on addresses of this machine.
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (dead, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with Worker("http://two.invalid", Deadlines(connect_s=3600.0, total_s=3600.0)) as worker:
            assert worker.answer() == Answer(2, 200, b"[]")


def test_a_literal_ipv6_address_is_reached_or_refused_but_never_looked_up():
    with Worker("http://[::1]:1") as worker:
        assert worker.trouble().trouble in (Trouble.REFUSED, Trouble.NETWORK)


def test_a_name_that_does_not_exist_is_dns():
    with Worker("http://mt1.invalid") as worker:
        event = worker.trouble()
    assert (event.trouble, event.text) == (Trouble.DNS, "mt1.invalid: the name cannot be resolved")


def test_the_worker_survives_every_fault_in_a_row():
    faults = [b"", b"noise\r\n", answer(b"x", length=99), answer(b"[]", "200 OK", "Content-Encoding: gzip")]

    def script(conn, _):
        number = len(server.requests) - 1
        conn.sendall(faults[number] if number < len(faults) else answer(b"[]"))

    with Server(script) as server, Worker(server.url) as worker:
        for _ in faults:
            worker.trouble(READ)
        assert worker.answer(READ) == Answer(2, 200, b"[]")
        assert worker.rest.alive()
