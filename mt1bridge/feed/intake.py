"""From sightings to what the journal writes down. Pure."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from mt1bridge.feed.corrections import Corrections, Verdict
from mt1bridge.model.fact import Fact, Kind, Source
from mt1bridge.model.known import Known, Learned
from mt1bridge.model.trigger import ChannelId, Malformed, Reading, Seen, Sighting, TriggerId

NOTHING_READ = Reading(None, None, None, None, None)
RECENT_MS = 10_000  # history may lag this much behind push
FORGET_MS = 60_000  # a change that lies further ahead than this was noted by a clock that was set back since

Names = Callable[[ChannelId], tuple[str | None, str | None]]
IsLive = Callable[[TriggerId], bool]


def oddity_of(seen: Seen) -> str | None:
    """A digest for what has no state of its own to compare with: malformed, or of an unknown type."""
    if isinstance(seen, Sighting) and not seen.raw:
        return None
    text = seen.raw if isinstance(seen, Malformed) else f"{seen.id}\n{seen.raw}"  # raw may be cut before the timestamp
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def questions(seen: Iterable[Seen]) -> tuple[set[TriggerId], set[tuple[ChannelId, str]]]:
    """What the journal must be asked before these sightings can be judged: identities and oddities."""
    ids: set[TriggerId] = set()
    odd: set[tuple[ChannelId, str]] = set()
    for one in seen:
        digest = oddity_of(one)
        if isinstance(one, Sighting):
            ids.add(one.id)
            if digest:
                odd.add((one.id.at, digest))
        elif one.channel and digest:
            odd.add((one.channel, digest))
    return ids, odd


class Intake:
    """Turns sightings into facts, each once. names: (device name, channel name) of a channel."""

    def __init__(self, edges: Collection[str], names: Names) -> None:
        self._corrections = Corrections(edges)
        self._names = names

    def pushed(
        self,
        seen: Iterable[Seen],
        known: Mapping[TriggerId, Known],
        odd: Collection[tuple[ChannelId, str]],
        received_ms: int,
        is_live: IsLive,
    ) -> tuple[list[Learned], int]:
        """What to write down, in order of arrival, and how many were repeats. seen: all with a readable channel."""
        latest = dict(known)
        told_odd = set(odd)
        learned: list[Learned] = []
        repeated = 0
        for one in seen:
            digest = oddity_of(one)
            if digest is not None:
                entry = self._odd(one, digest, latest, told_odd, Source.PUSH, received_ms)
            else:
                assert isinstance(one, Sighting)
                verdict = self._corrections.pushed(one, latest.get(one.id), received_ms)
                entry = self._learned(one.id, verdict, is_live)
            if entry is None or entry.fact is None:
                repeated += 1
            if entry is not None:
                learned.append(entry)
                if entry.known is not None:
                    latest[entry.known.id] = entry.known
        return learned, repeated

    def odd_rows(
        self,
        rows: Iterable[Seen],
        known: Mapping[TriggerId, Known],
        odd: Collection[tuple[ChannelId, str]],
        received_ms: int,
    ) -> list[Learned]:
        """Rows of a history page that are malformed or of an unknown type."""
        latest = dict(known)
        told_odd = set(odd)
        learned = []
        for one in rows:
            digest = oddity_of(one)
            entry = self._odd(one, digest, latest, told_odd, Source.HISTORY, received_ms) if digest else None
            if entry is not None:
                learned.append(entry)
                if entry.known is not None:
                    latest[entry.known.id] = entry.known
        return learned

    def listed(
        self,
        trigger: TriggerId,
        rows: tuple[Sighting, ...],
        known: Known | None,
        asked_ms: int,
        received_ms: int,
        is_live: IsLive,
    ) -> tuple[Learned | None, bool]:
        """Compare one identity with all its rows in history. The second value: look again soon.

        What push changed a moment ago, or said to be deleted, outranks a page that was asked for before the server may
        have written it down.
        """
        verdict = self._corrections.listed(rows, known, trigger, received_ms)
        forgets = verdict.known is not None and known is not None and verdict.known.deleted != known.deleted
        if (verdict.fact is not None or forgets) and known is not None and known.changed_ms:
            age = asked_ms - known.changed_ms
            walked = asked_ms <= known.changed_ms <= received_ms  # while the pages came, however long that took
            if walked or -FORGET_MS < age < RECENT_MS:
                counted = replace(known, row_count=len(rows)) if known.row_count != len(rows) else None
                return (Learned(trigger.at, counted) if counted else None), True
        return self._learned(trigger, verdict, is_live), False

    def baseline(self, trigger: TriggerId, rows: tuple[Sighting, ...], asked_ms: int) -> Learned:
        """Write down what stood in history before the channel became ours, without telling it."""
        verdict = self._corrections.listed(rows, None, trigger, asked_ms)
        assert verdict.known is not None  # never seen before, so always news
        return Learned(trigger.at, replace(verdict.known, revision=0, usable=False))

    def retold(self, before: Known, now: Known, now_is_last: bool, received_ms: int) -> Learned | None:
        """What is told last of a trigger may not be how it is: see `Corrections.retold`."""
        verdict = self._corrections.retold(before, now, now_is_last, received_ms)
        return self._learned(now.id, verdict, lambda _trigger: False)

    def _learned(self, trigger: TriggerId, verdict: Verdict, is_live: IsLive) -> Learned | None:
        if verdict.known is None:
            return None
        fact = verdict.fact
        live = False
        if fact is not None:
            live = fact.kind is Kind.TRIGGER and is_live(trigger)
            fact = replace(self._named(fact), late_at_birth=fact.kind is Kind.TRIGGER and not live)
        return Learned(trigger.at, verdict.known, fact, live=live)

    def _named(self, fact: Fact) -> Fact:
        device_name, channel_name = self._names(fact.at)
        return replace(fact, device_name=device_name, channel_name=channel_name)

    def _odd(
        self,
        seen: Seen,
        digest: str,
        latest: Mapping[TriggerId, Known],
        told: set[tuple[ChannelId, str]],
        source: Source,
        received_ms: int,
    ) -> Learned | None:
        at = seen.id.at if isinstance(seen, Sighting) else seen.channel
        if at is None or (at, digest) in told:
            return None
        told.add((at, digest))
        known = None
        if isinstance(seen, Sighting):
            before = latest.get(seen.id) or Known(seen.id)
            known = replace(before, revision=before.revision + 1)
        fact = Fact(
            id=str(seen.id) if isinstance(seen, Sighting) else f"{at}-malformed-{digest}",
            at=at,
            timestamp=seen.id.timestamp if isinstance(seen, Sighting) else None,
            kind=Kind.REJECTED,
            event_type="rejected",
            revision=known.revision if known else 1,
            reading=seen.reading if isinstance(seen, Sighting) else NOTHING_READ,
            in_effect=False,
            source=source,
            received_ms=received_ms,
            reasons=("type",) if isinstance(seen, Sighting) else ("malformed",),
            raw=seen.raw,
        )
        return Learned(at, known, self._named(fact), oddity=digest)
