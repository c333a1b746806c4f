"""One connection to the realtime endpoint: the talk in STOMP, its deadlines, heart-beats and silence.

Shell. All but what is marked runs in stomp.py's io thread, as a listener of the transport or from its waits, so that
nothing here is shared but the stop and `last_byte_at`.
"""

import math
import threading
from collections.abc import Callable
from typing import Protocol

from mt1bridge.cloud import sockjs
from mt1bridge.cloud.limits import HeartBeats, LinkLimits, agree
from mt1bridge.cloud.subscribing import Subscribing
from mt1bridge.cloud.transport import SockJsTransport, Target, bug_failure
from mt1bridge.cloud.wire import LinkFailure, Waker, Wire
from mt1bridge.model.upstream import (
    LinkConnected,
    LinkEvent,
    LinkLost,
    LinkMessage,
    LinkOddity,
    LinkSubscribed,
    OpenLink,
    Trouble,
)

_VERSIONS = ("1.1", "1.2")
_NOT_IN_A_HEADER = dict.fromkeys(map(ord, "\r\n\0"))  # CONNECT's headers are not escaped


class StompFrame(Protocol):
    """What stomp.py hands to a listener."""

    headers: dict[str, str]
    body: bytes


class Connection:
    """Used once: start it, close it, and read from `told_end` that its LinkLost is in the inbox."""

    def __init__(
        self,
        order: OpenLink,
        target: Target,
        inbox: Callable[[LinkEvent], None],
        limits: LinkLimits,
        now: Callable[[], float],
    ) -> None:
        self.closing = False
        self.told_end = False
        self._order, self._inbox, self._limits, self._now = order, inbox, limits, now
        self._stop = Waker()
        self._wire = Wire(self._stop, now, self._watch)
        self._transport = SockJsTransport(target, self._wire, limits, now, self)
        self._transport.set_listener("link", self)
        self._transport.override_threading(self._start_thread)
        self._thread: threading.Thread | None = None
        self._subscribing = Subscribing(order.devices, order.one_by_one, limits)
        self._beats: HeartBeats | None = None  # None until CONNECTED
        self._await(f"no connection within {limits.connect:g} s", limits.connect)
        self._sent_at = self._pinged_at = self._ponged_at = -math.inf
        self._refused_receipt: str | None = None

    # --- for the loop's thread --------------------------------------------------------------------

    def start(self) -> None:
        """Raises RuntimeError where no thread can be had."""
        try:
            self._transport.start()
        except RuntimeError:
            self._stop.close()
            raise

    def close(self) -> None:
        self.closing = True
        self._stop.set()

    def last_byte_at(self) -> float | None:
        return self._wire.last_byte_at

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    # --- the thread -------------------------------------------------------------------------------

    def _start_thread(self, io_loop: Callable[[], None]) -> threading.Thread:
        name = f"link-{self._order.link}"
        self._thread = threading.Thread(target=self._run, args=(io_loop,), name=name, daemon=True)
        self._thread.start()
        return self._thread

    def _run(self, io_loop: Callable[[], None]) -> None:
        try:
            io_loop()
        except BaseException as bug:
            self._transport.fail(bug_failure(bug))
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._wire.close()
        self._stop.close()
        failure = self._transport.failure or LinkFailure(Trouble.NETWORK, "the link ended without saying why")
        stopped = failure.trouble is Trouble.STOPPED
        self._inbox(
            LinkLost(
                link=self._order.link,
                trouble=failure.trouble,
                text=self._discreet(failure.text),
                close_code=failure.close_code,
                http_status=failure.http_status,
                device=None if stopped else self._subscribing.suspect(self._refused_receipt),
            )
        )
        self.told_end = True

    # --- deadlines, heart-beats -------------------------------------------------------------------

    def _await(self, else_text: str, seconds: float) -> None:
        """Something is to happen within so many seconds, before CONNECTED."""
        self._else_text, self._deadline = else_text, self._now() + seconds

    def _watch(self, may_send: bool) -> float:
        """Asked by the wire before every wait: see there."""
        now = self._now()
        if self._beats is None:
            due = self._deadline
            if now >= due:
                raise LinkFailure(Trouble.TIMEOUT, self._else_text)
        else:
            due = (self._wire.last_byte_at or now) + self._beats.silence_limit
            if now >= due:
                words = f"not a byte from the server for {self._beats.silence_limit:g} s"
                raise LinkFailure(Trouble.SILENT, words)
        return min(due, self._chores(now, self._beats)) if may_send else due

    def _chores(self, now: float, beats: HeartBeats | None) -> float:
        """Send what is due; when to come again."""
        due = math.inf
        if self._transport.owes_pong():
            due = self._ponged_at + self._limits.pong_every
            if now >= due:
                self._ponged_at, due = now, math.inf
                self._transport.answer_ping()
        if beats is None:
            return due
        if beats.send_every is not None:
            if now >= self._sent_at + beats.send_every:
                self._sent_at = now
                self._transport.send(b"\n")
            due = min(due, self._sent_at + beats.send_every)
        if beats.ping_every is not None:
            if now >= self._pinged_at + beats.ping_every:
                self._pinged_at = now
                self._transport.ping()
            due = min(due, self._pinged_at + beats.ping_every)
        return min(due, self._go_on_subscribing(now))

    def _go_on_subscribing(self, now: float) -> float:
        """Comes by at the next wait after CONNECTED and after each receipt."""
        for one in self._subscribing.take_due(now):
            headers = {"id": one.subscription, "destination": one.destination, "ack": "auto", "receipt": one.receipt}
            self._tell("SUBSCRIBE", headers)
        if self._subscribing.take_standing(now):
            self._inbox(LinkSubscribed(self._order.link, self._order.devices))
        return self._subscribing.next_at()

    def _tell(self, command: str, headers: dict[str, str]) -> None:
        self._sent_at = self._now()
        self._transport.tell(command, headers)

    # --- what comes in ----------------------------------------------------------------------------

    def upgraded(self) -> None:
        self._await(f"no SockJS o within {self._limits.opened:g} s", self._limits.opened)

    def opened(self) -> None:
        """SockJS says o: CONNECT. No host header: the MT1 server's known clients send none (MT1-API, section 8)."""
        ours, wanted = self._limits.heart_beat_ms
        headers = {"accept-version": "1.1,1.2", "heart-beat": f"{ours},{wanted}"}
        if token := self._token():
            headers["authorization"] = token
        self._tell("CONNECT", headers)
        self._await(f"no CONNECTED within {self._limits.connected:g} s", self._limits.connected)

    def odd(self, stranger: sockjs.Odd) -> None:
        self._inbox(LinkOddity(self._order.link, self._discreet(stranger.raw), stranger.reason))

    def _token(self) -> str:
        return self._order.token.reveal().translate(_NOT_IN_A_HEADER)

    def _discreet(self, text: str) -> str:
        """The server's words, should they repeat the token."""
        token = self._token()
        return text.replace(token, "(token)") if token else text

    def on_connected(self, frame: StompFrame) -> None:
        self._guard(self._connected, frame)

    def on_message(self, frame: StompFrame) -> None:
        self._guard(self._message, frame)

    def on_receipt(self, frame: StompFrame) -> None:
        self._guard(self._receipt, frame)

    def on_error(self, frame: StompFrame) -> None:
        self._guard(self._error, frame)

    def _guard(self, step: Callable[[StompFrame], None], frame: StompFrame) -> None:
        """What a listener raises, stomp.py swallows: so it ends the link here, by name."""
        try:
            step(frame)
        except LinkFailure as failure:
            self._transport.fail(failure)
        except Exception as bug:  # noqa: BLE001 - told by LinkLost
            self._transport.fail(bug_failure(bug))

    def _connected(self, frame: StompFrame) -> None:
        if self._beats is not None:
            self._pass_over(frame, "a second CONNECTED")
            return
        version = frame.headers.get("version")
        words = frame.headers.get("heart-beat")
        self._beats = agree(words, self._limits)
        self._pinged_at = self._now()
        if version not in _VERSIONS:
            self._pass_over(frame, "CONNECTED with a version not asked for")
        if not self._beats.understood:
            self._pass_over(frame, "CONNECTED with a heart-beat that is no two numbers")
        self._inbox(
            LinkConnected(
                link=self._order.link,
                version=sockjs.plain(version or "", 20),
                heart_beat=sockjs.plain(words or "", 40),
                silence_limit_s=self._beats.silence_limit,
            )
        )

    def _message(self, frame: StompFrame) -> None:
        subscription, destination = frame.headers.get("subscription"), frame.headers.get("destination")
        if self._beats is None:
            self._pass_over(frame, "MESSAGE before CONNECTED")
        elif not self._subscribing.is_ours(subscription, destination):
            self._pass_over(frame, "MESSAGE for a subscription or destination that is not ours")
        else:
            where = destination or self._subscribing.destination(subscription)
            self._inbox(LinkMessage(self._order.link, where, frame.body))

    def _receipt(self, frame: StompFrame) -> None:
        if not self._subscribing.receipted(frame.headers.get("receipt-id", "")):
            self._pass_over(frame, "RECEIPT for nothing that waits for one")

    def _error(self, frame: StompFrame) -> None:
        self._refused_receipt = frame.headers.get("receipt-id")
        words = frame.headers.get("message") or frame.body[: sockjs.TEXT_LIMIT].decode("utf-8", "replace")
        raise LinkFailure(Trouble.STOMP_ERROR, sockjs.plain(words) or "an ERROR frame without a word")

    def _pass_over(self, frame: StompFrame, reason: str) -> None:
        head = "\n".join(f"{name}:{value}" for name, value in frame.headers.items())
        body = frame.body[: sockjs.RAW_LIMIT].decode("utf-8", "backslashreplace")
        self.odd(sockjs.odd(f"{head}\n\n{body}", reason))
