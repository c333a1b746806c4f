"""How long to wait before the next try. Pure; chance comes in as an argument."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """first_s, cap_s: seconds; spread: how much of each delay is left to chance, on top (0.2: up to 20 % more)."""

    first_s: float
    cap_s: float
    spread: float = 0.2


class Backoff:
    """Doubling, capped, jittered delays, forgotten only after things went well for a while."""

    def __init__(self, pace: Pace, rand: Callable[[], float], forget_after_s: float) -> None:
        self._pace = pace
        self._rand = rand
        self._forget_after_s = forget_after_s
        self._failures = 0
        self._well_since: float | None = None

    @property
    def failures(self) -> int:
        return self._failures

    def well(self, now: float) -> None:
        """It works since now."""
        if self._well_since is None:
            self._well_since = now

    def failed(self, now: float) -> float:
        """Seconds to wait. now: monotonic seconds."""
        if self._well_since is not None and now - self._well_since >= self._forget_after_s:
            self._failures = 0
        self._well_since = None
        delay = min(self._pace.first_s * 2.0 ** min(self._failures, 30), self._pace.cap_s)
        self._failures += 1
        return delay * (1.0 + self._rand() * self._pace.spread)
