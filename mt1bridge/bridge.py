"""Routes every event to the stage it concerns, and what comes of it to the next stage. Pure.

cloud -> feed -> journal -> topics -> MQTT. The only state here is that of the cores. The journal is asked and written
in line: what is told was appended first (the loop commits between `step` and `hand_over`).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from mt1bridge import __version__
from mt1bridge.cloud.budget import Budget, BudgetMemo
from mt1bridge.cloud.session import CloudSession, DevicesListed, KeepBudget, KeepToken, KeptToken, Pushed
from mt1bridge.cloud.session import Outcome as CloudOutcome
from mt1bridge.cloud.subscription import SubscriptionLost, SubscriptionStands
from mt1bridge.config.settings import Settings
from mt1bridge.feed import reconcile as feed
from mt1bridge.feed.clocks import DeviceClocks, is_late
from mt1bridge.feed.intake import Intake, questions
from mt1bridge.feed.reconcile import Reconciliation
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import Acknowledged, Arrived, BrokerEvent, Publication, Publish
from mt1bridge.model.clock import Now
from mt1bridge.model.fact import Entry, Kind
from mt1bridge.model.history import Counted, PageRead, WantFailed
from mt1bridge.model.known import Known, Learned
from mt1bridge.model.orders import Finished, JournalTrouble, Outward, StatusText, StopAsked, Tick, Told
from mt1bridge.model.status import AlertOver, AlertRaised, Broker, Device, Note, Upstream, UpstreamStatus
from mt1bridge.model.trigger import CHANNELS, TICKS_PER_MS, Change, ChannelId, Malformed, Seen, Sighting, TriggerId
from mt1bridge.model.upstream import Answer, Call, LinkEvent, NoAnswer, RestEvent
from mt1bridge.mqtt import handover as handing
from mt1bridge.mqtt import session as broking
from mt1bridge.mqtt.handover import Handover, InFlight
from mt1bridge.mqtt.session import BrokerSession
from mt1bridge.topics import times
from mt1bridge.topics.desk import Desk, Identity
from mt1bridge.topics.health import Counters
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import JSON_TYPE, fact_publication, to_json
from mt1bridge.topics.standing import Facts, standing

BATCH = 100  # identities compared with history at a time
HEALTH_EVERY_S = 30.0
STOP_GRACE_S = 3.0
MISSED_AFTER_MS = 30_000
EVENT_GAP_S = 1.0
REJECTED_IN_A_ROW = 5

Event = LinkEvent | RestEvent | BrokerEvent | Tick | StopAsked | JournalTrouble
Order = Outward | KeepToken | KeepBudget | Told


@dataclass(frozen=True, slots=True)
class Start:
    """What an earlier process left: token, budget. cut_ms: what is older than that is not told when a channel becomes
    ours; started_ms: UTC ms."""

    kept: KeptToken | None
    memo: BudgetMemo | None
    cut_ms: int
    started_ms: int


class Bridge:
    """rss_mb, last_frame_at, written_bytes: measures of the process that only the shell can take, for health."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        staging: Staging,
        start: Start,
        now: Now,
        random: Random,
        rss_mb: Callable[[], float] = lambda: 0.0,
        last_frame_at: Callable[[int], float | None] = lambda _: None,
        written_today: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._staging = staging
        self._start = start
        self._random = random
        self._rss_mb, self._last_frame_at, self._written_today = rss_mb, last_frame_at, written_today
        self._orders: list[Order] = []
        self._now = now
        self._names = Names(settings.mqtt.base_topic)
        self._listed: dict[str, Device] = {}
        self._counters = Counters()
        self._compares: deque[feed.CompareNext] = deque()
        self._status: UpstreamStatus | None = None
        self._status_text = ""
        self._available: dict[str, bool] = {}
        self._health_at = now.monotonic
        self._stop_at: float | None = None
        self._finished = False
        self._sweeping = False
        self._born_at: float | None = None
        self._malformed_told_at = float("-inf")
        self._malformed_hidden = 0
        self._rejected_in_a_row: dict[ChannelId, int] = {}
        self._clock_offset_ms: int | None = None
        reconcile = settings.reconcile
        budget = Budget(reconcile.calls_per_minute, random.random)
        self.session = CloudSession(
            settings.mt1.username, settings.mt1.password, _configured(settings), budget, random.random
        )
        self.session.restore(start.kept, start.memo, now)
        self.reconciliation = Reconciliation(
            feed.Reconcile(reconcile.interval_s, reconcile.full_interval_s, reconcile.window_s),
            reconcile.calls_per_minute,
        )
        self._clocks = DeviceClocks(journal.device_offsets())
        self._intake = Intake(settings.mt1.edges, self._names_of)
        self.handover = Handover()
        home_assistant = settings.home_assistant
        identity = Identity(
            instance=settings.instance,
            version=__version__,
            url=settings.mt1.url,
            config_digest=settings.digest(),
            started_ms=start.started_ms,
            scalar_topics=settings.mqtt.scalar_topics,
            discovery_prefix=home_assistant.discovery_prefix if home_assistant.enabled else None,
        )
        self.desk = Desk(self._names, identity, journal, self.reconciliation.memory, self._names_of, self._health_body)
        self._birth_topic = f"{home_assistant.discovery_prefix}/status"
        self.broker = BrokerSession(
            broking.Place(
                instance=settings.instance,
                protocol=settings.mqtt.protocol,
                will=self.desk.will(),
                info_topic=self._names.info,
                state_topic=self._names.state,
                subscriptions=self._subscriptions(),
            ),
            random.random,
        )
        for device in self.session.devices or ():
            self._add_device(device)

    # --- the two calls of the loop ------------------------------------------------------------------

    def step(self, event: Event, now: Now) -> list[Order]:
        """Take one event. Returns what is to be done outside, once the journal has committed."""
        self._now = now
        if isinstance(event, Answer | NoAnswer):
            self._cloud(self.session.rest_event(event, now))
        elif isinstance(event, LinkEvent):
            self._cloud(self.session.link_event(event, now))
        elif isinstance(event, BrokerEvent):
            self._on_broker(event)
        elif isinstance(event, StopAsked):
            self._stop(event.reason)
        elif isinstance(event, JournalTrouble):
            self._journal_trouble(event.text)
        self._settle()
        return self._taken()

    def idle(self, now: Now) -> list[Order]:
        """Nothing is waiting: go on comparing history, a batch at a time, so that it never goes before a trigger."""
        self._now = now
        if self._compares:
            self._compare(self._compares.popleft())
            self._settle()
        return self._taken()

    def hand_over(self, now: Now) -> list[Order]:
        """Give the broker what there is room for. Called after a commit."""
        self._now = now
        while self.handover.connection and self.handover.room() and self._hand_one():
            pass
        if self._sweeping and self.broker.ready and self.session.devices is not None:
            self._sweep()
        return self._taken()

    @property
    def busy(self) -> bool:
        """True while `idle` has something to do."""
        return bool(self._compares)

    @property
    def finished(self) -> bool:
        return self._finished

    def next_due(self, now: Now) -> float:
        """Monotonic second by which `step(Tick())` is wanted."""
        due = min(self.session.next_due(now), self._health_at)
        free = self.session.free_at(now)
        if free < float("inf"):
            due = min(due, max(free, self.reconciliation.next_due(now)))
        for at in (self._stop_at, self._born_at):
            if at is not None:
                due = min(due, at)
        due = min(due, self.broker.next_due())
        if self.handover.connection and self.handover.room():
            due = min(due, self.desk.board.next_due(), self.handover.next_due())
        return max(due, now.monotonic)

    def _taken(self) -> list[Order]:
        orders, self._orders = self._orders, []
        return orders

    # --- after every event --------------------------------------------------------------------------

    def _settle(self) -> None:
        now = self._now
        if self._stop_at is None:
            self._cloud(self.session.tick(now))
            if self.session.free_at(now) <= now.monotonic:
                wanted = self.reconciliation.next_wanted(now)
                if wanted is not None:
                    self._cloud(self.session.ask(wanted, now))
            self.reconciliation.poll(self.session.polling(now), now)
        if now.monotonic >= self.broker.next_due():
            self._broker_outcomes(self.broker.tick(now))
        self._tell_status()
        if now.monotonic >= self._health_at:
            self._health_at = now.monotonic + HEALTH_EVERY_S
            self.desk.board.touch("health")
        if self._born_at is not None and now.monotonic >= self._born_at:
            self._born_at = None
            self.desk.discover_again()
        if self._stop_at is not None:
            self._go_on_stopping()

    # --- cloud --------------------------------------------------------------------------------------

    def _cloud(self, outcomes: Iterable[CloudOutcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Pushed):
                self._pushed(outcome.seen)
            elif isinstance(outcome, Counted | PageRead | WantFailed):
                self._feed(self.reconciliation.found(outcome, self._now))
            elif isinstance(outcome, DevicesListed):
                self._devices_listed(outcome.devices)
            elif isinstance(outcome, SubscriptionStands):
                self.reconciliation.subscribed(self._later(1.0), outcome.devices)
            elif isinstance(outcome, SubscriptionLost):
                continue
            elif isinstance(outcome, Note | AlertRaised | AlertOver):
                self._tell(outcome)
            else:
                self._orders.append(outcome)
                if isinstance(outcome, Call):
                    self.desk.account(self.session.account)

    def _later(self, seconds: float) -> Now:
        """The server needs a moment to let a SUBSCRIBE take effect; what history is read before may miss a trigger."""
        now = self._now
        return Now(now.monotonic + seconds, now.utc_ms, now.good)

    def _pushed(self, seen: tuple[Seen, ...]) -> None:
        placed: list[Seen] = []
        for one in seen:
            at = one.channel if isinstance(one, Malformed) else one.id.at
            if at is None:
                assert isinstance(one, Malformed)
                self._malformed(one)
                continue
            placed.append(one)
            if self.reconciliation.memory(at) is None:
                self._add_device(at.device)
        if not placed:
            return
        ids, odd = questions(placed)
        known = self._journal.known(ids)
        self._watch_clocks(placed, known)
        learned, repeated = self._intake.pushed(
            placed, known, self._journal.oddities(odd), self._now.utc_ms, self._is_live
        )
        self._counters.repeated += repeated
        for at in {one.channel if isinstance(one, Malformed) else one.id.at for one in placed}:
            ends = sum(isinstance(s, Sighting) and s.id.at == at and s.change is not Change.SET for s in placed)
            assert at is not None  # only what has a channel was placed
            self._feed(self.reconciliation.pushed(at, ends))
        self._learn(learned)

    def _malformed(self, one: Malformed) -> None:
        """Told on `bridge/event`, at most one a second; all are counted."""
        self._counters.malformed += 1
        if self._now.monotonic - self._malformed_told_at < EVENT_GAP_S:
            self._malformed_hidden += 1
            return
        self._malformed_told_at = self._now.monotonic
        facts: dict[str, object] = {"reason": one.reason, "raw": one.raw}
        if self._malformed_hidden:
            facts["not_told"] = self._malformed_hidden
            self._malformed_hidden = 0
        self._tell(Note("malformed", "warning", facts, public=True))

    def _is_live(self, trigger: TriggerId) -> bool:
        return not self._late(trigger.device, trigger.timestamp)

    def _late(self, device: str, timestamp: int) -> bool:
        within_ms = int(self._settings.reconcile.live_within_s * 1000)
        offset_ms = self._clocks.offset_ms(device)
        return is_late(timestamp, offset_ms, self._now, within_ms, self._journal.opened_ms)

    def _watch_clocks(self, seen: Iterable[Seen], known: dict[TriggerId, Known]) -> None:
        for one in seen:
            if not isinstance(one, Sighting) or one.change is not Change.SET or one.id in known:
                continue
            self._counters.delay.add(self._now.monotonic, self._now.utc_ms - one.id.timestamp // TICKS_PER_MS)
            device = one.id.device
            offset = self._clocks.pushed(device, one.id.timestamp, self._now)
            if offset is not None:
                self._journal.set_device_offset(device, offset, self._now.utc_ms)
                self._clock_alert(device)

    def _clock_alert(self, device: str) -> None:
        offset_s = self._clocks.offset_ms(device) / 1000
        if not offset_s:
            self._tell(AlertOver(f"device_clock_{device}"))
            return
        way = "behind" if offset_s > 0 else "ahead of"
        text = f"The clock of device {device} is {abs(offset_s):.1f} s {way} ours: its times are told as it sends them."
        self._tell(AlertRaised(f"device_clock_{device}", text, {"device": device, "offset_s": round(offset_s, 1)}))

    def _devices_listed(self, devices: tuple[Device, ...]) -> None:
        self._listed = {device.id: device for device in devices}
        if self._settings.mt1.devices is None:
            for gone in [device for device in self.desk.devices() if device not in self._listed]:
                self._remove_device(gone)
            for device in self._listed:
                self._add_device(device)
        for known in self.desk.devices():
            self._show_device(known)

    # --- devices ------------------------------------------------------------------------------------

    def _add_device(self, device: str) -> None:
        configured = next((d for d in self._settings.mt1.devices or () if d.id == device), None)
        kept = {memory.at: memory for memory in self._journal.channels() if memory.at.device == device}
        memories = []
        for channel in CHANNELS:
            at = ChannelId(device, channel)
            named = configured is not None and channel in configured.channels
            memory = kept.get(at) or feed.new_memory(at, self._cut_ms(), named)
            if at not in kept:
                self._journal.remember(memory, self._now.utc_ms)
            memories.append(memory)
        self.reconciliation.add(memories, self._now)
        self._show_device(device)
        if self._clocks.offset_ms(device):
            self._clock_alert(device)

    def _cut_ms(self) -> int:
        """A device that becomes ours later has its own first start."""
        settling_ms = 60_000
        first = self._now.utc_ms - self._start.started_ms < settling_ms
        return self._start.cut_ms if first else self._now.utc_ms - self._settings.reconcile.first_start_s * 1000

    def _show_device(self, device: str) -> None:
        listed = self._listed.get(device)
        name = self._names_of(ChannelId(device, "C0"))[0]
        shown = [m.at.channel for m in self.reconciliation.memories if m.at.device == device and m.seen]
        self.desk.device(
            Device(device, name, listed.type if listed else None, listed.raw if listed else ""), sorted(shown)
        )

    def _remove_device(self, device: str) -> None:
        self._feed(self.reconciliation.remove(device))
        self.desk.remove(device)
        self._available.pop(device, None)

    def _names_of(self, at: ChannelId) -> tuple[str | None, str | None]:
        configured = next((d for d in self._settings.mt1.devices or () if d.id == at.device), None)
        listed = self._listed.get(at.device)
        name = configured.name if configured else None
        if name is None and listed is not None:
            name = listed.name
        return name, configured.channels.get(at.channel) if configured else None

    # --- feed ---------------------------------------------------------------------------------------

    def _feed(self, outcomes: Iterable[feed.Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, feed.Stage):
                self._staging.stage(outcome.scan, outcome.rows)
            elif isinstance(outcome, feed.Odd):
                self._odd_rows(outcome)
            elif isinstance(outcome, feed.CompareNext):
                self._compares.append(outcome)
            elif isinstance(outcome, feed.Forget):
                self._staging.forget(outcome.scan)
            elif isinstance(outcome, feed.Remember):
                self._journal.remember(outcome.memory, self._now.utc_ms)
                if outcome.memory.seen:
                    self.desk.channel(outcome.memory.at)
                self.desk.changed(outcome.memory.at, last=False)
            elif isinstance(outcome, feed.DeviceRefused | feed.DeviceAccepted):
                self._device_standing(outcome)
            else:
                self._tell(outcome)

    def _device_standing(self, outcome: feed.DeviceRefused | feed.DeviceAccepted) -> None:
        device = outcome.device
        self.session.refused_devices(self.reconciliation.refused_devices)
        if isinstance(outcome, feed.DeviceAccepted):
            self._tell(Note("device_accepted", "info", {"device": device}, public=True))
            self._tell(AlertOver(f"device_refused_{device}"))
            return
        facts: dict[str, object] = {"device": device, "text": outcome.text}
        self._tell(Note("device_refused", "warning", facts, public=True))
        text = f"The MT1 server refuses device {device}: {outcome.text}. Add it to the account in ALGE-Results."
        self._tell(AlertRaised(f"device_refused_{device}", text, facts))

    def _odd_rows(self, outcome: feed.Odd) -> None:
        ids, odd = questions(outcome.rows)
        told = self._journal.oddities(odd)
        learned = self._intake.odd_rows(outcome.rows, self._journal.known(ids), told, self._now.utc_ms)
        self.reconciliation.grown(outcome.at, len(learned))
        self._learn(learned)

    def _compare(self, order: feed.CompareNext) -> None:
        """One batch of staged identities, in the order of time, with what the journal knows and history lacks."""
        scan = self.reconciliation.scan_of(order.scan, order.at)
        if scan is None:
            return
        staged = self._staging.next(order.scan, order.at, order.after, BATCH)
        done = len(staged) < BATCH
        last = staged[-1].timestamp if staged else order.after
        upto = max(last, order.absent_to) if done else last
        listed = {one.timestamp for one in staged}
        above = max(order.after, order.absent_from - 1)
        absent = [
            known
            for known in self._journal.in_effect_between(order.at, above, min(upto, order.absent_to), 10 * BATCH)
            if known.id.timestamp not in listed
        ]
        known = self._journal.known([TriggerId(order.at.device, order.at.channel, one.timestamp) for one in staged])
        rows = {one.timestamp: tuple(row for row in one.rows if isinstance(row, Sighting)) for one in staged}
        rows.update({one.id.timestamp: () for one in absent})
        known.update({one.id: one for one in absent})
        growth, again = self._compare_each(order.at, rows, known)
        self._feed(self.reconciliation.compared(scan, upto, growth, again, done, self._now))

    def _compare_each(
        self, at: ChannelId, rows: dict[int, tuple[Sighting, ...]], known: dict[TriggerId, Known]
    ) -> tuple[int, bool]:
        """(rows first listed, look again soon)."""
        memory = self.reconciliation.memory(at)
        assert memory is not None  # a scan runs on it
        asked_ms = self.reconciliation.asked_ms(at)
        learned: list[Learned] = []
        growth, again, missed = 0, False, 0
        for timestamp in sorted(rows):
            trigger = TriggerId(at.device, at.channel, timestamp)
            before, listed = known.get(trigger), rows[timestamp]
            if not listed and not self.reconciliation.may_be_deleted(at, timestamp, bool(before and before.row_count)):
                continue
            growth += max(0, len(listed) - (before.row_count if before else 0))
            if before is None and not memory.baselined and timestamp // TICKS_PER_MS < memory.cut_ms:
                learned.append(self._intake.baseline(trigger, listed, asked_ms))
                continue
            one, look_again = self._intake.listed(trigger, listed, before, asked_ms, self._now.utc_ms, self._is_live)
            again = again or look_again
            if one is not None:
                learned.append(one)
                missed += self._push_missed(one, asked_ms)
        self._learn(learned)
        if missed and self.session.subscription.push_missed(self._now):
            self._tell(Note("push_missed", "warning", {"channel": str(at), "triggers": missed}, public=True))
        return growth, again

    def _push_missed(self, learned: Learned, asked_ms: int) -> bool:
        """History alone shows an impulse that a standing subscription should have brought."""
        since_ms = self.session.subscription.since_ms
        if learned.fact is None or learned.fact.kind is not Kind.TRIGGER or since_ms is None:
            return False
        happened_ms = (learned.fact.timestamp or 0) // TICKS_PER_MS
        return since_ms + MISSED_AFTER_MS < happened_ms < asked_ms - MISSED_AFTER_MS

    # --- journal and what is told -------------------------------------------------------------------

    def _learn(self, learned: list[Learned]) -> None:
        self._journal.write(learned, self._now.utc_ms)
        for one in learned:
            if one.fact is None:
                continue
            self.handover.owes(one.at, 1)
            self.desk.changed(one.at, last=one.fact.kind is not Kind.REJECTED)
            self._count(one)

    def _count(self, learned: Learned) -> None:
        fact = learned.fact
        assert fact is not None  # the caller has looked
        at = fact.at
        if fact.kind is Kind.CORRECTION:
            self._counters.corrected += 1
        elif fact.kind is Kind.REJECTED:
            self._counters.rejected += 1
            self._note_rejected(learned)
        else:
            self._counters.published += 1
            self._counters.late += fact.late_at_birth
            if self._rejected_in_a_row.pop(at, 0) >= REJECTED_IN_A_ROW:
                self._tell(AlertOver(f"only_rejected_{at.device}_{at.channel}"))

    def _note_rejected(self, learned: Learned) -> None:
        fact = learned.fact
        assert fact is not None  # the caller has looked
        at = fact.at
        facts: dict[str, object] = {"device": at.device, "channel": at.channel, "reasons": ", ".join(fact.reasons)}
        self._tell(Note("trigger_rejected", "info", facts))
        self._rejected_in_a_row[at] = count = self._rejected_in_a_row.get(at, 0) + 1
        if count == REJECTED_IN_A_ROW:
            text = (
                f"The last {count} triggers of channel {at.channel} of device {at.device} were all rejected "
                f"({', '.join(fact.reasons)}): is mt1.edges right?"
            )
            self._tell(AlertRaised(f"only_rejected_{at.device}_{at.channel}", text, facts))

    def _journal_trouble(self, text: str | None) -> None:
        self.desk.board.touch("info")
        if text is None:
            self._tell(Note("journal_restored", "info", {"journal": self._journal.journal}))
            self._tell(AlertOver("journal"))
            return
        facts: dict[str, object] = {"text": text}
        self._tell(Note("journal_failed", "error", facts))
        words = f"The disk does not take the journal ({text}). Triggers go on being published from memory."
        self._tell(AlertRaised("journal", words, facts))

    def journal_set_aside(self, file: str) -> None:
        """The journal could not be read; history brings back what the MT1 server still has."""
        text = f"The journal was damaged and was set aside as {file}; what it held is read back from the MT1 server."
        self._tell(AlertRaised("journal", text, {"file": file}))

    def _tell(self, one: Note | AlertRaised | AlertOver) -> None:
        if isinstance(one, AlertRaised):
            self.desk.alert(one.name, one.text, one.facts, self._now.utc_ms)
        elif isinstance(one, AlertOver):
            self.desk.alert_over(one.name)
        else:
            self._orders.append(one)
            if one.public:
                body = {"event_type": one.event, "time": times.milliseconds(self._now.utc_ms), **one.facts}
                self.handover.tell(Publication(self._names.event, to_json(body), content_type=JSON_TYPE))

    # --- broker -------------------------------------------------------------------------------------

    def _subscriptions(self) -> tuple[str, ...]:
        wanted = [self._names.info, self._names.state]
        if self._settings.home_assistant.enabled:
            wanted.append(self._birth_topic)
        return tuple(wanted)

    def _on_broker(self, event: BrokerEvent) -> None:
        if isinstance(event, Acknowledged):
            self._acknowledged(event)
            return
        if isinstance(event, Arrived) and event.topic == self._birth_topic and event.payload == b"online":
            self._born_at = self._now.monotonic + 3.0 * self._random.random()
        self._broker_outcomes(self.broker.handle(event, self._now))

    def _broker_outcomes(self, outcomes: Iterable[broking.Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, broking.Ready):
                connected = outcome.connected
                owed = self._journal.owing_channels()
                self.handover.opened(connected.connection, connected.receive_maximum, owed)
                self.desk.connected()
                self._sweeping = True
            elif isinstance(outcome, broking.NotReady):
                self.handover.closed()
            elif isinstance(outcome, Note | AlertRaised | AlertOver):
                self._tell(outcome)
            else:
                self._orders.append(outcome)

    def _acknowledged(self, event: Acknowledged) -> None:
        what = self.handover.acknowledged(event.connection, event.token)
        if what is None:
            return
        if what.slot is not None:
            self.desk.board.acknowledged(what.slot)
        if event.reason >= handing.REFUSED:
            self._publish_refused(what, event.reason)
        elif what.entry is not None:
            self._delivered(what.entry)
        elif what.topic is not None and what.slot is not None:
            self._retained(what.slot, what.topic, what.retained_empty)

    def _delivered(self, entry: Entry) -> None:
        self._journal.acknowledged(entry, self._now.utc_ms)
        self.desk.changed(entry.fact.at, last=False)
        self._counters.bridge.add(self._now.monotonic, max(0, self._now.utc_ms - entry.fact.received_ms))

    def _retained(self, slot: str, topic: str, empty: bool) -> None:
        if empty:
            self._journal.retain(topic, keep=False, now_ms=self._now.utc_ms)
            self.desk.told.discard(topic)
            if slot.startswith(("alert:", "gone:", "discovery:", "stale:")):
                self.desk.board.drop(slot)

    def _publish_refused(self, what: InFlight, reason: int) -> None:
        """A PUBACK with an error is no delivery."""
        facts: dict[str, object] = {"reason": f"0x{reason:02X}"}
        if what.entry is None:
            self._tell(Note("publish_refused", "warning", {**facts, "topic": what.topic or what.slot or ""}))
            return
        entry = what.entry
        facts["id"] = entry.fact.id
        if reason == handing.TOO_LARGE and self.handover.too_large(entry):
            self._tell(Note("publish_given_up", "error", {**facts, "text": "too large for the broker"}, public=True))
            self._delivered(entry)
            return
        self._tell(Note("publish_refused", "warning", facts))
        self.handover.hold_back(entry, self._now.monotonic + 5.0 + 25.0 * self._random.random())

    # --- hand-over ----------------------------------------------------------------------------------

    def _hand_one(self) -> bool:
        """Hand over the next message; False if there is none that may go."""
        now = self._now.monotonic
        once = self.handover.next_once()
        if once is not None:
            self._publish(once, InFlight(topic=once.topic, handed_at=now))
            return True
        if self.handover.state_turn() and self._hand_slot():
            return True
        if self._hand_fact():
            return True
        if self._hand_slot():
            return True
        replay = self.handover.next_replay()
        if replay is not None:
            self._publish(replay, InFlight(topic=replay.topic, handed_at=now))
        return replay is not None

    def _hand_slot(self) -> bool:
        now = self._now.monotonic
        key = self.desk.board.next(now)
        if key is None:
            return False
        for publication in self.desk.board.take(key, now):
            empty = not publication.payload
            if not empty and publication.topic not in self.desk.told:
                self.desk.told.add(publication.topic)
                self._journal.retain(publication.topic, keep=True, now_ms=self._now.utc_ms)
            what = InFlight(slot=key, topic=publication.topic, handed_at=now, retained_empty=empty)
            self._publish(publication, what)
        return True

    def _hand_fact(self) -> bool:
        now = self._now.monotonic
        turn = self.handover.next_lane(now)
        if turn is None:
            return False
        at, after = turn
        entry = self.handover.next_ready(at)
        if entry is None:
            self.handover.filled(at, self._journal.owed(at, after, handing.CHUNK))
            return True
        fact = entry.fact
        late = False
        if fact.kind is Kind.TRIGGER and fact.timestamp is not None:
            late = self._late(at.device, fact.timestamp)
            if late != fact.late_at_birth and fact.revision and not self.handover.told_before(entry):
                self._journal.told_late(entry, late, self._now.utc_ms)
                self.desk.changed(at, last=True)
        self._publish(fact_publication(self._names, entry, late), InFlight(entry=entry, handed_at=now))
        return True

    def _publish(self, publication: Publication, what: InFlight) -> None:
        token = self.handover.handed(what)
        self._orders.append(Publish(self.handover.connection, token, publication))

    def _sweep(self) -> None:
        """Once everything retained was sent: empty what this instance retains no longer."""
        if self.desk.board.next(self._now.monotonic) is not None or self.desk.board.next_due() < float("inf"):
            return
        self._sweeping = False
        for topic in self.desk.stale():
            self.desk.clear(f"stale:{topic}", [topic])

    # --- what people are told -----------------------------------------------------------------------

    def _tell_status(self) -> None:
        state, reasons = standing(self._facts())
        waiting = state in (Upstream.DISCONNECTED, Upstream.QUOTA, Upstream.LOGIN_REFUSED, Upstream.POLLING)
        next_try_ms = None
        if waiting:
            next_try_ms = self._now.utc_ms + int((self.session.next_try(self._now) - self._now.monotonic) * 1000)
        before = self._status
        changed = before is None or before.state is not state or before.reasons != reasons
        moved = before is not None and _far_apart(before.next_try_ms, next_try_ms)
        if changed or moved:
            same = before is not None and before.state is state
            since_ms = before.since_ms if before is not None and same else self._now.utc_ms
            self._status = UpstreamStatus(state, since_ms, reasons, next_try_ms)
            self.desk.upstream(self._status)
            if before is None or not same:
                facts: dict[str, object] = {"state": state.value, "reasons": ", ".join(reasons)}
                self._orders.append(Note("state_changed", "info", facts))
        self._tell_availability()
        text = self._systemd_text()
        if text != self._status_text:
            self._status_text = text
            self._orders.append(StatusText(text))

    def _systemd_text(self) -> str:
        assert self._status is not None  # told before
        reasons = f" ({'; '.join(self._status.reasons)})" if self._status.reasons else ""
        broker = self.broker.state
        if broker is Broker.CONNECTED and self.handover.backlog() > handing.MANY:
            broker = Broker.DRAINING
        why = f" ({self.broker.why})" if self.broker.why and broker is not Broker.CONNECTED else ""
        return f"MT1 server: {self._status.state.value}{reasons}; broker: {broker.value}{why}"

    def _facts(self) -> Facts:
        session, now = self.session, self._now
        subscription = session.subscription
        lost = None
        if not subscription.subscribed:
            if subscription.trouble is not None:
                lost = f"{subscription.trouble.value}: {subscription.text}"
            elif session.rest_works is False:
                lost = session.rest_trouble
        return Facts(
            stopping=self._stop_at is not None,
            login_refused=session.login_refused,
            quota=session.in_quota(now),
            has_token=session.has_token,
            logging_in=session.calls > 0,
            subscribed=subscription.subscribed,
            opening=subscription.opening,
            polling=session.polling(now),
            lost=lost,
            settled=self.reconciliation.all_settled(),
            degraded=self._degraded(),
        )

    def _degraded(self) -> tuple[str, ...]:
        reasons = [f"device_refused_{device}" for device in sorted(self.reconciliation.refused_devices)]
        reasons += [f"subscription_refused_{device}" for device in sorted(self.session.subscription.refused)]
        if self.reconciliation.missing():
            reasons.append("missing")
        if self._journal.trouble is not None:
            reasons.append("journal")
        if self.session.rest_works is False and self.session.subscription.subscribed:
            reasons.append("rest_failed")
        if self.session.devices == ():
            reasons.append("no_devices")
        return tuple(reasons)

    def _tell_availability(self) -> None:
        polling = self.session.polling(self._now)
        pushed = set(self.session.subscription.devices())
        for device in self.desk.devices():
            online = (device in pushed or polling) and device not in self.reconciliation.refused_devices
            if self._available.get(device) != online:
                self._available[device] = online
                self.desk.availability(device, online)

    def _health_body(self) -> dict[str, object]:
        now, session, subscription = self._now, self.session, self.session.subscription
        status = self._status
        frame_at = self._last_frame_at(subscription.number) if subscription.number is not None else None
        oldest = self.handover.oldest()
        memo = session.memo(now)
        return {
            "state": status.state.value if status else Upstream.STARTING.value,
            "since": times.milliseconds(status.since_ms) if status else None,
            "reasons": list(status.reasons) if status else [],
            "subscription": {
                "connected": subscription.subscribed,
                "since": times.milliseconds(subscription.since_ms) if subscription.subscribed else None,
                "reconnects": max(0, subscription.reconnects),
                "last_frame_age_s": None if frame_at is None else round(now.monotonic - frame_at, 1),
            },
            "token": {"obtained_at": times.milliseconds(session.token_obtained_ms), "logins": session.logins},
            "rest": {"calls": session.calls, "quota_until": times.milliseconds(memo.quota_until_ms)},
            "mqtt": {
                "connected": self.broker.ready,
                "reconnects": max(0, self.broker.reconnects - 1),
                "backlog": self.handover.backlog(),
                "oldest_unacknowledged_s": None if oldest is None else round(now.monotonic - oldest, 1),
            },
            "triggers": self._counters.triggers(self.reconciliation.missing()),
            "delay_ms": self._counters.delay.told(now.monotonic),
            "bridge_ms": self._counters.bridge.told(now.monotonic),
            "clock_offset_ms": self._clock_offset_ms,
            "journal": {"bytes": self._journal.bytes(), "written_today_bytes": self._written_today()},
            "uptime_s": (now.utc_ms - self._start.started_ms) // 1000,
            "rss_mb": round(self._rss_mb(), 1),
            "version": __version__,
        }

    def clock_offset(self, offset_ms: int) -> None:
        """How far the MT1 server's clock is ahead of ours, as its Date header says."""
        self._clock_offset_ms = offset_ms

    # --- the end ------------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        if self._stop_at is not None:
            self._stop_at = self._now.monotonic  # asked twice: now
            return
        self._orders.append(Note("stopping", "info", {"reason": reason}))
        self._stop_at = self._now.monotonic + STOP_GRACE_S
        self._cloud(self.session.stop())
        self._compares.clear()
        for device in self.desk.devices():
            self.desk.availability(device, online=False)
        self.desk.stopping()

    def _go_on_stopping(self) -> None:
        """Wait a moment for acknowledgements, then close; what is owed stays in the journal."""
        assert self._stop_at is not None
        if self._finished:
            return
        told = not self.handover.in_flight() and self.desk.board.next(self._now.monotonic) is None
        waits = self.broker.ready and not (told and not self.handover.backlog())
        if waits and self._now.monotonic < self._stop_at:
            return
        self._finished = True
        self._broker_outcomes(self.broker.stop())
        self._orders.append(Finished())


def _configured(settings: Settings) -> tuple[str, ...] | None:
    devices = settings.mt1.devices
    return None if devices is None else tuple(device.id for device in devices)


def _far_apart(before_ms: int | None, now_ms: int | None) -> bool:
    if before_ms is None or now_ms is None:
        return before_ms is not now_ms
    return abs(before_ms - now_ms) > 1_500
