"""What reconciling tells the others to do. Pure values."""

from dataclasses import dataclass

from mt1bridge.model.known import ChannelMemory
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import ChannelId, Seen, Sighting


@dataclass(frozen=True, slots=True)
class Stage:
    """Keep these rows of a scan until it is complete."""

    scan: int
    rows: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Odd:
    """Rows of a page that cannot be staged: malformed or of an unknown type."""

    at: ChannelId
    rows: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class CompareNext:
    """Hand in the next staged identities above `after` (100 ns units), oldest first, with what is known of them.

    absent_from, absent_to: where, in 100 ns units, what is in effect in the journal and not staged is wanted too.
    """

    scan: int
    at: ChannelId
    after: int
    absent_from: int
    absent_to: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The scan is over; drop what was staged."""

    scan: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Write this down. durable: in a way that survives a power cut."""

    memory: ChannelMemory
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """Looked at, nothing worth writing down: only `tally` has a newer time."""

    at: ChannelId


@dataclass(frozen=True, slots=True)
class DeviceRefused:
    device: str
    text: str


@dataclass(frozen=True, slots=True)
class DeviceAccepted:
    device: str


Outcome = (
    Stage
    | Odd
    | CompareNext
    | Forget
    | Remember
    | Checked
    | DeviceRefused
    | DeviceAccepted
    | AlertRaised
    | AlertOver
    | Note
)
