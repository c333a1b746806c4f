"""One connection to the broker, from dialling to its end, in a thread of its own.

That thread alone uses the MQTT client: the loop puts an order into a queue and wakes it. So no lock of the library is
ever taken by two threads, an acknowledgement cannot overtake the registration of its message, and nobody writes to a
TLS socket while somebody else reads from it. Dialling alone happens in a second, short-lived thread, because a name
resolution cannot be interrupted.
"""

import contextlib
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerEvent,
    BrokerLost,
    BrokerTrouble,
    OpenBroker,
    Publication,
    Publish,
    Subscribed,
)
from mt1bridge.mqtt import packet, reasons
from mt1bridge.mqtt.client import Client, Connack, Limits
from mt1bridge.mqtt.closures import Closures
from mt1bridge.mqtt.dialling import Dialling
from mt1bridge.mqtt.ending import Ending, after_dialling, after_failure, no_answer
from mt1bridge.runtime.clock import Clock
from mt1bridge.runtime.tls import TlsFileError

REFUSED_FROM = 0x80  # reason codes from here on are refusals
OVERSLEPT_S = 5.0  # woken this much too late, the machine slept, and the silence is not the broker's


class _Over(Exception):
    """The connection has ended."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        super().__init__(ending.text)


class Connection:
    """Tells BrokerConnected, Subscribed, Acknowledged, Arrived, and as the last event exactly one BrokerLost.

    place: "host:port" for texts. make_client: called in the connection's thread, given this object for its callbacks
    (`accepted`, `ends`, `granted`, `acknowledged`, `arrived`). tell must not block.
    """

    def __init__(
        self,
        order: OpenBroker,
        place: str,
        make_client: Callable[["Connection"], Client],
        tell: Callable[[BrokerEvent], None],
        clock: Clock,
        limits: Limits,
        closures: Closures,
    ) -> None:
        self.number = order.connection
        self.order = order
        self._place = place
        self._make_client = make_client
        self._tell = tell
        self._clock = clock
        self._limits = limits
        self._closures = closures
        self._client: Client | None = None
        self._orders: deque[Publish] = deque()
        self._closing = False
        self._tokens: dict[int, int] = {}  # packet identifier -> token
        self._connack: Connack | None = None
        self._subscription: int | None = None  # packet identifier of the SUBSCRIBE
        self._ending: Ending | None = None
        self._heard_at = self._told_at = self._waiting_since = self._now()
        self._deadline: float | None = self._now() + limits.answer_s
        self._wake_lock = threading.Lock()
        self._alarm, self._bell = socket.socketpair()
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self.number}", daemon=True)

    # --- for the loop's thread ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; raises RuntimeError where no thread can be had."""
        try:
            self._thread.start()
        except RuntimeError:
            self._clean_up()
            raise

    def publish(self, order: Publish) -> None:
        self._orders.append(order)
        self._wake()

    def stop(self) -> None:
        self._closing = True
        self._wake()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _wake(self) -> None:
        # the lock keeps the socket from being closed, and its number from being given to a file, between look and send
        with self._wake_lock, contextlib.suppress(OSError):
            if self._bell.fileno() >= 0:
                self._bell.send(b"\0")

    # --- the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._live()
        except _Over as over:
            ending = over.ending
        except Exception as error:  # noqa: BLE001 - whatever the library raises on odd bytes, one BrokerLost must follow
            ending = Ending(BrokerTrouble.LOST, f"{self._place}: {type(error).__name__}: {error}")
        self._clean_up()
        self._tell(BrokerLost(self.number, ending.trouble, ending.text, ending.reason))

    def _live(self) -> NoReturn:
        try:
            client = self._make_client(self)
        except TlsFileError as error:
            raise _Over(Ending(BrokerTrouble.TLS, str(error))) from error
        self._dial(client)
        self._client = client
        while True:
            self._turn(client)

    def _dial(self, client: Client) -> None:
        dialling = Dialling(client, self._wake)
        dialling.start()
        while not dialling.over:
            ending: Ending | None = None
            if self._closing:
                ending = Ending(BrokerTrouble.STOPPED, "closed by us while connecting")
            elif self._deadline is not None and self._now() >= self._deadline:
                ending = no_answer(client.failure(), self._place)
            if ending is not None and dialling.abandon():
                raise _Over(ending)
            self._wait(None)
        if dialling.error is not None:
            client.close()
            raise _Over(after_dialling(dialling.error, client.failure(), self._place)) from dialling.error

    def _turn(self, client: Client) -> None:
        self._serve(client)
        client.tend()
        self._check(client)
        if self._wait(client):
            self._heard_at = self._now()
            client.read()
        if client.fileno() is not None and client.wants_write():
            client.write()
        self._check(client)

    def _check(self, client: Client) -> None:
        """Raise _Over if this is the end."""
        if self._ending is not None:
            raise _Over(self._ending)
        failure = client.failure()
        if client.fileno() is None or failure.malformed:
            connected, idle = self._connack is not None, not self._tokens
            ending = after_failure(
                failure, self._place, self._closures, self.order.protocol, self._now() if connected else None, idle
            )
            raise _Over(ending)
        silent_for = self._now() - self._silent_at(client)
        if silent_for >= 0:
            quiet = f"{self._now() - self._heard_at:.0f} s"
            raise _Over(Ending(BrokerTrouble.SILENT, f"{self._place} has been silent for {quiet}"))

    def _silent_at(self, client: Client) -> float:
        """Return when to call the broker silent, seconds monotonic."""
        moments = [float("inf")]
        if self._deadline is not None:
            moments.append(self._deadline)
        if self._connack is not None and client.keepalive_s() > 0:
            moments.append(self._heard_at + 1.5 * client.keepalive_s())
        if self._tokens:  # whatever the keep alive: who is asked must answer
            moments.append(max(self._heard_at, self._waiting_since) + 1.5 * self._limits.keepalive_s)
        return min(moments)

    def _serve(self, client: Client) -> None:
        """Do what the loop has ordered, as far as it can be done now."""
        connack = self._connack
        if connack is not None:
            if self._subscription is None:
                self._subscribe(client)
            window = connack.receive_maximum or packet.MAXIMUM_STRING
            while self._orders and len(self._tokens) < window and client.fileno() is not None:
                self._hand_over(client, connack, self._orders.popleft())
        if self._closing:
            self._say_farewell(client)

    def _subscribe(self, client: Client) -> None:
        self._subscription = 0
        self._deadline = None
        if not self.order.subscriptions:
            self._tell(Subscribed(self.number, ()))
            return
        self._subscription = client.subscribe(self.order.subscriptions) or 0
        self._told_at = self._now()
        self._deadline = self._told_at + self._limits.answer_s

    def _hand_over(self, client: Client, connack: Connack, order: Publish) -> None:
        message = order.message
        try:
            properties = packet.publish_properties(message) if self.order.protocol == 5 else b""
            refusal = _refusal(message, properties, connack)
        except ValueError:
            properties, refusal = b"", reasons.IMPLEMENTATION_SPECIFIC
        if refusal is not None:
            self._tell(Acknowledged(self.number, order.token, refusal))
            return
        now = self._now()
        identifier = client.publish(message, properties)
        if identifier is not None:
            if not self._tokens:
                self._waiting_since = now
            self._told_at = now
            self._tokens[identifier] = order.token

    def _say_farewell(self, client: Client) -> NoReturn:
        if self._connack is not None and client.fileno() is not None:
            client.disconnect()
            self._deadline = self._now() + self._limits.farewell_s
            while client.fileno() is not None and self._now() < self._deadline:
                self._wait(client)
                client.write()
        raise _Over(Ending(BrokerTrouble.STOPPED, "closed by us"))

    # --- waiting --------------------------------------------------------------------------------------

    def _wait(self, client: Client | None) -> bool:
        """Wait until there is something to do; return whether the broker's bytes are among it."""
        number = client.fileno() if client is not None else None
        timeout = self._timeout(client)
        poll = select.poll()
        poll.register(self._alarm, select.POLLIN)
        if client is not None and number is not None:
            poll.register(number, select.POLLIN | (select.POLLOUT if client.wants_write() else 0))
            if client.buffered():
                timeout = 0.0
        before = self._now()
        ready = dict(poll.poll(timeout * 1000))
        self._mind_sleep(self._now() - before - timeout, client)
        if self._alarm.fileno() in ready:
            with contextlib.suppress(OSError):
                self._alarm.recv(4096)
        if client is None or number is None:
            return False
        return client.buffered() or bool(ready.get(number, 0) & ~select.POLLOUT)

    def _timeout(self, client: Client | None) -> float:
        """Return how long to wait for anything, seconds: until a PINGREQ is due or silence has lasted too long."""
        now = self._now()
        moments = [now + 3600]
        if self._deadline is not None:
            moments.append(self._deadline)
        if client is not None and self._connack is not None:
            moments.append(self._silent_at(client))
            if keepalive := client.keepalive_s():
                due = min(self._heard_at, self._told_at) + keepalive
                # the library does not say when it sent a PINGREQ: past that moment look now and then
                moments.append(due if due > now else now + keepalive / 8)
        return max(0.0, min(moments) - now) + 0.01

    def _mind_sleep(self, late_s: float, client: Client | None) -> None:
        """Grant the broker new time after this machine or process was stopped: it had no chance to be heard."""
        if late_s < OVERSLEPT_S:
            return
        now = self._now()
        self._heard_at = max(self._heard_at, now - (client.keepalive_s() if client is not None else 0))
        self._waiting_since = now
        if self._deadline is not None:
            self._deadline = min(self._deadline + late_s, now + self._limits.answer_s)

    def _clean_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        with self._wake_lock:
            self._alarm.close()
            self._bell.close()

    def _now(self) -> float:
        return self._clock.now().monotonic

    # --- what the client reports; called in the connection's thread, or in the one that dials ------------

    def accepted(self, connack: Connack) -> None:
        if self._connack is not None:
            self.ends(Ending(BrokerTrouble.LOST, f"{self._place} sent a second CONNACK"))
            return
        self._connack = connack
        self._closures.accepted(self.order.protocol)
        self._tell(
            BrokerConnected(
                self.number,
                self.order.protocol,
                connack.receive_maximum,
                connack.maximum_packet_size,
                connack.maximum_qos,
                connack.retain_available,
            )
        )

    def ends(self, ending: Ending) -> None:
        """Say why the connection ends; the first one counts."""
        if self._ending is None:
            self._ending = ending

    def granted(self, identifier: int, codes: tuple[int, ...]) -> None:
        if identifier != self._subscription or not identifier or self._deadline is None:
            return
        self._deadline = None
        answers = zip(self.order.subscriptions, codes + (REFUSED_FROM,) * len(self.order.subscriptions), strict=False)
        self._tell(Subscribed(self.number, tuple(topic for topic, code in answers if code >= REFUSED_FROM)))

    def acknowledged(self, identifier: int, reason: int) -> None:
        token = self._tokens.pop(identifier, None)
        if token is not None:
            self._tell(Acknowledged(self.number, token, reason))

    def arrived(self, message: Arrived) -> None:
        self._tell(message)


def _refusal(message: Publication, properties: bytes, connack: Connack) -> int | None:
    """Return the reason code with which this broker would answer, or close the connection; None if it may be sent."""
    if not packet.topic_is_valid(message.topic):
        return reasons.TOPIC_NAME_INVALID
    if connack.maximum_qos < 1:
        return reasons.QOS_NOT_SUPPORTED
    if message.retain and not connack.retain_available:
        return reasons.RETAIN_NOT_SUPPORTED
    if packet.publish_size(message, properties) > (connack.maximum_packet_size or packet.MAXIMUM_LENGTH):
        return reasons.PACKET_TOO_LARGE
    return None
