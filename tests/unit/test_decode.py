"""Server JSON -> sightings: what is read exactly, what is malformed, and that nothing ever raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.decode import decode_history_row, decode_push
from mt1bridge.cloud.json_text import NotJson, Number, parse
from mt1bridge.model.trigger import LAST_TICK, Change, ChannelId, Malformed, Reading, Sighting, TriggerId

AT = ChannelId("231203016", "C0")
TIME = 17710614151234500
GOOD: dict[str, Any] = {
    "deviceId": "231203016",
    "timestamp": TIME,
    "timeOffset": 60,
    "timingChannel": "C0",
    "fallingEdge": True,
    "valid": True,
    "blocked": False,
    "type": "StartNumberTrigger",
    "startNumber": {"startNumber": 5, "type": "SEQUENTIAL"},
}
SIGHTING = Sighting(
    TriggerId("231203016", "C0", TIME), Change.SET, Reading(5, "SEQUENTIAL", True, False, True, time_offset=60)
)


def dto(**changes: Any) -> dict[str, Any]:
    """A good trigger with changes; a field given as ... is left out."""
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}


def wrapped(change: str | None = "ENTITY_ADD", **changes: Any) -> dict[str, Any]:
    wrapper = {"dto": dto(**changes), "entityType": "TriggerDto"}
    return wrapper if change is None else {"type": change, **wrapper}


def push(value: Any, device: str | None = None) -> list[Any]:
    return decode_push(json.dumps(value).encode(), device)


def only(**changes: Any) -> Any:
    (seen,) = push(dto(**changes))
    assert decode_history_row(parse(json.dumps(dto(**changes)).encode()), AT) == seen
    return seen


# --- forms of a body --------------------------------------------------------------------------------


def test_the_documented_wrapper_is_read():
    assert push(wrapped()) == [SIGHTING]


def test_a_bare_trigger_is_read():
    assert push(GOOD) == [SIGHTING]


def test_an_array_of_either_is_read_in_its_order():
    first, second = push([wrapped(timestamp=1), dto(timestamp=2)])
    assert (first.id.timestamp, second.id.timestamp) == (1, 2)


def test_double_encoded_json_is_read_one_level_deep():
    assert push(json.dumps([wrapped(), GOOD])) == [SIGHTING, SIGHTING]
    (seen,) = push(json.dumps(json.dumps(GOOD)))
    assert isinstance(seen, Malformed)


def test_a_malformed_element_leaves_its_neighbours_alone():
    seen = push([GOOD, dto(timestamp="x"), 7, None, "text", [], GOOD])
    assert [type(one) for one in seen] == [Sighting, *[Malformed] * 5, Sighting]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"<html>", b"[1,]", b'{"a":1,"a":2}', b"[NaN]", b"-Infinity"])
def test_what_is_no_json_is_one_malformed_with_its_text(body):
    (seen,) = decode_push(body)
    assert isinstance(seen, Malformed)
    assert seen.channel is None
    assert seen.reason
    assert seen.raw == body.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "text", [], {"type": "ENTITY_ADD", "dto": 5}, {"dto": None}])
def test_what_is_no_trigger_is_told_not_dropped(value):
    (seen,) = push(value)
    assert isinstance(seen, Malformed)


def test_the_device_of_the_destination_serves_only_where_the_trigger_names_none():
    assert push(dto(deviceId=...), "77")[0].id.device == "77"
    assert push(dto(deviceId=None), "77")[0].id.device == "77"
    assert push(GOOD, "77") == [SIGHTING]
    (seen,) = push(dto(deviceId="x"), "77")
    assert isinstance(seen, Malformed)
    assert push(dto(deviceId=...))[0].channel is None


def test_a_history_row_may_leave_out_what_the_path_said():
    assert decode_history_row(dto(deviceId=..., timingChannel=None), AT) == SIGHTING
    assert decode_history_row(dto(timestamp=None, deviceId=...), AT).channel == AT
    assert decode_history_row("row", AT).channel == AT
    assert decode_history_row(dto(timingChannel="C3"), AT).id.channel == "C3"


# --- what happened ----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["ENTITY_ADD", "ENTITY_UPDATE", "entity_delete", "", None])
def test_every_change_but_a_delete_is_what_the_type_of_the_trigger_says(change):
    assert push(wrapped(change)) == [SIGHTING]
    assert push(wrapped(change, type="ClearTrigger"))[0].change is Change.CLEAR


def test_a_deleted_trigger_is_a_delete():
    (seen,) = push(wrapped("ENTITY_DELETE"))
    assert (seen.id, seen.change, seen.raw) == (SIGHTING.id, Change.DELETE, "")


@pytest.mark.parametrize("kind", ["ClearTrigger", "SplitTrigger", None, ..., 5])
def test_the_delete_of_anything_else_is_unknown_and_its_raw_says_that_it_was_a_delete(kind):
    (seen,) = push(wrapped("ENTITY_DELETE", type=kind))
    assert seen.change is Change.UNKNOWN
    assert json.loads(seen.raw) == wrapped("ENTITY_DELETE", type=kind)


@pytest.mark.parametrize("kind", ["SplitTrigger", "startnumbertrigger", "", None, ..., 5, ["StartNumberTrigger"]])
def test_an_unknown_type_is_told_with_the_trigger_as_it_came(kind):
    seen = only(type=kind, extra=[1, {"b": 2, "a": "é"}])
    assert seen.change is Change.UNKNOWN
    assert seen.id == SIGHTING.id
    assert json.loads(seen.raw) == dto(type=kind, extra=[1, {"b": 2, "a": "é"}])
    assert seen.raw == json.dumps(json.loads(seen.raw), sort_keys=True, separators=(",", ":"))


def test_extra_keys_are_ignored():
    assert only(id=4711, sequence={"x": [1.5]}) == SIGHTING


# --- fields -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timestamp", [0, TIME, 2**53 + 1, LAST_TICK])
def test_a_timestamp_is_exact_as_number_and_as_text(timestamp):
    assert only(timestamp=timestamp).id.timestamp == timestamp
    assert only(timestamp=str(timestamp)).id.timestamp == timestamp


@pytest.mark.parametrize(
    "timestamp",
    [
        ...,
        None,
        True,
        -1,
        LAST_TICK + 1,
        10**4000,
        1.5,
        1.0,
        1e16,
        "",
        "-1",
        "+1",
        "1.0",
        "1e16",
        " 1",
        "1\n",
        "١",
        {},
        str(LAST_TICK + 1),
        "9" * 5000,
    ],
)
def test_any_other_timestamp_is_malformed_and_keeps_its_channel(timestamp):
    seen = only(timestamp=timestamp)
    assert isinstance(seen, Malformed)
    assert seen.channel == AT
    assert "timestamp" in seen.reason


def test_a_device_id_given_as_a_number_is_made_text():
    assert only(deviceId=231203016) == SIGHTING


@pytest.mark.parametrize(
    "device", ["", "+1", " 1", "1 ", "a", "1/2", "#", "١", -1, 1.5, True, [], {}, "1" * 33, 10**40]
)
def test_any_other_device_id_is_malformed_without_a_channel(device):
    seen = only(deviceId=device)
    assert isinstance(seen, Malformed)
    assert seen.channel is None


@pytest.mark.parametrize("channel", ["C9", "c0", "C10", "0", 0, "", " C0", True, ["C0"], {}])
def test_a_channel_is_exactly_c0_to_c8(channel):
    seen = only(timingChannel=channel)
    assert isinstance(seen, Malformed)
    assert seen.channel is None
    assert only(timingChannel="C8").id.channel == "C8"


@pytest.mark.parametrize(
    ("start_number", "expected"),
    [
        (..., (None, None)),
        (None, (None, None)),
        ({}, (None, None)),
        ({"startNumber": None, "type": None}, (None, None)),
        ({"type": "MANUAL"}, (None, "MANUAL")),
        ({"startNumber": "12", "type": "MEMO"}, (12, "MEMO")),
        ({"startNumber": -(2**63 - 1)}, (-(2**63 - 1), None)),
        (12, (12, None)),
        ("0012", (12, None)),
        ("-3", (-3, None)),
        ({"startNumber": 1, "type": "x" * 64}, (1, "x" * 64)),
    ],
)
def test_a_start_number_is_an_object_a_scalar_or_nothing(start_number, expected):
    reading = only(startNumber=start_number).reading
    assert (reading.start_number, reading.start_number_type) == expected


@pytest.mark.parametrize(
    "start_number",
    [
        True,
        1.5,
        "",
        "x",
        "1.0",
        [],
        [5],
        2**63,
        str(2**63),
        {"startNumber": {}},
        {"startNumber": True},
        {"startNumber": 1, "type": 5},
        {"startNumber": 1, "type": "x" * 65},
        {"startNumber": 1, "type": "\ud800"},
    ],
)
def test_a_start_number_of_another_shape_is_malformed(start_number):
    seen = only(startNumber=start_number)
    assert isinstance(seen, Malformed)
    assert seen.channel == AT
    assert "startNumber" in seen.reason


@pytest.mark.parametrize("field", ["valid", "blocked", "fallingEdge"])
def test_a_flag_is_true_false_or_left_out(field):
    name = {"fallingEdge": "falling_edge"}.get(field, field)
    for value, expected in [(True, True), (False, False), ("true", True), ("false", False), (None, None), (..., None)]:
        assert getattr(only(**{field: value}).reading, name) is expected
    for value in (0, 1, "True", "yes", "", [], {}):
        seen = only(**{field: value})
        assert isinstance(seen, Malformed)
        assert field in seen.reason


@pytest.mark.parametrize(
    ("offset", "expected"), [(..., 0), (None, 0), (-330, -330), ("60", 60), ("-60", -60), ("+60", 60), (2880, 2880)]
)
def test_a_time_offset_is_whole_minutes(offset, expected):
    assert only(timeOffset=offset).reading.time_offset == expected


@pytest.mark.parametrize("offset", [2881, -2881, 60.5, "60.5", "", "+", "--1", True, [], 10**30])
def test_any_other_time_offset_is_malformed(offset):
    assert isinstance(only(timeOffset=offset), Malformed)


# --- raw text ---------------------------------------------------------------------------------------


def test_raw_text_is_cut_at_2_kib_and_ascii():
    seen = only(timestamp=None, note="ü\ud800" * 5000)
    assert len(seen.raw) == 2048
    assert seen.raw.isascii()


def test_raw_text_of_what_is_no_json_is_cut_at_2_kib_of_utf_8():
    for body in (b"\xff" * 5000, "ü".encode() * 5000, "x€".encode() * 5000):
        (seen,) = decode_push(body)
        assert 2040 <= len(seen.raw.encode()) <= 2048


def test_raw_text_shows_numbers_as_the_server_wrote_them():
    (seen,) = decode_push(b'{"b":1e400,"a":-1.50,"c":' + b"7" * 50 + b"}")
    assert seen.raw == '{"a":-1.50,"b":1e400,"c":' + "7" * 50 + "}"


# --- parse ------------------------------------------------------------------------------------------


def test_parse_keeps_whole_numbers_exact_and_others_apart():
    assert parse(b"[17710614151234501, -0, 1.0, 1e2]") == [17710614151234501, 0, Number("1.0"), Number("1e2")]
    assert parse(b"9" * 50_000) == Number("9" * 50_000)


@pytest.mark.parametrize("body", [b"[" * 10_000, b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 500 + b"1" + b"}" * 500])
def test_parse_refuses_deep_nesting(body):
    with pytest.raises(NotJson):
        parse(body)


def test_parse_takes_nesting_that_a_server_may_use():
    assert parse(b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(NotJson):
        parse(b"[" * 65 + b"]" * 65)


@pytest.mark.parametrize(
    "body", [b"NaN", b"Infinity", b"[-Infinity]", b'{"a":1,"\\u0061":1}', b"\xc3", b"\xef\xbb\xbf1"]
)
def test_parse_refuses_what_is_not_strictly_json(body):
    with pytest.raises(NotJson):
        parse(body)


# --- whatever comes ---------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec=None), max_size=20)
    | st.sampled_from(["C0", "C8", "true", "12", "StartNumberTrigger", "ClearTrigger", "ENTITY_DELETE", TIME])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
FIELDS = st.sampled_from([*GOOD, "dto", "name"])
MUTATED = st.dictionaries(FIELDS, JSON | st.just(...), max_size=4).map(lambda changes: dto(**changes))
PUSHED = MUTATED | st.builds(lambda change, inner: {"type": change, "dto": inner}, JSON, MUTATED | JSON) | JSON


def check(seen: Any) -> None:
    assert isinstance(seen, Sighting | Malformed)
    assert len(seen.raw.encode()) <= 2048
    if isinstance(seen, Sighting):
        at, reading = seen.id.at, seen.reading
        assert 0 <= seen.id.timestamp <= LAST_TICK
        assert (seen.raw != "") is (seen.change is Change.UNKNOWN)
        assert reading.start_number is None or abs(reading.start_number) < 2**63
        (reading.start_number_type or "").encode()
    else:
        at = seen.channel
        assert seen.reason
    assert at is None or (at.device.isascii() and at.device.isdigit() and at.channel in [f"C{n}" for n in range(9)])


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise(body):
    for seen in decode_push(body, "1"):
        check(seen)


@given(PUSHED | st.lists(PUSHED, max_size=5))
def test_no_json_raises_and_nothing_is_dropped(value):
    seen = push(value)
    twice = not isinstance(value, list | str) or value == []
    assert len(seen) == (1 if twice else len(value) if isinstance(value, list) else len(seen))
    for one in seen:
        check(one)


@given(JSON | MUTATED)
def test_no_history_row_raises(row):
    check(decode_history_row(parse(json.dumps(row).encode()), AT))


@given(st.data())
def test_no_damaged_body_raises(data):
    body = bytearray(json.dumps(wrapped()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        body[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    for seen in decode_push(bytes(body)):
        check(seen)


@given(st.integers(0, LAST_TICK), st.sampled_from(range(9)), st.integers(0, 10**12), st.integers(-(2**62), 2**62))
def test_good_triggers_are_read_exactly(timestamp, channel, device, number):
    seen = only(timestamp=timestamp, timingChannel=f"C{channel}", deviceId=str(device), startNumber=number)
    assert seen.id == TriggerId(str(device), f"C{channel}", timestamp)
    assert seen.reading.start_number == number


@given(JSON)
def test_raw_text_is_the_json_that_came(value):
    (seen,) = push({"dto": None, "value": value})
    if len(seen.raw) < 2048:
        assert json.loads(seen.raw) == {"dto": None, "value": value}
