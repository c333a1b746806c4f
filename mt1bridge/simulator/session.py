"""One SockJS connection and the STOMP session on it (MT1-API, sections 7, 8, 14)."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mt1bridge.simulator import wire
from mt1bridge.simulator.clock import monotonic
from mt1bridge.simulator.faults import Fault
from mt1bridge.simulator.transport import reset
from mt1bridge.simulator.wire import Frame

if TYPE_CHECKING:
    from mt1bridge.simulator.world import World

_VERSIONS = ("1.2", "1.1", "1.0")


class Session:
    """Writes straight to the transport, so that any bytes can be sent and nothing waits for a slow reader."""

    def __init__(self, world: "World", name: str, transport: asyncio.Transport, fault: Fault | None, framed: bool):
        self.world, self.name, self.transport, self.fault, self.framed = world, name, transport, fault, framed
        self.number = world.next_session()
        self.token: str | None = None
        self.subscriptions: dict[str, str] = {}  # id -> destination
        self.connected = self.muted = self.swallowed = self.beats_stopped = self.closing = False
        self._stomp_beats = False
        self._heard = self._sent = monotonic()
        self._buffer = ""
        self._batch: list[str] = []
        self._messages = 0

    # --- writing

    def write(self, data: bytes) -> None:
        """Raw bytes; who has not read the earlier ones is cut off (MT1-API, section 14)."""
        if self.swallowed or self.closing or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > self.world.behaviour.max_backlog:
            self.world.counters["cut_off"] += 1
            self.reset()
            return
        self.transport.write(data)
        self._sent = monotonic()

    def send_text(self, text: str) -> None:
        """One text message, in fragments if so told."""
        self.write(wire.ws_text(text, self.world.behaviour.fragments))

    def send_frames(self, texts: list[str]) -> None:
        if self.framed:
            self.send_text(wire.sockjs_messages(texts))
        else:
            for text in texts:
                self.send_text(text)

    def send(self, frame: Frame) -> None:
        """A frame that answers the client: at once, after what is waiting."""
        self.flush()
        self.send_frames([wire.stomp_encode(frame)])

    def deliver(self, destination: str, body: str) -> None:
        """MESSAGE to every subscription of the destination; several may share one a[...]."""
        if self.muted or not self.connected:
            return
        for subscription, wanted in self.subscriptions.items():
            if wanted == destination:
                self._batch.append(wire.stomp_encode(self._message(subscription, destination, body)))
                self.world.counters["pushes_sent"] += 1
        if len(self._batch) >= self.world.behaviour.frames_per_message:
            self.flush()
        elif self._batch:
            self._after(self.world.behaviour.batch_wait_s, self.flush)

    def _message(self, subscription: str, destination: str, body: str) -> Frame:
        self._messages += 1
        headers = {
            "destination": destination,
            "content-type": "application/json;charset=UTF-8",
            "subscription": subscription,
            "message-id": f"{self.name}-{self._messages}",
            "content-length": str(len(body.encode("utf-8", "surrogatepass"))),
        }
        return Frame("MESSAGE", headers, body)

    def flush(self) -> None:
        size = max(1, self.world.behaviour.frames_per_message)
        waiting, self._batch = self._batch, []
        for start in range(0, len(waiting), size):
            self.send_frames(waiting[start : start + size])

    # --- ends

    def close(self, code: int | None = 1000, reason: str = "", sockjs: tuple[int, str] | None = None) -> None:
        """Close frame, with c[...] before it if given; the TCP connection goes when the client has answered."""
        if sockjs and self.framed:
            self.send_text(wire.sockjs_close(*sockjs))
        self.write(wire.ws_close(code, reason))
        self.closing = True
        self._after(1.0, self.transport.close)

    def reset(self) -> None:
        """RST instead of a close."""
        self.closing = True
        reset(self.transport)

    def swallow(self) -> None:
        """Half-open: the connection stays, but nothing is read or written on it any more."""
        self.swallowed = True
        self.transport.pause_reading()

    def error(self, message: str) -> None:
        """STOMP ERROR and the close that follows it."""
        self.world.counters["errors_sent"] += 1
        self.send(Frame("ERROR", {"message": message, "content-length": "0"}))
        self.close(1002, sockjs=(1002, message))

    def token_died(self) -> None:
        how = self.world.behaviour.expiry_on_socket
        if how == "close":
            self.close(1000, sockjs=(3000, "Token expired"))
        elif how == "silent":
            self.muted = True

    # --- reading

    def opened(self) -> None:
        fault = self.fault
        if fault and fault.kind == "text":
            self.send_text(fault.body)
        elif self.framed and not (fault and fault.kind == "no_open"):
            self.send_text("o")
        if fault and fault.kind == "close":
            self.close(1000, sockjs=(fault.code, fault.reason))
        self._sockjs_beat()

    def heard(self, text: str) -> None:
        """One text message of the client."""
        self._heard = monotonic()
        if self.swallowed or self.closing:
            return
        try:
            parts = wire.sockjs_decode(text) if self.framed else [text]
        except ValueError:
            self.world.counters["broken_frames"] += 1
            self.close(1007, "Broken JSON")
            return
        for part in parts:
            whole, self._buffer = wire.stomp_split(self._buffer + part)
            for frame in whole:
                self._frame(frame)

    def _frame(self, text: str) -> None:
        if self.swallowed or self.closing:
            return
        try:
            frame = wire.stomp_decode(text)
        except wire.BrokenFrame as problem:
            self.world.counters["broken_frames"] += 1
            self.error(str(problem))
            return
        self.world.counters[f"stomp_{frame.command.lower()}"] += 1
        if frame.command in ("CONNECT", "STOMP"):
            self._connect(frame)
            return
        if not self.connected:
            self.error("not connected")
            return
        if frame.command == "SUBSCRIBE":
            self._subscribe(frame)
        elif frame.command == "UNSUBSCRIBE":
            self.subscriptions.pop(frame.headers.get("id", ""), None)
        if "receipt" in frame.headers and self.world.behaviour.receipts:
            self.send(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))
        if frame.command == "DISCONNECT":
            self.close(1000)

    def _connect(self, frame: Frame) -> None:
        behaviour, fault = self.world.behaviour, self.fault
        if fault and fault.kind == "no_connected":
            return
        if fault and fault.kind == "error":
            self.error(fault.reason)
            return
        offered = frame.headers.get("accept-version", "1.0").split(",")
        version = next((known for known in _VERSIONS if known in offered), None)
        if version is None:
            self.error("Supported protocol versions are 1.0,1.1,1.2")
            return
        self.token = self.world.raw_token(frame.headers.get("authorization"))
        if self.world.store.account_of(self.token, monotonic()) is None and behaviour.connect_token != "ignore":
            self.world.counters["connect_refused"] += 1
            if behaviour.connect_token == "error":
                self.error("Access denied")
                return
            self.muted = True
        headers = {"version": behaviour.stomp_version or version}
        sends, wants = (int(ms) for ms in behaviour.heart_beat)
        beat = f"{sends},{wants}" if behaviour.heart_beat_header is None else behaviour.heart_beat_header
        if beat:
            headers["heart-beat"] = beat
        self.connected = True
        self.send(Frame("CONNECTED", headers))
        self._start_beats(frame.headers.get("heart-beat", "0,0"), sends, wants)
        if fault and fault.kind == "mute":
            self.muted = True
        if fault and fault.kind == "swallow":
            self.swallow()

    def _subscribe(self, frame: Frame) -> None:
        if self.fault and self.fault.kind == "close_after_subscribe":
            self.reset()
            return
        subscription, destination = frame.headers.get("id"), frame.headers.get("destination")
        if subscription is None or destination is None:
            self.error("SUBSCRIBE needs id and destination")
            return
        if not self.world.topic_allowed(self.token, destination):
            self.world.counters["foreign_subscriptions"] += 1
            if self.world.behaviour.foreign_subscription == "error":
                self.error("Access denied")
            return
        self.subscriptions[subscription] = destination
        self.world.counters["subscribes"] += 1
        self.world.subscribed.set()

    # --- heart-beats

    def _start_beats(self, header: str, sends: int, wants: int) -> None:
        promised, wished = (int(ms) if ms.strip().isdigit() else 0 for ms in (header + ",0").split(",")[:2])
        if sends and wished:
            self._stomp_beats = True
            self._after(max(sends, wished) / 1000, lambda: self._stomp_beat(max(sends, wished) / 1000))
        if wants and promised:
            self._after(max(wants, promised) / 1000, lambda: self._watch(max(wants, promised) / 1000))

    def _stomp_beat(self, interval: float) -> None:
        if not self.beats_stopped:
            self.send_frames(["\n"])
        self._after(interval, lambda: self._stomp_beat(interval))

    def _sockjs_beat(self) -> None:
        behaviour = self.world.behaviour
        wanted = behaviour.sockjs_beat_s
        due = wanted is not None and monotonic() - self._sent >= wanted * 0.9
        may = not self._stomp_beats or behaviour.sockjs_beat_always
        if due and may and self.framed and not self.beats_stopped:
            self.send_text("h")
        self._after(1.0 if wanted is None else max(0.01, wanted), self._sockjs_beat)

    def _watch(self, interval: float) -> None:
        if self.world.behaviour.drop_silent_clients and monotonic() - self._heard > 3 * interval:
            self.world.counters["dropped_for_silence"] += 1
            self.close(1002, "no heart-beat")
            return
        self._after(interval, lambda: self._watch(interval))

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, self._unless_gone, act)

    def _unless_gone(self, act: Callable[[], None]) -> None:
        if not self.transport.is_closing():
            act()
