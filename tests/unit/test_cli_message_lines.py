"""Messages as lines for people."""

import json

import pytest

from mt1bridge.cli.message_lines import HEADING, fact_line, fact_of, printable, state_line

BODY = {
    "event_type": "trigger",
    "device": "231203016",
    "channel": "C1",
    "start_number": 12,
    "time_of_day": "10:30:15.1234500",
    "delay_ms": 295,
}


def test_a_trigger_stands_under_its_heading() -> None:
    line = fact_line(BODY, colour=False)
    for word, value in (("time of day", "10:30:15.1234500"), ("device", "231203016"), ("ch.", "C1")):
        assert line[HEADING.index(word) :].startswith(value)
    assert line[: HEADING.index("number") + len("number")].endswith("12")
    assert line[HEADING.index("what") :] == "trigger"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"event_type": "late", "delay_ms": 3_600_000}, "late (learned 3600.0 s after the impulse)"),
        ({"event_type": "late", "delay_ms": 12}, "late"),
        ({"event_type": "late", "delay_ms": -3_600_000}, "late"),
        ({"event_type": "renumbered", "previous": {"start_number": 10}}, "renumbered (was 10)"),
        ({"event_type": "rejected", "reasons": ["invalid", "edge"]}, "rejected (invalid, edge)"),
        ({"event_type": "cleared", "previous": {"start_number": 12}}, "cleared"),
    ],
)
def test_what_the_event_type_does_not_say_is_told_beside_it(changes: dict[str, object], told: str) -> None:
    assert fact_line({**BODY, **changes}, colour=False).endswith(f"  {told}")


@pytest.mark.parametrize("body", [{}, {"start_number": {}, "event_type": 3, "reasons": 7, "previous": "x"}])
def test_a_message_of_another_shape_is_a_line_too(body: dict[str, object]) -> None:
    assert fact_line(body, colour=True)


def test_what_moves_the_cursor_does_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2J\r\nb\x9b") == "a?[2J??b?"
    assert "\x1b" not in fact_line({**BODY, "device": "\x1b[2J", "event_type": "\x1b]0;x\x07"}, colour=False)
    assert state_line("mt1", "mt1/bridge/state", b"\x1b[2J") == "bridge: ?[2J"


def test_the_three_topics_of_a_channel_are_facts_and_no_other() -> None:
    payload = json.dumps(BODY).encode()
    for name in ("trigger", "correction", "rejected"):
        assert fact_of("mt1", f"mt1/device/231203016/C1/{name}", payload) == BODY
    for topic in (
        "mt1/device/231203016/C1/last",
        "mt2/device/231203016/C1/trigger",
        "mt1/device/231203016/trigger",
        "mt1/bridge/replay/trigger",
    ):
        assert fact_of("mt1", topic, payload) is None
    assert fact_of("mt1", "mt1/device/231203016/C1/trigger", b"[]") is None
    assert fact_of("mt1", "mt1/device/231203016/C1/trigger", b"\xff{") is None


@pytest.mark.parametrize(
    ("topic", "payload", "line"),
    [
        ("mt1/bridge/state", b"online", "bridge: online"),
        ("mt1/bridge/upstream", b'{"state": "live", "reasons": []}', "link to the MT1 server: live"),
        (
            "mt1/bridge/upstream",
            b'{"state": "degraded", "reasons": ["journal", "quota"]}',
            "link to the MT1 server: degraded (journal, quota)",
        ),
        ("mt1/bridge/upstream", b"[]", None),
        ("mt1/bridge/alert/quota", b'{"text": "Used up."}', "alert quota: Used up."),
        ("mt1/bridge/alert/quota", b"", "alert quota: over"),
        ("mt1/device/231203016/availability", b"offline", "device 231203016: offline"),
        ("mt1/device/231203016/info", b"{}", None),
    ],
)
def test_states_in_words(topic: str, payload: bytes, line: str | None) -> None:
    assert state_line("mt1", topic, payload) == line
