"""A real mosquitto on a free loopback port, and a subscriber that records what it delivers.

    with Mosquitto(tmp_path) as broker, Recorder(broker.port, "mt1/#") as recorder:
        ...
        assert recorder.wait_for(3)

Take a directory of your own for every broker. Nothing here is shared between tests.
"""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from certificates import Authority, Certificate
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

PATIENCE_S = 20.0  # how long a test waits for what must come; never how long something may take


def wait_until(condition: Callable[[], object], deadline_s: float = PATIENCE_S) -> bool:
    """Wait until condition is true; return whether it became so within deadline_s."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Tls:
    """What the broker shows, and whether it wants a client certificate of the same CA."""

    authority: Authority
    certificate: Certificate
    demand_client_certificate: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How to run it. users: name -> password. acl: text of an acl_file. extra: further lines of the configuration,
    tls_lines: of the listener with TLS."""

    host: str = "127.0.0.1"
    persistence: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    acl: str | None = None
    tls: Tls | None = None
    websockets: bool = False
    max_packet_size: int | None = None
    max_inflight: int | None = None
    max_qos: int | None = None
    max_keepalive: int | None = None
    retain: bool = True
    tls_lines: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


class Mosquitto:
    """The broker process. It keeps its ports over stop, kill and start.

    plain_port: MQTT over TCP without TLS on 127.0.0.1; the same as port unless port speaks TLS or WebSocket.
    """

    def __init__(self, directory: Path, options: Options | None = None) -> None:
        self.options = options or Options()
        self.host = self.options.host
        self.port = free_port(self.host)
        special = self.options.websockets or self.options.tls is not None
        self.plain_port = free_port() if special else self.port
        self._plain_host = "127.0.0.1" if special else self.host
        self._directory = directory / f"mosquitto-{self.port}"
        self._directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self._directory / "log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text("\n".join(self._lines()) + "\n")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if not wait_until(self._accepts):
            raise RuntimeError(f"mosquitto does not accept connections:\n{self.log()}")

    def stop(self) -> None:
        """End it in good order (SIGTERM): clients are told, persistence is written."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), also while frozen."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it from doing anything (SIGSTOP): connections stay and are silent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Make it read its password and ACL files again (SIGHUP)."""
        self._signal(signal.SIGHUP)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _lines(self) -> list[str]:
        options = self.options
        directory = self._directory
        lines = [
            "per_listener_settings false",
            "log_type all",
            "log_dest stderr",
            "allow_zero_length_clientid true",
            "set_tcp_nodelay true",
            f"allow_anonymous {'false' if options.users else 'true'}",
            f"retain_available {'true' if options.retain else 'false'}",
            "user root",  # otherwise it gives up root and cannot read our files
        ]
        if options.persistence:
            lines += ["persistence true", f"persistence_location {directory}/", "autosave_interval 1"]
            lines += ["autosave_on_changes true"]
        if options.users:
            lines.append(f"password_file {self._password_file()}")
        if options.acl is not None:
            acl = directory / "acl"
            acl.write_text(options.acl)
            lines.append(f"acl_file {acl}")
        if options.max_packet_size is not None:
            lines.append(f"max_packet_size {options.max_packet_size}")
        if options.max_inflight is not None:
            lines.append(f"max_inflight_messages {options.max_inflight}")
        if options.max_keepalive is not None:
            lines.append(f"max_keepalive {options.max_keepalive}")
        lines += options.extra
        return lines + self._listener()

    def _listener(self) -> list[str]:
        options = self.options
        lines = [f"listener {self.port} {self.host}"]
        if options.websockets:
            lines.append("protocol websockets")
        if options.max_qos is not None:
            lines.append(f"max_qos {options.max_qos}")
        if options.tls is not None:
            lines += [
                f"cafile {options.tls.authority.file}",
                f"certfile {options.tls.certificate.cert}",
                f"keyfile {options.tls.certificate.key}",
                f"require_certificate {'true' if options.tls.demand_client_certificate else 'false'}",
                *options.tls_lines,
            ]
        if self.plain_port != self.port:  # 2.0.11 does not start with a WebSocket listener alone
            lines.append(f"listener {self.plain_port} 127.0.0.1")
        return lines

    def _password_file(self) -> Path:
        file = self._directory / "passwords"
        file.touch(mode=0o600)
        for name, password in self.options.users.items():
            subprocess.run(["mosquitto_passwd", "-b", str(file), name, password], check=True, capture_output=True)
        return file

    def _accepts(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"mosquitto has ended:\n{self.log()}")
        try:
            for place in {(self.host, self.port), (self._plain_host, self.plain_port)}:
                socket.create_connection(place, 1).close()
        except OSError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("mosquitto does not run")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None


@dataclass(frozen=True, slots=True)
class Received:
    """One message as a subscriber got it. retained: it stood there before the subscription."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    duplicate: bool
    properties: dict[str, object]


class Recorder:
    """A subscriber of its own (MQTT 5, in a thread of paho's) that keeps everything it gets, in order.

    With `session` it keeps a session of an hour at the broker under that client id and misses nothing while it, or the
    broker, is away; without one it subscribes anew on every connect.
    """

    def __init__(
        self,
        port: int,
        *filters: str,
        host: str = "127.0.0.1",
        session: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._filters = filters or ("#",)
        self._received: list[Received] = []
        self._changed = threading.Condition(threading.RLock())
        self._ready = threading.Event()
        self._place = (host, port)
        self._session = session
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=session or "", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in self._filters])
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._record

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Connect and wait until the subscriptions stand."""
        properties = None
        if self._session is not None:
            properties = paho.Properties(paho.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
        self._client.connect(*self._place, keepalive=60, clean_start=self._session is None, properties=properties)
        self._client.loop_start()
        if not self._ready.wait(PATIENCE_S):
            raise RuntimeError("the recorder could not subscribe")

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _record(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        properties = message.properties.json() if message.properties is not None else {}
        received = Received(message.topic, bytes(message.payload), message.qos, message.retain, message.dup, properties)
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()

    def messages(self, topic: str | None = None) -> list[Received]:
        """Return what was received so far, of one topic if given."""
        with self._changed:
            return [each for each in self._received if topic is None or each.topic == topic]

    def wait_for(self, number: int, deadline_s: float = PATIENCE_S, topic: str | None = None) -> bool:
        """Wait until at least this many messages came (of one topic if given); return whether they did."""
        return self.wait_until(lambda: len(self.messages(topic)) >= number, deadline_s)

    def wait_until(self, condition: Callable[[], bool], deadline_s: float = PATIENCE_S) -> bool:
        """Wait until condition, looked at after every message, is true; return whether it became so."""
        with self._changed:
            return self._changed.wait_for(condition, deadline_s)

    def clear(self) -> None:
        with self._changed:
            self._received.clear()
