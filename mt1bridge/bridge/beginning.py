"""When this process began, and how far back in history what a channel brings is told. Pure.

CONTRACT, section 8: `first_start` says how far the very first start reaches; a journal lost later is no first start, it
is read back over `journal.keep`. A machine without a battery clock begins in another year: until the clock is known to
be right, or history is read all the same, what is said here is provisional.
"""

from mt1bridge.config.settings import Settings
from mt1bridge.model.clock import Now

FIRST_MINUTE_S = 60.0
UNSURE_MS = 2_000  # a Date header has whole seconds, and was on its way
VERY_UNSURE_MS = 20_000  # maybe for long


class Beginning:
    """began: the clock then. first_ms: UTC ms to which the very first start reached; None: this is it.

    fresh: there is no journal of an earlier process.
    """

    def __init__(self, began: Now, first_ms: int | None, fresh: bool) -> None:
        self._began = began
        self._first_ms = first_ms
        self._fresh = fresh
        self.utc_ms = began.utc_ms
        self._unsure_ms = 0  # rather a trigger too many than one too few
        self.settled = False

    def settle(self, now: Now) -> None:
        """The clock is as right as it will be."""
        if not self._began.good:
            self.utc_ms = now.utc_ms - round(self.age_s(now.monotonic) * 1000)
            self._unsure_ms = UNSURE_MS if now.good else VERY_UNSURE_MS
        self.settled = True

    def age_s(self, moment: float) -> float:
        """moment: monotonic seconds."""
        return moment - self._began.monotonic

    @property
    def is_first(self) -> bool:
        return self._first_ms is None

    def cut_ms(self, moment: float, settings: Settings) -> int:
        """What is older and stands in history when a channel becomes ours, at this monotonic second, is not told."""
        reach_ms = settings.reconcile.first_start_s * 1000 + self._unsure_ms
        age_s = self.age_s(moment)
        if age_s >= FIRST_MINUTE_S:  # a device that becomes ours later has a first start of its own
            return self.utc_ms + round(age_s * 1000) - reach_ms
        if self._first_ms is None or not self._fresh:
            return self.utc_ms - reach_ms
        first_ms = min(self._first_ms, self.utc_ms)  # one in the future was under a clock that was wrong
        return max(first_ms, self.utc_ms - settings.journal.keep_s * 1000)
