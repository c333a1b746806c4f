"""Impulses that history showed while they were fresh: a subscription that stands brings them soon. Pure."""

from collections.abc import Iterable

from mt1bridge.model.trigger import TriggerId

SOON_S = 30.0
MOST = 1_000


class Awaited:
    """Of one subscription at a time. Times: monotonic seconds; since_ms: of the subscription, UTC ms."""

    def __init__(self) -> None:
        self._until: dict[TriggerId, float] = {}
        self._since_ms: int | None = None

    def shown(self, trigger: TriggerId, since_ms: int, now: float) -> None:
        """History shows it, and push has not brought it yet."""
        self._of(since_ms)
        if len(self._until) < MOST:
            self._until.setdefault(trigger, now + SOON_S)

    def pushed(self, triggers: Iterable[TriggerId]) -> None:
        if self._until:
            for trigger in triggers:
                self._until.pop(trigger, None)

    def missed(self, since_ms: int, now: float) -> int:
        """How many push should have brought by now; each counts once."""
        self._of(since_ms)
        overdue = [trigger for trigger, until in self._until.items() if until <= now]
        for trigger in overdue:
            del self._until[trigger]
        return len(overdue)

    def _of(self, since_ms: int) -> None:
        if since_ms != self._since_ms:
            self._since_ms = since_ms
            self._until.clear()
