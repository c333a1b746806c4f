"""Which devices and channels are ours, and what they are called. Pure."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from mt1bridge.bridge.parts import Parts
from mt1bridge.feed import outcomes as plan
from mt1bridge.feed.channel import new_memory
from mt1bridge.model.clock import Now
from mt1bridge.model.known import ChannelMemory
from mt1bridge.model.orders import KeepFirstStart
from mt1bridge.model.status import AlertOver, AlertRaised, Device, Note
from mt1bridge.model.trigger import CHANNELS, ChannelId

FIRST_MINUTE_MS = 60_000
CLOCK_OFF_MS = 1_000  # less is no matter


class Devices:
    """feed: where outcomes of reconciling go."""

    def __init__(self, parts: Parts, feed_outcomes: Callable[[Iterable[plan.Outcome]], None]) -> None:
        self._parts = parts
        self._feed = feed_outcomes
        self._unlisted: set[str] = set()  # told that the account's list lacks them

    def listed(self, devices: Iterable[Device]) -> None:
        """The account's list came: names and raw data of all; without configured devices they are ours."""
        parts = self._parts
        parts.called.listed = {device.id: device for device in devices}
        if parts.settings.mt1.devices is None:
            self.are(parts.called.listed)
        for known in parts.desk.devices():
            self.show(known)
            if known not in parts.called.listed and known not in self._unlisted:
                self._unlisted.add(known)
                parts.tell(Note("device_not_listed", "warning", {"device": known}))
        self._unlisted -= set(parts.called.listed)

    def are(self, devices: Iterable[str]) -> None:
        """Exactly these are ours from now on."""
        wanted = list(devices)
        for gone in [device for device in self._parts.desk.devices() if device not in wanted]:
            self.remove(gone)
        for device in wanted:
            self.add(device)

    def is_ours(self, device: str) -> bool:
        """Whether a trigger of this device concerns us; as long as the account's list is not known, any does."""
        ours = self._parts.session.devices
        return ours is None or device in ours

    def add(self, device: str) -> None:
        parts = self._parts
        if parts.reconciliation.memory(ChannelId(device, CHANNELS[0])) is None:
            parts.reconciliation.add(self._memories(device), parts.now)
        for channel in self._configured(device):  # maybe only since it was first remembered
            self._feed(parts.reconciliation.named(ChannelId(device, channel), parts.now))
        self.show(device)
        if parts.clocks.offset_ms(device):
            self.clock_alert(device)

    def _configured(self, device: str) -> Collection[str]:
        """The channels that the settings name."""
        found = next((one for one in self._parts.settings.mt1.devices or () if one.id == device), None)
        return found.channels if found is not None else ()

    def _memories(self, device: str) -> list[ChannelMemory]:
        """All nine channels, so that a channel which is first used later has the same first start."""
        parts = self._parts
        kept = {memory.at: memory for memory in parts.journal.channels() if memory.at.device == device}
        memories = []
        for channel in CHANNELS:
            at = ChannelId(device, channel)
            memory = kept.get(at) or new_memory(at, self._cut_ms(), channel in self._configured(device))
            memory = self._not_in_the_future(memory)
            if memory != kept.get(at):
                parts.journal.remember(memory, parts.now.utc_ms)
                parts.journal.sync()  # when it became ours must not be forgotten
            memories.append(memory)
        return memories

    def _cut_ms(self) -> int:
        """A device that becomes ours later has a first start of its own."""
        parts = self._parts
        if parts.now.utc_ms - parts.start.started_ms < FIRST_MINUTE_MS:
            return parts.start.cut_ms
        return parts.now.utc_ms - parts.settings.reconcile.first_start_s * 1000

    def _not_in_the_future(self, memory: ChannelMemory) -> ChannelMemory:
        """A first start after now was one under a clock that was wrong: nobody knows when, but it was before this."""
        parts = self._parts
        if not parts.now.good or memory.baselined or memory.cut_ms <= parts.now.utc_ms:
            return memory
        return replace(memory, cut_ms=min(parts.start.cut_ms, parts.start.started_ms))

    def clock_known(self, begun: Now) -> None:
        """The clock is known to be right from now on, and may have been wrong until now: what the first start does not
        reach back to depends on it. begun: the start, by that clock."""
        parts = self._parts
        passed_ms = int((parts.now.monotonic - begun.monotonic) * 1000)
        before = parts.start
        parts.start = before.at(parts.now.utc_ms - passed_ms, parts.settings)
        ahead_ms = before.started_ms - parts.start.started_ms
        if abs(ahead_ms) < CLOCK_OFF_MS:
            parts.start = before
            return
        if before.first_ms is None:
            parts.orders.append(KeepFirstStart(parts.start.cut_ms))
        parts.desk.started(parts.start.started_ms)
        for memory in parts.reconciliation.memories:
            if memory.baselined:
                continue
            cut_ms = memory.cut_ms
            if cut_ms == before.cut_ms:
                cut_ms = parts.start.cut_ms
            elif before.started_ms <= cut_ms <= before.started_ms + passed_ms:
                cut_ms -= ahead_ms
            changed = self._not_in_the_future(replace(memory, cut_ms=cut_ms))
            if changed != memory:
                parts.reconciliation.begins(changed)
                parts.journal.remember(changed, parts.now.utc_ms)

    def show(self, device: str) -> None:
        parts = self._parts
        listed = parts.called.listed.get(device)
        name = parts.called.names(ChannelId(device, CHANNELS[0]))[0]
        shown = [m.at.channel for m in parts.reconciliation.memories if m.at.device == device and m.seen]
        raw = listed.raw if listed else ""
        parts.desk.device(Device(device, name, listed.type if listed else None, raw), sorted(shown))

    def remove(self, device: str) -> None:
        parts = self._parts
        self._feed(parts.reconciliation.remove(device))
        parts.desk.remove(device)
        for name in (f"device_refused_{device}", f"device_clock_{device}"):
            parts.tell(AlertOver(name))
        for channel in CHANNELS:
            parts.tell(AlertOver(f"missing_{device}_{channel}"))
            parts.tell(AlertOver(f"only_rejected_{device}_{channel}"))

    def clock_alert(self, device: str) -> None:
        """Raise or lift the alert about a device's clock."""
        parts = self._parts
        offset_s = parts.clocks.offset_ms(device) / 1000
        if not offset_s:
            parts.tell(AlertOver(f"device_clock_{device}"))
            return
        way = "behind" if offset_s > 0 else "ahead of"
        text = f"The clock of device {device} is {abs(offset_s):.1f} s {way} ours: its times are told as it sends them."
        parts.tell(AlertRaised(f"device_clock_{device}", text, {"device": device, "offset_s": round(offset_s, 1)}))
