"""Wakes a thread that waits for a socket."""

import contextlib
import select
import socket
import threading

LONGEST_S = 3600.0  # poll takes no infinity


class Alarm:
    """`ring` from any thread ends the `wait` of the one that owns it."""

    def __init__(self) -> None:
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._lock = threading.Lock()

    def ring(self) -> None:
        # the lock keeps the socket from being closed, and its number from being given to a file, between look and send
        with self._lock, contextlib.suppress(OSError):
            if self._bell.fileno() >= 0:
                self._bell.send(b"\0")

    def wait(self, timeout_s: float, number: int | None = None, writing: bool = False) -> tuple[bool, bool]:
        """Wait for the alarm, for timeout_s (an hour at most), or for the socket with this number.

        Return whether that socket can be read, and whether it can be written; an error counts as something to read.
        """
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if number is not None:
            poll.register(number, select.POLLIN | (select.POLLOUT if writing else 0))
        ready = dict(poll.poll(min(max(0.0, timeout_s), LONGEST_S) * 1000))
        if self._ear.fileno() in ready:
            with contextlib.suppress(OSError):
                self._ear.recv(4096)
        state = ready.get(-1 if number is None else number, 0)
        return bool(state & ~select.POLLOUT), bool(state & select.POLLOUT)

    def close(self) -> None:
        with self._lock:
            self._ear.close()
            self._bell.close()
