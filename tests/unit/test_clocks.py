"""Whether an impulse is old news, and how a device whose clock is wrong is recognised (CONTRACT, section 3)."""

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.feed.clocks import DeviceClocks, is_late
from mt1bridge.model.clock import Now

HUT = "231203016"
NOON = 1_771_061_400_000


def at(seconds: float, good: bool = True) -> Now:
    return Now(seconds, NOON + round(seconds * 1000), good)


def ticks(seconds: float) -> int:
    """The timestamp of a device that stamps at this second of its own clock."""
    return (NOON + round(seconds * 1000)) * 10_000


def pushed(clocks, *impulses):
    """Impulses as (second of arrival, second on the device's clock); what each changed."""
    return [clocks.pushed(HUT, ticks(stamped), at(arrived)) for arrived, stamped in impulses]


# --- a device's clock -------------------------------------------------------------------------------


def test_a_clock_that_is_an_hour_behind_is_known_after_three_impulses_that_agree():
    clocks = DeviceClocks({})
    assert pushed(clocks, (0, -3600), (10, -3590.5), (20, -3579)) == [None, None, 3_600_000]
    assert clocks.offset_ms(HUT) == 3_600_000


def test_a_clock_that_is_ahead_has_a_negative_offset():
    clocks = DeviceClocks({})
    pushed(clocks, (0, 60), (10, 70), (20, 80))
    assert clocks.offset_ms(HUT) == -60_000


def test_what_an_earlier_process_knew_counts_unless_this_one_knows_better():
    clocks = DeviceClocks({})
    assert clocks.recall(HUT, 3_600_000)
    assert clocks.offset_ms(HUT) == 3_600_000
    assert not clocks.recall(HUT, 60_000)
    assert clocks.offset_ms(HUT) == 3_600_000


def test_impulses_that_come_together_are_one_sample():
    clocks = DeviceClocks({})
    assert pushed(clocks, (0, -60), (1, -59), (2, -58), (3, -57), (4.9, -55)) == [None] * 5
    assert clocks.offset_ms(HUT) == 0
    assert pushed(clocks, (5, -55), (10, -50)) == [None, 60_000]


def test_impulses_that_do_not_agree_say_nothing():
    clocks = DeviceClocks({})
    assert pushed(clocks, (0, -60), (10, -20), (20, -80), (30, 29)) == [None] * 4
    assert clocks.offset_ms(HUT) == 0


def test_late_uploads_among_live_ones_do_not_make_an_offset():
    clocks = DeviceClocks({})
    assert pushed(clocks, (0, -0.3), (10, -7200), (20, 19.7), (30, -7000), (40, 39.7), (50, -6000)) == [None] * 6


def test_ordinary_delay_is_no_offset():
    clocks = DeviceClocks({})
    assert pushed(clocks, (0, -0.3), (10, 8.2), (20, 19.7)) == [None] * 3
    assert clocks.offset_ms(HUT) == 0


def test_a_clock_that_was_set_right_loses_its_offset():
    clocks = DeviceClocks({HUT: 3_600_000})
    assert pushed(clocks, (0, -0.3), (10, 9.7), (20, 19.7)) == [None, None, 0]
    assert clocks.offset_ms(HUT) == 0


def test_what_is_known_holds_over_a_restart_until_three_say_otherwise():
    clocks = DeviceClocks({HUT: 3_600_000})
    assert clocks.offset_ms(HUT) == 3_600_000
    assert pushed(clocks, (0, -60), (10, -50)) == [None, None]
    assert clocks.offset_ms(HUT) == 3_600_000
    assert pushed(clocks, (20, -40)) == [60_000]


def test_a_little_drift_is_not_told_again_and_again():
    clocks = DeviceClocks({HUT: 60_000})
    assert pushed(clocks, (0, -61), (10, -51), (20, -41)) == [None] * 3


def test_while_our_own_clock_is_in_doubt_nothing_is_learned_from_it():
    clocks = DeviceClocks({})
    for second in (0, 10, 20, 30):
        assert clocks.pushed(HUT, ticks(second - 3600), at(second, good=False)) is None


def test_a_step_back_of_our_own_clock_begins_anew():
    clocks = DeviceClocks({})
    pushed(clocks, (1000, 940), (1010, 950))
    assert pushed(clocks, (0, -60), (10, -50)) == [None, None]
    assert pushed(clocks, (20, -40)) == [60_000]


def test_devices_do_not_mix():
    clocks = DeviceClocks({})
    for number, second in enumerate((0, 10, 20)):
        clocks.pushed(f"{number}", ticks(second - 60), at(second))
    assert [clocks.offset_ms(f"{number}") for number in range(3)] == [0, 0, 0]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(-100_000, 100_000)), max_size=20))
def test_an_offset_is_told_only_when_it_changes(impulses):
    clocks, seconds = DeviceClocks({}), 0.0
    for pause, delay_ms in impulses:
        seconds += pause
        before = clocks.offset_ms(HUT)
        told = clocks.pushed(HUT, ticks(seconds) - delay_ms * 10_000, at(seconds))
        assert clocks.offset_ms(HUT) == (before if told is None else told)
        assert told != before


# --- late -------------------------------------------------------------------------------------------


def test_up_to_the_limit_it_is_live_and_beyond_it_late():
    assert not is_late(ticks(-10), 0, at(0), 10_000)
    assert is_late(ticks(-10.001), 0, at(0), 10_000)


def test_a_device_that_is_known_to_be_behind_is_judged_by_its_own_clock():
    assert not is_late(ticks(-3600), 3_600_000, at(0), 10_000)
    assert is_late(ticks(-3611), 3_600_000, at(0), 10_000)


def test_a_device_that_is_known_to_be_ahead_cannot_pass_old_news_as_new():
    assert is_late(ticks(30), -60_000, at(0), 10_000)
    assert not is_late(ticks(55), -60_000, at(0), 10_000)


def test_while_our_own_clock_is_in_doubt_everything_is_late():
    assert is_late(ticks(0), 0, at(0, good=False), 10_000)


def test_what_is_older_than_the_journal_is_late():
    assert is_late(ticks(-3), 0, at(0), 10_000, not_before_ms=NOON - 2_000)
    assert not is_late(ticks(-3), 0, at(0), 10_000, not_before_ms=NOON - 3_000)
