"""Journal -> topics -> broker, and what the broker acknowledged. Pure."""

from mt1bridge.bridge.parts import Parts
from mt1bridge.model.broker import Acknowledged, BrokerConnected, BrokerLost, Publication, Publish
from mt1bridge.model.clock import Now
from mt1bridge.model.fact import Entry, Kind, Source
from mt1bridge.model.status import Note
from mt1bridge.model.trigger import ChannelId
from mt1bridge.mqtt import handover as handing
from mt1bridge.mqtt.handover import InFlight
from mt1bridge.mqtt.suspicion import Place, Suspicion
from mt1bridge.topics.desk import FIRST
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
        self._suspicion = Suspicion()
        self._given_up: list[InFlight] = []  # to be told on the next connection
        self._untold: set[str] = set()  # topics that are too large, as said in the log
        self._stopping = False

    # --- connection ---------------------------------------------------------------------------------

    def connected(self, connected: BrokerConnected) -> None:
        parts = self._parts
        given_up, self._given_up = self._given_up, []
        for what in given_up:
            if what.entry is not None:
                parts.journal.given_up(what.entry, parts.now.utc_ms)
                parts.desk.changed(what.entry.fact.at, last=False)
        owed = parts.journal.owing_channels()
        parts.handover.opened(connected.connection, connected.receive_maximum, owed)
        self._suspicion.opened(parts.now.monotonic, mqtt5=connected.protocol == 5)
        parts.desk.connected()
        self.sweep()
        for what in given_up:
            self._note_given_up(what, {"bytes": what.size})

    def broken(self, event: BrokerLost) -> None:
        """The connection broke: was it for one of our messages?"""
        parts, now = self._parts, self._parts.now.monotonic
        in_flight = parts.handover.unacknowledged()
        given_up = self._suspicion.lost(in_flight, event, now)
        if given_up is not None:
            self._given_up.append(given_up)
            return
        for what in in_flight[:1]:
            if self._suspicion.trials(what) == 2:  # the first time may be chance
                facts = {"id": what.entry.fact.id} if what.entry is not None else {"topic": what.topic or ""}
                text = "the broker closes the connection when it gets this: it waits until all else is through"
                parts.tell(Note("publish_doubted", "warning", {**facts, "bytes": what.size, "text": text}))

    def lost(self) -> None:
        self._parts.handover.closed()
        self.replays.clear()

    def another_broker(self) -> None:
        """What one broker does not take, another one may."""
        self.lost()
        self._suspicion = Suspicion()
        self._given_up.clear()
        self._untold.clear()

    def stop(self) -> None:
        """No more trials: they would stand in the way of what is left to say."""
        self._stopping = True

    # --- hand-over ----------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A replay looks through the journal."""
        return self._scanned

    def go_on(self) -> None:
        """Give the broker what there is room for."""
        parts = self._parts
        self._scanned = False
        while self._room(parts.now.monotonic) and self._next():
            pass
        if parts.handover.connection and not parts.handover.in_flight() and not self._stopping:
            self._try_doubted()
        if self._sweeping and parts.broker.ready and parts.session.devices is not None:
            self._go_on_sweeping()

    def say_farewell(self) -> None:
        """Give the broker nothing but what says that we are not there."""
        parts = self._parts
        board, now = parts.desk.board, parts.now.monotonic
        others = set(board.keys()).difference(parts.desk.presence())
        while parts.handover.connection and parts.handover.room() and (key := board.next(now, others)) is not None:
            self._hand_over_slot(key)

    def next_due(self, moment: Now) -> float:
        """Monotonic second when something may go that waits for time; infinity if nothing does."""
        parts, suspicion, now = self._parts, self._suspicion, moment.monotonic
        if not parts.handover.connection:
            return float("inf")
        due = float("inf")
        if not self._stopping:
            due = suspicion.next_due(now, idle=not parts.handover.in_flight())
        if self._room(now):
            due = min(due, parts.desk.board.next_due(suspicion.held), parts.handover.next_due(suspicion.held))
        return due

    def _room(self, now: float) -> bool:
        handover, suspicion = self._parts.handover, self._suspicion
        if not handover.connection or not handover.room():
            return False
        if self._stopping:
            return True
        waits = suspicion.on_trial(now) or suspicion.presses(now)
        return not waits and not (suspicion.careful and handover.in_flight())

    def _next(self) -> bool:
        """Hand over the next message; False if there is none that may go."""
        handover = self._parts.handover
        once = handover.next_once()
        if once is not None:
            self._publish(once)
            return True
        if handover.state_turn() and self._next_slot():
            return True
        return self._next_fact() or self._next_slot() or (handover.idle() and self._next_replayed())

    def _next_slot(self) -> bool:
        key = self._parts.desk.board.next(self._parts.now.monotonic, self._suspicion.held)
        if key is None:
            return False
        self._hand_over_slot(key)
        return True

    def _hand_over_slot(self, key: str, on_trial: bool = False) -> None:
        parts = self._parts
        for publication in parts.desk.board.take(key, parts.now.monotonic):
            if parts.desk.handed(publication):
                parts.journal.retain(publication.topic, keep=True, now_ms=parts.now.utc_ms)
            if not on_trial and self._suspicion.too_large(publication):
                self._leave_out(key, publication)
            else:
                self._publish(publication, slot=key)

    def _leave_out(self, key: str, publication: Publication) -> None:
        """What is too large stays so until it changes, or the broker does."""
        board, now = self._parts.desk.board, self._parts.now.monotonic
        what = InFlight(slot=key, topic=publication.topic, size=self._suspicion.size_of(publication))
        if self._suspicion.doubt_again(what, now):
            board.refused(key, now)
            return
        board.acknowledged(key)
        self._note_given_up(what, {"bytes": what.size})

    def _next_fact(self) -> bool:
        turn = self._parts.handover.next_lane(self._parts.now.monotonic, self._suspicion.held)
        return turn is not None and self._hand_over_fact(*turn)

    def _hand_over_fact(self, at: ChannelId, after: int, on_trial: bool = False) -> bool:
        parts = self._parts
        entry = parts.handover.next_ready(at)
        if entry is None:
            parts.handover.filled(at, parts.journal.owed(at, after, handing.CHUNK))
            return True
        publication = fact_publication(parts.names, entry, self._judge(entry))
        if not on_trial and self._suspicion.too_large(publication):
            self._suspicion.doubt(InFlight(entry=entry))  # each fact is proven by itself
            return True
        self._publish(publication, entry=entry)
        return True

    def _try_doubted(self) -> None:
        """What may be what the broker does not bear goes alone, after something that it bears."""
        parts, suspicion, now = self._parts, self._suspicion, self._parts.now.monotonic
        place = suspicion.next_trial(now)
        if place is None:
            return
        free_at = self._free_at(place)
        if free_at is None:
            suspicion.void(place)
        elif free_at > now:
            suspicion.postpone(place, free_at)
        elif not suspicion.lives(now):
            self._probe(place)
        else:
            suspicion.begins(place, now)
            if isinstance(place, str):
                self._hand_over_slot(place, on_trial=True)
            while isinstance(place, ChannelId) and not parts.handover.in_flight():
                turn = parts.handover.turn_of(place, now) if parts.handover.has_lane(place) else None
                if turn is None:
                    break
                self._hand_over_fact(*turn, on_trial=True)
            if not parts.handover.in_flight():
                suspicion.void(place)

    def _free_at(self, place: Place) -> float | None:
        """Monotonic second from which on what is doubted may go; None if there is nothing of it to be sent."""
        parts = self._parts
        if isinstance(place, str):
            return parts.desk.board.free_at(place)
        if not parts.handover.has_lane(place):
            return None
        held_until = parts.handover.free_at(place)
        return parts.now.monotonic if held_until == float("inf") else held_until

    def _probe(self, place: Place) -> None:
        """Something small that the broker has taken often, though on a way that breaks even that may be doubted."""
        board, held = self._parts.desk.board, self._suspicion.held
        small = [key for key in (*FIRST, "health") if key != place]
        key = next((key for key in small if key not in held), small[0])
        board.touch(key)
        self._hand_over_slot(key)

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
            self._publish(replay_publication(parts.names, entry, late, replay.transaction))
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

    def _publish(self, publication: Publication, entry: Entry | None = None, slot: str | None = None) -> None:
        parts = self._parts
        what = InFlight(
            entry=entry,
            slot=slot,
            topic=publication.topic,
            handed_at=parts.now.monotonic,
            retained_empty=publication.retain and not publication.payload,
            size=self._suspicion.size_of(publication),
        )
        token = parts.handover.handed(what)
        parts.orders.append(Publish(parts.handover.connection, token, publication))

    def sweep(self) -> None:
        """Once everything retained was sent: empty what this instance retains no longer."""
        self._sweeping = True

    def _go_on_sweeping(self) -> None:
        desk = self._parts.desk
        if desk.board.unsent(self._parts.now.monotonic, self._suspicion.held):
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
        self._suspicion.acknowledged(what, event.reason < handing.REFUSED, parts.now.monotonic)
        if event.reason >= handing.REFUSED:
            self._refused(what, event.reason)
            return
        if what.slot is not None:
            parts.desk.acknowledged(what.slot)
        self._untold.discard(what.topic or "")
        self._refusing.discard(what.entry.fact.at if what.entry is not None else what.topic or "")
        if what.entry is not None:
            self._delivered(what.entry)
        elif what.retained_empty and what.topic is not None and what.topic not in parts.desk.told:
            parts.journal.retain(what.topic, keep=False, now_ms=parts.now.utc_ms)

    def _delivered(self, entry: Entry) -> None:
        parts = self._parts
        parts.journal.acknowledged(entry, parts.now.utc_ms)
        self._settled(entry.fact.at)
        parts.counters.bridge.add(parts.now.monotonic, max(0, parts.now.utc_ms - entry.fact.received_ms))

    def _settled(self, at: ChannelId) -> None:
        """A fact of this channel is owed no more."""
        self._parts.handover.taken(at)
        self._parts.desk.changed(at, last=False)

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
            self._note_given_up(what, facts)
            parts.journal.given_up(what.entry, parts.now.utc_ms)
            self._settled(what.entry.fact.at)
            return
        self._note_refused(what.entry.fact.at, facts)
        parts.handover.hold_back(what.entry, later)

    def _note_refused(self, where: ChannelId | str, facts: dict[str, object]) -> None:
        """One warning, until something goes through there."""
        self._parts.tell(Note("publish_refused", "debug" if where in self._refusing else "warning", facts))
        self._refusing.add(where)

    def _note_given_up(self, what: InFlight, facts: dict[str, object]) -> None:
        """Loudly, and of a topic once."""
        topic = what.topic or ""
        if what.entry is not None:
            facts |= {"id": what.entry.fact.id, "text": "larger than the broker takes; it stays in the journal"}
        elif topic in self._untold:
            return
        else:
            self._untold.add(topic)
            facts |= {"topic": topic, "text": "larger than the broker takes; it is not told until it is smaller"}
        self._parts.tell(Note("publish_given_up", "error", facts, public=True))
