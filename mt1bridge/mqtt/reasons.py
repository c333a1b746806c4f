"""Pure: what the broker's reason codes mean for us, and in words.

Codes below 0x80 are MQTT 3.1.1 CONNACK return codes (section 3.2.2.3), the others MQTT 5 reason codes (section 2.4).
"""

from mt1bridge.model.broker import BrokerTrouble

FIRST_FAILURE = 0x80  # MQTT 5, section 2.4

IMPLEMENTATION_SPECIFIC = 0x83
KEEP_ALIVE_TIMEOUT = 0x8D
TOPIC_NAME_INVALID = 0x90
RECEIVE_MAXIMUM_EXCEEDED = 0x93
PACKET_TOO_LARGE = 0x95
PAYLOAD_FORMAT_INVALID = 0x99
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B

_WORDS = {
    1: "the broker does not speak this MQTT version",
    2: "the client id is not allowed",
    3: "the broker is not available",
    4: "user name or password is wrong",
    5: "not authorised",
    0x00: "normal disconnection",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    IMPLEMENTATION_SPECIFIC: "implementation specific error",
    0x84: "the broker does not speak this MQTT version",
    0x85: "the client id is not allowed",
    0x86: "user name or password is wrong",
    0x87: "not authorised",
    0x88: "the broker is not available",
    0x89: "the broker is busy",
    0x8A: "banned by the broker's administrator",
    0x8B: "the broker is shutting down",
    0x8C: "bad authentication method",
    KEEP_ALIVE_TIMEOUT: "the broker heard nothing from us within the keep alive time",
    0x8E: "another client has connected with our client id",
    0x8F: "topic filter invalid",
    TOPIC_NAME_INVALID: "topic name invalid",
    0x91: "packet identifier in use",
    RECEIVE_MAXIMUM_EXCEEDED: "receive maximum exceeded",
    0x94: "topic alias invalid",
    PACKET_TOO_LARGE: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "closed by the broker's administrator",
    PAYLOAD_FORMAT_INVALID: "payload format invalid",
    RETAIN_NOT_SUPPORTED: "the broker does not support retained messages",
    QOS_NOT_SUPPORTED: "the broker does not support QoS 1",
    0x9C: "use another server",
    0x9D: "the server has moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}

# What passes by itself is not a refusal: nobody needs to change anything.
_CONNACK = {
    1: BrokerTrouble.PROTOCOL_VERSION,
    3: BrokerTrouble.UNREACHABLE,
    0x84: BrokerTrouble.PROTOCOL_VERSION,
    0x88: BrokerTrouble.UNREACHABLE,
    0x89: BrokerTrouble.UNREACHABLE,
}

# A DISCONNECT that would come again however often we connect; every other one is a loss like any.
_DISCONNECT = {0x8E: BrokerTrouble.TAKEN_OVER} | dict.fromkeys(
    (0x86, 0x87, 0x8A, 0x8C, 0x97, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0xA1, 0xA2), BrokerTrouble.REFUSED
)


def words(code: int) -> str:
    """Return a reason code in words, with its number."""
    return f"{_WORDS.get(code, 'unknown reason')} ({code if code < 0x80 else f'0x{code:02X}'})"


def connack_trouble(code: int) -> BrokerTrouble:
    """Return what a CONNACK that is not "accepted" means."""
    return _CONNACK.get(code, BrokerTrouble.REFUSED)


def disconnect_trouble(code: int) -> BrokerTrouble:
    """Return what a DISCONNECT sent by the broker means (MQTT 5 only)."""
    return _DISCONNECT.get(code, BrokerTrouble.LOST)


def printable(text: str) -> str:
    """Return text of the broker's own, harmless in a log line: no control characters, 200 characters at most."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])
