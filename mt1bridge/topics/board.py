"""The retained topics: which are out of date, and which goes next. Pure.

A topic is handed over again only when the broker has acknowledged it, and not more often than its gap allows: what
changes in between is told once, in its newest form.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from mt1bridge.model.broker import Publication

Render = Callable[[], list[Publication]]


@dataclass(slots=True)
class _Slot:
    render: Render
    gap_s: float
    emptying: bool = False
    dirty: bool = True
    in_flight: int = 0
    sent_at: float = float("-inf")
    not_before: float = float("-inf")  # the broker refused it: not even on another connection


class Board:
    """Slots by key; a slot renders one or several retained publications at hand-over."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._dirty: dict[str, None] = {}

    def put(self, key: str, render: Render, gap_s: float = 0.0, emptying: bool = False) -> None:
        """Add a slot, or give it a new content; it is out of date from now on.

        emptying: it only empties topics, and goes once the broker has acknowledged that.
        """
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(render, gap_s)
        slot.render, slot.emptying = render, emptying
        self.touch(key)

    def touch(self, key: str) -> None:
        if key in self._slots:
            self._slots[key].dirty = True
            self._dirty[key] = None

    def drop(self, key: str) -> None:
        self._slots.pop(key, None)
        self._dirty.pop(key, None)

    def keys(self) -> list[str]:
        return list(self._slots)

    def all_again(self, first: Iterable[str]) -> None:
        """A new connection: everything is to be sent, `first` before the rest."""
        self._dirty.clear()
        for slot in self._slots.values():
            slot.in_flight, slot.sent_at = 0, float("-inf")
        for key in [*(key for key in first if key in self._slots), *self._slots]:
            self.touch(key)

    def next(self, now: float, but: Container[object] = ()) -> str | None:
        """The key of the slot that may go now, or None. but: slots that wait for something else."""
        for key in self._dirty:
            slot = self._slots[key]
            if key not in but and not slot.in_flight and now >= _free_at(slot):
                return key
        return None

    def free_at(self, key: str) -> float | None:
        """Monotonic second from which on a slot may go; None if it is not out of date."""
        return _free_at(self._slots[key]) if key in self._dirty else None

    def waiting(self) -> bool:
        """Whether anything is still to be sent or acknowledged."""
        return bool(self._dirty) or any(slot.in_flight for slot in self._slots.values())

    def settled(self, keys: Iterable[str]) -> bool:
        """Whether the broker has acknowledged these slots as they are now."""
        return not any(key in self._dirty or self._slots[key].in_flight for key in keys if key in self._slots)

    def unsent(self, now: float, but: Container[object] = ()) -> bool:
        """Whether something is still to be sent, but for what the broker refuses, and for these slots."""
        return any(now >= self._slots[key].not_before for key in self._dirty if key not in but)

    def next_due(self, but: Container[object] = ()) -> float:
        """Monotonic second when a waiting slot may go; infinity if none waits for time. but: as in `next`."""
        waiting = [_free_at(s) for s in (self._slots[key] for key in self._dirty if key not in but) if not s.in_flight]
        return min(waiting, default=float("inf"))

    def take(self, key: str, now: float) -> list[Publication]:
        """Render a slot for hand-over."""
        slot = self._slots[key]
        self._dirty.pop(key, None)
        publications = slot.render()
        slot.dirty, slot.sent_at, slot.in_flight = False, now, len(publications)
        return publications

    def acknowledged(self, key: str) -> bool:
        """One publication of it was acknowledged. True if the broker has all of it and nothing is new since."""
        slot = self._slots.get(key)
        if slot is None or not slot.in_flight:
            return False
        slot.in_flight -= 1
        whole = not slot.in_flight and not slot.dirty
        if whole and slot.emptying:
            self.drop(key)
        return whole

    def refused(self, key: str, until: float) -> None:
        """The broker refused one publication of it: all of it is tried again, but not before then."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.in_flight = max(0, slot.in_flight - 1)
            slot.not_before = until
            self.touch(key)


def _free_at(slot: _Slot) -> float:
    return max(slot.sent_at + slot.gap_s, slot.not_before)
