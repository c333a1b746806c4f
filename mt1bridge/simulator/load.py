"""Loads: many triggers at a steady rate, the same for the same seed."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mt1bridge.simulator.clock import UNITS_PER_SECOND, monotonic, now_units
from mt1bridge.simulator.timing import Timing, units
from mt1bridge.simulator.world import World

_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a load. kind: impulse, renumber or clear; target: place of the impulse that it corrects."""

    kind: str
    device: str
    channel: int
    number: int
    number_type: str
    target: int


def steps(count: int, devices: Sequence[str], channels: Sequence[int], corrections: float, seed: int) -> Iterator[Step]:
    """`count` impulses, round about the devices and channels, and among them, for a share of `corrections`
    (0..1) of them, a renumbering or a clear of one of the last fifty that is still in effect."""
    rng = random.Random(seed)
    places = [(device, channel) for device in devices for channel in channels]
    recent: list[Step] = []
    for place in range(count):
        device, channel = rng.choice(places)
        step = Step("impulse", device, channel, place + 1, rng.choice(("SEQUENTIAL", "MANUAL")), place)
        yield step
        recent = [*recent[-49:], step]
        if rng.random() < corrections:
            old = rng.choice(recent)
            if rng.random() < 0.5:
                yield Step("renumber", old.device, old.channel, rng.randint(1, 9999), "MANUAL", old.target)
            else:
                yield Step("clear", old.device, old.channel, old.number, old.number_type, old.target)
                recent.remove(old)


@dataclass(slots=True)
class Progress:
    """How far a load is."""

    wanted: int
    impulses: int = 0
    renumbered: int = 0
    cleared: int = 0
    done: bool = False


class Loads:
    """Verbs of `Control` for loads."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._progress: dict[int, Progress] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def load(
        self,
        count: int,
        per_second: float,
        *,
        devices: Sequence[str] | None = None,
        channels: Sequence[int] = (0, 1),
        corrections: float = 0.0,
        seed: int = 1,
        start: int | None = None,
    ) -> int:
        """Push `count` impulses at this rate (0: all at once). start: time of the first, each next one 1/rate
        later (1 ms at rate 0); None is now. Returns a number for `load_progress`."""
        chosen = sorted(self._world.store.devices) if devices is None else list(devices)
        for device in chosen:
            self._world.store.device(device)
        number = len(self._progress) + 1
        self._progress[number] = progress = Progress(count)
        plan = steps(count, chosen, list(channels), corrections, seed)
        spacing = int(UNITS_PER_SECOND / per_second) if per_second > 0 else UNITS_PER_SECOND // 1000
        first = now_units() if start is None else units(start)
        task = asyncio.get_running_loop().create_task(self._run(plan, progress, per_second, first, spacing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return number

    def load_progress(self, load: int | str) -> dict[str, Any]:
        """wanted, impulses, renumbered, cleared, done."""
        progress = self._progress[int(load)]
        return {name: getattr(progress, name) for name in Progress.__slots__}

    async def _finished(self, load: int) -> None:
        """Returns when the load is through."""
        while not self._progress[load].done:
            await asyncio.sleep(_TICK_S)

    async def _run(self, plan: Iterator[Step], progress: Progress, per_second: float, first: int, spacing: int) -> None:
        timing, begun = Timing(self._world), monotonic()
        for step in plan:
            if step.kind == "impulse":
                if per_second > 0:
                    while progress.impulses > (monotonic() - begun) * per_second:
                        await asyncio.sleep(_TICK_S)
                elif progress.impulses % 200 == 199:
                    await asyncio.sleep(0)
            self._play(timing, step, progress, first + step.target * spacing)
        progress.done = True

    def _play(self, timing: Timing, step: Step, progress: Progress, at: int) -> None:
        if step.kind == "impulse":
            timing.impulse(step.device, step.channel, step.number, step.number_type, at=at)
            progress.impulses += 1
        elif step.kind == "renumber":
            timing.renumber(step.device, step.channel, at, step.number)
            progress.renumbered += 1
        else:
            timing.clear(step.device, step.channel, at)
            progress.cleared += 1
