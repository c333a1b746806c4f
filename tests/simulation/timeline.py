"""Virtual time: nothing happens but what was put here, in order."""

import heapq
from collections.abc import Callable

BASE_MS = 1_771_061_415_000  # true UTC at second 0


class Timeline:
    """now: true seconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (max(when, self.now), self._number, do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + seconds, do)

    def next_at(self) -> float:
        return self._heap[0][0] if self._heap else float("inf")

    def step(self) -> None:
        """Let the next thing happen."""
        when, _, do = heapq.heappop(self._heap)
        self.now = max(self.now, when)
        do()

    @property
    def utc_ms(self) -> int:
        return BASE_MS + int(self.now * 1000)

    @property
    def ticks(self) -> int:
        """True UTC in 100 ns units."""
        return BASE_MS * 10_000 + int(self.now * 1e7)
