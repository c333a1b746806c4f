"""What the monitor and the demo tell of states: each change once, and nothing that is out of date."""

from mt1bridge.cli.state_lines import StateLines

LIVE = b'{"state": "live", "reasons": []}'


def told(*messages: tuple[str, bytes]) -> list[str]:
    lines = StateLines("mt1")
    found = [lines.line(f"mt1/{topic}", payload) for topic, payload in messages]
    return [line for line in found if line is not None]


def test_an_alert_is_over_only_where_it_was_seen_to_stand() -> None:
    assert told(("bridge/alert/quota", b""), ("bridge/alert/journal", b"")) == []
    stands, over = ("bridge/alert/quota", b'{"text": "Used up."}'), ("bridge/alert/quota", b"")
    twice = ["alert quota: Used up.", "alert quota: over"] * 2
    assert told(stands, stands, over, over, stands, over) == twice


def test_a_state_is_told_once_until_it_changes() -> None:
    online, offline = ("bridge/state", b"online"), ("bridge/state", b"offline")
    assert told(online, online, offline, offline, online) == ["bridge: online", "bridge: offline", "bridge: online"]


def test_what_a_bridge_that_is_gone_said_of_its_link_is_not_told() -> None:
    stale = [("bridge/upstream", LIVE), ("device/231203016/availability", b"online")]
    assert told(("bridge/state", b"offline"), *stale) == ["bridge: offline"]


def test_a_bridge_that_is_back_is_heard_again() -> None:
    messages = [("bridge/state", b"online"), ("bridge/upstream", LIVE), ("device/231203016/availability", b"online")]
    whole = ["bridge: online", "link to the MT1 server: live", "device 231203016: online"]
    assert told(*messages, ("bridge/state", b"offline"), *messages) == [*whole, "bridge: offline", *whole]
