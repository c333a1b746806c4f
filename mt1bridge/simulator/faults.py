"""Faults waiting for their victim: each is taken by the next call or connection that it names, so often as told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REST_FAULTS = {
    "html": "200 with a page instead of JSON (captive portal)",
    "empty": "200 with an empty body",
    "truncated": "the true answer, half of it promised and not sent; connection closed",
    "cut": "the true answer without its second half, length and connection in order",
    "status": "an HTTP status (`status`, e.g. 502) with an HTML page",
    "envelope": "200 with this `status` in the envelope and no data (e.g. -2011)",
    "slow": "the true answer, one byte per `delay_s`",
    "delay": "the true answer after `delay_s`",
    "hang": "no answer at all",
    "lost": "the call is carried out, the connection closed without an answer",
    "reset": "the connection is reset before the call is carried out",
    "huge": "a body of `size` bytes without end",
    "raw": "`status`, `headers` and `body` (or `body_hex`) as given",
}
CONNECT_FAULTS = {
    "hang": "the upgrade is never answered",
    "status": "the upgrade is answered with `status`, e.g. 502, and an HTML page",
    "reset": "the connection is reset instead of an answer",
    "wrong_accept": "101 with a wrong Sec-WebSocket-Accept",
    "no_open": "upgraded, but no `o` ever comes",
    "close": "`o`, then c[`code`,`reason`]",
    "no_connected": "CONNECT is never answered",
    "error": "CONNECT is answered with ERROR (`reason`) and a close",
    "close_after_subscribe": "closed without a word at the first SUBSCRIBE",
    "text": "upgraded, then `body` as text message instead of `o`",
    "mute": "all is well, but no MESSAGE ever comes on this connection",
    "swallow": "half-open right after CONNECTED: nothing is read or written any more",
}
CALLS = ("login", "current", "devices", "count", "history", "info")


@dataclass(slots=True)
class Fault:
    """One waiting fault. times: how often it still strikes, None for ever; device: only calls that name it."""

    kind: str
    where: str = "any"
    times: int | None = 1
    device: str | None = None
    status: int = 502
    code: int = 3000
    reason: str = "Go away!"
    body: str = ""
    body_hex: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 1.0
    size: int = 100_000_000


@dataclass(slots=True)
class Faults:
    rest: list[Fault] = field(default_factory=list)
    connect: list[Fault] = field(default_factory=list)

    def take_rest(self, where: str, device: str | None) -> Fault | None:
        """The first fault that strikes this call."""
        for fault in self.rest:
            if fault.where in ("any", where) and fault.device in (None, device):
                return _spend(self.rest, fault)
        return None

    def take_connect(self) -> Fault | None:
        return _spend(self.connect, self.connect[0]) if self.connect else None

    def clear(self) -> None:
        self.rest.clear()
        self.connect.clear()


def made(kinds: Mapping[str, str], kind: str, options: Mapping[str, Any]) -> Fault:
    """ValueError for a kind, a place or an option that does not exist."""
    if kind not in kinds:
        raise ValueError(f"no such fault: {kind}; there are {', '.join(kinds)}")
    fault = Fault(kind, **options)
    if fault.where not in ("any", *CALLS):
        raise ValueError(f"no such call: {fault.where}; there are any, {', '.join(CALLS)}")
    return fault


def _spend(waiting: list[Fault], fault: Fault) -> Fault:
    if fault.times is not None:
        fault.times -= 1
        if fault.times <= 0:
            waiting.remove(fault)
    return fault
