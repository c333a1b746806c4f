"""Values to text for the tables, and back. Short keys: every byte is written to an SD card. Pure."""

import json
from collections.abc import Callable
from typing import Any

from mt1bridge.model.fact import Fact, Kind, Previous, Source
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.trigger import Change, ChannelId, Reading, Sighting, TriggerId

# History showed rows of a trigger, and it is not sure yet that it shows none any more: as a condition on its row.
LISTED = """memory GLOB '*"r":"[0-9a-f?]*' OR memory GLOB '*"n":*'"""
_dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def reading_to_text(reading: Reading) -> str:
    return _dumps(_reading(reading))


def reading_from_text(text: str) -> Reading:
    return Reading(*json.loads(text))


def fact_to_text(fact: Fact) -> str:
    body: dict[str, Any] = {
        "t": fact.timestamp,
        "e": fact.event_type,
        "r": fact.revision,
        "s": _reading(fact.reading),
        "f": int(fact.in_effect),
        "o": fact.source.value,
        "a": fact.received_ms,
    }
    if fact.timestamp is None:
        body["i"] = fact.id
    optional = {"d": fact.device_name, "c": fact.channel_name, "w": fact.raw}
    body.update({key: value for key, value in optional.items() if value is not None})
    if fact.previous is not None:
        body["p"] = [_reading(fact.previous.reading), int(fact.previous.in_effect)]
    if fact.reasons:
        body["y"] = list(fact.reasons)
    if fact.change:
        body["g"] = fact.change
    if fact.late_at_birth:
        body["l"] = 1
    return _dumps(body)


def fact_from_text(at: ChannelId, kind: str, text: str) -> Fact:
    body = json.loads(text)
    timestamp = body["t"]
    previous = body.get("p")
    return Fact(
        id=body["i"] if timestamp is None else str(TriggerId(at.device, at.channel, timestamp)),
        at=at,
        timestamp=timestamp,
        kind=Kind(kind),
        event_type=body["e"],
        revision=body["r"],
        reading=Reading(*body["s"]),
        in_effect=bool(body["f"]),
        source=Source(body["o"]),
        received_ms=body["a"],
        device_name=body.get("d"),
        channel_name=body.get("c"),
        previous=Previous(Reading(*previous[0]), bool(previous[1])) if previous else None,
        reasons=tuple(body.get("y", ())),
        raw=body.get("w"),
        change=body.get("g", ""),
        late_at_birth=bool(body.get("l", 0)),
    )


def memory_of(known: Known) -> str | None:
    """The part of `Known` that has no column of its own; None where it is the plain case of one pushed start."""
    memory: dict[str, Any] = {}
    number = known.reading.start_number if known.reading else None
    if known.starts != ((number, 1),):
        memory["s"] = known.starts
    if known.cleared:
        memory["c"] = known.cleared
    if known.clear_due:
        memory["d"] = 1
    if known.rows:
        memory["r"] = known.rows
    if known.row_count:
        memory["n"] = known.row_count
    if known.changed_ms:
        memory["m"] = known.changed_ms
    if known.deleted:
        memory["x"] = known.deleted
    if known.unpushed:
        memory["u"] = known.unpushed
    if known.doubtful:
        memory["q"] = 1
    return _dumps(memory) if memory else None


def known_from_row(
    trigger: TriggerId, reading: str | None, in_effect: int, revision: int, usable: int, memory: str | None
) -> Known:
    read = reading_from_text(reading) if reading is not None else None
    kept = json.loads(memory) if memory else {}
    number = read.start_number if read else None
    return Known(
        id=trigger,
        reading=read,
        in_effect=bool(in_effect),
        revision=revision,
        usable=bool(usable),
        starts=tuple((n, count) for n, count in kept.get("s", ((number, 1),))),
        cleared=tuple(kept.get("c", ())),
        clear_due=bool(kept.get("d", 0)),
        rows=kept.get("r", ""),
        row_count=kept.get("n", 0),
        changed_ms=kept.get("m", 0),
        deleted=tuple(kept.get("x", ())),
        unpushed=tuple((n, count) for n, count in kept.get("u", ())),
        doubtful=bool(kept.get("q", 0)),
    )


def channel_to_text(memory: ChannelMemory) -> str:
    return _dumps({name: getattr(memory, name) for name in ChannelMemory.__slots__ if name != "at"})


def channel_from_text(at: ChannelId, text: str) -> ChannelMemory:
    kept = json.loads(text)
    return ChannelMemory(at, **{name: kept[name] for name in ChannelMemory.__slots__ if name in kept})


def sighting_to_text(row: Sighting) -> str:
    return _dumps([row.change.value, _reading(row.reading)])


def sighting_from_text(trigger: TriggerId, text: str) -> Sighting:
    change, reading = json.loads(text)
    return Sighting(trigger, Change(change), Reading(*reading))


def _reading(reading: Reading) -> list[Any]:
    return [getattr(reading, name) for name in Reading.__slots__]
