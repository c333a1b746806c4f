"""What stood when the last process ended still stands for the next one, and is told again."""

from mt1bridge.cloud.budget import Budget, BudgetMemo
from mt1bridge.cloud.outcomes import KeptToken
from mt1bridge.cloud.session import CloudSession
from mt1bridge.model.clock import Now
from mt1bridge.model.secret import Secret

START_MS = 1_771_061_415_000


def resumed(memo: BudgetMemo, kept: KeptToken | None = None, passed_s: float = 0.0):
    now = Now(1000.0, START_MS + round(passed_s * 1000))
    session = CloudSession("club", Secret("hunter2"), ("231203016",), Budget(20, lambda: 0.0), lambda: 0.0)
    session.restore(kept, memo, now)
    return session, {one.name for one in session.resumed(now)}


def test_a_refused_login_is_still_refused():
    memo = BudgetMemo(START_MS, START_MS, refused=2, login_not_before_ms=START_MS + 300_000)
    session, alerts = resumed(memo, passed_s=10.0)
    assert alerts == {"login_refused"}
    assert session.login_refused
    assert session.next_try(Now(1000.0, START_MS)) == 1000.0 + 290.0


def test_a_pause_that_is_over_is_no_refusal():
    memo = BudgetMemo(START_MS, START_MS, refused=2, login_not_before_ms=START_MS + 300_000)
    session, alerts = resumed(memo, passed_s=301.0)
    assert alerts == set()
    assert session.login_refused is None


def test_with_a_token_no_login_is_wanted():
    memo = BudgetMemo(START_MS, START_MS, refused=2, login_not_before_ms=START_MS + 300_000)
    _, alerts = resumed(memo, KeptToken("club", Secret("t"), "4711", START_MS))
    assert alerts == set()


def test_the_quota_holds_on():
    session, alerts = resumed(BudgetMemo(START_MS, quota_until_ms=START_MS + 90_000, quota_step=1), passed_s=30.0)
    assert alerts == {"quota"}
    assert session.in_quota(Now(1059.0, START_MS))
    assert not session.in_quota(Now(1061.0, START_MS))
