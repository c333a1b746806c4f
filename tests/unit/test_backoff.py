"""How long to wait before the next try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.runtime.backoff import Backoff, Pace


def pauses(backoff, count, now=0.0):
    return [backoff.failed(now) for _ in range(count)]


def test_pauses_double_up_to_the_cap():
    assert pauses(Backoff(Pace(2.0, 60.0), lambda: 0.0, 60.0), 7) == [2, 4, 8, 16, 32, 60, 60]


def test_chance_adds_up_to_a_fifth_and_never_takes_away():
    assert pauses(Backoff(Pace(2.0, 60.0), lambda: 0.5, 60.0), 3) == pytest.approx([2.2, 4.4, 8.8])
    assert pauses(Backoff(Pace(1.0, 60.0, spread=0.0), lambda: 0.9, 60.0), 2) == [1, 2]


def test_failures_are_forgotten_after_it_went_well_for_long_enough_and_no_sooner():
    backoff = Backoff(Pace(1.0, 60.0), lambda: 0.0, forget_after_s=30.0)
    pauses(backoff, 3)
    backoff.well(100)
    assert backoff.failed(129) == 8
    backoff.well(200)
    backoff.well(220)  # still well: the beginning counts
    assert backoff.failed(230) == 1


def test_what_fails_without_ever_going_well_is_never_forgotten():
    backoff = Backoff(Pace(1.0, 60.0), lambda: 0.0, forget_after_s=30.0)
    pauses(backoff, 3)
    assert backoff.failed(10_000) == 8


@given(st.integers(0, 2_000), st.floats(0, 0.999))
def test_a_pause_is_never_longer_than_the_cap_and_its_spread(failures, chance):
    backoff = Backoff(Pace(1.0, 60.0), lambda: chance, 60.0)
    found = pauses(backoff, failures + 1)
    assert all(1.0 <= pause <= 72.0 for pause in found)
    assert backoff.failures == failures + 1
