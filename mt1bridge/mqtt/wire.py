"""The socket under the MQTT library."""

import socket
import ssl


class Wire:
    """A connected socket that remembers what went wrong, and hears the broker out.

    Where the broker says why it closes and closes, a send may fail before those words are read; the library would
    throw them away. So a send that fails only says "not now": reading then brings the words, and the end after them.
    error: what the socket raised first, other than "not now".
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.error: OSError | None = None

    def recv(self, number: int) -> bytes:
        try:
            return self._socket.recv(number)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.error = self.error or error
            raise

    def send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.error = self.error or error
            raise BlockingIOError from error

    def pending(self) -> int:
        """Return how many bytes TLS has read from the connection that nobody has asked for yet."""
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def settimeout(self, timeout_s: float | None) -> None:
        self._socket.settimeout(timeout_s)

    def setblocking(self, flag: bool) -> None:
        self._socket.setblocking(flag)

    def close(self) -> None:
        self._socket.close()
