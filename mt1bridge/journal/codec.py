"""Values to text for the tables, and back. Short keys: every byte is written to an SD card. Pure."""

import json
import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mt1bridge.model.fact import Fact, Kind, Previous, Source
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.trigger import CHANNELS, LAST_TICK, Change, ChannelId, Reading, Sighting, TriggerId

# History showed rows of a trigger, and it is not sure yet that it shows none any more: as a condition on its row.
LISTED = """memory GLOB '*"r":"[0-9a-f?]*' OR memory GLOB '*"n":*'"""
_dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

P = ParamSpec("P")
T = TypeVar("T")


class UnreadableRowError(sqlite3.DatabaseError):
    """A row of the journal is damaged. SQLite keeps no checksums, so it reads such a row without complaint."""


def _reads(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Whatever a damaged text makes of a reader, it raises UnreadableRowError."""

    def guard(read: Callable[P, T]) -> Callable[P, T]:
        @wraps(read)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return read(*args, **kwargs)
            except _DAMAGED as error:
                text = f"{what} of {args[0]} in the journal is damaged ({type(error).__name__}: {error})"
                raise UnreadableRowError(text) from error

        return guarded

    return guard


def reading_to_text(reading: Reading) -> str:
    return _dumps(_reading(reading))


@_reads("the reading")
def reading_from_text(text: str) -> Reading:
    return _reading_of(json.loads(text))


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


@_reads("a message")
def fact_from_text(at: ChannelId, kind: str, text: str) -> Fact:
    body = json.loads(text)
    timestamp = body["t"]
    previous = body.get("p")
    return Fact(
        id=_text(body["i"]) if timestamp is None else str(TriggerId(at.device, at.channel, _ticks(timestamp))),
        at=_place(at),
        timestamp=timestamp,
        kind=Kind(kind),
        event_type=_text(body["e"]),
        revision=_whole(body["r"]),
        reading=_reading_of(body["s"]),
        in_effect=bool(body["f"]),
        source=Source(body["o"]),
        received_ms=_whole(body["a"]),
        device_name=body.get("d"),
        channel_name=body.get("c"),
        previous=Previous(_reading_of(previous[0]), bool(previous[1])) if previous else None,
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


@_reads("what is known")
def known_from_row(
    trigger: TriggerId, reading: str | None, in_effect: int, revision: int, usable: int, memory: str | None
) -> Known:
    read = _reading_of(json.loads(reading)) if reading is not None else None
    kept = json.loads(memory) if memory else {}
    number = read.start_number if read else None
    return Known(
        id=trigger,
        reading=read,
        in_effect=bool(in_effect),
        revision=_whole(revision),
        usable=bool(usable),
        starts=_counted(kept.get("s", ((number, 1),))),
        cleared=_numbers(kept.get("c", ())),
        clear_due=bool(kept.get("d", 0)),
        rows=_text(kept.get("r", "")),
        row_count=_whole(kept.get("n", 0)),
        changed_ms=_whole(kept.get("m", 0)),
        deleted=_numbers(kept.get("x", ())),
        unpushed=_counted(kept.get("u", ())),
        doubtful=bool(kept.get("q", 0)),
    )


def channel_to_text(memory: ChannelMemory) -> str:
    return _dumps({name: getattr(memory, name) for name in ChannelMemory.__slots__ if name != "at"})


@_reads("what is remembered")
def channel_from_text(at: ChannelId, text: str) -> ChannelMemory:
    kept = json.loads(text)
    if not all(value is None or isinstance(value, int) for value in kept.values()):
        raise ValueError(f"whole numbers and flags belong there, not {text}")
    return ChannelMemory(_place(at), **{name: kept[name] for name in ChannelMemory.__slots__ if name in kept})


def sighting_to_text(row: Sighting) -> str:
    return _dumps([row.change.value, _reading(row.reading)])


@_reads("a row of history")
def sighting_from_text(trigger: TriggerId, text: str) -> Sighting:
    change, reading = json.loads(text)
    return Sighting(trigger, Change(change), _reading_of(reading))


# --- parts of a text, each of which may be damaged --------------------------------------------------------


def _reading(reading: Reading) -> list[Any]:
    return [getattr(reading, name) for name in Reading.__slots__]


def _reading_of(values: Any) -> Reading:
    number, kind, valid, blocked, falling_edge, time_offset = values
    if not all(flag is None or isinstance(flag, bool) for flag in (valid, blocked, falling_edge)):
        raise ValueError(f"flags belong there, not {values}")
    kind = kind if kind is None else _text(kind)
    return Reading(_number(number), kind, valid, blocked, falling_edge, _whole(time_offset))


def _place(at: ChannelId) -> ChannelId:
    """Both become levels of a topic."""
    if not (at.device.isascii() and at.device.isdigit() and at.channel in CHANNELS):
        raise ValueError("no device and channel")
    return at


def _whole(value: Any) -> int:
    """A number that counts something, or UTC ms."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number belongs there, not {value!r}")
    return value


def _ticks(value: Any) -> int:
    if not 0 <= _whole(value) <= LAST_TICK:
        raise ValueError(f"a time before the year 10000 belongs there, not {value}")
    return int(value)


def _number(value: Any) -> int | None:
    """A start number as the server gives it, or None."""
    return None if value is None else _whole(value)


def _numbers(values: Any) -> tuple[int | None, ...]:
    return tuple(map(_number, values))


def _counted(values: Any) -> tuple[tuple[int | None, int], ...]:
    return tuple((_number(number), _whole(count)) for number, count in values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text belongs there, not {value!r}")
    return value
