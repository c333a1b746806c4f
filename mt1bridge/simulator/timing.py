"""What timekeepers and devices do: impulses, renumberings, clears, deletions, edits, late uploads."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mt1bridge.simulator.clock import RESOLUTION, UNITS_PER_SECOND, now_units
from mt1bridge.simulator.rows import CLEAR, ChannelRows, Row
from mt1bridge.simulator.store import Device
from mt1bridge.simulator.world import World


def channel_number(channel: int | str) -> int:
    """1 for 1, "1" and "C1". ValueError for anything else."""
    return int(str(channel).upper().removeprefix("C"))


def units(timestamp: int | str) -> int:
    """A timestamp in 100 ns: an int, or its digits. ValueError for a float: it would lose the last digit."""
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | str):
        raise ValueError(f"{timestamp!r} is not a whole number of 100 ns")
    return int(timestamp)


class Timing:
    """Verbs of `Control` about devices and triggers. Timestamps: ints of 100 ns since 1970."""

    def __init__(self, world: World) -> None:
        self._world = world

    # --- the device

    def impulse(
        self,
        device: str,
        channel: int | str = 0,
        number: int | None = None,
        number_type: str = "SEQUENTIAL",
        *,
        at: int | None = None,
        type: str | None = None,
        valid: bool | None = None,
        blocked: bool | None = None,
        falling_edge: bool | None = None,
        with_number: bool = True,
        push: bool = True,
        listed: bool = True,
        counted: bool = True,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A channel is triggered. at: None is now by the device's clock; number: None is the next one;
        push, listed, counted: whether it is pushed, in the history, in the count. Returns the row's key."""
        known, rows, channel = self._device(device), self._rows(device, channel), channel_number(channel)
        behaviour = self._world.behaviour
        if with_number:
            rows.last_number = rows.last_number + 1 if number is None else number
        row = Row(
            device=device,
            channel=channel,
            timestamp=self._free_time(known, rows) if at is None else units(at),
            number=rows.last_number if with_number else None,
            number_type=number_type,
            time_offset=known.time_offset,
            extra=dict(extra or {}),
            **self._given(type=type, valid=valid, blocked=blocked, falling_edge=falling_edge),
        )
        self._upload(row, push, listed, counted)
        if behaviour.twins and with_number:
            rows.last_number += 1
            self._upload(replace(row, number=rows.last_number), push, listed, counted)
        return {"device": device, "channel": channel, "timestamp": row.timestamp, "number": row.number}

    def renumber(
        self,
        device: str,
        channel: int | str,
        timestamp: int,
        number: int,
        number_type: str = "MANUAL",
        *,
        order: str | None = None,
        gap_s: float | None = None,
        push: bool = True,
    ) -> None:
        """Another number for a trigger: a ClearTrigger and a new trigger of the same time. order, gap_s: None is
        as `renumber_order` and `renumber_gap_s` of the behaviour say."""
        behaviour = self._world.behaviour
        order = behaviour.renumber_order if order is None else order
        gap = behaviour.renumber_gap_s if gap_s is None else gap_s
        old = self._rows(device, channel).latest(units(timestamp))
        new = replace(old, number=number, number_type=number_type, type=behaviour.default_type)
        clearing = self._clearing(old)
        ways: dict[str, list[tuple[Row, bool | None, Row | None]]] = {
            "clear_first": [(clearing, False, old), (new, True, None)],
            "new_first": [(new, True, None), (clearing, None, None)],
            "clear_only": [(clearing, False, old)],
            "new_only": [(new, True, None)],
        }
        if order not in ways:
            raise ValueError(f"no such order: {order}; there are {', '.join(ways)}")
        for place, (row, in_effect, target) in enumerate(ways[order]):
            step = partial(self._upload, row, push, in_effect=in_effect, target=target)
            if place and gap > 0:
                asyncio.get_running_loop().call_later(gap, step)
            else:
                step()

    def clear(self, device: str, channel: int | str, timestamp: int, *, push: bool = True) -> None:
        """The trigger is deleted on the device: a ClearTrigger."""
        rows = self._rows(device, channel)
        old = rows.latest(units(timestamp))
        self._upload(self._clearing(old), push, in_effect=False, target=old)

    def clear_unknown(self, device: str, channel: int | str, timestamp: int, number: int | None = None) -> None:
        """A ClearTrigger for something that was never stored."""
        row = Row(device, channel_number(channel), units(timestamp), CLEAR, number, "MANUAL")
        self._upload(replace(row, time_offset=self._device(device).time_offset), True, in_effect=False)

    def late_upload(
        self,
        device: str,
        channel: int | str = 0,
        count: int = 1,
        *,
        start: int | None = None,
        spacing: int = UNITS_PER_SECOND,
        order: str | None = None,
        number: int = 1,
    ) -> list[int]:
        """`count` triggers with old times (start, start + spacing ...; None: so that the last was two hours ago)
        get to the server now. order: None is as `late_upload` of the behaviour says. Returns their times."""
        known, rows, channel = self._device(device), self._rows(device, channel), channel_number(channel)
        first = now_units() - 2 * 3600 * UNITS_PER_SECOND - count * spacing if start is None else units(start)
        batch = [
            Row(device, channel, first + place * spacing, number=number + place, time_offset=known.time_offset)
            for place in range(count)
        ]
        rows.last_number = number + count - 1
        order = self._world.behaviour.late_upload if order is None else order
        for row in self._ordered(batch, order):
            self._store(row, order != "history_only", True, True, True)
        return [row.timestamp for row in batch]

    def set_device(self, device: str, **changes: Any) -> None:
        """Change `time_offset`, `clock_offset`, `components`, `refused`, `listed`, `type` or `online`. An offline
        device keeps what it times and uploads it, in the order of `late_upload`, when it is online again."""
        known = self._device(device)
        for name, value in changes.items():
            if name in ("id", "waiting") or not hasattr(known, name):
                raise ValueError(f"a device has no changeable {name}")
            setattr(known, name, value)
        if known.online and known.waiting:
            waiting, known.waiting = known.waiting, []
            order = self._world.behaviour.late_upload
            for upload in self._ordered(waiting, order):
                upload(order != "history_only")

    # --- the platform

    def delete(self, device: str, channel: int | str, timestamp: int, *, push: bool = True) -> None:
        """Deleted on the web platform: ENTITY_DELETE; the row goes or stays as `deletion` says."""
        rows = self._rows(device, channel)
        row = rows.latest(units(timestamp))
        if self._world.behaviour.deletion == "remove":
            rows.remove(row)
        rows.kept[row.arrival].deleted = True
        rows.settle(row, False)
        if push:
            self._world.publish("ENTITY_DELETE", row)

    def edit(self, device: str, channel: int | str, timestamp: int, *, push: bool = True, **changes: Any) -> None:
        """Edited on the web platform: number, number_type, valid, blocked, falling_edge or extra of the row."""
        allowed = {"number", "number_type", "valid", "blocked", "falling_edge", "extra"}
        if not changes.keys() <= allowed:
            raise ValueError(f"only {', '.join(sorted(allowed))} can be edited")
        rows = self._rows(device, channel)
        row = rows.change(rows.latest(units(timestamp)), changes)
        rows.settle(row, True)
        change = self._world.behaviour.edit_change
        if push and change is not None:
            self._world.publish(change, row)

    def add_count(self, device: str, channel: int | str, difference: int) -> None:
        """Let the count move, up or down, without any history."""
        self._rows(device, channel).extra_count += difference

    # --- inside

    def _device(self, device: str) -> Device:
        return self._world.store.device(str(device))

    def _rows(self, device: str, channel: int | str) -> ChannelRows:
        self._device(device)
        return self._world.store.channel(str(device), channel_number(channel))

    def _free_time(self, device: Device, rows: ChannelRows) -> int:
        at = now_units() + device.clock_offset
        while at in rows.truths or at in rows.stamped:
            at += RESOLUTION
        rows.stamped.add(at)
        return at

    def _given(self, **values: Any) -> dict[str, Any]:
        """Type and flags as told, or as is usual where nothing is told."""
        behaviour = self._world.behaviour
        usual = {"type": behaviour.default_type, "valid": behaviour.valid, "blocked": behaviour.blocked}
        usual["falling_edge"] = behaviour.falling_edge
        return {name: usual[name] if value is None else value for name, value in values.items()}

    def _clearing(self, old: Row) -> Row:
        behaviour = self._world.behaviour
        at = old.timestamp if behaviour.clear_timestamp == "same" else now_units()
        number = old.number if behaviour.clear_number else None
        return replace(old, type=CLEAR, timestamp=at, number=number, extra={})

    def _ordered(self, batch: Sequence[Any], order: str) -> list[Any]:
        if order not in ("oldest_first", "newest_first", "random", "history_only"):
            raise ValueError(f"no such order: {order}")
        if order == "newest_first":
            return list(reversed(batch))
        return self._world.rng.sample(batch, len(batch)) if order == "random" else list(batch)

    def _upload(
        self,
        row: Row,
        push: bool = True,
        listed: bool = True,
        counted: bool = True,
        in_effect: bool | None = True,
        target: Row | None = None,
    ) -> None:
        """To the server now, or when the device is online again. in_effect: what is then true of the trigger
        (of `target`, if that is not the row itself); None: nothing changes."""

        def store(may_push: bool) -> None:
            self._store(row, push and may_push, listed, counted, in_effect, target)

        device = self._device(row.device)
        if device.online:
            store(True)
        else:
            device.waiting.append(store)

    def _store(
        self, row: Row, push: bool, listed: bool, counted: bool, in_effect: bool | None, target: Row | None = None
    ) -> None:
        rows = self._world.store.channel(row.device, row.channel)
        row = replace(row, arrival=self._world.store.next_arrival(), uploaded_at=now_units())
        rows.add(row, listed, push)
        rows.extra_count += int(counted) - int(listed)
        if in_effect is not None:
            rows.settle(target or row, in_effect)
        if push:
            self._world.publish("ENTITY_ADD", row)
