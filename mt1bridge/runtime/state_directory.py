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
    """path: made if it is not there (mode 0700). A directory that cannot be written is a trouble, not an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self.trouble: str | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self.trouble = str(error)

    def lock(self) -> None:
        """Hold the directory for this process. Raises InUseError."""
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
        self.write("pid", str(os.getpid()).encode())

    def unlock(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.path / "pid").unlink()
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
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

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
        temporary = self.path / f".{name}.new"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(temporary, flags, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError as error:
            return f"{name}: {error}"
        return None

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.path / name).unlink()
