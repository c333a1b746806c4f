"""What the server has stored, as it happened; what history shows of it; which end states are therefore right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

START, CLEAR = "StartNumberTrigger", "ClearTrigger"


@dataclass(frozen=True, slots=True)
class Row:
    timestamp: int
    type: str
    number: int | None
    valid: bool = True
    blocked: bool = False
    falling_edge: bool = True
    arrival: int = 0
    number_type: str = "MANUAL"


@dataclass(frozen=True, slots=True)
class State:
    """in_effect, and the number and flags that it has (had last)."""

    in_effect: bool
    row: Row

    @property
    def usable(self) -> bool:
        return self.row.valid and not self.row.blocked and self.row.falling_edge


@dataclass(slots=True)
class PushMark:
    """One pushed message. taken: at which commit the bridge had surely written it down, None if not."""

    taken: int | None = None


@dataclass(slots=True)
class Step:
    """State and rows after something happened to an identity, and the pushes that told of it."""

    state: State
    rows: tuple[Row, ...]
    pushes: list[PushMark] = field(default_factory=list)


@dataclass(slots=True)
class Identity:
    """device, channel and timestamp. old: it was there before the first start, or is no start. steps: its life."""

    device: str
    channel: int
    timestamp: int
    old: bool = False
    steps: list[Step] = field(default_factory=list)
    shown_at: float = 0.0  # true seconds
    shown_first: bool = False  # before the bridge had read all that was there when the channel became its own
    live: list[Row] = field(default_factory=list)  # starts that nothing has cancelled
    unlisted: list[PushMark] = field(default_factory=list)  # of what history does not show
    deleted_at: int | None = None  # the step that did so last

    @property
    def id(self) -> str:
        return f"{self.device}-C{self.channel}-{self.timestamp}"

    @property
    def state(self) -> State:
        return self.steps[-1].state

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.steps[-1].rows

    def pushed(self) -> bool:
        """A push of it surely arrived."""
        return any(push.taken is not None for step in self.steps for push in step.pushes)

    def right_ends(self, blind: bool = False) -> list[State]:
        """States that a bridge may rightly hold it to be in.

        Where the last step was pushed and taken, it is that one. Otherwise history must tell, and where it looks as
        it did before, what was right since then is right still. blind: what was pushed is not to be known.
        """
        last = self.steps[-1]
        if not blind and last.pushes and all(push.taken is not None for push in last.pushes):
            return [last.state]
        shown = _shape(last.rows)
        first = next(i for i, step in enumerate(self.steps) if _shape(step.rows) == shown)
        if self.deleted_at and Counter(shown) <= Counter(_shape(self.steps[self.deleted_at - 1].rows)):
            # They may be rows that a server keeps when it deletes them, and that removes what is cleared.
            first = min(first, self.deleted_at)
        return [step.state for step in self.steps[first:]]


def _shape(rows: tuple[Row, ...]) -> tuple[tuple[object, ...], ...]:
    return tuple(sorted((r.type, repr(r.number), r.valid, r.blocked, r.falling_edge, r.number_type) for r in rows))


class Truth:
    """All identities of all devices. shows: called with what history is to show from now on."""

    def __init__(self, clears: str, deletes: str, clear_number: bool) -> None:
        self._clears, self._deletes, self._clear_number = clears, deletes, clear_number
        self.identities: dict[str, Identity] = {}
        self._by_device: dict[str, list[Identity]] = {}
        self._arrival = 0

    def newest(self, device: str, pick: int, after: int) -> Identity | None:
        """after: in 100 ns units."""
        found = [one for one in self._by_device.get(device, ()) if not one.old and one.timestamp > after]
        return found[-1 - pick % len(found)] if found else None

    def identity(self, device: str, channel: int, timestamp: int, old: bool = False) -> Identity:
        key = f"{device}-C{channel}-{timestamp}"
        if key not in self.identities:
            self.identities[key] = one = Identity(device, channel, timestamp, old)
            self._by_device.setdefault(device, []).append(one)
        return self.identities[key]

    def of_channel(self, device: str, channel: int) -> list[Identity]:
        return [one for one in self._by_device.get(device, ()) if one.channel == channel]

    # --- what happens to one identity; each returns the message to push, and its mark --------------------

    def start(self, one: Identity, row: Row) -> tuple[dict[str, Any], PushMark]:
        row = replace(row, arrival=self._next())
        rows = (*one.rows, row) if one.steps else (row,)
        one.live.append(row)
        return self._step(one, State(True, row), rows, "ENTITY_ADD", row)

    def clear(self, one: Identity, number: int | None) -> tuple[dict[str, Any], PushMark]:
        """The oldest start with that number is cancelled."""
        one.live = list(_without_oldest(tuple(one.live), number))
        state = State(True, one.live[-1]) if one.live else replace(one.state, in_effect=False)
        row = Row(one.timestamp, CLEAR, number if self._clear_number else None, arrival=self._next())
        rows = one.rows
        if self._clears == "listed":
            rows = (*rows, row)
        elif self._clears == "remove":
            rows = _without_oldest(rows, number)
        return self._step(one, state, rows, "ENTITY_ADD", row, listed=self._clears != "hidden")

    def delete(self, one: Identity) -> tuple[dict[str, Any], PushMark]:
        rows = () if self._deletes == "remove" else one.rows
        one.live, one.deleted_at = [], len(one.steps)
        listed, state = self._deletes == "remove", replace(one.state, in_effect=False)
        return self._step(one, state, rows, "ENTITY_DELETE", one.state.row, listed)

    def edit(self, one: Identity, change: Callable[[Row], Row]) -> tuple[dict[str, Any], PushMark]:
        before = one.state.row
        after = change(before)
        rows = tuple(after if row == before else row for row in one.rows)
        one.live = [after if row == before else row for row in one.live]
        return self._step(one, State(True, after), rows, "ENTITY_UPDATE", after)

    def _step(
        self, one: Identity, state: State, rows: tuple[Row, ...], change: str, row: Row, listed: bool = True
    ) -> tuple[dict[str, Any], PushMark]:
        mark = PushMark()
        if not listed:
            one.unlisted.append(mark)
        one.steps.append(Step(state, rows, [mark]))
        return {"type": change, "entityType": "TriggerDto", "dto": dto(one.device, one.channel, row)}, mark

    def _next(self) -> int:
        self._arrival += 1
        return self._arrival


def dto(device: str, channel: int, row: Row) -> dict[str, Any]:
    """A trigger as the server writes it (MT1-API, section 9)."""
    value: dict[str, Any] = {
        "deviceId": device,
        "timestamp": row.timestamp,
        "timeOffset": 60,
        "timingChannel": f"C{channel}",
        "fallingEdge": row.falling_edge,
        "valid": row.valid,
        "blocked": row.blocked,
        "type": row.type,
    }
    if row.number is not None:
        value["startNumber"] = {"startNumber": row.number, "type": row.number_type}
    return value


def _without_oldest(rows: tuple[Row, ...], number: int | None) -> tuple[Row, ...]:
    for row in rows:
        if row.type == START and row.number == number:
            return tuple(other for other in rows if other is not row)
    return rows
