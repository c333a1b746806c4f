"""What a REST call sends, and what of the answer is handed on."""

import gzip
import json
import queue
import threading

import pytest
from rest_server import LOGIN, PASSWORD, QUICK, READ, TOKEN, Request, Server, Worker, answer, ask, say

from mt1bridge import __version__
from mt1bridge.cloud.rest import Deadlines
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, Call, Method, NoAnswer, Trouble

OK = b'{"status":0,"data":[]}'


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n", headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
    return head + b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + end


def keep(data: bytes):
    """Answer every request of a connection with the same bytes."""

    def script(conn, _):
        conn.sendall(data)
        return True

    return script


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- the request ------------------------------------------------------------------------------------


def test_a_login_is_a_json_body_without_a_token():
    with Server(say(answer(OK))) as server, Worker(server.url) as worker:
        worker.answer(LOGIN)
    (request,) = server.requests
    assert request.line == "POST /mt1/api/user/login HTTP/1.1"
    assert json.loads(request.body) == {"username": "club", "password": PASSWORD}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"mt1bridge/{__version__}"
    assert "authorization" not in request.headers


def test_a_call_bears_the_raw_token_and_its_query():
    call = Call(
        7, Method.GET, "/mt1/api/devices/1/channel/0/trigger", {"limit": "200", "offset": "0"}, token=Secret(TOKEN)
    )
    with Server(say(answer(OK))) as server, Worker(server.url + "/") as worker:
        assert worker.answer(call).call == 7
    (request,) = server.requests
    assert request.line == "GET /mt1/api/devices/1/channel/0/trigger?limit=200&offset=0 HTTP/1.1"
    assert request.headers["authorization"] == TOKEN
    assert request.body == b""


def test_calls_are_answered_in_their_order():
    with Server(keep(answer(OK))) as server, Worker(server.url) as worker:
        for number in range(5):
            worker.rest.submit(Call(number, Method.GET, f"/{number}"))
        assert [worker.inbox.get(timeout=20).call for _ in range(5)] == [0, 1, 2, 3, 4]
    assert [request.line for request in server.requests] == [f"GET /{number} HTTP/1.1" for number in range(5)]


def test_a_cookie_is_sent_back():
    with Server(keep(answer(OK, "200 OK", "Set-Cookie: route=7; Path=/"))) as server, Worker(server.url) as worker:
        worker.answer()
        worker.answer()
    assert [request.headers.get("cookie") for request in server.requests] == [None, "route=7"]


def test_a_connection_is_used_again_but_not_after_a_long_rest():
    with Server(keep(answer(OK))) as server, Worker(server.url) as worker:
        worker.answer()
        worker.answer()
        assert server.connections == 1
    with Server(keep(answer(OK))) as server, Worker(server.url, Deadlines(idle_s=0.0)) as worker:
        worker.answer()
        worker.answer()
        assert server.connections == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced():
    closed = threading.Semaphore(0)

    def answer_and_close(conn, _):
        conn.sendall(answer(OK))
        conn.close()
        closed.release()

    with Server(answer_and_close) as server, Worker(server.url) as worker:
        for _ in range(3):
            assert worker.answer().http_status == 200
            assert closed.acquire(timeout=20)


def test_neither_a_netrc_nor_the_url_adds_credentials(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login eve password netrc-word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Server(keep(answer(OK))) as server:
        for url in (server.url, server.url.replace("//", "//eve:url-word@")):
            with Worker(url) as worker:
                worker.answer(LOGIN)
                worker.answer(READ)
    assert [request.headers.get("authorization") for request in server.requests] == [None, TOKEN, None, TOKEN]


def test_a_token_that_no_header_can_carry_is_never_sent_nor_shown():
    for token in ("secret\r\nX-Evil: 1", "secret-\u20ac", "\nsecret"):
        with Server(say(answer(OK))) as server, Worker(server.url) as worker:
            event = worker.trouble(Call(1, Method.GET, "/", token=Secret(token)))
            assert "secret" not in event.text
        assert server.requests == []


# --- proxies ----------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with Server(say(answer(OK))) as proxy, Worker("http://mt1.invalid") as worker:
        monkeypatch.setenv("http_proxy", f"http://eve:proxy-word@127.0.0.1:{proxy.port}")
        worker.answer()
        monkeypatch.setenv("no_proxy", "mt1.invalid")
        assert worker.trouble().trouble is Trouble.DNS
    (request,) = proxy.requests
    assert request.line.startswith("GET http://mt1.invalid/mt1/api/user/current ")


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch):
    with (
        Server(say(answer(b"", "407 Proxy Authentication Required"))) as proxy,
        Worker("https://mt1.invalid") as worker,
    ):
        monkeypatch.setenv("https_proxy", f"http://eve:proxy-word@127.0.0.1:{proxy.port}")
        event = worker.trouble()
    assert event.trouble is Trouble.PROXY
    assert event.text.startswith("mt1.invalid: ")
    assert "word" not in event.text
    assert proxy.requests[0].line.startswith("CONNECT mt1.invalid:443 ")
    assert "authorization" not in proxy.requests[0].headers


def test_a_proxy_that_answers_a_byte_at_a_time_is_given_up(monkeypatch):
    def trickle(conn, _):
        while not proxy.over.wait(0.05):
            conn.sendall(b"H")

    with Server(trickle) as proxy, Worker("https://mt1.invalid", QUICK) as worker:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        assert worker.trouble().trouble in (Trouble.TIMEOUT, Trouble.PROXY)


# --- the answer -------------------------------------------------------------------------------------


def test_of_the_headers_token_date_and_retry_after_are_handed_on():
    headers = (f"Authorization: {TOKEN}", "Date: Sat, 14 Feb 2026 09:30:15 GMT", "Retry-After: 90", "X-Other: 1")
    event = ask(say(answer(OK, "200 OK", *headers)), LOGIN)
    assert event == Answer(1, 200, OK, Secret(TOKEN), retry_after="90", date="Sat, 14 Feb 2026 09:30:15 GMT")
    assert TOKEN not in repr(event)


def test_an_answer_without_them_has_none():
    assert ask(say(answer(OK))) == Answer(2, 200, OK)


def test_a_token_said_twice_is_one_and_two_tokens_are_no_token():
    twice = ask(say(answer(OK, "200 OK", "Authorization: A", "authorization: A")))
    both = ask(say(answer(OK, "200 OK", "Authorization: A", "authorization: B")))
    assert isinstance(twice, Answer)
    assert isinstance(both, Answer)
    assert (twice.token, both.token) == (Secret("A"), Secret("A, B"))


@pytest.mark.parametrize(
    "status",
    ["204 No Content", "206 Partial", "301 Moved", "401 No", "403 No", "404 No", "418 Tea", "429 Slow", "503 Busy"],
)
def test_any_status_is_an_answer(status):
    event = ask(say(answer(b"", status, "Retry-After: 5")))
    assert isinstance(event, Answer)
    assert (event.http_status, event.retry_after) == (int(status[:3]), "5")


def test_a_continue_in_front_of_the_answer_is_passed_over():
    assert ask(say(b"HTTP/1.1 100 Continue\r\n\r\n", answer(OK)), LOGIN) == Answer(1, 200, OK)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("call", [LOGIN, READ], ids=["login", "read"])
def test_a_redirect_is_not_followed(status, call):
    with (
        Server(say(answer(OK))) as elsewhere,
        Server(say(answer(b"", status, f"Location: {elsewhere.url}/x"))) as server,
    ):
        with Worker(server.url) as worker:
            assert worker.answer(call).http_status == int(status[:3])
        assert len(server.requests) == 1
    assert elsewhere.connections == 0


def test_a_body_may_be_long_chunked_compressed_or_ended_by_the_close():
    page = b"[" + b"1234567," * 100_000 + b"0]"
    packed = gzip.compress(page)
    gzipped = "Content-Encoding: gzip"
    for data in (
        answer(page),
        chunked(page[:1000], page[1000:]),
        answer(packed, "200 OK", gzipped),
        chunked(packed[:99], packed[99:], headers=gzipped + "\r\n"),
        b"HTTP/1.1 200 OK\r\n\r\n" + page,
    ):
        assert ask(say(data)) == Answer(2, 200, page)


def test_an_empty_body_announced_as_compressed_is_empty():
    assert ask(say(answer(b"", "200 OK", "Content-Encoding: gzip"))) == Answer(2, 200, b"")


# --- stopping ---------------------------------------------------------------------------------------


def test_close_ends_the_call_under_way_and_those_that_wait():
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def hang(conn, request):
        waiting.put(request)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        server.over.wait()

    with Server(hang) as server, Worker(server.url, Deadlines(total_s=3600.0)) as worker:
        for number in (1, 2, 3):
            worker.rest.submit(Call(number, Method.GET, "/"))
        waiting.get(timeout=20)
        assert worker.rest.alive()
        worker.rest.close()
        assert worker.rest.join(20)
        assert not worker.rest.alive()
        worker.rest.submit(Call(4, Method.GET, "/"))
        events = [worker.inbox.get(timeout=20) for _ in range(4)]
    assert [(type(event), event.call) for event in events] == [(NoAnswer, number) for number in (1, 2, 3, 4)]
    assert {event.trouble for event in events if isinstance(event, NoAnswer)} == {Trouble.STOPPED}
    assert len(server.requests) == 1


def test_an_idle_worker_closes():
    with Server(keep(answer(OK))) as server, Worker(server.url) as worker:
        worker.answer()
        assert worker.rest.alive()
