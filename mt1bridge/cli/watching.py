"""A subscriber of our own, for the commands that show what is published: demo, monitor, check --online."""

import queue
import secrets
from collections.abc import Iterable
from dataclasses import replace

from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerEvent,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    OpenBroker,
    Subscribed,
)
from mt1bridge.mqtt.publisher import Publisher
from mt1bridge.runtime.clock import Clock, SystemClock

RETRY_S = 2.0


def passing_by(settings: MqttSettings, command: str) -> MqttSettings:
    """The same connection for one run of a command, under a client id that no other run of it has."""
    return replace(settings, client_id=f"{settings.client_id}-{command}-{secrets.token_hex(4)}")


class Watcher:
    """Connects, subscribes, and connects again when the connection is lost; publishes nothing and has no will.

    settings.client_id must be of the watcher alone: a broker admits each id once (`passing_by`).
    """

    def __init__(self, settings: MqttSettings, filters: Iterable[str], clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._inbox: queue.SimpleQueue[BrokerEvent | None] = queue.SimpleQueue()
        self._publisher = Publisher(settings, self._inbox.put, self._clock)
        self._filters = tuple(filters)
        self._protocol = settings.protocol
        self._number = 0
        self._again_at: float | None = self._clock.now().monotonic

    def wake(self) -> None:
        """End the wait of `next`. From any thread, and from a signal handler."""
        self._inbox.put(None)

    def next(self, timeout_s: float) -> Arrived | BrokerConnected | Subscribed | BrokerLost | None:
        """The next event of the present connection; None if there is none within timeout_s, or for `wake`."""
        self._open_if_due()
        wait_s = timeout_s
        if self._again_at is not None:
            wait_s = min(wait_s, max(0.0, self._again_at - self._clock.now().monotonic))
        try:
            event = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return None
        if event is None or isinstance(event, Acknowledged) or event.connection != self._number:
            return None
        return self._lost(event) if isinstance(event, BrokerLost) else event

    def close(self, timeout_s: float = 2.0) -> None:
        """Say goodbye to the broker."""
        self._again_at = None
        self._publisher.close(CloseBroker(self._number))
        self._publisher.join(timeout_s)

    def _open_if_due(self) -> None:
        if self._again_at is not None and self._clock.now().monotonic >= self._again_at:
            self._again_at = None
            self._number += 1
            self._publisher.open(OpenBroker(self._number, None, self._filters, self._protocol))

    def _lost(self, lost: BrokerLost) -> BrokerLost | None:
        now = self._clock.now().monotonic
        if lost.trouble is BrokerTrouble.PROTOCOL_VERSION and self._protocol == 5:
            self._protocol, self._again_at = 4, now
            return None
        self._again_at = now + RETRY_S
        return lost
