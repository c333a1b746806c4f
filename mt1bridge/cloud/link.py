"""The open connections to the realtime endpoint. Shell: reports events, decides nothing.

One thread per connection, stomp.py's io thread, does everything from the DNS question to the last byte; a second,
short-lived one asks the system's resolver, which cannot be interrupted.
"""

import secrets
import ssl
from collections.abc import Callable

from mt1bridge import __version__
from mt1bridge.cloud import sockjs
from mt1bridge.cloud.connection import Connection
from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.cloud.transport import Target, hush_stomp
from mt1bridge.model.upstream import CloseLink, LinkEvent, LinkLost, OpenLink, Trouble
from mt1bridge.runtime.clock import Clock, SystemClock

_AT_MOST = 2  # connections at a time: make before break


class Links:
    """Holds the open connections to the realtime endpoint: at most two at a time.

    realtime_url: http or https, without session. tls: the process's one context, needed for https. inbox: takes the
    events, from the io threads, without blocking. origin: the Origin header; None sends none (MT1-API, U25).
    All methods are for one thread, the loop's. Raises ValueError for a URL that is none, or https without tls.
    """

    def __init__(
        self,
        realtime_url: str,
        tls: ssl.SSLContext | None,
        inbox: Callable[[LinkEvent], None],
        *,
        origin: str | None = None,
        limits: LinkLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        if sockjs.endpoint(realtime_url, 0, "0").startswith("wss:") and tls is None:
            raise ValueError("an https URL needs a TLS context")
        hush_stomp()
        self._url, self._tls, self._inbox, self._origin = realtime_url, tls, inbox, origin
        self._limits = limits or LinkLimits()
        self._clock = clock or SystemClock()
        self._links: dict[int, Connection] = {}

    def open(self, order: OpenLink) -> None:
        """Begin to connect; returns at once. Exactly one LinkLost follows in the end, whatever happens."""
        self._forget_ended()
        if sum(not link.closing for link in self._links.values()) >= _AT_MOST:
            self._inbox(LinkLost(order.link, Trouble.NETWORK, f"{_AT_MOST} connections are open already"))
            return
        url = sockjs.endpoint(self._url, secrets.randbelow(1000), secrets.token_hex(6))
        target = Target(url, self._tls, self._origin, f"mt1bridge/{__version__}")
        try:
            link = Connection(order, target, self._inbox, self._limits, lambda: self._clock.now().monotonic)
            link.start()
        except (OSError, RuntimeError) as error:  # no file descriptor, no thread to be had
            self._inbox(LinkLost(order.link, Trouble.NETWORK, f"cannot begin: {sockjs.plain(str(error))}"))
            return
        self._links[order.link] = link

    def close(self, order: CloseLink) -> None:
        """Returns at once; LinkLost(STOPPED) follows, unless the link was lost already."""
        link = self._links.get(order.link)
        if link is not None:
            link.close()

    def last_frame_at(self, link: int) -> float | None:
        """Monotonic seconds of the last byte received; None before the first, or for a link that is no more."""
        found = self._links.get(link)
        return found.last_byte_at() if found is not None else None

    def dead(self) -> list[int]:
        """The links whose io thread ended without having told it."""
        self._forget_ended()
        return [number for number, link in self._links.items() if not link.is_alive() and not link.told_end]

    def join(self, timeout_s: float) -> None:
        """Wait for the io threads to end, `timeout_s` in all. Close the links first."""
        until = self._clock.now().monotonic + timeout_s
        for link in self._links.values():
            link.join(max(0.0, until - self._clock.now().monotonic))
        self._forget_ended()

    def _forget_ended(self) -> None:
        for number in [number for number, link in self._links.items() if link.told_end and not link.is_alive()]:
            del self._links[number]
