"""What the bridge tells the loop to do; what the loop tells the bridge of the process itself."""

from dataclasses import dataclass

from mt1bridge.model.broker import CloseBroker, OpenBroker, Publish
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import Call, CloseLink, OpenLink


@dataclass(frozen=True, slots=True)
class StatusText:
    """For `systemctl status`."""

    text: str


@dataclass(frozen=True, slots=True)
class SetLogLevel:
    """Until the next start."""

    level: str


@dataclass(frozen=True, slots=True)
class KeepFirstStart:
    """Write down how far back the very first start reaches. cut_ms: UTC ms."""

    cut_ms: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left to do: the process may end."""


# --- events of the process --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, nothing else happened."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """SIGTERM or SIGINT."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """SIGHUP: the configuration is to be read again."""


@dataclass(frozen=True, slots=True)
class JournalTrouble:
    """The disk does not take the journal (text), or takes it again (None)."""

    text: str | None


@dataclass(frozen=True, slots=True)
class DiskMeasured:
    """free_bytes: where the journal is; -1 where that cannot be told."""

    free_bytes: int


Outward = OpenLink | CloseLink | Call | OpenBroker | CloseBroker | Publish
Told = Note | StatusText | SetLogLevel | KeepFirstStart | Finished
