"""Virtual connections to the realtime endpoint (MT1-API, sections 7 and 8)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mt1bridge.model.upstream import (
    CloseLink,
    LinkConnected,
    LinkEvent,
    LinkLost,
    LinkMessage,
    LinkSubscribed,
    OpenLink,
    Trouble,
)
from tests.simulation.plan import Manners
from tests.simulation.timeline import Timeline
from tests.simulation.truth import PushMark

SILENCE_S = 30.0


@dataclass(slots=True)
class _Link:
    order: OpenLink
    tell: Callable[[LinkEvent, PushMark | None], None]
    latency_s: float
    open: bool = True
    subscribed: bool = False
    mute: bool = False
    quiet_until: float = 0.0  # a push without a delay of its own overtakes nothing
    told_of: dict[str, float] = field(default_factory=dict)  # and none overtakes another of the same trigger


class Links:
    """All connections of all processes. down: why no connection can be had."""

    def __init__(
        self, timeline: Timeline, manners: Manners, random: Random, token_known: Callable[[str], bool]
    ) -> None:
        self._timeline = timeline
        self._manners = manners
        self._random = random
        self._token_known = token_known
        self._links: list[_Link] = []
        self.down: str | None = None
        self.mute = False

    def open(self, order: OpenLink, tell: Callable[[LinkEvent, PushMark | None], None]) -> None:
        link = _Link(order, tell, self._manners.latency_s * self._random.uniform(0.5, 1.5))
        self._links.append(link)
        self._timeline.after(link.latency_s * 3, lambda: self._opened(link))

    def close(self, order: CloseLink) -> None:
        """Of the newest process: its links were opened last."""
        for link in reversed(self._links):
            if link.order.link == order.link:
                if link.open:
                    self._lose(link, Trouble.STOPPED)
                return

    def abandon(self) -> None:
        """The process is gone: its connections are closed, and nobody is told."""
        for link in self._links:
            link.open = False
        self._links.clear()

    def break_all(self, trouble: str) -> None:
        """silent: nothing comes any more, found out after a while."""
        for link in self._links:
            if link.open and trouble == "silent":
                link.mute = True
                self._timeline.after(SILENCE_S, lambda link=link: self._lose(link, Trouble.SILENT))
            elif link.open:
                self._lose(link, Trouble(trouble))

    def mute_all(self) -> None:
        for link in self._links:
            link.mute = True

    # --- the server's side --------------------------------------------------------------------------

    def push(
        self, device: str, key: str, body: dict[str, Any] | bytes, mark: PushMark | None, delay_s: float = 0.0
    ) -> None:
        """Send to all who are subscribed now. key: of the trigger."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        for link in self._links:
            if link.subscribed and link.open and not link.mute and not self.mute and device in link.order.devices:
                when = max(self._timeline.now + link.latency_s + delay_s, link.quiet_until)
                when = max(when, link.told_of.get(key, 0.0))
                link.told_of[key] = when
                link.quiet_until = when if not delay_s else link.quiet_until
                message = LinkMessage(link.order.link, f"/topic/device/{device}/trigger", payload)
                self._timeline.at(when, lambda link=link, message=message: self._arrive(link, message, mark))

    def _arrive(self, link: _Link, message: LinkMessage, mark: PushMark | None) -> None:
        if link.open and not link.mute:
            link.tell(message, mark)

    def _opened(self, link: _Link) -> None:
        if not link.open:
            return
        if self.down is not None:
            self._lose(link, Trouble(self.down))
            return
        if self._manners.connect_token == "error" and not self._token_known(link.order.token.reveal()):
            self._lose(link, Trouble.STOMP_ERROR)
            return
        link.tell(LinkConnected(link.order.link, "1.2", "10000,10000", SILENCE_S), None)
        takes_effect = self._random.choice((0.01, 0.5, 4.9))
        self._timeline.after(takes_effect, lambda: self._subscribed(link))
        told = takes_effect + self._random.choice((-0.9, 0.0, 0.1))
        self._timeline.after(max(0.02, told), lambda: self._stands(link))

    def _subscribed(self, link: _Link) -> None:
        link.subscribed = link.open

    def _stands(self, link: _Link) -> None:
        if link.open:
            link.tell(LinkSubscribed(link.order.link, link.order.devices), None)

    def _lose(self, link: _Link, trouble: Trouble) -> None:
        if not link.open:
            return
        link.open = link.subscribed = False
        event = LinkLost(link.order.link, trouble, f"{trouble.value} in the simulation")
        self._timeline.after(0.01, lambda: link.tell(event, None))
