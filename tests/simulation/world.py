"""A plan, carried out: server, broker, machine and the bridge's processes in one virtual time."""

from collections.abc import Callable
from random import Random

from mt1bridge.model.trigger import ChannelId
from tests.simulation.broker import Broker
from tests.simulation.faults import Faults
from tests.simulation.life import Life
from tests.simulation.links import Links
from tests.simulation.machine import Machine
from tests.simulation.plan import ACTIVE_S, FAULTS, LATER_FAULTS, Entry, Plan
from tests.simulation.process import Parts, Surroundings
from tests.simulation.server import Server
from tests.simulation.timeline import Timeline
from tests.simulation.traffic import Traffic
from tests.simulation.truth import Truth
from tests.simulation.verdict import judge, reconciling
from tests.simulation.witness import Breach, Witness

LOOK_EVERY_S = 60.0
QUOTA_LASTS_S = 1200.0  # the longest pause after it


class World:
    """trace: takes a line for everything that happens, if it is wanted."""

    def __init__(self, plan: Plan, parts: Parts, trace: Callable[[str], None] | None = None) -> None:
        self._plan = plan
        self._trace = trace
        self.manners = manners = plan.manners
        self.timeline = timeline = Timeline()
        seeds = Random(plan.seed)
        cuts = any(entry.kind == "power_cut" for entry in plan.entries)
        self.machine = Machine(timeline, manners.synchronised, manners.clock_off_s, keeps_snapshots=cuts)
        self.truth = Truth(manners.clears, manners.deletes, manners.clear_number)
        self.witness = Witness(timeline, manners, self.truth.identities, lambda: self.machine.commits)
        self.server = Server(timeline, manners, self.truth, Random(seeds.getrandbits(32)))
        self.links = Links(timeline, manners, Random(seeds.getrandbits(32)), self.server.tokens.__contains__)
        self.broker = Broker(timeline, manners, Random(seeds.getrandbits(32)), self.witness.wrote)
        around = Surroundings(
            self.machine, self.server, self.links, self.broker, self.witness, manners, Random(seeds.getrandbits(32))
        )
        self.life = Life(timeline, around, parts, self.say)
        self.witness.agreed_s = self._agreed_s
        self._read: set[ChannelId] = set()
        self._traffic = Traffic(timeline, manners, self.truth, self.server, self.links)
        self._traffic.was_read = self._was_read
        self._faults = Faults(self)
        if trace is not None:
            self.witness.trace = self.say

    def _agreed_s(self, device: str) -> float:
        """Slow pushes may agree on an offset as those of a device whose clock is wrong do (CONTRACT, section 3)."""
        process = self.life.process
        return max(0.0, process.bridge.parts.clocks.offset_ms(device) / 1000) if process is not None else 0.0

    def _was_read(self, device: str, channel: int) -> bool:
        """Whether the bridge has read what was there when the channel became its own: it may be held off for long."""
        process = self.life.process
        if process is not None:
            self._read |= {one.at for one in process.bridge.parts.reconciliation.memories if one.baselined}
        return ChannelId(device, f"C{channel}") in self._read

    def say(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.timeline.now:9.3f}  {text}")

    def close(self) -> None:
        self.life.close()
        self.machine.close()

    def run(self) -> None:
        """Carry the plan out and judge the end. Raises Breach."""
        self._traffic.before()
        for entry in self._plan.entries:
            self.timeline.at(entry.at, lambda entry=entry: self._happen(entry))
        self._advance(ACTIVE_S)
        self._faults.end_all()
        self._until_right()

    def _happen(self, entry: Entry) -> None:
        self.say(f"-- {entry}")
        is_fault = entry.kind in FAULTS or entry.kind in LATER_FAULTS
        do: Callable[[Entry], None] = getattr(self._faults if is_fault else self._traffic, entry.kind)
        do(entry)

    def _until_right(self) -> None:
        """Wait for the end that must come; then a while longer, for it must last."""
        patience = 2 * self.manners.full_interval_s + 600.0 + QUOTA_LASTS_S * self.witness.was_in_quota
        deadline = self.timeline.now + patience
        while True:
            self._advance(self.timeline.now + LOOK_EVERY_S)
            try:
                judge(self)
            except Breach:
                if self.timeline.now >= deadline:
                    raise
                continue
            break
        self._advance(self.timeline.now + self.manners.full_interval_s + 2 * LOOK_EVERY_S)
        if reconciling(self):  # a connection renewed on suspicion; it takes no longer than that
            self._advance(self.timeline.now + LOOK_EVERY_S)
        judge(self)

    def _advance(self, until: float) -> None:
        timeline, life = self.timeline, self.life
        while True:
            wake, thing = life.next_at(), timeline.next_at()
            if min(wake, thing) > until:
                timeline.now = until
                return
            if thing <= wake:
                timeline.step()
            else:
                timeline.now = max(timeline.now, wake)
                life.step()
