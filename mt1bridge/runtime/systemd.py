"""What systemd is told of the service: sd_notify(3). Does nothing where there is no systemd; never raises, never waits
for anything but PID 1 itself.

systemd-python does the sending where it is installed; else the same datagram is sent by the few lines below.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"
LONGEST_STATUS = 300  # characters; `systemctl status` shows one line


class Notifier:
    """Speaks to the systemd that started this process.

    environ: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._send = _sender(environ)
        self._status = ""

    def ready(self) -> None:
        """The service is up, or has read its configuration anew."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show this line in `systemctl status`. The same text again is not sent again."""
        line = re.sub(r"[\x00-\x1f\x7f]+", " ", text)[:LONGEST_STATUS]  # a line end would begin another message
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """Progress was made. Due at least every half `watchdog_interval_s()`."""
        self._send("WATCHDOG=1")

    def reloading(self, monotonic_usec: int) -> None:
        """The configuration is being read anew; `ready()` must follow.

        monotonic_usec: CLOCK_MONOTONIC in microseconds, as systemd 253 and newer want it.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog_interval_s(self) -> float | None:
        """Seconds without `watchdog()` after which systemd kills the process; None: it does not watch this process."""
        if self._environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        digits = self._environ.get("WATCHDOG_USEC", "")
        if not re.fullmatch(r"[0-9]{1,18}", digits) or int(digits) == 0:
            return None
        return int(digits) / 1_000_000


def boot_id(environ: Mapping[str, str] = os.environ, file: str = BOOT_ID_FILE) -> str:
    """Return what names the machine's present run, as 32 hex digits; "" if it cannot be had.

    Our units give it in BOOT_ID, because their sandbox hides the kernel's file.
    """
    text = environ.get("BOOT_ID", "")
    if not text:
        try:
            with open(file, encoding="ascii") as source:
                text = source.read(64)
        except (OSError, ValueError):
            return ""
    digits = text.strip().replace("-", "").lower()
    return digits if re.fullmatch(r"[0-9a-f]{32}", digits) else ""


def runtime_directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where our units let us write in memory, kept over a restart of the service; None without them."""
    first = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(first) if first.startswith("/") else None


def _sender(environ: Mapping[str, str]) -> Callable[[str], None]:
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return _send_nothing
    if environ is os.environ and (library := _library_sender()) is not None:
        return library
    return _DatagramSender("\0" + address[1:] if address[0] == "@" else address)


def _send_nothing(_state: str) -> None:
    return


def _library_sender() -> Callable[[str], None] | None:
    """systemd-python's sender: it reads NOTIFY_SOCKET itself. Imported here: nobody pays for it without systemd."""
    try:
        from systemd.daemon import notify
    except ImportError:
        return None

    def send(state: str) -> None:
        try:
            notify(state)
        except (OSError, ValueError):
            return  # systemd is not there any more: there is nobody to tell

    return send


class _DatagramSender:
    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, state: str) -> None:
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            with socket.socket(socket.AF_UNIX, flags) as sender:
                sender.sendto(state.encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            return  # systemd is not there any more, or does not read: there is nobody to tell
