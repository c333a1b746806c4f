"""Replays that were asked for: which facts they take, and how they are answered. Pure (CONTRACT, section 6)."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mt1bridge.model.broker import Publication
from mt1bridge.model.fact import Entry
from mt1bridge.model.trigger import TICKS_PER_MS
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import JSON_TYPE, to_json

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """Which facts. since, until: 100 ns units since 1970, inclusive. None: whatever."""

    since: int | None = None
    until: int | None = None
    from_sequence: int | None = None
    to_sequence: int | None = None
    topic: str | None = None
    journal: str | None = None
    device: str | None = None
    channel: str | None = None
    start_number: int | None = None

    def takes(self, entry: Entry, names: Names) -> bool:
        fact = entry.fact
        ticks = fact.timestamp if fact.timestamp is not None else fact.received_ms * TICKS_PER_MS
        return (
            (self.since is None or ticks >= self.since)
            and (self.until is None or ticks <= self.until)
            and (self.from_sequence is None or entry.sequence >= self.from_sequence)
            and (self.to_sequence is None or entry.sequence <= self.to_sequence)
            and (self.journal is None or entry.journal == self.journal)
            and (self.device is None or fact.at.device == self.device)
            and (self.channel is None or fact.at.channel == self.channel)
            and (self.start_number is None or fact.reading.start_number == self.start_number)
            and (self.topic is None or names.fact(fact.at, fact.kind) == self.topic)
        )


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where an answer goes. topic: the response topic, ours or the one that an MQTT 5 request named."""

    topic: str
    transaction: str
    correlation: bytes | None = None

    def publication(self, status: str, body: Mapping[str, object]) -> Publication:
        payload = to_json({"transaction": self.transaction, "status": status, **body})
        return Publication(self.topic, payload, content_type=JSON_TYPE, correlation=self.correlation)


@dataclass(slots=True)
class Replay:
    """One replay under way. after: the last fact looked at; at_most: the last one that was there when it was asked."""

    wish: Wish
    names: Names
    reply_to: ReplyTo
    at_most: int
    after: int = 0
    told: int = 0
    exhausted: bool = False
    _ready: deque[Entry] = field(default_factory=deque)

    @property
    def transaction(self) -> str:
        return self.reply_to.transaction

    def take(self, entries: Iterable[Entry]) -> None:
        """The next stretch of the journal, in order; nothing: it is read to the end."""
        looked = list(entries)
        self.exhausted = not looked
        if looked:
            self.after = looked[-1].n
            self._ready.extend(entry for entry in looked if self.wish.takes(entry, self.names))

    def next(self) -> Entry | None:
        if not self._ready:
            return None
        self.told += 1
        return self._ready.popleft()

    def answer(self, body: Mapping[str, object]) -> Publication:
        return self.reply_to.publication("ok", body)


class Replays:
    """In the order of asking, one at a time."""

    def __init__(self) -> None:
        self._replays: deque[Replay] = deque()

    def add(self, replay: Replay) -> bool:
        """False if too many wait already."""
        if len(self._replays) >= AT_ONCE:
            return False
        self._replays.append(replay)
        return True

    def first(self) -> Replay | None:
        return self._replays[0] if self._replays else None

    def done(self) -> None:
        self._replays.popleft()

    def clear(self) -> None:
        self._replays.clear()
