"""A user who may not read what the bridge tells is told so."""

from mt1bridge.cli.blindness import PATIENCE_S, Blindness

STATE, UPSTREAM = "mt1/bridge/state", "mt1/bridge/upstream"


def test_a_bridge_that_is_online_and_says_nothing_is_hinted_at_once() -> None:
    one = Blindness("mt1", "mt1bridge")
    one.heard(STATE, b"online", 100.0)
    assert one.hint(100.0 + PATIENCE_S - 0.1) is None
    hint = one.hint(100.0 + PATIENCE_S)
    assert hint is not None
    assert "may the user mt1bridge read below mt1/?" in hint
    assert one.hint(200.0) is None


def test_without_a_user_name_the_hint_says_so() -> None:
    one = Blindness("mt1", None)
    one.heard(STATE, b"online", 0.0)
    assert "may a client without a user name read below mt1/?" in (one.hint(PATIENCE_S) or "")


def test_there_is_no_hint_where_the_link_is_told_or_no_bridge_is_online() -> None:
    for messages in ([(STATE, b"offline")], [], [(STATE, b"online"), (UPSTREAM, b"{}")]):
        one = Blindness("mt1", None)
        for topic, payload in messages:
            one.heard(topic, payload, 0.0)
        assert one.hint(60.0) is None


def test_time_without_a_connection_does_not_count() -> None:
    one = Blindness("mt1", None)
    one.heard(STATE, b"online", 0.0)
    one.disconnected()
    assert one.hint(60.0) is None
    one.heard(STATE, b"online", 70.0)
    assert one.hint(71.0) is None
    assert one.hint(75.0) is not None
