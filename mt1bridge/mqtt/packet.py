"""Pure: the parts of MQTT packets that we make ourselves (MQTT 5, sections 1.5, 2.2.2 and 3.3).

Properties are packed here and not by the library, because their size must be known before a message is sent,
and because it is several times faster: a catch-up publishes a thousand messages a second.
"""

import struct

from mt1bridge.model.broker import Publication

MAXIMUM_STRING = 65_535
MAXIMUM_LENGTH = 268_435_455

_MESSAGE_EXPIRY = b"\x02"
_CONTENT_TYPE = b"\x03"
_CORRELATION = b"\x09"
_SESSION_EXPIRY = b"\x11"
_WILL_DELAY = b"\x18"
_USER_PROPERTY = b"\x26"
_MAXIMUM_PACKET_SIZE = b"\x27"


def publish_properties(message: Publication) -> bytes:
    """Return the properties of a PUBLISH with their length in front. Raises ValueError for what has no encoding."""
    return _with_length(_message_properties(message))


def will_properties(message: Publication, delay_s: int) -> bytes:
    """Return the properties of a will with their length in front."""
    return _with_length(_WILL_DELAY + struct.pack("!I", delay_s) + _message_properties(message))


def connect_properties(session_expiry_s: int, maximum_packet_size: int) -> bytes:
    """Return the properties of a CONNECT with their length in front. maximum_packet_size: the most we take, bytes."""
    expiry = _SESSION_EXPIRY + struct.pack("!I", session_expiry_s)
    return _with_length(expiry + _MAXIMUM_PACKET_SIZE + struct.pack("!I", maximum_packet_size))


def publish_size(message: Publication, properties: bytes) -> int:
    """Return the size in bytes of the whole PUBLISH packet with QoS 1. properties: as packed, b"" for MQTT 3.1.1."""
    length = 2 + len(message.topic.encode()) + 2 + len(properties) + len(message.payload)
    return 1 + len(_variable(length)) + length


def topic_is_valid(topic: str) -> bool:
    """Say whether one may publish to this topic: a broker closes the connection on any other (section 4.7)."""
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= MAXIMUM_STRING and not any(character in topic for character in "+#\0")


def _message_properties(message: Publication) -> bytes:
    packed = b""
    if message.expiry_s is not None:
        packed += _MESSAGE_EXPIRY + struct.pack("!I", min(max(message.expiry_s, 0), 0xFFFFFFFF))
    if message.content_type is not None:
        packed += _CONTENT_TYPE + _binary(message.content_type.encode())
    if message.correlation is not None:
        packed += _CORRELATION + _binary(message.correlation)
    for name, value in message.properties:
        packed += _USER_PROPERTY + _binary(name.encode()) + _binary(value.encode())
    return packed


def _binary(data: bytes) -> bytes:
    if len(data) > MAXIMUM_STRING:
        raise ValueError(f"{len(data)} bytes are too many for an MQTT string")
    return struct.pack("!H", len(data)) + data


def _with_length(packed: bytes) -> bytes:
    return _variable(len(packed)) + packed


def _variable(number: int) -> bytes:
    if number > MAXIMUM_LENGTH:
        raise ValueError(f"{number} bytes are too many for an MQTT packet")
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
