"""Files that hold a secret: who may own them, who may read them, and what in them is the secret.

A secret file is refused if somebody else than root or we could have put it there: an owner of another name, or a link
that leads out of its directory (one that stays inside is how Kubernetes mounts secrets). The credentials that systemd
hands us need no such judgement: their directory is its own, and it may own them as root or as our user.
"""

import os
import stat
from pathlib import Path

from mt1bridge.config.opening import Unreadable, read_regular, user
from mt1bridge.config.report import Unfit
from mt1bridge.config.values import LONGEST_MQTT_TEXT, secret


def read_secret_file(path: Path, ours: int) -> tuple[str, tuple[str, ...]]:
    """Return the secret, to the byte but for one line break at the end, and what should be warned about.

    ours: the user id that we run as. Raises Unfit, which never quotes the content.
    """
    data, status = _read(path)
    if status.st_uid not in (0, ours):
        owner = user(status.st_uid)
        whose = f"belongs to {owner}, who is neither root nor {user(ours)}"
        raise _unusable(path, f"{whose}: chown it, or run this command as {owner}")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
        raise _unusable(path, "is a link that leads out of its directory: give the path of the file itself")
    text, odd = _secret(path, data)
    if status.st_mode & stat.S_IROTH:
        odd = (f"every user of this machine can read {path}: chmod o-rwx {path}", *odd)
    return text, odd


def read_credential(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the secret in a credential from systemd, and what should be warned about. Raises Unfit."""
    return _secret(path, _read(path)[0])


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        return read_regular(path, LONGEST_MQTT_TEXT + 2)
    except Unreadable as error:
        raise _unusable(path, error.reason) from error


def _secret(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    if len(data) > LONGEST_MQTT_TEXT + 2:
        raise _unusable(path, "is too large for a password")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _unusable(path, "begins with a byte order mark: save it as UTF-8 without one")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _unusable(path, "is not UTF-8") from error
    if text.endswith("\n"):
        text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise _unusable(path, "is empty")
    odd = () if text == text.strip() else (f"the password in {path} begins or ends with a space or line break",)
    return secret(text), odd


def _unusable(path: Path, what: str) -> Unfit:
    return Unfit(f"a file with the password, but {path} {what}", echo=False)
