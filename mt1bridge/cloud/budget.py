"""When a REST call may be made: pacing, the server's quota, and patience after refused logins. Pure.

The numbers of the quota are not known (MT1-API, section 4), so the budget is our own and careful. All waiting is
in monotonic seconds, so a jump of the wall clock changes nothing; the wall clock is used for what is kept over a
restart alone, and there only as the length of what was left and the time that has passed since.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from mt1bridge.model.clock import Now

SPACING_S = 1.0
WINDOW_S = 60.0
LOGIN_SPACING_S = 60.0
QUOTA_PAUSE_S = 90.0  # what other clients were told to wait at most (MT1-API, section 4)
QUOTA_CAP_S = 900.0
RETRY_AFTER_CAP_S = 3600.0
JITTER = 0.2
REFUSED_PAUSES_S = (60.0, 300.0, 900.0, 3600.0)
FORGET_REFUSALS_S = 3600.0  # calls that still succeed an hour after an accepted login end a series of refusals

_MAX_STEP = 8  # doubling has long reached the cap
_MAX_REFUSED = 1000


@dataclass(frozen=True, slots=True)
class BudgetMemo:
    """What must survive a restart, so that a crash loop cannot storm. Milliseconds since 1970 UTC.

    Save it after `made(login=True)`, before the call goes out, and after every quota answer and refused login.
    None: never, or over. saved_ms: when the memo was made.
    """

    saved_ms: int
    last_login_ms: int | None = None
    refused: int = 0
    login_not_before_ms: int | None = None
    quota_until_ms: int | None = None
    quota_step: int = 0


class Budget:
    """At most one call a second, `calls_per_minute` in any 60 s, one login a minute; less where the server says so.

    calls_per_minute may be set anew at any time. rand: 0 <= rand() < 1.
    """

    def __init__(self, calls_per_minute: int, rand: Callable[[], float]) -> None:
        self.calls_per_minute = calls_per_minute
        self._rand = rand
        self._calls: deque[float] = deque()  # of the last minute
        self._last_login: float | None = None
        self._login_before: float | None = None
        self._refused = 0
        self._accepted_at: float | None = None  # the first accepted login since the last refusal
        self._login_not_before: float | None = None
        self._quota_until: float | None = None
        self._quota_step = 0
        self._restored: tuple[BudgetMemo, Now] | None = None  # by a clock that was not known to be right

    def next_at(self, now: Now, login: bool) -> float:
        """Return the monotonic second from which the next call may go; not later than now means: go."""
        moments = [now.monotonic]
        if self._calls:
            moments.append(self._calls[-1] + SPACING_S)
        limit = max(self.calls_per_minute, 1)
        if len(self._calls) >= limit:
            moments.append(self._calls[-limit] + WINDOW_S)
        if self._quota_until is not None:
            moments.append(self._quota_until)
        if login and self._last_login is not None:
            moments.append(self._last_login + LOGIN_SPACING_S)
        if login and self._login_not_before is not None:
            moments.append(self._login_not_before)
        return max(moments)

    def made(self, now: Now, login: bool) -> None:
        """A call goes out now."""
        while self._calls and self._calls[0] <= now.monotonic - WINDOW_S:
            self._calls.popleft()
        self._calls.append(now.monotonic)
        if login:
            self._login_before, self._last_login = self._last_login, now.monotonic

    def may_have_logged_in(self, now: Now) -> None:
        """Nobody can say when the last login was: take it for a moment ago."""
        self._last_login = now.monotonic

    def login_unsent(self) -> None:
        """The login that was made never left: no name, no connection, no trust. It does not count."""
        self._last_login = self._login_before

    def quota_hit(self, now: Now, retry_after_s: float | None) -> None:
        """A call was answered with the quota's refusal: no REST at all for a while, longer each time in a row.

        An answer that comes within a pause is to a call from before it, and says nothing new.
        """
        asked_s = min(max(retry_after_s or 0.0, 0.0), RETRY_AFTER_CAP_S)
        within = self.in_quota(now)
        step = max(self._quota_step - 1, 0) if within else self._quota_step
        pause_s = min(max(QUOTA_PAUSE_S, asked_s) * 2**step, QUOTA_CAP_S)
        until = now.monotonic + max(pause_s, asked_s) * (1 + JITTER * self._rand())
        self._quota_until = max(until, self._quota_until or until)
        if not within:
            self._quota_step = min(self._quota_step + 1, _MAX_STEP)

    def in_quota(self, now: Now) -> bool:
        """Tell whether the quota holds us off."""
        return self._quota_until is not None and now.monotonic < self._quota_until

    def succeeded(self, now: Now) -> None:
        """A call was answered with status 0. Late ones within a quota pause do not end the series."""
        if not self.in_quota(now):
            self._quota_step = 0
            self._quota_until = None
        if self._accepted_at is not None and now.monotonic >= self._accepted_at + FORGET_REFUSALS_S:
            self._refused = 0

    def login_refused(self, now: Now) -> None:
        """A login was refused, or a token fresh from a login was: no login for 1, 5, 15, then 60 minutes."""
        pause_s = REFUSED_PAUSES_S[min(self._refused, len(REFUSED_PAUSES_S) - 1)]
        self._refused = min(self._refused + 1, _MAX_REFUSED)
        self._accepted_at = None
        self._login_not_before = now.monotonic + pause_s

    def login_paused(self, now: Now) -> bool:
        """Tell whether a refused login holds us off the next one."""
        return self._login_not_before is not None and now.monotonic < self._login_not_before

    def login_accepted(self, now: Now) -> None:
        """A login worked, which lifts the pause. The series of refusals goes on until the token has proved good.

        A server that takes the password and then refuses the token would otherwise see a login every minute.
        """
        self._login_not_before = None
        if self._accepted_at is None:
            self._accepted_at = now.monotonic
        self.succeeded(now)

    def memo(self, now: Now) -> BudgetMemo:
        """Return what a later process must know."""
        return BudgetMemo(
            saved_ms=now.utc_ms,
            last_login_ms=None if self._last_login is None else _wall(self._last_login, now),
            refused=self._refused,
            login_not_before_ms=_wall_ahead(self._login_not_before, now),
            quota_until_ms=_wall_ahead(self._quota_until, now),
            quota_step=self._quota_step,
        )

    def restore(self, memo: BudgetMemo, now: Now) -> None:
        """Take over what an earlier process knew.

        A wall clock that was set back since then, one that is not known to be right, or a memo of nonsense count as
        no time passed: it waits, but never longer than the longest pause that there is.
        """
        self._restored = None if now.good else (memo, now)
        passed_s = max(now.utc_ms - memo.saved_ms, 0) / 1000 if now.good else 0.0
        self._refused = min(max(memo.refused, 0), _MAX_REFUSED)
        self._quota_step = min(max(memo.quota_step, 0), _MAX_STEP)
        self._login_not_before = _until(memo.login_not_before_ms, memo, REFUSED_PAUSES_S[-1], passed_s, now)
        self._quota_until = _until(memo.quota_until_ms, memo, RETRY_AFTER_CAP_S * (1 + JITTER), passed_s, now)
        self._last_login = None
        if memo.last_login_ms is not None:
            age_s = max(memo.saved_ms - memo.last_login_ms, 0) / 1000 + passed_s
            self._last_login = now.monotonic - age_s

    def look_at_clock(self, now: Now) -> None:
        """The clock is known to be right at last: what was over before the restart holds off nobody."""
        if self._restored is None or not now.good:
            return
        memo, then = self._restored
        self._restored = None
        before_s = (now.utc_ms - memo.saved_ms) / 1000 - (now.monotonic - then.monotonic)
        if before_s <= 0:
            return
        left = (memo.login_not_before_ms, memo.quota_until_ms)
        if self._login_not_before == _until(left[0], memo, REFUSED_PAUSES_S[-1], 0.0, then):
            self._login_not_before = _until(left[0], memo, REFUSED_PAUSES_S[-1], before_s, then)
        if self._quota_until == _until(left[1], memo, RETRY_AFTER_CAP_S * (1 + JITTER), 0.0, then):
            self._quota_until = _until(left[1], memo, RETRY_AFTER_CAP_S * (1 + JITTER), before_s, then)


def _wall(moment: float, now: Now) -> int:
    return now.utc_ms + ceil((moment - now.monotonic) * 1000)


def _wall_ahead(moment: float | None, now: Now) -> int | None:
    return None if moment is None or moment <= now.monotonic else _wall(moment, now)


def _until(wall_ms: int | None, memo: BudgetMemo, longest_s: float, passed_s: float, now: Now) -> float | None:
    if wall_ms is None:
        return None
    left_s = min((wall_ms - memo.saved_ms) / 1000, longest_s)
    return now.monotonic + max(left_s - passed_s, 0.0)
