"""Which devices and channels are ours, and what they are called. Pure."""

from collections.abc import Callable, Collection, Iterable

from mt1bridge.bridge.parts import Parts
from mt1bridge.feed import outcomes as plan
from mt1bridge.feed.channel import new_memory
from mt1bridge.model.orders import KeepFirstStart
from mt1bridge.model.status import AlertOver, AlertRaised, Device, Note
from mt1bridge.model.trigger import CHANNELS, ChannelId
from mt1bridge.topics.names import device_alerts


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
            self._add_channels(device)
        for channel in self._configured(device):  # maybe only since it was first remembered
            self._feed(parts.reconciliation.named(ChannelId(device, channel), parts.now))
        self.show(device)
        if parts.clocks.offset_ms(device):
            self.clock_alert(device)

    def _configured(self, device: str) -> Collection[str]:
        """The channels that the settings name."""
        found = next((one for one in self._parts.settings.mt1.devices or () if one.id == device), None)
        return found.channels if found is not None else ()

    def _add_channels(self, device: str) -> None:
        """All nine, so that a channel which is first used later has the same first start."""
        parts = self._parts
        parts.reconciliation.add([m for m in parts.journal.channels() if m.at.device == device], parts.now)
        cut_ms, configured = self._cut_ms(parts.now.monotonic), self._configured(device)
        memories = [new_memory(ChannelId(device, name), cut_ms, name in configured) for name in CHANNELS]
        parts.reconciliation.add(memories, parts.now, provisional=True)
        self._feed(parts.reconciliation.standing(device))
        if parts.beginning.settled:
            self._feed(parts.reconciliation.recut(self._cut_ms))

    def _cut_ms(self, moment: float) -> int:
        return self._parts.beginning.cut_ms(moment, self._parts.settings)

    def settle(self) -> None:
        """The clock is as right as it will be: so is how far back is told, and that is written down."""
        parts = self._parts
        parts.beginning.settle(parts.now)
        self._feed(parts.reconciliation.recut(self._cut_ms))
        if parts.beginning.is_first:
            parts.orders.append(KeepFirstStart(self._cut_ms(parts.start.began.monotonic)))

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
        for name in device_alerts(device):
            parts.tell(AlertOver(name))

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
