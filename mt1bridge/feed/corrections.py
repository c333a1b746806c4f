"""What a sighting means, given what is known of its trigger. Pure.

Push is applied in the order of arrival. History is compared by the state that all its rows under one identity add
up to. Both give the new `Known` and, where something changed, the message to tell (CONTRACT, section 3; MT1-API,
section 10 and unknowns U14 to U17).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mt1bridge.feed.rows import (
    CONTRADICTED,
    NO_ROWS,
    counts_of,
    digest_of,
    not_pushed,
    standing,
    starts_of,
    still_deleted,
)
from mt1bridge.model.fact import Fact, Kind, Previous, Source
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting, TriggerId


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
        reading, number = seen.reading, seen.reading.start_number
        unpushed = Counter(dict(before.unpushed))
        listed_before = unpushed[number] > 0
        if listed_before:
            unpushed[number] -= 1
            before = replace(before, unpushed=counts_of(unpushed))
        if before.in_effect and before.reading == reading:
            return Verdict(known=before if listed_before else None)
        after = replace(before, changed_ms=received_ms, rows=_contradicted(before), doubtful=listed_before)
        if not listed_before:  # else: history has brought it already, maybe with what came of it
            renumbered = before.in_effect and _number_of(before) != number
            again = not before.in_effect or renumbered
            after = replace(
                after,
                starts=_one_more(before.starts, number) if again else before.starts,
                cleared=_without(_with(before.cleared, _number_of(before)) if renumbered else before.cleared, number),
                clear_due=renumbered or (before.in_effect and before.clear_due),
                unpushed=(),  # all that history has listed is older, and its push would have come before
            )
        return self._now_in_effect(before, after, reading, Source.PUSH, received_ms)

    def _pushed_end(self, seen: Sighting, before: Known, received_ms: int) -> Verdict:
        number = seen.reading.start_number
        deletes = seen.change is Change.DELETE
        event_type = "deleted" if deletes else "cleared"
        ended = _number_of(before) if number is None and before.in_effect else number
        before = replace(before, unpushed=_overtaken(before, ended))
        after = replace(before, clear_due=False, changed_ms=received_ms, rows=_contradicted(before), doubtful=False)
        if before.reading is None:
            after = replace(after, **_ended(before, number, deletes))
            return self._now_gone(before, after, seen.reading, event_type, Source.PUSH, received_ms)
        in_effect = _number_of(before) if before.in_effect else None
        if number is None and not deletes and (before.clear_due or not before.in_effect):
            return Verdict(known=replace(before, clear_due=False) if before.clear_due else None)
        if not before.in_effect or (number is not None and number != in_effect):
            deletes = deletes and number not in before.deleted
            changed_ms = received_ms if deletes else before.changed_ms
            after = replace(after, changed_ms=changed_ms, **_ended(before, number, deletes))
            return Verdict(known=after if after != before else None)
        after = replace(after, **_ended(before, in_effect, deletes))
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
        starts = starts_of(rows)
        after = replace(
            before,
            rows=digest,
            row_count=len(rows),
            starts=counts_of(starts),
            unpushed=not_pushed(before, starts),
            deleted=still_deleted(before, starts),
            doubtful=False,
        )
        if not rows:
            if not before.in_effect or before.reading is None:
                return Verdict(known=after)
            return self._now_gone(before, after, before.reading, "deleted", Source.HISTORY, received_ms)
        chosen = standing(rows, before)
        if chosen is None:
            return self._history_says_gone(rows, before, after, received_ms)
        if before.in_effect and before.reading == chosen:
            return Verdict(known=after)
        replaced = before.in_effect and chosen.start_number != _number_of(before)
        after = replace(after, cleared=_without(before.cleared, chosen.start_number), clear_due=replaced)
        return self._now_in_effect(before, after, chosen, Source.HISTORY, received_ms)

    def _history_says_gone(self, rows: Sequence[Sighting], before: Known, after: Known, received_ms: int) -> Verdict:
        if before.in_effect and before.reading is not None:
            return self._now_gone(before, after, before.reading, "cleared", Source.HISTORY, received_ms)
        if before.reading is not None:
            return Verdict(known=after)
        return self._now_gone(before, after, rows[0].reading, "cleared", Source.HISTORY, received_ms)

    # --- two journals -------------------------------------------------------------------------------

    def retold(self, before: Known, now: Known, now_is_last: bool, received_ms: int) -> Verdict:
        """An older journal tells a story that ends with `before`; meanwhile it was told anew, and ends with `now`.

        now_is_last: the broker gets the latter after the former. Say again how it is, unless that is clear. What `now`
        has of history alone is left to the next read, which is judged by what push had told before. The numbers of both
        stories meet in one journal, so what comes next is above both.
        """
        both = replace(now, revision=max(before.revision, now.revision), usable=before.usable or now.usable)
        same = before.reading == now.reading and before.in_effect == now.in_effect
        last = now if now_is_last else before
        rejected_last = both.usable and not last.usable and last.in_effect
        of_history = not now.changed_ms
        if of_history:
            both = _as_push_told(both, before)
            doubtful = not same and now_is_last and now.in_effect
            both = replace(both, reading=last.reading, in_effect=last.in_effect, doubtful=doubtful)
        # What is shown bears the higher revision, and must be what was told with it.
        clear = same or ((now_is_last or of_history) and last.revision == both.revision)
        if clear and not rejected_last:
            return Verdict(known=both if both != now else None)
        reading = both.reading
        assert reading is not None  # it was told
        after = replace(both, revision=both.revision + 1)
        if not after.usable:
            reasons = why_unusable(reading, self._edges)
            return _told(before, after, Kind.REJECTED, "rejected", Source.HISTORY, received_ms, reasons)
        event_type = "cleared" if not both.in_effect else "changed"
        if both.in_effect and before.reading is not None:
            event_type = _what_changed(before, reading)
        on_trigger = before if before.usable else now
        return _told(on_trigger, after, Kind.CORRECTION, event_type, Source.HISTORY, received_ms)

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
    return counts_of(Counter(dict(starts)) + Counter([number]))


def _ended(before: Known, number: int | None, deletes: bool) -> dict[str, Any]:
    """What push has said by a clear or deletion of this number: it is gone, and it was there."""
    starts = before.starts if dict(before.starts).get(number) else _one_more(before.starts, number)
    deleted = (*before.deleted, number) if deletes else before.deleted
    return {"starts": starts, "cleared": _with(before.cleared, number), "deleted": deleted}


def _number_of(known: Known) -> int | None:
    return known.reading.start_number if known.reading is not None else None


def _with(cleared: tuple[int | None, ...], number: int | None) -> tuple[int | None, ...]:
    return cleared if number in cleared else (*cleared, number)


def _without(cleared: tuple[int | None, ...], number: int | None) -> tuple[int | None, ...]:
    return tuple(other for other in cleared if other != number)


def _overtaken(before: Known, number: int | None) -> tuple[tuple[int | None, int], ...]:
    """The end of a start is pushed: if the start was not, it never will be."""
    unpushed = Counter(dict(before.unpushed))
    if unpushed[number] and not (before.doubtful and before.in_effect and _number_of(before) == number):
        unpushed[number] -= 1
    return counts_of(unpushed)


def _as_push_told(known: Known, before: Known) -> Known:
    """With what push has told of it before, as if nothing had been read since."""
    return replace(
        known,
        starts=before.starts,
        cleared=before.cleared,
        clear_due=before.clear_due,
        deleted=before.deleted,
        unpushed=before.unpushed,
        changed_ms=before.changed_ms,
        rows="",
    )


def _contradicted(before: Known) -> str:
    return before.rows if before.rows in ("", NO_ROWS) else CONTRADICTED
