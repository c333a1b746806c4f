"""The deadline over a whole REST call, and the way to end one from outside: what the libraries leave out.

A time-out of requests is for one read, so a server that sends a byte a second never runs into it, neither in the
headers nor in the body. Here every read of a connection is given what is left of the call, and no more.
"""

import io
import socket
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

import urllib3
import urllib3.connection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from mt1bridge.runtime.clock import Clock
from mt1bridge.runtime.dial import dial


class Watch:
    """The deadline of the call under way, and the way to end it from another thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._until = 0.0
        self._socket: socket.socket | None = None
        self.stopped = False

    def now(self) -> float:
        return self.clock.now().monotonic

    def start(self, total_s: float) -> None:
        self._until = self.now() + total_s

    def left_s(self) -> float:
        left = self._until - self.now()
        if left <= 0:
            raise TimeoutError
        return left

    def reading(self, sock: socket.socket) -> None:
        self._socket = sock
        if self.stopped:
            self.stop()

    def finish(self) -> None:
        self._socket = None

    def stop(self) -> None:
        """End a blocked read. Only TCP is shut down: the TLS object belongs to the reading thread."""
        self.stopped = True
        sock = self._socket
        if isinstance(sock, socket.socket):  # TLS within TLS, to an https proxy, is none
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _WatchedReader(io.RawIOBase):
    """A socket's stream, each read of which may take no longer than the rest of the call."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket, watch: Watch) -> None:
        super().__init__()
        self._stream = stream
        self._socket = sock
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._watch.left_s())
        count: int | None = self._stream.readinto(buffer)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def pool_classes(watch: Watch) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return urllib3's connection pools, by scheme, with connections whose every answer is read under the watch."""

    class Response(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            watch.reading(sock)
            self.fp = io.BufferedReader(_WatchedReader(self.fp.detach(), sock, watch))

    class Plain(urllib3.connection.HTTPConnection):
        response_class = Response

        def _new_conn(self) -> socket.socket:
            return _dial(self, watch)

    class Tls(urllib3.connection.HTTPSConnection):
        response_class = Response

        def _new_conn(self) -> socket.socket:
            return _dial(self, watch)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _dial(connection: urllib3.connection.HTTPConnection, watch: Watch) -> socket.socket:
    """In place of the library's own way, which gives a dead IPv6 the whole time-out before it tries IPv4."""
    connect_s = connection.timeout if isinstance(connection.timeout, int | float) else watch.left_s()
    try:
        return dial(connection.host.strip("[]"), connection.port or 0, min(connect_s, watch.left_s()), watch.clock)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "not connected in time") from error
    except OSError as error:
        raise NewConnectionError(connection, "not connected") from error
