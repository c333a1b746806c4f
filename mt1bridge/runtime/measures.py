"""What the process costs: memory and bytes written. From /proc; zero where there is none."""

import os
from pathlib import Path

DAY_MS = 86_400_000


def rss_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_048_576


class WrittenToday:
    """Bytes that this process sent to the disk since midnight UTC, or since its start."""

    def __init__(self) -> None:
        self._day = -1
        self._before = 0

    def bytes(self, utc_ms: int) -> int:
        total = _written()
        day = utc_ms // DAY_MS
        if day != self._day:
            self._before = total if self._day >= 0 else 0
            self._day = day
        return max(0, total - self._before)


def _written() -> int:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)
