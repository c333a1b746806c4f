"""When the present `journal` began, by a clock that is right. Pure, but that it corrects what the journal says.

What happened before that is told as `late` (CONTRACT, section 3). A journal that began under a clock which was ahead
says a time that is still to come: it would make live impulses late when that time has come. One that began under a
clock which was behind would tell as live again what was told just before.
"""

from mt1bridge.journal.journal import Journal
from mt1bridge.model.clock import Now

TOLERATED_MS = 2_000  # as far as a clock that is compared with a Date header may move


class Opening:
    """began: when this process did. A journal that an earlier process opened is at least as old."""

    def __init__(self, journal: Journal, began: Now) -> None:
        self._journal = journal
        self._seen = self._present()
        self._since = began.monotonic  # the journal is there

    def _present(self) -> tuple[str, int]:
        return self._journal.journal, self._journal.opened_ms

    def look(self, now: Now) -> None:
        """With every step: note another journal; correct a time that was told by a clock which was put right since."""
        if self._present() != self._seen:
            self._since = now.monotonic
        right_ms = now.utc_ms - round((now.monotonic - self._since) * 1000)
        ahead_ms = self._journal.opened_ms - right_ms
        if now.good and (ahead_ms > TOLERATED_MS or (self._journal.opened_here and ahead_ms < -TOLERATED_MS)):
            self._journal.opened_really(right_ms, now.utc_ms)
        self._seen = self._present()
