"""What all the rows that history lists under one identity add up to. Pure (MT1-API, section 10, U14 to U17)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting

NO_ROWS = "-"
CONTRADICTED = "?"  # push changed what the rows last read added up to: the next read is compared even if it is the same


def digest_of(rows: Sequence[Sighting]) -> str:
    """A short digest of what rows say, whatever their order; "-" for no rows at all."""
    if not rows:
        return NO_ROWS
    text = "\n".join(sorted(f"{row.change} {row.reading}" for row in rows))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def starts_of(rows: Iterable[Sighting]) -> Counter[int | None]:
    """How often each number is listed as a start."""
    return Counter(row.reading.start_number for row in rows if row.change is Change.SET)


def still_deleted(before: Known, starts: Counter[int | None]) -> tuple[int | None, ...]:
    """Of what push deleted: whose row is listed still. A server that removes rows lists fewer than were seen (U15)."""
    gone = Counter(dict(before.starts)) - starts
    kept = []
    for number in before.deleted:
        if gone[number]:
            gone[number] -= 1
        else:
            kept.append(number)
    return tuple(kept) if starts else ()


def not_pushed(before: Known, starts: Counter[int | None]) -> tuple[tuple[int | None, int], ...]:
    """How many of the listed starts push has not brought yet: it may, late."""
    earlier = Counter(dict(before.unpushed)) + (starts - Counter(dict(before.starts)))
    return counts_of(earlier & starts)


def counts_of(counter: Counter[int | None]) -> tuple[tuple[int | None, int], ...]:
    return tuple(sorted(((number, count) for number, count in counter.items() if count > 0), key=repr))


def standing(rows: Sequence[Sighting], before: Known) -> Reading | None:
    """Which row is in effect; rows: newest first.

    A number listed more often than it was ever seen is news. A number that push cleared and that is not listed more
    often is stale, and so is what is listed as older: history that still lists what a push cleared or deleted does not
    restore it. Where history shows the clears too, nothing is stale. Otherwise what is known stays, if it is still
    listed and was not brought by a push that may have been late; what is listed as older than it is no news.
    """
    starts, seen = starts_of(rows), Counter(dict(before.starts))
    remaining = _remaining(rows, still_deleted(before, starts))

    def is_news(row: Reading) -> bool:
        return starts[row.start_number] > seen[row.start_number]

    known = _known_to_stand(before)
    if known is not None:
        newer = list(takewhile(lambda row: row.start_number != known.start_number, remaining))
        if len(newer) < len(remaining) and not any(map(is_news, newer)):
            return remaining[len(newer)]
    if before.cleared and not _shows_clears(rows, starts, before):
        remaining = list(takewhile(lambda row: is_news(row) or row.start_number not in before.cleared, remaining))
    return next(filter(is_news, remaining), remaining[0] if remaining else None)


def _known_to_stand(before: Known) -> Reading | None:
    return before.reading if before.in_effect and not before.doubtful else None


def _remaining(rows: Sequence[Sighting], deleted: Iterable[int | None]) -> list[Reading]:
    """The rows that neither a ClearTrigger nor a deletion cancels, newest first; each cancels one with its number.

    A ClearTrigger without a number means any start, but where others name theirs: there it means one without.
    """
    starts = [row.reading for row in reversed(rows) if row.change is Change.SET]  # oldest first
    cleared = [row.reading.start_number for row in rows if row.change is Change.CLEAR]
    are_named = any(number is not None for number in cleared)
    for number in cleared:
        candidates = starts if number is None and not are_named else [s for s in starts if s.start_number == number]
        if not candidates:
            candidates = [s for s in starts if s.start_number is None]
        if candidates:
            starts.remove(candidates[0])
    for number in deleted:
        found = next((s for s in starts if s.start_number == number), None)
        if found is not None:
            starts.remove(found)
    return starts[::-1]


def _shows_clears(rows: Sequence[Sighting], starts: Counter[int | None], before: Known) -> bool:
    """Whether this history shows what is cleared: it lists the clears, or not any more what was there (U14)."""
    known = _known_to_stand(before)
    return (
        any(row.change is Change.CLEAR for row in rows)
        or not starts[before.cleared[-1]]
        or (known is not None and not starts[known.start_number])
    )
