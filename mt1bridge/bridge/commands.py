"""Requests over MQTT, and their answers. Pure (CONTRACT, section 6)."""

from collections.abc import Callable, Mapping

from mt1bridge.bridge.delivery import Delivery
from mt1bridge.bridge.learning import Learning
from mt1bridge.bridge.parts import Parts
from mt1bridge.model.broker import Arrived
from mt1bridge.model.orders import SetLogLevel
from mt1bridge.model.status import Note
from mt1bridge.topics.replays import Replay, ReplyTo
from mt1bridge.topics.requests import (
    HealthAsked,
    LogLevelAsked,
    ReconcileAsked,
    ReplayAsked,
    RequestError,
    read_request,
    transaction_of,
)

NOTE_GAP_S = 60.0
RECONCILES_AT_ONCE = 8


class Commands:
    """health: the body of the health message."""

    def __init__(
        self, parts: Parts, learning: Learning, delivery: Delivery, health: Callable[[], Mapping[str, object]]
    ) -> None:
        self._parts = parts
        self._learning = learning
        self._delivery = delivery
        self._health = health
        self._reconciling: list[tuple[ReplyTo, int]] = []
        self._noted_at = float("-inf")
        self._made = 0

    def arrived(self, verb: str, event: Arrived) -> None:
        """A request. What is retained is none: it was not meant for now."""
        if event.retained:
            self._refuse(None, "a retained request is ignored")
            return
        topic = event.response_topic or self._parts.names.response(verb)
        if "+" in topic or "#" in topic or not topic:
            topic = self._parts.names.response(verb)
        reply_to = ReplyTo(topic, transaction_of(event.payload, self._transaction), event.correlation)
        try:
            self._do(read_request(verb, event.payload), reply_to)
        except RequestError as error:
            self._refuse(reply_to, str(error))

    def settle(self) -> None:
        """Answer a `reconcile` once every channel was read."""
        if self._reconciling and not self._parts.reconciliation.reading():
            for reply_to, found_before in self._reconciling:
                memories = [memory for memory in self._parts.reconciliation.memories if memory.seen]
                body = {
                    "channels": len(memories),
                    "found": self._learning.found_in_history - found_before,
                    "missing": sum(memory.missing for memory in memories),
                    "complete": all(memory.complete is True for memory in memories),
                }
                self._parts.handover.tell(reply_to.publication("ok", body))
            self._reconciling.clear()

    def _do(self, asked: ReplayAsked | ReconcileAsked | LogLevelAsked | HealthAsked, reply_to: ReplyTo) -> None:
        parts = self._parts
        if isinstance(asked, ReplayAsked):
            topic = asked.wish.topic
            if topic is not None and not parts.names.is_fact(topic):
                one = f"{parts.names.base}/device/<device>/<channel>/trigger"
                raise RequestError(f"topic: nothing can be replayed but {one}, …/correction and …/rejected")
            if not self._delivery.replays.add(Replay(asked.wish, parts.names, reply_to, parts.journal.last_n)):
                raise RequestError("too many replays are under way already; ask again when one is answered")
        elif isinstance(asked, ReconcileAsked):
            if len(self._reconciling) >= RECONCILES_AT_ONCE:
                raise RequestError("reconciling is under way already; its answer is still to come")
            if not self._reconciling:
                parts.reconciliation.reconcile_now(parts.now)
            self._reconciling.append((reply_to, self._learning.found_in_history))
        elif isinstance(asked, LogLevelAsked):
            parts.orders.append(SetLogLevel(asked.level))
            parts.handover.tell(reply_to.publication("ok", {"level": asked.level}))
        else:
            parts.handover.tell(reply_to.publication("ok", self._health()))

    def _refuse(self, reply_to: ReplyTo | None, text: str) -> None:
        parts = self._parts
        if reply_to is not None:
            parts.handover.tell(reply_to.publication("error", {"error": text}))
        told = parts.now.monotonic - self._noted_at < NOTE_GAP_S
        if not told:
            self._noted_at = parts.now.monotonic
        parts.tell(Note("request_refused", "debug" if told else "warning", {"text": text}))

    def _transaction(self) -> str:
        self._made += 1
        return f"mt1bridge-{self._parts.start.began.utc_ms:x}-{self._made}"
