"""The state of the link to the broker: when to connect, whether we may publish. Pure.

Before it publishes anything a bridge looks around, on a connection without a will: a base topic belongs to one
instance (CONTRACT, section 2). After an outage in which the broker may have published our will, it looks around again,
on the connection on which it is to work: another instance may have taken the place meanwhile.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerEvent,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    OpenBroker,
    Publication,
    Subscribed,
)
from mt1bridge.model.clock import Now
from mt1bridge.model.status import AlertOver, AlertRaised, Broker, Note
from mt1bridge.runtime.backoff import Backoff, Pace

LOOK_S = 0.5  # how long retained messages may take after the SUBACK
LOOK_AGAIN_S = 60.0
WILL_DELAY_S = 10.0  # with MQTT 5 (CONTRACT, section 2); with 3.1.1 the will is published at once
TAKEOVERS_PER_MIN = 3
TAKEN_OVER_PAUSE_S = 30.0
OURS_AGAIN_S = 60.0  # ready that long: nobody takes the session over any more
PATIENT = {BrokerTrouble.REFUSED, BrokerTrouble.TLS, BrokerTrouble.TAKEN_OVER, BrokerTrouble.PROTOCOL_VERSION}


class Phase(Enum):
    CLOSED = "closed"
    CONNECTING = "connecting"
    LOOKING = "looking"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Ready:
    """Publishing may begin on this connection."""

    connected: BrokerConnected


@dataclass(frozen=True, slots=True)
class NotReady:
    """The connection is gone."""


Outcome = OpenBroker | CloseBroker | Ready | NotReady | Note | AlertRaised | AlertOver


@dataclass(frozen=True, slots=True)
class Place:
    """Who we are on the broker. subscriptions: of a working connection."""

    instance: str
    protocol: int
    will: Publication
    info_topic: str
    state_topic: str
    subscriptions: tuple[str, ...]


class BrokerSession:
    """connection: the last number that was used for a connection."""

    def __init__(self, place: Place, rand: Callable[[], float], connection: int = 0) -> None:
        self._place = place
        self._protocol = place.protocol
        self._quick = Backoff(Pace(0.5, 2.0), rand, forget_after_s=30.0)
        self._slow = Backoff(Pace(2.0, 30.0), rand, forget_after_s=30.0)
        self._phase = Phase.CLOSED
        self._connection = connection
        self._connected: BrokerConnected | None = None
        self._alone = False  # looked around, and nobody else is here
        self._working = False  # the present connection is one to publish on
        self._granted: Subscribed | None = None
        self._ours_until = 0.0  # where we are not ready by then, another instance may have come
        self._try_at: float = 0.0
        self._look_until: float | None = None
        self._neighbour: str | None = None
        self._neighbour_online: bool | None = None
        self._foreign = False
        self._outage_told = False
        self._takeovers: list[float] = []
        self._contested = False  # told that another client takes over again and again
        self._ready_at = 0.0
        self.reconnects = 0
        self.why = ""  # the last trouble, in words
        self.state = Broker.UNREACHABLE

    @property
    def connection(self) -> int:
        return self._connection

    @property
    def ready(self) -> bool:
        return self._phase is Phase.READY

    def tick(self, now: Now) -> list[Outcome]:
        """Do what is due."""
        if self._phase is Phase.CLOSED and now.monotonic >= self._try_at:
            return self._open()
        if self._phase is Phase.LOOKING and self._look_until is not None and now.monotonic >= self._look_until:
            return self._looked(now)
        if self._phase is Phase.READY and self._contested and now.monotonic >= self._ready_at + OURS_AGAIN_S:
            self._contested = False
            return [AlertOver("other_instance")]
        return []

    def next_due(self) -> float:
        """Monotonic second when tick has something to do."""
        if self._phase is Phase.CLOSED:
            return self._try_at
        if self._phase is Phase.LOOKING and self._look_until is not None:
            return self._look_until
        if self._phase is Phase.READY and self._contested:
            return self._ready_at + OURS_AGAIN_S
        return float("inf")

    def stop(self, will: bool = False) -> list[Outcome]:
        """The end. will: the broker is to publish our will, for `offline` could not be said."""
        open_, ready = self._phase in (Phase.CONNECTING, Phase.LOOKING, Phase.READY), self.ready
        self._phase = Phase.STOPPED
        return [CloseBroker(self._connection, will and ready)] if open_ else []

    def handle(self, event: BrokerEvent, now: Now) -> list[Outcome]:
        if event.connection != self._connection or self._phase is Phase.STOPPED:
            return []
        if isinstance(event, BrokerConnected):
            return self._on_connected(event, now)
        if isinstance(event, Subscribed):
            return self._on_subscribed(event, now)
        if isinstance(event, Arrived):
            return self._on_arrived(event, now)
        if isinstance(event, BrokerLost):
            return self._on_lost(event, now)
        assert isinstance(event, Acknowledged)
        return []

    # --- steps --------------------------------------------------------------------------------------

    def _open(self) -> list[Outcome]:
        self._connection += 1
        self._phase = Phase.CONNECTING
        self._connected = self._neighbour = self._neighbour_online = None
        self._granted = None
        place, self._working = self._place, self._alone
        if self._working:
            return [OpenBroker(self._connection, place.will, place.subscriptions, self._protocol)]
        return [OpenBroker(self._connection, None, (place.info_topic, place.state_topic), self._protocol)]

    def _on_connected(self, event: BrokerConnected, now: Now) -> list[Outcome]:
        self._connected = event
        if event.maximum_qos < 1:
            self.why = "the broker takes no QoS 1: nothing that it acknowledges could be relied on"
            return self._drop(now, BrokerTrouble.REFUSED)
        return []

    def _on_subscribed(self, event: Subscribed, now: Now) -> list[Outcome]:
        self._granted = event
        self._phase = Phase.LOOKING
        self._look_until = now.monotonic + LOOK_S
        if self._seen_all() or (self._working and now.monotonic < self._ours_until):
            return self._looked(now)
        return []

    def _on_arrived(self, event: Arrived, now: Now) -> list[Outcome]:
        """What is retained was there before us; while we publish, a state that is not may be our own."""
        just_now = self._phase is Phase.READY and not event.retained
        if event.topic == self._place.info_topic:
            self._neighbour = _instance_of(event.payload)
            self._neighbour_online = True if just_now else self._neighbour_online
        elif event.topic == self._place.state_topic and not just_now:
            self._neighbour_online = event.payload == b"online"
        else:
            return []
        if self._phase is Phase.LOOKING and self._seen_all():
            return self._looked(now)
        return self._give_way(now) if self._phase is Phase.READY and self._is_taken() else []

    def _seen_all(self) -> bool:
        return self._neighbour is not None and self._neighbour_online is not None

    def _is_taken(self) -> bool:
        """Whether another instance publishes here."""
        return self._neighbour not in (None, self._place.instance) and bool(self._neighbour_online)

    def _looked(self, now: Now) -> list[Outcome]:
        self._look_until = None
        if self._is_taken():
            return self._give_way(now)
        if self._working:
            assert self._granted is not None  # looking begins with it
            return self._now_ready(self._granted, now)
        self._alone, self._ours_until = True, now.monotonic + WILL_DELAY_S
        close: list[Outcome] = [CloseBroker(self._connection)]
        if self._foreign:
            self._foreign = False
            close.append(AlertOver("other_instance"))
        return close + self._open()

    def _give_way(self, now: Now) -> list[Outcome]:
        self._alone = False
        self.why = f"another instance, {self._neighbour!r}, publishes under this base topic"
        outcomes: list[Outcome] = [CloseBroker(self._connection)]
        was_ready = self._phase is Phase.READY
        self._connection += 1  # what still comes from that connection is not ours any more
        self._phase, self.state = Phase.CLOSED, Broker.REFUSED
        self._try_at = now.monotonic + LOOK_AGAIN_S
        if was_ready:
            outcomes.append(NotReady())
        if not self._foreign:
            self._foreign = True
            facts: dict[str, object] = {"other": self._neighbour or "", "base_topic": self._place.state_topic[:-13]}
            outcomes.append(Note("other_instance_found", "error", facts))
            text = f"Nothing is published: {self.why}. Give each bridge a base_topic of its own."
            outcomes.append(AlertRaised("other_instance", text, facts))
        return outcomes

    def _now_ready(self, event: Subscribed, now: Now) -> list[Outcome]:
        assert self._connected is not None  # SUBACK comes after CONNACK
        self._phase, self.state, self.why = Phase.READY, Broker.CONNECTED, ""
        self._ready_at = now.monotonic
        self._quick.well(now.monotonic)
        self._slow.well(now.monotonic)
        self.reconnects += 1
        outcomes: list[Outcome] = [
            Note("broker_connected", "info", {"protocol": "5" if self._connected.protocol == 5 else "3.1.1"})
        ]
        self._outage_told = False
        if event.refused:
            facts = {"topics": ", ".join(event.refused)}
            outcomes.append(Note("broker_subscription_refused", "warning", facts))
        return [*outcomes, Ready(self._connected)]

    def _on_lost(self, event: BrokerLost, now: Now) -> list[Outcome]:
        self.why = event.text
        if event.trouble is BrokerTrouble.PROTOCOL_VERSION and self._protocol == 5:
            self._protocol = 4
            self._place = replace(self._place, protocol=4)
            self._phase, self._try_at = Phase.CLOSED, now.monotonic
            note = Note("broker_protocol_lowered", "warning", {"to": "3.1.1", "cause": event.text}, public=True)
            return [note, *self.tick(now)]
        return self._drop(now, event.trouble, already_closed=True)

    def _drop(self, now: Now, trouble: BrokerTrouble, already_closed: bool = False) -> list[Outcome]:
        outcomes: list[Outcome] = [] if already_closed else [CloseBroker(self._connection)]
        if self._phase is Phase.READY:
            outcomes.append(NotReady())
            # Where it was silent, nobody knows for how long the broker has not had us.
            delayed = self._protocol == 5 and trouble is not BrokerTrouble.SILENT
            self._ours_until = now.monotonic + WILL_DELAY_S if delayed else 0.0
        self._connection += 1
        self._phase = Phase.CLOSED
        self.state = Broker.REFUSED if trouble in PATIENT else Broker.UNREACHABLE
        delay = (self._slow if trouble in PATIENT else self._quick).failed(now.monotonic)
        if trouble is BrokerTrouble.TAKEN_OVER:
            delay = max(delay, self._taken_over(now, outcomes))
        self._try_at = now.monotonic + delay
        facts = {"cause": trouble.value, "text": self.why, "retry_in_s": round(delay, 1)}
        outcomes.append(Note("broker_lost", "debug" if self._outage_told else "warning", facts))
        self._outage_told = True
        return outcomes

    def _taken_over(self, now: Now, outcomes: list[Outcome]) -> float:
        """Two clients with one id throw each other out for ever: say so, and slow down."""
        told = self._contested
        outcomes.append(Note("session_taken_over", "debug" if told else "warning", {"text": self.why}, public=not told))
        self._takeovers = [t for t in self._takeovers if now.monotonic - t < 60.0] + [now.monotonic]
        if len(self._takeovers) < TAKEOVERS_PER_MIN and not self._contested:
            return 0.0
        text = "Another client connects with the same MQTT client id again and again: give each its own client_id."
        outcomes.append(AlertRaised("other_instance", text))
        self._contested = True
        return TAKEN_OVER_PAUSE_S


def _instance_of(payload: bytes) -> str | None:
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    instance = body.get("instance") if isinstance(body, dict) else None
    return instance if isinstance(instance, str) else None
