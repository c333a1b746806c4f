"""What is told of a trigger on MQTT: CONTRACT, sections 2 and 3."""

from dataclasses import dataclass
from enum import StrEnum

from mt1bridge.model.trigger import ChannelId, Reading


class Kind(StrEnum):
    """Which of the three topics of a channel a fact goes to; the value is the topic's last level."""

    TRIGGER = "trigger"
    CORRECTION = "correction"
    REJECTED = "rejected"


class Source(StrEnum):
    PUSH = "push"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Previous:
    """The state that was told before a correction."""

    reading: Reading
    in_effect: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """One message of a channel, but for what is known at hand-over only (sequence, late or not).

    id: as in the contract; for what is malformed the channel and a digest of the text.
    timestamp: 100 ns units since 1970 UTC, None where malformed.
    event_type: `trigger`, `rejected`, or the correction's name.
    change: on `rejected`, what happened if it was no plain impulse (`cleared`, `deleted`), else "".
    late_at_birth: an impulse that was already too old to act on when we learned of it.
    """

    id: str
    at: ChannelId
    timestamp: int | None
    kind: Kind
    event_type: str
    revision: int
    reading: Reading
    in_effect: bool
    source: Source
    received_ms: int
    device_name: str | None = None
    channel_name: str | None = None
    previous: Previous | None = None
    reasons: tuple[str, ...] = ()
    raw: str | None = None
    change: str = ""
    late_at_birth: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact as it stands in the journal. n: order of learning. sequence: within `journal` and the fact's topic."""

    n: int
    sequence: int
    journal: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class InEffect:
    """A trigger in effect, for `last` and `recent`: its first message, and its state now."""

    first: Entry
    reading: Reading
    revision: int
