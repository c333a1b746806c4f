"""Which SUBSCRIBE goes out when, and when the subscriptions are taken to stand. Pure.

A server need not answer receipts (Spring's simple broker does not), so every wait for one has an end.
"""

import math
from dataclasses import dataclass

from mt1bridge.cloud.limits import LinkLimits


@dataclass(frozen=True, slots=True)
class Subscribe:
    """One SUBSCRIBE frame. subscription: its id header. receipt: the one it asks for."""

    device: str
    destination: str
    subscription: str
    receipt: str


class Subscribing:
    """The subscriptions of one connection. Times are monotonic seconds."""

    def __init__(self, devices: tuple[str, ...], one_by_one: bool, limits: LinkLimits) -> None:
        self._all = [
            Subscribe(device, f"/topic/device/{device}/trigger", f"sub-{number}", f"receipt-{number}")
            for number, device in enumerate(dict.fromkeys(devices))
        ]
        self._one_by_one = one_by_one
        self._limits = limits
        self._sent = 0
        self._sent_at = -math.inf
        self._unreceipted: set[str] = set()
        self._told = False

    def take_due(self, now: float) -> list[Subscribe]:
        """What is to be sent now; it counts as sent."""
        if self._sent == len(self._all) or (self._one_by_one and self._sent and now < self._step_at()):
            return []
        upto = self._sent + 1 if self._one_by_one else len(self._all)
        due = self._all[self._sent : upto]
        self._sent, self._sent_at = upto, now
        self._unreceipted.update(one.receipt for one in due)
        return due

    def take_standing(self, now: float) -> bool:
        """True once: when all are sent, and receipted or given the time to take effect."""
        if self._told or self._sent < len(self._all) or (self._unreceipted and now < self._stand_at()):
            return False
        self._told = True
        return True

    def next_at(self) -> float:
        """When to ask again, if no receipt comes before."""
        if self._told:
            return math.inf
        return self._stand_at() if self._sent == len(self._all) else self._step_at()

    def receipted(self, receipt: str) -> bool:
        """Note a receipt. False: it is none that was waited for."""
        known = receipt in self._unreceipted
        self._unreceipted.discard(receipt)
        return known

    def is_ours(self, subscription: str | None, destination: str | None) -> bool:
        """Whether a MESSAGE with these headers belongs to a subscription of ours. One of the two may be missing."""
        ids = {one.subscription for one in self._all[: self._sent]}
        destinations = {one.destination for one in self._all[: self._sent]}
        named = (subscription is None or subscription in ids) and (destination is None or destination in destinations)
        return named and (subscription is not None or destination is not None)

    def destination(self, subscription: str | None) -> str:
        return next((one.destination for one in self._all if one.subscription == subscription), "")

    def suspect(self, receipt: str | None = None) -> str | None:
        """The device that an end of the link points at, while one is subscribed after the other: the one whose
        SUBSCRIBE the server names by its receipt, else the last one sent. None otherwise, and once all stand."""
        if not self._one_by_one or self._told or not self._sent:
            return None
        named = [one.device for one in self._all[: self._sent] if one.receipt == receipt]
        return named[0] if named else self._all[self._sent - 1].device

    def _step_at(self) -> float:
        former = self._all[self._sent - 1].receipt if self._sent else None
        return self._sent_at + self._limits.one_by_one if former in self._unreceipted else -math.inf

    def _stand_at(self) -> float:
        return self._sent_at + self._limits.receipts
