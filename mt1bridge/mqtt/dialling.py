"""Connecting in a thread of its own, because a name resolution cannot be interrupted."""

import threading
from collections.abc import Callable

from mt1bridge.mqtt.client import Client


class Dialling:
    """`Client.connect` in a thread of its own. over: it has ended. error: what it raised."""

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        self.over = False
        self.error: Exception | None = None
        self._client = client
        self._wake = wake
        self._lock = threading.Lock()
        self._abandoned = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="mqtt-dial", daemon=True).start()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._client.connect()
        except Exception as raised:  # noqa: BLE001 - handed to the thread that waits, which says what it means
            error = raised
        with self._lock:
            self.error = error
            self.over = True
            abandoned = self._abandoned
        if abandoned:
            self._client.close()
        self._wake()

    def abandon(self) -> bool:
        """Give up; return False if it has ended by now. From here on the client belongs to the thread that dials."""
        with self._lock:
            if self.over:
                return False
            self._abandoned = True
        self._client.abandon()
        return True
