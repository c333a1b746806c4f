"""How wrong a device's clock is, and whether an impulse is too old to act on. Pure (CONTRACT, section 3, "Late")."""

from collections.abc import Mapping

from mt1bridge.model.clock import Now
from mt1bridge.model.trigger import TICKS_PER_MS

AGREE_MS = 2_000  # delays that differ by no more agree; an offset of no more is none
APART_MS = 5_000  # impulses received sooner after the last one tell nothing new
NEEDED = 3  # impulses that must agree


class DeviceClocks:
    """How far each device's clock is behind ours (negative: ahead), in ms, as its pushed impulses tell.

    The offset is 0 until three pushed impulses, received 5 s or more apart, agree within 2 s on another.
    """

    def __init__(self, offsets_ms: Mapping[str, int]) -> None:
        self._offsets = dict(offsets_ms)
        self._samples: dict[str, list[tuple[int, int]]] = {}

    def offset_ms(self, device: str) -> int:
        return self._offsets.get(device, 0)

    def recall(self, device: str, offset_ms: int) -> bool:
        """An earlier process knew it, which can be read only now. True if it is news: none was agreed on since."""
        if device in self._offsets:
            return False
        self._offsets[device] = offset_ms
        return True

    def pushed(self, device: str, timestamp: int, now: Now) -> int | None:
        """Take one pushed impulse into account. Returns the device's new offset if it changed."""
        if not now.good:
            return None
        delay = now.utc_ms - timestamp // TICKS_PER_MS
        samples = self._samples.setdefault(device, [])
        if samples and now.utc_ms < samples[-1][0]:
            samples.clear()
        if samples and now.utc_ms - samples[-1][0] < APART_MS:
            return None
        samples.append((now.utc_ms, delay))
        del samples[:-NEEDED]
        delays = [delay for _, delay in samples]
        if len(delays) < NEEDED or max(delays) - min(delays) > AGREE_MS:
            return None
        agreed = sorted(delays)[len(delays) // 2]
        current = self.offset_ms(device)
        if abs(agreed - current) <= AGREE_MS:
            return None
        self._offsets[device] = 0 if abs(agreed) <= AGREE_MS else agreed
        return self._offsets[device]


def is_late(timestamp: int, offset_ms: int, now: Now, live_within_ms: int, not_before_ms: int = 0) -> bool:
    """True for old news. timestamp: 100 ns units. not_before_ms: what is older than this journal is always late."""
    if not now.good:
        return True
    happened_ms = timestamp // TICKS_PER_MS + offset_ms
    return now.utc_ms - happened_ms > live_within_ms or happened_ms < not_before_ms
