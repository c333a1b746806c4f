"""What the server has stored for one channel of one device, and what is true of each trigger."""

import random
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mt1bridge.simulator.behaviour import Behaviour
from mt1bridge.simulator.clock import UNITS_PER_MS, UNITS_PER_SECOND

CLEAR = "ClearTrigger"
START = "StartNumberTrigger"


@dataclass(frozen=True, slots=True)
class Row:
    """A trigger as stored. timestamp: 100 ns since 1970; channel: 0, 1 ...; arrival: the server's order"""

    device: str
    channel: int
    timestamp: int
    type: str = START
    number: int | None = None
    number_type: str = "SEQUENTIAL"
    valid: bool = True
    blocked: bool = False
    falling_edge: bool = True
    time_offset: int | None = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    arrival: int = 0
    uploaded_at: int = 0


@dataclass(slots=True)
class Truth:
    """The final say about one trigger (device, channel, timestamp): in effect or not, and with which values."""

    in_effect: bool
    number: int | None
    number_type: str
    type: str
    valid: bool
    blocked: bool
    falling_edge: bool
    steps: int = 1


@dataclass(slots=True)
class Kept:
    """Fate of a row: is it still in the history, was it handed to the push, was it deleted on the platform."""

    row: Row
    listed: bool
    pushed: bool
    deleted: bool = False


def _order(row: Row) -> tuple[int, int]:
    return (row.timestamp, row.arrival)


def _time(row: Row) -> int:
    return row.timestamp


@dataclass(slots=True)
class ChannelRows:
    """Rows of one channel, sorted by time and then arrival: a page costs as much as it is long."""

    extra_count: int = 0
    last_number: int = 0
    stamped: set[int] = field(default_factory=set)  # times given by the device's clock, uploaded or not
    kept: dict[int, Kept] = field(default_factory=dict)
    truths: dict[int, Truth] = field(default_factory=dict)
    _all: list[Row] = field(default_factory=list)
    _impulses: list[Row] = field(default_factory=list)

    def add(self, row: Row, listed: bool = True, pushed: bool = True) -> None:
        self.kept[row.arrival] = Kept(row, listed, pushed)
        if listed:
            insort(self._all, row, key=_order)
            if row.type != CLEAR:
                insort(self._impulses, row, key=_order)

    def latest(self, timestamp: int) -> Row:
        """The newest impulse stored under this time. KeyError if there is none."""
        place = bisect_left(self._impulses, timestamp + 1, key=_time) - 1
        if place >= 0 and self._impulses[place].timestamp == timestamp:
            return self._impulses[place]
        for kept in reversed(self.kept.values()):
            if kept.row.timestamp == timestamp and kept.row.type != CLEAR:
                return kept.row
        raise KeyError(f"no trigger with timestamp {timestamp}")

    def remove(self, row: Row) -> None:
        """Take the row out of count and history; nothing happens if it is not there."""
        for rows in (self._all, self._impulses):
            place = bisect_left(rows, _order(row), key=_order)
            if place < len(rows) and rows[place].arrival == row.arrival:
                del rows[place]
        self.kept[row.arrival].listed = False

    def change(self, row: Row, changes: Mapping[str, Any]) -> Row:
        """Overwrite a row in place, as an edit on the platform does."""
        new = replace(row, **changes)
        for rows in (self._all, self._impulses):
            place = bisect_left(rows, _order(row), key=_order)
            if place < len(rows) and rows[place].arrival == row.arrival:
                rows[place] = new
        self.kept[row.arrival].row = new
        return new

    def settle(self, row: Row, in_effect: bool) -> None:
        """Note what is now true of the trigger that the row names."""
        known = self.truths.get(row.timestamp)
        steps = known.steps + 1 if known else 1
        if not in_effect and known:
            known.in_effect, known.steps = False, steps
            return
        self.truths[row.timestamp] = Truth(
            in_effect, row.number, row.number_type, row.type, row.valid, row.blocked, row.falling_edge, steps
        )

    def count(self, window: "Window", behaviour: Behaviour) -> int:
        rows = self._all if behaviour.clears_counted else self._impulses
        low, high = window.span(rows)
        return max(0, high - low + self.extra_count)

    def page(self, window: "Window", offset: int, limit: int, behaviour: Behaviour, rng: random.Random) -> list[Row]:
        """At most `limit` rows, newest first, after leaving out `offset` of the newest."""
        rows = self._all if behaviour.clears_listed else self._impulses
        low, high = window.span(rows)
        if behaviour.history_order == "arrival":
            by_arrival = sorted(rows[low:high], key=lambda row: -row.arrival)
            return by_arrival[offset : offset + limit]
        end = max(low, high - offset)
        page = rows[max(low, end - limit) : end][::-1]
        if behaviour.history_order == "shuffled":
            rng.shuffle(page)
        return page


@dataclass(frozen=True, slots=True)
class Window:
    """Bounds in 100 ns: from inclusive, until exclusive; None is open."""

    since: int | None = None
    until: int | None = None

    def span(self, rows: list[Row]) -> tuple[int, int]:
        low = 0 if self.since is None else bisect_left(rows, self.since, key=_time)
        high = len(rows) if self.until is None else bisect_left(rows, self.until, key=_time)
        return low, max(low, high)


def window(from_ms: int | None, to_ms: int | None, behaviour: Behaviour, now: int) -> Window:
    """The bounds of a request: ms are compared with timestamp // 10000; old rows leave by retention."""
    strict = 0 if behaviour.bounds == "inclusive" else 1
    since = None if from_ms is None else (from_ms + strict) * UNITS_PER_MS
    until = None if to_ms is None else (to_ms + 1 - strict) * UNITS_PER_MS
    if behaviour.retention_days is not None:
        oldest = now - int(behaviour.retention_days * 86400) * UNITS_PER_SECOND
        since = oldest if since is None else max(since, oldest)
    return Window(since, until)


def row_json(kept: Kept) -> dict[str, Any]:
    """A row for `stored`: plain values, extra fields included."""
    values = {name: getattr(kept.row, name) for name in Row.__slots__}
    return {
        **values,
        "extra": dict(kept.row.extra),
        "listed": kept.listed,
        "pushed": kept.pushed,
        "deleted": kept.deleted,
    }


def truth_json(timestamp: int, truth: Truth) -> dict[str, Any]:
    """A trigger for `stored`."""
    return {"timestamp": timestamp, **{name: getattr(truth, name) for name in Truth.__slots__}}


def dto(row: Row, behaviour: Behaviour) -> dict[str, Any]:
    """The TriggerDto of MT1-API, section 9."""
    text = behaviour.number_as_text
    value: dict[str, Any] = {
        "deviceId": int(row.device) if behaviour.device_id_type == "number" else row.device,
        "timestamp": str(row.timestamp) if text else row.timestamp,
    }
    if row.time_offset is not None:
        value["timeOffset"] = row.time_offset
    value |= {
        "timingChannel": f"C{row.channel}",
        "fallingEdge": row.falling_edge,
        "valid": row.valid,
        "blocked": row.blocked,
        "type": row.type,
    }
    if row.number is not None:
        value["startNumber"] = {"startNumber": str(row.number) if text else row.number, "type": row.number_type}
    return {**value, **(behaviour.extra_fields or {}), **row.extra}
