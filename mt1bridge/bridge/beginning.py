"""What was reckoned from the moment of the start, put right once our clock is known to be. Pure.

A Pi without a battery clock starts in the past: "what is older than the first start" would be nothing, and all that the
server ever stored would be told; with a clock ahead it would be everything.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from mt1bridge.bridge.parts import Parts
from mt1bridge.feed.outcomes import Outcome
from mt1bridge.model.orders import KeepFirstStart

TOLERATED_MS = 2_000


class Beginning:
    """feed: where outcomes of reconciling go. Made at the start."""

    def __init__(self, parts: Parts, feed: Callable[[Iterable[Outcome]], None]) -> None:
        self._parts = parts
        self._feed = feed
        self._in_doubt = None if parts.now.good else parts.now

    def settle(self) -> None:
        parts = self._parts
        if self._in_doubt is None or not parts.now.good:
            return
        passed_ms = int((parts.now.monotonic - self._in_doubt.monotonic) * 1000)
        self._in_doubt = None
        started_ms = parts.now.utc_ms - passed_ms
        if abs(started_ms - parts.start.started_ms) > TOLERATED_MS:
            self._began(started_ms)

    def _began(self, started_ms: int) -> None:
        parts, before = self._parts, self._parts.start
        cut_ms = before.cut_at(started_ms) if before.cut_at is not None else before.cut_ms
        parts.start = replace(before, started_ms=started_ms, cut_ms=cut_ms)
        parts.desk.identity = replace(parts.desk.identity, started_ms=started_ms)
        parts.desk.board.touch("info")
        self._cut(before.cut_ms, cut_ms)
        if before.first:
            parts.orders.append(KeepFirstStart(cut_ms))

    def _cut(self, wrong_ms: int, right_ms: int) -> None:
        """Channels that became ours under the wrong clock and were not read yet begin anew."""
        parts = self._parts
        for device in {one.at.device for one in parts.reconciliation.memories}:
            here = [one for one in parts.reconciliation.memories if one.at.device == device]
            wrong = [one.at for one in here if one.cut_ms == wrong_ms and not one.baselined]
            if not wrong:
                continue
            right = [replace(one, cut_ms=right_ms) if one.at in wrong else one for one in here]
            self._feed(parts.reconciliation.remove(device))
            parts.reconciliation.add(right, parts.now)
            for one in right:
                parts.journal.remember(one, parts.now.utc_ms)
            parts.journal.sync()
