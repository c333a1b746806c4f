"""What we change in paho-mqtt: sockets of our own making, stricter handlers, properties of our own packing."""

import contextlib
import struct
from collections.abc import Callable
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mt1bridge.model.broker import BrokerTrouble
from mt1bridge.mqtt import reasons
from mt1bridge.mqtt.connection import Connection
from mt1bridge.mqtt.ending import Ending
from mt1bridge.mqtt.wire import Wire

_DECODE_ERRORS = (struct.error, IndexError, KeyError, ValueError, MQTTException)  # as paho itself catches


class Packed(Properties):
    """Properties that are packed already."""

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "packed", packed)  # Properties itself takes no name but those of MQTT

    def pack(self) -> bytes:
        packed: bytes = object.__getattribute__(self, "packed")
        return packed

    def __str__(self) -> str:
        return ""


class StrictPaho(paho.Client):
    """paho's client with four handlers of its own overridden; without them it would work, but less strictly.

    Their names are private: a contract test for each fails if paho ever stops calling it.
    """

    def __init__(self, connection: Connection, dial_to_broker: Callable[[], Wire], **options: Any) -> None:
        self._connection = connection
        self._dial_to_broker = dial_to_broker
        super().__init__(CallbackAPIVersion.VERSION2, reconnect_on_failure=False, **options)

    def _create_socket_connection(self) -> Any:  # a Wire, which has all that paho uses of a socket
        return self._dial_to_broker()

    def _handle_connack(self) -> MQTTErrorCode:
        answer = bytes(self._in_packet["packet"])
        if len(answer) < 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        flags, code = answer[0], answer[1]
        if self.protocol == MQTTProtocolVersion.MQTTv5 and len(answer) == 2:
            text = f"the broker answered in the form of MQTT 3.1.1: {reasons.words(code)}"
            self._connection.ends(Ending(BrokerTrouble.PROTOCOL_VERSION, text, code))
        elif code != 0:
            if self.protocol == MQTTProtocolVersion.MQTTv5 and code < reasons.FIRST_FAILURE:
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            text = reasons.words(code) + own_words(answer[2:], PacketTypes.CONNACK)
            self._connection.ends(Ending(reasons.connack_trouble(code), text, code))
        elif flags != 0:  # we asked for a clean start: there is no session to be present
            text = f"the broker sent a CONNACK with wrong flags (0x{flags:02X})"
            self._connection.ends(Ending(BrokerTrouble.LOST, text))
        else:
            return super()._handle_connack()
        return MQTTErrorCode.MQTT_ERR_CONN_REFUSED

    def _handle_pubrec(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL  # we never publish with QoS 2

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        return super()._handle_pubackcomp(cmd) if cmd == "PUBACK" else MQTTErrorCode.MQTT_ERR_PROTOCOL


def own_words(packed: bytes, packet_type: int) -> str:
    """Return the reason string in packed properties, ready to be added to a text; "" if there is none."""
    properties: Any = Properties(packet_type)  # type: ignore[no-untyped-call]
    with contextlib.suppress(*_DECODE_ERRORS):
        properties.unpack(packed)
    return reason_string(properties)


def reason_string(properties: Properties | None) -> str:
    """Return the broker's own words, ready to be added to a text; "" if there are none."""
    text = getattr(properties, "ReasonString", "")
    return f": {reasons.printable(text)}" if text else ""
