"""The whole bridge without its shells: a server that is well, a broker that takes all, time that passes at once."""

import json
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from mt1bridge.bridge import Bridge, Start
from mt1bridge.config.settings import (
    DeviceSettings,
    HomeAssistantSettings,
    JournalSettings,
    LogSettings,
    MqttSettings,
    Mt1Settings,
    ReconcileSettings,
    Settings,
)
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    OpenBroker,
    Publication,
    Publish,
    Subscribed,
)
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import Finished, SetLogLevel, StatusText, Tick
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import (
    Answer,
    Call,
    CloseLink,
    LinkConnected,
    LinkLost,
    LinkMessage,
    LinkSubscribed,
    OpenLink,
    Trouble,
)
from mt1bridge.turn import Turn

HUT, SPLIT = "231203016", "231203037"
NOON = 1_771_061_400_000
ACCOUNT = {"id": "u-4711", "username": "club", "roles": ["TIMING_POINT_ACCOUNT"]}


def device(identity=HUT, name=None, **channels):
    return DeviceSettings(identity, name, channels)


def settings(directory: Path, *devices: DeviceSettings, **mqtt: object) -> Settings:
    """devices: none means all of the account. mqtt: what differs there."""
    url = "https://alge.example"
    broker = MqttSettings(
        "mqtt://localhost", "mqtt", "localhost", 1883, "", None, None, "mt1bridge", 5, "mt1", None, None, None,
        scalar_topics=False, commands=True,
    )  # fmt: skip
    return Settings(
        "mt1bridge",
        Mt1Settings("club", Secret("hunter2"), url, f"{url}/devices", None, frozenset({"falling"}), devices or None),
        replace(broker, **mqtt),
        HomeAssistantSettings(True, "homeassistant"),
        JournalSettings(directory, 90 * 86_400),
        ReconcileSettings(300, 1800, 172_800, 0, 60, 10),
        LogSettings("info", "auto"),
    )


@dataclass
class Server:
    """rows: (device, channel number) -> what its history lists, newest first. listed: the account's devices."""

    listed: list[str] = field(default_factory=lambda: [HUT])
    rows: dict[tuple[str, str], list[dict[str, object]]] = field(default_factory=dict)
    logins: int = 0
    calls: list[str] = field(default_factory=list)

    def answer(self, call: Call) -> Answer:
        self.calls.append(call.path)
        token, data = None, []
        parts = call.path.split("/")
        if call.path.endswith("/user/login"):
            self.logins += 1
            token, data = Secret(f"t{self.logins}"), [ACCOUNT]
        elif call.path.endswith("/user/current"):
            data = [ACCOUNT]
        elif call.path.endswith("/devices"):
            data = [{"id": identity} for identity in self.listed]
        else:
            rows = self.rows.get((parts[4], parts[6]), [])
            data = [{"value": len(rows)}] if call.path.endswith("/count") else self._page(rows, call)
        return Answer(call.call, 200, json.dumps({"status": 0, "data": data}).encode(), token)

    @staticmethod
    def _page(rows: list[dict[str, object]], call: Call) -> list[dict[str, object]]:
        offset = int(call.query["offset"])
        return rows[offset : offset + int(call.query["limit"])]


class House:
    """`run(seconds)` lets everything happen; what came of it stands in the attributes."""

    def __init__(self, directory: Path, first: Settings, server: Server | None = None) -> None:
        self.server = server or Server()
        self.seconds = 0.0
        self.pending: deque[object] = deque()
        self.retained: dict[str, bytes] = {}
        self.messages: list[Publication] = []  # what is not retained
        self.tokens: list[int] = []  # of what is not retained
        self.notes: list[Note] = []
        self.links: list[OpenLink] = []
        self.closed_links: list[int] = []
        self.brokers: list[OpenBroker] = []
        self.closed_brokers: list[CloseBroker] = []
        self.levels: list[str] = []
        self.status = ""
        self.finished = False
        self.open_links: set[int] = set()
        self.acknowledges = True
        self.broker_is_away = False
        self.largest: int | None = None  # payload in bytes that the broker takes; on any larger one it closes
        self.handed: list[Publish] = []
        self.gone: set[int] = set()  # connections that the broker has closed
        self.journal = Journal(directory, "run-1", lambda: "k3v9")
        self.opened = self.journal.open(NOON)
        self.staging = Staging()
        self.bridge = Bridge(first, self.journal, self.staging, self.start(), self.now(), Random(1))
        self.turn = Turn(self.bridge, self.journal, self.now, self.carry_out, 90 * 86_400)

    def close(self) -> None:
        self.journal.close()
        self.staging.close()

    def start(self) -> Start:
        return Start(None, None, self.now())

    def now(self) -> Now:
        return Now(1000.0 + self.seconds, NOON + round(self.seconds * 1000))

    def run(self, seconds: float) -> None:
        """Let this much time pass, and everything happen that happens in it."""
        until = self.seconds + seconds
        for _ in range(20_000):
            if self.pending:
                self.turn.take([self.pending.popleft()])
                continue
            wait_s = self.turn.wait_s()
            if self.finished or (wait_s > 0 and self.seconds + wait_s > until):
                self.seconds = until
                return
            self.seconds += wait_s
            self.turn.take([Tick()])
        raise AssertionError("it spins")

    def reconfigure(self, changed: Settings) -> None:
        self.turn.tell(self.bridge.reconfigure(changed, self.now()))

    def reconfigure_when_quiet(self, changed: Settings) -> None:
        """As SIGHUP does it where another connection to the broker comes of it."""
        self.turn.when_quiet(lambda: self.reconfigure(changed), leaves=self.bridge.leaves(changed))

    # --- what the shells would do -------------------------------------------------------------------

    def carry_out(self, order: object) -> None:
        match order:
            case Call():
                self.pending.append(self.server.answer(order))
            case OpenLink():
                self.links.append(order)
                self.open_links.add(order.link)
                self.pending.append(LinkConnected(order.link, "1.2", "10000,10000", 30.0))
                self.pending.append(LinkSubscribed(order.link, order.devices))
            case CloseLink():
                self.closed_links.append(order.link)
                self.open_links.discard(order.link)
                self.pending.append(LinkLost(order.link, Trouble.STOPPED, "closed"))
            case OpenBroker():
                self._open(order)
            case CloseBroker():
                self.closed_brokers.append(order)
                self.pending.append(BrokerLost(order.connection, BrokerTrouble.STOPPED, "closed"))
            case Publish():
                self._publish(order)
            case Note():
                self.notes.append(order)
            case SetLogLevel():
                self.levels.append(order.level)
            case StatusText():
                self.status = order.text
            case Finished():
                self.finished = True

    def _open(self, order: OpenBroker) -> None:
        self.brokers.append(order)
        if self.broker_is_away:
            self.pending.append(BrokerLost(order.connection, BrokerTrouble.UNREACHABLE, "nobody there"))
            return
        self.pending.append(BrokerConnected(order.connection, order.protocol, None, None, 2))
        self.pending.append(Subscribed(order.connection, ()))
        for topic in order.subscriptions:
            if topic in self.retained:
                self.pending.append(Arrived(order.connection, topic, self.retained[topic], True))

    def _publish(self, order: Publish) -> None:
        message = order.message
        self.handed.append(order)
        if order.connection in self.gone:
            return
        if self.largest is not None and len(message.payload) > self.largest:
            self.break_off(order.connection)
            return
        if not message.retain:
            self.messages.append(message)
            self.tokens.append(order.token)
        elif message.payload:
            self.retained[message.topic] = message.payload
        else:
            self.retained.pop(message.topic, None)
        if self.acknowledges:
            self.pending.append(Acknowledged(order.connection, order.token, 0))

    def break_off(self, connection: int, reason: int | None = None) -> None:
        """The broker closes this connection; what comes on it from now on, it does not read."""
        self.gone.add(connection)
        self.pending.append(BrokerLost(connection, BrokerTrouble.LOST, "closed the connection", reason))

    # --- what happens outside -----------------------------------------------------------------------

    def odd(self, identity: str = HUT, channel: str = "C0", size: int = 3000) -> None:
        """A row of a type that nobody knows: it is told as it came."""
        self.impulse(identity, channel, type="Odd", words="x" * size)

    def impulse(
        self, identity: str = HUT, channel: str = "C1", number: int = 12, age_s: float = 0.3, **more: object
    ) -> int:
        """A trigger, pushed on every open link and listed by history. Returns its timestamp."""
        timestamp = (self.now().utc_ms - round(age_s * 1000)) * 10_000
        dto = {
            "deviceId": identity,
            "timestamp": timestamp,
            "timingChannel": channel,
            "timeOffset": 60,
            "type": "StartNumberTrigger",
            "startNumber": {"startNumber": number, "type": "MANUAL"},
            "valid": True,
            "blocked": False,
            "fallingEdge": True,
            **more,
        }
        self.server.rows.setdefault((identity, channel[1:]), []).insert(0, dto)
        body = json.dumps({"type": "ENTITY_ADD", "dto": dto}).encode()
        for link in sorted(self.open_links):
            self.pending.append(LinkMessage(link, f"/topic/device/{identity}/trigger", body))
        return timestamp

    def arrives(self, topic: str, payload: bytes, **more: object) -> None:
        """Somebody publishes to us."""
        self.pending.append(Arrived(self.brokers[-1].connection, topic, payload, **{"retained": False} | more))

    # --- what came of it ----------------------------------------------------------------------------

    def says(self, topic: str) -> object:
        return json.loads(self.retained[topic])

    def told(self, ending: str) -> list[dict[str, object]]:
        """Bodies of the messages, not retained, whose topic ends so."""
        return [json.loads(one.payload) for one in self.messages if one.topic.endswith(ending)]

    def events(self) -> list[str]:
        return [note.event for note in self.notes]

    def topics(self, part: str) -> set[str]:
        return {topic for topic in self.retained if part in topic}


@contextmanager
def house(directory: Path, first: Settings, server: Server | None = None):
    """A bridge that is live after a minute."""
    one = House(directory, first, server)
    try:
        one.run(60)
        assert one.says(f"{first.mqtt.base_topic}/bridge/upstream")["state"] == "live", one.status
        yield one
    finally:
        one.close()
