"""The simulator's only door to clocks. Times of triggers are ints of 100 ns since 1970 (MT1-API, section 9)."""

import time

UNITS_PER_SECOND = 10_000_000
UNITS_PER_MS = 10_000
RESOLUTION = 100  # an MT1 resolves 10 us, so the last two digits are 00 (MT1-API, section 9)


def now_units() -> int:
    """This moment as a device would stamp it."""
    units = time.time_ns() // 100
    return units - units % RESOLUTION


def wall_time() -> float:
    """Seconds since 1970, for the log of requests only."""
    return time.time()


def monotonic() -> float:
    """Seconds on a clock that never jumps: for every deadline."""
    return time.monotonic()
