"""Simulator, mosquitto and bridge as processes, a proxy before each server, and a witness of all that is delivered.

with Scene(tmp_path) as scene:
    scene.start()
    with scene.load(500, 50) as load: ...
    scene.whole()      # nothing lost, nothing wrong, or an AssertionError that says what
"""

import contextlib
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from mosquitto import Mosquitto, Options, Tls, wait_until
from process import DEVICE, OTHER, PASSWORD, Bridge, Simulator, merged
from proxy import Proxy
from witness import Witness

DEVICES = (DEVICE, OTHER)
FLOWS = ("reconciling", "live")  # push is had; history is read, or was
FULL = os.environ.get("MT1BRIDGE_FAULTS") == "full"  # the whole sizes instead of those for every change
WINDOW = 100  # messages that may be in flight towards the broker
CATCHING_UP = 20
PATIENCE_S = 60.0
VISIBLE_S = 2.0  # state, reason and next try are visible this soon after they are known
# Nothing may stay behind in the broker for want of room: what it acknowledged, the witness gets.
ROOM = ("max_queued_messages 0", "max_inflight_messages 0")


def size(here: int, full: int) -> int:
    """How many: for every change, and with --full."""
    return full if FULL else here


class Scene:
    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        broker: Options | None = None,
        devices: tuple[str, ...] = (DEVICE,),
        login: tuple[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        """login: of the witness, where the broker wants one. tls: what the MT1 server shows, where it serves https."""
        self.directory = directory
        self._settings = settings or {}
        self._options = broker or Options(persistence=True, extra=ROOM)
        self._devices = devices
        self._login = login or (None, None)
        self._tls = tls
        self._stack = contextlib.ExitStack()
        self.repeats = 0  # until the last look

    def __enter__(self) -> Self:
        try:
            words: list[object] = [word for device in self._devices for word in ("--device", device)]
            if self._tls is not None:
                words += ["--tls-cert", self._tls.certificate.cert, "--tls-key", self._tls.certificate.key]
            self.simulator = Simulator(self.directory, *words)
            self._stack.callback(self.simulator.stop)
            self.simulator.start(None if self._tls is None else str(self._tls.authority.file))
            self.broker = self._stack.enter_context(Mosquitto(self.directory, self._options))
            self.cloud = self._stack.enter_context(Proxy(int(self.simulator.url.rpartition(":")[2])))
            self.mqtt = self._stack.enter_context(Proxy(self.broker.port))
            self.witness = self._stack.enter_context(Witness(self.broker.port, *self._login))
            self.bridge = self.another()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def another(self, name: str = "bridge", settings: Mapping[str, Any] | None = None) -> Bridge:
        """A bridge of its own directory, led through the proxies; not started."""
        cloud = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.cloud.port}"
        places = {
            "mt1": {"url": cloud, "devices": {device: {} for device in self._devices}},
            "mqtt": {"url": f"mqtt://127.0.0.1:{self.mqtt.port}"},
            "home_assistant": {"enabled": False},
        }
        bridge = Bridge(self.directory, merged(merged(places, self._settings), settings or {}), name)
        self._stack.callback(bridge.kill)
        return bridge

    # --- the bridge ---------------------------------------------------------------------------------

    @property
    def state_directory(self) -> Path:
        return Path(self.bridge.settings["journal"]["directory"])

    def start(self, *states: str) -> None:
        """Start it and wait until push flows (or it is in one of these states)."""
        begun = time.time()
        self.bridge.start()
        self.wait_state(*(states or FLOWS), since=begun)

    def restart(self, *states: str) -> None:
        """SIGKILL, if it runs, and start it again: back-offs begin anew, the token is kept."""
        self.bridge.kill()
        self.start(*states)

    def kill_broker(self) -> None:
        """SIGKILL; what the bridge was sending at that moment gets nowhere, what was acknowledged is seen.

        No broker that we know syncs before PUBACK: one that forgets what it acknowledged is no fault of the bridge.
        """
        self.mqtt.refuse()
        self.mqtt.stall(up=True, down=False)
        self.witness.catch_up()
        self.broker.kill()
        self.mqtt.stall(up=False, down=False)

    def calm(self) -> None:
        """No fault is left, nothing of the last one is remembered: the bridge begins anew, hours later."""
        self.simulator.clear_faults()
        self.simulator.behave_by_default()
        self.simulator.exhaust_quota(seconds=0)
        self.cloud.clear()
        self.mqtt.clear()
        self.bridge.kill()
        self.let_pass(7200)
        self.start()

    def broker_back(self) -> None:
        """Start the broker, and let the bridge to it once the witness is there: what it acknowledges is seen."""
        connects = self.witness.connects
        self.mqtt.refuse()
        self.broker.start()
        self.witness.wait(lambda: self.witness.connects > connects, "the witness at the broker")
        self.mqtt.accept()

    def visible(self, event: str, *states: str, since: float, **facts: object) -> dict[str, Any]:
        """The `upstream` in one of these states; it must have come within 2 s of the line of the log (the first one
        since then with these facts) that says when it was known."""
        status = self.wait_state(*states, since=since)

        def known() -> list[float]:
            notes = [note for note in self.bridge.notes(event) if facts.items() <= note.items()]
            times = [datetime.fromisoformat(note["time"]).timestamp() for note in notes]
            return [at for at in times if at >= since - 0.01]

        self.until(known, f"{event} in the log")
        at = known()[0]
        told = [when for when, body in self.witness.seen("bridge/upstream") if body and body["state"] in states]
        after = [when for when in told if when > at - VISIBLE_S]
        assert after, f"{event} was known at {at}, {states} was told at {told}"
        assert after[0] - at <= VISIBLE_S, f"{states} was visible {after[0] - at:.1f} s after {event}"
        return status

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = PATIENCE_S) -> None:
        if not wait_until(condition, deadline_s):
            raise AssertionError(f"{what}: not within {deadline_s} s; {self.tail()}")

    def wait_state(self, *states: str, since: float = 0.0, deadline_s: float = PATIENCE_S) -> dict[str, Any]:
        """The newest `upstream`, once it says one of these states and is no older than `since` (s since 1970)."""

        def there() -> bool:
            seen = self.witness.seen("bridge/upstream")
            return bool(seen) and seen[-1][0] >= since and (seen[-1][1] or {}).get("state") in states

        try:
            self.witness.wait(there, f"state {' or '.join(states)}", deadline_s)
        except AssertionError as error:
            now = self.witness.newest("bridge/upstream")
            raise AssertionError(f"{error}; it is {now}; {self.tail()}") from None
        found: dict[str, Any] = self.witness.newest("bridge/upstream")
        return found

    def tail(self) -> str:
        return self.bridge.log()[-6000:]

    def logged(self, event: str, count: int = 1, deadline_s: float = PATIENCE_S) -> dict[str, Any]:
        """The newest line of its log about this event, once there are so many."""
        self.until(lambda: len(self.bridge.notes(event)) >= count, f"{count} x {event} in the log", deadline_s)
        return self.bridge.notes(event)[-1]

    def rss_mb(self) -> float:
        return int(Path(f"/proc/{self.bridge.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    # --- what is kept between two runs of it ------------------------------------------------------------

    def kept_budget(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state_directory / "budget.json").read_text())
        return found

    def let_pass(self, seconds: float) -> None:
        """While it does not run: as if it had not run for so long. What is kept moves into the past of the moment when
        it was kept; that moment itself would not do, for a clock that nobody has compared proves nothing."""
        file = self.state_directory / "budget.json"
        if not file.exists():
            return
        kept = self.kept_budget()
        earlier = {key: value - int(seconds * 1000) for key, value in kept.items() if key.endswith("_ms") and value}
        file.write_text(json.dumps(kept | earlier | {"saved_ms": kept["saved_ms"]}))

    def rewrite_journal(self, *statements: str) -> None:
        """SQL on its journal; while it runs, at most the texts of its rows."""
        with contextlib.closing(sqlite3.connect(self.state_directory / "journal.db")) as db, db:
            for statement in statements:
                db.execute(statement)

    # --- load and truth -----------------------------------------------------------------------------

    def impulse(self, channel: int = 0, device: str = DEVICE, **more: Any) -> str:
        """One trigger; its id."""
        key = self.simulator.impulse(device=device, channel=channel, **more)
        return f"{device}-C{channel}-{key['timestamp']}"

    def arrive(self, names: Iterable[str], deadline_s: float = PATIENCE_S) -> None:
        for name in names:
            self.arrives(name, deadline_s)

    def arrives(self, name: str, deadline_s: float = PATIENCE_S) -> str:
        """Wait for an id; the event type it was told as."""
        try:
            self.witness.wait(lambda: name in self.witness.books.newest, f"{name} at the witness", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.tail()}") from None
        return str(self.witness.books.newest[name]["event_type"])

    def all_told(self, count: int) -> None:
        """Until so many ids were told as impulses. As long as it goes on, it may take what a busy machine takes."""
        reached = -1
        while reached < count:
            self.until(lambda reached=reached: self.witness.told() > reached, f"more than {reached} of {count}")
            reached = self.witness.told()
        assert reached == count

    def whole(self, deadline_s: float = 60.0, repeats: int | None = None) -> int:
        """Everything stored was delivered, as it is, within deadline_s; no breach; `repeats` at most (None: none
        was counted). Returns how many repeats there were since the last look."""
        last: list[Any] = []

        def compared() -> bool:
            last[:] = [self.witness.compare(self.simulator.stored())]
            return not last[0]

        end = time.monotonic() + deadline_s
        while not compared():
            difference = last[0]
            counts = f"lost {len(difference.lost)}, ghosts {len(difference.ghosts)}, wrong {len(difference.wrong)}"
            assert time.monotonic() < end, f"{counts}: {difference}"[:2000] + self.tail()
            time.sleep(0.2)
        books = self.witness.books
        assert not books.breaches, "\n".join(books.breaches)
        disorder = self.witness.out_of_order(self.simulator.stored())
        assert not disorder, disorder
        since, self.repeats = books.repeats - self.repeats, books.repeats
        if repeats is not None:
            assert since <= repeats, f"{since} repeats, at most {repeats}"
        self.check_log()
        return since

    def check_log(self) -> None:
        """No traceback, no error of our own making, no secret."""
        log = self.bridge.log()
        assert "Traceback" not in log
        assert "internal_error" not in log
        assert not re.search(rf"(?<!\w){PASSWORD}(?!\w)", log)
        with contextlib.suppress(OSError, ValueError):
            assert json.loads((self.state_directory / "token.json").read_text())["token"] not in log

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """REST calls that the simulator was asked, from a number on."""
        found = self.simulator.requests(since=since)
        return [one for one in found if one["kind"] not in ("info", "websocket", "websocket_raw")]

    def next_call(self) -> int:
        """The number that the next request will have."""
        numbers = [one["number"] for one in self.simulator.requests()]
        return max(numbers, default=0) + 1

    def told_since(self, topic: str, since: float) -> bool:
        """Whether this retained topic was told, and not emptied, since (s since 1970)."""
        return any(at >= since and body for at, body in self.witness.seen(topic))

    def reload(self, **sections: Mapping[str, Any]) -> None:
        """Change these sections of its settings, and have it read them."""
        self.bridge.settings = merged(self.bridge.settings, sections)
        self.bridge.file.write_text(yaml.safe_dump(self.bridge.settings))
        self.bridge.signal(signal.SIGHUP)

    def drained(self) -> None:
        """Until the bridge owes the broker nothing any more: repeats have come too."""

        def asked() -> bool:
            answers = len(self.witness.seen("bridge/response/health"))
            self.witness.publish("mt1/bridge/request/health", {})
            self.witness.wait(lambda: len(self.witness.seen("bridge/response/health")) > answers, "an answer")
            return bool(self.witness.newest("bridge/response/health")["mqtt"]["backlog"] == 0)

        self.until(asked, "nothing owed")

    def logins(self) -> int:
        return int(self.simulator.counters().get("logins", 0))
