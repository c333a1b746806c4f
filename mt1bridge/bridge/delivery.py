"""Journal -> topics -> broker, and what the broker acknowledged. Pure."""

from mt1bridge.bridge.parts import Parts
from mt1bridge.model.broker import Acknowledged, BrokerConnected, Publication, Publish
from mt1bridge.model.fact import Entry, Kind, Source
from mt1bridge.model.status import Note
from mt1bridge.model.trigger import ChannelId
from mt1bridge.mqtt import handover as handing
from mt1bridge.mqtt.handover import InFlight
from mt1bridge.topics.payloads import fact_publication, replay_publication
from mt1bridge.topics.replays import Replay, Replays

HOLD_S = 5.0
HOLD_SPREAD_S = 25.0
SCANNED_AT_ONCE = 200


class Delivery:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.replays = Replays()
        self._sweeping = False
        self._scanned = False
        self._refusing: set[ChannelId | str] = set()  # channels and topics of which the last message was refused

    # --- connection ---------------------------------------------------------------------------------

    def connected(self, connected: BrokerConnected) -> None:
        parts = self._parts
        owed = parts.journal.owing_channels()
        parts.handover.opened(connected.connection, connected.receive_maximum, owed)
        parts.desk.connected()
        self.sweep()

    def lost(self) -> None:
        self._parts.handover.closed()
        self.replays.clear()

    # --- hand-over ----------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A replay looks through the journal."""
        return self._scanned

    def go_on(self) -> None:
        """Give the broker what there is room for."""
        parts = self._parts
        self._scanned = False
        while parts.handover.connection and parts.handover.room() and self._next():
            pass
        if self._sweeping and parts.broker.ready and parts.session.devices is not None:
            self._go_on_sweeping()

    def _next(self) -> bool:
        """Hand over the next message; False if there is none that may go."""
        handover = self._parts.handover
        once = handover.next_once()
        if once is not None:
            self._publish(once, InFlight(topic=once.topic, handed_at=self._parts.now.monotonic))
            return True
        if handover.state_turn() and self._next_slot():
            return True
        return self._next_fact() or self._next_slot() or (handover.idle() and self._next_replayed())

    def _next_slot(self) -> bool:
        parts = self._parts
        now = parts.now.monotonic
        key = parts.desk.board.next(now)
        if key is None:
            return False
        for publication in parts.desk.board.take(key, now):
            empty = not publication.payload
            if parts.desk.handed(publication):
                parts.journal.retain(publication.topic, keep=True, now_ms=parts.now.utc_ms)
            what = InFlight(slot=key, topic=publication.topic, handed_at=now, retained_empty=empty)
            self._publish(publication, what)
        return True

    def _next_fact(self) -> bool:
        parts = self._parts
        turn = parts.handover.next_lane(parts.now.monotonic)
        if turn is None:
            return False
        at, after = turn
        entry = parts.handover.next_ready(at)
        if entry is None:
            parts.handover.filled(at, parts.journal.owed(at, after, handing.CHUNK))
            return True
        late = self._judge(entry)
        what = InFlight(entry=entry, handed_at=parts.now.monotonic)
        self._publish(fact_publication(parts.names, entry, late), what)
        return True

    def _judge(self, entry: Entry) -> bool:
        """Whether an impulse goes out as `late`; `last` tells what was told first."""
        parts, fact = self._parts, entry.fact
        if fact.kind is not Kind.TRIGGER or fact.timestamp is None:
            return False
        late = parts.late(fact.at.device, fact.timestamp) or parts.is_of_an_earlier_journal(fact.received_ms)
        if fact.source is Source.HISTORY and fact.late_at_birth:
            late = True  # it may have been told before, under another `journal`
        if late != fact.late_at_birth and not parts.handover.told_before(entry):
            parts.journal.told_late(entry, late, parts.now.utc_ms)
            parts.desk.changed(fact.at, last=True)
        return late

    def _next_replayed(self) -> bool:
        """One message of a replay, or a look at the next stretch of the journal: once in a turn."""
        parts = self._parts
        replay = self.replays.first()
        if replay is None:
            return False
        entry = replay.next()
        if entry is not None:
            fact = entry.fact
            late = fact.timestamp is not None and parts.late(fact.at.device, fact.timestamp)
            publication = replay_publication(parts.names, entry, late, replay.transaction)
            self._publish(publication, InFlight(topic=publication.topic, handed_at=parts.now.monotonic))
            return True
        if not replay.exhausted:
            if self._scanned:
                return False
            self._scanned = True
            replay.take(parts.journal.facts_after(replay.after, replay.at_most, SCANNED_AT_ONCE))
            return True
        self._answer(replay)
        return True

    def _answer(self, replay: Replay) -> None:
        self.replays.done()
        self._parts.handover.tell(replay.answer({"count": replay.told}))

    def _publish(self, publication: Publication, what: InFlight) -> None:
        parts = self._parts
        token = parts.handover.handed(what)
        parts.orders.append(Publish(parts.handover.connection, token, publication))

    def sweep(self) -> None:
        """Once everything retained was sent: empty what this instance retains no longer."""
        self._sweeping = True

    def _go_on_sweeping(self) -> None:
        desk = self._parts.desk
        if desk.board.unsent(self._parts.now.monotonic):
            return
        self._sweeping = False
        for topic in desk.stale():
            desk.clear(f"stale:{topic}", [topic])

    # --- acknowledgements ---------------------------------------------------------------------------

    def acknowledged(self, event: Acknowledged) -> None:
        parts = self._parts
        what = parts.handover.acknowledged(event.connection, event.token)
        if what is None:
            return
        if event.reason >= handing.REFUSED:
            self._refused(what, event.reason)
            return
        if what.slot is not None:
            parts.desk.acknowledged(what.slot)
        self._refusing.discard(what.entry.fact.at if what.entry is not None else what.topic or "")
        if what.entry is not None:
            self._delivered(what.entry)
        elif what.retained_empty and what.topic is not None and what.topic not in parts.desk.told:
            parts.journal.retain(what.topic, keep=False, now_ms=parts.now.utc_ms)

    def _delivered(self, entry: Entry) -> None:
        parts = self._parts
        parts.journal.acknowledged(entry, parts.now.utc_ms)
        parts.handover.taken(entry.fact.at)
        parts.desk.changed(entry.fact.at, last=False)
        parts.counters.bridge.add(parts.now.monotonic, max(0, parts.now.utc_ms - entry.fact.received_ms))

    def _refused(self, what: InFlight, reason: int) -> None:
        """A PUBACK with an error is no delivery: the channel waits and begins again with this fact."""
        parts = self._parts
        facts: dict[str, object] = {"reason": f"0x{reason:02X}"}
        later = parts.now.monotonic + HOLD_S + HOLD_SPREAD_S * parts.random.random()
        if what.entry is None:
            self._note_refused(what.topic or "", {**facts, "topic": what.topic or ""})
            if what.slot is not None and reason == handing.TOO_LARGE:
                parts.desk.board.acknowledged(what.slot)  # what is too large stays so until it changes
            elif what.slot is not None:
                parts.desk.board.refused(what.slot, later)
            return
        facts["id"] = what.entry.fact.id
        if reason == handing.TOO_LARGE and parts.handover.too_large(what.entry):
            text = "larger than the broker takes; it stays in the journal"
            parts.tell(Note("publish_given_up", "error", {**facts, "text": text}, public=True))
            self._delivered(what.entry)
            return
        self._note_refused(what.entry.fact.at, facts)
        parts.handover.hold_back(what.entry, later)

    def _note_refused(self, where: ChannelId | str, facts: dict[str, object]) -> None:
        """One warning, until something goes through there."""
        self._parts.tell(Note("publish_refused", "debug" if where in self._refusing else "warning", facts))
        self._refusing.add(where)
