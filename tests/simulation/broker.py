"""A virtual MQTT broker with QoS 1, retained messages and wills."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerEvent,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    OpenBroker,
    Publication,
    Publish,
    Subscribed,
)
from tests.simulation.plan import Manners
from tests.simulation.timeline import Timeline

WILL_AFTER_S = 10.0
SILENCE_S = 45.0


@dataclass(slots=True)
class Delivery:
    """One message that the broker wrote down. acknowledged: the PUBACK that the bridge took, at which commit."""

    at: float
    process: int
    connection: int
    message: Publication
    handed_at: float
    acknowledged: int | None = None


Tell = Callable[[BrokerEvent, Delivery | None], None]


@dataclass(slots=True)
class _Connection:
    order: OpenBroker
    process: int
    tell: Tell
    open: bool = True
    ready: bool = False
    free_at: float = 0.0  # messages arrive in order
    ack_at: float = 0.0  # and so do acknowledgements
    stuck: bool = False
    refused: dict[str, float] = field(default_factory=dict)  # channel -> when the bridge hears that it is refused


class Broker:
    """wrote: called with each delivery."""

    def __init__(self, timeline: Timeline, manners: Manners, random: Random, wrote: Callable[[Delivery], None]) -> None:
        self._timeline = timeline
        self._manners = manners
        self._random = random
        self._wrote = wrote
        self._connections: list[_Connection] = []
        self._wills = 0
        self.retained: dict[str, bytes] = {}
        self.away = False
        self.swallows = False
        self.refuses: int | None = None
        self._reason = 0  # of the last refusal
        self.slow = False
        self.break_at_next: str | None = None  # `delivered` (and not acknowledged) or `lost`

    # --- orders of the bridge -----------------------------------------------------------------------

    def open(self, order: OpenBroker, process: int, tell: Tell) -> None:
        connection = _Connection(order, process, tell)
        self._connections.append(connection)
        self._timeline.after(self._way() * 2, lambda: self._opened(connection))

    def publish(self, order: Publish, process: int) -> None:
        connection = self._find(order.connection, process)
        if connection is None or not connection.open:
            return
        when = max(self._timeline.now + self._way(), connection.free_at)
        connection.free_at = when
        handed_at = self._timeline.now
        self._timeline.at(when, lambda: self._write(connection, order, handed_at))

    def close(self, order: CloseBroker, process: int) -> None:
        """What was handed over is sent, then DISCONNECT, which leaves no will; or none, where the will is to speak."""
        connection = self._find(order.connection, process)
        if connection is not None and connection.open:
            when = max(self._timeline.now + self._way(), connection.free_at)
            self._timeline.at(when, lambda: self._end(connection, BrokerTrouble.STOPPED, will=order.will))

    # --- faults -------------------------------------------------------------------------------------

    def break_all(self) -> None:
        for connection in list(self._connections):
            self._end(connection, BrokerTrouble.LOST)

    def abandon(self, process: int) -> None:
        """The process is gone. What it had handed to the network may still arrive; nobody hears of it."""
        for connection in self._connections:
            if connection.process == process and connection.open:
                connection.tell = _nobody
                gone = self._timeline.now + self._random.choice((0.0, self._way()))
                self._timeline.at(gone, lambda c=connection: self._end(c, BrokerTrouble.LOST))

    def go(self, forgets: bool) -> None:
        self.away = True
        self.break_all()
        if forgets:
            self.retained.clear()

    # --- the broker's side --------------------------------------------------------------------------

    def _way(self) -> float:
        return self._random.uniform(0.5, 2.0) * (1.0 if self.slow else 0.001)

    def _find(self, number: int, process: int) -> _Connection | None:
        return next((c for c in self._connections if c.order.connection == number and c.process == process), None)

    def _opened(self, connection: _Connection) -> None:
        if not connection.open:
            return
        if self.away:
            self._end(connection, BrokerTrouble.UNREACHABLE, will=False)
            return
        order = connection.order
        for other in list(self._connections):  # one client id: the session is taken over
            if other is not connection and other.ready:
                self._end(other, BrokerTrouble.TAKEN_OVER)
        self._wills += 1
        connection.ready = True
        tell, maximum = connection.tell, self._manners.receive_maximum
        maximum = maximum if order.protocol == 5 else None
        tell(BrokerConnected(order.connection, order.protocol, maximum, None, 1), None)
        tell(Subscribed(order.connection, ()), None)
        for topic in order.subscriptions:
            if topic in self.retained:
                tell(Arrived(order.connection, topic, self.retained[topic], retained=True), None)

    def _write(self, connection: _Connection, order: Publish, handed_at: float) -> None:
        if not connection.open:
            return
        if self.refuses is not None and connection.stuck:  # what is refused without a word must not be followed by more
            self._end(connection, BrokerTrouble.LOST)
            return
        channel = order.message.topic.rpartition("/")[0]
        if self.refuses is not None or handed_at <= connection.refused.get(channel, -1.0):
            # What was on its way before the bridge could hear of a refusal is refused too: no client could keep order.
            self._refuse(connection, order, channel, handed_at)
            return
        breaks, self.break_at_next = self.break_at_next, None
        if breaks == "lost":
            self._end(connection, BrokerTrouble.LOST)
            return
        delivery = Delivery(self._timeline.now, connection.process, order.connection, order.message, handed_at)
        self._keep(order.message)
        self._wrote(delivery)
        if breaks == "delivered":
            self._end(connection, BrokerTrouble.LOST)
            return
        if self.swallows and not connection.stuck:
            connection.stuck = True
            self._timeline.after(SILENCE_S, lambda: self._end(connection, BrokerTrouble.SILENT))
        if not connection.stuck:
            self._acknowledge(connection, order, delivery, 0)

    def _refuse(self, connection: _Connection, order: Publish, channel: str, handed_at: float) -> None:
        self._reason = self._reason if self.refuses is None else self.refuses
        self._acknowledge(connection, order, None, self._reason)
        if handed_at > connection.refused.get(channel, -1.0):
            connection.refused[channel] = connection.ack_at

    def _keep(self, message: Publication) -> None:
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)

    def _acknowledge(self, connection: _Connection, order: Publish, delivery: Delivery | None, reason: int) -> None:
        when = max(self._timeline.now + self._way(), connection.ack_at)
        connection.ack_at = when
        event = Acknowledged(order.connection, order.token, reason)

        def arrive() -> None:
            if connection.open and not connection.stuck:
                connection.tell(event, delivery)

        self._timeline.at(when, arrive)

    def _end(self, connection: _Connection, trouble: BrokerTrouble, will: bool = True) -> None:
        if not connection.open:
            return
        connection.open = False
        self._connections.remove(connection)
        if will and connection.ready and connection.order.will is not None:
            self._leave_will(connection.order.will, WILL_AFTER_S if connection.order.protocol == 5 else 0.0)
        event = BrokerLost(connection.order.connection, trouble, f"{trouble.value} in the simulation")
        self._timeline.after(0.01, lambda: connection.tell(event, None))

    def _leave_will(self, will: Publication, after_s: float) -> None:
        number = self._wills

        def leave() -> None:
            if number == self._wills:  # nobody took the session up again
                self._keep(will)

        self._timeline.after(after_s, leave) if after_s else self._keep(will)


def _nobody(event: BrokerEvent, delivery: Delivery | None) -> None:
    """The process is gone."""
