"""The REST calls that are made, and what the answers to counts and pages hold (MT1-API, sections 2, 5 and 6). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote

from mt1bridge.cloud import replies
from mt1bridge.cloud.decode import decode_history_row
from mt1bridge.cloud.json_text import compact
from mt1bridge.model.history import Counted, CountWanted, PageRead, Wanted
from mt1bridge.model.trigger import ChannelId, Malformed, Seen
from mt1bridge.model.upstream import Call, Method


class Purpose(Enum):
    LOGIN = "login"
    VERIFY = "verify"
    LIST = "list"
    WANT = "want"


@dataclass(frozen=True, slots=True)
class Request:
    """wanted: what is to be found by it, of a WANT alone."""

    purpose: Purpose
    method: Method
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that was sent as `call` at asked_ms (UTC ms)."""

    request: Request
    call: Call
    asked_ms: int


def login() -> Request:
    return Request(Purpose.LOGIN, Method.POST, "/mt1/api/user/login")


def verify() -> Request:
    return Request(Purpose.VERIFY, Method.GET, "/mt1/api/user/current")


def list_devices(account: str) -> Request:
    return Request(Purpose.LIST, Method.GET, f"/mt1/api/user/{quote(account, safe='')}/devices")


def want(wanted: Wanted) -> Request:
    at = wanted.at
    path = f"/mt1/api/devices/{at.device}/channel/{at.channel[1:]}/trigger"
    if isinstance(wanted, CountWanted):
        return Request(Purpose.WANT, Method.GET, f"{path}/count", wanted=wanted)
    query = {"limit": str(wanted.limit), "offset": str(wanted.offset)}
    if wanted.to_ms is not None:
        query["timestampTo_ms"] = str(wanted.to_ms)
    if wanted.from_ms is not None:
        query["timestampFrom_ms"] = str(wanted.from_ms)
    return Request(Purpose.WANT, Method.GET, path, query, wanted)


def found(wanted: Wanted, data: list[object], asked_ms: int) -> Counted | PageRead | None:
    """data: of an answer that is well. None: there is no count in it."""
    if isinstance(wanted, CountWanted):
        value = replies.count(data)
        return None if value is None else Counted(wanted.at, value)
    return PageRead(wanted, tuple(_row_of(row, wanted.at) for row in data), asked_ms)


def _row_of(row: object, at: ChannelId) -> Seen:
    """A row that names another channel than the one asked for belongs nowhere."""
    seen = decode_history_row(row, at)
    where = seen.channel if isinstance(seen, Malformed) else seen.id.at
    if where is None or where == at:
        return seen
    return Malformed(at, compact(row), f"history of {at} lists a row of {where}")
