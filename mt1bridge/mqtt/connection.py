"""One connection to the broker, from dialling to its end, in a thread of its own.

That thread alone uses the MQTT client: the loop puts an order into a queue and wakes it. So no lock of the library is
ever taken by two threads, an acknowledgement cannot overtake the registration of its message, and nobody writes to a
TLS socket while somebody else reads from it. Dialling alone happens in a second, short-lived thread, because a name
resolution cannot be interrupted; that one sends nothing of MQTT.
"""

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
    Publish,
    Subscribed,
)
from mt1bridge.mqtt import packet, reasons
from mt1bridge.mqtt.alarm import Alarm
from mt1bridge.mqtt.client import Client, Connack, Limits
from mt1bridge.mqtt.closures import Closures
from mt1bridge.mqtt.dialling import Dialling
from mt1bridge.mqtt.ending import Ending, after_dialling, after_failure, no_answer
from mt1bridge.mqtt.vigil import Vigil
from mt1bridge.runtime.clock import Clock
from mt1bridge.runtime.tls import TlsFileError

LARGEST_WINDOW = 65_535  # packet identifiers


class _Over(Exception):
    """The connection has ended."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        super().__init__(ending.text)


class Connection:
    """Tells BrokerConnected, Subscribed, Acknowledged, Arrived, and as the last event exactly one BrokerLost.

    place: "host:port" for texts. make_client: called in the connection's thread, given this object for its callbacks
    (`accepted`, `ends`, `granted`, `acknowledged`, `arrived`). tell must not block.
    Raises OSError where no descriptor is left.
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
        self._closures = closures
        self._client: Client | None = None
        self._orders: deque[Publish] = deque()
        self._closing = False
        self._will_speaks = False
        self._tokens: dict[int, int] = {}  # packet identifier -> token
        self._connack: Connack | None = None
        self._subscribed = False
        self._subscription: int | None = None  # packet identifier of the SUBSCRIBE that has no answer yet
        self._ending: Ending | None = None
        self._vigil = Vigil(limits, self._now())
        self._alarm = Alarm()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self.number}", daemon=True)

    # --- for the loop's thread ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Raises RuntimeError where no thread can be had."""
        try:
            self._thread.start()
        except RuntimeError:
            self._clean_up()
            raise

    def publish(self, order: Publish) -> None:
        self._orders.append(order)
        self._alarm.ring()

    def stop(self, will: bool = False) -> None:
        """will: end without DISCONNECT, so that the broker publishes the will."""
        self._will_speaks = will
        self._closing = True
        self._alarm.ring()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

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
            self._serve(client)
            self._turn(client)

    def _dial(self, client: Client) -> None:
        dialling = Dialling(client, self._alarm.ring)
        dialling.start()
        while not dialling.over:
            ending: Ending | None = None
            if self._closing:
                ending = Ending(BrokerTrouble.STOPPED, "closed by us while connecting")
            elif self._vigil.is_silent(self._now()):
                ending = no_answer(client.failure(), self._place)
            if ending is not None and dialling.abandon():
                raise _Over(ending)
            self._wait()
        if dialling.error is not None:
            client.close()
            raise _Over(after_dialling(dialling.error, client.failure(), self._place)) from dialling.error

    def _serve(self, client: Client) -> None:
        """Do what the loop has ordered, as far as it can be done now."""
        connack = self._connack
        if connack is not None:
            if not self._subscribed:
                self._subscribe(client)
            window = connack.receive_maximum or LARGEST_WINDOW
            while self._orders and len(self._tokens) < window:
                self._hand_over(client, connack, self._orders.popleft())
            self._look_at_oldest()
        if self._closing:
            self._say_farewell(client)

    def _turn(self, client: Client) -> None:
        """Wait, read, write. Reading comes first: what the broker says at the end tells why it does not take more."""
        wanted = client.wants_write()
        client.tend()
        if client.wants_write() and not wanted:
            self._vigil.pinged(self._now())
        self._check(client)
        readable, writable = self._wait(client)
        if readable:
            self._vigil.heard(self._now())
            client.read()
            self._check(client)
        if writable:
            self._vigil.told(self._now())
            client.write()
            self._check(client)

    def _check(self, client: Client) -> None:
        """Raise _Over if this is the end."""
        if self._ending is not None:
            raise _Over(self._ending)
        now = self._now()
        if client.fileno() is None:
            connected_now = None if self._connack is None else now
            protocol, idle = self.order.protocol, not self._tokens
            raise _Over(after_failure(client.failure(), self._place, self._closures, protocol, connected_now, idle))
        if self._vigil.is_silent(now):
            text = f"{self._place} has not been heard of for {self._vigil.quiet_for(now):.0f} s"
            if not self._vigil.acknowledges(now):
                text = f"{self._place} does not acknowledge what it is sent"
            raise _Over(Ending(BrokerTrouble.SILENT, text))

    def _subscribe(self, client: Client) -> None:
        self._subscribed = True
        if not self.order.subscriptions:
            self._tell(Subscribed(self.number, ()))
            return
        self._subscription = client.subscribe(self.order.subscriptions)
        self._vigil.waits_for_answer(self._now())

    def _hand_over(self, client: Client, connack: Connack, order: Publish) -> None:
        try:
            properties = packet.publish_properties(order.message) if self.order.protocol == 5 else b""
            refusal = connack.refusal(order.message, properties)
        except ValueError:
            properties, refusal = b"", reasons.IMPLEMENTATION_SPECIFIC
        if refusal is not None:
            self._tell(Acknowledged(self.number, order.token, refusal))
            return
        identifier = client.publish(order.message, properties)
        if identifier is not None:
            self._tokens[identifier] = order.token

    def _say_farewell(self, client: Client) -> NoReturn:
        if self._connack is not None:
            if not self._will_speaks:
                client.disconnect()
            self._vigil.must_end(self._now())
            while client.fileno() is not None and not self._vigil.is_silent(self._now()):
                if self._will_speaks and not client.wants_write():
                    break
                readable, writable = self._wait(client)
                if readable:
                    client.read()
                if writable:
                    client.write()
        raise _Over(Ending(BrokerTrouble.STOPPED, "closed by us"))

    def _wait(self, client: Client | None = None) -> tuple[bool, bool]:
        """Wait until there is something to do; return whether there is something to read, and room to write."""
        now = self._now()
        planned = self._vigil.wake_at(now) + 0.01
        number = client.fileno() if client is not None else None
        if client is None or number is None:
            self._alarm.wait(planned - now)
            readable, writable = False, False
        else:
            buffered = client.buffered()
            readable, writable = self._alarm.wait(0.0 if buffered else planned - now, number, client.wants_write())
            readable = readable or buffered
        self._vigil.woke(planned, self._now())
        return readable, writable

    def _look_at_oldest(self) -> None:
        self._vigil.oldest_waiting(next(iter(self._tokens.values()), None), self._now())

    def _clean_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._alarm.close()

    def _now(self) -> float:
        return self._clock.now().monotonic

    # --- what the client reports, in the connection's thread -----------------------------------------------

    def accepted(self, connack: Connack) -> None:
        if self._connack is not None:
            self.ends(Ending(BrokerTrouble.LOST, f"{self._place} sent a second CONNACK"))
            return
        self._connack = connack
        self._vigil.keepalive_s = connack.keepalive_s
        self._vigil.answered()
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
        if identifier != self._subscription:
            return
        self._subscription = None
        self._vigil.answered()
        answers = zip(
            self.order.subscriptions, codes + (reasons.FIRST_FAILURE,) * len(self.order.subscriptions), strict=False
        )
        self._tell(Subscribed(self.number, tuple(topic for topic, code in answers if code >= reasons.FIRST_FAILURE)))

    def acknowledged(self, identifier: int, reason: int) -> None:
        token = self._tokens.pop(identifier, None)
        if token is not None:
            self._look_at_oldest()
            self._tell(Acknowledged(self.number, token, reason))

    def arrived(self, message: Arrived) -> None:
        self._tell(message)
