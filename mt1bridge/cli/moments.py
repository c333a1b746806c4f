"""Moments as people write them, to 100 ns units since 1970 UTC. Pure; exact, never through a float."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

HELP = "2026-02-14, 2026-02-14T10:30:15.1234567 (this machine's time zone; Z or +01:00 may follow), or 90m, 12h, 3d ago"
TICKS_PER_S = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_S = (("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
_AGO = re.compile(r"(\d{1,9})([smhd])")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,7}))?)?)?(Z|[+-]\d\d:\d\d)?", re.IGNORECASE
)


def ticks(text: str, now_ms: int, local: tzinfo | None = None) -> int:
    """Raises ValueError. now_ms: UTC ms, for what is so long ago. local: where no zone is given; None: the system's."""
    text = text.strip()
    if (ago := _AGO.fullmatch(text)) is not None:
        return now_ms * 10_000 - int(ago[1]) * dict(_UNITS_S)[ago[2]] * TICKS_PER_S
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time; write {HELP}")
    day, minute, second, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}")
        moment = moment.replace(tzinfo=_zone(zone) or local) if zone or local else moment.astimezone()
        passed = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from error
    return (passed.days * 86400 + passed.seconds) * TICKS_PER_S + int((fraction or "0").ljust(7, "0"))


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text.upper() == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
