"""What is fuzzed. A target takes bytes; it raises if a promise is broken, and for nothing else."""

import json
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mt1bridge.cloud import replies, sockjs
from mt1bridge.cloud.decode import decode_history_row
from mt1bridge.cloud.stomp_frames import FrameReader
from mt1bridge.config.loading import load
from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import OpenBroker
from mt1bridge.model.errors import ConfigurationError
from mt1bridge.model.secret import Secret
from mt1bridge.model.trigger import ChannelId
from mt1bridge.model.upstream import Answer
from mt1bridge.mqtt.client import Limits
from mt1bridge.mqtt.paho_client import PahoClient
from mt1bridge.mqtt.wire import Wire
from mt1bridge.runtime.clock import SystemClock
from tests.fuzz.rig import DEVICE, Rig

FRESH_AFTER = 2_000  # inputs, after which a rig is built anew: its journal grows
GOOD_BODY = b'{"body":"good"}'
GOOD = b"MESSAGE\ndestination:/topic/x\nmessage-id:1\nsubscription:sub-0\n\n" + GOOD_BODY + b"\0"


class Target:
    def __call__(self, data: bytes) -> None:
        raise NotImplementedError(type(self))

    def close(self) -> None:
        """Let go of what it holds."""


class SockJsStomp(Target):
    """Text of the realtime endpoint: whatever comes, the next good frame comes out whole."""

    def __call__(self, data: bytes) -> None:
        reader = FrameReader(pending_limit=65_536)
        frame = sockjs.read_frame(data.decode("utf-8", "surrogateescape"))
        if isinstance(frame, sockjs.Strings):
            for text in frame.texts:
                reader.feed(text)
        for text in data.decode("latin-1").split("|"):
            reader.feed(text)
        reader.flush()
        after = reader.feed(GOOD.decode())
        assert any(isinstance(one, bytes) and GOOD_BODY in one for one in after), after


class Trigger(Target):
    """A pushed body: the bridge lives, and the good trigger after it is told."""

    def __init__(self) -> None:
        self._rig: Rig | None = None
        self._inputs = 0

    def __call__(self, data: bytes) -> None:
        rig = self._fresh()
        rig.push(data)
        self._inputs += 1
        timestamp = 17_954_180_000_000_000 + self._inputs * 1_000
        rig.wait(0.001)
        rig.told.clear()
        rig.push(
            b'{"type":"ENTITY_ADD","dto":{"deviceId":"%s","timestamp":%d,"timingChannel":"C8","fallingEdge":true,'
            b'"valid":true,"blocked":false,"type":"StartNumberTrigger","startNumber":{"startNumber":1,"type":"M"}}}'
            % (DEVICE.encode(), timestamp)
        )
        topics = [one.topic for one in rig.told if not one.retain]
        assert f"mt1/device/{DEVICE}/C8/trigger" in topics, topics

    def close(self) -> None:
        if self._rig is not None:
            self._rig.close()

    def _fresh(self) -> Rig:
        if self._rig is None or self._inputs >= FRESH_AFTER:
            if self._rig is not None:
                self._rig.close()
            self._rig, self._inputs = Rig(), 0
        return self._rig


class Request(Target):
    """A request over MQTT: an answer that is JSON, never a crash."""

    def __init__(self) -> None:
        self._rig = Rig()

    def close(self) -> None:
        self._rig.close()

    def __call__(self, data: bytes) -> None:
        verbs = ("replay", "reconcile", "log_level", "health", "x")
        self._rig.told.clear()
        self._rig.ask(verbs[data[0] % 5] if data else "replay", data[1:])
        self._rig.wait(0.001)
        for one in self._rig.told:
            if one.topic.startswith("mt1/bridge/response/"):
                assert json.loads(one.payload)["status"] in ("ok", "error")


class RestBody(Target):
    """A body of REST: an outcome, and values out of it."""

    STATUSES = (200, 200, 200, 204, 302, 401, 403, 404, 429, 500, 503)

    def __call__(self, data: bytes) -> None:
        status = self.STATUSES[data[0] % len(self.STATUSES)] if data else 200
        header = data[1:20].decode("latin-1")
        outcome = replies.judge(Answer(1, status, data[1:], Secret(header), header, header), 1_795_418_000_000)
        assert outcome.text.isprintable()
        if isinstance(outcome, replies.Ok):
            replies.account(outcome.data)
            replies.count(outcome.data)
            replies.devices(outcome.data)
            replies.read_login(Answer(1, status, data[1:], Secret(header)), outcome)
            for row in outcome.data:
                decode_history_row(row, ChannelId(DEVICE, "C1"))


class Configuration(Target):
    """A configuration file: settings, or a list of problems that holds no secret."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._file = Path(self._directory.name) / "b.yaml"
        self._problems: tuple[object, ...] = ()

    def close(self) -> None:
        self._directory.cleanup()

    def __call__(self, data: bytes) -> None:
        self._file.write_bytes(data)
        self._file.chmod(0o600)
        try:
            load(self._file, {"HOME": self._directory.name})
        except ConfigurationError as error:
            self._problems = error.problems
        else:
            return
        assert self._problems


class MqttPackets(Target):
    """Bytes of a broker after a good CONNACK: reported or refused, never raised."""

    def __init__(self) -> None:
        self._settings = MqttSettings(
            "mqtt://h", "mqtt", "h", 1883, "", None, None, "c", 5, "mt1", None, None, None, False, True
        )  # fmt: skip

    def __call__(self, data: bytes) -> None:
        ours, theirs = socket.socketpair()
        try:
            client = _OnASocket(self._settings, _Heard(), None, SystemClock(), Limits())  # type: ignore[arg-type]
            client.ours = ours
            client.connect()
            client.write()
            theirs.setblocking(False)
            theirs.sendall(b"\x20\x03\x00\x00\x00" + data[:60_000])
            theirs.shutdown(socket.SHUT_WR)
            for _ in range(200):
                if client.fileno() is None:
                    break
                client.read()
                client.tend()
                if client.fileno() is not None and client.wants_write():
                    client.write()
            client.close()
        finally:
            ours.close()
            theirs.close()


class _OnASocket(PahoClient):
    ours: socket.socket

    def _dial(self) -> Wire:
        self._wire = Wire(self.ours)
        return self._wire


class _Heard:
    """What a connection would do with what the client reports: nothing."""

    def __init__(self) -> None:
        self.order = OpenBroker(1, None, (), 5)
        self.number = 1

    def accepted(self, *_: object) -> None:
        return

    ends = acknowledged = granted = arrived = accepted


TARGETS: Mapping[str, Callable[[], Target]] = {
    "sockjs_stomp": SockJsStomp,
    "trigger": Trigger,
    "request": Request,
    "rest_body": RestBody,
    "configuration": Configuration,
    "mqtt_packets": MqttPackets,
}

SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "sockjs_stomp": (
        b"o",
        b"h",
        b'a["\\n"]',
        b'a["MESSAGE\\ncontent-length:3\\n\\n{}\\n\\u0000"]',
        b'c[3000,"Go away!"]',
        GOOD,
    ),
    "trigger": (
        b'{"type":"ENTITY_ADD","entityType":"TriggerDto","dto":{"deviceId":"231203016","timestamp":17710614151234500,'
        b'"timeOffset":60,"timingChannel":"C0","fallingEdge":true,"valid":true,"blocked":false,'
        b'"type":"StartNumberTrigger","startNumber":{"startNumber":5,"type":"SEQUENTIAL"}}}',
        b'[{"type":"ENTITY_DELETE","dto":{"deviceId":231203016,"timestamp":"17710614151234500","timingChannel":"C0",'
        b'"type":"ClearTrigger","startNumber":5}}]',
    ),
    "request": (b"0{}", b'0{"since":"2026-02-14T09:30:15.1234500Z","channel":"C1"}', b'2{"level":"debug"}'),
    "rest_body": (b'0{"status":0,"message":"OK","data":[{"value":102}]}', b'0{"status":-9000,"data":[]}', b"0<html>"),
    "configuration": (Path(__file__).parents[2].joinpath("etc", "mt1bridge.yaml").read_bytes(),),
    "mqtt_packets": (b"\x40\x02\x00\x01", b"\x32\x09\x00\x03a/b\x00\x01\x00x", b"\xe0\x02\x8e\x00", b"\xd0\x00"),
}
