"""Whatever happens to a trigger and whichever pushes are lost: once history was read, what is told is how it is."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.feed.corrections import Corrections
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting, TriggerId

TRIGGER = TriggerId("231203016", "C1", 17_710_614_151_234_500)


def sighting(change, number):
    return Sighting(TRIGGER, change, Reading(number, "MANUAL", True, False, True, 60))


@dataclass
class Device:
    """One entry of a device, and what its server lists of it: every start and every clear, newest first."""

    number: int | None = None
    rows: list[Sighting] = field(default_factory=list)

    def set(self, number):
        """The pushes of it: a new number means that the old one is cleared."""
        pushes = []
        if self.number is not None:
            pushes.append(sighting(Change.CLEAR, self.number))
        pushes.append(sighting(Change.SET, number))
        self.number = number
        self.rows[:0] = reversed(pushes)
        return pushes

    def clear(self):
        if self.number is None:
            return []
        push = sighting(Change.CLEAR, self.number)
        self.number = None
        self.rows.insert(0, push)
        return [push]


class Listener:
    def __init__(self):
        self._corrections = Corrections({"falling"})
        self.known: Known | None = None
        self.told = []  # (in effect, number)

    def push(self, one):
        self._take(self._corrections.pushed(one, self.known, 1))

    def read(self, rows):
        self._take(self._corrections.listed(tuple(rows), self.known, TRIGGER, 2))

    def _take(self, verdict):
        before = self.known
        self.known = verdict.known or before
        if verdict.fact is not None:
            fact = verdict.fact
            assert fact.revision == (before.revision if before else 0) + 1
            self.told.append((fact.in_effect, fact.reading.start_number))

    def holds(self):
        return self.told[-1] if self.told else None


steps = st.lists(
    st.tuples(
        st.sampled_from((1, 2, 3, None)),  # a number that is set; None: cleared
        st.sampled_from(("arrives", "arrives", "lost", "twice")),
        st.booleans(),  # history is read after it
    ),
    min_size=1,
    max_size=10,
)


@given(steps)
def test_history_brings_what_pushes_lost(steps):
    device, listener = Device(), Listener()
    for number, fate, is_read in steps:
        if number is not None and number == device.number:
            continue
        for push in device.clear() if number is None else device.set(number):
            for _ in range({"arrives": 1, "lost": 0, "twice": 2}[fate]):
                listener.push(push)
        if is_read and device.rows:
            listener.read(device.rows)
    if not device.rows:
        return
    listener.read(device.rows)
    in_effect, number = listener.holds()
    assert in_effect == (device.number is not None)
    assert not in_effect or number == device.number


@given(steps)
def test_reading_history_again_tells_nothing(steps):
    device, listener = Device(), Listener()
    for number, _, _ in steps:
        if number is None:
            device.clear()
        elif number != device.number:
            device.set(number)
    if device.rows:
        listener.read(device.rows)
        told = list(listener.told)
        listener.read(device.rows)
        assert listener.told == told


@given(steps)
def test_what_push_told_history_does_not_tell_again(steps):
    """History never needs to be read where every push arrived."""
    device, listener = Device(), Listener()
    for number, _, is_read in steps:
        if number is not None and number == device.number:
            continue
        for push in device.clear() if number is None else device.set(number):
            listener.push(push)
        told = list(listener.told)
        if is_read and device.rows:
            listener.read(device.rows)
        assert listener.told == told


@given(steps)
def test_nothing_is_told_that_is_told_already(steps):
    device, listener = Device(), Listener()
    for number, fate, is_read in steps:
        for push in device.clear() if number is None else device.set(number):
            for _ in range({"arrives": 1, "lost": 0, "twice": 2}[fate]):
                listener.push(push)
        if is_read and device.rows:
            listener.read(device.rows)
    assert all(one != other for one, other in zip(listener.told, listener.told[1:], strict=False))
