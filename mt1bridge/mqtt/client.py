"""What a connection needs of an MQTT library, and what both tell each other."""

from dataclasses import dataclass
from typing import Protocol

from mt1bridge.model.broker import Publication
from mt1bridge.mqtt import packet, reasons
from mt1bridge.mqtt.ending import Failure


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. answer: from dialling to CONNACK, and again for SUBACK. farewell: to get DISCONNECT out.

    keepalive: what we ask for; silence of 1.5 times the agreed one ends the connection, as it does at the broker
    (MQTT 5, section 3.1.2.10). acknowledge: for the oldest message, however lively the broker is otherwise: on this
    connection it may not be sent again, so only another one can bring it.
    """

    answer_s: float = 10.0
    keepalive_s: int = 30
    acknowledge_s: float = 60.0
    farewell_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Connack:
    """What a CONNACK that says yes says. receive_maximum, maximum_packet_size: None where not announced.

    keepalive_s: the keep alive in force, ours or the broker's; 0 for none.
    """

    keepalive_s: int
    receive_maximum: int | None = None
    maximum_packet_size: int | None = None
    maximum_qos: int = 2
    retain_available: bool = True

    def refusal(self, message: Publication, properties: bytes) -> int | None:
        """Return the reason code with which this broker would refuse a message or throw us out; None if it may be sent.

        properties: as packed, b"" for MQTT 3.1.1.
        """
        if not packet.topic_is_valid(message.topic):
            return reasons.TOPIC_NAME_INVALID
        if self.maximum_qos < 1:
            return reasons.QOS_NOT_SUPPORTED
        if message.retain and not self.retain_available:
            return reasons.RETAIN_NOT_SUPPORTED
        if packet.publish_size(message, properties) > (self.maximum_packet_size or packet.MAXIMUM_LENGTH):
            return reasons.PACKET_TOO_LARGE
        return None


class Client(Protocol):
    """What a connection needs of an MQTT library. Only `abandon` may be called while another call is under way."""

    def connect(self) -> None:
        """Dial, TLS, WebSocket, queue CONNECT for sending: blocks, raises what went wrong."""

    def abandon(self) -> None:
        """Make a `connect` that is under way fail."""

    def close(self) -> None: ...

    def fileno(self) -> int | None:
        """Return the socket's number, None once it is closed."""

    def buffered(self) -> bool:
        """Say whether bytes were read from the socket that the library has not seen yet."""

    def wants_write(self) -> bool: ...

    def read(self) -> None: ...

    def write(self) -> None: ...

    def tend(self) -> None:
        """Queue a PINGREQ if it is time."""

    def publish(self, message: Publication, properties: bytes) -> int | None:
        """Queue for sending with QoS 1 and return the packet identifier; None if the connection is gone."""

    def subscribe(self, filters: tuple[str, ...]) -> int | None: ...

    def disconnect(self) -> None: ...

    def failure(self) -> Failure: ...
