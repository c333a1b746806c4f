"""What we change in paho-mqtt: stricter handlers, properties of our own packing, an ear for its socket's errors."""

import logging
import socket
from collections.abc import Callable
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from mt1bridge.model.broker import BrokerTrouble
from mt1bridge.mqtt import reasons
from mt1bridge.mqtt.connection import Connection
from mt1bridge.mqtt.ending import Ending


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

    def __init__(self, connection: Connection, dial_to_broker: Callable[[], socket.socket], **options: Any) -> None:
        self._connection = connection
        self._dial_to_broker = dial_to_broker
        super().__init__(CallbackAPIVersion.VERSION2, reconnect_on_failure=False, **options)

    def _create_socket_connection(self) -> socket.socket:
        return self._dial_to_broker()

    def _handle_connack(self) -> MQTTErrorCode:
        answer = bytes(self._in_packet["packet"])
        if len(answer) < 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        flags, code = answer[0], answer[1]
        if self.protocol == MQTTProtocolVersion.MQTTv5 and len(answer) == 2:
            text = f"the broker answered in the form of MQTT 3.1.1: {reasons.words(code)}"
            self._connection.ends(Ending(BrokerTrouble.PROTOCOL_VERSION, text, code))
        elif self.protocol != MQTTProtocolVersion.MQTTv5 and code != 0:
            self._connection.ends(Ending(reasons.connack_trouble(code), reasons.words(code), code))
        elif code == 0 and flags != 0:  # we asked for a clean start: there is no session to be present
            text = f"the broker sent a CONNACK with wrong flags (0x{flags:02X})"
            self._connection.ends(Ending(BrokerTrouble.LOST, text))
        else:
            return super()._handle_connack()
        return MQTTErrorCode.MQTT_ERR_CONN_REFUSED

    def _handle_pubrec(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL  # we never publish with QoS 2

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        return super()._handle_pubackcomp(cmd) if cmd == "PUBACK" else MQTTErrorCode.MQTT_ERR_PROTOCOL


class ErrorEar(logging.Handler):
    """Hears from paho's log what its socket raised, which paho tells nobody else."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                self.error = argument
