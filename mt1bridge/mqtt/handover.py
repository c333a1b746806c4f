"""Which message goes to the broker next, and which ones it has not acknowledged. Pure.

Facts of a channel go in the order of learning; channels take turns; retained topics get a share of the window so that
a long backlog does not hide the state; replays wait until nothing else does (CONTRACT, sections 1 and 6).
"""

from collections import OrderedDict, deque
from collections.abc import Container
from dataclasses import dataclass, field

from mt1bridge.model.broker import Publication
from mt1bridge.model.fact import Entry
from mt1bridge.model.trigger import ChannelId
from mt1bridge.mqtt import reasons

WINDOW = 100  # messages in flight
CATCHING_UP = 20  # as many while we are catching up
MANY = 200  # owed facts from which on we are catching up
CHUNK = 20  # facts read from the journal at a time
EVERY = 8  # after so many facts, one retained topic may go

REFUSED = reasons.FIRST_FAILURE  # PUBACK reasons from here on are no delivery
TOO_LARGE = reasons.PACKET_TOO_LARGE
TOO_LARGE_TRIES = 3


@dataclass(frozen=True, slots=True)
class InFlight:
    """What a token stands for: a fact, a retained topic's slot, or something sent once (event, response, replay).

    handed_at: monotonic seconds. retained_empty: it empties a retained topic. size: bytes (suspicion.py).
    """

    entry: Entry | None = None
    slot: str | None = None
    topic: str | None = None
    handed_at: float = 0.0
    retained_empty: bool = False
    size: int = 0

    @property
    def place(self) -> ChannelId | str | None:
        """The channel or slot that waits for its acknowledgement; None: it is not sent again."""
        return self.entry.fact.at if self.entry is not None else self.slot

    @property
    def message(self) -> int | str | None:
        """The same for what is sent again on another connection: a fact's number, or a topic."""
        return self.entry.n if self.entry is not None else self.topic


@dataclass(slots=True)
class _Lane:
    """One channel's facts. after: the last one read from the journal on this connection; more: it may hold more.

    owed is for people: what goes when depends on the journal alone, so a wrong count never stalls or repeats anything.
    held_until: the broker refused one of them; from then on, and once nothing of the channel is in flight, all that
    is owed is read and handed over again, so that the order holds. probing: since then none was taken: one at a time,
    or the first could be refused and the second be taken.
    """

    owed: int
    after: int = 0
    more: bool = True
    ready: deque[Entry] = field(default_factory=deque)
    held_until: float | None = None
    probing: bool = False
    in_flight: int = 0


class Handover:
    def __init__(self) -> None:
        self._lanes: OrderedDict[ChannelId, _Lane] = OrderedDict()
        self._in_flight: dict[int, InFlight] = {}
        self._once: deque[Publication] = deque()
        self._token = 0
        self._connection = 0
        self._window = 0
        self._facts_in_a_row = 0
        self._too_large: dict[int, int] = {}
        self._holds: dict[ChannelId, float] = {}  # refused channels; a broker may end the connection as well
        self._told: dict[ChannelId, int] = {}  # the last fact of a channel that was ever handed over

    # --- connection ---------------------------------------------------------------------------------

    @property
    def connection(self) -> int:
        return self._connection

    def opened(self, connection: int, receive_maximum: int | None, owed: dict[ChannelId, int]) -> None:
        """The broker is ready: everything that is owed is handed over again, from its first message on."""
        self._connection = connection
        self._window = min(WINDOW, receive_maximum or WINDOW)
        self._in_flight.clear()
        self._lanes = OrderedDict(
            (at, _Lane(count, held_until=self._holds.get(at), probing=at in self._holds)) for at, count in owed.items()
        )

    def closed(self) -> None:
        """What was in flight counts as not delivered; events, being news of the moment, are not kept."""
        self._connection = self._window = 0
        self._in_flight.clear()
        self._lanes.clear()
        self._once.clear()

    # --- what is there to do ------------------------------------------------------------------------

    def owes(self, at: ChannelId, facts: int) -> None:
        """The journal took new facts of a channel."""
        if self._connection:
            lane = self._lanes.setdefault(at, _Lane(0))
            lane.owed, lane.more = lane.owed + facts, True

    def tell(self, publication: Publication) -> None:
        """Something to be sent once: an event or a response. Dropped without a connection."""
        if self._connection and len(self._once) < 1_000:
            self._once.append(publication)

    def backlog(self) -> int:
        return sum(lane.owed for lane in self._lanes.values())

    def in_flight(self) -> int:
        return len(self._in_flight)

    def unacknowledged(self) -> list[InFlight]:
        """What is in flight, in the order of hand-over."""
        return list(self._in_flight.values())

    def oldest(self) -> float | None:
        """Monotonic second when the oldest unacknowledged message was handed over."""
        first = next(iter(self._in_flight.values()), None)
        return first.handed_at if first else None

    def room(self) -> bool:
        window = min(self._window, CATCHING_UP) if self.backlog() > MANY else self._window
        return len(self._in_flight) < window

    def idle(self) -> bool:
        """Whether a replay may go: most of the window stays free for what is live."""
        return len(self._in_flight) < min(self._window, CATCHING_UP)

    def next_once(self) -> Publication | None:
        return self._once.popleft() if self._once else None

    def state_turn(self) -> bool:
        """Whether a retained topic may go before the next fact."""
        return self._facts_in_a_row >= EVERY

    def next_lane(self, now: float, but: Container[object] = ()) -> tuple[ChannelId, int] | None:
        """(channel, after): whose turn it is, and after which number its next fact comes.

        now: monotonic seconds. but: channels that wait.
        """
        turns = (self.turn_of(at, now) for at in self._lanes if at not in but)
        return next((turn for turn in turns if turn is not None), None)

    def turn_of(self, at: ChannelId, now: float) -> tuple[ChannelId, int] | None:
        """The same for one channel; None if none of its facts may go now."""
        lane = self._lanes[at]
        if lane.held_until is not None:
            if lane.in_flight or now < lane.held_until:
                return None
            lane.held_until, lane.after, lane.more = None, 0, True
            lane.ready.clear()
            self._holds.pop(at, None)
        if (lane.ready or lane.more) and not (lane.probing and lane.in_flight):
            return at, lane.after
        return None

    def has_lane(self, at: ChannelId) -> bool:
        """Whether something of this channel is owed."""
        return at in self._lanes

    def next_due(self, but: Container[object] = ()) -> float:
        """Monotonic second when a channel that was held back may go on. but: channels that wait for something else."""
        return min((self.free_at(at) for at in self._lanes if at not in but), default=float("inf"))

    def free_at(self, at: ChannelId) -> float:
        """The same for one channel; infinity if it does not wait for time."""
        lane = self._lanes[at]
        return float("inf") if lane.held_until is None or lane.in_flight else lane.held_until

    def hold_back(self, entry: Entry, until: float) -> None:
        """The broker refused this fact: its channel waits, on whatever connection, and begins again with it.

        mosquitto 2.0.11 ends the connection after a PUBACK that refuses.
        """
        lane = self._lanes.setdefault(entry.fact.at, _Lane(0))
        lane.owed += 1  # its acknowledgement was counted, and was none
        lane.held_until = self._holds[entry.fact.at] = max(until, lane.held_until or until)
        lane.probing = True
        lane.ready.clear()

    def taken(self, at: ChannelId) -> None:
        """The broker took a fact of this channel."""
        if at in self._lanes:
            self._lanes[at].probing = False

    def begin_again(self, owed: dict[ChannelId, int], now: float) -> None:
        """The journal owes what nobody knew of: these channels begin anew once nothing of them is in flight."""
        if not self._connection:
            return
        for at, count in owed.items():
            lane = self._lanes.setdefault(at, _Lane(0))
            lane.owed = count
            lane.held_until = max(now, lane.held_until or now)
            lane.ready.clear()

    def next_ready(self, at: ChannelId) -> Entry | None:
        """A fact that was read from the journal before and waits to go."""
        lane = self._lanes[at]
        return lane.ready[0] if lane.ready else None

    def filled(self, at: ChannelId, entries: list[Entry]) -> None:
        """What the journal owes for this channel after the number last asked for; less than CHUNK: nothing more."""
        lane = self._lanes[at]
        lane.ready.extend(entries)
        if entries:
            lane.after = entries[-1].n
        if len(entries) < CHUNK:
            lane.more, lane.owed = False, lane.in_flight + len(lane.ready)
            self._drop_if_done(at, lane)

    def told_before(self, entry: Entry) -> bool:
        """Whether this process handed it over already, on whatever connection."""
        return entry.n <= self._told.get(entry.fact.at, 0)

    # --- hand-over and acknowledgement --------------------------------------------------------------

    def handed(self, what: InFlight) -> int:
        """Note that it goes now. Returns its token."""
        self._token += 1
        self._in_flight[self._token] = what
        if what.entry is not None:
            lane = self._lanes[what.entry.fact.at]
            lane.ready.popleft()
            lane.in_flight += 1
            self._told[what.entry.fact.at] = max(what.entry.n, self._told.get(what.entry.fact.at, 0))
            self._lanes.move_to_end(what.entry.fact.at)
            self._facts_in_a_row += 1
        elif what.slot is not None:
            self._facts_in_a_row = 0
        return self._token

    def acknowledged(self, connection: int, token: int) -> InFlight | None:
        """What the broker acknowledged; None for an old connection."""
        if connection != self._connection:
            return None
        what = self._in_flight.pop(token, None)
        if what is not None and what.entry is not None:
            lane = self._lanes.get(what.entry.fact.at)
            if lane is not None:
                lane.owed, lane.in_flight = max(0, lane.owed - 1), lane.in_flight - 1
                self._drop_if_done(what.entry.fact.at, lane)
        return what

    def _drop_if_done(self, at: ChannelId, lane: _Lane) -> None:
        if not (lane.in_flight or lane.ready or lane.more or lane.held_until is not None):
            del self._lanes[at]

    def too_large(self, entry: Entry) -> bool:
        """A broker refused this one for its size. True after the third time: it is to be left, the rest flows."""
        tries = self._too_large.get(entry.n, 0) + 1
        self._too_large[entry.n] = tries
        if tries < TOO_LARGE_TRIES:
            return False
        del self._too_large[entry.n]
        return True
