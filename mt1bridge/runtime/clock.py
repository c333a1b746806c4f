"""The one place that reads clocks."""

import time
from typing import Protocol

from mt1bridge.model.clock import Now


class Clock(Protocol):
    def now(self) -> Now: ...


class SystemClock:
    """CLOCK_MONOTONIC for waiting; the system's UTC for people."""

    def now(self) -> Now:
        return Now(monotonic=time.monotonic(), utc_ms=time.time_ns() // 1_000_000)
