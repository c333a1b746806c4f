"""While two connections stand, each brings what is pushed: which of it is new. Pure.

A connection brings what is pushed of a trigger in its order, but for the first of it, which it may miss because it was
subscribed later. So one of the two is ahead, and what the other brings is either old, or lets that one take the lead.
"""

from collections import deque
from dataclasses import dataclass, field

from mt1bridge.model.trigger import ChannelId, Seen, Sighting, TriggerId

# Of a second connection that brings nothing for long, no more than this is kept in mind.
MOST_STORIES = 5000
MOST_AHEAD = 100  # of one story


@dataclass(slots=True)
class _Story:
    """What was brought of one trigger. ahead: what the leader has brought and the other connection has not."""

    leader: int
    ahead: deque[Seen] = field(default_factory=lambda: deque(maxlen=MOST_AHEAD))


class Overlap:
    """Tells what another connection has brought already from what is new."""

    def __init__(self) -> None:
        self._stories: dict[TriggerId | ChannelId | None, _Story] = {}

    def is_new(self, link: int, seen: Seen, beside_another: bool) -> bool:
        """Whether this was not brought by another connection before.

        What one connection brings twice is new both times: it may have been undone in between. In doubt it is new:
        the same told again does less harm than a correction that waits for the next read of history.
        beside_another: another connection is subscribed, or may be.
        """
        if not beside_another:
            self._stories.clear()
            return True
        key = seen.id if isinstance(seen, Sighting) else seen.channel
        story = self._stories.get(key)
        if story is not None and story.leader != link and seen in story.ahead:
            rest = story.ahead.count(seen)
            while rest:
                rest -= story.ahead.popleft() == seen
            return False
        if story is None or story.leader != link:
            story = self._stories[key] = _Story(link)
            if len(self._stories) > MOST_STORIES:
                del self._stories[next(iter(self._stories))]
        story.ahead.append(seen)
        return True
