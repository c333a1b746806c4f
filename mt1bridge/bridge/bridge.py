"""Every event to its stage, every outcome to the next one. Pure; the only state is that of the cores.

cloud -> feed -> journal -> topics -> MQTT. The loop calls `step` for every event, `idle` where nothing waits, commits
the journal, carries out the orders, and calls `hand_over`: so what is told was written down before.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from random import Random

from mt1bridge.bridge import assembly
from mt1bridge.bridge.commands import Commands
from mt1bridge.bridge.delivery import Delivery
from mt1bridge.bridge.learning import Learning
from mt1bridge.bridge.parts import Event, Measures, Order, Start
from mt1bridge.bridge.report import Report
from mt1bridge.cloud.outcomes import DevicesListed, Pushed
from mt1bridge.cloud.outcomes import Outcome as CloudOutcome
from mt1bridge.cloud.subscription import SubscriptionLost, SubscriptionStands
from mt1bridge.config.settings import MqttSettings, Settings
from mt1bridge.feed.intake import Intake
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging, StagingLostError
from mt1bridge.model.broker import Acknowledged, Arrived, BrokerEvent, BrokerLost
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, PageRead, WantFailed
from mt1bridge.model.known import Known, Learned
from mt1bridge.model.orders import DiskMeasured, Finished, JournalTrouble, StopAsked
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.upstream import Answer, LinkEvent, NoAnswer
from mt1bridge.mqtt import session as broking
from mt1bridge.topics.names import Names

STOP_GRACE_S = 3.0
SUBSCRIBED_AFTER_S = 1.0  # a SUBSCRIBE needs a moment to take effect; history that is read sooner may miss a trigger
BIRTH_SPREAD_S = 3.0
OF_THE_BROKER = "other_instance"
LITTLE_DISK_BYTES = 50_000_000


class Bridge:
    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        staging: Staging,
        start: Start,
        now: Now,
        random: Random,
        measures: Measures | None = None,
    ) -> None:
        self.parts = parts = assembly.parts(settings, journal, staging, start, now, random, measures or Measures())
        self._report = Report(parts)
        self._learning = Learning(parts)
        self._delivery = Delivery(parts)
        self._commands = Commands(parts, self._learning, self._delivery, self._report.health)
        parts.desk.health = self._report.health
        self._stop_at: float | None = None
        self._leaving = False
        self._born_at: float | None = None
        self._set_aside: str | None = None  # the name last told
        self.finished = False
        self._settle_clock(anyway=False)
        for device in parts.session.devices or ():
            self._learning.devices.add(device)
        self._cloud(parts.session.resumed(now))

    # --- the calls of the loop ----------------------------------------------------------------------

    def step(self, event: Event, now: Now) -> list[Order]:
        """Take one event. Returns what is to be done outside, once the journal has committed."""
        self.parts.at(now)
        if isinstance(event, Answer | NoAnswer):
            self._cloud(self.parts.session.rest_event(event, now))
        elif isinstance(event, LinkEvent):
            self._cloud(self.parts.session.link_event(event, now))
        elif isinstance(event, BrokerEvent):
            self._broker(event)
        elif isinstance(event, StopAsked):
            self._stop(event.reason)
        elif isinstance(event, JournalTrouble):
            self._journal_trouble(event.text)
        elif isinstance(event, DiskMeasured):
            self._disk_measured(event.free_bytes)
        self._settle()
        return self._orders()

    def idle(self, now: Now) -> list[Order]:
        """Nothing is waiting: compare history, a batch at a time, so that it never goes before a trigger."""
        self.parts.at(now)
        self._read(self._learning.go_on)
        self._settle()
        return self._orders()

    def hand_over(self, now: Now) -> list[Order]:
        """Give the broker what there is room for. Called after a commit."""
        self.parts.at(now)
        self._delivery.go_on()
        return self._orders()

    @property
    def busy(self) -> bool:
        """True while there is work that no event announces."""
        return self._learning.busy or self._delivery.busy

    @property
    def in_flight(self) -> bool:
        """True while the broker has not acknowledged all that it was given, or is to be given before we leave it."""
        parts, desk = self.parts, self.parts.desk
        unsaid = self._leaving and parts.broker.ready and not desk.board.settled(desk.presence())
        return unsaid or parts.handover.in_flight() > 0

    @property
    def stopping(self) -> bool:
        return self._stop_at is not None

    def next_due(self, now: Now) -> float:
        """Monotonic second by which `step(Tick())` is wanted."""
        parts = self.parts
        due = min(parts.session.next_due(now), self._report.health_at, parts.broker.next_due())
        free = parts.session.free_at(now)
        if free < float("inf"):
            due = min(due, max(free, parts.reconciliation.next_due(now)))
        due = min(due, *(at for at in (self._stop_at, self._born_at, due) if at is not None))
        return max(min(due, self._delivery.next_due(now)), now.monotonic)

    def clock_offset(self, offset_ms: int) -> None:
        """How far the MT1 server's clock is ahead of ours, as its Date header says."""
        self.parts.clock_offset_ms = offset_ms

    def journal_set_aside(self, file: str) -> None:
        """The journal could not be read; history brings back what the MT1 server still has."""
        if file != self._set_aside:
            self._set_aside = file
            self.parts.tell(Note("journal_set_aside", "error", {"file": file}))
        text = (
            f"The journal could not be read (damaged, or of a newer mt1bridge) and was set aside as {file}; "
            "what it held is read back from the MT1 server."
        )
        self.parts.tell(AlertRaised("journal", text, {"file": file}))

    def _orders(self) -> list[Order]:
        orders, self.parts.orders = self.parts.orders, []
        return orders

    # --- after every event --------------------------------------------------------------------------

    def _settle(self) -> None:
        parts, now = self.parts, self.parts.now
        self._settle_clock(anyway=False)
        if self._stop_at is None:
            self._cloud(parts.session.tick(now))
            if parts.session.free_at(now) <= now.monotonic:
                wanted = parts.reconciliation.next_wanted(now)
                if wanted is not None:
                    self._cloud(parts.session.ask(wanted, now))
            parts.reconciliation.poll(parts.session.polling(now), now)
        if now.monotonic >= parts.broker.next_due():
            self._broker_outcomes(parts.broker.tick(now))
        parts.desk.account(parts.session.account)
        self._commands.settle()
        self._report.tell()
        if self._born_at is not None and now.monotonic >= self._born_at:
            self._born_at = None
            parts.desk.discover_again()
        if self._stop_at is not None:
            self._go_on_stopping()

    def _settle_clock(self, anyway: bool) -> None:
        """Once, as soon as the clock is known to be right. anyway: the server answered and did not tell the time."""
        parts = self.parts
        if parts.beginning.settled or not (parts.now.good or anyway):
            return
        self._learning.devices.settle()
        parts.desk.began(parts.beginning.utc_ms)

    # --- cloud and feed -----------------------------------------------------------------------------

    def _cloud(self, outcomes: Iterable[CloudOutcome]) -> None:
        parts = self.parts
        for outcome in outcomes:
            if isinstance(outcome, Pushed):
                self._learning.pushed(outcome.seen)
            elif isinstance(outcome, Counted | PageRead | WantFailed):
                self._settle_clock(anyway=not isinstance(outcome, WantFailed))
                found = parts.reconciliation.found(outcome, parts.now)
                self._read(partial(self._learning.feed, found))
            elif isinstance(outcome, DevicesListed):
                self._learning.devices.listed(outcome.devices)
            elif isinstance(outcome, SubscriptionStands):
                later = replace(parts.now, monotonic=parts.now.monotonic + SUBSCRIBED_AFTER_S)
                parts.reconciliation.subscribed(later, outcome.devices)
            elif isinstance(outcome, SubscriptionLost):
                continue  # the report sees it
            elif isinstance(outcome, Note | AlertRaised | AlertOver):
                parts.tell(outcome)
            else:
                parts.orders.append(outcome)

    def _read(self, work: Callable[[], None]) -> None:
        """Take what history shows. Where what was read of it is lost, all reading begins anew."""
        parts = self.parts
        try:
            work()
        except StagingLostError as error:
            parts.tell(Note("history_read_again", "warning", {"text": f"no room for what was read of it: {error}"}))
            memories = parts.reconciliation.memories
            for device in dict.fromkeys(memory.at.device for memory in memories):
                self._learning.feed(parts.reconciliation.remove(device))
            parts.reconciliation.add(memories, parts.now)
            parts.session.refused_devices(parts.reconciliation.refused_devices)

    def _journal_trouble(self, text: str | None) -> None:
        parts = self.parts
        parts.desk.board.touch("info")
        if text is None:
            if parts.journal.was_unread:
                self._journal_read()
            if parts.journal.was_lost:
                self._journal_lost()
            for memory in parts.reconciliation.memories:
                if memory.seen:
                    parts.desk.channel(memory.at)
                parts.desk.changed(memory.at, last=True)
            parts.tell(Note("journal_restored", "info", {"journal": parts.journal.journal}))
            parts.tell(AlertOver("journal"))
            if parts.journal.set_aside is not None:
                self.journal_set_aside(parts.journal.set_aside)
            return
        facts: dict[str, object] = {"text": text}
        parts.tell(Note("journal_failed", "error", facts))
        words = (
            f"The disk does not take the journal, or spoilt it ({text}). Triggers go on being published from memory."
        )
        parts.tell(AlertRaised("journal", words, facts))

    def _journal_read(self) -> None:
        """What an earlier process wrote down could not be read when this one began, and can be now."""
        parts = self.parts
        parts.reconciliation.recall(parts.journal.channels(), parts.now)
        parts.handover.begin_again(parts.journal.owing_channels(), parts.now.monotonic)
        for device, offset_ms in parts.journal.device_offsets().items():
            if parts.clocks.recall(device, offset_ms):
                self._learning.devices.clock_alert(device)
        self._delivery.sweep()

    def _journal_lost(self) -> None:
        """The journal was found to be damaged, and a new one begins: history is read back as after a start without."""
        parts = self.parts
        oldest_ms = parts.now.utc_ms - parts.settings.journal.keep_s * 1000
        self._learning.feed(parts.reconciliation.begin_anew(oldest_ms, parts.now))
        parts.handover.begin_again(parts.journal.owing_channels(), parts.now.monotonic)

    def _disk_measured(self, free_bytes: int) -> None:
        if 0 <= free_bytes < LITTLE_DISK_BYTES:
            free_mb = free_bytes // 1_000_000
            text = f"Only {free_mb} MB are free where the journal is: make room, or shorten journal.keep."
            self.parts.tell(AlertRaised("disk_space", text, {"free_mb": free_mb}))
        elif free_bytes > 2 * LITTLE_DISK_BYTES:
            self.parts.tell(AlertOver("disk_space"))

    def retold(self, before: Known, now: Known, now_is_last: bool) -> Learned | None:
        """An older journal tells one story of a trigger (`before`), and it was told anew meanwhile (`now`).

        now_is_last: the broker gets the latter after the former.
        """
        return self.parts.intake.retold(before, now, now_is_last, self.parts.now.utc_ms)

    # --- broker -------------------------------------------------------------------------------------

    def _broker(self, event: BrokerEvent) -> None:
        parts = self.parts
        if isinstance(event, Acknowledged):
            self._delivery.acknowledged(event)
            return
        if isinstance(event, BrokerLost) and event.connection == parts.handover.connection:
            self._delivery.broken(event)
        if isinstance(event, Arrived) and parts.broker.ready:
            verb = parts.names.request_verb(event.topic) if parts.settings.mqtt.commands else None
            if verb is not None:
                self._commands.arrived(verb, event)
                return
            if event.topic in assembly.birth_topics(parts.settings) and event.payload == b"online":
                self._born_at = parts.now.monotonic + BIRTH_SPREAD_S * parts.random.random()
                return
        self._broker_outcomes(parts.broker.handle(event, parts.now))

    def _broker_outcomes(self, outcomes: Iterable[broking.Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, broking.Ready):
                self._delivery.connected(outcome.connected)
                self.parts.tell_untold()
            elif isinstance(outcome, broking.NotReady):
                self._delivery.lost()
            elif isinstance(outcome, Note | AlertRaised | AlertOver):
                self.parts.tell(outcome, keep=True)
            else:
                self.parts.orders.append(outcome)

    # --- other settings -----------------------------------------------------------------------------

    def reconfigure(self, settings: Settings, now: Now) -> list[Order]:
        """Apply other settings without dropping what did not change.

        `instance` and `journal.directory` belong to a whole life of the process: the caller keeps them as they were.
        """
        parts = self.parts
        parts.at(now)
        before, parts.settings = parts.settings, settings
        mt1, reconcile = settings.mt1, settings.reconcile
        parts.called.devices = mt1.devices or ()
        parts.intake = Intake(mt1.edges, parts.called.names)
        parts.reconciliation.reconfigure(assembly.pace(settings), reconcile.calls_per_minute)
        self._cloud(
            parts.session.reconfigure(
                mt1.username, mt1.password, assembly.configured(settings), reconcile.calls_per_minute, now,
                other_server=(mt1.url, mt1.realtime_url, mt1.ca_file)
                != (before.mt1.url, before.mt1.realtime_url, before.mt1.ca_file),
            )
        )  # fmt: skip
        if (settings.mqtt, settings.home_assistant) != (before.mqtt, before.home_assistant):
            self._another_broker(before)
        elif self._leaving:
            parts.desk.staying()
        self._leaving = self._report.leaving = False
        if parts.session.devices is not None:
            self._learning.devices.are(parts.session.devices)
        parts.desk.identify(config_digest=settings.digest(), url=mt1.url)
        self._settle()
        return self._orders()

    def leaves(self, settings: Settings) -> bool:
        """Whether these settings lead to another broker or base topic."""
        old, new = self.parts.settings.mqtt, settings.mqtt
        return _address(old) != _address(new) or old.base_topic != new.base_topic

    def leave(self, now: Now) -> None:
        """Settings that lead away are about to be applied: until then only `offline` is handed over, everywhere."""
        self.parts.now = now
        self._leaving = self._report.leaving = True
        self.parts.desk.leaving()
        self._report.tell()

    def say_farewell(self, now: Now) -> list[Order]:
        """In place of `hand_over` while other settings wait. Called after a commit."""
        self.parts.now = now
        if self._leaving:
            self._delivery.say_farewell()
        return self._orders()

    def _offline_is_said(self) -> bool:
        return (self._leaving or self.stopping) and self.parts.desk.board.settled(["state"])

    def _another_broker(self, before_settings: Settings) -> None:
        """Close the connection, open the next one; topics that are ours no longer are emptied by the sweep.

        An old broker that we could not tell so learns from our will that we are gone.
        """
        parts = self.parts
        elsewhere = _address(before_settings.mqtt) != _address(parts.settings.mqtt)
        self._broker_outcomes(parts.broker.stop(will=elsewhere and not self._offline_is_said()))
        self._delivery.another_broker()
        before = parts.desk
        parts.names = Names(parts.settings.mqtt.base_topic)
        parts.desk = assembly.desk(
            parts.settings, parts.names, parts.journal, parts.beginning, parts.reconciliation, parts.called
        )
        parts.desk.health = self._report.health
        parts.broker = assembly.broker_session(parts.settings, parts.names, parts.random, parts.broker.connection)
        for device in before.devices():
            self._learning.devices.add(device)
        for name, alert in before.alerts().items():
            if name != OF_THE_BROKER:  # raised anew where it is so still
                parts.desk.alert(name, alert.text, alert.facts, alert.since_ms)
        self._report.again()

    # --- the end ------------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        parts = self.parts
        if self._stop_at is not None:
            self._stop_at = parts.now.monotonic  # asked twice: now
            return
        parts.tell(Note("stopping", "info", {"reason": reason}))
        self._stop_at = parts.now.monotonic + STOP_GRACE_S
        self._cloud(parts.session.stop())
        self._learning.stop()
        self._report.stopping, self._leaving = True, False
        self._delivery.stop()
        parts.desk.leaving()

    def _go_on_stopping(self) -> None:
        """Wait a moment for acknowledgements, then close; what is owed stays in the journal."""
        parts = self.parts
        assert self._stop_at is not None  # the caller has looked
        if self.finished:
            return
        waiting = parts.handover.in_flight() or parts.handover.backlog() or parts.desk.board.waiting()
        if parts.broker.ready and waiting and parts.now.monotonic < self._stop_at:
            return
        self.finished = True
        self._broker_outcomes(parts.broker.stop(will=not self._offline_is_said()))
        parts.orders.append(Finished())


def _address(broker: MqttSettings) -> tuple[str, int]:
    return broker.host, broker.port
