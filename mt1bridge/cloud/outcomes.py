"""What comes of the session with the MT1 server: orders to the shells and news for the feed. Values only."""

from dataclasses import dataclass

from mt1bridge.cloud.budget import BudgetMemo
from mt1bridge.cloud.subscription import SubscriptionLost, SubscriptionStands
from mt1bridge.model.history import Found
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import AlertOver, AlertRaised, Device, Note
from mt1bridge.model.trigger import Seen
from mt1bridge.model.upstream import Call, CloseLink, OpenLink


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is kept over a restart (file mode 0600). obtained_ms: UTC ms."""

    username: str
    token: Secret
    account: str
    obtained_ms: int


@dataclass(frozen=True, slots=True)
class KeepToken:
    """Write the token down; None: forget it."""

    kept: KeptToken | None


@dataclass(frozen=True, slots=True)
class KeepBudget:
    memo: BudgetMemo


@dataclass(frozen=True, slots=True)
class Pushed:
    """Sightings of one pushed message, in their order."""

    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class DevicesListed:
    devices: tuple[Device, ...]


Outcome = (
    OpenLink
    | CloseLink
    | Call
    | KeepToken
    | KeepBudget
    | Pushed
    | Found
    | DevicesListed
    | SubscriptionStands
    | SubscriptionLost
    | Note
    | AlertRaised
    | AlertOver
)
