"""What stands beside the journal's file, and tells the next process whether that is still as the last one left it.

It is there while the file takes everything: a full disk cannot be written to, but this can go. It says what a backup
that was copied over the file cannot know, even where name, owner and inode stay: who wrote last, the last number given,
and how much the broker had not acknowledged. For whoever puts back both there is the time of writing, by the file
system's own clock: a change time later than that was somebody else's. It is written in place and without fsync, so it
costs an SD card next to nothing.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

SIZE = 96  # bytes, always: one write, whole or not at all for a process that is killed
PROMPT_NS = 5_000_000_000  # between asking for the time and writing it down; file systems keep 2 s at the coarsest


@dataclass(frozen=True, slots=True)
class Left:
    """run: a name of the process that wrote last. n: the number of the last fact that it committed to the file.

    owed: how many facts the broker had not acknowledged.
    """

    run: str
    n: int
    owed: int

    def is_later_than(self, n: int, owed: int) -> bool:
        """Whether this was committed after a file that holds so much."""
        return self.n > n or (self.n == n and self.owed < owed)


class Mark:
    """path: of the mark. None of the methods raises: without a mark, or with one in doubt, the safe side is taken."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Left | None:
        """What was left; None where that is not known, or the mark was put there by somebody else."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                run, n, owed, written_ns = os.read(handle, SIZE).decode("ascii").split()
                changed_ns = os.fstat(handle).st_ctime_ns
            finally:
                os.close(handle)
            return Left(run, int(n), int(owed)) if abs(changed_ns - int(written_ns)) <= PROMPT_NS else None
        except (OSError, ValueError):
            return None

    def write(self, left: Left, durable: bool = False) -> None:
        """durable: it is to survive a power cut that follows at once."""
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.utime(handle)
                written_ns = os.fstat(handle).st_mtime_ns
                text = f"{left.run} {left.n} {left.owed} {written_ns}\n"
                os.pwrite(handle, text.encode("ascii").rjust(SIZE), 0)
                if durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
        except OSError:
            self.remove()

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
