"""Dialling: the first address that answers wins, a dead one costs little, and nothing stays open."""

import socket
from collections.abc import Iterator

import pytest

from mt1bridge.runtime.clock import SystemClock
from mt1bridge.runtime.dial import dial, place


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def names(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[socket.AddressFamily, str, int]) -> None:
    """Make every name resolve to these addresses."""
    found = [(family, socket.SOCK_STREAM, 6, "", (host, port)) for family, host, port in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_it_connects_without_delay_for_small_packets(listener: socket.socket) -> None:
    with dial("127.0.0.1", listener.getsockname()[1], 5, SystemClock()) as connected:
        assert connected.getpeername() == listener.getsockname()
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert connected.gettimeout() == 5


def test_an_address_that_refuses_is_passed_over(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port = listener.getsockname()[1]
    names(monkeypatch, (socket.AF_INET, "127.0.0.1", closed_port()), (socket.AF_INET, "127.0.0.1", port))
    with dial("broker", port, 5, SystemClock()) as connected:
        assert connected.getpeername()[1] == port


def test_an_address_that_does_not_answer_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as full, socket.create_server(("127.0.0.1", 0)) as listener:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        dead = full.getsockname()[1]
        fill = [socket.socket() for _ in range(3)]  # a full backlog answers no SYN
        try:
            for each in fill:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", dead))
            port = listener.getsockname()[1]
            names(monkeypatch, (socket.AF_INET, "127.0.0.1", dead), (socket.AF_INET, "127.0.0.1", port))
            with dial("broker", port, 60, SystemClock()) as connected:
                assert connected.getpeername()[1] == port
            names(monkeypatch, (socket.AF_INET, "127.0.0.1", dead))
            with pytest.raises(TimeoutError):
                dial("broker", dead, 0.1, SystemClock())
        finally:
            for each in fill:
                each.close()


def test_the_families_take_turns(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port, closed = listener.getsockname()[1], closed_port()
    six = [(socket.AF_INET6, "::1", closed)] * 3
    names(monkeypatch, *six, (socket.AF_INET, "127.0.0.1", port))
    with dial("broker", port, 5, SystemClock()) as connected:
        assert connected.getpeername()[1] == port


def test_the_error_of_the_last_address_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = closed_port()
    names(monkeypatch, (socket.AF_INET, "127.0.0.1", closed), (socket.AF_INET6, "::1", closed))
    with pytest.raises(ConnectionRefusedError):
        dial("broker", closed, 5, SystemClock())


def test_a_name_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch)
    with pytest.raises(OSError, match="no address"):
        dial("broker", 1, 5, SystemClock())


@pytest.mark.parametrize(("host", "written"), [("::1", "[::1]:1"), ("127.0.0.1", "127.0.0.1:1"), ("a.b", "a.b:1")])
def test_places_are_written_as_in_a_url(host: str, written: str) -> None:
    assert place(host, 1) == written
