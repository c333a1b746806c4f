"""One channel of the reconciling: pages of a scan, their comparison with the journal, the conclusion. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mt1bridge.feed.outcomes import Checked, CompareNext, Forget, Odd, Outcome, Remember, Stage
from mt1bridge.feed.proof import conclude
from mt1bridge.feed.rows import NO_ROWS
from mt1bridge.feed.scan import MARGIN_MS, Reach, Scan
from mt1bridge.model.clock import Now
from mt1bridge.model.history import PageRead
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import CHANNELS, TICKS_PER_MS, ChannelId, Sighting

DAY_MS = 86_400_000
DAY_S = 86_400.0
NEVER = float("-inf")  # a monotonic second before all others
CONFIRM_S = 60.0  # a row that is not listed any more must be missed twice, this far apart
LOOK_AGAIN_S = 15.0
UNLISTED_S = 300.0  # and one that was pushed but never listed, this far apart
FRESH_MS = 10_000
MOST_TICKS = 2**63 - 1  # no timestamp is larger
MANY_ABSENT = 1_000
KEEP_EVERY_MS = 3_600_000


@dataclass(slots=True)
class Channel:
    """What is going on with one channel."""

    memory: ChannelMemory
    kept: ChannelMemory  # as it was last written down
    count_due: float = 0.0
    scan_due: float | None = None  # a scan is wanted from then on
    reach: Reach = Reach.WINDOW
    scan: Scan | None = None
    look: Scan | None = None  # at what is new, while a scan without bound is under way; it proves nothing
    look_wanted: bool = False
    looked_ms: int = 0
    paged_at: float = NEVER  # the last page of a scan without bound was asked for
    subscribed_at: float = NEVER
    scanned_at: float = NEVER
    concluded_at: float = NEVER  # the last scan was
    explained_at: float = NEVER  # when the last read without a bound left something missing
    in_vain: int = 0  # such reads in a row that left as much missing
    newest_ms: int = 0  # of all that was shown, by the device's clock
    absent: dict[int, int] = field(default_factory=dict)  # timestamps that history misses -> UTC ms since when
    settled: bool = False  # a scan was concluded since the last subscription
    read_at: float = NEVER  # when the newest scan that was concluded began
    waits: bool = False  # the scan that is wanted is to confirm something later
    failed_at: float = NEVER  # the last call brought nothing
    failures: int = 0  # in a row, though the server answered for others in between
    retry_at: float = NEVER  # it is not asked before
    refused: bool = False
    refused_at: float = NEVER
    barred: bool = False  # its whole device is refused
    answered_at: float = NEVER
    provisional: float | None = None  # it became ours then, by a clock that is not known to be right

    def want_scan(self, reach: Reach, at: float, waits: bool = False) -> None:
        """A scan from then on, unless one is wanted sooner. waits: it is to confirm something."""
        if self.barred:
            return
        self.waits = waits and (self.scan_due is None or self.waits)
        if self.scan_due is not None:
            self.scan_due = min(self.scan_due, at)
            self.reach = max(self.reach, reach)
        else:
            self.scan_due, self.reach = at, reach

    @property
    def is_long(self) -> bool:
        """A scan without bound walks through its pages."""
        scan = self.scan
        return scan is not None and scan.reach is Reach.ALL and scan.count is not None and not scan.pages_done

    def scan_of(self, number: int) -> Scan | None:
        """The scan or the look of this number, if it is still under way."""
        return next((one for one in (self.scan, self.look) if one is not None and one.number == number), None)

    def drop(self) -> list[Outcome]:
        """Give up what is being read."""
        outcomes: list[Outcome] = [Forget(one.number) for one in (self.scan, self.look) if one is not None]
        self.scan = self.look = None
        return outcomes

    # --- pages --------------------------------------------------------------------------------------

    def page(self, page: PageRead, largest_page: int) -> list[Outcome]:
        """Take a page of the scan under way. largest_page: the most rows that the server ever put into one."""
        scan = self.scan_of(page.wanted.scan)
        if scan is None:
            return []
        restarts = scan.restarts
        new = scan.take(page, largest_page)
        if scan.restarts > restarts:
            scan.newest = scan.oldest = None
            return [Forget(scan.number)]
        plain = tuple(row for row in new if isinstance(row, Sighting) and not row.raw)
        odd = tuple(row for row in new if not (isinstance(row, Sighting) and not row.raw))
        for row in plain:
            self.newest_ms = max(self.newest_ms, row.id.timestamp // TICKS_PER_MS)
            scan.newest = row.id.timestamp if scan.newest is None else max(scan.newest, row.id.timestamp)
            scan.oldest = row.id.timestamp if scan.oldest is None else min(scan.oldest, row.id.timestamp)
        outcomes: list[Outcome] = []
        if plain:
            outcomes.append(Stage(scan.number, plain))
        if odd:
            outcomes.append(Odd(scan.at, odd))
        if scan.pages_done:
            outcomes.append(self._compare(scan))
        return outcomes

    def _compare(self, scan: Scan) -> CompareNext:
        lower = 0 if scan.from_ms is None else (scan.from_ms + MARGIN_MS) * TICKS_PER_MS
        upper = MOST_TICKS if scan.to_ms is None else (scan.to_ms - MARGIN_MS) * TICKS_PER_MS
        if scan is self.look:
            upper = 0  # it judges nothing that it does not see
        return CompareNext(scan.number, scan.at, scan.compared_to, lower, upper)

    # --- comparing ----------------------------------------------------------------------------------

    def may_be_deleted(self, known: Known) -> bool:
        """True if a row that is not listed has been removed; false at first, or where the server may only forget.

        Once is no proof: it must be missed again a while later, longer where it was pushed and never listed. What is
        older than all that is listed may have left the server's retention (U27), unless it is younger than a day.
        """
        scan, timestamp = self.scan, known.id.timestamp
        assert scan is not None
        was_listed = known.row_count > 0 or known.rows not in ("", NO_ROWS)
        if not was_listed and 0 <= scan.asked_ms - known.changed_ms < FRESH_MS:
            return False  # history may show it a moment later
        inside = scan.newest is not None and scan.oldest is not None and scan.oldest < timestamp < scan.newest
        young = timestamp > (scan.asked_ms - DAY_MS) * TICKS_PER_MS
        if not inside and not (young and (was_listed or known.changed_ms)):
            return False
        if timestamp not in self.absent and len(self.absent) >= MANY_ABSENT:
            return False
        if not was_listed and self.memory.missing:
            return False  # the count promises rows that are not listed yet: this may be one of them
        since_ms = min(self.absent.get(timestamp, scan.asked_ms), scan.asked_ms)
        left_s = (CONFIRM_S if was_listed else UNLISTED_S) - (scan.asked_ms - since_ms) / 1000
        if left_s <= 0:
            self.absent.pop(timestamp)
            return True
        self.absent[timestamp] = since_ms
        scan.missed.add(timestamp)
        scan.look_again_in(left_s)
        return False

    def compared(
        self, scan: Scan, upto: int, growth: int, loss: int, look_again: bool, done: bool, now: Now
    ) -> list[Outcome]:
        """A batch was compared up to and including timestamp `upto`. growth, loss: rows listed first, and no more."""
        memory = self.memory
        self.memory = replace(memory, growth=memory.growth + growth, loss=memory.loss + loss)
        scan.compared_to, scan.growth = upto, scan.growth + growth
        if look_again:
            scan.look_again_in(LOOK_AGAIN_S)
        outcomes: list[Outcome] = [self.kept_or_checked()] if growth or loss else []
        if not done:
            return [*outcomes, self._compare(scan)]
        if scan is self.look:
            self.look = None
            if self.scan is not None:
                self.scan.beside += scan.growth
            return [*outcomes, Forget(scan.number)]
        return outcomes + self._finish(scan, now)

    # --- conclusion ---------------------------------------------------------------------------------

    def _finish(self, scan: Scan, now: Now) -> list[Outcome]:
        self.scan = None
        self.look_wanted = False
        proof = conclude(self.memory, scan, now.utc_ms)
        self._forget_absent(scan)
        outcomes: list[Outcome] = [Forget(scan.number)]
        if proof.escalate is not None:
            self.memory = replace(proof.memory, complete=False)
            self.want_scan(proof.escalate, now.monotonic)
            return [*outcomes, self.kept_or_checked()]
        self.concluded_at = now.monotonic
        self._note_missing(scan, proof.memory.missing, now)
        if scan.begun_at >= self.subscribed_at:
            self.settled = True
        else:  # it may have read what came before the subscription alone
            self.want_scan(Reach.WINDOW, max(now.monotonic, self.subscribed_at))
        self.read_at = scan.begun_at
        if scan.reach is not Reach.NARROW:
            self.scanned_at = now.monotonic
        if scan.again_s is not None:
            self.want_scan(max(scan.reach, Reach.WINDOW), now.monotonic + max(scan.again_s, LOOK_AGAIN_S), waits=True)
        elif proof.unsure:
            self.want_scan(Reach.WINDOW, now.monotonic + CONFIRM_S, waits=True)
        elif not proof.memory.baselined:
            self.want_scan(Reach.ALL, now.monotonic, waits=True)
        return outcomes + self.concluded(proof.memory)

    def explain_due(self, interval_s: float, now: Now) -> bool:
        """Whether to look for what is missing without a bound again: more and more rarely while it stays away."""
        return now.monotonic - self.explained_at > min(interval_s * 2.0 ** min(self.in_vain, 10), DAY_S)

    def _note_missing(self, scan: Scan, missing: int, now: Now) -> None:
        if missing != self.memory.missing or not missing:
            self.in_vain = 0
        elif scan.reach is Reach.ALL:
            self.in_vain += 1
        if scan.reach is Reach.ALL:
            self.explained_at = now.monotonic

    def _forget_absent(self, scan: Scan) -> None:
        """What this scan would have missed again, and did not, is there."""
        lower = self._compare(scan).absent_from
        self.absent = {at: since for at, since in self.absent.items() if at in scan.missed or at < lower}

    def concluded(self, memory: ChannelMemory) -> list[Outcome]:
        before, self.memory = self.memory, memory
        outcomes: list[Outcome] = [self.kept_or_checked()]
        alert = missing_alert(memory)
        if memory.missing:
            if memory.missing != before.missing:
                outcomes.append(Note("gap_found", "warning", alert.facts, public=True))
            outcomes.append(alert)
        elif before.missing:
            outcomes += [Note("gap_closed", "info", alert.facts, public=True), AlertOver(alert.name)]
        return outcomes

    def kept_or_checked(self) -> Remember | Checked:
        """Write a channel down only where more than times has changed, or once an hour: an SD card wears out."""
        memory, kept = self.memory, self.kept
        if self.provisional is not None:
            return Checked(memory.at)
        timeless = replace(memory, checked_ms=kept.checked_ms, proven_ms=kept.proven_ms, read_all_ms=kept.read_all_ms)
        old = not 0 <= memory.proven_ms - kept.proven_ms < KEEP_EVERY_MS
        if timeless == kept and not old and memory.read_all_ms == kept.read_all_ms:
            return Checked(memory.at)
        self.kept = memory
        return Remember(memory, durable=memory.baselined and not kept.baselined)

    def recut(self, cut_ms: Callable[[float], int]) -> Remember:
        """It is known when it became ours. That must not be forgotten."""
        assert self.provisional is not None  # the caller has looked
        self.memory = self.kept = replace(self.memory, cut_ms=cut_ms(self.provisional))
        self.provisional = None
        return Remember(self.memory, durable=True)


def missing_alert(memory: ChannelMemory) -> AlertRaised:
    device, channel = memory.at.device, memory.at.channel
    text = (
        f"The MT1 server counts {memory.missing} more trigger(s) on channel {channel} of device {device} than its "
        "history shows: compare the device's own list with what you received."
    )
    facts = {"device": device, "channel": channel, "missing": memory.missing}
    return AlertRaised(f"missing_{device}_{channel}", text, facts)


def new_memory(at: ChannelId, cut_ms: int, configured: bool) -> ChannelMemory:
    """A channel that becomes ours. C0 and C1 are known from the start (CONTRACT, section 8, `interval`)."""
    return ChannelMemory(at, cut_ms, seen=configured or at.channel in CHANNELS[:2])
