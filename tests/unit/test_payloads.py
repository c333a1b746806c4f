"""What a message says, key by key, as the contract has it (sections 2 and 3)."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.fact import Entry, Fact, InEffect, Kind, Previous, Source
from mt1bridge.model.known import ChannelMemory, Tally
from mt1bridge.model.trigger import ChannelId, Reading
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import (
    fact_publication,
    last_body,
    last_publication,
    recent_publication,
    replay_publication,
    scalar_publications,
    tally_publication,
    to_json,
)

NAMES = Names("mt1")
C1 = ChannelId("231203016", "C1")
READING = Reading(12, "MANUAL", True, False, True, 60)
TRIGGER = Fact(
    id="231203016-C1-17710614151234500",
    at=C1,
    timestamp=17710614151234500,
    kind=Kind.TRIGGER,
    event_type="trigger",
    revision=1,
    reading=READING,
    in_effect=True,
    source=Source.PUSH,
    received_ms=1_771_061_415_418,
    device_name="Finish hut",
    channel_name="Finish line",
)
EXAMPLE = {
    "schema": 1,
    "event_type": "trigger",
    "id": "231203016-C1-17710614151234500",
    "revision": 1,
    "sequence": 1034,
    "journal": "k3v9",
    "device": "231203016",
    "device_name": "Finish hut",
    "channel": "C1",
    "channel_name": "Finish line",
    "start_number": 12,
    "start_number_type": "MANUAL",
    "time": "2026-02-14T09:30:15.1234500Z",
    "local_time": "2026-02-14T10:30:15.1234500+01:00",
    "time_of_day": "10:30:15.1234500",
    "timestamp": "17710614151234500",
    "time_offset": 60,
    "valid": True,
    "blocked": False,
    "falling_edge": True,
    "in_effect": True,
    "source": "push",
    "received_at": "2026-02-14T09:30:15.418Z",
    "delay_ms": 295,
}


def entry(fact=TRIGGER, sequence=1034):
    return Entry(7, sequence, "k3v9", fact)


def body(publication):
    return json.loads(publication.payload)


# --- facts ------------------------------------------------------------------------------------------


def test_a_trigger_is_the_contracts_example_key_by_key_and_in_its_order():
    published = fact_publication(NAMES, entry(), late=False)
    assert published.topic == "mt1/device/231203016/C1/trigger"
    assert not published.retain
    assert published.content_type == "application/json"
    assert published.properties == (("id", TRIGGER.id), ("schema", "1"))
    assert list(body(published).items()) == list(EXAMPLE.items())


def test_a_late_trigger_has_another_event_type_and_nothing_else():
    assert body(fact_publication(NAMES, entry(), late=True)) == EXAMPLE | {"event_type": "late"}


def test_names_are_left_out_where_there_are_none():
    found = body(fact_publication(NAMES, entry(replace(TRIGGER, device_name=None, channel_name=None)), late=False))
    assert found == {key: value for key, value in EXAMPLE.items() if key not in ("device_name", "channel_name")}


def test_what_the_server_left_out_is_null():
    found = body(fact_publication(NAMES, entry(replace(TRIGGER, reading=Reading(None, None, None, None, None))), False))
    gone = ("start_number", "start_number_type", "valid", "blocked", "falling_edge")
    assert {key: found[key] for key in gone} == dict.fromkeys(gone)


def test_a_device_whose_clock_is_ahead_has_a_negative_delay():
    ahead = replace(TRIGGER, received_ms=1_771_061_415_000)
    assert body(fact_publication(NAMES, entry(ahead), late=False))["delay_ms"] == -123


def test_a_correction_tells_the_state_before_and_is_never_late():
    told = replace(
        TRIGGER,
        kind=Kind.CORRECTION,
        event_type="renumbered",
        revision=2,
        reading=replace(READING, start_number=10),
        previous=Previous(READING, True),
    )
    published = fact_publication(NAMES, entry(told), late=True)
    assert published.topic == "mt1/device/231203016/C1/correction"
    assert body(published) == EXAMPLE | {
        "event_type": "renumbered",
        "revision": 2,
        "start_number": 10,
        "previous": {
            "start_number": 12,
            "start_number_type": "MANUAL",
            "valid": True,
            "blocked": False,
            "falling_edge": True,
            "in_effect": True,
        },
    }


def test_a_clear_of_what_was_never_told_has_no_previous():
    told = replace(TRIGGER, kind=Kind.CORRECTION, event_type="cleared", in_effect=False)
    assert "previous" not in body(fact_publication(NAMES, entry(told), late=False))


def test_a_rejected_one_says_why():
    told = replace(TRIGGER, kind=Kind.REJECTED, event_type="rejected", reasons=("invalid", "edge"))
    published = fact_publication(NAMES, entry(told), late=True)
    assert published.topic == "mt1/device/231203016/C1/rejected"
    assert body(published) == EXAMPLE | {"event_type": "rejected", "reasons": ["invalid", "edge"]}


def test_a_rejected_one_that_was_taken_back_says_so():
    told = replace(
        TRIGGER, kind=Kind.REJECTED, event_type="rejected", reasons=("invalid",), change="deleted", in_effect=False
    )
    assert body(fact_publication(NAMES, entry(told), late=False))["change"] == "deleted"


def test_what_is_malformed_has_no_time_and_its_raw_text():
    told = replace(
        TRIGGER,
        id="231203016-C1-malformed-0123456789ab",
        timestamp=None,
        kind=Kind.REJECTED,
        event_type="rejected",
        reading=Reading(None, None, None, None, None),
        in_effect=False,
        reasons=("malformed",),
        raw='{"a":1}',
    )
    found = body(fact_publication(NAMES, entry(told), late=False))
    nothing = ("time", "local_time", "time_of_day", "timestamp", "time_offset", "delay_ms")
    assert {key: found[key] for key in nothing} == dict.fromkeys(nothing)
    assert found["raw"] == '{"a":1}'
    assert found["reasons"] == ["malformed"]


def test_a_replayed_one_goes_to_the_callers_topic_and_names_its_own():
    published = replay_publication(NAMES, entry(), True, "a1")
    assert published.topic == "mt1/bridge/replay/a1"
    assert not published.retain
    assert body(published) == EXAMPLE | {
        "event_type": "late",
        "replayed": True,
        "topic": "mt1/device/231203016/C1/trigger",
    }


# --- what is retained -------------------------------------------------------------------------------


def test_last_is_the_first_message_with_number_flags_and_revision_as_they_are_now():
    now = InEffect(entry(), Reading(10, "MANUAL", None, True, True, 60), 3)
    published = last_publication(NAMES, C1, last_body(C1, now, "Other name", "Other line"))
    assert (published.topic, published.retain) == ("mt1/device/231203016/C1/last", True)
    changed = {"start_number": 10, "valid": None, "blocked": True, "revision": 3}
    expected = {key: value for key, value in (EXAMPLE | changed).items() if key not in ("sequence", "delay_ms")}
    assert list(body(published).items()) == list(expected.items())


def test_last_tells_whether_it_was_told_as_late():
    now = InEffect(entry(replace(TRIGGER, late_at_birth=True)), READING, 1)
    assert last_body(C1, now, None, None)["event_type"] == "late"


def test_last_is_never_empty_and_has_the_same_keys_with_nothing_in_effect():
    something = last_body(C1, InEffect(entry(), READING, 1), None, None)
    nothing = last_body(C1, None, "Finish hut", "Finish line")
    assert list(nothing) == list(something)
    assert (nothing["id"], nothing["time"], nothing["start_number"]) == (None, None, None)
    assert nothing["in_effect"] is False
    assert (nothing["device"], nothing["device_name"], nothing["channel"]) == ("231203016", "Finish hut", "C1")


def test_recent_is_a_list_with_the_keys_of_last_in_the_order_that_is_given():
    newest = [
        InEffect(entry(), READING, 1),
        InEffect(entry(replace(TRIGGER, at=ChannelId("231203016", "C0"))), READING, 2),
    ]
    published = recent_publication(NAMES, "231203016", newest)
    assert (published.topic, published.retain) == ("mt1/device/231203016/recent", True)
    assert body(published) == [last_body(one.first.fact.at, one, None, None) for one in newest]
    assert body(recent_publication(NAMES, "231203016", [])) == []


def test_scalars_are_plain_text_for_displays_that_cannot_parse():
    published = scalar_publications(NAMES, C1, last_body(C1, InEffect(entry(), READING, 1), None, None))
    assert [(one.topic, one.payload, one.retain, one.content_type) for one in published] == [
        (f"mt1/device/231203016/C1/value/{field}", text, True, "text/plain")
        for field, text in (
            ("start_number", b"12"),
            ("time", b"2026-02-14T09:30:15.1234500Z"),
            ("time_of_day", b"10:30:15.1234500"),
            ("id", b"231203016-C1-17710614151234500"),
        )
    ]
    nothing = scalar_publications(NAMES, C1, last_body(C1, None, None, None))
    assert [one.payload for one in nothing] == [b"-"] * 4


def test_tally_has_the_contracts_keys_and_null_where_nothing_was_checked_yet():
    memory = ChannelMemory(C1, 0, server_count=102, missing=2, complete=False, checked_ms=1_771_061_415_418)
    assert body(tally_publication(NAMES, Tally(C1, 100, 98), memory)) == {
        "published": 100,
        "in_effect": 98,
        "server_count": 102,
        "missing": 2,
        "complete": False,
        "checked_at": "2026-02-14T09:30:15.418Z",
    }
    fresh = body(tally_publication(NAMES, Tally(C1, 0, 0), ChannelMemory(C1, 0)))
    assert (fresh["server_count"], fresh["complete"], fresh["checked_at"]) == (None, None, None)


# --- JSON -------------------------------------------------------------------------------------------


@given(st.text() | st.text(st.characters(categories=["Cs"])))
def test_any_text_becomes_json_that_says_the_same(text):
    payload = to_json({"name": text})
    payload.decode("utf-8")
    assert utf_16(json.loads(payload)["name"]) == utf_16(text)  # JSON cannot tell two halves from their character


def utf_16(text):
    return text.encode("utf-16", "surrogatepass")


def test_text_stays_readable():
    assert to_json({"name": "Zielhütte"}) == '{"name":"Zielhütte"}'.encode()
