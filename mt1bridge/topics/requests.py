"""Requests over MQTT -> values, or a sentence that helps. Pure (CONTRACT, section 6)."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mt1bridge.model.trigger import CHANNELS
from mt1bridge.topics.replays import Wish

LONGEST = 16_384  # bytes of a request
TRANSACTION = re.compile(r"[A-Za-z0-9_-]{1,64}")
LEVELS = ("debug", "info", "warning", "error")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?\s*(Z|z|[+-]\d{2}:?\d{2})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RequestError(ValueError):
    """What is wrong with a request, and what would be right."""


@dataclass(frozen=True, slots=True)
class ReplayAsked:
    wish: Wish


@dataclass(frozen=True, slots=True)
class ReconcileAsked:
    pass


@dataclass(frozen=True, slots=True)
class LogLevelAsked:
    level: str


@dataclass(frozen=True, slots=True)
class HealthAsked:
    pass


Asked = ReplayAsked | ReconcileAsked | LogLevelAsked | HealthAsked

VERBS = ("replay", "reconcile", "log_level", "health")


def transaction_of(payload: bytes, make: Callable[[], str]) -> str:
    """The caller's transaction where it is readable and well-formed, else one of ours."""
    try:
        found = _object(payload).get("transaction")
    except RequestError:
        return make()
    return found if isinstance(found, str) and TRANSACTION.fullmatch(found) else make()


def read_request(verb: str, payload: bytes) -> Asked:
    """Raises RequestError. An empty payload is a request without fields."""
    if verb not in VERBS:
        raise RequestError(f"there is no verb {verb[:40]!r}; the verbs are {', '.join(VERBS)}")
    body = _object(payload)
    transaction = body.pop("transaction", None)
    if transaction is not None and not (isinstance(transaction, str) and TRANSACTION.fullmatch(transaction)):
        raise RequestError("transaction: expected 1 to 64 of A-Z a-z 0-9 _ -")
    asked = _READERS[verb](body)
    if body:
        raise RequestError(f"{verb} has no field {next(iter(body))[:40]!r}")
    return asked


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > LONGEST:
        raise RequestError(f"the request has {len(payload)} bytes; at most {LONGEST} are taken")
    if not payload.strip():
        return {}
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise RequestError("the request is not JSON; an object like {} is expected") from None
    if not isinstance(body, dict):
        raise RequestError("the request is JSON but no object; an object like {} is expected")
    return body


def _replay(body: dict[str, Any]) -> Asked:
    wish = Wish(
        since=_time(body, "since"),
        until=_time(body, "until"),
        from_sequence=_whole(body, "from_sequence"),
        to_sequence=_whole(body, "to_sequence"),
        topic=_text(body, "topic"),
        journal=_text(body, "journal"),
        device=_device(body),
        channel=_channel(body),
        start_number=_whole(body, "start_number"),
    )
    by_sequence = wish.from_sequence is not None or wish.to_sequence is not None
    if by_sequence and (wish.topic is None or wish.journal is None):
        raise RequestError("from_sequence and to_sequence need topic and journal: a sequence counts within these two")
    _in_order("since", wish.since, "until", wish.until)
    _in_order("from_sequence", wish.from_sequence, "to_sequence", wish.to_sequence)
    return ReplayAsked(wish)


def _in_order(low: str, least: int | None, high: str, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        raise RequestError(f"{low} is after {high}, so nothing lies between them: change the two round")


def _log_level(body: dict[str, Any]) -> Asked:
    level = body.pop("level", None)
    if level not in LEVELS:
        raise RequestError(f"level: expected one of {', '.join(LEVELS)}")
    return LogLevelAsked(str(level))


_READERS: Mapping[str, Callable[[dict[str, Any]], Asked]] = {
    "replay": _replay,
    "reconcile": lambda _: ReconcileAsked(),
    "log_level": _log_level,
    "health": lambda _: HealthAsked(),
}


def _whole(body: dict[str, Any], key: str) -> int | None:
    value = body.pop(key, None)
    if value is None or (type(value) is int and abs(value) < 2**63):
        return value
    raise RequestError(f"{key}: expected a whole number")


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.pop(key, None)
    if value is None or (isinstance(value, str) and len(value) <= 256):
        return value
    raise RequestError(f"{key}: expected a short text")


def _device(body: dict[str, Any]) -> str | None:
    value = body.pop("device", None)
    if type(value) is int and value >= 0:
        value = str(value)
    if value is None or (isinstance(value, str) and value.isascii() and value.isdigit()):
        return value
    raise RequestError("device: expected the digits of a device id")


def _channel(body: dict[str, Any]) -> str | None:
    value = body.pop("channel", None)
    if value is None or (isinstance(value, str) and value in CHANNELS):
        return value
    raise RequestError("channel: expected C0 to C8")


def _time(body: dict[str, Any], key: str) -> int | None:
    """A time with up to nine decimals and its offset (UTC without one), as 100 ns units."""
    value = body.pop(key, None)
    if value is None:
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RequestError(f"{key}: expected a time like 2026-02-14T09:30:15.1234500Z")
    date, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}+00:00") - _offset(offset)
    except (ValueError, OverflowError):
        raise RequestError(f"{key}: there is no such time") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * 10_000_000 + int(((fraction or "") + "0000000")[:7])


def _offset(text: str | None) -> timedelta:
    if text is None or text in "Zz":
        return timedelta()
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timedelta(minutes=minutes if text[0] == "+" else -minutes)
