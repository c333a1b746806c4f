"""The one place that reads clocks."""

import time
from pathlib import Path
from typing import Protocol

from mt1bridge.model.clock import Now

TOLERATED_MS = 2_000
SLOW_MS = 5_000  # an answer that took longer does not tell the time well enough to say what is late
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd(8) makes it once the clock is set


class Clock(Protocol):
    def now(self) -> Now: ...


class SystemClock:
    """CLOCK_MONOTONIC for waiting; the system's UTC for people."""

    def now(self) -> Now:
        return Now(monotonic=time.monotonic(), utc_ms=time.time_ns() // 1_000_000)


class CheckedClock:
    """A clock whose UTC is known to be right, or said not to be.

    A Pi without a battery clock starts in the past. UTC is good once the system says that it is synchronised, or once
    a server's Date header was compared with it; a difference of more than 2 s is then made up for.
    """

    def __init__(self, clock: Clock, synchronised: Path = SYNCHRONISED) -> None:
        self._clock = clock
        self._synchronised = synchronised
        self._good = False
        self._looked_at = float("-inf")
        self._offset_ms = 0
        self._anchor: tuple[float, int] | None = None  # (monotonic, UTC ms) when it was last compared

    def now(self) -> Now:
        now = self._clock.now()
        self._look(now)
        return Now(now.monotonic, now.utc_ms + self._offset_ms, self._good)

    def compare(self, server_ms: int, asked: Now) -> int:
        """Take a server's Date (UTC ms, whole seconds) into account. Returns how far it is ahead of our own UTC, ms.

        asked: our clock when the call went out; the Date is of somewhere between then and now. A slow answer corrects a
        clock of which nothing better is known, and does not make it good.
        """
        now = self._clock.now()
        self._look(now)  # a step of the clock since the last look must not pass unseen
        passed_ms = int((now.monotonic - asked.monotonic) * 1000)
        offset_ms = server_ms + 500 - (now.utc_ms - passed_ms // 2)
        well = passed_ms <= SLOW_MS
        if not self._is_synchronised() and (well or not self._good):
            self._offset_ms = offset_ms if abs(offset_ms) > TOLERATED_MS + passed_ms // 2 else 0
        self._good = self._good or well
        self._anchor = (now.monotonic, now.utc_ms)
        return offset_ms

    def _look(self, now: Now) -> None:
        """A step of the system's clock ends what was compared; the system's own synchronisation ends the doubt."""
        if self._anchor is not None:
            stepped_ms = (now.utc_ms - self._anchor[1]) - int((now.monotonic - self._anchor[0]) * 1000)
            if abs(stepped_ms) > TOLERATED_MS:
                self._anchor, self._good, self._looked_at = None, False, float("-inf")
                self._offset_ms = 0
            else:
                self._anchor = (now.monotonic, now.utc_ms)
        if not self._good and now.monotonic - self._looked_at > 10.0:
            self._looked_at = now.monotonic
            if self._is_synchronised():
                self._good, self._offset_ms = True, 0
                self._anchor = (now.monotonic, now.utc_ms)

    def _is_synchronised(self) -> bool:
        try:
            return self._synchronised.exists()
        except OSError:
            return False
