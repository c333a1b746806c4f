"""Where finished log lines go, without ever waiting for whoever reads them.

A target takes a line at once or not at all (faults F39: a full pipe, a stopped journald must not hold the loop).
What was not taken is counted by `Outlet`, which says so as soon as the target takes lines again.
"""

import contextlib
import os
import select
import socket
import stat
import threading
from collections.abc import Callable
from typing import Protocol, TextIO

JOURNAL_SOCKET = "/run/systemd/journal/socket"
CHUNK = 4096  # bytes; a pipe that poll() calls writable takes that much without waiting (PIPE_BUF)


class Target(Protocol):
    def offer(self, line: bytes) -> bool:
        """Take the whole line, or return False at once. Raises nothing."""

    def close(self) -> None: ...


class Outlet:
    """Hands lines to a target; counts those not taken and tells of them when it is back.

    tell_lost: makes the line that says how many are missing.
    """

    def __init__(self, target: Target, tell_lost: Callable[[int], bytes]) -> None:
        self._target = target
        self._tell_lost = tell_lost
        self._lost = 0
        self._lock = threading.RLock()  # library threads log too; re-entrant, should a signal handler log

    def write(self, line: bytes) -> None:
        with self._lock:
            self._tell()
            if self._lost or not self._target.offer(line):
                self._lost += 1

    # structlog calls its logger by the level's name
    debug = info = warning = error = critical = write

    def close(self) -> None:
        with self._lock:
            self._tell()
            self._target.close()

    def _tell(self) -> None:
        if self._lost and self._target.offer(self._tell_lost(self._lost)):
            self._lost = 0


class JournalTarget:
    """Datagrams of journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    Not through systemd-python: its journal.send() uses a blocking socket, and a stopped journald, its queue full,
    would hold the loop.
    """

    def __init__(self, address: str = JOURNAL_SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def reachable(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
                probe.connect(self._address)
        except OSError:
            return False
        return True

    def offer(self, line: bytes) -> bool:
        try:
            self._socket.sendto(line, self._address)  # by address: finds a journald that was started anew
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class StreamTarget:
    """Lines to a file descriptor.

    A pipe or terminal is opened a second time, so that only our own description of it is non-blocking: the flag on
    the inherited one is shared with the shell and whatever else writes there.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._own: int | None = None
        self._rest = b""  # of a line that was taken in part
        kind = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(kind)
        if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            with contextlib.suppress(OSError):  # not ours to open (another user's terminal): poll() alone then
                self._own = os.open(
                    f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_APPEND
                )

    def offer(self, line: bytes) -> bool:
        if self._rest:
            self._rest = self._push(self._rest)
        if self._rest:
            return False
        rest = self._push(line)
        if len(rest) == len(line):
            return False
        self._rest = rest
        return True

    def close(self) -> None:
        if self._own is not None:
            os.close(self._own)
            self._own = None

    def _push(self, data: bytes) -> bytes:
        """Write what goes without waiting; return what is left."""
        fd = self._fd if self._own is None else self._own
        while data:
            try:
                if self._own is None and not self._is_file and not self._writable():
                    break
                data = data[os.write(fd, data[:CHUNK]) :]
            except OSError:  # EAGAIN: full; EPIPE: no reader; ENOSPC, EIO: nobody left to tell
                break
        return data

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))


class TextTarget:
    """A text stream without a file descriptor: a test's StringIO."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def offer(self, line: bytes) -> bool:
        try:
            self._stream.write(line.decode("utf-8", "backslashreplace"))
        except (OSError, ValueError):  # ValueError: closed
            return False
        return True

    def close(self) -> None:
        return


def stream_target(stream: TextIO) -> Target:
    try:
        return StreamTarget(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return TextTarget(stream)
