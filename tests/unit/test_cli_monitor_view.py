"""The monitor's screen, without a terminal."""

import json

from mt1bridge.cli.monitor_view import View

NOW_MS = 1_771_061_515_123
LAST = {
    "id": "231203016-C1-17710614151234500",
    "device": "231203016",
    "device_name": "Finish hut",
    "channel": "C1",
    "start_number": 12,
    "time_of_day": "10:30:15.1234500",
    "timestamp": "17710614151234500",
}


def view() -> View:
    one = View("mt1", "localhost:1883")
    one.connected()
    return one


def shown(one: View, width: int = 200, height: int = 50) -> str:
    return "\n".join(one.lines(NOW_MS, width, height))


def test_the_latest_impulse_of_a_channel_is_shown_exactly_and_with_its_age() -> None:
    one = view()
    one.take("mt1/device/231203016/C1/last", json.dumps(LAST).encode())
    one.take("mt1/device/231203016/availability", b"online")
    row = shown(one).splitlines()[-1].split("  ")
    assert [cell.strip() for cell in row if cell] == [
        "231203016", "Finish hut", "C1", "12", "10:30:15.1234500", "1 min ago", "yes",
    ]  # fmt: skip


def test_bridge_and_server_and_backlog_are_shown() -> None:
    one = view()
    one.take("mt1/bridge/state", b"online")
    one.take("mt1/bridge/upstream", b'{"state": "quota", "since": "2026-02-14T09:30:15.418Z", "reasons": ["quota"]}')
    health = {"mqtt": {"backlog": 7, "oldest_unacknowledged_s": 1.5}, "triggers": {"published": 3, "missing": 1}}
    one.take("mt1/bridge/health", json.dumps(health).encode())
    one.take("mt1/bridge/alert/quota", b'{"text": "Used up."}')
    text = shown(one)
    assert "bridge      online" in text
    assert "MT1 server  quota (quota), since 2026-02-14T09:30:15.418Z" in text
    assert "backlog     7 not yet acknowledged, the oldest for 1.5 s" in text
    assert "published 3" in text
    assert "missing 1" in text
    assert "alert       quota: Used up." in text


def test_an_alert_that_is_over_goes_away() -> None:
    one = view()
    one.take("mt1/bridge/alert/quota", b'{"text": "Used up."}')
    one.take("mt1/bridge/alert/quota", b"")
    assert "alert" not in shown(one)


def test_a_lost_broker_is_said() -> None:
    one = view()
    one.lost("localhost:1883: Connection refused")
    assert "not connected: localhost:1883: Connection refused; trying again" in shown(one)
    one.connected()
    assert "not connected" not in shown(one)


def test_it_fits_the_terminal() -> None:
    one = view()
    for channel in range(9):
        one.take(f"mt1/device/231203016/C{channel}/last", json.dumps({**LAST, "channel": f"C{channel}"}).encode())
    lines = one.lines(NOW_MS, 40, 10)
    assert len(lines) == 10
    assert max(map(len, lines)) <= 40
    assert lines[-1] == "... and 5 more"
    assert all(one.lines(NOW_MS, 80, height) is not None for height in range(3))


def test_messages_of_another_shape_do_no_harm() -> None:
    one = view()
    for topic in ("bridge/upstream", "bridge/health", "bridge/info", "bridge/alert/x", "device/1/C0/last", "odd"):
        for payload in (b"", b"[]", b"3", b'{"mqtt": 3, "triggers": [], "reasons": {}, "timestamp": 5}', b"\xff"):
            one.take(f"mt1/{topic}", payload)
    assert shown(one)


def test_nothing_in_a_message_moves_the_cursor() -> None:
    one = view()
    one.take("mt1/bridge/state", b"\x1b[2J")
    one.take("mt1/device/\x1b[2J/C1/last", json.dumps({**LAST, "device_name": "\x1b[2J\n"}).encode())
    one.take("mt1/bridge/alert/\x1b[2J", b'{"text": "\\u001b[2J"}')
    assert "\x1b" not in shown(one)


def test_what_a_bridge_that_is_gone_said_of_its_link_is_not_shown() -> None:
    one = view()
    one.take("mt1/bridge/upstream", b'{"state": "live", "since": "2026-02-14T09:30:15.418Z", "reasons": []}')
    one.take("mt1/device/231203016/C1/last", json.dumps(LAST).encode())
    one.take("mt1/device/231203016/availability", b"online")
    one.take("mt1/bridge/state", b"offline")
    text = shown(one)
    assert "MT1 server  not known while the bridge is offline\n" in text
    assert text.endswith("1 min ago    no")
    one.take("mt1/bridge/state", b"online")
    assert "MT1 server  live" in shown(one)


def test_a_hint_stands_until_the_link_is_told() -> None:
    one = view()
    one.hint("may this user read below mt1/?")
    assert "hint        may this user read below mt1/?" in shown(one)
    one.take("mt1/bridge/upstream", b"{}")
    assert "hint" not in shown(one)
