"""The traffic of an alpine race, as a sequence of steps. Pure: the same for the same seed.

A racer starts every 20 to 30 s (C0 of the first device) and is about a minute on the course (C1 of the last device;
devices between them see intermediates on C2, C3 ...). Devices count on by themselves (SEQUENTIAL). When somebody does
not start or does not finish, the next number is wrong: then it is typed in time (MANUAL) or corrected afterwards.
Now and then a beam is cut twice (blocked), an impulse is not valid, or somebody walks through the finish and the
impulse is cleared. Once per run the last device loses its line and uploads later.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

STARTERS = 45
_BETWEEN_RUNS_S = 60.0
_OUTAGE_S = 150.0


@dataclass(frozen=True, slots=True)
class RaceStep:
    """kind: impulse, renumber, clear, offline or online; at_s: race time since the beginning; key: names the impulse;
    number None: what the device counts to."""

    at_s: float
    kind: str
    device: str
    channel: int = 0
    key: int = 0
    number: int | None = None
    number_type: str = "SEQUENTIAL"
    valid: bool = True
    blocked: bool = False


@dataclass(slots=True)
class _Gate:
    """One measuring point: what its display counts to next."""

    device: str
    channel: int
    shown: int = 1


@dataclass(slots=True)
class _Run:
    """One run in the making."""

    rng: random.Random
    outage: tuple[float, float]
    offline: str
    keys: Iterator[int]
    steps: list[RaceStep] = field(default_factory=list)

    def passing(self, gate: _Gate, at_s: float, bib: int) -> None:
        """Somebody with this bib passes; the device shows `gate.shown`."""
        key = next(self.keys)
        if bib == gate.shown or self.rng.random() < 0.6:
            kind = "SEQUENTIAL" if bib == gate.shown else "MANUAL"
            self._impulse(gate, at_s, key, bib, kind)
            gate.shown = bib + 1
        else:
            self._impulse(gate, at_s, key, gate.shown, "SEQUENTIAL")
            self._correct("renumber", gate, at_s, key, bib)
            gate.shown = bib + 1
        self._mishap(gate, at_s)

    def _mishap(self, gate: _Gate, at_s: float) -> None:
        chance = self.rng.random()
        if chance < 0.03:
            later = at_s + self.rng.uniform(0.2, 0.6)
            self._impulse(gate, later, next(self.keys), gate.shown, "SEQUENTIAL", blocked=True)
        elif chance < 0.05:
            later = at_s + self.rng.uniform(1, 5)
            self._impulse(gate, later, next(self.keys), gate.shown, "SEQUENTIAL", valid=False)
        elif chance < 0.08:
            key, later = next(self.keys), at_s + self.rng.uniform(4, 8)
            self._impulse(gate, later, key, gate.shown, "SEQUENTIAL")
            self._correct("clear", gate, later, key, gate.shown)

    def _impulse(
        self,
        gate: _Gate,
        at_s: float,
        key: int,
        number: int,
        number_type: str,
        valid: bool = True,
        blocked: bool = False,
    ) -> None:
        step = RaceStep(at_s, "impulse", gate.device, gate.channel, key, number, number_type, valid, blocked)
        self.steps.append(step)

    def _correct(self, kind: str, gate: _Gate, at_s: float, key: int, number: int) -> None:
        """Some seconds later; on the device without a line, not before it has uploaded."""
        later = at_s + self.rng.uniform(5, 15)
        if gate.device == self.offline and later >= self.outage[0] and at_s <= self.outage[1]:
            later = max(later, self.outage[1] + self.rng.uniform(2, 8))
        self.steps.append(RaceStep(later, kind, gate.device, gate.channel, key, number, "MANUAL"))


def race_steps(devices: Sequence[str], seed: int) -> Iterator[RaceStep]:
    """Run after run without end, in order of time; the first step is a start at 0 s."""
    rng = random.Random(seed)
    keys = iter(range(1, 1 << 62))
    begin = 0.0
    while True:
        run = _one_run(rng, list(devices), begin, keys)
        yield from run
        begin = run[-1].at_s + _BETWEEN_RUNS_S


def _gates(devices: list[str]) -> list[_Gate]:
    """Start, intermediates, finish."""
    between = [_Gate(device, 2 + place) for place, device in enumerate(devices[1:-1][:7])]
    return [_Gate(devices[0], 0), *between, _Gate(devices[-1], 1)]


def _one_run(rng: random.Random, devices: list[str], begin: float, keys: Iterator[int]) -> list[RaceStep]:
    gates = _gates(devices)
    outage = begin + rng.uniform(300, 600)
    run = _Run(rng, (outage, outage + _OUTAGE_S), devices[-1], keys)
    passings: list[tuple[float, int, int]] = []  # time, gate, bib
    starts = begin
    for bib in range(1, STARTERS + 1):
        if bib > 1 and rng.random() < 0.03:
            continue  # did not start
        passings.append((starts, 0, bib))
        course = rng.gauss(63, 2.5)
        out_at = rng.uniform(0, 1) if rng.random() < 0.06 else 2.0  # share of the course, 2: finishes
        for place in range(1, len(gates)):
            share = place / (len(gates) - 1)
            if share <= out_at:
                passings.append((starts + course * share, place, bib))
        starts += rng.uniform(20, 30)
    for at_s, place, bib in sorted(passings):
        run.passing(gates[place], at_s, bib)
    run.steps.append(RaceStep(run.outage[0], "offline", run.offline))
    run.steps.append(RaceStep(run.outage[1], "online", run.offline))
    return sorted(run.steps, key=lambda step: step.at_s)
