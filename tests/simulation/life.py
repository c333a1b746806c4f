"""The lives of the bridge's process on its machine: start, turns, SIGKILL, SIGTERM, power cut, SIGSTOP."""

from collections.abc import Callable

from mt1bridge.cloud.kept import BUDGET_FILE
from tests.simulation.machine import Killed
from tests.simulation.process import Parts, Process, Surroundings
from tests.simulation.timeline import Timeline
from tests.simulation.witness import Breach

NEVER = float("inf")
TURN_S = 0.004
SPINNING = 1_000  # turns without a pause
STOP_WITHIN_S = 5.0
KILL_SPREAD = 60


class Life:
    def __init__(self, timeline: Timeline, around: Surroundings, parts: Parts, say: Callable[[str], None]) -> None:
        self._timeline = timeline
        self._around = around
        self._machine = around.machine
        self._parts = parts
        self._say = say
        self.process: Process | None = None
        self._number = 0
        self._start_at = 0.0
        self._wake_at = 0.0
        self._stalled_until = 0.0
        self._kills_left = 0
        self._kill_points = 0
        self._down_s = 0.1
        self._busy_until = 0.0
        self._turns = 0

    def next_at(self) -> float:
        """True second when the process does something next."""
        if self.process is None:
            return self._start_at
        wake = self._timeline.now if self.process.has_events else self._wake_at
        return max(wake, self._stalled_until, self._busy_until)

    def step(self) -> None:
        """A start or a turn, now."""
        try:
            if self.process is None:
                self._start()
            else:
                self._turn(self.process)
        except Killed:
            self._died()

    def _start(self) -> None:
        self._start_at = NEVER
        self._number += 1
        self._say(f"process {self._number} starts")
        if self._kills_left:
            self._kills_left -= 1
            self._machine.kill_in = self._kill_points + self._around.random.randrange(KILL_SPREAD)
        self.process = Process(self._number, self._around, self._parts)
        self._wake_at = self._timeline.now

    def _turn(self, process: Process) -> None:
        self._turns = self._turns + 1 if self._timeline.now <= self._busy_until else 0
        if self._turns > SPINNING:
            raise Breach("spin", f"{SPINNING} turns without a pause")
        process.turn()
        self._busy_until = self._timeline.now + TURN_S
        if process.finished:
            self._say("process ended")
            process.end()
            self.process = None
            self._start_at = self._timeline.now + self._down_s
        else:
            self._wake_at = self._timeline.now + process.wait_s()

    def _died(self) -> None:
        self._say("process killed")
        if self.process is not None:
            self.process.die()
        self.process = None
        self._stalled_until = 0.0
        self._around.witness.died(self._machine.commits)
        self._start_at = self._timeline.now + self._down_s

    def close(self) -> None:
        if self.process is not None and self.process.alive:
            self.process.die()

    # --- what happens to it -------------------------------------------------------------------------

    def go_on(self) -> None:
        """No more trouble: it runs, or is started."""
        self._kills_left = 0
        self._stalled_until = min(self._stalled_until, self._timeline.now)

    def kill(self, near: str, points: int, down_s: float, again: int = 0) -> None:
        """SIGKILL so many points (machine.py) after what it is to be near, and again so many times after the start."""
        self._kills_left, self._kill_points, self._down_s = again, points, down_s
        if self.process is not None:
            self._machine.arm(near, points)

    def terminate(self, down_s: float) -> None:
        """SIGTERM: it must end soon by itself."""
        process, asked = self.process, self._timeline.now
        if process is None or process.stop_asked:
            return
        process.stop()
        self._down_s = down_s

        def look() -> None:
            if not process.alive:
                return
            frozen_s = self._stalled_until + STOP_WITHIN_S - self._timeline.now
            if self._stalled_until > asked and frozen_s > 0:  # frozen, it hears nothing
                self._timeline.after(frozen_s, look)
                return
            raise Breach("stop", f"still there {STOP_WITHIN_S:.0f} s after SIGTERM at {asked:.1f}")

        self._timeline.after(STOP_WITHIN_S, look)

    def cut_power(self, back: int, down_s: float) -> None:
        """The last commits are lost."""
        self.close()
        self.process = None
        self._machine.kill_in = None
        if BUDGET_FILE in self._machine.spare:
            self._around.witness.budget_forgotten()
        kept = self._machine.cut_power(back)
        self._around.witness.died(kept)
        self._machine.commits = kept
        self._stalled_until = 0.0
        self._start_at = self._timeline.now + down_s

    def stall(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT then."""
        self._stalled_until = self._timeline.now + seconds
