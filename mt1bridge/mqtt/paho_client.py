"""paho-mqtt behind our own face; strict_paho is the only other module that imports it.

Every connection is a fresh client, and paho's own thread and reconnecting are not used: a client that has lost its
connection is thrown away with all that was queued in it (FEASIBILITY, section 2).
"""

import contextlib
import logging
import socket
import ssl
import threading
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import Arrived, Publication
from mt1bridge.mqtt import packet, reasons
from mt1bridge.mqtt.client import Connack, Limits
from mt1bridge.mqtt.connection import Connection
from mt1bridge.mqtt.ending import Ending, Failure, UpgradeRefusedError
from mt1bridge.mqtt.strict_paho import ErrorEar, Packed, StrictPaho
from mt1bridge.runtime.clock import Clock
from mt1bridge.runtime.dial import dial, place

SESSION_EXPIRY_S = 30  # contract, section 2
WILL_DELAY_S = 10
LARGEST_MESSAGE = 1_048_576  # bytes that we take from the broker with MQTT 5; a command is far smaller


class PahoClient:
    """`client.Client` over paho, whose thread is not used: the connection's own thread calls in."""

    def __init__(
        self,
        settings: MqttSettings,
        connection: Connection,
        context: ssl.SSLContext | None,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._clock = clock
        self._limits = limits
        self._mqtt5 = connection.order.protocol == 5
        self._gate = threading.Lock()
        self._abandoned = False
        self._reached: socket.socket | None = None
        self._was_reached = False
        self._result = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._ear = ErrorEar()
        self._paho = self._make(context)

    def _make(self, context: ssl.SSLContext | None) -> StrictPaho:
        settings = self._settings
        version = MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311
        client = StrictPaho(
            self._connection,
            self._dial,
            client_id=settings.client_id,
            protocol=version,
            clean_session=None if self._mqtt5 else True,
            transport="websockets" if settings.scheme in ("ws", "wss") else "tcp",
        )
        client.connect_timeout = self._limits.answer_s
        client.max_inflight_messages_set(0)  # the window is kept elsewhere, and paho's costs time (FEASIBILITY, 2.1)
        logger = logging.Logger("paho", logging.ERROR)  # not one of the tree: it has one hearer
        logger.addHandler(self._ear)
        client.enable_logger(logger)
        if settings.username is not None or settings.password is not None:
            password = settings.password.reveal() if settings.password is not None else None
            client.username_pw_set(settings.username or "", password)
        if settings.scheme in ("ws", "wss"):
            client.ws_set_options(settings.path or "/", {"Host": place(settings.host, settings.port)})
        if context is not None:
            client.tls_set_context(context)
        self._set_will(client, self._connection.order.will)
        client.on_socket_register_write = _leave_it_to_us
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _set_will(self, client: paho.Client, will: Publication | None) -> None:
        if will is None:
            return
        properties = Packed(packet.will_properties(will, WILL_DELAY_S)) if self._mqtt5 else None
        client.will_set(will.topic, will.payload, 1, will.retain, properties)

    # --- dialling -------------------------------------------------------------------------------------

    def connect(self) -> None:
        host, port, keepalive = self._settings.host, self._settings.port, self._limits.keepalive_s
        try:
            if self._mqtt5:
                properties = Packed(packet.connect_properties(SESSION_EXPIRY_S, LARGEST_MESSAGE))
                self._paho.connect(host, port, keepalive, clean_start=True, properties=properties)
            else:
                self._paho.connect(host, port, keepalive)
        except paho.WebsocketConnectionError as error:
            raise UpgradeRefusedError(self._settings.path or "/") from error
        finally:
            with self._gate:
                if self._reached is not None:
                    self._reached.close()
                    self._reached = None

    def _dial(self) -> socket.socket:
        connected = dial(self._settings.host, self._settings.port, self._limits.answer_s, self._clock)
        try:
            with self._gate:
                if self._abandoned:
                    raise ConnectionAbortedError("abandoned")
                self._was_reached = True
                self._reached = connected.dup()  # TLS takes the socket itself over, this one stays in our hand
        except OSError:
            connected.close()
            raise
        return connected

    def abandon(self) -> None:
        with self._gate, contextlib.suppress(OSError):
            self._abandoned = True
            if self._reached is not None:
                self._reached.shutdown(socket.SHUT_RDWR)

    # --- one turn -------------------------------------------------------------------------------------

    def fileno(self) -> int | None:
        current = self._paho.socket()
        return None if current is None else current.fileno()

    def buffered(self) -> bool:
        pending = getattr(self._paho.socket(), "pending", None)
        return pending is not None and pending() > 0

    def wants_write(self) -> bool:
        return self._paho.want_write()

    def read(self) -> None:
        self._note(self._paho.loop_read())

    def write(self) -> None:
        self._note(self._paho.loop_write())

    def tend(self) -> None:
        self._note(self._paho.loop_misc())

    def _note(self, result: MQTTErrorCode) -> None:
        if self._result == MQTTErrorCode.MQTT_ERR_SUCCESS and result != MQTTErrorCode.MQTT_ERR_NO_CONN:
            self._result = result

    def publish(self, message: Publication, properties: bytes) -> int | None:
        packed = Packed(properties) if self._mqtt5 else None
        while True:
            info = self._paho.publish(message.topic, message.payload, 1, message.retain, packed)
            if info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # that one: the packet identifier is still in use
                break
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def subscribe(self, filters: tuple[str, ...]) -> int | None:
        return self._paho.subscribe([(topic, 1) for topic in filters])[1]

    def disconnect(self) -> None:
        self._paho.disconnect()

    def close(self) -> None:
        current = self._paho.socket()
        if current is not None:
            with contextlib.suppress(OSError):
                current.close()

    def failure(self) -> Failure:
        return Failure(
            error=self._ear.error,
            reached=self._was_reached,
            malformed=self._result == MQTTErrorCode.MQTT_ERR_PROTOCOL,
            silent=self._result == MQTTErrorCode.MQTT_ERR_KEEPALIVE,
        )

    # --- paho's callbacks: report and return, never raise -------------------------------------------------

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.value != 0:
            self._connection.ends(_refused(reason.value, properties))
            return
        self._connection.accepted(
            Connack(
                keepalive_s=self._paho.keepalive,
                receive_maximum=getattr(properties, "ReceiveMaximum", None),
                maximum_packet_size=getattr(properties, "MaximumPacketSize", None),
                maximum_qos=getattr(properties, "MaximumQoS", 2),
                retain_available=bool(getattr(properties, "RetainAvailable", 1)),
            )
        )

    def _on_disconnect(
        self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            code = reason.value
            text = reasons.words(code) + _said(properties)
            self._connection.ends(Ending(reasons.disconnect_trouble(code), text, code))

    def _on_publish(self, _client: Any, _data: Any, identifier: int, reason: ReasonCode, _properties: Any) -> None:
        self._connection.acknowledged(identifier, reason.value)

    def _on_subscribe(self, _client: Any, _data: Any, identifier: int, granted: list[ReasonCode], _rest: Any) -> None:
        self._connection.granted(identifier, tuple(reason.value for reason in granted))

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no topic of ours: we subscribe to ASCII ones alone
        properties = message.properties
        self._connection.arrived(
            Arrived(
                self._connection.number,
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )


def _leave_it_to_us(_client: Any, _data: Any, _socket: Any) -> None:
    """Keep paho from writing at once: with this callback it believes in an event loop, which the connection is."""


def _refused(code: int, properties: Properties | None) -> Ending:
    return Ending(reasons.connack_trouble(code), reasons.words(code) + _said(properties), code)


def _said(properties: Properties | None) -> str:
    """Return the broker's own words, if it sent some."""
    text = getattr(properties, "ReasonString", "")
    return f": {reasons.printable(text)}" if text else ""
