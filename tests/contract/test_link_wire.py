"""The byte stream under the link: it can be stopped, and minds its deadlines, also while bytes keep coming."""

import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sockjs_server import PATIENCE

from mt1bridge.cloud.wire import LinkFailure, Waker, Wire
from mt1bridge.model.upstream import Trouble


class Rig:
    """A wire over a socket pair; `watch` may be replaced."""

    def __init__(self) -> None:
        self.stop = Waker()
        self.watch: Callable[[bool], float] = lambda _may_send: math.inf
        self.wire = Wire(self.stop, time.monotonic, lambda may_send: self.watch(may_send))
        self.far, near = socket.socketpair()
        near.setblocking(False)
        self.wire.attach(near)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.far.close()
    rig.wire.close()
    rig.stop.close()


def test_what_was_sent_comes_in_pieces_of_any_size(rig: Rig) -> None:
    rig.far.sendall(b"abcdefgh")
    assert [rig.wire.recv(1), rig.wire.recv(3), rig.wire.recv(100)] == [b"a", b"bcd", b"efgh"]
    assert rig.wire.last_byte_at is not None


def test_a_stop_counts_although_bytes_keep_coming(rig: Rig) -> None:
    rig.far.sendall(b"x" * 1000)
    rig.stop.set()
    with pytest.raises(LinkFailure) as raised:
        rig.wire.recv(1)
    assert raised.value.trouble is Trouble.STOPPED


def test_deadlines_count_although_bytes_keep_coming(rig: Rig) -> None:
    def late(_may_send: bool) -> float:
        raise LinkFailure(Trouble.TIMEOUT, "late")

    rig.watch = late
    rig.far.sendall(b"x" * 1000)
    with pytest.raises(LinkFailure, match="late"):
        rig.wire.recv(1)


def test_bytes_that_wait_are_read_before_a_silence_is_found(rig: Rig) -> None:
    """So that a process that was frozen for long does not take its own sleep for the server's."""

    def silent(_may_send: bool) -> float:
        if rig.wire.last_byte_at is None:
            raise LinkFailure(Trouble.SILENT, "silent")
        return math.inf

    rig.watch = silent
    rig.far.sendall(b"x")
    assert rig.wire.recv(1) == b"x"


def test_a_stop_ends_a_wait_that_has_begun(rig: Rig) -> None:
    waiting = threading.Event()

    def watch(_may_send: bool) -> float:
        waiting.set()
        return math.inf

    def stop() -> None:
        waiting.wait(PATIENCE)
        rig.stop.set()

    rig.watch = watch
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(LinkFailure) as raised:
        rig.wire.wait([(rig.far.fileno(), select.POLLIN)])
    thread.join(PATIENCE)
    assert raised.value.trouble is Trouble.STOPPED


def test_a_send_that_must_wait_sends_nothing_else_between(rig: Rig) -> None:
    asked: list[bool] = []
    waiting = threading.Event()

    def watch(may_send: bool) -> float:
        asked.append(may_send)
        waiting.set()
        return math.inf

    rig.watch = watch
    received = bytearray()
    size = 3_000_000

    def read() -> None:
        waiting.wait(PATIENCE)  # a reader that keeps up would leave nothing to wait for
        while len(received) < size:
            received.extend(rig.far.recv(65536))

    thread = threading.Thread(target=read)
    thread.start()
    assert rig.wire.send(b"x" * size) == size
    thread.join(PATIENCE)
    assert len(received) == size
    assert asked
    assert not any(asked)


def test_the_last_words_never_wait(rig: Rig) -> None:
    rig.wire.hurry()
    rig.stop.set()
    with pytest.raises(LinkFailure):
        rig.wire.send(b"x" * 3_000_000)


def test_a_waker_may_be_set_twice_and_after_it_is_closed() -> None:
    waker = Waker()
    waker.set()
    waker.set()
    waker.close()
    waker.set()
    other = Waker()
    other.close()
    other.set()
    assert other.is_set()
