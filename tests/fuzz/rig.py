"""The whole bridge without its shells: what was pushed and what was told, in one process and one thread."""

import tempfile
from pathlib import Path
from random import Random

from mt1bridge.bridge import Bridge, Order, Start
from mt1bridge.cloud.outcomes import KeptToken
from mt1bridge.config.loading import load
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import Acknowledged, Arrived, BrokerConnected, OpenBroker, Publication, Publish, Subscribed
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import Tick
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, Call, LinkConnected, LinkMessage, LinkSubscribed, OpenLink
from mt1bridge.turn import Turn

DEVICE = "231203016"
CONFIGURATION = f"""
mt1: {{username: club, password: secret, url: "http://127.0.0.1:9", devices: {{"{DEVICE}": {{}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:9"}}
"""
START_MS = 1_795_418_000_000


class Rig:
    """A bridge that is subscribed and connected to a broker which acknowledges at once."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        path = Path(self._directory.name)
        (path / "b.yaml").write_text(CONFIGURATION)
        (path / "b.yaml").chmod(0o600)
        settings = load(path / "b.yaml", {"HOME": str(path)}).settings
        self._seconds = 1000.0
        self.journal = Journal(path, "boot", lambda: "j1")
        self.journal.open(START_MS)
        self._staging = Staging()
        kept = KeptToken("club", Secret("T"), "4711", START_MS)
        start = Start(kept, None, self.now())
        self.bridge = Bridge(settings, self.journal, self._staging, start, self.now(), Random(1))
        self.told: list[Publication] = []
        self.calls: list[Call] = []
        self._events: list[object] = []
        self._link = self._connection = 0
        self._turn = Turn(self.bridge, self.journal, self.now, self._carry_out, 90 * 86_400)
        self.run(Tick())
        self.wait(1.0)  # it looks around at the broker before it publishes

    def close(self) -> None:
        self.journal.close()
        self._staging.close()
        self._directory.cleanup()

    def now(self) -> Now:
        return Now(self._seconds, START_MS + int((self._seconds - 1000.0) * 1000))

    def wait(self, seconds: float) -> None:
        self._seconds += seconds
        self.run(Tick())

    def run(self, *events: object) -> None:
        """Take these events and all that follows from them at once."""
        self._events.extend(events)
        while self._events or self.bridge.busy:
            taken, self._events = self._events[:50], self._events[50:]
            self._turn.take(taken or [Tick()])  # type: ignore[arg-type]

    def push(self, body: bytes) -> None:
        self.run(LinkMessage(self._link, f"/topic/device/{DEVICE}/trigger", body))

    def ask(self, verb: str, payload: bytes) -> None:
        self.run(Arrived(self._connection, f"mt1/bridge/request/{verb}", payload, retained=False))

    def begin(self, verb: str, payload: bytes) -> None:
        """A request, and no turn after the one that takes it."""
        self._turn.take([Arrived(self._connection, f"mt1/bridge/request/{verb}", payload, retained=False)])

    def one_turn(self, body: bytes | None = None) -> None:
        """One turn with what the broker has acknowledged meanwhile and, if there is one, a pushed body."""
        taken, self._events = self._events[:50], self._events[50:]
        if body is not None:
            taken.append(LinkMessage(self._link, f"/topic/device/{DEVICE}/trigger", body))
        self._turn.take(taken or [Tick()])  # type: ignore[arg-type]

    def answer(self, http_status: int, body: bytes) -> None:
        """Answer the REST call that is under way, if there is one."""
        if self.calls:
            self.run(Answer(self.calls.pop(0).call, http_status, body))

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, Publish):
            self.told.append(order.message)
            self._events.append(Acknowledged(order.connection, order.token, 0))
        elif isinstance(order, OpenBroker):
            self._connection = order.connection
            self._events += [
                BrokerConnected(order.connection, order.protocol, None, None, 2),
                Subscribed(order.connection, ()),
            ]
        elif isinstance(order, OpenLink):
            self._link = order.link
            self._events += [
                LinkConnected(order.link, "1.2", "0,0", 60.0),
                LinkSubscribed(order.link, order.devices),
            ]
        elif isinstance(order, Call):
            self.calls.append(order)
