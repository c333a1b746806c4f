"""What history is wanted next, for all channels. Pure (CONTRACT sections 1, 2, 8; MT1-API, section 6).

Every channel is counted now and then. A count that changed, a new subscription, and the passing of
`full_interval` start a scan: count, pages (staged outside), comparison in the order of time, conclusion.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mt1bridge.feed.channel import DAY_MS, NEVER, Channel, missing_alert
from mt1bridge.feed.outcomes import Checked, DeviceAccepted, DeviceRefused, Outcome, Remember
from mt1bridge.feed.scan import AHEAD_MS, MARGIN_MS, PAGE, Reach, Scan
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, CountWanted, Failure, Found, PageRead, Wanted, WantFailed
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.status import Note
from mt1bridge.model.trigger import TICKS_PER_MS, ChannelId

NARROW_BACK_MS = 600_000
YIELDING = 2.5  # what failed waits for all that is due of others, but for reads without a bound
FRESH_S = 60.0  # so long ago an answer for one channel tells that its device is not refused
WITNESSES = 2  # other channels that must be refused too, where some were answered before
PAUSE_S = 15.0  # before a channel is asked again that alone brings nothing, twice as long each time
PAUSE_CAP_S = 300.0
CARRIED_INTERVALS = 2.0
ALONE = 2  # failures in a row, while others were answered, that are no accident


@dataclass(frozen=True, slots=True)
class Reconcile:
    """The settings that matter here, in seconds (CONTRACT, section 8)."""

    interval_s: float
    full_interval_s: float
    window_s: float


class Reconciliation:
    """Owns the per-channel state of reconciling. Waits for nothing: `next_wanted` is asked when a call may go."""

    def __init__(self, settings: Reconcile, max_calls_per_minute: int) -> None:
        self._settings = settings
        self._calls_per_minute = max_calls_per_minute
        self._channels: dict[ChannelId, Channel] = {}
        self._refused_devices: set[str] = set()
        self._scans = 0
        self._largest_page = 0
        self._answered_at = NEVER
        self._polling = False

    # --- the house ----------------------------------------------------------------------------------

    def add(self, memories: Iterable[ChannelMemory], now: Now, provisional: bool = False) -> None:
        """Channels that are not there yet. provisional: their cut is not known for good, nothing is written down."""
        for memory in memories:
            if memory.at not in self._channels:
                barred = memory.at.device in self._refused_devices
                ours = now.monotonic if provisional else None
                self._channels[memory.at] = Channel(
                    memory, memory, now.monotonic, barred=barred, provisional=ours, concluded_at=now.monotonic
                )

    def standing(self, device: str) -> list[Outcome]:
        """Alerts that stand since an earlier process."""
        memories = [channel.memory for at, channel in self._channels.items() if at.device == device]
        return [missing_alert(memory) for memory in memories if memory.missing]

    def recut(self, cut_ms: Callable[[float], int]) -> list[Outcome]:
        """The clock is settled, and with it the cuts. cut_ms: of what became ours at a monotonic second."""
        return [channel.recut(cut_ms) for channel in self._channels.values() if channel.provisional is not None]

    def recall(self, memories: Iterable[ChannelMemory], now: Now) -> None:
        """What an earlier process wrote down can be read only now: how far back the first start reached, and so on."""
        for kept in memories:
            channel = self._channels.get(kept.at)
            if channel is not None:
                seen = channel.memory.seen or kept.seen
                channel.memory = replace(
                    channel.memory, cut_ms=kept.cut_ms, baselined=kept.baselined, seen=seen, read_all_ms=0
                )
                channel.want_scan(Reach.ALL, now.monotonic)

    def begin_anew(self, oldest_ms: int, now: Now) -> list[Outcome]:
        """What was written down of all channels is lost: history is read as if it never was, back to `oldest_ms`."""
        outcomes: list[Outcome] = []
        for at, before in self._channels.items():
            outcomes += before.drop()
            memory = replace(before.memory.anew(), cut_ms=max(before.memory.cut_ms, oldest_ms))
            self._channels[at] = Channel(
                memory,
                memory,
                before.count_due if before.refused or before.barred else now.monotonic,
                refused=before.refused,
                barred=before.barred,
                refused_at=before.refused_at,
                answered_at=before.answered_at,
                subscribed_at=before.subscribed_at,
                newest_ms=before.newest_ms,
                provisional=before.provisional,
            )
            outcomes.append(Checked(at) if before.provisional is not None else Remember(memory, durable=True))
        return outcomes

    def remove(self, device: str) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for at in [at for at in self._channels if at.device == device]:
            outcomes += self._channels.pop(at).drop()
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
            c.settled or c.refused or c.failures >= ALONE
            for at, c in self._channels.items()
            if c.memory.seen and at.device not in self._refused_devices
        )

    def all_read(self, since: float) -> bool:
        """The history of every channel was read to its end in scans that began at this monotonic second or later."""
        return all(channel.read_at >= since for channel in self._channels.values())

    @property
    def refused_channels(self) -> list[ChannelId]:
        """Known channels that the server refuses, though it accepts others of the device."""
        return sorted(
            at
            for at, c in self._channels.items()
            if c.refused and c.memory.seen and at.device not in self._refused_devices
        )

    @property
    def unanswered_channels(self) -> list[ChannelId]:
        """Known channels that bring nothing again and again, though the server answers for others."""
        return sorted(at for at, c in self._channels.items() if c.failures >= ALONE and c.memory.seen and not c.barred)

    def was_read(self, at: ChannelId, since: float) -> bool:
        """Whether history was read to its end in a scan that began at this monotonic second or later."""
        return self._channels[at].read_at >= since

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
                channel.settled, channel.retry_at = False, NEVER
                channel.subscribed_at, channel.look_wanted = now.monotonic, channel.is_long
                if channel.memory.seen:
                    channel.want_scan(Reach.WINDOW, now.monotonic)
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
            channel.retry_at, channel.look_wanted = NEVER, channel.is_long
            channel.want_scan(Reach.WINDOW, now.monotonic)

    def pushed(self, at: ChannelId, ends: int, newest_ms: int = 0) -> list[Outcome]:
        """A push was seen on this channel. ends: how many clears and deletions it brought; newest_ms: of its times."""
        channel = self._channels.get(at)
        if channel is None:
            return []
        channel.newest_ms = max(channel.newest_ms, newest_ms)
        if not ends:
            return self.noticed(at)
        channel.memory = replace(channel.memory, pushed_ends=channel.memory.pushed_ends + ends, seen=True)
        return [channel.kept_or_checked()]

    def noticed(self, at: ChannelId) -> list[Outcome]:
        """Something is known of this channel, though the server may not count it yet."""
        channel = self._channels.get(at)
        if channel is None or channel.memory.seen:
            return []
        channel.memory = replace(channel.memory, seen=True)
        return [channel.kept_or_checked()]

    def named(self, at: ChannelId, now: Now) -> list[Outcome]:
        """The settings name this channel: it is known before anything is seen of it."""
        channel = self._channels.get(at)
        if channel is None or channel.memory.seen:
            return []
        channel.memory = replace(channel.memory, seen=True)
        channel.want_scan(Reach.WINDOW, now.monotonic)
        return [channel.kept_or_checked()]

    # --- what is wanted -----------------------------------------------------------------------------

    def next_wanted(self, now: Now) -> Wanted | None:
        """The most urgent call that is due, or None."""
        best: tuple[float, float, Callable[[], Wanted]] | None = None
        for channel in self._channels.values():
            choice = self._choice(channel, now)
            if choice is not None and channel.failed_at > NEVER:  # whoever is answered goes first
                choice = (max(choice[0], YIELDING), channel.failed_at, choice[2])
            if choice is not None and (best is None or choice[:2] < best[:2]):
                best = choice
        return best[2]() if best else None

    def next_due(self, now: Now) -> float:
        """Monotonic second when something is due; in the past if something is due now."""
        return min((self._due(channel, now) for channel in self._channels.values()), default=float("inf"))

    def _due(self, channel: Channel, now: Now) -> float:
        if channel.is_long and channel.look is None:
            due = now.monotonic if channel.look_wanted else min(channel.count_due, self._page_due(channel))
        elif channel.scan is not None:
            due = float("inf") if (channel.look or channel.scan).pages_done else now.monotonic
        else:
            due = min(channel.count_due, channel.scan_due if channel.scan_due is not None else float("inf"))
        return max(due, channel.retry_at)

    def _choice(self, channel: Channel, now: Now) -> tuple[float, float, Callable[[], Wanted]] | None:
        """(urgency, due, how to ask): lower is sooner. A scan without bound yields to everything else."""
        scan = channel.scan
        if now.monotonic < channel.retry_at:
            return None
        if channel.look is not None:
            number = float(channel.look.number)
            return None if channel.look.pages_done else (0.0, number, lambda: self._ask(channel, now))
        if channel.is_long and channel.look_wanted:
            return 1.0, now.monotonic, lambda: self._look(channel, now)
        if channel.is_long and channel.count_due <= now.monotonic:
            return 2.0, channel.count_due, lambda: CountWanted(channel.memory.at)
        if scan is not None:
            if scan.pages_done or now.monotonic < self._page_due(channel):
                return None
            urgency = 3.0 if scan.reach is Reach.ALL else 0.0
            return urgency, float(scan.number), lambda: self._ask(channel, now)
        if channel.scan_due is not None and channel.scan_due <= now.monotonic:
            urgency = 3.0 if channel.reach is Reach.ALL else 1.0
            return urgency, channel.scan_due, lambda: self._begin(channel, now)
        if channel.count_due <= now.monotonic:
            return 2.0, channel.count_due, lambda: CountWanted(channel.memory.at)
        return None

    def _begin(self, channel: Channel, now: Now) -> Wanted:
        memory = channel.memory
        self._scans += 1
        channel.scan_due = None
        window_ms = int(self._settings.window_s * 1000)
        from_ms: int | None
        if memory.proven_ms:  # what changed since then was within the window then
            from_ms = min(now.utc_ms, memory.proven_ms) - max(window_ms, NARROW_BACK_MS)
        else:
            from_ms = min(now.utc_ms - window_ms, memory.cut_ms)
        if channel.absent:  # what was missed once is looked for again
            from_ms = min(from_ms, min(channel.absent) // TICKS_PER_MS - 2 * MARGIN_MS)
        if channel.reach is Reach.NARROW:
            from_ms = (memory.checked_ms or now.utc_ms) - NARROW_BACK_MS
        to_ms: int | None = max(now.utc_ms, channel.newest_ms) + AHEAD_MS
        if channel.reach is Reach.ALL:  # whatever the device's clock says
            from_ms = to_ms = None
        channel.scan = Scan(self._scans, memory.at, channel.reach, from_ms, to_ms, now.monotonic)
        channel.reach = Reach.WINDOW
        return self._ask(channel, now)

    def _page_due(self, channel: Channel) -> float:
        """Without push, a long read leaves half of the budget to the counts."""
        if not (self._polling and channel.is_long):
            return NEVER
        return channel.paged_at + 2 * 60.0 / max(1, self._calls_per_minute)

    def _look(self, channel: Channel, now: Now) -> Wanted:
        """A long read must not keep waiting what happens meanwhile."""
        memory = channel.memory
        self._scans += 1
        channel.look_wanted = False
        from_ms = (max(memory.checked_ms, channel.looked_ms) or now.utc_ms) - NARROW_BACK_MS
        to_ms = max(now.utc_ms, channel.newest_ms) + AHEAD_MS
        channel.looked_ms = now.utc_ms
        count = memory.server_count
        channel.look = Scan(self._scans, memory.at, Reach.NARROW, from_ms, to_ms, now.monotonic, count)
        return self._ask(channel, now)

    def _ask(self, channel: Channel, now: Now) -> Wanted:
        scan = channel.look or channel.scan
        assert scan is not None
        if scan.count is None:
            return CountWanted(scan.at)
        if not scan.asked_ms or scan.offset == 0:
            scan.asked_ms = now.utc_ms
        if scan.reach is Reach.ALL:
            channel.paged_at = now.monotonic
        return scan.wanted()

    # --- what was found -----------------------------------------------------------------------------

    def found(self, found: Found, now: Now) -> list[Outcome]:
        at = found.wanted.at if isinstance(found, PageRead | WantFailed) else found.at
        channel = self._channels.get(at)
        if channel is None:
            return []
        if isinstance(found, WantFailed):
            return self._failed(channel, found, now)
        self._answered_at = now.monotonic
        outcomes = self._accepted(channel, now)
        if isinstance(found, Counted):
            return outcomes + self._counted(channel, found.value, now)
        self._largest_page = max(self._largest_page, len(found.rows))
        return outcomes + channel.page(found, self._largest_page)

    def _accepted(self, channel: Channel, now: Now) -> list[Outcome]:
        channel.refused, channel.answered_at = False, now.monotonic
        channel.failed_at, channel.failures, channel.retry_at = NEVER, 0, NEVER
        device = channel.memory.at.device
        if device not in self._refused_devices:
            return []
        self._refused_devices.discard(device)
        for at, other in self._channels.items():
            if at.device == device:
                other.refused, other.barred, other.count_due = False, False, 0.0
                if other.memory.seen and other.scan is None:
                    other.scan_due = 0.0
        return [DeviceAccepted(device)]

    def _failed(self, channel: Channel, failed: WantFailed, now: Now) -> list[Outcome]:
        if failed.failure is Failure.TRANSIENT:
            return self._unanswered(channel, now)
        outcomes = channel.drop()
        again, channel.refused = channel.refused, True
        channel.refused_at = now.monotonic
        channel.scan_due, channel.count_due = None, now.monotonic + self._full_interval()
        device = channel.memory.at.device
        others = [c for at, c in self._channels.items() if at.device == device and c is not channel]
        if device in self._refused_devices:
            return outcomes
        if not self._is_device_refused(others, now):
            facts: dict[str, object] = {"device": device, "channel": channel.memory.at.channel, "text": failed.text}
            return [*outcomes, Note("channel_refused", "debug" if again else "warning", facts)]
        self._refused_devices.add(device)
        for other in (channel, *others):
            other.scan_due, other.barred = None, True
            other.count_due = max(other.count_due, channel.count_due)
        return [*outcomes, DeviceRefused(device, failed.text)]

    def _is_device_refused(self, others: list[Channel], now: Now) -> bool:
        """One channel was refused: others of the device tell whether it is the whole. In doubt one more is asked."""
        answered = [c for c in others if c.answered_at > NEVER and not c.refused]
        if any(now.monotonic - c.answered_at < FRESH_S for c in answered):
            return False
        refused = sum(1 for c in others if c.refused and now.monotonic - c.refused_at < FRESH_S)
        if not answered or refused >= WITNESSES:
            return True
        answered[0].count_due = 0.0
        return False

    def _unanswered(self, channel: Channel, now: Now) -> list[Outcome]:
        """It is asked again; more and more rarely, where the server answers for others in between."""
        told = channel.failures >= ALONE
        if self._answered_at > channel.failed_at:
            channel.failures += 1
        channel.failed_at = now.monotonic
        if channel.failures < ALONE:
            return []
        channel.retry_at = now.monotonic + min(PAUSE_S * 2.0 ** min(channel.failures - ALONE, 10), PAUSE_CAP_S)
        if told:
            return []
        at = channel.memory.at
        return [Note("channel_unanswered", "warning", {"device": at.device, "channel": at.channel})]

    def _counted(self, channel: Channel, value: int, now: Now) -> list[Outcome]:
        interval_s = self._count_interval(channel.memory)
        if now.monotonic - channel.concluded_at > CARRIED_INTERVALS * interval_s:
            channel.memory = replace(channel.memory, carry=0)  # no count is that much older than the listing
        memory = channel.memory
        channel.count_due = now.monotonic + interval_s
        if channel.scan is not None and channel.scan.count is None:
            channel.scan.count = value
            channel.memory = replace(memory, server_count=value, seen=memory.seen or value > 0)
            return []
        if channel.scan is not None:  # a long one: what is new is looked at beside it
            channel.look_wanted = channel.look_wanted or value != memory.server_count
            channel.memory = replace(memory, server_count=value)
            return []
        if memory.base_count is None and value == 0:
            channel.settled, channel.read_at = True, now.monotonic
            channel.scanned_at = now.monotonic
            return channel.concluded(
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
        risen = memory.base_count is not None and value > memory.base_count
        short = risen and memory.window_rows > 2 * PAGE and not self._full_due(channel, now)
        channel.want_scan(Reach.NARROW if short else Reach.WINDOW, now.monotonic)
        channel.memory = replace(memory, seen=True, server_count=value, complete=None)
        return [channel.kept_or_checked()]

    def _unchanged(self, channel: Channel, value: int, now: Now) -> list[Outcome]:
        memory = channel.memory
        channel.settled = channel.settled or not memory.seen
        if not value:
            channel.read_at = now.monotonic  # nothing is listed
        if memory.seen and memory.missing and channel.explain_due(self._full_interval(), now):
            channel.want_scan(Reach.ALL, now.monotonic)
        elif memory.seen and (self._full_due(channel, now) or memory.complete is None):
            channel.want_scan(Reach.WINDOW, now.monotonic)
        elif memory.seen and memory.baselined and not 0 <= now.utc_ms - memory.read_all_ms < DAY_MS and value:
            channel.want_scan(Reach.ALL, now.monotonic)
        channel.memory = replace(memory, server_count=value, checked_ms=now.utc_ms, carry=0)
        return [channel.kept_or_checked()]

    # --- comparing ----------------------------------------------------------------------------------

    def scan_of(self, number: int, at: ChannelId) -> Scan | None:
        channel = self._channels.get(at)
        return channel.scan_of(number) if channel else None

    def may_be_deleted(self, at: ChannelId, known: Known) -> bool:
        """Whether a row that is not listed has been removed."""
        return self._channels[at].may_be_deleted(known)

    def compared(
        self, scan: Scan, upto: int, growth: int, loss: int, look_again: bool, done: bool, now: Now
    ) -> list[Outcome]:
        """A batch was compared up to and including timestamp `upto`. growth, loss: rows listed first, and no more."""
        return self._channels[scan.at].compared(scan, upto, growth, loss, look_again, done, now)

    def grown(self, at: ChannelId, rows: int) -> list[Outcome]:
        """Rows that are told without being compared (malformed, unknown types) were first listed."""
        channel = self._channels.get(at)
        if channel is None or not rows:
            return []
        channel.memory = replace(channel.memory, growth=channel.memory.growth + rows)
        return [channel.kept_or_checked()]

    # --- pace ---------------------------------------------------------------------------------------

    def _full_due(self, channel: Channel, now: Now) -> bool:
        return now.monotonic - channel.scanned_at > self._full_interval()

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
