"""A TCP connection to a host name, quickly even where one of its addresses is dead."""

import errno
import os
import select
import socket
from typing import Any

from mt1bridge.runtime.clock import Clock

STAGGER_S = 0.25  # RFC 8305, section 8: the recommended delay between attempts

Address = tuple[socket.AddressFamily, Any]


def dial(host: str, port: int, timeout_s: float, clock: Clock) -> socket.socket:
    """Return a connected TCP socket, TCP_NODELAY set, with timeout_s as its timeout.

    Addresses are tried in the resolver's order, the families taking turns, the next one STAGGER_S after the one before
    or as soon as all before failed; the first that answers wins. timeout_s bounds connecting, not the resolver,
    which cannot be interrupted: call this where waiting does no harm.
    Raises socket.gaierror (name not known), TimeoutError, or the OSError of the last address that failed.
    """
    addresses = _taking_turns(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    deadline = clock.now().monotonic + timeout_s
    attempts = _Attempts()
    try:
        while addresses or attempts.open:
            if addresses:
                attempts.begin(addresses.pop(0))
            left = deadline - clock.now().monotonic
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer")
            connected = attempts.wait(min(left, STAGGER_S) if addresses else left)
            if connected is not None:
                connected.settimeout(timeout_s)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected
    finally:
        attempts.close()
    raise attempts.error


def place(host: str, port: int) -> str:
    """Return host and port as they are written in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taking_turns(found: list[tuple[Any, ...]]) -> list[Address]:
    """Return the addresses with IPv6 and IPv4 taking turns, beginning with the resolver's first."""
    addresses = [(family, address) for family, _, _, _, address in found]
    first = [each for each in addresses if each[0] == addresses[0][0]]
    others = [each for each in addresses if each[0] != addresses[0][0]]
    turns: list[Address] = []
    while first or others:
        turns += first[:1] + others[:1]
        del first[:1], others[:1]
    return turns


class _Attempts:
    """Connections that are being opened at the same time."""

    def __init__(self) -> None:
        self.open: dict[int, socket.socket] = {}
        self.error: OSError = OSError(errno.EHOSTUNREACH, "the name has no address")
        self._poll = select.poll()

    def begin(self, address: Address) -> None:
        family, where = address
        try:
            attempt = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # no IPv6 in this kernel, or no descriptor left
            self.error = error
            return
        attempt.setblocking(False)
        self.open[attempt.fileno()] = attempt
        self._poll.register(attempt, select.POLLOUT)
        code = attempt.connect_ex(where)
        if code not in (0, errno.EINPROGRESS):
            self._failed(attempt.fileno(), code)

    def wait(self, timeout_s: float) -> socket.socket | None:
        """Return the first connection that stands; None when the time is over or one has failed."""
        if not self.open:
            return None
        for number, _ in self._poll.poll(timeout_s * 1000):
            code = self.open[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                self._poll.unregister(number)
                return self.open.pop(number)
            self._failed(number, code)
        return None

    def _failed(self, number: int, code: int) -> None:
        self._poll.unregister(number)
        self.open.pop(number).close()
        self.error = OSError(code, os.strerror(code))

    def close(self) -> None:
        for attempt in self.open.values():
            attempt.close()
