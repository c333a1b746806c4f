"""What the journal remembers of one trigger and of one channel."""

from dataclasses import dataclass

from mt1bridge.model.fact import Fact
from mt1bridge.model.trigger import ChannelId, Reading, TriggerId


@dataclass(frozen=True, slots=True)
class Known:
    """All that is remembered of one identity.

    reading, in_effect: its state as last told; reading None: nothing of its state was ever seen.
    revision: how often it was told. usable: it stood on the `trigger` topic.
    starts: (number, how many StartNumberTriggers with it history listed last, and push brought since).
    cleared: numbers that push cleared, deleted or replaced, and that nothing has brought back since.
    clear_due: renumbered by push before the ClearTrigger of the old number came (MT1-API, U17).
    deleted: numbers that push deleted and whose rows history may list still.
    unpushed: (number, how many of the StartNumberTriggers that history listed push has not brought yet).
    doubtful: it is in effect by the push of such a one, which may be older than what history listed with it.
    rows: digest of the history rows that were last compared, "" if never; row_count: how many they were.
    changed_ms: UTC ms when push last changed it; 0 if only history did.
    """

    id: TriggerId
    reading: Reading | None = None
    in_effect: bool = False
    revision: int = 0
    usable: bool = False
    starts: tuple[tuple[int | None, int], ...] = ()
    cleared: tuple[int | None, ...] = ()
    clear_due: bool = False
    rows: str = ""
    row_count: int = 0
    changed_ms: int = 0
    deleted: tuple[int | None, ...] = ()
    unpushed: tuple[tuple[int | None, int], ...] = ()
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Learned:
    """One thing for the journal to write down: a new state, a message to tell, or both.

    oddity: digest of something malformed or of unknown type, so that a repeat is known.
    live: an impulse young enough to act on; it becomes the newest whatever its timestamp says.
    """

    at: ChannelId
    known: Known | None = None
    fact: Fact | None = None
    oddity: str | None = None
    live: bool = False


@dataclass(frozen=True, slots=True)
class ChannelMemory:
    """What is remembered of one channel over restarts.

    cut_ms: what is older and was there when the channel first became ours is not told (`first_start`).
    baselined: everything that was there then is written down.
    base_count: the server's count that the last read explained; None if never asked. server_count: the newest one.
    carry: rows that history showed before the count did. proven_ms: when a full read last left nothing missing.
    missing: what a rise of the count promised and no read showed. complete: as in `tally`.
    checked_ms: when the count was last explained or found unchanged.
    seen: a trigger was seen here, or the channel is configured.
    window_rows: how many rows the last full read brought.
    read_all_ms: when the last read without a time bound ended.
    growth, loss: rows that history showed first, and no more, since `base_count`. pushed_ends: clears and deletions
    pushed since then.
    """

    at: ChannelId
    cut_ms: int
    baselined: bool = False
    base_count: int | None = None
    server_count: int | None = None
    carry: int = 0
    missing: int = 0
    complete: bool | None = None
    checked_ms: int = 0
    proven_ms: int = 0
    read_all_ms: int = 0
    seen: bool = False
    window_rows: int = 0
    growth: int = 0
    loss: int = 0
    pushed_ends: int = 0

    def anew(self) -> "ChannelMemory":
        """What is left of it where the journal is lost: where it begins. Nothing of its history counts as read; an
        alert about what is missing stands until a read explains it."""
        return ChannelMemory(self.at, self.cut_ms, server_count=self.server_count, missing=self.missing, seen=self.seen)


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of the `tally` topic, CONTRACT section 2."""

    at: ChannelId
    published: int
    in_effect: int
