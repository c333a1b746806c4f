"""The cores of all stages, and what the routes between them share. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mt1bridge.bridge.beginning import Beginning
from mt1bridge.bridge.opening import Opening
from mt1bridge.cloud.budget import BudgetMemo
from mt1bridge.cloud.outcomes import KeepBudget, KeepToken, KeptToken
from mt1bridge.cloud.session import CloudSession
from mt1bridge.config.settings import Settings
from mt1bridge.feed.clocks import DeviceClocks, is_late
from mt1bridge.feed.intake import Intake
from mt1bridge.feed.reconcile import Reconciliation
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import BrokerEvent, Publication
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import (
    DiskMeasured,
    JournalTrouble,
    KeepFirstStart,
    Outward,
    ReloadAsked,
    StopAsked,
    Tick,
    Told,
)
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.upstream import LinkEvent, RestEvent
from mt1bridge.mqtt.handover import Handover
from mt1bridge.mqtt.session import BrokerSession
from mt1bridge.topics import times
from mt1bridge.topics.desk import Called, Desk
from mt1bridge.topics.health import Counters
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import JSON_TYPE, to_json

Event = LinkEvent | RestEvent | BrokerEvent | Tick | StopAsked | ReloadAsked | JournalTrouble | DiskMeasured

Order = Outward | KeepToken | KeepBudget | KeepFirstStart | Told


@dataclass(frozen=True, slots=True)
class Start:
    """What an earlier process left: token and budget.

    began: the clock when this process began. first_ms: UTC ms to which the very first start reached; None: this is it.
    fresh: there is no journal of an earlier process. forgetful: token and budget can not be written down, so that an
    earlier process may have logged in a moment ago.
    """

    kept: KeptToken | None
    memo: BudgetMemo | None
    began: Now
    first_ms: int | None = None
    fresh: bool = False
    forgetful: bool = False


UNTOLD = 20  # events about the connection to the broker that wait for one


@dataclass(frozen=True, slots=True)
class Measures:
    """What only the shell can measure, for health. last_frame_at: monotonic seconds, by link number."""

    rss_mb: Callable[[], float] = lambda: 0.0
    last_frame_at: Callable[[int], float | None] = lambda _link: None
    written_today: Callable[[], int] = lambda: 0


@dataclass(slots=True)
class Parts:
    """One of each. `now` is the moment of the present step; `orders` what the shell is to do after it."""

    settings: Settings
    journal: Journal
    staging: Staging
    start: Start
    beginning: Beginning
    opening: Opening
    random: Random
    measures: Measures
    names: Names
    called: Called
    session: CloudSession
    reconciliation: Reconciliation
    clocks: DeviceClocks
    intake: Intake
    handover: Handover
    broker: BrokerSession
    desk: Desk
    counters: Counters
    orders: list[Order]
    now: Now
    clock_offset_ms: int | None = None
    untold: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=UNTOLD))

    def at(self, now: Now) -> None:
        """A step begins."""
        self.now = now
        self.opening.look(now)

    def tell(self, one: Note | AlertRaised | AlertOver, keep: bool = False) -> None:
        """A note goes to the log and, if public, to `bridge/event`; an alert to its topic.

        keep: without a connection the event waits for one; it is about the connection itself.
        """
        if isinstance(one, AlertRaised):
            self.desk.alert(one.name, one.text, one.facts, self.now.utc_ms)
        elif isinstance(one, AlertOver):
            self.desk.alert_over(one.name)
        else:
            self.orders.append(one)
            if one.public:
                body = {"event_type": one.event, "time": times.milliseconds(self.now.utc_ms), **one.facts}
                if keep and not self.handover.connection:
                    self.untold.append(body)
                else:
                    self._tell_event(body)

    def tell_untold(self) -> None:
        """The broker is there again."""
        while self.untold:
            self._tell_event(self.untold.popleft())

    def _tell_event(self, body: dict[str, object]) -> None:
        self.handover.tell(Publication(self.names.event, to_json(body), content_type=JSON_TYPE))

    def late(self, device: str, timestamp: int) -> bool:
        """Whether an impulse is old news now (CONTRACT, section 3). timestamp: 100 ns units."""
        within_ms = int(self.settings.reconcile.live_within_s * 1000)
        return is_late(timestamp, self.clocks.offset_ms(device), self.now, within_ms, self.journal.opened_ms)

    def is_of_an_earlier_journal(self, received_ms: int) -> bool:
        """Whether what we learned then, UTC ms, may have been told before the present `journal` began."""
        return received_ms < self.journal.opened_ms
