"""The transport under stomp.py: STOMP frames in SockJS strings in WebSocket messages, all in stomp.py's io thread.

Seam (stomp.py 9.0.0): `start()` calls `attempt_connection()` in the caller's thread and starts the io thread, which
calls `receive()` in a loop, parses what it returns and calls the listeners. So `receive()` is where we connect, wait,
send heart-beats and find silence; and whatever is sent is sent from a listener, in the same thread.
This is the one door to stomp.py and websocket-client.
"""

import logging
import os
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")  # else importing stomp asks DNS: 20 s where that is dead

import stomp.exception
import stomp.protocol
import stomp.transport
import websocket
from websocket import ABNF

from mt1bridge.cloud import sockjs
from mt1bridge.cloud.dial import dial, http_status
from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.cloud.stomp_frames import FrameReader
from mt1bridge.cloud.wire import LinkFailure, Wire
from mt1bridge.model.upstream import Trouble

_PROTOCOL_ERROR, _NO_UTF8, _TOO_BIG, _NORMAL = 1002, 1007, 1009, 1000
_CONTROL_BYTES = 125


def hush_stomp() -> None:
    """Keep stomp.py from ever logging: at DEBUG it prints the token, and what goes wrong is told by events."""
    logging.getLogger("stomp.py").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Target:
    """url: ws or wss, with the session. origin None: no Origin header. user_agent: for the server's log."""

    url: str
    tls: ssl.SSLContext | None
    origin: str | None
    user_agent: str


class Owner(Protocol):
    """Who hears from a transport how far it got."""

    def upgraded(self) -> None: ...

    def opened(self) -> None: ...

    def odd(self, stranger: sockjs.Odd) -> None: ...


class StrictFrames(websocket.frame_buffer):
    """websocket-client's frame reader, refusing on sight what RFC 6455 forbids a server and what is too large."""

    def __init__(self, recv: Callable[[int], bytes], limit: int) -> None:
        super().__init__(recv, skip_utf8_validation=True)
        self._limit = limit
        self._message = 0

    def recv_header(self) -> None:
        super().recv_header()
        fin, rsv1, rsv2, rsv3, opcode, masked, _ = self.header or (0,) * 7
        if rsv1 or rsv2 or rsv3 or masked or opcode not in ABNF.OPCODES or (opcode >= ABNF.OPCODE_CLOSE and not fin):
            raise LinkFailure(Trouble.PROTOCOL, "a frame that WebSocket forbids", say_goodbye=_PROTOCOL_ERROR)
        if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            self._message = 0

    def recv_length(self) -> None:
        super().recv_length()
        length, opcode = self.length or 0, (self.header or (0,) * 7)[4]
        if opcode >= ABNF.OPCODE_CLOSE:
            if length > _CONTROL_BYTES:
                raise LinkFailure(Trouble.PROTOCOL, "a WebSocket control frame too long", say_goodbye=_PROTOCOL_ERROR)
            return
        self._message += length
        if self._message > self._limit:
            words = f"a WebSocket message of more than {self._limit} bytes"
            raise LinkFailure(Trouble.PROTOCOL, words, say_goodbye=_TOO_BIG)


class Socket(websocket.WebSocket):
    """websocket-client's WebSocket over a Wire; pings are answered by `answer_ping`, so that a flood costs little."""

    def __init__(self, limit: int) -> None:
        super().__init__(enable_multithread=False, skip_utf8_validation=True)
        self.frame_buffer = StrictFrames(self.frame_buffer.recv, limit)
        self._owed: bytes | str | None = None

    def pong(self, payload: str | bytes = "") -> None:
        """Only remember it: the latest ping alone needs an answer (RFC 6455, section 5.5.3)."""
        self._owed = payload

    def owes_pong(self) -> bool:
        return self._owed is not None

    def answer_ping(self) -> None:
        """Send the answer that is owed, if one is."""
        if self._owed is not None:
            payload, self._owed = self._owed, None
            self.send(payload, ABNF.OPCODE_PONG)


class SockJsTransport(stomp.transport.BaseTransport):  # type: ignore[misc]  # stomp.py has no types
    """One connection, from dialling to its end. Used once.

    owner: told how far it got, and what was passed over, in the io thread, as all here but `attempt_connection`.
    """

    def __init__(
        self,
        target: Target,
        wire: Wire,
        limits: LinkLimits,
        now: Callable[[], float],
        owner: Owner,
    ) -> None:
        super().__init__(auto_decode=False)
        self.vhost = None
        self.failure: LinkFailure | None = None
        self.upgraded = False
        self._target, self._wire, self._limits, self._now = target, wire, limits, now
        self._owner = owner
        self._protocol = stomp.protocol.Protocol12(self)
        self.remove_listener("protocol-listener")  # its heart-beats would put a second thread on the socket
        self._socket = Socket(limits.message_bytes)
        self._reader = FrameReader(limits.message_bytes)
        self._frames: deque[bytes] = deque()
        self._opened = False

    # --- what stomp.py calls ------------------------------------------------------------------------

    def attempt_connection(self) -> None:
        """Nothing yet: the io thread connects, in its first `receive()`."""

    def receive(self) -> bytes:
        """One STOMP frame, repaired where it must be. Connects first. Raises ConnectionClosedException at the end."""
        try:
            if not self.upgraded:
                self._upgrade()
            while not self._frames and self.failure is None:
                self._take(self._read_message())
        except LinkFailure as failure:
            self.fail(failure)
        except Exception as bug:
            self.fail(bug_failure(bug))
            raise
        if self.failure is not None:
            raise stomp.exception.ConnectionClosedException
        return self._frames.popleft()

    def send(self, encoded_frame: bytes) -> None:
        """One STOMP frame, or a line end as heart-beat. Raises LinkFailure."""
        self._socket.send(sockjs.write_frame(encoded_frame.decode()))

    def disconnect_socket(self) -> None:
        self.running = False

    def cleanup(self) -> None:
        self._wire.close()

    # --- what the link calls --------------------------------------------------------------------------

    def fail(self, failure: LinkFailure) -> None:
        """End the connection: the next `receive()` says so to stomp.py. The first failure is the one that counts."""
        if self.failure is None:
            self.failure = failure
            if self.upgraded:
                self._last_words(failure)

    def tell(self, command: str, headers: dict[str, str]) -> None:
        """Send a STOMP frame without a body. Raises LinkFailure."""
        self._protocol.send_frame(command, headers)

    def ping(self) -> None:
        self._socket.ping()

    def owes_pong(self) -> bool:
        return self._socket.owes_pong()

    def answer_ping(self) -> None:
        self._socket.answer_ping()

    # --- inside ------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        target = self._target
        dial(target.url, self._wire, target.tls, self._limits, self._now)
        self._wire.begin_head(self._limits.head_bytes)
        try:
            self._socket.connect(  # type: ignore[no-untyped-call]  # websocket-client has types for the rest
                target.url,
                socket=self._wire,
                redirect_limit=0,
                header=[f"User-Agent: {target.user_agent}"],
                origin=target.origin,
                suppress_origin=target.origin is None,
            )
        except (websocket.WebSocketException, LinkFailure) as error:
            raise self._refused(error) from error
        self._wire.end_head()
        self.upgraded = True
        self._owner.upgraded()

    def _refused(self, error: Exception) -> LinkFailure:
        if isinstance(error, LinkFailure) and error.trouble is Trouble.STOPPED:
            return error
        answer = http_status(bytes(self._wire.head))
        if answer is not None and answer[0] != 101:
            words = f"the upgrade to WebSocket was answered with {answer[1]}"
            return LinkFailure(Trouble.UPGRADE, words, http_status=answer[0])
        if isinstance(error, LinkFailure):
            return error
        return LinkFailure(Trouble.PROTOCOL, f"no proper answer to the upgrade: {sockjs.plain(str(error), 200)}")

    def _read_message(self) -> sockjs.Frame:
        try:
            opcode, frame = self._socket.recv_data_frame()
        except websocket.WebSocketException as error:
            raise LinkFailure(
                Trouble.PROTOCOL, f"WebSocket: {sockjs.plain(str(error), 200)}", say_goodbye=_PROTOCOL_ERROR
            ) from error
        data: bytes = frame.data
        if opcode == ABNF.OPCODE_CLOSE:
            raise _closed(data)
        if opcode != ABNF.OPCODE_TEXT:
            return sockjs.odd(data[: sockjs.RAW_LIMIT].decode("utf-8", "backslashreplace"), "binary WebSocket message")
        try:
            return sockjs.read_frame(data.decode())
        except UnicodeDecodeError as error:
            raise LinkFailure(Trouble.PROTOCOL, "a text that is no UTF-8", say_goodbye=_NO_UTF8) from error

    def _take(self, frame: sockjs.Frame) -> None:
        if isinstance(frame, sockjs.Closed):
            words = f"the server closed the session: {frame.code} {frame.reason}".strip()
            raise LinkFailure(Trouble.CLOSED, words, close_code=frame.code)
        if not self._opened:
            if not isinstance(frame, sockjs.Opened):
                words = "the first SockJS frame is not o"
                raise LinkFailure(Trouble.PROTOCOL, words, say_goodbye=_PROTOCOL_ERROR)
            self._opened = True
            self._owner.opened()
        elif isinstance(frame, sockjs.Strings):
            for stranger in frame.odd:
                self._owner.odd(stranger)
            for text in frame.texts:
                self._keep(self._reader.feed(text))
        elif isinstance(frame, sockjs.Alive):
            self._keep(self._reader.flush())
        else:
            self._owner.odd(frame if isinstance(frame, sockjs.Odd) else sockjs.odd("o", "a second SockJS o"))

    def _keep(self, found: list[bytes | sockjs.Odd]) -> None:
        for item in found:
            if isinstance(item, bytes):
                self._frames.append(item)
            else:
                self._owner.odd(item)

    def _last_words(self, failure: LinkFailure) -> None:
        """What the server is owed before the socket closes, as far as it goes without waiting."""
        self._wire.hurry()
        try:
            if failure.trouble is Trouble.STOPPED:
                if self._opened:
                    self.send(b"DISCONNECT\n\n\0")
                self._socket.send_close(_NORMAL)
            elif failure.say_goodbye is not None:
                self._socket.send_close(failure.say_goodbye)
        except (LinkFailure, websocket.WebSocketException):
            return  # it was only a courtesy; the failure that ends the link is known


def bug_failure(bug: BaseException) -> LinkFailure:
    """A fault of ours. The type alone: the text could hold anything."""
    return LinkFailure(Trouble.NETWORK, f"the link ended by a fault in the bridge ({type(bug).__name__})")


def _closed(data: bytes) -> LinkFailure:
    code = int.from_bytes(data[:2]) if len(data) >= 2 else None
    reason = sockjs.plain(data[2:].decode("utf-8", "replace"))
    return LinkFailure(Trouble.CLOSED, f"the server closed the WebSocket: {code} {reason}".strip(), close_code=code)
