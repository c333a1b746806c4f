"""Moments as people write them."""

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cli.moments import ticks
from mt1bridge.topics import times

NOW_MS = 1_771_061_415_123
EAST = timezone(timedelta(hours=1))


@given(st.integers(0, 2_534_023_007_999_999_999 - 864_000_000_000))
def test_a_published_time_is_read_to_the_100_ns(moment: int) -> None:
    assert ticks(times.instant(moment), NOW_MS) == moment
    local, _ = times.local(moment, 60)
    assert local is not None
    assert ticks(local, NOW_MS) == moment


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-02-14T10:30:15.1234567+01:00", "2026-02-14T09:30:15.1234567Z"),
        ("2026-02-14T10:30:15.5", "2026-02-14T09:30:15.5000000Z"),
        ("2026-02-14 10:30", "2026-02-14T09:30:00.0000000Z"),
        ("2026-02-14", "2026-02-13T23:00:00.0000000Z"),
        ("2026-02-14Z", "2026-02-14T00:00:00.0000000Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.9999999Z"),
    ],
)
def test_without_a_zone_it_is_the_local_time(text: str, same: str) -> None:
    assert times.instant(ticks(text, NOW_MS, local=EAST)) == same


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("90m", 5400), ("12h", 43_200), ("3d", 259_200)])
def test_so_long_ago(text: str, seconds: int) -> None:
    assert ticks(text, NOW_MS) == NOW_MS * 10_000 - seconds * 10_000_000


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-02-30", "2026-02-14T25:00", "2026-02-14T10:30:15.12345678", "10:30", "2026-02-14+99:99"],
)
def test_what_is_no_time_is_said_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        ticks(text, NOW_MS)
