"""The link to the MQTT broker: what its shell reports (events) and what it is told to do (orders).

Every connection is a fresh client with a `connection` number that is never used again, so nothing that was
rendered for an earlier one is ever sent again.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish with QoS 1.

    expiry_s: MQTT 5 message expiry. properties: MQTT 5 user properties.
    An empty payload with retain empties a retained topic.
    """

    topic: str
    payload: bytes
    retain: bool = False
    content_type: str | None = None
    expiry_s: int | None = None
    properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes | None = None  # MQTT 5 correlation data, for responses


# --- orders ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """Connect. will: published by the broker when we vanish (MQTT 5: delay 10 s, session expiry 30 s).

    subscriptions: topic filters to subscribe to (QoS 1) once connected.
    """

    connection: int
    will: Publication | None
    subscriptions: tuple[str, ...]
    protocol: int  # 5 or 4 (MQTT 3.1.1)


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand one message over; `Acknowledged` with the same token follows, unless the connection is lost."""

    connection: int
    token: int
    message: Publication


@dataclass(frozen=True, slots=True)
class CloseBroker:
    """Send DISCONNECT and close. BrokerLost follows. will: close without DISCONNECT, so that the will is published."""

    connection: int
    will: bool = False


# --- events ---------------------------------------------------------------------------------------


class BrokerTrouble(StrEnum):
    UNREACHABLE = "unreachable"
    REFUSED = "refused"  # CONNACK said no: credentials, ACL, quota, client id
    PROTOCOL_VERSION = "protocol_version"  # the broker does not speak this MQTT version
    TAKEN_OVER = "taken_over"  # another client uses our client id
    LOST = "lost"
    SILENT = "silent"
    TLS = "tls"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BrokerConnected:
    """CONNACK said yes. Limits are what the broker announced; None where it did not (or MQTT 3.1.1)."""

    connection: int
    protocol: int
    receive_maximum: int | None
    maximum_packet_size: int | None
    maximum_qos: int
    retain_available: bool = True


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered all our SUBSCRIBEs; refused lists the filters that it did not grant."""

    connection: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK, or our own refusal to send what this broker would refuse.

    reason: MQTT 5 reason code, 0 with 3.1.1; 0x80 and above is a refusal, not a delivery.
    """

    connection: int
    token: int
    reason: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that the broker sent us."""

    connection: int
    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class BrokerLost:
    """The connection is gone or never came to be. Exactly one for every OpenBroker.

    reason: the CONNACK or DISCONNECT reason code, if there was one.
    """

    connection: int
    trouble: BrokerTrouble
    text: str
    reason: int | None = None


BrokerEvent = BrokerConnected | Subscribed | Acknowledged | Arrived | BrokerLost
