"""Rows of a history scan until it is complete: every row once, by time, in the order of the listing."""

from contextlib import closing

import pytest
from full_disk import no_room_for_files
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.journal.staging import Staging, StagingLostError
from mt1bridge.model.history import StagedTrigger
from mt1bridge.model.trigger import Change, ChannelId, Reading, Sighting, TriggerId

C0 = ChannelId("231203016", "C0")


def row(timestamp, number=12, change=Change.SET):
    return Sighting(
        TriggerId(C0.device, C0.channel, timestamp), change, Reading(number, "MANUAL", True, False, True, 60)
    )


@pytest.fixture
def staging():
    with closing(Staging()) as one:
        yield one


def everything(staging, scan=1, limit=2):
    """All identities of a scan, a batch at a time."""
    found, after = [], -1
    while batch := staging.next(scan, C0, after, limit):
        found += batch
        after = batch[-1].timestamp
    return found


def test_identities_come_oldest_first_with_their_rows_as_they_were_listed(staging):
    rows = (row(30), row(20, 10), row(20, 12, Change.CLEAR), row(10), row(20, 12))
    staging.stage(1, rows[:3])
    staging.stage(1, rows[3:])
    assert everything(staging) == [
        StagedTrigger(10, (rows[3],)),
        StagedTrigger(20, (rows[1], rows[2], rows[4])),
        StagedTrigger(30, (rows[0],)),
    ]


def test_scans_do_not_mix_and_one_is_forgotten_alone(staging):
    staging.stage(1, [row(10)])
    staging.stage(2, [row(10, 99), row(20)])
    staging.forget(1)
    assert everything(staging, 1) == []
    assert [one.timestamp for one in everything(staging, 2)] == [10, 20]
    staging.stage(1, [row(10)])
    assert [len(one.rows) for one in everything(staging, 1)] == [1]


def test_nothing_is_staged_of_a_scan_that_nobody_knows(staging):
    assert everything(staging, 7) == []
    staging.forget(7)


def test_a_row_at_the_beginning_of_time_is_not_passed_over(staging):
    staging.stage(1, [row(0)])
    assert [one.timestamp for one in everything(staging)] == [0]


def stage(staging, scan, rows):
    for first in range(0, len(rows), 200):
        staging.stage(scan, rows[first : first + 200])


def test_where_there_is_no_room_all_is_lost_once_and_said_to_each_scan_and_then_memory_takes_it(staging):
    staging.stage(2, [row(7)])
    rows = [row(timestamp) for timestamp in range(20_000)]
    with no_room_for_files():
        with pytest.raises(StagingLostError):
            stage(staging, 1, rows)
        for scan in (1, 2):
            with pytest.raises(StagingLostError):
                staging.next(scan, C0, -1, 10)
        staging.forget(2)
        assert everything(staging, 2) == []
        stage(staging, 3, rows)
        assert [one.timestamp for one in everything(staging, 3, limit=500)] == list(range(20_000))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=40), st.integers(1, 5), st.integers(1, 7))
def test_whatever_is_staged_comes_back_once(listing, page, limit):
    rows = [row(timestamp, number) for timestamp, number in listing]
    with closing(Staging()) as staging:
        for start in range(0, len(rows), page):
            staging.stage(3, rows[start : start + page])
        found = everything(staging, 3, limit)
    assert [one.timestamp for one in found] == sorted({timestamp for timestamp, _ in listing})
    for one in found:
        assert list(one.rows) == [each for each in rows if each.id.timestamp == one.timestamp]
