"""A clock that knows whether it is right: synchronised by the system, or compared with a server's Date."""

from dataclasses import dataclass

import pytest

from mt1bridge.model.clock import Now
from mt1bridge.runtime.clock import CheckedClock, SystemClock

NOON = 1_771_061_400_000


@dataclass
class Hands:
    """The system's clocks, set by hand. utc_ms: what the system believes."""

    monotonic: float = 100.0
    utc_ms: int = NOON

    def now(self):
        return Now(self.monotonic, self.utc_ms)

    def passes(self, seconds):
        self.monotonic += seconds
        self.utc_ms += round(seconds * 1000)

    def steps(self, seconds):
        """Somebody sets the system's clock."""
        self.utc_ms += round(seconds * 1000)


@pytest.fixture
def marker(tmp_path):
    """What systemd-timesyncd makes once the clock is set."""
    return tmp_path / "synchronized"


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def clock(hands, marker):
    return CheckedClock(hands, marker)


def compare(clock, hands, server_ms, took_s=0.0):
    """A call goes out, takes its time, and brings a Date from halfway."""
    asked = hands.now()
    hands.passes(took_s)
    return clock.compare(server_ms, asked)


def test_a_clock_that_nothing_is_known_of_is_not_good_and_tells_the_systems_time(clock):
    assert clock.now() == Now(100.0, NOON, good=False)


def test_a_clock_that_the_system_calls_synchronised_is_good_as_it_is(clock, marker):
    marker.touch()
    assert clock.now() == Now(100.0, NOON, good=True)


def test_synchronisation_that_comes_later_is_noticed(clock, hands, marker):
    assert not clock.now().good
    marker.touch()
    hands.passes(11)
    assert clock.now().good


def test_a_date_that_agrees_makes_the_clock_good_and_changes_nothing(clock, hands):
    assert compare(clock, hands, NOON - 1_000, took_s=0.4) == -700
    assert clock.now() == Now(hands.monotonic, hands.utc_ms, good=True)


def test_a_clock_that_starts_in_1970_is_corrected_by_the_servers_date(clock, hands):
    hands.utc_ms = 12_000
    assert not clock.now().good
    compare(clock, hands, NOON)
    now = clock.now()
    assert now.good
    assert abs(now.utc_ms - NOON) <= 1_000
    hands.passes(60)
    assert abs(clock.now().utc_ms - (NOON + 60_000)) <= 1_000


def test_half_of_the_time_that_a_call_took_is_allowed_for(clock, hands):
    hands.utc_ms = NOON - 3_600_000
    compare(clock, hands, NOON + 5_000, took_s=10.0)
    assert abs(clock.now().utc_ms - (NOON + 10_000)) <= 1_000


def test_a_slow_call_is_no_reason_to_correct_a_clock_that_may_be_right(clock, hands):
    compare(clock, hands, NOON + 6_000, took_s=10.0)
    assert clock.now().utc_ms == NOON + 10_000


def test_a_slow_answer_corrects_a_clock_by_years_and_does_not_make_it_good(clock, hands):
    hands.utc_ms = 12_000
    compare(clock, hands, NOON, took_s=25.0)
    now = clock.now()
    assert abs(now.utc_ms - NOON) <= 26_000
    assert not now.good


def test_a_slow_answer_changes_nothing_that_a_quick_one_has_told(clock, hands):
    hands.utc_ms = NOON - 3_600_000
    compare(clock, hands, NOON, took_s=0.2)
    before = clock.now().utc_ms - hands.utc_ms
    compare(clock, hands, NOON + 9_000, took_s=20.0)
    assert clock.now().utc_ms - hands.utc_ms == before
    assert clock.now().good


def test_a_step_before_a_slow_answer_is_seen(clock, hands):
    compare(clock, hands, NOON)
    asked = hands.now()
    hands.passes(100)
    hands.steps(-3600)
    clock.compare(NOON + 50_000, asked)
    assert not clock.now().good


def test_a_synchronised_clock_is_believed_more_than_a_server(clock, hands, marker):
    marker.touch()
    assert clock.now().good
    assert compare(clock, hands, NOON + 3_600_000) == pytest.approx(3_600_000, abs=1_000)
    assert clock.now() == Now(hands.monotonic, NOON, good=True)


def test_synchronisation_after_a_correction_is_not_added_to_it(clock, hands, marker):
    hands.utc_ms = 12_000
    compare(clock, hands, NOON)
    marker.touch()
    hands.steps((NOON - 12_000) / 1000)
    assert clock.now() == Now(hands.monotonic, NOON, good=True)


def test_a_step_of_a_clock_that_was_compared_puts_it_in_doubt_until_it_is_compared_again(clock, hands):
    compare(clock, hands, NOON)
    hands.steps(-3600)
    assert not clock.now().good
    hands.passes(1)
    assert not clock.now().good
    compare(clock, hands, NOON + 1_000)
    assert clock.now().good
    assert abs(clock.now().utc_ms - (NOON + 1_000)) <= 1_000


def test_slow_drift_and_small_corrections_of_the_system_are_no_step(clock, hands):
    compare(clock, hands, NOON)
    for _ in range(1_000):
        hands.passes(10)
        hands.steps(0.01)
        assert clock.now().good


def test_time_spent_asleep_is_no_step_while_the_system_is_synchronised(clock, hands, marker):
    marker.touch()
    assert clock.now().good
    hands.steps(7200)  # the machine slept: the monotonic clock stood still
    assert clock.now().good
    assert clock.now().utc_ms == hands.utc_ms


def test_a_step_while_synchronised_is_the_systems_own_doing(clock, hands, marker):
    marker.touch()
    clock.now()
    hands.steps(30)
    assert clock.now() == Now(hands.monotonic, NOON + 30_000, good=True)


def test_the_monotonic_clock_is_never_touched(clock, hands):
    hands.utc_ms = 12_000
    compare(clock, hands, NOON)
    assert clock.now().monotonic == hands.monotonic


def test_the_systems_own_clocks_go_forward():
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.monotonic >= first.monotonic
    assert first.utc_ms > NOON - 10 * 365 * 86_400_000
