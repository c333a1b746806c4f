"""Walking through one channel's history, page by page, newest first. Pure (MT1-API, section 6, U12, U13)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from mt1bridge.model.history import PageRead, PageWanted
from mt1bridge.model.trigger import ChannelId, Seen

PAGE = 200  # rows asked for at a time: known to work (MT1-API, section 6)
OVERLAP = 4  # rows asked for twice at a page border, so that a shift of the listing shows
MARGIN_MS = 1_000  # bounds may be inclusive or exclusive (U13)
AHEAD_MS = 86_400_000  # a device's clock may run ahead (U13)
RESTARTS = 2


class Reach(IntEnum):
    """How far back a scan reads."""

    NARROW = 0  # since the last look
    WINDOW = 1  # `reconcile.window`, and to where the channel was last proven complete
    ALL = 2  # everything that the server has


@dataclass(slots=True)
class Scan:
    """One walk. from_ms, to_ms: UTC ms or None for no bound. begun_at: monotonic seconds. count: the server's."""

    number: int
    at: ChannelId
    reach: Reach
    from_ms: int | None
    to_ms: int | None
    begun_at: float = 0.0
    count: int | None = None
    asked_ms: int = 0  # UTC ms when its first page was asked for
    offset: int = 0
    rows: int = 0
    pages_done: bool = False
    compared_to: int = -1
    newest: int | None = None
    oldest: int | None = None
    restarts: int = 0
    growth: int = 0  # rows that it showed first
    beside: int = 0  # rows that looks showed first meanwhile, and that this walk does not come to
    missed: set[int] = field(default_factory=set)  # timestamps that should be listed and are not
    again_s: float | None = None  # seconds after which another look is wanted
    _tail: list[Seen] = field(default_factory=list)
    _overlap: int = 0

    def look_again_in(self, seconds: float) -> None:
        self.again_s = seconds if self.again_s is None else min(self.again_s, seconds)

    def wanted(self) -> PageWanted:
        from_ms = None if self.from_ms is None else max(0, self.from_ms - MARGIN_MS)
        return PageWanted(self.at, self.number, from_ms, self.to_ms, self.offset, PAGE)

    def take(self, page: PageRead, largest_page: int) -> Sequence[Seen]:
        """Rows of the page that were not in the one before; moves on to the next page or ends the walk.

        largest_page: the most rows that the server ever put into one page; a shorter page than that cannot be cut
        short by a limit of the server's, so it is the last.
        """
        rows = page.rows
        repeated = _repeated(self._tail, rows)
        new = rows[repeated:]
        if rows and not repeated:
            new = tuple(row for row in rows if row not in self._tail)
            if (self._overlap or len(new) < len(rows)) and self.restarts < RESTARTS:
                self._start_over()
                return ()
        self.rows += len(new)
        if len(rows) <= self._overlap or (len(rows) < PAGE and len(rows) < largest_page):
            self.pages_done = True
            return new
        self._overlap = min(OVERLAP, len(rows) - 1)
        self.offset += len(rows) - self._overlap
        self._tail = [*self._tail, *new][-PAGE:]
        return new

    def _start_over(self) -> None:
        """The listing shifted by more than the overlap: only a fresh walk is sure to see every row."""
        self.restarts += 1
        self.offset = self.rows = self.beside = self._overlap = 0
        self._tail.clear()


def _repeated(tail: list[Seen], rows: Sequence[Seen]) -> int:
    """How many rows at the head of a page were read before; all, if the listing shifted by more than it advanced."""
    page = list(rows)
    for start in range(len(tail)):
        again = tail[start : start + len(page)]
        if again == page[: len(again)]:
            return len(again)
    return 0
