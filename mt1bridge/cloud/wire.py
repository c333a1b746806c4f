"""The byte stream under a link: one socket, used by one thread, whose every wait can be ended from outside.

Two threads on one TLS socket break it (FEASIBILITY 1.4), so whoever reads also writes, minds the deadlines and is
woken through a Waker. The socket never blocks; all waiting is done in `Wire.wait`.
"""

import math
import select
import socket
import ssl
import threading
from collections.abc import Callable

from mt1bridge.model.upstream import Trouble

_CHUNK = 65536


class LinkFailure(Exception):
    """Why the link ends. say_goodbye: the WebSocket close code that the server is owed, if any."""

    def __init__(
        self,
        trouble: Trouble,
        text: str,
        *,
        close_code: int | None = None,
        http_status: int | None = None,
        say_goodbye: int | None = None,
    ) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.text = text
        self.close_code = close_code
        self.http_status = http_status
        self.say_goodbye = say_goodbye


class Waker:
    """Something a thread can wait for beside its socket. Set from any thread, any number of times, for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ours, self._theirs = socket.socketpair()
        self._set = False

    def set(self) -> None:
        with self._lock:
            if not self._set:
                self._set = True
                if self._theirs.fileno() >= 0:
                    self._theirs.send(b"!")

    def is_set(self) -> bool:
        return self._set

    def fileno(self) -> int:
        return self._ours.fileno()

    def close(self) -> None:
        with self._lock:
            self._ours.close()
            self._theirs.close()


class Wire:
    """A TCP or TLS stream with the methods that websocket-client calls on a socket.

    watch(may_send) is asked before every wait and after every read: it returns the monotonic moment at which it wants
    to be asked again, raises LinkFailure when a deadline has passed, and may send when may_send is True.
    """

    def __init__(self, stop: Waker, now: Callable[[], float], watch: Callable[[bool], float]) -> None:
        self._stop = stop
        self._now = now
        self._watch = watch
        self._sock: socket.socket | None = None
        self._received = bytearray()
        self._sending = False
        self._leaving = False
        self._head_left: int | None = None
        self.head = bytearray()
        self.last_byte_at: float | None = None

    # --- the socket -------------------------------------------------------------------------------

    def attach(self, sock: socket.socket) -> None:
        """Take over a connected socket that does not block."""
        self._sock = sock

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Raises ssl.SSLError or OSError as the handshake does."""
        sock = self._open()
        wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        self._sock = wrapped
        while True:
            try:
                return wrapped.do_handshake()
            except ssl.SSLWantReadError:
                self.wait([(wrapped.fileno(), select.POLLIN)])
            except ssl.SSLWantWriteError:
                self.wait([(wrapped.fileno(), select.POLLOUT)])

    def begin_head(self, limit: int) -> None:
        """From here on keep what comes in `head`, for it is an HTTP answer; more than `limit` bytes is a failure."""
        self.head.clear()
        self._head_left = limit

    def end_head(self) -> None:
        self._head_left = None

    def hurry(self) -> None:
        """From here on send only what goes without waiting, and mind no deadline: for the last words."""
        self._leaving = True

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # --- what websocket-client calls ----------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """1 to `size` bytes. Raises LinkFailure, also at the end of the stream."""
        if not self._received:
            self._fill()
        taken = bytes(self._received[:size])
        del self._received[:size]
        if self._head_left is not None:
            self._keep_head(taken)
        return taken

    def send(self, data: bytes | str) -> int:
        """All of it. Raises LinkFailure."""
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        length = len(rest)
        self._sending = True
        try:
            while rest:
                rest = rest[self._send_some(rest) :]
        finally:
            self._sending = False
        return length

    def gettimeout(self) -> float:
        """As a socket that never blocks: websocket-client then leaves all waiting to us."""
        return 0.0

    # --- waiting --------------------------------------------------------------------------------------

    def wait(self, wanted: list[tuple[int, int]], until: float = math.inf) -> list[tuple[int, int]]:
        """Wait for (file descriptor, poll events): those that are ready, none if `until` or a due moment came first.

        Raises LinkFailure(STOPPED) when the stop is set.
        """
        self._check_stop()
        may_send = not self._sending and all(events == select.POLLIN for _, events in wanted)
        seconds = min(self._watch(may_send), until) - self._now()
        poll = select.poll()
        poll.register(self._stop.fileno(), select.POLLIN)
        for fd, events in wanted:
            poll.register(fd, events)
        ready = poll.poll(max(0, math.ceil(seconds * 1000)) if math.isfinite(seconds) else None)
        self._check_stop()
        return ready

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise LinkFailure(Trouble.STOPPED, "closed by us")

    def _fill(self) -> None:
        sock = self._open()
        while True:
            try:
                data = sock.recv(_CHUNK)
                break
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                self.wait([(sock.fileno(), select.POLLIN)])
            except ssl.SSLWantWriteError:
                self.wait([(sock.fileno(), select.POLLOUT)])
            except OSError as error:
                raise broken(error) from error
        if not data:
            raise LinkFailure(Trouble.CLOSED, "the server closed the connection")
        self._received += data
        self.last_byte_at = self._now()
        self._check_stop()  # a server that never pauses must not keep us from stopping, or from sending our beats
        self._watch(not self._sending)

    def _send_some(self, data: memoryview) -> int:
        sock = self._open()
        try:
            return sock.send(data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
            events = select.POLLOUT
        except ssl.SSLWantReadError:
            events = select.POLLIN
        except OSError as error:
            raise broken(error) from error
        if self._leaving:
            raise LinkFailure(Trouble.TIMEOUT, "the server does not read")
        self.wait([(sock.fileno(), events)])
        return 0

    def _keep_head(self, taken: bytes) -> None:
        self.head += taken
        self._head_left = (self._head_left or 0) - len(taken)
        if self._head_left < 0:
            raise LinkFailure(Trouble.PROTOCOL, "the HTTP answer is too long")

    def _open(self) -> socket.socket:
        if self._sock is None:
            raise LinkFailure(Trouble.CLOSED, "the connection is closed")
        return self._sock


def broken(error: OSError) -> LinkFailure:
    """An error of a connection that once stood."""
    if isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return LinkFailure(Trouble.CLOSED, f"the server broke the connection off ({type(error).__name__})")
    if isinstance(error, ssl.SSLError):
        return LinkFailure(Trouble.TLS, f"TLS broke: {error.reason or type(error).__name__}")
    if isinstance(error, TimeoutError):
        return LinkFailure(Trouble.TIMEOUT, "the network gave up on the connection")
    return LinkFailure(Trouble.NETWORK, f"{error.strerror or type(error).__name__}")
