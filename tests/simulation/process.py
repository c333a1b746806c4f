"""One life of the bridge's process: what app.py does around the turns, in virtual time."""

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from mt1bridge.bridge import Bridge, Event, Order, Start
from mt1bridge.cloud import kept, replies
from mt1bridge.cloud.outcomes import KeepBudget, KeepToken
from mt1bridge.cloud.session import UNSENT
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
from mt1bridge.journal.journal import Journal, Opened
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import Acknowledged, CloseBroker, OpenBroker, Publish
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import Finished, KeepFirstStart, StopAsked, Tick
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, Call, CloseLink, LinkMessage, NoAnswer, OpenLink
from mt1bridge.runtime.clock import CheckedClock
from mt1bridge.turn import EVENTS_AT_ONCE, Turn
from tests.simulation.broker import Broker, Delivery
from tests.simulation.links import Links
from tests.simulation.machine import Machine
from tests.simulation.plan import Manners
from tests.simulation.server import Server
from tests.simulation.truth import PushMark
from tests.simulation.witness import Witness

URL = "https://mt1.example"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the bridge is made of; a test of the tests puts something faulty in."""

    bridge: type[Bridge] = Bridge
    journal: type[Journal] = Journal
    turn: type[Turn] = Turn


@dataclass(slots=True)
class Surroundings:
    machine: Machine
    server: Server
    links: Links
    broker: Broker
    witness: Witness
    manners: Manners
    random: Random


def settings(manners: Manners, devices: list[str]) -> Settings:
    configured = tuple(DeviceSettings(device, "Finish hut", {"C0": "Start"}) for device in devices)
    return Settings(
        instance="mt1bridge",
        mt1=Mt1Settings(
            "club", Secret("secret"), URL, f"{URL}/devices", None, frozenset({"falling"}),
            configured if manners.configured else None,
        ),
        mqtt=MqttSettings(
            "mqtt://broker", "mqtt", "broker", 1883, "", None, None, "mt1bridge", manners.protocol, "mt1",
            None, None, None, False, True,
        ),
        home_assistant=HomeAssistantSettings(False, "homeassistant"),
        journal=JournalSettings(Path("/nowhere"), 90 * 86400),
        reconcile=ReconcileSettings(
            manners.interval_s, manners.full_interval_s, manners.window_s, 0, manners.calls_per_minute, 10
        ),
        log=LogSettings("info", "auto"),
    )  # fmt: skip


class Process:
    """number: of this life. Raises Killed where the machine says so, at birth too."""

    def __init__(self, number: int, around: Surroundings, parts: Parts) -> None:
        self.number = number
        self.around = around
        self._parts = parts
        self.alive = True
        self.finished = False
        self.stop_asked = False
        self._inbox: deque[tuple[Event, PushMark | Delivery | None]] = deque()
        self._asked: dict[int, Now] = {}
        self._login_call = 0
        machine = around.machine
        self._clock = CheckedClock(machine, machine)  # type: ignore[arg-type]
        now = self._clock.now()
        self.settings = settings(around.manners, around.server.devices)
        self.journal = parts.journal(machine.path, f"boot-{machine.boot}", self._new_id, machine.open_store)
        opened = self.journal.open(now.utc_ms)
        machine.synced()
        self._staging = Staging()
        try:
            self._begin(now, opened)
        except BaseException:
            self.die()
            raise

    def _begin(self, now: Now, opened: Opened) -> None:
        around, parts = self.around, self._parts
        self.bridge = parts.bridge(
            self.settings,
            self.journal,
            self._staging,
            self._start(now, opened),
            now,
            Random(around.random.getrandbits(32)),
        )
        self._turn = parts.turn(
            self.bridge, self.journal, self._clock.now, self._carry_out, self.settings.journal.keep_s
        )
        if self.journal._disk is not None:
            baselined = {one.at for one in self.bridge.parts.reconciliation.memories if one.baselined}
            around.server.read_anew(baselined)

    def _new_id(self) -> str:
        return f"j{self.around.witness.next_journal()}"

    def _start(self, now: Now, opened: Opened) -> Start:
        token = kept.token_from(self._read(kept.TOKEN_FILE), URL)
        memo = kept.memo_from(self._read(kept.BUDGET_FILE))
        first_ms = kept.first_start_from(self._read(kept.FIRST_START_FILE))
        return Start(token, memo, now, first_ms, opened.fresh)

    # --- the loop -----------------------------------------------------------------------------------

    def put(self, event: Event, mark: PushMark | Delivery | None = None) -> None:
        if self.alive:
            self._inbox.append((event, mark))

    @property
    def has_events(self) -> bool:
        return bool(self._inbox)

    def wait_s(self) -> float:
        """How long it may wait if no event comes. Raises Killed."""
        return self._turn.wait_s()

    def turn(self, at_once: int = EVENTS_AT_ONCE) -> None:
        """One turn with what is there. Raises Killed."""
        batch = [self._inbox.popleft() for _ in range(min(at_once, len(self._inbox)))]
        events = [event for event, _ in batch] or [Tick()]
        for event in events:
            if isinstance(event, NoAnswer) and event.trouble in UNSENT and event.call == self._login_call:
                self.around.witness.login_unsent()
            if isinstance(event, Answer | NoAnswer):
                self._compare_clocks(event)
            elif isinstance(event, LinkMessage):
                self.around.machine.near("push")
            elif isinstance(event, Acknowledged):
                self.around.machine.near("acknowledgement")
        self.around.witness.blind = self.journal._disk is None
        self._turn.take(events)
        self.finished = self.bridge.finished
        on_disk = self.journal.trouble is None
        self.around.witness.took([mark for _, mark in batch if mark is not None], on_disk)
        if any(isinstance(event, Answer) and _is_quota(event) for event in events):
            self.around.witness.quota_answered()

    def stop(self) -> None:
        self.stop_asked = True
        self.put(StopAsked("SIGTERM"))

    def die(self) -> None:
        """SIGKILL: files stay as they are."""
        self.alive = False
        if self.journal.trouble is not None:
            self.around.witness.forgot()
        for store in self.journal._readable():
            store.db.close()
        self._staging.close()
        self.around.links.abandon()
        self.around.broker.abandon(self.number)

    def end(self) -> None:
        """A clean end, in the order of app.py."""
        for event, _ in self._inbox:
            self.bridge.step(event, self._clock.now())
        self.alive = False
        self.journal.try_disk(self._clock.now().utc_ms, self.bridge.retold)
        self.journal.commit(0)
        self.journal.close()
        self.around.machine.synced()
        if self.journal.trouble is not None:  # what memory held is gone
            self.around.witness.died(self.around.machine.commits)
        self._staging.close()
        self.around.links.abandon()
        self.around.broker.abandon(self.number)

    def _compare_clocks(self, event: Answer | NoAnswer) -> None:
        asked = self._asked.pop(event.call, None)
        server_ms = replies.server_date_ms(event.date) if isinstance(event, Answer) else None
        if asked is not None and server_ms is not None:
            self.bridge.clock_offset(self._clock.compare(server_ms, asked))

    # --- orders -------------------------------------------------------------------------------------

    def _carry_out(self, order: Order) -> None:
        around = self.around
        around.machine.point()
        match order:
            case Publish():
                if order.message.properties:
                    around.machine.near("fact")
                around.witness.handed_over(order)
                around.broker.publish(order, self.number)
            case Call():
                self._asked[order.call] = self._clock.now()
                self._login_call = order.call if order.login is not None else self._login_call
                around.witness.called(order, self.number)
                around.server.call(order, self.put)
            case OpenLink():
                around.links.open(order, self.put)
            case CloseLink():
                around.links.close(order)
            case OpenBroker():
                around.broker.open(order, self.number, self.put)
            case CloseBroker():
                around.broker.close(order, self.number)
            case KeepToken():
                if order.kept is None:
                    for place in (around.machine.files, around.machine.spare):
                        place.pop(kept.TOKEN_FILE, None)
                else:
                    self._write(kept.TOKEN_FILE, kept.token_to_text(order.kept, URL))
            case KeepBudget():
                self._write(kept.BUDGET_FILE, kept.memo_to_text(order.memo))
            case KeepFirstStart():
                self._write(kept.FIRST_START_FILE, kept.first_start_to_text(order.cut_ms))
            case Finished():
                pass
            case _:
                around.witness.noted(order)

    def _read(self, name: str) -> dict[str, Any] | None:
        machine = self.around.machine
        content = machine.spare.get(name) or machine.files.get(name)
        return json.loads(content) if content else None

    def _write(self, name: str, content: bytes) -> None:
        machine = self.around.machine
        machine.point()
        if machine.disk_fails is None:
            machine.files[name] = content
            machine.spare.pop(name, None)
        else:
            machine.spare[name] = content


def _is_quota(answer: Answer) -> bool:
    return answer.http_status == 429 or b"-9000" in answer.body
