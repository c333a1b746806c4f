"""The cores of all stages, and what the routes between them share. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from mt1bridge.cloud.budget import BudgetMemo
from mt1bridge.cloud.session import CloudSession, KeepBudget, KeepToken, KeptToken
from mt1bridge.config.settings import Settings
from mt1bridge.feed.clocks import DeviceClocks, is_late
from mt1bridge.feed.intake import Intake
from mt1bridge.feed.reconcile import Reconciliation
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import BrokerEvent, Publication
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import DiskMeasured, JournalTrouble, Outward, ReloadAsked, StopAsked, Tick, Told
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
CLOCK_WAS_AHEAD_MS = 60_000

Order = Outward | KeepToken | KeepBudget | Told


@dataclass(frozen=True, slots=True)
class Start:
    """What an earlier process left: token and budget.

    cut_ms: UTC ms; what is older and stands in history when a channel becomes ours is not told. started_ms: UTC ms.
    may_repeat: an earlier process may have told, under another `journal`, what this one does not know of.
    first_ms: the cut of the very first start; None: this is the first. lost: an earlier process's journal is gone.
    """

    kept: KeptToken | None
    memo: BudgetMemo | None
    cut_ms: int
    started_ms: int
    may_repeat: bool = False
    first_ms: int | None = None
    lost: bool = False

    def at(self, started_ms: int, settings: Settings) -> "Start":
        """The same start at this moment. A journal lost later is no first start: it is read back over `keep`."""
        cut_ms = started_ms - settings.reconcile.first_start_s * 1000
        if self.lost and self.first_ms is not None:
            cut_ms = max(min(self.first_ms, started_ms), started_ms - settings.journal.keep_s * 1000)
        return replace(self, started_ms=started_ms, cut_ms=cut_ms)


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

    def tell(self, one: Note | AlertRaised | AlertOver) -> None:
        """A note goes to the log and, if public, to `bridge/event`; an alert to its topic."""
        if isinstance(one, AlertRaised):
            self.desk.alert(one.name, one.text, one.facts, self.now.utc_ms)
        elif isinstance(one, AlertOver):
            self.desk.alert_over(one.name)
        else:
            self.orders.append(one)
            if one.public:
                body = {"event_type": one.event, "time": times.milliseconds(self.now.utc_ms), **one.facts}
                self.handover.tell(Publication(self.names.event, to_json(body), content_type=JSON_TYPE))

    def late(self, device: str, timestamp: int) -> bool:
        """Whether an impulse is old news now (CONTRACT, section 3). timestamp: 100 ns units."""
        within_ms = int(self.settings.reconcile.live_within_s * 1000)
        opened_ms = self.journal.opened_ms
        if opened_ms > self.now.utc_ms + CLOCK_WAS_AHEAD_MS:
            opened_ms = 0  # the journal was opened under a clock that was set back since
        return is_late(timestamp, self.clocks.offset_ms(device), self.now, within_ms, opened_ms)
