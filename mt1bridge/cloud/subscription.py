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
REFUSED_AGAIN_S = 1800.0  # a device whose subscription was refused is tried again that much later


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
    one_by_one: bool = False
    fresh: bool = False  # wanted because the one before it seems to miss pushes
    connected: bool = False
    subscribed: bool = False
    subscribed_at: float = 0.0
    heart_beat: str = ""
    silence_limit_s: float = 0.0


class Subscription:
    """At most two connections: the present one, and the one that is to replace it or the one that it has replaced."""

    def __init__(self, rand: Callable[[], float]) -> None:
        self._backoff = Backoff(Pace(1.0, 60.0), rand, forget_after_s=WELL_S)
        self._present: _Link | None = None
        self._next: _Link | None = None
        self._number = 0
        self._try_at = 0.0
        self._old: _Link | None = None  # replaced, and closed after the overlap
        self._close_old_at = float("inf")
        self._errors = 0
        self._one_by_one = False
        self._refused: dict[str, float] = {}  # devices whose subscription ends the session -> when to try them again
        self._renew_wanted = False
        self._renewal_told = False
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

    def lacks(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Devices that push is missing for, after a connection that should have brought them failed."""
        if not self.subscribed or not self._renewal_told:
            return ()
        return tuple(one for one in wanted if one not in self.devices() and one not in self._refused)

    def owns(self, link: int) -> bool:
        return any(one.number == link for one in self._open_links())

    @property
    def overlaps(self) -> bool:
        """Whether two connections are subscribed, or about to be, so that both may bring the same push."""
        return sum(link.connected for link in self._open_links()) > 1

    def _open_links(self) -> list[_Link]:
        return [one for one in (self._present, self._next, self._old) if one is not None]

    def retry_now(self, now: Now) -> None:
        self._try_at = now.monotonic

    def tick(self, now: Now, token: Secret | None, devices: tuple[str, ...]) -> list[Outcome]:
        """Open what is wanted and due. token None or no devices: nothing is."""
        outcomes: list[Outcome] = []
        if self._old is not None and now.monotonic >= self._close_old_at:
            outcomes.append(CloseLink(self._old.number))
            self._old = None
        wanted = self._wanted(devices, now.monotonic)
        if token is None or not wanted or now.monotonic < self._try_at or not self._may_open(token, wanted):
            return outcomes
        link = self._new(wanted, token)
        if self._present is None:
            self._present, self._renew_wanted = link, False
        else:
            link.fresh, self._renew_wanted = self._renew_wanted, False
            self._next = link
        return [*outcomes, self._open(link)]

    def next_due(self, now: Now, token: Secret | None, devices: tuple[str, ...]) -> float:
        """Monotonic second when `tick` has something to do."""
        due = self._close_old_at if self._old is not None else float("inf")
        if token is None or not devices:
            return due
        wanted = self._wanted(devices, now.monotonic)
        if wanted and self._may_open(token, wanted):
            return min(due, self._try_at)
        again = [at for device, at in self._refused.items() if device in devices and at > now.monotonic]
        return min(due, *again) if again else due

    def _wanted(self, devices: tuple[str, ...], now: float) -> tuple[str, ...]:
        """Without the refused ones, until it is time to try them again: then last, so that the others stand before."""
        again = tuple(device for device in devices if self._refused.get(device, float("inf")) <= now)
        return tuple(device for device in devices if device not in self._refused) + again

    def _may_open(self, token: Secret, wanted: tuple[str, ...]) -> bool:
        """Whether there is no connection, or the present one is to be replaced and can be."""
        present = self._present
        if present is None:
            return True
        if not present.subscribed or self._next is not None or self._old is not None:
            return False
        return set(present.devices) != set(wanted) or present.token != token or self._renew_wanted

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
            self._old, self._close_old_at = self._present, now.monotonic + OVERLAP_S
            self._present, self._next = link, None
        link.subscribed, link.subscribed_at = True, now.monotonic
        self._renewal_told = False
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
        for device in [device for device in link.devices if self._refused.pop(device, None) is not None]:
            outcomes.append(Note("device_accepted", "info", {"device": device}, public=True))
        return [*outcomes, SubscriptionStands(link.devices, link.heart_beat)]

    def lost(self, event: LinkLost, now: Now) -> list[Outcome]:
        if self._old is not None and self._old.number == event.link:
            self._old = None
            return []
        if self._next is not None and self._next.number == event.link:
            link, self._next = self._next, None
        elif self._present is not None and self._present.number == event.link:
            link, self._present = self._present, None
        else:
            return []
        if self._present is None and self._old is not None:  # the replacement did not last: keep the one before it
            self._present, self._old = self._old, None
        if self._present is not None:
            self._renew_wanted = self._renew_wanted or link.fresh
        outcomes = self._learn(link, event, now)
        delay = self._backoff.failed(now.monotonic)
        self._try_at = now.monotonic + delay
        if self._present is not None:
            facts = {"cause": event.trouble.value, "text": event.text, "retry_in_s": round(delay, 1)}
            outcomes.append(Note("link_renewal_failed", "debug" if self._renewal_told else "warning", facts))
            self._renewal_told = True
            return outcomes
        return [*outcomes, *self._outage(link, event, delay, now)]

    def _outage(self, link: _Link, event: LinkLost, delay: float, now: Now) -> list[Outcome]:
        """No connection stands any more."""
        if self._next is not None:  # the replacement was already on its way
            self._present, self._next = self._next, None
        self.trouble, self.text = event.trouble, event.text
        if self.lost_since is None:
            self.lost_since = now.monotonic
        over: list[Outcome] = [SubscriptionLost(event.text)] if link.subscribed else []
        if event.trouble is Trouble.STOPPED:
            return over
        facts = {"cause": event.trouble.value, "text": event.text, "retry_in_s": round(delay, 1)}
        if event.close_code is not None:
            facts["close_code"] = event.close_code
        if event.http_status is not None:
            facts["http_status"] = event.http_status
        note = Note("link_lost", "debug" if self.outage_told else "warning", facts, public=not self.outage_told)
        self.outage_told = True
        return [note, *over]

    def stop(self) -> list[Outcome]:
        return [CloseLink(link.number) for link in self._open_links()]

    def drop(self) -> list[Outcome]:
        """Close everything; what is wanted next begins anew."""
        outcomes = self.stop()
        self._present = self._next = self._old = None
        self._refused.clear()
        self._errors, self._one_by_one = 0, False
        self._try_at = 0.0
        return outcomes

    def _learn(self, link: _Link, event: LinkLost, now: Now) -> list[Outcome]:
        """A STOMP ERROR may be about the token (before CONNECTED) or about one device (after it, U5)."""
        if link.subscribed and now.monotonic - link.subscribed_at >= OVERLAP_S:
            self._errors, self._one_by_one = 0, False
            return []
        if event.trouble is not Trouble.STOMP_ERROR:
            return []
        if not link.connected:
            return [TokenDoubted()]
        if link.one_by_one and event.device is not None:
            known = event.device in self._refused
            self._refused[event.device] = now.monotonic + REFUSED_AGAIN_S
            self._errors, self._one_by_one = 0, False
            facts: dict[str, object] = {"device": event.device, "text": event.text}
            return [Note("device_subscription_refused", "debug" if known else "warning", facts, public=not known)]
        self._errors += 1
        self._one_by_one = self._errors >= ERRORS_BEFORE_ISOLATING and len(link.devices) > 1
        return []

    def _new(self, devices: tuple[str, ...], token: Secret) -> _Link:
        self._number += 1
        return _Link(self._number, devices, token, self._one_by_one or any(one in self._refused for one in devices))

    def _open(self, link: _Link) -> OpenLink:
        return OpenLink(link.number, link.token, link.devices, one_by_one=link.one_by_one)
