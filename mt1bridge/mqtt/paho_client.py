"""paho-mqtt behind our own face; strict_paho is the only other module that imports it.

Every connection is a fresh client, and paho's own thread and reconnecting are not used: a client that has lost its
connection is thrown away with all that was queued in it (FEASIBILITY, section 2).
"""

import contextlib
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
from mt1bridge.mqtt.strict_paho import Packed, StrictPaho, reason_string
from mt1bridge.mqtt.wire import Wire
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
        self._context = context
        self._clock = clock
        self._limits = limits
        self._mqtt5 = connection.order.protocol == 5
        self._gate = threading.Lock()
        self._abandoned = False
        self._wire: Wire | None = None
        self._handle: socket.socket | None = None
        self._result = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._paho = self._make()

    def _make(self) -> StrictPaho:
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
        if settings.username is not None or settings.password is not None:
            password = settings.password.reveal() if settings.password is not None else None
            client.username_pw_set(settings.username or "", password)
        if settings.scheme in ("ws", "wss"):
            where = place(settings.host, settings.port)
            origin = f"{'https' if settings.scheme == 'wss' else 'http'}://{where}"
            client.ws_set_options(settings.path or "/", {"Host": where, "Origin": origin})
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
        except Exception as error:
            self.close()
            if isinstance(error, paho.WebsocketConnectionError):
                raise UpgradeRefusedError(self._settings.path or "/") from error
            raise
        finally:
            with self._gate:
                if self._handle is not None:
                    self._handle.close()
                    self._handle = None

    def _dial(self) -> Wire:
        """Return a connected socket, over TLS if there is to be TLS: paho need not know."""
        host, limit = self._settings.host, self._limits.answer_s
        connected = dial(host, self._settings.port, limit, self._clock)
        self._wire = Wire(connected)
        with self._gate:
            if self._abandoned:
                raise ConnectionAbortedError("abandoned")
            self._handle = connected.dup()  # TLS takes the socket itself over, this one stays in our hand
        if self._context is not None:
            secure = self._context.wrap_socket(connected, do_handshake_on_connect=False, server_hostname=host)
            self._wire = Wire(secure)
            try:
                secure.do_handshake()
            except ConnectionError as error:  # what a port that does not speak TLS often answers
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed in the handshake") from error
        return self._wire

    def abandon(self) -> None:
        with self._gate, contextlib.suppress(OSError):
            self._abandoned = True
            if self._handle is not None:
                self._handle.shutdown(socket.SHUT_RDWR)

    # --- one turn -------------------------------------------------------------------------------------

    def fileno(self) -> int | None:
        current = self._paho.socket()
        return None if current is None else current.fileno()

    def buffered(self) -> bool:
        return self._wire is not None and self.fileno() is not None and self._wire.pending() > 0

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
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.close()

    def failure(self) -> Failure:
        return Failure(
            error=self._wire.error if self._wire is not None else None,
            reached=self._wire is not None,
            malformed=self._result == MQTTErrorCode.MQTT_ERR_PROTOCOL,
            silent=self._result == MQTTErrorCode.MQTT_ERR_KEEPALIVE,
        )

    # --- paho's callbacks: report and return, never raise -------------------------------------------------

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.value != 0:
            code = reason.value
            self._connection.ends(
                Ending(reasons.connack_trouble(code), reasons.words(code) + reason_string(properties), code)
            )
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
            text = reasons.words(code) + reason_string(properties)
            self._connection.ends(Ending(reasons.disconnect_trouble(code), text, code))
        elif reason.value == reasons.KEEP_ALIVE_TIMEOUT:  # which loop_misc itself does not return
            self._note(MQTTErrorCode.MQTT_ERR_KEEPALIVE)

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
