"""The directory that outlives the process: its lock, and small files in it that are replaced whole."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from mt1bridge.model.errors import BridgeError


class InUseError(BridgeError):
    """Another process holds the directory."""

    def __init__(self, directory: Path, pid: str) -> None:
        super().__init__(
            f"{directory} is in use by another mt1bridge (process {pid or 'unknown'}): stop it first, "
            "or give this one a journal.directory of its own"
        )


class StateDirectory:
    """path: made if it is not there (mode 0700). A directory that cannot be written is a trouble, not an error.

    spare: in memory; takes what a full or read-only disk does not, until the machine goes down. None: there is none.
    forgetful: what is written now, no later process will know; told by `lock`.
    """

    def __init__(self, path: Path, spare: Path | None = None) -> None:
        self.path = path
        self._spare = spare
        self._lock: int | None = None
        self.trouble: str | None = None
        self.forgetful = False
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self.trouble = str(error)

    def lock(self) -> None:
        """Hold the directory for this process. Raises InUseError."""
        self._hold()
        self.forgetful = self.write("pid", str(os.getpid()).encode()) is not None

    def _hold(self) -> None:
        try:
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.trouble = str(error)
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise InUseError(self.path, self._pid()) from None
        except OSError as error:  # a file system without locks
            self.trouble = str(error)

    def unlock(self) -> None:
        if self._lock is not None:
            self.remove("pid")
            os.close(self._lock)
            self._lock = None

    def _pid(self) -> str:
        content = self.read("pid")
        return content.decode("ascii", "replace").strip()[:10] if content else ""

    def free_bytes(self) -> int:
        """What is free for us where the directory is; -1 where that cannot be told."""
        try:
            found = os.statvfs(self.path)
        except OSError:
            return -1
        return found.f_bavail * found.f_frsize

    def read(self, name: str) -> bytes | None:
        for place in self._places():
            with contextlib.suppress(OSError):
                return (place / name).read_bytes()
        return None

    def _places(self) -> list[Path]:
        """Where a file may be, the newer one first."""
        return [self.path] if self._spare is None else [self._spare, self.path]

    def read_json(self, name: str) -> dict[str, Any] | None:
        """An object, or None where there is no file or no object in it."""
        content = self.read(name)
        try:
            value = json.loads(content) if content else None
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def write(self, name: str, content: bytes) -> str | None:
        """Replace a file whole, readable by us alone. Returns what went wrong, in words, or None."""
        trouble = _replaced(self.path, name, content)
        if self._spare is None:
            return trouble
        if trouble is not None:
            return _replaced(self._spare, name, content)
        with contextlib.suppress(OSError):
            (self._spare / name).unlink()
        return None

    def remove(self, name: str) -> None:
        for place in self._places():
            with contextlib.suppress(OSError):
                (place / name).unlink()


def _replaced(place: Path, name: str, content: bytes) -> str | None:
    temporary = place / f".{name}.new"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(temporary, flags, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place / name)
    except OSError as error:
        return f"{name}: {error}"
    return None
