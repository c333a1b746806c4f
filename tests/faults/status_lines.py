"""What the bridge tells systemd: the other end of NOTIFY_SOCKET (sd_notify(3))."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class StatusLines:
    """A datagram socket in a directory; `lines` are the STATUS= texts so far."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._listen, name="status-lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.sendto(b"END=1", self.path)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            words = self._socket.recv(65536).decode().splitlines()
            if "END=1" in words:
                return
            self.lines += [word.removeprefix("STATUS=") for word in words if word.startswith("STATUS=")]

    def newest(self) -> str:
        return self.lines[-1] if self.lines else ""
