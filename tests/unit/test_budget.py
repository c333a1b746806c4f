"""When a REST call may be made: the limits hold whatever happens, and over a restart with any clock."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt1bridge.cloud.budget import Budget, BudgetMemo
from mt1bridge.model.clock import Now

START = Now(1000.0, 1_771_061_415_000)
LONGEST_S = 3600 * 1.2


def after(seconds: float, now: Now = START) -> Now:
    return Now(now.monotonic + seconds, now.utc_ms + round(seconds * 1000))


def budget(calls_per_minute: int = 20, chance: float = 0.0) -> Budget:
    return Budget(calls_per_minute, lambda: chance)


def wait(one: Budget, now: Now = START, login: bool = False) -> float:
    return one.next_at(now, login) - now.monotonic


# --- pacing -----------------------------------------------------------------------------------------


def test_a_login_that_may_have_been_made_a_moment_ago_counts():
    one = budget()
    one.may_have_logged_in(START)
    assert wait(one, login=True) == 60.0
    assert wait(one) == 0.0


def test_the_first_call_goes_at_once_be_it_a_login_or_not():
    assert wait(budget()) == 0
    assert wait(budget(), login=True) == 0


def test_calls_are_a_second_apart():
    one = budget()
    one.made(START, login=False)
    assert wait(one) == 1
    assert wait(one, after(0.4)) == pytest.approx(0.6)
    assert wait(one, after(1)) == 0


def test_a_burst_up_to_the_limit_is_allowed_and_then_waits_for_the_minute_to_pass():
    one = budget(calls_per_minute=5)
    for second in range(5):
        assert wait(one, after(second)) == 0
        one.made(after(second), login=False)
    assert wait(one, after(5)) == 55
    one.made(after(60), login=False)
    assert wait(one, after(61)) == 0


def test_a_limit_set_anew_holds_at_once():
    one = budget(calls_per_minute=20)
    for second in range(10):
        one.made(after(second), login=False)
    one.calls_per_minute = 5
    assert wait(one, after(10)) == 55


def test_logins_are_a_minute_apart_and_other_calls_are_not():
    one = budget()
    one.made(START, login=True)
    assert wait(one, after(10), login=True) == 50
    assert wait(one, after(10)) == 0


# --- quota ------------------------------------------------------------------------------------------


def test_a_quota_answer_stops_all_calls_for_90_seconds():
    one = budget()
    one.quota_hit(START, None)
    assert wait(one) == 90
    assert wait(one, login=True) == 90
    assert one.in_quota(after(89.9))
    assert not one.in_quota(after(90))
    assert wait(one, after(90)) == 0


def test_a_longer_retry_after_is_obeyed_and_a_shorter_one_is_not():
    for asked, pause in ((30, 90), (120, 120), (3600, 3600), (-5, 90), (10**9, 3600)):
        one = budget()
        one.quota_hit(START, asked)
        assert wait(one) == pause


def test_jitter_adds_up_to_a_fifth():
    one = budget(chance=0.999)
    one.quota_hit(START, None)
    assert 107 < wait(one) < 108


def test_quota_answers_in_a_row_double_the_pause_up_to_15_minutes():
    one, now, pauses = budget(), START, []
    for _ in range(7):
        one.quota_hit(now, None)
        pauses.append(wait(one, now))
        now = after(wait(one, now), now)
        one.made(now, login=False)
    assert pauses == [90, 180, 360, 720, 900, 900, 900]


def test_a_success_ends_the_row():
    one = budget()
    one.quota_hit(START, None)
    one.quota_hit(after(90), None)
    one.succeeded(after(270))
    one.quota_hit(after(280), None)
    assert wait(one, after(280)) == 90


def test_answers_to_calls_from_before_the_pause_say_nothing_new():
    one = budget()
    one.quota_hit(START, None)
    one.succeeded(after(1))
    assert wait(one, after(1)) == 89
    one.quota_hit(after(2), None)
    assert wait(one, after(2)) == 90
    one.quota_hit(after(92), None)
    assert wait(one, after(92)) == 180


# --- refused logins ---------------------------------------------------------------------------------


def test_refused_logins_pause_logins_ever_longer_and_nothing_else():
    one, now, pauses = budget(), START, []
    for _ in range(6):
        one.made(now, login=True)
        one.login_refused(now)
        pauses.append(wait(one, now, login=True) / 60)
        assert wait(one, now) == 1
        now = after(wait(one, now, login=True), now)
    assert pauses == [1, 5, 15, 60, 60, 60]


def test_a_login_that_never_left_does_not_count_but_the_one_before_it_does():
    one = budget()
    one.made(START, login=True)
    one.login_unsent()
    assert wait(one, login=True) == 1
    one.made(after(10), login=True)
    one.made(after(70), login=True)
    one.login_unsent()
    one.login_unsent()
    assert one.next_at(after(30), login=True) == after(71).monotonic
    assert one.memo(after(71)).last_login_ms == after(10).utc_ms


def test_an_accepted_login_lifts_the_pause():
    one = budget()
    for _ in range(3):
        one.login_refused(START)
    one.login_accepted(after(60))
    assert wait(one, after(60), login=True) == 0


def test_a_password_taken_and_a_token_refused_again_and_again_is_a_series_too():
    one, now, pauses = budget(), START, []
    for _ in range(5):
        one.made(now, login=True)
        one.login_accepted(now)
        now = after(1, now)
        one.succeeded(now)  # one path may be allowed
        one.login_refused(now)  # another refuses the fresh token
        pauses.append(wait(one, now, login=True) / 60)
        now = after(wait(one, now, login=True), now)
    assert pauses == [1, 5, 15, 60, 60]


def test_an_hour_of_success_after_an_accepted_login_ends_the_series():
    one = budget()
    one.login_refused(START)
    one.login_refused(after(60))
    one.login_accepted(after(360))
    one.succeeded(after(3960))
    one.login_refused(after(4000))
    assert wait(one, after(4000), login=True) == 60


# --- any sequence -----------------------------------------------------------------------------------


@dataclass
class Record:
    calls: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    blocked_until: float = 0.0
    login_blocked_until: float = 0.0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "login", "ok", "quota", "refused", "accepted", "jump"]),
        st.floats(0, 200, allow_subnormal=False),
        st.integers(0, 10**4),
    ),
    max_size=120,
)


@settings(deadline=None)
@given(STEPS, st.integers(1, 30), st.floats(0, 1, exclude_max=True), st.booleans())
def test_whatever_happens_the_limits_hold(steps, per_minute, chance, eager):
    one, record, now = budget(per_minute, chance), Record(), START
    for kind, seconds, number in steps:
        now = after(seconds, now)
        if kind in ("call", "login"):
            at = one.next_at(now, kind == "login")
            assert now.monotonic <= at <= now.monotonic + LONGEST_S
            if eager or at == now.monotonic:
                now = Now(at, now.utc_ms)
                one.made(now, kind == "login")
                record.calls.append(at)
                assert at >= record.blocked_until
                if kind == "login":
                    record.logins.append(at)
                    assert at >= record.login_blocked_until
        elif kind == "quota":
            one.quota_hit(now, number or None)
            record.blocked_until = max(record.blocked_until, now.monotonic + max(90, min(number, 3600)))
        elif kind == "refused":
            one.login_refused(now)
            record.login_blocked_until = now.monotonic + 60
        elif kind == "accepted":
            one.login_accepted(now)
            record.login_blocked_until = 0
        elif kind == "ok":
            one.succeeded(now)
        else:
            now = Now(now.monotonic, now.utc_ms + (number - 5000) * 10**9)
    assert all(later >= earlier + 1 for earlier, later in pairwise(record.calls))
    assert all(later >= earlier + 60 for earlier, later in zip(record.calls, record.calls[per_minute:], strict=False))
    assert all(later >= earlier + 60 for earlier, later in pairwise(record.logins))


@given(st.lists(st.sampled_from(["made", "login", "quota", "refused"]), max_size=8), st.integers(-(10**15), 10**15))
def test_a_jump_of_the_wall_clock_changes_nothing(events, jump_ms):
    one = budget()
    act = {
        "made": lambda now: one.made(now, login=False),
        "login": lambda now: one.made(now, login=True),
        "quota": lambda now: one.quota_hit(now, None),
        "refused": one.login_refused,
    }
    now = START
    for event in events:
        now = after(1, now)
        act[event](now)
    jumped = Now(now.monotonic, now.utc_ms + jump_ms)
    for login in (False, True):
        assert one.next_at(jumped, login) == one.next_at(now, login)


# --- over a restart ---------------------------------------------------------------------------------


def restarted(memo: BudgetMemo, now: Now) -> Budget:
    one = budget()
    one.restore(memo, now)
    return one


def test_a_restart_keeps_what_was_left():
    one = budget()
    one.made(START, login=True)
    one.login_refused(after(1))
    one.login_refused(after(2))
    one.quota_hit(after(3), None)
    memo = one.memo(after(4))
    again = restarted(memo, Now(5.0, after(14).utc_ms))
    assert again.next_at(Now(5.0, 0), login=False) == pytest.approx(5 + 79, abs=0.01)
    assert again.next_at(Now(5.0, 0), login=True) == pytest.approx(5 + 288, abs=0.01)
    now = Now(1000.0, after(1009).utc_ms)
    again.login_refused(now)
    again.quota_hit(now, None)
    assert (wait(again, now, login=True), wait(again, now)) == (900, 180)


def test_a_memo_taken_over_and_over_keeps_its_moments():
    one = budget()
    one.made(START, login=True)
    one.quota_hit(START, None)
    memo = one.memo(START)
    for second in range(1, 50):
        now = Now(float(second % 7), after(second).utc_ms)
        memo = restarted(memo, now).memo(now)
    assert memo.quota_until_ms == pytest.approx(after(90).utc_ms, abs=50)
    assert memo.last_login_ms == pytest.approx(START.utc_ms, abs=50)


def test_what_is_over_is_not_in_the_memo():
    one = budget()
    one.quota_hit(START, None)
    one.login_refused(START)
    memo = one.memo(after(100))
    assert (memo.quota_until_ms, memo.login_not_before_ms) == (None, None)
    assert (memo.quota_step, memo.refused) == (1, 1)


@pytest.mark.parametrize("jump_s", [-(10**9), -3600, -1, 0])
def test_a_clock_set_back_over_the_restart_counts_as_no_time_passed(jump_s):
    one = budget()
    one.made(START, login=True)
    one.quota_hit(START, None)
    memo = one.memo(START)
    now = Now(7.0, START.utc_ms + jump_s * 1000)
    again = restarted(memo, now)
    assert wait(again, now) == 90
    assert wait(again, now, login=True) == 90
    memo = BudgetMemo(saved_ms=START.utc_ms, last_login_ms=START.utc_ms)
    assert wait(restarted(memo, now), now, login=True) == 60


WALL = st.none() | st.integers(-(10**18), 10**18) | st.integers(START.utc_ms - 10**7, START.utc_ms + 10**7)
MEMOS = st.builds(
    BudgetMemo,
    saved_ms=WALL.map(lambda value: value or 0),
    last_login_ms=WALL,
    refused=st.integers(-(10**9), 10**9),
    login_not_before_ms=WALL,
    quota_until_ms=WALL,
    quota_step=st.integers(-(10**9), 10**9),
)


@given(MEMOS)
def test_no_memo_blocks_longer_than_the_longest_pause(memo):
    one = restarted(memo, START)
    assert 0 <= wait(one) <= LONGEST_S
    assert 0 <= wait(one, login=True) <= LONGEST_S
    one.login_refused(START)
    assert 60 <= wait(one, login=True) <= LONGEST_S
    one.quota_hit(START, None)
    assert 90 <= wait(one) <= LONGEST_S


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(-(10**5), 0)), min_size=1, max_size=60))
def test_a_crash_loop_logs_in_once_a_minute_at_most_even_if_the_clock_goes_back_each_time(crashes):
    memo, true, shift = BudgetMemo(saved_ms=START.utc_ms), 0.0, 0
    logins: list[float] = []
    for seconds, back_s in crashes:
        true += seconds
        shift += back_s
        now = Now(true, START.utc_ms + round(true * 1000) + shift * 1000)
        one = restarted(memo, now)
        if one.next_at(now, login=True) <= now.monotonic:
            one.made(now, login=True)
            logins.append(true)
        memo = one.memo(now)
    assert all(later - earlier >= 59.9 for earlier, later in pairwise(logins))


def test_a_hundred_crashes_in_ten_minutes_with_a_wrong_password_are_three_logins():
    memo, logins = BudgetMemo(saved_ms=START.utc_ms), []
    for crash in range(100):
        now = Now(3.0, after(crash * 6).utc_ms)
        one = restarted(memo, now)
        if wait(one, now, login=True) == 0:
            one.made(now, login=True)
            one.login_refused(now)
            logins.append(crash * 6)
        memo = one.memo(now)
    assert logins == [0, 60, 360]
