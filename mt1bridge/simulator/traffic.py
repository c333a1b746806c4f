"""Verb of `Control` that lets a race go on."""

import asyncio

from mt1bridge.simulator.clock import monotonic
from mt1bridge.simulator.race import RaceStep, race_steps
from mt1bridge.simulator.timing import Timing
from mt1bridge.simulator.world import World


class Traffic:
    def __init__(self, world: World) -> None:
        self._world = world
        self._race: asyncio.Task[None] | None = None

    def race(self, speed: float = 12.0, *, seed: int = 1, devices: list[str] | None = None, wait: bool = True) -> None:
        """A race without end, `speed` times as fast as a real one (12: about one trigger a second), in place of
        the one under way. wait: it begins, with an impulse at once, when the first subscriber is there."""
        if speed <= 0:
            raise ValueError("the speed is not positive")
        chosen = sorted(self._world.store.devices) if devices is None else list(devices)
        for device in chosen:
            self._world.store.device(device)
        self.stop_race()
        self._race = asyncio.get_running_loop().create_task(self._drive(chosen, speed, seed, wait))

    def stop_race(self) -> None:
        """No further traffic; devices that have lost their line get it back."""
        if self._race is not None:
            self._race.cancel()
            self._race = None
            for device in self._world.store.devices:
                Timing(self._world).set_device(device, online=True)

    async def _drive(self, devices: list[str], speed: float, seed: int, wait: bool) -> None:
        if wait:
            await self._world.subscribed.wait()
        begun, times = monotonic(), dict[int, int]()
        for step in race_steps(devices, seed):
            await asyncio.sleep(max(0.0, begun + step.at_s / speed - monotonic()))
            self._step(Timing(self._world), step, times)

    def _step(self, timing: Timing, step: RaceStep, times: dict[int, int]) -> None:
        """times: of the impulses that may still be corrected, by key."""
        if step.kind in ("offline", "online"):
            timing.set_device(step.device, online=step.kind == "online")
        elif step.kind == "impulse":
            made = timing.impulse(
                step.device, step.channel, step.number, step.number_type, valid=step.valid, blocked=step.blocked
            )
            times[step.key] = made["timestamp"]
            times.pop(step.key - 500, None)
        else:
            self._correct(timing, step, times[step.key])

    def _correct(self, timing: Timing, step: RaceStep, timestamp: int) -> None:
        try:
            if step.kind == "renumber":
                timing.renumber(step.device, step.channel, timestamp, step.number or 0)
            else:
                timing.clear(step.device, step.channel, timestamp)
        except LookupError:  # somebody else took the device off line or deleted the trigger meanwhile
            self._world.counters["race_steps_skipped"] += 1
