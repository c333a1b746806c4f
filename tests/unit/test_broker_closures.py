"""What a broker means that closes without a word."""

from mt1bridge.mqtt.closures import Closures


def test_the_second_hang_up_on_mqtt5_in_a_row_blames_the_version() -> None:
    closures = Closures()
    assert [closures.closed_on_connect(5) for _ in range(3)] == [False, True, True]


def test_mqtt311_is_never_blamed() -> None:
    closures = Closures()
    assert not any(closures.closed_on_connect(4) for _ in range(5))


def test_a_broker_that_once_spoke_mqtt5_is_not_blamed_later() -> None:
    closures = Closures()
    closures.closed_on_connect(5)
    closures.accepted(5)
    assert not any(closures.closed_on_connect(5) for _ in range(5))


def test_an_mqtt311_connection_in_between_begins_the_row_anew() -> None:
    closures = Closures()
    closures.closed_on_connect(5)
    closures.accepted(4)
    assert [closures.closed_on_connect(5) for _ in range(2)] == [False, True]


def test_three_quiet_closes_within_a_minute_are_a_take_over() -> None:
    closures = Closures()
    assert [closures.closed_while_idle(now) for now in (0.0, 30.0, 60.0)] == [False, False, True]


def test_quiet_closes_that_are_far_apart_are_not() -> None:
    closures = Closures()
    assert [closures.closed_while_idle(now) for now in (0.0, 31.0, 61.0, 92.0)] == [False] * 4
    assert closures.closed_while_idle(121.0) is True
