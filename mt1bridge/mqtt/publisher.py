"""The way to the broker: orders in, events out.

Every connection is a fresh client: nothing rendered for an earlier one is ever sent again.
"""

from collections.abc import Callable

from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import BrokerEvent, BrokerLost, BrokerTrouble, CloseBroker, OpenBroker, Publish
from mt1bridge.mqtt.client import Limits
from mt1bridge.mqtt.closures import Closures
from mt1bridge.mqtt.connection import Connection
from mt1bridge.mqtt.paho_client import PahoClient
from mt1bridge.runtime.clock import Clock, SystemClock
from mt1bridge.runtime.dial import place
from mt1bridge.runtime.tls import ContextKeeper


class Publisher:
    """Opens one connection at a time; none of its methods blocks or raises. inbox must not block either."""

    def __init__(
        self,
        settings: MqttSettings,
        inbox: Callable[[BrokerEvent], None],
        clock: Clock | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._clock = clock or SystemClock()
        self._limits = limits or Limits()
        self._closures = Closures()
        self._tls = ContextKeeper(settings.ca_file, settings.cert_file, settings.key_file)
        self._connection: Connection | None = None

    def open(self, order: OpenBroker) -> None:
        """Connect. BrokerConnected and then Subscribed, or BrokerLost, follow within twice `Limits.answer_s`."""
        if self._connection is not None:
            self._connection.stop()
            self._connection = None
        try:
            connection = Connection(
                order,
                place(self._settings.host, self._settings.port),
                self._client,
                self._inbox,
                self._clock,
                self._limits,
                self._closures,
            )
            connection.start()
        except (OSError, RuntimeError) as error:  # no descriptor or no thread left
            self._inbox(BrokerLost(order.connection, BrokerTrouble.UNREACHABLE, f"cannot connect: {error}"))
            return
        self._connection = connection

    def publish(self, order: Publish) -> None:
        """Hand one message over. Acknowledged follows, unless that connection is gone or going."""
        if self._connection is not None and self._connection.number == order.connection:
            self._connection.publish(order)

    def close(self, order: CloseBroker) -> None:
        """Send what was handed over, then DISCONNECT unless the will is to speak. BrokerLost(STOPPED) follows."""
        if self._connection is not None and self._connection.number == order.connection:
            self._connection.stop(order.will)

    def thread_alive(self) -> bool:
        """Say whether the thread of the connection opened last still runs; it ends right after BrokerLost."""
        return self._connection is None or self._connection.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread of the connection opened last has ended, timeout_s at most."""
        if self._connection is not None:
            self._connection.join(timeout_s)

    def _client(self, connection: Connection) -> PahoClient:
        context = self._tls.get() if self._settings.scheme in ("mqtts", "wss") else None
        return PahoClient(self._settings, connection, context, self._clock, self._limits)
