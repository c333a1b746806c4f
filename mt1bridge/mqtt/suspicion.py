"""Which message, if any, makes the broker close the connection. Pure.

MQTT 3.1.1 has no word for "too large", and not every broker says it in MQTT 5: it closes, and closes again when the
message comes again. But connections break for other reasons too, and a fact that is given up is a lost trigger. So
whatever was the oldest in flight at two losses in a row is only doubted: its channel or topic waits until all else is
through, then it goes alone, right after the broker has acknowledged something else. It is proven too large when
that ended the connection three times, each time at once and on a connection that had stood for a while, and when the
broker took nothing as large meanwhile. Any loss that it cannot have caused, and every proof is void.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mt1bridge.model.broker import BrokerLost, BrokerTrouble, Publication
from mt1bridge.model.trigger import ChannelId
from mt1bridge.mqtt import reasons
from mt1bridge.mqtt.handover import InFlight

PROOFS = 3
PROMPT_S = 3.0  # a broker that does not like a message closes within
CALM_S = 5.0  # a connection that has stood for so long does not break all the time
FRESH_S = 1.0  # what was acknowledged so lately shows that the connection lives
PATIENCE_S = 10.0  # what is doubted waits no longer for all else
AGAIN_S = 30.0  # a trial does not wait longer for a calm connection: the way may break all the time
EAGER = 6  # trials before they become seldom
SELDOM_S = 60.0
CAREFUL_AFTER = 3  # losses in a row that nothing explains
CAREFUL_S = 30.0
LIMIT_HOLDS_S = 3600.0  # then it is tried again: the broker may have been given another limit

Place = ChannelId | str  # a channel, or a retained topic's slot
NEVER = float("inf")
NOT_THE_MESSAGE = {BrokerTrouble.STOPPED, BrokerTrouble.TAKEN_OVER}


def size_of(message: Publication, mqtt5: bool) -> int:
    """Bytes of a PUBLISH but for its fixed header and what is the same in every one."""
    size = len(message.topic.encode(errors="replace")) + len(message.payload)
    if not mqtt5:
        return size
    size += sum(5 + len(name.encode()) + len(value.encode()) for name, value in message.properties)
    size += 3 + len(message.content_type.encode()) if message.content_type is not None else 0
    size += 3 + len(message.correlation) if message.correlation is not None else 0
    return size + (5 if message.expiry_s is not None else 0)


@dataclass(slots=True)
class _Doubt:
    """message: a fact's number or a topic. trials: how often it was alone in flight and lost; proofs: of them."""

    message: int | str
    trials: int = 0
    proofs: int = 0
    tried_at: float = 0.0
    not_before: float = 0.0
    under_way: bool = False


class Suspicion:
    """Times: seconds, monotonic. Sizes: bytes, as `size_of` has them. It lasts over all connections to one broker.

    careful: the connection broke again and again and nobody knows by what: one message at a time shows it.
    """

    def __init__(self) -> None:
        self._doubts: dict[Place, _Doubt] = {}
        self._mqtt5 = True
        self.careful = False
        self._oldest: int | str | None = None  # in flight when the connection was lost the last time
        self._losses = 0  # in a row
        self._since = 0.0
        self._heard_at = -NEVER
        self._largest = 0  # taken since something is doubted
        self._limit: int | None = None  # what is as large is too large
        self._limit_until = 0.0
        self._trial_until: float | None = None

    # --- what happens ---------------------------------------------------------------------------------

    def opened(self, now: float, mqtt5: bool) -> None:
        """Publishing may begin on a connection."""
        self._mqtt5 = mqtt5
        self._since, self._heard_at, self._trial_until = now, -NEVER, None
        for doubt in self._doubts.values():
            doubt.under_way = False

    def acknowledged(self, what: InFlight, accepted: bool, now: float) -> None:
        """A PUBACK, whatever it says, is no end of the connection."""
        self._heard_at = now
        if accepted:
            self._largest = max(self._largest, what.size)
            if self._limit is not None and what.size >= self._limit:
                self._limit = None
        if what.message == self._oldest:
            self._oldest = None
        doubt = self._doubts.get(what.place) if what.place is not None else None
        if what.place is not None and doubt is not None and doubt.message == what.message:
            self.void(what.place)
        if self.careful and now - self._since >= CAREFUL_S:
            self.careful, self._losses = False, 0

    def lost(self, in_flight: Sequence[InFlight], event: BrokerLost, now: float) -> InFlight | None:
        """The connection is gone; in_flight: in the order of hand-over.

        Returns the message that is proven too large, and is not to be sent again.
        """
        self._trial_until = None
        if event.trouble in NOT_THE_MESSAGE:
            return None
        if event.reason == reasons.PACKET_TOO_LARGE:
            return self._told_so(in_flight, now)
        lasting = [what for what in in_flight if what.place is not None]
        if not lasting and in_flight:
            return None  # it is not sent again
        alone = bool(lasting) and all(what.place == lasting[0].place for what in in_flight)
        if alone and (lasting[0].place in self._doubts or self.careful):
            return self._lost_alone(lasting[0], event, now)
        for doubt in self._doubts.values():
            doubt.proofs = 0
        if lasting:
            self._lost_among_others(lasting[0], now)
        return None

    def _lost_among_others(self, oldest: InFlight, now: float) -> None:
        self._losses = self._losses + 1 if now - self._since < CAREFUL_S else 1
        self.careful = self.careful or self._losses >= CAREFUL_AFTER
        if oldest.message == self._oldest:
            self.doubt(oldest)
        self._oldest = oldest.message

    def _lost_alone(self, what: InFlight, event: BrokerLost, now: float) -> InFlight | None:
        doubt = self.doubt(what)
        doubt.trials, doubt.tried_at = doubt.trials + 1, now
        if event.trouble is not BrokerTrouble.LOST or now - what.handed_at > PROMPT_S:
            doubt.proofs = 0
            return None
        lived = self._heard_at > self._since and what.handed_at - self._since >= CALM_S
        if lived and what.size > self._largest:
            doubt.proofs += 1
        return self._proven(what, now) if doubt.proofs >= PROOFS else None

    def _told_so(self, in_flight: Sequence[InFlight], now: float) -> InFlight | None:
        """The broker says that something was too large: so is the largest that it may have got."""
        what = max(in_flight, key=lambda one: one.size, default=None)
        if what is None or what.place is None:
            return None
        doubt = self.doubt(what)
        doubt.trials, doubt.tried_at, doubt.proofs = doubt.trials + 1, now, doubt.proofs + 1
        return self._proven(what, now) if what.slot is not None or doubt.proofs >= PROOFS else None

    def _proven(self, what: InFlight, now: float) -> InFlight:
        assert what.place is not None  # what is not sent again is never doubted
        self.void(what.place)
        self._oldest, self._losses = None, 0
        self._limit = what.size if self._limit is None else min(what.size, self._limit)
        self._limit_until = now + LIMIT_HOLDS_S
        return what

    # --- what is doubted ------------------------------------------------------------------------------

    def doubt(self, what: InFlight) -> _Doubt:
        """Its channel or slot waits from now on, and goes alone."""
        assert what.place is not None  # as in _proven
        assert what.message is not None
        doubt = self._doubts.get(what.place)
        if doubt is None or doubt.message != what.message:
            self._largest = self._largest if self._doubts else 0
            doubt = self._doubts[what.place] = _Doubt(what.message)
        return doubt

    def void(self, place: Place) -> None:
        """It was taken, or is not owed any more."""
        self._doubts.pop(place, None)
        self._trial_until = None

    def trials(self, what: InFlight) -> int:
        """How often it was alone in flight when the connection ended."""
        doubt = self._doubts.get(what.place) if what.place is not None else None
        return doubt.trials if doubt is not None and doubt.message == what.message else 0

    @property
    def held(self) -> Collection[Place]:
        """Channels and slots that wait."""
        return self._doubts.keys()

    def size_of(self, message: Publication) -> int:
        """Its size on the present connection."""
        return size_of(message, self._mqtt5)

    def too_large(self, message: Publication) -> bool:
        """Whether something no larger was proven too large."""
        return self._limit is not None and self.size_of(message) >= self._limit

    def doubt_again(self, what: InFlight, now: float) -> bool:
        """False if it was proven a short while ago. Else it is tried once more, and one proof is enough."""
        if now < self._limit_until:
            return False
        self._limit_until = now + LIMIT_HOLDS_S
        doubt = self.doubt(what)
        doubt.trials, doubt.proofs, doubt.tried_at = 2, PROOFS - 1, now
        return True

    # --- trials ---------------------------------------------------------------------------------------

    def next_trial(self, now: float) -> Place | None:
        """What may go alone now; what has waited longest goes first."""
        may = [place for place, doubt in self._doubts.items() if now >= self._free_at(doubt)]
        return min(may, key=lambda place: self._doubts[place].tried_at, default=None)

    def begins(self, place: Place, now: float) -> None:
        """It goes now."""
        self._doubts[place].under_way = True
        self._trial_until = now + PROMPT_S

    def postpone(self, place: Place, until: float) -> None:
        """It may not go yet, for another reason."""
        self._doubts[place].not_before = until

    def on_trial(self, now: float) -> bool:
        """Whether something is alone in flight and to stay so."""
        return self._trial_until is not None and now < self._trial_until

    def presses(self, now: float) -> bool:
        """Whether something has waited long enough: nothing else goes any more until it has gone."""
        return bool(self._doubts) and now >= self._presses_at()

    def lives(self, now: float) -> bool:
        """Whether the broker has acknowledged something a moment ago."""
        return now - self._heard_at <= FRESH_S

    def next_due(self, now: float, idle: bool) -> float:
        """When there is something to do; idle: nothing is in flight."""
        if self.on_trial(now):
            assert self._trial_until is not None  # on_trial has looked
            return self._trial_until
        if idle:
            return min((self._free_at(doubt) for doubt in self._doubts.values()), default=NEVER)
        at = self._presses_at()
        return at if at > now else NEVER  # an acknowledgement comes first

    def _presses_at(self) -> float:
        return min((self._free_at(doubt) for doubt in self._doubts.values()), default=NEVER) + PATIENCE_S

    def _free_at(self, doubt: _Doubt) -> float:
        """The first trial does not wait for a calm connection: most of what is doubted is innocent."""
        if doubt.under_way:
            return NEVER
        if not doubt.trials:
            return max(self._since, doubt.not_before)
        calm_at = self._since + CALM_S
        if doubt.trials < EAGER:
            return max(min(calm_at, doubt.tried_at + AGAIN_S), doubt.not_before)
        return max(doubt.tried_at + SELDOM_S, doubt.not_before)
