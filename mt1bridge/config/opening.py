"""Reading a small file whole: its bytes and status from one and the same opening, and never waiting for a FIFO."""

import os
import pwd
import stat
from pathlib import Path


class Unreadable(Exception):
    """A file cannot be read. reason: words that follow the file's name."""

    def __init__(self, reason: str, missing: bool = False) -> None:
        self.reason, self.missing = reason, missing
        super().__init__(reason)


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return at most limit + 1 bytes of the file, and its status. Raises Unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("is a directory, not a file" if stat.S_ISDIR(status.st_mode) else "is not a file")
            return file.read(limit + 1), status
    except FileNotFoundError as error:
        raise Unreadable("does not exist", missing=True) from error
    except PermissionError as error:
        raise Unreadable(f"may not be read by {user(os.geteuid())}: chown or chmod it, or run as its user") from error
    except IsADirectoryError as error:
        raise Unreadable("is a directory, not a file") from error
    except OSError as error:
        raise Unreadable(f"cannot be read ({os.strerror(error.errno or 0)})") from error
    except ValueError as error:
        raise Unreadable("has a name that no file can have") from error


def user(number: int) -> str:
    """Return name and number of a user, for messages."""
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
