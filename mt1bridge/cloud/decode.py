"""The server's JSON -> sightings. Pure, and the one place that knows the field names of a trigger.

Shapes: MT1-API, sections 9 and 10. Nothing here raises: what cannot be read becomes a
`Malformed` of its own and leaves its neighbours alone.
"""

from mt1bridge.cloud.json_text import MAX_DIGITS, NotJson, compact, encodable, parse, parse_text, text_of
from mt1bridge.model.trigger import (
    CHANNELS,
    LAST_TICK,
    Change,
    ChannelId,
    Malformed,
    Reading,
    Seen,
    Sighting,
    TriggerId,
)

MAX_DEVICE_DIGITS = 32  # nine are usual; a topic must not be built from thousands
MAX_NUMBER = 2**63 - 1
MAX_OFFSET_MIN = 2880
MAX_TYPE_CHARS = 64

_TYPES = {"StartNumberTrigger": Change.SET, "ClearTrigger": Change.CLEAR}


class _Wrong(ValueError):
    """A field of a trigger has a shape that we do not take; the text says which."""


def decode_push(body: bytes, device: str | None = None) -> list[Seen]:
    """Return what one MESSAGE shows, in its order.

    body: the wrapper {"type", "dto", "entityType"}, a bare trigger, an array of either, or any of these as JSON
    text within JSON text. device: from the destination, used where the trigger names none.
    """
    try:
        value = parse(body)
        if isinstance(value, str):
            value = parse_text(value)
    except NotJson as error:
        return [Malformed(None, text_of(body), str(error))]
    if isinstance(value, list):
        elements = [_pushed(element, device) for element in value]
        return elements or [Malformed(None, "[]", "an empty list")]
    return [_pushed(value, device)]


def decode_history_row(row: object, channel: ChannelId) -> Seen:
    """Return what one parsed row of the history of `channel` shows; device and channel may be left out in it."""
    if not isinstance(row, dict):
        return Malformed(channel, compact(row), f"no trigger but {_kind(row)}")
    return _trigger(row, row, channel.device, channel.channel)


def device_id(value: object) -> str | None:
    """Return a device id, given as digits or as a number, as digits; None if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a minus sign is no digit
    return value if isinstance(value, str) and _digits(value) and len(value) <= MAX_DEVICE_DIGITS else None


def _pushed(element: object, device: str | None) -> Seen:
    if not isinstance(element, dict):
        return Malformed(None, compact(element), f"no trigger but {_kind(element)}")
    if "dto" not in element:
        return _trigger(element, element, device, None)
    dto = element["dto"]
    if not isinstance(dto, dict):
        return Malformed(None, compact(element), f"dto is no trigger but {_kind(dto)}")
    return _trigger(dto, element, device, None, deleted=element.get("type") == "ENTITY_DELETE")


def _trigger(
    dto: dict[str, object], whole: object, device: str | None, channel: str | None, *, deleted: bool = False
) -> Seen:
    """Read one trigger. whole: what `raw` is to show of it; device, channel: where it names none."""
    at: ChannelId | None = None
    try:
        at = ChannelId(_device(dto.get("deviceId"), device), _channel(dto.get("timingChannel"), channel))
        trigger = TriggerId(at.device, at.channel, _timestamp(dto.get("timestamp")))
        reading = _reading(dto)
    except _Wrong as error:
        return Malformed(at, compact(whole), str(error))
    kind = dto.get("type")
    change = _TYPES.get(kind, Change.UNKNOWN) if isinstance(kind, str) else Change.UNKNOWN
    if deleted:
        # The deletion of a clear may mean that the entry is back, or nothing: told, never acted on.
        change = Change.DELETE if change is Change.SET else Change.UNKNOWN
    raw = compact(whole if deleted else dto) if change is Change.UNKNOWN else ""
    return Sighting(trigger, change, reading, raw)


def _reading(dto: dict[str, object]) -> Reading:
    number, number_type = _start_number(dto.get("startNumber"))
    return Reading(
        start_number=number,
        start_number_type=number_type,
        valid=_flag(dto, "valid"),
        blocked=_flag(dto, "blocked"),
        falling_edge=_flag(dto, "fallingEdge"),
        time_offset=_time_offset(dto.get("timeOffset")),
    )


def _device(value: object, fallback: str | None) -> str:
    device = device_id(fallback if value is None else value)
    if device is None:
        raise _Wrong("deviceId is missing" if value is None else "deviceId is not made of digits")
    return device


def _channel(value: object, fallback: str | None) -> str:
    if value is None:
        value = fallback
    if not isinstance(value, str) or value not in CHANNELS:
        raise _Wrong("timingChannel is missing" if value is None else "timingChannel is none of C0..C8")
    return value


def _timestamp(value: object) -> int:
    """A fraction is refused even where it is whole: above 2**53 a sender's float has lost units already."""
    if value is None:
        raise _Wrong("timestamp is missing")
    if isinstance(value, str) and _digits(value) and len(value) <= MAX_DIGITS:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong("timestamp is no whole number")
    if not 0 <= value <= LAST_TICK:
        raise _Wrong("timestamp is outside the years 1970 to 9999")
    return value


def _start_number(value: object) -> tuple[int | None, str | None]:
    """The documented object, or the bare number that another client has seen (MT1-API, section 9)."""
    if not isinstance(value, dict):
        return _number(value), None
    kind = value.get("type")
    if kind is not None and not (isinstance(kind, str) and len(kind) <= MAX_TYPE_CHARS and encodable(kind)):
        raise _Wrong("startNumber.type is no text of at most 64 characters")
    return _number(value.get("startNumber")), kind


def _number(value: object) -> int | None:
    if value is None:
        return None
    number = _signed(value)
    if number is None or abs(number) > MAX_NUMBER:
        raise _Wrong("startNumber is no number of at most 64 bits")
    return number


def _time_offset(value: object) -> int:
    if value is None:
        return 0
    minutes = _signed(value)
    if minutes is None or abs(minutes) > MAX_OFFSET_MIN:
        raise _Wrong("timeOffset is no whole number of minutes within two days")
    return minutes


def _flag(dto: dict[str, object], name: str) -> bool | None:
    value = dto.get(name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    raise _Wrong(f"{name} is neither true nor false")


def _signed(value: object) -> int | None:
    """Return a whole number given as such or as digits with or without a sign, else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _digits(value[value[:1] in ("+", "-") :]) and len(value) <= MAX_DIGITS:
        return int(value)
    return None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()  # isdigit alone takes the digits of every script


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a number"
