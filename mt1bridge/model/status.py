"""Names of states, and what people are told of the bridge itself (CONTRACT, sections 2, 4, 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Upstream(StrEnum):
    """States of the link to the MT1 server, CONTRACT section 4."""

    STARTING = "starting"
    LOGGING_IN = "logging_in"
    SUBSCRIBING = "subscribing"
    RECONCILING = "reconciling"
    LIVE = "live"
    DEGRADED = "degraded"
    POLLING = "polling"
    DISCONNECTED = "disconnected"
    QUOTA = "quota"
    LOGIN_REFUSED = "login_refused"
    STOPPING = "stopping"


class Broker(StrEnum):
    """The broker's state, as `systemctl status` shows it."""

    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """since_ms, next_try_ms: UTC ms."""

    state: Upstream
    since_ms: int
    reasons: tuple[str, ...] = ()
    next_try_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something notable that happened, for the log and, with public, for `bridge/event`.

    event: snake_case, past tense. level: debug, info, warning, error.
    """

    event: str
    level: str = "info"
    facts: Mapping[str, object] = field(default_factory=dict)
    public: bool = False


@dataclass(frozen=True, slots=True)
class AlertRaised:
    """A standing fault, in plain words, until AlertOver with the same name."""

    name: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertOver:
    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the account. raw: what the server says of it, compact JSON, "" if it was never listed."""

    id: str
    name: str | None = None
    type: str | None = None
    raw: str = ""
