"""What a sighting means, given what is known of its trigger. Pure.

Push is applied in the order of arrival. History is compared by the state that all its rows under one identity add
up to. Both give the new `Known` and, where something changed, the message to tell (CONTRACT, section 3; MT1-API,
section 10 and unknowns U14 to U17).
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from mt1bridge.model.fact import Fact, Kind, Previous, Source
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting, TriggerId

NO_ROWS = "-"
CONTRADICTED = "?"  # push changed what the rows last read added up to: the next read is compared even if it is the same


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a sighting. known: None if it is unchanged. fact: None if there is nothing to tell."""

    known: Known | None = None
    fact: Fact | None = None


def why_unusable(reading: Reading, edges: Collection[str]) -> tuple[str, ...]:
    """Reasons for the `rejected` topic; empty for a usable impulse. A flag left out is no reason."""
    reasons = []
    if reading.valid is False:
        reasons.append("invalid")
    if reading.blocked is True:
        reasons.append("blocked")
    if reading.falling_edge is not None and ("falling" if reading.falling_edge else "rising") not in edges:
        reasons.append("edge")
    return tuple(reasons)


class Corrections:
    """Judges sightings. edges: those of `mt1.edges`."""

    def __init__(self, edges: Collection[str]) -> None:
        self._edges = edges

    # --- push ---------------------------------------------------------------------------------------

    def pushed(self, seen: Sighting, known: Known | None, received_ms: int) -> Verdict:
        """Apply one pushed SET, CLEAR or DELETE."""
        before = known or Known(seen.id)
        if seen.change is Change.SET:
            return self._pushed_start(seen, before, received_ms)
        return self._pushed_end(seen, before, received_ms)

    def _pushed_start(self, seen: Sighting, before: Known, received_ms: int) -> Verdict:
        reading = seen.reading
        if before.in_effect and before.reading == reading:
            return Verdict()
        number = reading.start_number
        renumbered = before.in_effect and before.reading is not None and before.reading.start_number != number
        again = not before.in_effect or renumbered
        after = replace(
            before,
            starts=_one_more(before.starts, number) if again else before.starts,
            cleared=_without(_with(before.cleared, _number_of(before)) if renumbered else before.cleared, number),
            clear_due=renumbered or (before.in_effect and before.clear_due),
            changed_ms=received_ms,
            rows=_contradicted(before),
        )
        return self._now_in_effect(before, after, reading, Source.PUSH, received_ms)

    def _pushed_end(self, seen: Sighting, before: Known, received_ms: int) -> Verdict:
        number = seen.reading.start_number
        deleted = seen.change is Change.DELETE
        event_type = "deleted" if deleted else "cleared"
        after = replace(
            before,
            clear_due=False,
            changed_ms=received_ms,
            deleted=before.deleted or deleted,
            rows=_contradicted(before),
        )
        if before.reading is None:
            after = replace(after, **_ended(before, number))
            return self._now_gone(before, after, seen.reading, event_type, Source.PUSH, received_ms)
        in_effect = before.reading.start_number if before.in_effect else None
        if number is None and not deleted and (before.clear_due or not before.in_effect):
            return Verdict(known=replace(before, clear_due=False) if before.clear_due else None)
        if not before.in_effect or (number is not None and number != in_effect):
            after = replace(after, changed_ms=before.changed_ms, **_ended(before, number))
            return Verdict(known=after if after != before else None)
        after = replace(after, **_ended(before, in_effect))
        return self._now_gone(before, after, before.reading, event_type, Source.PUSH, received_ms)

    # --- history ------------------------------------------------------------------------------------

    def listed(self, rows: Sequence[Sighting], known: Known | None, trigger: TriggerId, received_ms: int) -> Verdict:
        """Compare with all rows that history lists under one identity, newest first. rows are SET and CLEAR only.

        No rows: history lists it no more; the caller has made sure that this is no accident.
        """
        before = known or Known(trigger)
        digest = digest_of(rows)
        if digest == before.rows:
            return Verdict()
        starts = Counter(row.reading.start_number for row in rows if row.change is Change.SET)
        seen_before = Counter(dict(before.starts))
        after = replace(
            before,
            rows=digest,
            row_count=len(rows),
            starts=tuple(sorted(starts.items(), key=repr)),
            deleted=before.deleted and bool(rows),
        )
        if not rows:
            if not before.in_effect or before.reading is None:
                return Verdict(known=after)
            return self._now_gone(before, after, before.reading, "deleted", Source.HISTORY, received_ms)
        accounted = not before.deleted and (not before.cleared or _shows_clears(rows, starts, before))
        chosen = _choose(_remaining(rows), before, starts, seen_before, accounted)
        if chosen is None:
            return self._history_says_gone(rows, before, after, received_ms)
        if before.in_effect and before.reading == chosen:
            return Verdict(known=after)
        cleared = before.cleared
        if before.in_effect and before.reading is not None:
            cleared = _with(cleared, before.reading.start_number)  # replaced, as by push
        after = replace(after, cleared=_without(cleared, chosen.start_number), clear_due=False)
        return self._now_in_effect(before, after, chosen, Source.HISTORY, received_ms)

    def _history_says_gone(self, rows: Sequence[Sighting], before: Known, after: Known, received_ms: int) -> Verdict:
        if before.in_effect and before.reading is not None:
            return self._now_gone(before, after, before.reading, "cleared", Source.HISTORY, received_ms)
        if before.reading is not None:
            return Verdict(known=after)
        return self._now_gone(before, after, rows[0].reading, "cleared", Source.HISTORY, received_ms)

    # --- two journals -------------------------------------------------------------------------------

    def retold(self, before: Known, now: Known, received_ms: int) -> Verdict:
        """What the broker gets last is `before`, told late out of an older journal: say again how it is `now`."""
        if before.reading == now.reading and before.in_effect == now.in_effect:
            return Verdict()
        reading = now.reading
        assert reading is not None  # it was told
        after = replace(now, revision=now.revision + 1, usable=now.usable or before.usable)
        if not after.usable:
            reasons = why_unusable(reading, self._edges)
            return _told(before, after, Kind.REJECTED, "rejected", Source.HISTORY, received_ms, reasons)
        event_type = "cleared" if not now.in_effect else "changed"
        if now.in_effect and before.reading is not None:
            event_type = _what_changed(before, reading)
        return _told(before, after, Kind.CORRECTION, event_type, Source.HISTORY, received_ms)

    # --- what is told -------------------------------------------------------------------------------

    def _now_in_effect(
        self, before: Known, after: Known, reading: Reading, source: Source, received_ms: int
    ) -> Verdict:
        after = replace(after, reading=reading, in_effect=True, revision=before.revision + 1)
        reasons = why_unusable(reading, self._edges)
        if before.usable:
            return _told(before, after, Kind.CORRECTION, _what_changed(before, reading), source, received_ms)
        if reasons:
            return _told(before, after, Kind.REJECTED, "rejected", source, received_ms, reasons)
        return _told(before, replace(after, usable=True), Kind.TRIGGER, "trigger", source, received_ms)

    def _now_gone(
        self, before: Known, after: Known, reading: Reading, event_type: str, source: Source, received_ms: int
    ) -> Verdict:
        after = replace(after, reading=reading, in_effect=False, revision=before.revision + 1)
        if before.usable or before.revision == 0 or before.reading is None:
            return _told(before, after, Kind.CORRECTION, event_type, source, received_ms)
        reasons = why_unusable(reading, self._edges)
        return _told(before, after, Kind.REJECTED, "rejected", source, received_ms, reasons, change=event_type)


def digest_of(rows: Sequence[Sighting]) -> str:
    """A short digest of what rows say, whatever their order; "-" for no rows at all."""
    if not rows:
        return NO_ROWS
    text = "\n".join(sorted(f"{row.change} {row.reading}" for row in rows))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _told(
    before: Known,
    after: Known,
    kind: Kind,
    event_type: str,
    source: Source,
    received_ms: int,
    reasons: tuple[str, ...] = (),
    change: str = "",
) -> Verdict:
    assert after.reading is not None  # every caller has set it
    previous = None
    if kind is Kind.CORRECTION and before.usable and before.reading is not None:
        previous = Previous(before.reading, before.in_effect)
    fact = Fact(
        id=str(after.id),
        at=after.id.at,
        timestamp=after.id.timestamp,
        kind=kind,
        event_type=event_type,
        revision=after.revision,
        reading=after.reading,
        in_effect=after.in_effect,
        source=source,
        received_ms=received_ms,
        previous=previous,
        reasons=reasons,
        change=change,
    )
    return Verdict(after, fact)


def _what_changed(before: Known, reading: Reading) -> str:
    assert before.reading is not None  # a usable trigger has a reading
    if before.reading.start_number != reading.start_number:
        return "renumbered"
    return "changed" if before.in_effect else "restored"


def _one_more(starts: tuple[tuple[int | None, int], ...], number: int | None) -> tuple[tuple[int | None, int], ...]:
    counts = Counter(dict(starts))
    counts[number] += 1
    return tuple(sorted(counts.items(), key=repr))


def _ended(before: Known, number: int | None) -> dict[str, Any]:
    """What push has said by a clear or deletion of this number: it is gone, and it was there."""
    starts = before.starts if dict(before.starts).get(number) else _one_more(before.starts, number)
    return {"starts": starts, "cleared": _with(before.cleared, number)}


def _number_of(known: Known) -> int | None:
    return known.reading.start_number if known.reading is not None else None


def _with(cleared: tuple[int | None, ...], number: int | None) -> tuple[int | None, ...]:
    return cleared if number in cleared else (*cleared, number)


def _without(cleared: tuple[int | None, ...], number: int | None) -> tuple[int | None, ...]:
    return tuple(other for other in cleared if other != number)


def _contradicted(before: Known) -> str:
    return before.rows if before.rows in ("", NO_ROWS) else CONTRADICTED


def _remaining(rows: Sequence[Sighting]) -> list[Reading]:
    """The rows that no ClearTrigger cancels, newest first; each cancels one row with its number.

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
    return starts[::-1]


def _shows_clears(rows: Sequence[Sighting], starts: Counter[int | None], before: Known) -> bool:
    """Whether this history shows what is cleared: it lists the clears, or not any more what was there (U14)."""
    clears_listed = any(row.change is Change.CLEAR for row in rows)
    return clears_listed or any(not starts[number] for number, _ in before.starts)


def _choose(
    remaining: Sequence[Reading],
    before: Known,
    starts: Counter[int | None],
    seen_before: Counter[int | None],
    accounted: bool,
) -> Reading | None:
    """Which of the remaining rows is in effect.

    A number listed more often than it was ever seen is news. A number that push cleared and that is not listed more
    often is stale, and so is what is listed as older: history that still lists what a push cleared or deleted does not
    restore it. Where history shows the clears too (accounted), nothing is stale. Otherwise what is known stays, if it
    is still listed; what is listed as older than it is no news.
    """

    def is_news(row: Reading) -> bool:
        return starts[row.start_number] > seen_before[row.start_number]

    if not accounted:
        remaining = list(takewhile(lambda row: is_news(row) or row.start_number not in before.cleared, remaining))
    news = [row for row in remaining if is_news(row)]
    numbers = [row.start_number for row in remaining]
    if before.in_effect and _number_of(before) in numbers:
        same = numbers.index(_number_of(before))
        if not any(row in news for row in remaining[:same]):
            return remaining[same]
    if news:
        return news[0]
    if before.in_effect and before.reading is not None:
        kept = [row for row in remaining if row.start_number == before.reading.start_number]
        if kept:
            return kept[0]
    return remaining[0] if remaining else None
