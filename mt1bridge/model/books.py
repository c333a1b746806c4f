"""What topics/ may read of the journal."""

from collections.abc import Iterable
from typing import Protocol

from mt1bridge.model.fact import InEffect
from mt1bridge.model.known import Tally
from mt1bridge.model.trigger import ChannelId


class Books(Protocol):
    @property
    def journal(self) -> str:
        """The journal id of the present epoch."""

    @property
    def may_repeat(self) -> bool:
        """Whether something may have been told, and retained, that the journal does not know of."""

    def newest(self, at: ChannelId) -> InEffect | None:
        """The newest trigger in effect of a channel."""

    def recent(self, device: str, channels: Iterable[str]) -> list[InEffect]:
        """The newest 20 triggers in effect of a device, newest first."""

    def tally(self, at: ChannelId) -> Tally:
        """How much of a channel was published and is in effect."""

    def retained(self) -> set[str]:
        """Topics that this instance once retained."""
