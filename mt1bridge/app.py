"""The composition root: settings -> parts -> loop; the order of start and stop.

Only here do the stages, their shells and the process meet.
"""

import queue
import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import SystemRandom
from types import FrameType
from urllib.parse import urlsplit

from mt1bridge import __version__
from mt1bridge.bridge import Bridge, Event, Measures, Order, Start
from mt1bridge.cloud import kept, replies
from mt1bridge.cloud.link import Links
from mt1bridge.cloud.outcomes import KeepBudget, KeepToken
from mt1bridge.cloud.rest import RestWorker
from mt1bridge.config.settings import Loaded, Settings
from mt1bridge.journal.journal import Journal, Opened
from mt1bridge.journal.staging import Staging
from mt1bridge.model.broker import BrokerLost, BrokerTrouble, CloseBroker, OpenBroker, Publish
from mt1bridge.model.clock import Now
from mt1bridge.model.errors import ConfigurationError
from mt1bridge.model.orders import (
    DiskMeasured,
    Finished,
    KeepFirstStart,
    ReloadAsked,
    SetLogLevel,
    StatusText,
    StopAsked,
    Tick,
)
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import Answer, Call, CloseLink, LinkEvent, LinkLost, NoAnswer, OpenLink, Trouble
from mt1bridge.mqtt.publisher import Publisher
from mt1bridge.runtime import measures
from mt1bridge.runtime.clock import CheckedClock, SystemClock
from mt1bridge.runtime.logs import Log
from mt1bridge.runtime.state_directory import StateDirectory
from mt1bridge.runtime.systemd import Notifier, boot_id, runtime_directory
from mt1bridge.runtime.tls import client_context
from mt1bridge.turn import EVENTS_AT_ONCE, QUIET_WITHIN_S, Turn

LOOK_AROUND_S = 10.0
MEASURE_EVERY_S = 300.0
FAULTS_WITHIN_S = 600.0
FAULTS_TOO_MANY = 5
FLOOD = 20_000  # events that may wait
CALM_S = 0.05


class App:
    """One running bridge. Owns the loop's thread; `run` returns when it has stopped.

    load: reads the configuration again, for SIGHUP. Raises ConfigurationError.
    """

    def __init__(self, settings: Settings, log: Log, notifier: Notifier, load: Callable[[], Loaded]) -> None:
        self._settings = settings
        self._log = log
        self._notifier = notifier
        self._load = load
        self._clock = CheckedClock(SystemClock())
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._calm = threading.Event()  # set at the end: a link that waits in a flood goes on
        self._state = StateDirectory(settings.journal.directory, runtime_directory())
        self._state.lock()
        now = self._clock.now()
        self._journal = Journal(self._state.path, boot_id(), lambda: secrets.token_hex(3))
        opened = self._journal.open(now.utc_ms)
        self._staging = Staging()
        self._written = measures.WrittenToday()
        self._asked: dict[int, Now] = {}
        self._open_connection: int | None = None
        self._connect_to(settings)
        self._publisher = Publisher(settings.mqtt, self._inbox.put)
        self._bridge = Bridge(
            settings,
            self._journal,
            self._staging,
            self._start(now, opened),
            now,
            SystemRandom(),
            Measures(
                rss_mb=measures.rss_mb,
                last_frame_at=lambda link: self._links.last_frame_at(link),
                written_today=lambda: self._written.bytes(self._clock.now().utc_ms),
            ),
        )
        log.note(
            "info",
            "started",
            version=__version__,
            instance=settings.instance,
            journal=self._journal.journal,
            directory=str(self._state.path),
        )
        if opened.set_aside:
            self._bridge.journal_set_aside(opened.set_aside)
        if self._state.trouble:
            log.note("warning", "state_directory_failed", text=self._state.trouble)
        self._turn = Turn(
            self._bridge, self._journal, self._clock.now, self._carry_out, settings.journal.keep_s, self._fault
        )
        self._faults: list[float] = []
        self._look_at = self._measure_at = now.monotonic

    def _start(self, now: Now, opened: Opened) -> Start:
        """What an earlier process left."""
        token = kept.token_from(self._state.read_json(kept.TOKEN_FILE), self._settings.mt1.url)
        memo = kept.memo_from(self._state.read_json(kept.BUDGET_FILE))
        first_ms = kept.first_start_from(self._state.read_json(kept.FIRST_START_FILE))
        return Start(token, memo, now, first_ms, opened.fresh, self._state.forgetful)

    # --- the loop -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Turn until asked to stop. Returns the exit code."""
        with _signals(self._inbox):
            self._notifier.ready()
            self._one_turn([Tick()])
            while not self._bridge.finished:
                self._one_turn(self._wait())
            self._close()
        return 0

    def stop(self, reason: str) -> None:
        """From any thread."""
        self._inbox.put(StopAsked(reason))

    def _wait(self) -> list[Event]:
        """The events that are there; Tick if there are none by the time that something is due."""
        watchdog_s = self._notifier.watchdog_interval_s()
        wait_s = min(self._turn.wait_s(), watchdog_s / 3) if watchdog_s else self._turn.wait_s()
        try:
            events = [self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()]
        except queue.Empty:
            return [Tick()]
        while len(events) < EVENTS_AT_ONCE:
            try:
                events.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        return events

    def _one_turn(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Answer | NoAnswer):
                self._compare_clocks(event)
        self._turn.take(events + self._look_around())
        if any(isinstance(event, ReloadAsked) for event in events):
            self._reload()
        self._notifier.watchdog()

    def _fault(self, error: Exception) -> None:
        """A bug. Say so loudly and go on; too many in a short time, and a fresh process does better."""
        now = self._clock.now().monotonic
        self._log.note("error", "internal_error", exc_info=error)
        self._faults = [at for at in self._faults if now - at < FAULTS_WITHIN_S] + [now]
        if len(self._faults) >= FAULTS_TOO_MANY:
            raise error

    def _reload(self) -> None:
        """Read the configuration again; a faulty one is refused and the old one stays."""
        now = self._clock.now()
        self._notifier.reloading(int(now.monotonic * 1_000_000))
        try:
            loaded = self._load()
        except ConfigurationError as error:
            for problem in error.problems:
                self._log.note("error", "configuration_refused", text=str(problem))
        else:
            for warning in loaded.warnings:
                self._log.note("warning", "configuration_questionable", text=str(warning))
            settings = self._lifelong(loaded.settings)
            before = self._settings
            same_broker = (settings.mqtt, settings.home_assistant) == (before.mqtt, before.home_assistant)
            # Where the connection ends, what is on its way is to be acknowledged first, or it would be told again.
            within_s, leaves = 0.0 if same_broker else QUIET_WITHIN_S, self._bridge.leaves(settings)
            self._turn.when_quiet(partial(self._apply, settings), within_s, leaves)
            return
        self._notifier.ready()

    def _lifelong(self, settings: Settings) -> Settings:
        """What belongs to a whole life of the process stays as it was."""
        kept, changed = lifelong(self._settings, settings)
        for key, was, wanted in changed:
            self._log.note("warning", "restart_needed", key=key, was=was, wanted=wanted)
        return kept

    def _apply(self, settings: Settings) -> None:
        before, self._settings = self._settings, settings
        orders = self._bridge.reconfigure(settings, self._clock.now())
        server, old_server = _server(settings), _server(before)
        if settings.mqtt != before.mqtt or server != old_server:
            for order in [order for order in orders if isinstance(order, CloseLink | CloseBroker)]:
                orders.remove(order)
                self._carry_out(order)
        if settings.mqtt != before.mqtt:
            self._publisher = Publisher(settings.mqtt, self._inbox.put)
        if server != old_server:
            self._rest.close()
            self._asked.clear()
            self._connect_to(settings)
        if settings.log != before.log:
            self._log.set_level(settings.log.level)
        self._turn.keep_s = settings.journal.keep_s
        self._turn.tell(orders)
        self._log.note("info", "configuration_reloaded", digest=settings.digest())
        self._notifier.ready()

    def _connect_to(self, settings: Settings) -> None:
        """Make the shells towards the MT1 server."""
        tls = client_context(settings.mt1.ca_file) if _any_https(settings) else None
        self._tls = tls
        self._links = Links(settings.mt1.realtime_url, tls, self._take_from_link)
        self._rest = RestWorker(settings.mt1.url, tls, self._inbox.put)

    def _take_from_link(self, event: LinkEvent) -> None:
        """In the link's thread. A flood waits in the network and not in our memory."""
        while self._inbox.qsize() > FLOOD and not self._bridge.finished:
            self._calm.wait(CALM_S)
        self._inbox.put(event)

    def _compare_clocks(self, event: Answer | NoAnswer) -> None:
        asked = self._asked.pop(event.call, None)
        server_ms = replies.server_date_ms(event.date) if isinstance(event, Answer) else None
        if asked is not None and server_ms is not None:
            self._bridge.clock_offset(self._clock.compare(server_ms, asked))

    def _look_around(self) -> list[Event]:
        """Now and then: room on the disk, and what threads that died without a word would have said."""
        now = self._clock.now()
        if now.monotonic < self._look_at:
            return []
        self._look_at = now.monotonic + LOOK_AROUND_S
        found: list[Event] = []
        if now.monotonic >= self._measure_at:
            self._measure_at = now.monotonic + MEASURE_EVERY_S
            found.append(DiskMeasured(self._state.free_bytes()))
        if self._open_connection is not None and not self._publisher.thread_alive():
            found.append(BrokerLost(self._open_connection, BrokerTrouble.LOST, "the MQTT client's thread is gone"))
            self._open_connection = None
        for link in self._links.dead():
            found.append(LinkLost(link, Trouble.NETWORK, "the connection's thread is gone"))
        if not self._rest.alive():
            self._log.note("error", "rest_worker_restarted")
            self._rest = RestWorker(self._settings.mt1.url, self._tls, self._inbox.put)
            text = "the REST worker's thread was gone"
            found += [NoAnswer(call, Trouble.NETWORK, text) for call in self._asked]
            self._asked.clear()
        return found

    # --- orders -------------------------------------------------------------------------------------

    def _carry_out(self, order: Order) -> None:
        match order:
            case Publish():
                self._publisher.publish(order)
            case Note():
                self._log.note(order.level, order.event, **order.facts)
            case Call():
                self._asked[order.call] = self._clock.now()
                self._rest.submit(order)
            case OpenLink():
                self._links.open(order)
            case CloseLink():
                self._links.close(order)
            case OpenBroker():
                self._open_connection = order.connection
                self._publisher.open(order)
            case CloseBroker():
                self._open_connection = None
                self._publisher.close(order)
            case KeepToken():
                self._keep_token(order)
            case KeepBudget():
                self._keep(kept.BUDGET_FILE, kept.memo_to_text(order.memo))
            case KeepFirstStart():
                self._keep(kept.FIRST_START_FILE, kept.first_start_to_text(order.cut_ms))
            case StatusText():
                self._notifier.status(order.text)
            case SetLogLevel():
                self._log.set_level(order.level)
            case Finished():
                self._notifier.stopping()

    def _keep_token(self, order: KeepToken) -> None:
        if order.kept is None:
            self._state.remove(kept.TOKEN_FILE)
        else:
            self._keep(kept.TOKEN_FILE, kept.token_to_text(order.kept, self._settings.mt1.url))

    def _keep(self, name: str, content: bytes) -> None:
        trouble = self._state.write(name, content)
        if trouble is not None:
            self._log.note("warning", "state_not_kept", text=trouble)

    # --- the end ------------------------------------------------------------------------------------

    def _close(self) -> None:
        """In the order of the data: cloud first, MQTT, then the journal. Every join has a limit."""
        self._calm.set()
        self._rest.close()
        self._links.join(0.5)
        self._publisher.join(1.0)
        now = self._clock.now()
        while True:  # acknowledgements that came with the DISCONNECT
            try:
                event = self._inbox.get_nowait()
            except queue.Empty:
                break
            try:
                self._bridge.step(event, now)
            except Exception as error:  # noqa: BLE001 - what is learned already must still be written down
                self._log.note("error", "internal_error", exc_info=error)
        try:
            self._journal.try_disk(now.utc_ms, self._bridge.retold)  # acknowledgements that it did not take a while ago
            self._journal.commit(now.utc_ms)
            self._journal.close()
        except sqlite3.Error as error:
            self._log.note("error", "journal_not_closed", text=str(error))
        self._staging.close()
        self._state.unlock()
        self._log.note("info", "stopped")


@contextmanager
def _signals(inbox: "queue.SimpleQueue[Event]") -> Iterator[None]:
    def asked(number: int, _frame: FrameType | None) -> None:
        inbox.put(StopAsked(signal.Signals(number).name))

    def reload(_number: int, _frame: FrameType | None) -> None:
        inbox.put(ReloadAsked())

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lifelong(before: Settings, wanted: Settings) -> tuple[Settings, list[tuple[str, str, str]]]:
    """What can be applied of `wanted` without a restart, and what cannot: (key, as it is, as it is wanted)."""
    pairs = (
        ("instance", before.instance, wanted.instance),
        ("journal.directory", before.journal.directory, wanted.journal.directory),
        ("log.format", before.log.format, wanted.log.format),
    )
    kept = replace(
        wanted,
        instance=before.instance,
        journal=replace(wanted.journal, directory=before.journal.directory),
        log=replace(wanted.log, format=before.log.format),
    )
    return kept, [(key, str(old), str(new)) for key, old, new in pairs if old != new]


def _server(settings: Settings) -> tuple[object, ...]:
    """Where the MT1 server is."""
    return settings.mt1.url, settings.mt1.realtime_url, settings.mt1.ca_file


def _any_https(settings: Settings) -> bool:
    return any(urlsplit(url).scheme == "https" for url in (settings.mt1.url, settings.mt1.realtime_url))
