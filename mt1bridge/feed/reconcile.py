"""What history is wanted next, for all channels. Pure (CONTRACT sections 1, 2, 8; MT1-API, section 6).

Every channel is counted now and then. A count that changed, a new subscription, and the passing of
`full_interval` start a scan: count, pages (staged outside), comparison in the order of time, conclusion.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from mt1bridge.feed.corrections import NO_ROWS
from mt1bridge.feed.proof import conclude
from mt1bridge.feed.scan import MARGIN_MS, PAGE, Reach, Scan
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, CountWanted, Failure, Found, PageRead, Wanted, WantFailed
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import CHANNELS, TICKS_PER_MS, ChannelId, Seen, Sighting

DAY_MS = 86_400_000
CONFIRM_S = 60.0  # a row that is not listed any more must be missed twice, this far apart
LOOK_AGAIN_S = 15.0
NARROW_BACK_MS = 600_000
LISTED_WITHIN_MS = 300_000  # what was pushed longer ago than that should be in history
MANY_ABSENT = 1_000
KEEP_EVERY_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Reconcile:
    """The settings that matter here, in seconds (CONTRACT, section 8)."""

    interval_s: float
    full_interval_s: float
    window_s: float


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
    memory: ChannelMemory


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


@dataclass(slots=True)
class _Channel:
    memory: ChannelMemory
    kept: ChannelMemory  # as it was last written down
    count_due: float = 0.0
    scan_due: float | None = None  # a scan is wanted from then on
    reach: Reach = Reach.WINDOW
    scan: Scan | None = None
    asked_ms: int = 0
    scanned_at: float = float("-inf")
    growth: int = 0  # rows that history showed first since base_count
    pushed_ends: int = 0
    absent: set[int] = field(default_factory=set)  # not listed by the last scan that should have listed them
    settled: bool = False  # a scan was concluded since the last subscription
    waits: bool = False  # the scan that is wanted is to confirm something later
    refused: bool = False
    answered: bool = False


class Reconciliation:
    """Owns the per-channel state of reconciling. Waits for nothing: `next_wanted` is asked when a call may go."""

    def __init__(self, settings: Reconcile, max_calls_per_minute: int) -> None:
        self._settings = settings
        self._calls_per_minute = max_calls_per_minute
        self._channels: dict[ChannelId, _Channel] = {}
        self._refused_devices: set[str] = set()
        self._scans = 0
        self._largest_page = 0
        self._polling = False

    # --- the house ----------------------------------------------------------------------------------

    def add(self, memories: Iterable[ChannelMemory], now: Now) -> None:
        for memory in memories:
            if memory.at not in self._channels:
                self._channels[memory.at] = _Channel(memory, memory, count_due=now.monotonic)

    def remove(self, device: str) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for at in [at for at in self._channels if at.device == device]:
            scan = self._channels.pop(at).scan
            if scan:
                outcomes.append(Forget(scan.number))
        self._refused_devices.discard(device)
        return outcomes

    @property
    def refused_devices(self) -> frozenset[str]:
        return frozenset(self._refused_devices)

    @property
    def memories(self) -> list[ChannelMemory]:
        return [channel.memory for channel in self._channels.values()]

    def memory(self, at: ChannelId) -> ChannelMemory | None:
        channel = self._channels.get(at)
        return channel.memory if channel else None

    def all_settled(self) -> bool:
        """Every known channel of a device that is not refused was read since the last subscription."""
        return all(
            c.settled for at, c in self._channels.items() if c.memory.seen and at.device not in self._refused_devices
        )

    def missing(self) -> int:
        return sum(channel.memory.missing for channel in self._channels.values())

    def reconfigure(self, settings: Reconcile, max_calls_per_minute: int) -> None:
        self._settings = settings
        self._calls_per_minute = max_calls_per_minute

    def reading(self) -> bool:
        """Whether any channel is being read, or is to be read now; waits for a confirmation do not count."""
        return any(
            channel.scan is not None or (channel.scan_due is not None and not channel.waits)
            for channel in self._channels.values()
        )

    # --- what happens -------------------------------------------------------------------------------

    def subscribed(self, now: Now, devices: Iterable[str] | None = None) -> None:
        """A subscription begins to stand: what came before it is in history only."""
        wanted = set(devices) if devices is not None else None
        for at, channel in self._channels.items():
            if wanted is None or at.device in wanted:
                channel.settled = False
                if channel.memory.seen:
                    self._want_scan(channel, Reach.WINDOW, now.monotonic)
                else:
                    channel.count_due = now.monotonic

    def poll(self, on: bool, now: Now) -> None:
        """Without push, counts are asked as often as the budget allows."""
        if on and not self._polling:
            for channel in self._channels.values():
                if channel.memory.seen:
                    channel.count_due = now.monotonic
        self._polling = on

    def reconcile_now(self, now: Now) -> None:
        for channel in self._channels.values():
            self._want_scan(channel, Reach.WINDOW, now.monotonic)

    def pushed(self, at: ChannelId, ends: int) -> list[Outcome]:
        """A push was seen on this channel. ends: how many clears and deletions it brought."""
        channel = self._channels.get(at)
        if channel is None:
            return []
        channel.pushed_ends += ends
        if channel.memory.seen:
            return []
        channel.memory = replace(channel.memory, seen=True)
        return [_kept(channel)]

    # --- what is wanted -----------------------------------------------------------------------------

    def next_wanted(self, now: Now) -> Wanted | None:
        """The most urgent call that is due, or None."""
        best: tuple[float, float, Callable[[], Wanted]] | None = None
        for channel in self._channels.values():
            choice = self._choice(channel, now)
            if choice is not None and (best is None or choice[:2] < best[:2]):
                best = choice
        return best[2]() if best else None

    def next_due(self, now: Now) -> float:
        """Monotonic second when something is due; in the past if something is due now."""
        return min((self._due(channel, now) for channel in self._channels.values()), default=float("inf"))

    def _due(self, channel: _Channel, now: Now) -> float:
        if channel.scan is not None:
            return now.monotonic if not channel.scan.pages_done else float("inf")
        return min(channel.count_due, channel.scan_due if channel.scan_due is not None else float("inf"))

    def _choice(self, channel: _Channel, now: Now) -> tuple[float, float, Callable[[], Wanted]] | None:
        """(urgency, due, how to ask): lower is sooner. A scan without bound yields to everything else."""
        scan = channel.scan
        if scan is not None:
            if scan.pages_done:
                return None
            urgency = 3.0 if scan.reach is Reach.ALL else 0.0
            return urgency, float(scan.number), lambda: self._ask(channel, now)
        if channel.scan_due is not None and channel.scan_due <= now.monotonic:
            urgency = 3.0 if channel.reach is Reach.ALL else 1.0
            return urgency, channel.scan_due, lambda: self._begin(channel, now)
        if channel.count_due <= now.monotonic:
            return 2.0, channel.count_due, lambda: CountWanted(channel.memory.at)
        return None

    def _begin(self, channel: _Channel, now: Now) -> Wanted:
        memory = channel.memory
        self._scans += 1
        channel.scan_due = None
        window_ms = int(self._settings.window_s * 1000)
        from_ms: int | None = now.utc_ms - window_ms
        if memory.proven_ms:
            from_ms = min(from_ms or 0, memory.proven_ms - NARROW_BACK_MS)
        else:
            from_ms = min(from_ms or 0, memory.cut_ms)
        if channel.reach is Reach.NARROW:
            from_ms = (memory.checked_ms or now.utc_ms) - NARROW_BACK_MS
        elif channel.reach is Reach.ALL:
            from_ms = None
        channel.scan = Scan(self._scans, memory.at, channel.reach, from_ms, now.utc_ms)
        channel.reach = Reach.WINDOW
        return self._ask(channel, now)

    def _ask(self, channel: _Channel, now: Now) -> Wanted:
        scan = channel.scan
        assert scan is not None
        if scan.count is None:
            return CountWanted(scan.at)
        if not channel.asked_ms or scan.offset == 0:
            channel.asked_ms = now.utc_ms
        return scan.wanted()

    # --- what was found -----------------------------------------------------------------------------

    def found(self, found: Found, now: Now) -> list[Outcome]:
        at = found.wanted.at if isinstance(found, PageRead | WantFailed) else found.at
        channel = self._channels.get(at)
        if channel is None:
            return []
        if isinstance(found, WantFailed):
            return self._failed(channel, found, now)
        outcomes = self._accepted(channel)
        if isinstance(found, Counted):
            return outcomes + self._counted(channel, found.value, now)
        return outcomes + self._page(channel, found)

    def _accepted(self, channel: _Channel) -> list[Outcome]:
        channel.refused, channel.answered = False, True
        device = channel.memory.at.device
        if device not in self._refused_devices:
            return []
        self._refused_devices.discard(device)
        for at, other in self._channels.items():
            if at.device == device:
                other.refused, other.count_due = False, 0.0
                if other.memory.seen and other.scan is None:
                    other.scan_due = 0.0
        return [DeviceAccepted(device)]

    def _failed(self, channel: _Channel, failed: WantFailed, now: Now) -> list[Outcome]:
        if failed.failure is Failure.TRANSIENT:
            return []  # asked again as soon as a call may go
        outcomes: list[Outcome] = [Forget(channel.scan.number)] if channel.scan else []
        channel.scan, channel.refused = None, True
        channel.scan_due, channel.count_due = None, now.monotonic + self._full_interval()
        device = channel.memory.at.device
        others = [c for at, c in self._channels.items() if at.device == device]
        if device in self._refused_devices or any(c.answered and not c.refused for c in others):
            return outcomes
        self._refused_devices.add(device)
        for other in others:
            other.scan_due = None
            other.count_due = max(other.count_due, channel.count_due)
        return [*outcomes, DeviceRefused(device, failed.text)]

    def _counted(self, channel: _Channel, value: int, now: Now) -> list[Outcome]:
        memory = channel.memory
        channel.count_due = now.monotonic + self._count_interval(memory)
        if channel.scan is not None and channel.scan.count is None:
            channel.scan.count = value
            channel.memory = replace(memory, server_count=value)
            return []
        if memory.base_count is None and value == 0:
            channel.settled = True
            return self._concluded(
                channel,
                replace(
                    memory,
                    base_count=0,
                    server_count=0,
                    complete=True,
                    baselined=True,
                    checked_ms=now.utc_ms,
                    proven_ms=now.utc_ms,
                ),
            )
        if memory.base_count == value:
            return self._unchanged(channel, value, now)
        reach = Reach.NARROW if memory.window_rows > 2 * PAGE and memory.base_count is not None else Reach.WINDOW
        if memory.base_count is not None and value < memory.base_count:
            reach = Reach.WINDOW
        self._want_scan(channel, reach, now.monotonic)
        channel.memory = replace(memory, seen=True, server_count=value, complete=None)
        return [_kept(channel)]

    def _unchanged(self, channel: _Channel, value: int, now: Now) -> list[Outcome]:
        memory = channel.memory
        channel.settled = channel.settled or not memory.seen
        full_due = now.monotonic - channel.scanned_at > self._full_interval() or memory.complete is None
        if memory.seen and full_due:
            self._want_scan(channel, Reach.WINDOW, now.monotonic)
        elif memory.seen and memory.baselined and not 0 <= now.utc_ms - memory.read_all_ms < DAY_MS and value:
            self._want_scan(channel, Reach.ALL, now.monotonic)
        channel.memory = replace(memory, server_count=value, checked_ms=now.utc_ms, carry=0)
        return [_kept(channel)]

    def _page(self, channel: _Channel, page: PageRead) -> list[Outcome]:
        scan = channel.scan
        if scan is None or scan.number != page.wanted.scan:
            return []
        self._largest_page = max(self._largest_page, len(page.rows))
        new = scan.take(page, self._largest_page)
        plain = tuple(row for row in new if isinstance(row, Sighting) and not row.raw)
        odd = tuple(row for row in new if not (isinstance(row, Sighting) and not row.raw))
        for row in plain:
            scan.newest = row.id.timestamp if scan.newest is None else max(scan.newest, row.id.timestamp)
            scan.oldest = row.id.timestamp if scan.oldest is None else min(scan.oldest, row.id.timestamp)
        outcomes: list[Outcome] = []
        if plain:
            outcomes.append(Stage(scan.number, plain))
        if odd:
            outcomes.append(Odd(scan.at, odd))
        if scan.pages_done:
            outcomes.append(self._compare(channel, scan))
        return outcomes

    def _compare(self, channel: _Channel, scan: Scan) -> CompareNext:
        lower = 0 if scan.from_ms is None else (scan.from_ms + MARGIN_MS) * TICKS_PER_MS
        upper = (channel.asked_ms - 10 * MARGIN_MS) * TICKS_PER_MS
        return CompareNext(scan.number, scan.at, scan.compared_to, lower, upper)

    # --- comparing ----------------------------------------------------------------------------------

    def scan_of(self, number: int, at: ChannelId) -> Scan | None:
        channel = self._channels.get(at)
        return channel.scan if channel and channel.scan and channel.scan.number == number else None

    def asked_ms(self, at: ChannelId) -> int:
        return self._channels[at].asked_ms

    def may_be_deleted(self, at: ChannelId, known: Known) -> bool:
        """True if a row that is not listed has been removed; false at first, or where the server may only forget.

        Once is no proof: the second scan decides. What is older than all that is listed may have left the server's
        retention (U27), unless it is younger than a day and was listed before, or pushed so long ago that it should be.
        """
        channel = self._channels[at]
        timestamp = known.id.timestamp
        was_listed = known.row_count > 0 or known.rows not in ("", NO_ROWS)
        should_be = bool(known.changed_ms) and channel.asked_ms - known.changed_ms > LISTED_WITHIN_MS
        scan = channel.scan
        assert scan is not None
        inside = scan.newest is not None and scan.oldest is not None and scan.oldest < timestamp < scan.newest
        young = timestamp > (channel.asked_ms - DAY_MS) * TICKS_PER_MS
        if not inside and not (young and (was_listed or should_be)):
            return False
        if timestamp in channel.absent:
            channel.absent.discard(timestamp)
            return True
        if len(channel.absent) < MANY_ABSENT:
            channel.absent.add(timestamp)
            scan.follow_up = True
        return False

    def compared(self, scan: Scan, upto: int, growth: int, look_again: bool, done: bool, now: Now) -> list[Outcome]:
        """A batch was compared up to and including timestamp `upto`. growth: rows first listed in it."""
        channel = self._channels[scan.at]
        channel.growth += growth
        scan.compared_to = upto
        if look_again:
            scan.follow_up = True
        if not done:
            return [self._compare(channel, scan)]
        return self._finish(channel, scan, now)

    def grown(self, at: ChannelId, rows: int) -> None:
        """Rows that are told without being compared (malformed, unknown types) were first listed."""
        if at in self._channels:
            self._channels[at].growth += rows

    def _finish(self, channel: _Channel, scan: Scan, now: Now) -> list[Outcome]:
        channel.scan = None
        proof = conclude(channel.memory, scan, channel.growth, channel.pushed_ends, channel.asked_ms, now.utc_ms)
        outcomes: list[Outcome] = [Forget(scan.number)]
        channel.asked_ms = 0
        if proof.escalate is not None:
            channel.memory = replace(proof.memory, complete=False)
            self._want_scan(channel, proof.escalate, now.monotonic)
            return [*outcomes, _kept(channel)]
        channel.growth = channel.pushed_ends = 0
        channel.settled = True
        if scan.reach is not Reach.NARROW:
            channel.scanned_at = now.monotonic
        if scan.reach is not Reach.NARROW and not scan.follow_up:
            channel.absent.clear()
        if scan.follow_up:
            self._want_scan(
                channel, Reach.WINDOW, now.monotonic + (CONFIRM_S if channel.absent else LOOK_AGAIN_S), waits=True
            )
        elif not proof.memory.baselined:
            self._want_scan(channel, Reach.ALL, now.monotonic, waits=True)
        return outcomes + self._concluded(channel, proof.memory)

    def _concluded(self, channel: _Channel, memory: ChannelMemory) -> list[Outcome]:
        before, channel.memory = channel.memory, memory
        outcomes: list[Outcome] = [_kept(channel)]
        name = f"missing_{memory.at.device}_{memory.at.channel}"
        facts: dict[str, object] = {"device": memory.at.device, "channel": memory.at.channel, "missing": memory.missing}
        if memory.missing:
            if memory.missing != before.missing:
                outcomes.append(Note("gap_found", "warning", facts, public=True))
            text = (
                f"The MT1 server counts {memory.missing} more trigger(s) on channel {memory.at.channel} of device "
                f"{memory.at.device} than its history shows: compare the device's own list with what you received."
            )
            outcomes.append(AlertRaised(name, text, facts))
        elif before.missing:
            outcomes += [Note("gap_closed", "info", facts, public=True), AlertOver(name)]
        return outcomes

    # --- pace ---------------------------------------------------------------------------------------

    def _want_scan(self, channel: _Channel, reach: Reach, at: float, waits: bool = False) -> None:
        if channel.memory.at.device in self._refused_devices:
            return
        channel.waits = waits and (channel.scan_due is None or channel.waits)
        if channel.scan_due is not None:
            channel.scan_due = min(channel.scan_due, at)
            channel.reach = max(channel.reach, reach)
        else:
            channel.scan_due, channel.reach = at, reach

    def _known_channels(self) -> int:
        return sum(1 for channel in self._channels.values() if channel.memory.seen) or 1

    def _count_interval(self, memory: ChannelMemory) -> float:
        """Stretched so that counting never takes more than half of the budget."""
        cheapest = self._known_channels() * 60.0 / max(1.0, self._calls_per_minute / 2)
        if not memory.seen:
            return max(self._full_interval(), cheapest)
        return max(cheapest, 5.0) if self._polling else max(self._settings.interval_s, cheapest)

    def _full_interval(self) -> float:
        return max(self._settings.full_interval_s, len(self._channels) * 60.0 / max(1.0, self._calls_per_minute / 2))


def _kept(channel: _Channel) -> Remember | Checked:
    """Write a channel down only where more than times has changed, or once an hour: an SD card wears out."""
    memory, kept = channel.memory, channel.kept
    timeless = replace(memory, checked_ms=kept.checked_ms, proven_ms=kept.proven_ms, read_all_ms=kept.read_all_ms)
    old = not 0 <= memory.proven_ms - kept.proven_ms < KEEP_EVERY_MS
    if timeless == kept and not old and memory.read_all_ms == kept.read_all_ms:
        return Checked(memory.at)
    channel.kept = memory
    return Remember(memory)


def new_memory(at: ChannelId, cut_ms: int, configured: bool) -> ChannelMemory:
    """A channel that becomes ours. C0 and C1 are known from the start (CONTRACT, section 8, `interval`)."""
    return ChannelMemory(at, cut_ms, seen=configured or at.channel in CHANNELS[:2])
