"""Do the broker's access rules hide from us what the bridge tells? Pure.

A broker takes a subscription to what its user may not read and then keeps silent, so only what does not come can tell.
"""

from mt1bridge.topics.names import Names

PATIENCE_S = 5.0


class Blindness:
    """Watches what comes. user: at the broker, None where we gave no name. Moments are monotonic seconds."""

    def __init__(self, base: str, user: str | None) -> None:
        self._names = Names(base)
        self._who = f"the user {user}" if user else "a client without a user name"
        self._online_at: float | None = None
        self._sees = False

    def heard(self, topic: str, payload: bytes, now: float) -> None:
        if topic == self._names.upstream:
            self._sees = True
        elif topic == self._names.state:
            self._online_at = now if payload == b"online" else None

    def disconnected(self) -> None:
        self._online_at = None

    def hint(self, now: float) -> str | None:
        """Once: a sentence, where the bridge is online and what it tells first has not come for some seconds."""
        if self._sees or self._online_at is None or now - self._online_at < PATIENCE_S:
            return None
        self._sees = True
        return (
            f"the bridge is online, but nothing that it tells arrives: may {self._who} read below {self._names.base}/? "
            "See the access rules of the broker"
        )
