"""Facts and what is in effect -> JSON, CONTRACT sections 2 and 3. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mt1bridge.model.broker import Publication
from mt1bridge.model.fact import Entry, InEffect, Kind, Previous
from mt1bridge.model.known import ChannelMemory, Tally
from mt1bridge.model.trigger import TICKS_PER_MS, ChannelId, Reading
from mt1bridge.topics import times
from mt1bridge.topics.names import SCALARS, Names

SCHEMA = 1
JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
_encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8. A lone surrogate, which UTF-8 cannot hold, is written as an escape."""
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def fact_publication(names: Names, entry: Entry, late: bool) -> Publication:
    """The message of a fact. late: judged at this very hand-over; only an impulse can be late."""
    fact = entry.fact
    return Publication(
        names.fact(fact.at, fact.kind),
        to_json(fact_body(entry, late)),
        content_type=JSON_TYPE,
        properties=(("id", fact.id), ("schema", str(SCHEMA))),
    )


def replay_publication(names: Names, entry: Entry, late: bool, transaction: str) -> Publication:
    body = fact_body(entry, late)
    body["replayed"] = True
    body["topic"] = names.fact(entry.fact.at, entry.fact.kind)
    return Publication(
        names.replay(transaction),
        to_json(body),
        content_type=JSON_TYPE,
        properties=(("id", entry.fact.id), ("schema", str(SCHEMA))),
    )


def fact_body(entry: Entry, late: bool) -> dict[str, Any]:
    fact = entry.fact
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "event_type": "late" if late and fact.kind is Kind.TRIGGER else fact.event_type,
        "id": fact.id,
        "revision": fact.revision,
        "sequence": entry.sequence,
        "journal": entry.journal,
        **_where(fact.at, fact.device_name, fact.channel_name),
        **_reading(fact.timestamp, fact.reading),
        "in_effect": fact.in_effect,
        "source": fact.source.value,
        "received_at": times.milliseconds(fact.received_ms),
        "delay_ms": None if fact.timestamp is None else fact.received_ms - fact.timestamp // TICKS_PER_MS,
    }
    if fact.previous is not None:
        body["previous"] = _previous(fact.previous)
    if fact.kind is Kind.REJECTED:
        body["reasons"] = list(fact.reasons)
        if fact.change:
            body["change"] = fact.change
        if fact.raw is not None:
            body["raw"] = fact.raw
    return body


def last_body(
    at: ChannelId, newest: InEffect | None, device_name: str | None, channel_name: str | None
) -> dict[str, Any]:
    """The newest trigger in effect as first told, with number, flags and revision as they are now."""
    if newest is None:
        nothing = Reading(None, None, None, None, None)
        return {
            "schema": SCHEMA,
            "event_type": None,
            "id": None,
            "revision": None,
            "journal": None,
            **_where(at, device_name, channel_name),
            **_reading(None, nothing),
            "in_effect": False,
            "source": None,
            "received_at": None,
        }
    first = newest.first.fact
    body = fact_body(newest.first, first.late_at_birth)
    body.update(_reading(first.timestamp, newest.reading))
    body["revision"], body["in_effect"] = newest.revision, True
    del body["sequence"], body["delay_ms"]
    return body


def last_publication(names: Names, at: ChannelId, body: Mapping[str, Any]) -> Publication:
    return Publication(names.last(at), to_json(body), retain=True, content_type=JSON_TYPE)


def scalar_publications(names: Names, at: ChannelId, body: Mapping[str, Any]) -> list[Publication]:
    """Plain text of `last`, for displays that cannot parse JSON."""
    return [
        Publication(
            names.value(at, field),
            ("-" if body[field] is None else str(body[field])).encode(),
            retain=True,
            content_type=TEXT_TYPE,
        )
        for field in SCALARS
    ]


def recent_publication(names: Names, device: str, newest: Sequence[InEffect]) -> Publication:
    bodies = [last_body(one.first.fact.at, one, None, None) for one in newest]
    return Publication(names.recent(device), to_json(bodies), retain=True, content_type=JSON_TYPE)


def tally_publication(names: Names, tally: Tally, memory: ChannelMemory) -> Publication:
    body = {
        "published": tally.published,
        "in_effect": tally.in_effect,
        "server_count": memory.server_count,
        "missing": memory.missing,
        "complete": memory.complete,
        "checked_at": times.milliseconds(memory.checked_ms or None),
    }
    return Publication(names.tally(tally.at), to_json(body), retain=True, content_type=JSON_TYPE)


def _where(at: ChannelId, device_name: str | None, channel_name: str | None) -> dict[str, Any]:
    where: dict[str, Any] = {"device": at.device}
    if device_name is not None:
        where["device_name"] = device_name
    where["channel"] = at.channel
    if channel_name is not None:
        where["channel_name"] = channel_name
    return where


def _reading(timestamp: int | None, reading: Reading) -> dict[str, Any]:
    known = timestamp is not None
    local_time, of_day = times.local(timestamp, reading.time_offset) if timestamp is not None else (None, None)
    return {
        "start_number": reading.start_number,
        "start_number_type": reading.start_number_type,
        "time": times.instant(timestamp) if timestamp is not None else None,
        "local_time": local_time,
        "time_of_day": of_day,
        "timestamp": str(timestamp) if known else None,
        "time_offset": reading.time_offset if known else None,
        "valid": reading.valid,
        "blocked": reading.blocked,
        "falling_edge": reading.falling_edge,
    }


def _previous(previous: Previous) -> dict[str, Any]:
    reading = previous.reading
    return {
        "start_number": reading.start_number,
        "start_number_type": reading.start_number_type,
        "valid": reading.valid,
        "blocked": reading.blocked,
        "falling_edge": reading.falling_edge,
        "in_effect": previous.in_effect,
    }
