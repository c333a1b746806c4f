"""Pure: when a PINGREQ is due, and when a broker has been silent for too long. Times: seconds, monotonic."""

from mt1bridge.mqtt.client import Limits

SILENCE = 1.5  # times the keep alive, as at the broker (MQTT 5, section 3.1.2.10)
OVERSLEPT_S = 5.0  # woken this much too late, we slept ourselves, and the silence is not the broker's
LOOK_AGAIN_S = 0.25  # the library's own clock may find a PINGREQ due a little later than we do
NEVER = float("inf")


class Vigil:
    """Watches over one connection; keepalive_s is the one in force, 0 for none (or before CONNACK)."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.keepalive_s = 0
        self._heard_at = self._told_at = now
        self._pinged_at = self._waiting_since = self._oldest_since = -NEVER
        self._deadline = now + limits.answer_s
        self._oldest: int | None = None

    def heard(self, now: float) -> None:
        """Bytes came."""
        self._heard_at = now

    def told(self, now: float) -> None:
        """Bytes were sent."""
        self._told_at = now

    def pinged(self, now: float) -> None:
        """A PINGREQ was sent."""
        self._pinged_at = now

    def waits_for_answer(self, now: float) -> None:
        """SUBSCRIBE was sent: its answer must come in time."""
        self._deadline = now + self._limits.answer_s

    def must_end(self, now: float) -> None:
        """DISCONNECT is to be sent: that must not take long."""
        self._deadline = now + self._limits.farewell_s

    def answered(self) -> None:
        """What was waited for has come."""
        self._deadline = NEVER

    def oldest_waiting(self, message: int | None, now: float) -> None:
        """Which message waits longest for its acknowledgement; None: all have theirs.

        They are acknowledged in the order in which they were sent (MQTT 5, section 4.6): each has its own time.
        """
        if message is not None and self._oldest is None:
            self._waiting_since = now
        if message != self._oldest:
            self._oldest_since = now
        self._oldest = message

    def silent_at(self) -> float:
        """Return when to give the broker up, unless it is heard before."""
        moment = self._deadline
        if self.keepalive_s > 0:
            moment = min(moment, self._heard_at + SILENCE * self.keepalive_s)
        if self._oldest is not None:  # whatever the keep alive: who is asked must answer
            moment = min(moment, max(self._heard_at, self._waiting_since) + SILENCE * self._limits.keepalive_s)
            moment = min(moment, self._oldest_since + self._limits.acknowledge_s)
        return moment

    def is_silent(self, now: float) -> bool:
        return now >= self.silent_at()

    def acknowledges(self, now: float) -> bool:
        """Tell whether the oldest message still has time to be acknowledged."""
        return self._oldest is None or now < self._oldest_since + self._limits.acknowledge_s

    def quiet_for(self, now: float) -> float:
        return now - self._heard_at

    def wake_at(self, now: float) -> float:
        """Return when there is something to do if nothing happens before."""
        moment = self.silent_at()
        if self.keepalive_s > 0:
            due = max(min(self._heard_at, self._told_at), self._pinged_at) + self.keepalive_s
            moment = min(moment, due if due > now else now + LOOK_AGAIN_S)
        return moment

    def woke(self, planned: float, now: float) -> None:
        """Say when waking was planned and when it was: a machine or process that was stopped could not hear."""
        if now - planned < OVERSLEPT_S:
            return
        self._heard_at = max(self._heard_at, now - self.keepalive_s)  # leaves time for the answer to a PINGREQ
        self._waiting_since = max(self._waiting_since, now)
        self._oldest_since = max(self._oldest_since, now)
        if self._deadline < NEVER:
            self._deadline = now + self._limits.answer_s
