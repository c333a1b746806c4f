"""Numbers of the health message. Pure (CONTRACT, section 5)."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

HOUR_S = 3600.0
KEPT = 2_000  # samples; the newest stand for the hour where there are more


class Latencies:
    """Samples of the last hour in ms."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=KEPT)

    def add(self, now: float, value_ms: int) -> None:
        self._samples.append((now, value_ms))

    def told(self, now: float) -> dict[str, int | None]:
        while self._samples and now - self._samples[0][0] > HOUR_S:
            self._samples.popleft()
        values = sorted(value for _, value in self._samples)
        return {"p50": _percentile(values, 50), "p99": _percentile(values, 99)}


def _percentile(values: list[int], percent: int) -> int | None:
    return values[min(len(values) - 1, len(values) * percent // 100)] if values else None


@dataclass(slots=True)
class Counters:
    """Since the start of the process."""

    published: int = 0
    late: int = 0
    corrected: int = 0
    rejected: int = 0
    repeated: int = 0
    malformed: int = 0
    delay: Latencies = field(default_factory=Latencies)
    bridge: Latencies = field(default_factory=Latencies)

    def triggers(self, missing: int) -> Mapping[str, int]:
        return {
            "published": self.published,
            "late": self.late,
            "corrected": self.corrected,
            "rejected": self.rejected,
            "repeated": self.repeated,
            "malformed": self.malformed,
            "missing": missing,
        }
