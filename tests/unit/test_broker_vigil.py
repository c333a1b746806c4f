"""When a PINGREQ is due and a broker silent. Times are plain numbers: seconds."""

from mt1bridge.mqtt.client import Limits
from mt1bridge.mqtt.vigil import Vigil

LIMITS = Limits(answer_s=10, keepalive_s=30, acknowledge_s=60, farewell_s=2)


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
        vigil.oldest_waiting(1, 50_000.0)
        vigil.oldest_waiting(1, 50_030.0)
        assert not vigil.is_silent(50_044.9)
        assert vigil.is_silent(50_045.0)
        vigil.heard(50_040.0)
        assert not vigil.is_silent(50_045.0)
        vigil.oldest_waiting(None, 50_046.0)
        assert not vigil.is_silent(60_000.0)


def test_the_oldest_message_must_be_acknowledged_in_a_minute_also_while_others_are_heard() -> None:
    vigil = connected()
    vigil.oldest_waiting(7, 200.0)
    for now in (210.0, 230.0, 259.0):
        vigil.heard(now)
        vigil.oldest_waiting(7, now)
    assert vigil.acknowledges(259.9)
    assert not vigil.is_silent(259.9)
    assert vigil.is_silent(260.0)
    assert not vigil.acknowledges(260.0)


def test_a_slow_broker_has_a_minute_for_each_message() -> None:
    vigil = connected()
    for number in range(10):
        vigil.oldest_waiting(number, 200.0 + 50.0 * number)
        vigil.heard(200.0 + 50.0 * number)
        assert not vigil.is_silent(200.0 + 50.0 * number)
    vigil.heard(700.0)
    vigil.oldest_waiting(None, 700.0)
    assert not vigil.is_silent(744.9)


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

    waiting = connected()
    waiting.oldest_waiting(1, 110.0)
    waiting.woke(130.0, 3730.0)
    waiting.heard(3731.0)
    assert not waiting.is_silent(3731.0)

    connecting = Vigil(LIMITS, 100.0)
    connecting.woke(110.0, 3710.0)
    assert not connecting.is_silent(3710.0)
    assert connecting.is_silent(3720.0)


def test_waking_a_little_late_changes_nothing() -> None:
    vigil = connected()
    vigil.woke(141.0, 145.0)
    assert vigil.is_silent(145.0)
