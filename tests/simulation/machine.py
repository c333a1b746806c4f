"""The machine that the bridge runs on: clock, disk, files."""

import sqlite3
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from mt1bridge.journal.file import FILE
from mt1bridge.journal.store import Store
from mt1bridge.model.clock import Now
from tests.simulation.timeline import Timeline

SNAPSHOTS = 24
Snapshot = dict[str, bytes]


class Killed(BaseException):
    """SIGKILL. No Exception, so that nothing on the way takes it for one."""


class Machine:
    """off_s: how far the machine's UTC is ahead of the true one while it is not synchronised.

    Every look at the clock and every order carried out is a point at which the process may be killed (`point`).
    """

    def __init__(self, timeline: Timeline, synchronised: bool, off_s: float, keeps_snapshots: bool) -> None:
        self._timeline = timeline
        self.synchronised = synchronised
        self._off_s = off_s
        self.boot = 1
        self.disk_fails: str | None = None
        self.kill_in: int | None = None
        self.armed: tuple[str, int] | None = None
        self.files: dict[str, bytes] = {}
        self.spare: dict[str, bytes] = {}  # in memory: gone with a power cut
        self._directory = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.path = Path(self._directory.name)
        self.commits = 0
        self._keeps_snapshots = keeps_snapshots
        self._snapshots: deque[tuple[int, Snapshot]] = deque([(0, {})], maxlen=SNAPSHOTS)

    def close(self) -> None:
        self._directory.cleanup()

    # --- clock --------------------------------------------------------------------------------------

    def now(self) -> Now:
        """As the system's clock says."""
        self.point()
        off_ms = 0 if self.synchronised else int(self._off_s * 1000)
        return Now(self._timeline.now + 1000.0, max(0, self._timeline.utc_ms + off_ms))

    def step_clock(self, seconds: float) -> None:
        self._off_s += seconds

    def exists(self) -> bool:
        """Is there the file that says that the clock is synchronised."""
        return self.synchronised

    # --- death --------------------------------------------------------------------------------------

    def arm(self, near: str, points: int) -> None:
        """Kill so many points after the next `near`; "now" is now."""
        self.armed = (near, points)
        self.near("now")

    def near(self, what: str) -> None:
        """That is about to be done: a push or an acknowledgement taken, a fact handed over."""
        if self.armed is not None and self.armed[0] == what:
            self.kill_in, self.armed = self.armed[1], None

    def point(self) -> None:
        if self.kill_in is None:
            return
        self.kill_in -= 1
        if self.kill_in < 0:
            self.kill_in = None
            raise Killed

    # --- disk ---------------------------------------------------------------------------------------

    def open_store(self, path: str) -> Store:
        if path == ":memory:":
            return Store(path)
        if self.disk_fails is not None:
            raise sqlite3.OperationalError("disk I/O error in the simulation")
        return FailingStore(path, self)

    def committed(self, durable: bool) -> None:
        """A commit reached the files. It is on the disk for sure only after the next fsync."""
        self.commits += 1
        if durable:
            self.synced()
        elif self._keeps_snapshots:
            self._snapshots.append((self.commits, self._copy()))

    def synced(self) -> None:
        """Everything written until now survives a power cut."""
        self._snapshots.clear()
        if self._keeps_snapshots:
            self._snapshots.append((self.commits, self._copy()))

    def cut_power(self, back: int) -> int:
        """Undo the last commits; returns the number of the last one that the disk has kept."""
        self.boot += 1
        self.spare.clear()
        self.disk_fails = None
        number, snapshot = self._snapshots[max(0, len(self._snapshots) - 1 - back)]
        for name in (FILE, f"{FILE}-wal"):
            self._restore(self.path / name, snapshot.get(name))
        (self.path / f"{FILE}-shm").unlink(missing_ok=True)
        self._snapshots.clear()
        self._snapshots.append((number, snapshot))
        return number

    def _copy(self) -> Snapshot:
        found = {}
        for name in (FILE, f"{FILE}-wal"):
            path = self.path / name
            if path.exists():
                found[name] = path.read_bytes()
        return found

    def _restore(self, path: Path, content: bytes | None) -> None:
        """In place: a power cut does not change the file's inode."""
        if content is None:
            path.unlink(missing_ok=True)
            return
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate()
            file.write(content)


class FailingStore(Store):
    """A store on the machine's disk: raises what SQLite raises when the disk takes nothing."""

    def __init__(self, path: str, machine: Machine) -> None:
        super().__init__(path)
        self._machine = machine

    def begin(self) -> None:
        self._fail("begin")
        super().begin()

    def write(self, *args: Any, **kwargs: Any) -> Any:
        self._fail("write")
        return super().write(*args, **kwargs)

    def commit(self) -> None:
        if self.db.in_transaction:
            self._fail("commit")
            super().commit()
            durable = self.db.execute("PRAGMA synchronous").fetchone()[0] >= 2
            self._machine.committed(durable)

    def _fail(self, where: str) -> None:
        if self._machine.disk_fails == where:
            raise sqlite3.OperationalError("disk I/O error in the simulation")
