"""Times as the contract writes them. Pure; whole numbers only, never a float."""

from datetime import UTC, datetime, timedelta

TICKS_PER_S = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ticks: int) -> str:
    """100 ns units since 1970 UTC as `2026-02-14T09:30:15.1234500Z`: always seven decimals."""
    seconds, fraction = divmod(ticks, TICKS_PER_S)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:07d}Z".rjust(28, "0")


def local(ticks: int, offset_min: int) -> tuple[str | None, str | None]:
    """(date, time and offset; time of day) on the device's wall clock. None where that is beyond year 9999."""
    seconds, fraction = divmod(ticks, TICKS_PER_S)
    try:
        moment = _EPOCH + timedelta(seconds=seconds, minutes=offset_min)
    except OverflowError:
        return None, None
    of_day = f"{moment:%H:%M:%S}.{fraction:07d}"
    sign, minutes = ("-", -offset_min) if offset_min < 0 else ("+", offset_min)
    return f"{moment.year:04d}-{moment:%m-%d}T{of_day}{sign}{minutes // 60:02d}:{minutes % 60:02d}", of_day


def milliseconds(utc_ms: int | None) -> str | None:
    """UTC ms since 1970 as `2026-02-14T09:30:15.418Z`."""
    if utc_ms is None:
        return None
    seconds, fraction = divmod(utc_ms, 1000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"
