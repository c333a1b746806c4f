"""When a PINGREQ is due and a broker silent. Times are plain numbers: seconds."""

from mt1bridge.mqtt.client import Limits
from mt1bridge.mqtt.vigil import Vigil

LIMITS = Limits(answer_s=10, keepalive_s=30, farewell_s=2)


def connected(now: float = 100.0, keepalive_s: int = 30) -> Vigil:
    vigil = Vigil(LIMITS, now)
    vigil.keepalive_s = keepalive_s
    vigil.answered()
    return vigil


def test_connack_must_come_in_ten_seconds() -> None:
    vigil = Vigil(LIMITS, 100.0)
    assert vigil.wake_at(100.0) == 110.0
    vigil.heard(109.0)  # bytes that are no CONNACK do not help
    assert not vigil.is_silent(109.9)
    assert vigil.is_silent(110.0)


def test_silence_of_one_and_a_half_times_the_keep_alive_is_the_end() -> None:
    vigil = connected()
    assert not vigil.is_silent(144.9)
    assert vigil.is_silent(145.0)
    vigil.heard(144.9)
    assert not vigil.is_silent(145.0)
    assert vigil.quiet_for(145.9) == 1.0


def test_it_wakes_for_the_ping_and_then_for_the_silence() -> None:
    vigil = connected()
    assert vigil.wake_at(100.0) == 130.0
    assert vigil.wake_at(130.0) == 130.25  # due, and the library has not sent it yet
    vigil.pinged(130.0)
    assert vigil.wake_at(130.0) == 145.0
    vigil.heard(130.1)
    vigil.told(130.0)
    assert vigil.wake_at(130.1) == 160.0


def test_only_hearing_or_only_telling_does_not_put_off_the_ping() -> None:
    vigil = connected()
    vigil.heard(120.0)
    assert vigil.wake_at(120.0) == 130.0
    vigil.told(125.0)
    assert vigil.wake_at(125.0) == 150.0


def test_the_brokers_own_keep_alive_counts() -> None:
    vigil = connected(keepalive_s=10)
    assert vigil.wake_at(100.0) == 110.0
    assert vigil.is_silent(115.0)


def test_without_keep_alive_silence_is_allowed_but_not_towards_a_message() -> None:
    for keepalive_s in (0, 65535):
        vigil = connected(keepalive_s=keepalive_s)
        assert not vigil.is_silent(50_000.0)
        vigil.messages_waiting(50_000.0, 50_000.0)
        vigil.messages_waiting(50_000.0, 50_030.0)
        assert not vigil.is_silent(50_044.9)
        assert vigil.is_silent(50_045.0)
        vigil.heard(50_040.0)
        assert not vigil.is_silent(50_045.0)
        vigil.messages_waiting(None, 50_046.0)
        assert not vigil.is_silent(60_000.0)


def test_one_message_whose_acknowledgement_is_kept_back_is_the_end_though_the_broker_is_heard() -> None:
    vigil = connected()
    vigil.messages_waiting(100.0, 100.0)
    for now in range(130, 400, 30):
        vigil.heard(now)
        vigil.messages_waiting(100.0, now)
    assert not vigil.is_silent(399.9)
    assert not vigil.is_keeping_back(399.9)
    assert vigil.is_silent(400.0)
    assert vigil.is_keeping_back(400.0)
    vigil.messages_waiting(390.0, 400.0)
    assert not vigil.is_silent(400.0)


def test_the_sleep_of_the_machine_does_not_count_as_keeping_back() -> None:
    vigil = connected()
    vigil.messages_waiting(100.0, 100.0)
    vigil.woke(110.0, 3_710.0)
    vigil.heard(3_711.0)
    assert not vigil.is_keeping_back(4_009.9)
    assert vigil.is_keeping_back(4_010.0)


def test_suback_must_come_in_ten_seconds_also_while_others_are_heard() -> None:
    vigil = connected()
    vigil.waits_for_answer(200.0)
    vigil.heard(209.0)
    assert vigil.is_silent(210.0)
    vigil.answered()
    assert not vigil.is_silent(210.0)


def test_a_farewell_is_short() -> None:
    vigil = connected()
    vigil.must_end(120.0)
    assert vigil.is_silent(122.0)


def test_a_machine_that_slept_gives_the_broker_time_to_answer() -> None:
    vigil = connected()
    vigil.woke(130.0, 3730.0)
    assert not vigil.is_silent(3730.0)
    assert vigil.wake_at(3730.0) <= 3730.25  # the ping is due now
    assert vigil.is_silent(3745.0)

    connecting = Vigil(LIMITS, 100.0)
    connecting.woke(110.0, 3710.0)
    assert not connecting.is_silent(3710.0)
    assert connecting.is_silent(3720.0)


def test_waking_a_little_late_changes_nothing() -> None:
    vigil = connected()
    vigil.woke(141.0, 145.0)
    assert vigil.is_silent(145.0)
