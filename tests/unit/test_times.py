"""Times as the contract writes them: seven decimals, exact, on any wall clock, to the end of year 9999."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.trigger import LAST_TICK
from mt1bridge.topics.times import TICKS_PER_S, instant, local, milliseconds

TICKS = st.integers(0, LAST_TICK)
OFFSETS = st.integers(-2880, 2880)


def exact(text: str) -> int:
    """The 100 ns units of a time with seven decimals and its offset, without a float."""
    head, rest = text[:19], text[20:]
    offset = timedelta()
    if not rest.endswith("Z"):
        sign = 1 if rest[7] == "+" else -1
        offset = sign * timedelta(hours=int(rest[8:10]), minutes=int(rest[11:13]))
    epoch = datetime.fromisoformat("1970-01-01T00:00:00")
    seconds = (datetime.fromisoformat(head) - epoch - offset) // timedelta(seconds=1)
    return seconds * TICKS_PER_S + int(rest[:7])


def test_the_contracts_example():
    assert instant(17710614151234500) == "2026-02-14T09:30:15.1234500Z"
    assert local(17710614151234500, 60) == ("2026-02-14T10:30:15.1234500+01:00", "10:30:15.1234500")
    assert milliseconds(1_771_061_415_418) == "2026-02-14T09:30:15.418Z"


@given(TICKS)
def test_an_instant_holds_every_tick(ticks):
    text = instant(ticks)
    assert len(text) == 28
    assert exact(text) == ticks


@given(TICKS, OFFSETS)
def test_a_wall_clock_holds_every_tick_or_is_left_out_beyond_its_years(ticks, offset_min):
    text, of_day = local(ticks, offset_min)
    if text is None:
        assert of_day is None
        beyond = ticks + offset_min * 60 * TICKS_PER_S
        assert beyond > LAST_TICK
        return
    assert exact(text) == ticks
    assert text[11:27] == of_day


@pytest.mark.parametrize(
    ("offset_min", "written"),
    [
        (0, "+00:00"),
        (60, "+01:00"),
        (-60, "-01:00"),
        (-210, "-03:30"),
        (345, "+05:45"),
        (-1, "-00:01"),
        (840, "+14:00"),
    ],
)
def test_offsets_are_written_with_their_sign(offset_min, written):
    text, _ = local(17710614151234500, offset_min)
    assert text is not None
    assert text.endswith(written)


def test_the_last_tick_and_the_first_one():
    assert instant(0) == "1970-01-01T00:00:00.0000000Z"
    assert instant(LAST_TICK) == "9999-12-31T23:59:59.9999999Z"
    assert local(LAST_TICK, 1) == (None, None)
    assert local(0, -60) == ("1969-12-31T23:00:00.0000000-01:00", "23:00:00.0000000")


def test_no_moment_is_no_text():
    assert milliseconds(None) is None
    assert milliseconds(0) == "1970-01-01T00:00:00.000Z"
