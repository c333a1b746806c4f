"""Which connection to the realtime endpoint is wanted: opening, losing, renewing without a gap. Pure.

A new connection is subscribed before the old one is closed (DESIGN, "Renewal without a gap").
"""

from collections.abc import Callable
from dataclasses import dataclass

from mt1bridge.model.clock import Now
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import (
    CloseLink,
    LinkConnected,
    LinkLost,
    LinkSubscribed,
    OpenLink,
    Trouble,
)
from mt1bridge.runtime.backoff import Backoff, Pace

OVERLAP_S = 5.0  # both connections stand that long, so that nothing falls between them
WELL_S = 60.0  # a link that stood that long was no failure
ERRORS_BEFORE_ISOLATING = 2
RENEW_GAP_S = 600.0


@dataclass(frozen=True, slots=True)
class SubscriptionStands:
    """Push flows for these devices from now on; what came before is in history only."""

    devices: tuple[str, ...]
    heart_beat: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionLost:
    text: str


@dataclass(frozen=True, slots=True)
class TokenDoubted:
    """The server ended the connection when it was shown the token: REST must say whether it is still good."""


Outcome = OpenLink | CloseLink | SubscriptionStands | SubscriptionLost | TokenDoubted | Note


@dataclass(slots=True)
class _Link:
    number: int
    devices: tuple[str, ...]
    token: Secret
    connected: bool = False
    subscribed: bool = False
    subscribed_at: float = 0.0
    heart_beat: str = ""
    silence_limit_s: float = 0.0


class Subscription:
    """At most two connections: the present one and the one that is to replace it."""

    def __init__(self, rand: Callable[[], float]) -> None:
        self._backoff = Backoff(Pace(1.0, 60.0), rand, forget_after_s=WELL_S)
        self._present: _Link | None = None
        self._next: _Link | None = None
        self._number = 0
        self._try_at = 0.0
        self._close_old_at: tuple[float, int] | None = None
        self._errors = 0
        self._one_by_one = False
        self._refused: dict[str, float] = {}  # devices whose subscription ends the session
        self._renew_wanted = False
        self._renewed_at = float("-inf")
        self.reconnects = -1
        self.since_ms: int | None = None
        self.lost_since: float | None = 0.0
        self.trouble: Trouble | None = None
        self.text = ""
        self.outage_told = False

    @property
    def subscribed(self) -> bool:
        return self._present is not None and self._present.subscribed

    @property
    def connected(self) -> bool:
        return self._present is not None and self._present.connected

    @property
    def opening(self) -> bool:
        return self._present is not None and not self._present.subscribed

    @property
    def number(self) -> int | None:
        return self._present.number if self._present else None

    @property
    def try_at(self) -> float:
        return self._try_at

    @property
    def refused(self) -> frozenset[str]:
        return frozenset(self._refused)

    def devices(self) -> tuple[str, ...]:
        return self._present.devices if self._present and self._present.subscribed else ()

    def owns(self, link: int) -> bool:
        return any(one is not None and one.number == link for one in (self._present, self._next)) or (
            self._close_old_at is not None and self._close_old_at[1] == link
        )

    def renew(self) -> None:
        """The present connection is to be replaced by a fresh one, soon."""
        self._renew_wanted = True

    def retry_refused(self) -> None:
        """A full round: devices whose subscription was refused are tried again."""
        if self._refused:
            self._refused.clear()
            self._renew_wanted = True

    def retry_now(self, now: Now) -> None:
        self._try_at = now.monotonic

    def tick(self, now: Now, token: Secret | None, devices: tuple[str, ...]) -> list[Outcome]:
        """Open what is wanted and due. token None or no devices: nothing is."""
        outcomes: list[Outcome] = []
        if self._close_old_at is not None and now.monotonic >= self._close_old_at[0]:
            outcomes.append(CloseLink(self._close_old_at[1]))
            self._close_old_at = None
        wanted = self._wanted(devices)
        if token is None or not wanted or now.monotonic < self._try_at or not self._may_open(token, wanted):
            return outcomes
        link = self._new(wanted, token)
        if self._present is None:
            self._present = link
        else:
            self._renew_wanted = False
            self._next = link
        return [*outcomes, self._open(link)]

    def next_due(self, token: Secret | None, devices: tuple[str, ...]) -> float:
        """Monotonic second when `tick` has something to do."""
        wanted = self._wanted(devices)
        due = self._try_at if token is not None and wanted and self._may_open(token, wanted) else float("inf")
        return min(due, self._close_old_at[0] if self._close_old_at else float("inf"))

    def _wanted(self, devices: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(device for device in devices if device not in self._refused)

    def _may_open(self, token: Secret, wanted: tuple[str, ...]) -> bool:
        """Whether there is no connection, or the present one is to be replaced and can be."""
        present = self._present
        if present is None:
            return True
        if not present.subscribed or self._next is not None or self._close_old_at is not None:
            return False
        return present.devices != wanted or present.token != token or self._renew_wanted

    def push_missed(self, now: Now) -> bool:
        """History showed what push should have brought: renew, but not again and again. True if it is done."""
        if not self.subscribed or now.monotonic - self._renewed_at < RENEW_GAP_S:
            return False
        self._renewed_at = now.monotonic
        self._renew_wanted = True
        return True

    def connected_now(self, event: LinkConnected) -> None:
        for link in (self._present, self._next):
            if link is not None and link.number == event.link:
                link.connected = True
                link.heart_beat, link.silence_limit_s = event.heart_beat, event.silence_limit_s

    def subscribed_now(self, event: LinkSubscribed, now: Now) -> list[Outcome]:
        outcomes: list[Outcome] = []
        link = self._next if self._next is not None and self._next.number == event.link else self._present
        if link is None or link.number != event.link:
            return []
        if link is self._next:
            if self._present is not None:
                self._close_old_at = (now.monotonic + OVERLAP_S, self._present.number)
            self._present, self._next = link, None
        link.subscribed, link.subscribed_at = True, now.monotonic
        self._backoff.well(now.monotonic)
        self.reconnects += 1
        self.since_ms = now.utc_ms
        silent_s = None if self.lost_since is None else round(now.monotonic - self.lost_since, 1)
        self.lost_since, self.trouble, self.text = None, None, ""
        facts: dict[str, object] = {
            "devices": len(link.devices),
            "heart_beat": link.heart_beat,
            "silence_limit_s": link.silence_limit_s,
        }
        if self.outage_told:
            facts["outage_s"] = silent_s
            outcomes.append(Note("link_restored", "info", facts, public=True))
        else:
            outcomes.append(Note("link_subscribed", "info", facts))
        self.outage_told = False
        return [*outcomes, SubscriptionStands(link.devices, link.heart_beat)]

    def lost(self, event: LinkLost, now: Now) -> list[Outcome]:
        if self._close_old_at is not None and self._close_old_at[1] == event.link:
            self._close_old_at = None
            return []
        if self._next is not None and self._next.number == event.link:
            link, self._next, self._renew_wanted = self._next, None, True
        elif self._present is not None and self._present.number == event.link:
            link, self._present = self._present, None
        else:
            return []
        outcomes = self._learn(link, event, now)
        delay = self._backoff.failed(now.monotonic)
        self._try_at = now.monotonic + delay
        if self._present is not None:
            facts = {"cause": event.trouble.value, "text": event.text, "retry_in_s": round(delay, 1)}
            return [*outcomes, Note("link_renewal_failed", "warning", facts)]
        if self._next is not None:  # the replacement was already on its way
            self._present, self._next = self._next, None
        self.trouble, self.text = event.trouble, event.text
        if self.lost_since is None:
            self.lost_since = now.monotonic
        if event.trouble is Trouble.STOPPED:
            return [SubscriptionLost(event.text)] if link.subscribed else []
        facts = {"cause": event.trouble.value, "text": event.text, "retry_in_s": round(delay, 1)}
        if event.close_code is not None:
            facts["close_code"] = event.close_code
        if event.http_status is not None:
            facts["http_status"] = event.http_status
        outcomes.append(
            Note("link_lost", "debug" if self.outage_told else "warning", facts, public=not self.outage_told)
        )
        self.outage_told = True
        if link.subscribed:
            outcomes.append(SubscriptionLost(event.text))
        return outcomes

    def stop(self) -> list[Outcome]:
        numbers = [link.number for link in (self._present, self._next) if link is not None]
        if self._close_old_at is not None:
            numbers.append(self._close_old_at[1])
        return [CloseLink(number) for number in numbers]

    def drop(self) -> list[Outcome]:
        """Close everything; what is wanted next begins anew."""
        outcomes = self.stop()
        self._present = self._next = self._close_old_at = None
        self._refused.clear()
        self._try_at = 0.0
        return outcomes

    def _learn(self, link: _Link, event: LinkLost, now: Now) -> list[Outcome]:
        """A STOMP ERROR may be about the token (before CONNECTED) or about one device (after it, U5)."""
        if event.trouble is not Trouble.STOMP_ERROR:
            return []
        if not link.connected:
            return [TokenDoubted()]
        if self._one_by_one and event.device is not None:
            self._refused[event.device] = now.monotonic
            self._one_by_one, self._errors = False, 0
            facts: dict[str, object] = {"device": event.device, "text": event.text}
            return [Note("device_subscription_refused", "warning", facts, public=True)]
        if not link.subscribed or now.monotonic - link.subscribed_at < OVERLAP_S:
            self._errors += 1
            self._one_by_one = self._errors >= ERRORS_BEFORE_ISOLATING and len(link.devices) > 1
        return []

    def _new(self, devices: tuple[str, ...], token: Secret) -> _Link:
        self._number += 1
        return _Link(self._number, devices, token)

    def _open(self, link: _Link) -> OpenLink:
        return OpenLink(link.number, link.token, link.devices, one_by_one=self._one_by_one)
