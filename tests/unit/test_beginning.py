"""How far back history is told, and by which clock."""

from pathlib import Path

from bridge_house import NOON, device, settings

from mt1bridge.bridge.beginning import UNSURE_MS, VERY_UNSURE_MS, Beginning
from mt1bridge.model.clock import Now

DAY_MS = 86_400_000
YEARS_MS = 50 * 365 * DAY_MS
SETTINGS = settings(Path("/nowhere"), device())  # first_start 0 s, keep 90 days


def begun(utc_ms=NOON, good=True, **more):
    return Beginning(Now(1000.0, utc_ms, good), more.get("first_ms"), more.get("fresh", True))


def test_the_very_first_start_reaches_back_to_its_own_moment():
    beginning = begun()
    beginning.settle(Now(1001.0, NOON + 1000))
    assert beginning.is_first
    assert beginning.cut_ms(1000.0, SETTINGS) == beginning.cut_ms(1030.0, SETTINGS) == NOON


def test_a_device_that_becomes_ours_later_has_a_first_start_of_its_own():
    assert begun().cut_ms(1000.0 + 3600.0, SETTINGS) == NOON + 3_600_000


def test_a_clock_that_was_wrong_at_the_start_is_made_up_for():
    beginning = begun(NOON - YEARS_MS, good=False)
    assert not beginning.settled
    beginning.settle(Now(1090.0, NOON + 90_000))
    assert beginning.settled
    assert beginning.utc_ms == NOON
    assert beginning.cut_ms(1000.0, SETTINGS) == NOON - UNSURE_MS


def test_a_clock_that_was_corrected_badly_reaches_further_back():
    beginning = begun(NOON - YEARS_MS, good=False)
    beginning.settle(Now(1090.0, NOON + 90_000, good=False))
    assert beginning.cut_ms(1000.0, SETTINGS) == NOON - VERY_UNSURE_MS


def test_a_clock_that_nobody_corrects_is_taken_as_it_is():
    beginning = begun(NOON + DAY_MS, good=False)
    beginning.settle(Now(1090.0, NOON + DAY_MS + 90_000, good=False))
    assert beginning.settled
    assert beginning.utc_ms == NOON + DAY_MS


def test_a_journal_lost_later_is_read_back_to_the_first_start_but_not_beyond_keep():
    assert begun(first_ms=NOON - DAY_MS).cut_ms(1000.0, SETTINGS) == NOON - DAY_MS
    assert begun(first_ms=NOON - YEARS_MS).cut_ms(1000.0, SETTINGS) == NOON - 90 * DAY_MS
    assert begun(first_ms=NOON + YEARS_MS).cut_ms(1000.0, SETTINGS) == NOON


def test_with_a_journal_what_becomes_ours_now_reaches_back_to_now():
    assert begun(first_ms=NOON - DAY_MS, fresh=False).cut_ms(1000.0, SETTINGS) == NOON
