"""What the feed wants to know from the MT1 server's history, and what came of it (MT1-API, section 6)."""

from dataclasses import dataclass
from enum import StrEnum

from mt1bridge.model.trigger import ChannelId, Seen, Sighting


@dataclass(frozen=True, slots=True)
class CountWanted:
    at: ChannelId


@dataclass(frozen=True, slots=True)
class PageWanted:
    """One page, newest first. from_ms, to_ms: UTC ms, None: no bound."""

    at: ChannelId
    scan: int
    from_ms: int | None
    to_ms: int | None
    offset: int
    limit: int


Wanted = CountWanted | PageWanted


class Failure(StrEnum):
    REFUSED = "refused"  # this device is refused for this account (-2011 or another status)
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Counted:
    at: ChannelId
    value: int


@dataclass(frozen=True, slots=True)
class PageRead:
    """rows: as the server listed them, newest first. asked_ms: UTC ms when the page was asked for."""

    wanted: PageWanted
    rows: tuple[Seen, ...]
    asked_ms: int


@dataclass(frozen=True, slots=True)
class WantFailed:
    wanted: Wanted
    failure: Failure
    text: str


@dataclass(frozen=True, slots=True)
class StagedTrigger:
    """All rows that one scan found under one identity, in the order of the listing."""

    timestamp: int
    rows: tuple[Sighting, ...]


Found = Counted | PageRead | WantFailed
