"""Requests over MQTT: whatever bytes come, a value or a sentence that helps."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.topics.replays import Wish
from mt1bridge.topics.requests import (
    LONGEST,
    TRANSACTION,
    VERBS,
    HealthAsked,
    LogLevelAsked,
    ReconcileAsked,
    ReplayAsked,
    RequestError,
    read_request,
    transaction_of,
)
from mt1bridge.topics.times import instant

VALUES = (HealthAsked, LogLevelAsked, ReconcileAsked, ReplayAsked)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["C1", "2026-02-14T09:30:15Z"])
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
FIELDS = ("since", "until", "from_sequence", "to_sequence", "topic", "journal", "device", "channel", "start_number")
REQUESTS = st.dictionaries(st.sampled_from([*FIELDS, "level", "transaction", "other"]), JSON)


def read(verb, **body):
    return read_request(verb, json.dumps(body).encode())


def wish(**body):
    asked = read("replay", **body)
    assert isinstance(asked, ReplayAsked)
    return asked.wish


def refusal(verb, payload):
    with pytest.raises(RequestError) as caught:
        read_request(verb, payload)
    return str(caught.value)


# --- any bytes --------------------------------------------------------------------------------------


def asked_or_refused(verb, payload):
    try:
        return read_request(verb, payload)
    except RequestError as error:
        return str(error)


def value_or_sentence(verb, payload):
    found = asked_or_refused(verb, payload)
    if isinstance(found, str):
        assert 10 < len(found) < 200
        assert found.isprintable()
    else:
        assert isinstance(found, VALUES)
    assert TRANSACTION.fullmatch(transaction_of(payload, lambda: "ours"))


@given(st.sampled_from(VERBS) | st.text(), st.binary())
def test_any_bytes_give_a_value_or_a_sentence(verb, payload):
    value_or_sentence(verb, payload)


@given(st.sampled_from(VERBS), JSON)
def test_any_json_gives_a_value_or_a_sentence(verb, body):
    value_or_sentence(verb, json.dumps(body).encode())


@given(st.sampled_from(VERBS), REQUESTS)
def test_any_fields_give_a_value_or_a_sentence(verb, body):
    value_or_sentence(verb, json.dumps(body).encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 10_000,
        b'{"since":' * 1_000,
        b'{"start_number": ' + b"9" * 6_000 + b"}",
        b'{"start_number": 1e999}',
        b"NaN",
    ],
)
def test_json_that_wears_a_parser_out_gives_a_sentence(payload):
    value_or_sentence("replay", payload)
    assert refusal("replay", payload)


def test_a_request_that_is_too_long_is_not_read():
    assert str(LONGEST) in refusal("health", b" " * (LONGEST + 1))


# --- what is asked ----------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b" \n", b"{}", b'{"transaction": "a1"}', b'{"transaction": null}'])
def test_a_request_without_fields_needs_no_payload(payload):
    assert read_request("health", payload) == HealthAsked()
    assert read_request("reconcile", payload) == ReconcileAsked()
    assert read_request("replay", payload) == ReplayAsked(Wish())


def test_a_replay_takes_every_field_of_the_contract():
    assert wish(
        since="2026-02-14T09:30:15.1234500Z",
        until="2026-02-14T10:30:16+01:00",
        from_sequence=7,
        to_sequence=9,
        topic="mt1/device/231203016/C1/trigger",
        journal="k3v9",
        device="231203016",
        channel="C1",
        start_number=12,
    ) == Wish(
        17710614151234500, 17710614160000000, 7, 9, "mt1/device/231203016/C1/trigger", "k3v9", "231203016", "C1", 12
    )


@given(st.integers(0, 253402300799 * 10_000_000))
def test_a_time_that_we_published_is_read_to_the_last_tick(ticks):
    assert wish(since=instant(ticks)).since == ticks


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("2026-02-14T09:30:15Z", 17710614150000000),
        ("2026-02-14 09:30:15", 17710614150000000),
        ("2026-02-14t09:30:15.5z", 17710614155000000),
        ("2026-02-14T09:30:15,1234567+00:00", 17710614151234567),
        ("2026-02-14T09:30:15.123456789Z", 17710614151234567),
        ("2026-02-14T06:00:15-0330", 17710614150000000),
        ("1969-12-31T23:59:59.5Z", -5000000),
    ],
)
def test_times_in_the_usual_spellings(text, ticks):
    assert wish(since=text).since == ticks


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-02-30T00:00:00Z",
        "2026-02-14T25:00:00Z",
        "2026-02-14",
        17,
        None or "",
        "0001-01-01T00:00:00+10:00",
        "２０２６-02-14T09:30:15Z",
    ],
)
def test_a_time_that_is_none_is_named(value):
    assert refusal("replay", json.dumps({"until": value}).encode()).startswith("until: ")


def test_a_device_may_be_given_as_a_number():
    assert wish(device=231203016).device == "231203016"


def test_sequences_count_within_a_topic_and_a_journal():
    for body in ({"from_sequence": 1}, {"to_sequence": 1, "topic": "t"}, {"from_sequence": 1, "journal": "j"}):
        assert "topic and journal" in refusal("replay", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("low", "high", "fields"),
    [
        ("since", "until", {"since": "2026-02-14T09:30:15.0000001Z", "until": "2026-02-14T09:30:15Z"}),
        ("from_sequence", "to_sequence", {"topic": "t", "journal": "j", "from_sequence": 8, "to_sequence": 7}),
    ],
)
def test_an_end_before_its_beginning_is_refused(low, high, fields):
    assert refusal("replay", json.dumps(fields).encode()).startswith(f"{low} is after {high}")
    wish(**{**fields, low: fields[high]})


@pytest.mark.parametrize(
    ("verb", "body", "sentence"),
    [
        ("replay", {"chanel": "C1"}, "replay has no field 'chanel'"),
        ("health", {"level": "info"}, "health has no field 'level'"),
        ("replay", {"channel": "C9"}, "channel: expected C0 to C8"),
        ("replay", {"device": "12a"}, "device: expected the digits of a device id"),
        ("replay", {"start_number": True}, "start_number: expected a whole number"),
        ("replay", {"start_number": 1.0}, "start_number: expected a whole number"),
        ("log_level", {}, "level: expected one of debug, info, warning, error"),
        ("log_level", {"level": ["info"]}, "level: expected one of debug, info, warning, error"),
        ("health", {"transaction": "a b"}, "transaction: expected 1 to 64 of A-Z a-z 0-9 _ -"),
        ("health", {"transaction": ""}, "transaction: expected 1 to 64 of A-Z a-z 0-9 _ -"),
        ("shutdown", {}, "there is no verb 'shutdown'; the verbs are replay, reconcile, log_level, health"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(verb, body, sentence):
    assert refusal(verb, json.dumps(body).encode()) == sentence


def test_a_log_level():
    assert read("log_level", level="debug") == LogLevelAsked("debug")


# --- transaction ------------------------------------------------------------------------------------


def test_the_callers_transaction_comes_back_even_where_the_request_is_wrong():
    assert transaction_of(b'{"transaction": "a-1_B", "other": 1}', lambda: "ours") == "a-1_B"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b'{"transaction": "a/b"}', b'{"transaction": "+"}', b'{"transaction": 7}', b'{"transaction": "a\\n"}'],
)
def test_a_transaction_that_cannot_be_a_topic_level_is_replaced_by_ours(payload):
    assert transaction_of(payload, lambda: "ours") == "ours"
