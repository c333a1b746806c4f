"""Who a trigger is, and what the MT1 server says of it (MT1-API, sections 9 and 10)."""

from dataclasses import dataclass
from enum import StrEnum

CHANNELS = tuple(f"C{number}" for number in range(9))
TICKS_PER_MS = 10_000  # the server's timestamps are 100 ns units
LAST_TICK = 2_534_023_007_999_999_999  # 9999-12-31T23:59:59.9999999Z


@dataclass(frozen=True, slots=True, order=True)
class ChannelId:
    """One timing channel of one device: digits, and C0..C8 as the server writes it."""

    device: str
    channel: str

    def __str__(self) -> str:
        return f"{self.device}-{self.channel}"


@dataclass(frozen=True, slots=True, order=True)
class TriggerId:
    """The server's own identity of a trigger: device, channel and timestamp (MT1-API, section 10).

    timestamp: 100 ns units since 1970 UTC; above 2**53, so int only, never float.
    """

    device: str
    channel: str
    timestamp: int

    @property
    def at(self) -> ChannelId:
        return ChannelId(self.device, self.channel)

    def __str__(self) -> str:
        return f"{self.device}-{self.channel}-{self.timestamp}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server says of a trigger at one moment; None where it leaves something out.

    time_offset: minutes to add to UTC for the device's wall clock (MT1-API, section 9).
    """

    start_number: int | None
    start_number_type: str | None
    valid: bool | None
    blocked: bool | None
    falling_edge: bool | None
    time_offset: int = 0


class Change(StrEnum):
    """What a sighting does to its trigger."""

    SET = "set"  # a StartNumberTrigger, new or edited
    CLEAR = "clear"  # a ClearTrigger: the user deleted the entry on the device
    DELETE = "delete"  # ENTITY_DELETE: the entry was removed on the server
    UNKNOWN = "unknown"  # a trigger type that we do not know: told, never acted on


@dataclass(frozen=True, slots=True)
class Sighting:
    """One trigger as the server showed it once, by push or in history.

    raw: the server's JSON of the DTO, compact with sorted keys; kept where change is UNKNOWN, else "".
    """

    id: TriggerId
    change: Change
    reading: Reading
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that arrived where a trigger was expected and is none.

    channel: where it belongs, if device and channel can be read. raw: at most 2 KiB of the text.
    reason: a few words that say what is wrong with it.
    """

    channel: ChannelId | None
    raw: str
    reason: str


Seen = Sighting | Malformed
