"""The link against a SockJS server that is not ours (PyPI's `sockjs` on aiohttp), in number and size."""

import json
import os
import threading
from collections.abc import Iterator

import pytest
from sockjs_server import PATIENCE, Bench, SockJsServer, eventually

from mt1bridge.model.upstream import LinkConnected, LinkMessage, LinkOddity, LinkSubscribed, Trouble

pytestmark = pytest.mark.filterwarnings("ignore:It is recommended to use web")  # by sockjs 0.13, on newer aiohttp

STRANGE = "Zieleinlauf äöü ß – Łódź 東京 🏁 \u2028 \ufeff \x7f"


@pytest.fixture
def server() -> Iterator[SockJsServer]:
    with SockJsServer() as server:
        yield server


def bodies_of(bench: Bench, count: int) -> list[str]:
    return [bench.wait(LinkMessage).body.decode() for _ in range(count)]


def test_a_link_stands_and_ends(server: SockJsServer) -> None:
    with Bench(server.url) as bench:
        link = bench.open("231203016", "231203037", token="0123456789ABCDEF")
        assert bench.next() == LinkConnected(link, "1.2", "10000,10000", 30.0)
        assert bench.next() == LinkSubscribed(link, ("231203016", "231203037"))
        server.publish("231203037", '{"a":1}')
        assert bench.next() == LinkMessage(link, "/topic/device/231203037/trigger", b'{"a":1}')
        bench.close(link)
        assert bench.end().trouble is Trouble.STOPPED
        eventually(lambda: server.frames[-1] == "DISCONNECT\n\n\0")
    assert "authorization:0123456789ABCDEF\n" in server.frames[0]


@pytest.mark.parametrize("together", [False, True], ids=["one each", "in one array"])
def test_a_thousand_messages_come_in_order_and_whole(server: SockJsServer, together: bool) -> None:
    sent = [json.dumps({"number": number, "name": STRANGE}, ensure_ascii=False) for number in range(1000)]
    with Bench(server.url) as bench:
        bench.open("7")
        bench.wait(LinkSubscribed)
        server.publish("7", *sent, together=together)
        assert bodies_of(bench, 1000) == sent
    assert not [event for event in bench.events if isinstance(event, LinkOddity)]


def test_a_body_of_a_megabyte_comes_whole(server: SockJsServer) -> None:
    sent = json.dumps([STRANGE] * 20_000, ensure_ascii=False)
    assert len(sent.encode()) > 1_000_000
    with Bench(server.url) as bench:
        bench.open("7")
        bench.wait(LinkSubscribed)
        server.publish("7", sent, "after")
        assert bodies_of(bench, 2) == [sent, "after"]


def test_make_before_break_loses_nothing(server: SockJsServer) -> None:
    with Bench(server.url) as bench:
        first = bench.open("7")
        bench.wait(LinkSubscribed)
        for number in range(10):
            server.publish("7", f"before {number}")
            second = bench.open("7")
            while not (isinstance(event := bench.next(), LinkSubscribed) and event.link == second):
                continue
            bench.close(first)
            server.publish("7", f"after {number}")
            first = second
        server.publish("7", "the end")
        while b"the end" not in {one.body for one in bench.events if isinstance(one, LinkMessage)}:
            bench.next()
    bodies = {one.body.decode() for one in bench.events if isinstance(one, LinkMessage)}
    assert bodies == {"the end", *(f"{when} {number}" for when in ("before", "after") for number in range(10))}


def test_three_hundred_reconnects_leave_nothing_behind(server: SockJsServer) -> None:
    def one_life(bench: Bench) -> None:
        link = bench.open("7")
        bench.wait(LinkSubscribed)
        bench.close(link)
        bench.end()
        bench.links.join(PATIENCE)

    def ours() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with Bench(server.url) as bench:
        one_life(bench)
        files, threads = ours()
        for _ in range(300):
            one_life(bench)
        eventually(lambda: ours()[0] <= files and ours()[1] <= threads)
        assert len({event.link for event in bench.events if isinstance(event, LinkSubscribed)}) == 301
