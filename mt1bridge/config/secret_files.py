"""Files that hold a secret: who may own them, who may read them, and what in them is the secret.

A secret file is refused if somebody else than root or we could have put it there: an owner of another name, or a link
that leads out of its directory (one that stays inside is how Kubernetes mounts secrets). The credentials that systemd
hands us need no such judgement: their directory is its own.
"""

import os
import pwd
import stat
from pathlib import Path

from mt1bridge.config.report import Unfit
from mt1bridge.config.values import secret

LARGEST = 70_000  # bytes; a little more than a password can have


def read_secret_file(path: Path, ours: int) -> tuple[str, tuple[str, ...]]:
    """Return the secret, to the byte but for one line break at the end, and what should be warned about.

    ours: the user id that we run as. Raises Unfit, which never quotes the content.
    """
    data, status = _read(path)
    if status.st_uid not in (0, ours):
        owner = _user(status.st_uid)
        raise _unusable(
            path,
            f"belongs to {owner}, and neither to root nor to {_user(ours)}, who reads it here: "
            f"chown it, or run this command as {owner}",
        )
    directory = Path(os.path.realpath(path.parent))
    if not Path(os.path.realpath(path)).is_relative_to(directory):
        raise _unusable(path, "is a link to somewhere else: give the path of the file itself")
    warnings = []
    if status.st_mode & stat.S_IROTH:
        warnings.append(f"every user of this machine can read {path}: chmod o-rwx {path}")
    text, odd = _secret(path, data)
    return text, (*warnings, *odd)


def read_credential(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the secret in a credential from systemd, and what should be warned about. Raises Unfit."""
    return _secret(path, _read(path)[0])


def exposed(path: Path) -> bool:
    """Whether every user of this machine can read the file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    """Return content and status of one and the same file; a FIFO is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _unusable(path, _reason(error)) from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a file")
        try:
            return file.read(LARGEST + 1), status
        except OSError as error:
            raise _unusable(path, _reason(error)) from error


def _secret(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    if len(data) > LARGEST:
        raise _unusable(path, "is too large for a password")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _unusable(path, "begins with a byte order mark: save it as UTF-8 without one")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _unusable(path, "is not UTF-8") from error
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text.strip():
        raise _unusable(path, "is empty")
    odd = () if text == text.strip() else (f"the password in {path} begins or ends with a space or line break",)
    return secret(text), odd


def _unusable(path: Path, what: str) -> Unfit:
    return Unfit(f"a file with the password, but {path} {what}", echo=False)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return f"may not be read by {_user(os.geteuid())}: chown or chmod it"
    return f"cannot be read ({os.strerror(error.errno or 0)})"


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
