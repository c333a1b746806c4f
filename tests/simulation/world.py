"""A plan, carried out: server, broker, machine and the bridge's processes in one virtual time."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation.broker import Broker, Delivery
from tests.simulation.links import Links
from tests.simulation.machine import Killed, Machine
from tests.simulation.plan import ACTIVE_S, Entry, Plan
from tests.simulation.process import Parts, Process, Surroundings
from tests.simulation.server import Server
from tests.simulation.timeline import Timeline
from tests.simulation.truth import Identity, PushMark, Row, START, State, Truth
from tests.simulation.verdict import judge
from tests.simulation.witness import Breach, Witness

LOOK_EVERY_S = 60.0
UPLOAD_AFTER_S = 0.05
SPINNING = 500


class World:
    """trace: takes a line for everything that happens, if it is wanted."""

    def __init__(self, plan: Plan, parts: Parts, trace: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.manners = manners = plan.manners
        self.parts = parts
        self.timeline = timeline = Timeline()
        self._trace = trace
        random = Random(plan.seed)
        self.truth = Truth(manners.clears, manners.deletes, manners.clear_number)
        self.machine = Machine(timeline, manners.synchronised, manners.clock_off_s)
        self.machine.keeps_snapshots = any(entry.kind == "power_cut" for entry in plan.entries)
        self.witness = Witness(timeline, manners, self.truth.identities, lambda: self.machine.commits)
        self.server = Server(timeline, manners, self.truth, Random(random.getrandbits(32)))
        self.links = Links(timeline, manners, Random(random.getrandbits(32)), self.server.tokens.__contains__)
        self.broker = Broker(timeline, manners, Random(random.getrandbits(32)), self.witness.wrote)
        self.around = Surroundings(
            self.machine, self.server, self.links, self.broker, self.witness, manners, Random(random.getrandbits(32))
        )
        self.process: Process | None = None
        self.lives = 0
        self._start_at = float("inf")
        self._stalled_until = 0.0
        self._kills_left = 0
        self._kill_points = 0
        self._down_s = 0.1
        self._turns, self._turned_at = 0, 0.0
        if trace is not None:
            self.witness.trace = self.say

    def say(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.timeline.now:9.3f}  {text}")

    def close(self) -> None:
        if self.process is not None and self.process.alive:
            self.process.die()
        self.machine.close()

    # --- time ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry the plan out and judge the end. Raises Breach."""
        self._before()
        for entry in self.plan.entries:
            self.timeline.at(entry.at, lambda entry=entry: self._happen(entry))
        self._start_in(0.0)
        self.advance(ACTIVE_S)
        self._end_faults()
        self._until_right()

    def _until_right(self) -> None:
        """Wait for the end that must come; then a while longer, for it must last."""
        patience = 2 * self.manners.full_interval_s + 600.0
        patience += max(0.0, self.witness.quota_until - self.timeline.now) + 1200.0 * self.witness.was_in_quota
        deadline = self.timeline.now + patience
        while True:
            self.advance(self.timeline.now + LOOK_EVERY_S)
            try:
                judge(self)
            except Breach:
                if self.timeline.now >= deadline:
                    raise
                continue
            break
        self.advance(self.timeline.now + self.manners.full_interval_s + 2 * LOOK_EVERY_S)
        judge(self)

    def advance(self, until: float) -> None:
        while True:
            wake = self._process_at()
            thing = self.timeline.next_at()
            if min(wake, thing) > until:
                self.timeline.now = until
                return
            if thing <= wake:
                self.timeline.step()
            else:
                self.timeline.now = max(self.timeline.now, wake)
                self._process_turn()

    def _process_at(self) -> float:
        """When the process does something next."""
        if self.process is None:
            return self._start_at
        now = self.timeline.now
        try:
            return max(now + self.process.wait_s(), self._stalled_until)
        except Killed:
            self._killed()
            return self._start_at

    def _process_turn(self) -> None:
        self._turns = self._turns + 1 if self._turned_at == self.timeline.now else 0
        self._turned_at = self.timeline.now
        if self._turns > SPINNING:
            raise Breach("spin", f"{SPINNING} turns at one instant")
        try:
            if self.process is None:
                self._start_at = float("inf")
                self.lives += 1
                self.say(f"process {self.lives} starts")
                self.process = self._born()
                return
            self.process.turn()
        except Killed:
            self._killed()
            return
        if self.process.finished:
            self.say("process ended")
            self.process.end()
            self.process = None

    def _born(self) -> Process:
        if self._kills_left:
            self._kills_left -= 1
            self.machine.kill_in = self._kill_points + self.around.random.randrange(60)
        return Process(self.lives, self.around, self.parts)

    def _killed(self) -> None:
        self.say("process killed")
        if self.process is not None:
            self.process.die()
        self.process = None
        self._stalled_until = 0.0
        self.witness.died(self.machine.commits)
        self._start_in(self._down_s)

    def _start_in(self, seconds: float) -> None:
        self._start_at = self.timeline.now + seconds

    # --- what happens -------------------------------------------------------------------------------

    def _before(self) -> None:
        """What the server has before the first start."""
        for number in range(self.manners.before):
            timestamp = self.timeline.ticks - (number + 1) * 600_000_000
            one = self.truth.identity(self.server.devices[0], 0, timestamp, old=True)
            self.truth.start(one, Row(timestamp, START, number + 1))
            one.steps[-1].pushes.clear()
            self.server.show(one.device, 0, one.id, one.rows)

    def _happen(self, entry: Entry) -> None:
        self.say(f"-- {entry}")
        random = Random(entry.salt)
        handler: Callable[[Random, dict[str, Any]], None] = getattr(self, f"_{entry.kind}")
        handler(random, dict(entry.args))

    def device_ticks(self, device_s_ago: float = 0.0) -> int:
        return self.timeline.ticks + int((self.manners.device_ahead_s - device_s_ago) * 1e7)

    def _tell(self, one: Identity, push: tuple[dict[str, Any], PushMark], fate: str, random: Random) -> None:
        """Let the server push it, and show it in history soon."""
        body, mark = push
        rows = one.rows
        one.shown_at = one.shown_at or self.timeline.now + self.manners.lag_s
        self.timeline.after(self.manners.lag_s, lambda: self.server.show(one.device, one.channel, one.id, rows))
        if fate == "lost":
            return
        delay = {"slow": random.choice((1.0, 15.0))}.get(fate, 0.0)
        self.links.push(one.device, one.id, body, mark, delay)
        if fate == "twice":
            self.links.push(one.device, one.id, body, mark, delay)

    def _impulse(self, random: Random, args: dict[str, Any]) -> None:
        device = self.server.devices[args["device"] % len(self.server.devices)]
        timestamp = self.device_ticks()
        row = Row(
            timestamp,
            START,
            args["number"],
            args.get("valid", True),
            args.get("blocked", False),
            args.get("fallingEdge", True),
            number_type=random.choice(("MANUAL", "SEQUENTIAL")),
        )
        one = self.truth.identity(device, args["channel"], timestamp)
        self._later(one, lambda: self.truth.start(one, row), args["fate"], random, UPLOAD_AFTER_S)

    def _later(
        self,
        one: Identity,
        do: Callable[[], tuple[dict[str, Any], PushMark]],
        fate: str,
        random: Random,
        seconds: float,
    ) -> None:
        self.timeline.after(seconds, lambda: self._tell(one, do(), fate, random))

    def _picked(self, args: dict[str, Any]) -> Identity | None:
        device = self.server.devices[args["device"] % len(self.server.devices)]
        one = self.truth.newest(device, args["pick"])
        return one if one is not None and one.steps else None

    @property
    def _clears_tell_all(self) -> bool:
        return self.manners.clears == "listed" and self.manners.clear_number

    def _untellable(self, number: int | None) -> bool:
        """A clear that names no number, which history never shows, may be of any number."""
        return number is None and self.manners.clears == "hidden"

    def _clear_fate(self, fate: str, number: int | None) -> str:
        """Two clears that name no number are two clears, unless history tells."""
        nameless = number is None or not self.manners.clear_number
        return "ok" if fate == "twice" and nameless and self.manners.clears != "listed" else fate

    def _clear(self, random: Random, args: dict[str, Any]) -> None:
        one = self._picked(args)
        if one is not None and one.state.in_effect and (len(one.live) == 1 or self._clears_tell_all):
            number = one.state.row.number
            if self._untellable(number):
                return
            self._tell(one, self.truth.clear(one, number), self._clear_fate(args["fate"], number), random)

    def _delete(self, random: Random, args: dict[str, Any]) -> None:
        one = self._picked(args)
        if one is not None and one.state.in_effect:
            self._tell(one, self.truth.delete(one), args["fate"], random)

    def _again(self, random: Random, args: dict[str, Any]) -> None:
        """What was cleared or deleted comes back."""
        one = self._picked(args)
        if one is not None and not one.state.in_effect:
            self._tell(one, self.truth.start(one, one.state.row), args["fate"], random)

    def _twin(self, random: Random, args: dict[str, Any]) -> None:
        """Another start with the same timestamp and channel (U20)."""
        one = self._picked(args)
        numbers = {args["number"], *(row.number for row in one.live)} if one is not None else {None}
        if one is not None and one.state.in_effect and None not in numbers and len(numbers) > len(one.live):
            row = replace(one.state.row, number=args["number"])
            self._tell(one, self.truth.start(one, row), args["fate"], random)

    def _edit(self, random: Random, args: dict[str, Any]) -> None:
        one = self._picked(args)
        if one is None or not one.state.in_effect:
            return

        def change(row: Row) -> Row:
            if args["what"] == "number":
                return replace(row, number=args["number"])
            value = not getattr(row, args["what"])
            return replace(row, **{args["what"]: value})

        self._tell(one, self.truth.edit(one, change), args["fate"], random)

    def _renumber(self, random: Random, args: dict[str, Any]) -> None:
        """Two messages: the clear of the old number and the start with the new one (U17)."""
        one = self._picked(args)
        if one is None or not one.state.in_effect or args["number"] in [row.number for row in one.live]:
            return
        if len(one.live) > 1 and not self._clears_tell_all:
            return
        old = one.state.row
        if self._untellable(old.number):
            return
        new = replace(old, number=args["number"])
        gap = args["gap"]
        nameless = old.number is None and self.manners.clears != "listed"
        if args["order"] == "clear_first" or nameless:
            fate = self._clear_fate(args["fate"], old.number)
            self._tell(one, self.truth.clear(one, old.number), fate, random)
            self._later(one, lambda: self.truth.start(one, new), args["fate2"], random, gap)
            return
        self._tell(one, self.truth.start(one, new), args["fate"], random)
        fate = self._clear_fate(args["fate2"], old.number)
        self._later(one, lambda: self.truth.clear(one, old.number), fate, random, gap)

    def _late_upload(self, random: Random, args: dict[str, Any]) -> None:
        """A device comes back to the network with what it has stored."""
        device = self.server.devices[args["device"] % len(self.server.devices)]
        moments = sorted(random.uniform(0.5, args["seconds"]) for _ in range(args["impulses"]))  # seconds ago
        if args["order"] == "oldest":
            moments.reverse()
        elif args["order"] == "random":
            random.shuffle(moments)
        fate = "lost" if args["order"] == "history" else "ok"
        for number, ago in enumerate(moments):
            timestamp = self.device_ticks(ago)
            one = self.truth.identity(device, random.choice((0, 1)), timestamp)
            row = Row(timestamp, START, number + 1)
            self._later(one, lambda one=one, row=row: self.truth.start(one, row), fate, random, number * 0.01)

    def _odd(self, random: Random, args: dict[str, Any]) -> None:
        device = self.server.devices[0]
        body: dict[str, Any] | bytes = b"\xff not json"
        if args["what"] == "type":
            one = self.truth.identity(device, 1, self.device_ticks())
            push, mark = self.truth.start(one, Row(one.timestamp, START, 1))
            push["dto"]["type"] = "NewTrigger"
            self.links.push(device, one.id, push, None)
            one.old = True  # pushed only, and as something that is no start: nothing is promised of it
            return
        if args["what"] == "field":
            body = {"type": "ENTITY_ADD", "dto": {"deviceId": device, "timingChannel": "C1", "timestamp": "soon"}}
        self.links.push(device, "odd", body, None)

    # --- faults -------------------------------------------------------------------------------------

    def _for(self, seconds: float, over: Callable[[], None]) -> None:
        self.timeline.after(seconds, over)

    def _kill(self, random: Random, args: dict[str, Any]) -> None:
        """SIGKILL at one of the next points."""
        if self.process is not None:
            self.machine.kill_in = args["points"]
            self._down_s = args["down"]

    def _kills(self, random: Random, args: dict[str, Any]) -> None:
        self._kills_left, self._kill_points = args["times"], args["points"]
        self._kill(random, args)

    def _terminate(self, random: Random, args: dict[str, Any]) -> None:
        if self.process is None or self.process.stop_asked:
            return
        asked, process = self.timeline.now, self.process
        process.stop()

        def look() -> None:
            if process.alive and self._stalled_until < asked:
                raise Breach("stop", f"not ended 5 s after SIGTERM at {asked:.1f}")

        self.timeline.after(5.0, look)
        self.timeline.after(5.0 + args["down"], self._start_if_down)

    def _start_if_down(self) -> None:
        if self.process is None and self._start_at == float("inf"):
            self._start_in(0.0)

    def _power_cut(self, random: Random, args: dict[str, Any]) -> None:
        if self.process is not None:
            self.process.die()
            self.process = None
        self.machine.kill_in = None
        kept = self.machine.cut_power(args["back"])
        self.witness.died(kept)
        self.machine.commits = kept
        self._stalled_until = 0.0
        self._start_in(args["down"])

    def _disk_fails(self, random: Random, args: dict[str, Any]) -> None:
        self.machine.disk_fails = args["where"]

        def over() -> None:
            self.machine.disk_fails = None

        self._for(args["seconds"], over)

    def _stall(self, random: Random, args: dict[str, Any]) -> None:
        self._stalled_until = self.timeline.now + args["seconds"]

    def _clock_step(self, random: Random, args: dict[str, Any]) -> None:
        self.machine.step_clock(args["seconds"])

    def _link_lost(self, random: Random, args: dict[str, Any]) -> None:
        self.links.break_all(args["trouble"])

    def _link_down(self, random: Random, args: dict[str, Any]) -> None:
        self.links.down = args["trouble"]
        self.links.break_all("closed")

        def over() -> None:
            self.links.down = None

        self._for(args["seconds"], over)

    def _push_mute(self, random: Random, args: dict[str, Any]) -> None:
        self.links.mute = True

        def over() -> None:
            self.links.mute = False

        self._for(args["seconds"], over)

    def _rest_down(self, random: Random, args: dict[str, Any]) -> None:
        self.server.trouble = args["how"]

        def over() -> None:
            self.server.trouble = None

        self._for(args["seconds"], over)

    def _rest_slow(self, random: Random, args: dict[str, Any]) -> None:
        self.server.slow = True

        def over() -> None:
            self.server.slow = False

        self._for(args["seconds"], over)

    def _quota(self, random: Random, args: dict[str, Any]) -> None:
        self.server.quota = args["how"]
        self.witness.was_in_quota = True

        def over() -> None:
            self.server.quota = None

        self._for(args["seconds"], over)

    def _token_dies(self, random: Random, args: dict[str, Any]) -> None:
        self.server.tokens.clear()
        if args["link"] == "close":
            self.links.break_all("closed")
        elif args["link"] == "mute":
            self.links.mute_all()

    def _device_refused(self, random: Random, args: dict[str, Any]) -> None:
        device = self.server.devices[args["device"]]
        self.server.refused.add(device)
        self._for(args["seconds"], lambda: self.server.refused.discard(device))

    def _broker_lost(self, random: Random, args: dict[str, Any]) -> None:
        if args["when"] == "now":
            self.broker.break_all()
        else:
            self.broker.break_at_next = args["when"]

    def _broker_away(self, random: Random, args: dict[str, Any]) -> None:
        self.broker.go(args["forgets"])

        def over() -> None:
            self.broker.away = False

        self._for(args["seconds"], over)

    def _broker_swallows(self, random: Random, args: dict[str, Any]) -> None:
        self.broker.swallows = True

        def over() -> None:
            self.broker.swallows = False

        self._for(args["seconds"], over)

    def _broker_refuses(self, random: Random, args: dict[str, Any]) -> None:
        self.broker.refuses = args["reason"]

        def over() -> None:
            self.broker.refuses = None

        self._for(args["seconds"], over)

    def _broker_slow(self, random: Random, args: dict[str, Any]) -> None:
        self.broker.slow = True

        def over() -> None:
            self.broker.slow = False

        self._for(args["seconds"], over)

    def _end_faults(self) -> None:
        self.say("-- faults end")
        self.machine.disk_fails = None
        self.machine.kill_in = None
        self._kills_left = 0
        self._stalled_until = 0.0
        self.links.down, self.links.mute = None, False
        self.server.trouble, self.server.quota, self.server.slow = None, None, False
        self.server.refused.clear()
        self.broker.away = self.broker.swallows = self.broker.slow = False
        self.broker.refuses = self.broker.break_at_next = None
        if self.process is None and self._start_at == float("inf"):
            self._start_in(0.0)
