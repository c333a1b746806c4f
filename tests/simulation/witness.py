"""Sees every message that the broker writes down and every call that is made, and says at once what is wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mt1bridge.model.broker import Publish
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import Call
from tests.simulation.broker import Delivery
from tests.simulation.plan import Manners
from tests.simulation.timeline import BASE_MS, Timeline
from tests.simulation.truth import Identity, PushMark

FACTS = ("trigger", "correction", "rejected")
STATE = (
    "in_effect", "start_number", "start_number_type", "valid", "blocked", "falling_edge", "time_offset",
)  # fmt: skip
LIVE_WITHIN_S = 10.0
QUOTA_PAUSE_S = 89.0
TOLERANCE_S = 6.5  # 2 s each for our clock, the device's offset and the agreement on it
ON_THE_WAY_S = 0.09  # what a process handed over may reach the broker so long after its death


class Breach(Exception):
    """A promise was broken. rule: a word that tells one kind from another."""

    def __init__(self, rule: str, text: str) -> None:
        self.rule = rule
        super().__init__(f"{rule}: {text}")


@dataclass(slots=True)
class Told:
    """An identity as a consumer holds it who reads all messages by the contract's rule."""

    journal: str
    revision: int
    body: dict[str, Any]
    kind: str
    usable_told: bool = False  # it stood on `trigger`
    at: float = 0.0
    blind: bool = False  # told while the journal could not be read


class Witness:
    """identities: by id. commit: the number of the machine's last commit."""

    def __init__(
        self, timeline: Timeline, manners: Manners, identities: dict[str, Identity], commit: Callable[[], int]
    ) -> None:
        self._timeline = timeline
        self._manners = manners
        self._identities = identities
        self._commit = commit
        self.trace: Callable[[str], None] | None = None
        self.journals = 0
        self.deliveries: dict[tuple[str, str, int], list[Delivery]] = {}  # (journal, id, revision)
        self._numbers: dict[tuple[str, str, int], str] = {}  # (journal, topic, sequence) -> body
        self._last_sequence: dict[tuple[str, str], int] = {}
        self._revisions: dict[tuple[str, str], int] = {}
        self._last_history: dict[str, tuple[str, str, int]] = {}
        self.told: dict[str, Told] = {}
        self.trigger_journals: dict[str, list[str]] = {}  # id -> journals under which it stood on `trigger`
        self._volatile: list[PushMark | Delivery] = []
        self._calls: list[float] = []
        self._calls_of = 0
        self.calls = 0
        self._logins: list[float] = []
        self.quota_until = 0.0  # true seconds
        self.was_in_quota = False
        self.blind = False
        self.lost_at = 0.0  # true seconds: when the bridge last forgot something that it may have told
        self.lives: set[str] = set()
        self.notes: list[tuple[float, Note]] = []
        self.agreed_s: Callable[[str], float] = lambda _device: 0.0  # how far pushes agree that a clock is behind

    def next_journal(self) -> int:
        self.journals += 1
        return self.journals

    def _say(self, text: str) -> None:
        if self.trace is not None:
            self.trace(text)

    # --- what the bridge does -----------------------------------------------------------------------

    def noted(self, order: object) -> None:
        if isinstance(order, Note):
            self.notes.append((self._timeline.now, order))
            self._say(f"note {order.event} {dict(order.facts)}")

    def handed_over(self, order: Publish) -> None:
        kind = order.message.topic.rsplit("/", 1)[-1]
        if kind not in FACTS:
            return
        if order.message.retain:
            raise Breach("retained", f"{order.message.topic} handed over as retained")
        body = json.loads(order.message.payload)
        if body["event_type"] == "trigger" and body["timestamp"] is not None:
            happened_s = (int(body["timestamp"]) - BASE_MS * 10_000) / 1e7 - self._manners.device_ahead_s
            age_s = self._timeline.now - happened_s - self.agreed_s(body["device"])
            if age_s > LIVE_WITHIN_S + TOLERANCE_S + abs(self._manners.device_ahead_s):
                raise Breach("live", f"{body['id']} handed over as live, {age_s:.1f} s old")

    def called(self, order: Call, process: int) -> None:
        now = self._timeline.now
        self._say(f"call {order.path} {dict(order.query) or ''}")
        if process != self._calls_of:
            self._calls_of, self._calls = process, []
        self.calls += 1
        self._calls = [at for at in self._calls if now - at < 60.0 - 1e-6] + [now]
        if len(self._calls) > self._manners.calls_per_minute:
            raise Breach("budget", f"{len(self._calls)} REST calls within a minute")
        if now < self.quota_until:
            raise Breach("quota", f"a call {self.quota_until - now:.1f} s before the quota's pause is over")
        if order.login is not None:
            if self._logins and now - self._logins[-1] < 59.9:
                raise Breach("logins", f"two logins within {now - self._logins[-1]:.1f} s")
            self._logins.append(now)

    def login_unsent(self) -> None:
        """The last login never reached the server."""
        if self._logins:
            self._logins.pop()

    def quota_answered(self) -> None:
        """The bridge knows of it: from now on no call, not even by a process that is started later."""
        self.quota_until = max(self.quota_until, self._timeline.now + QUOTA_PAUSE_S)

    def budget_forgotten(self) -> None:
        """It was not on the disk when the power went."""
        self.quota_until = 0.0
        self._logins.clear()

    def took(self, marks: list[PushMark | Delivery], on_disk: bool) -> None:
        """A turn with these events was completed."""
        if on_disk:
            for mark in self._volatile:
                _mark(mark, self._commit())
            self._volatile.clear()
        for mark in marks:
            _mark(mark, self._commit())
            if not on_disk:
                self._volatile.append(mark)

    def forgot(self) -> None:
        """What a process learned while the disk took nothing is gone with it."""
        self.lost_at = self._timeline.now + ON_THE_WAY_S

    def died(self, kept_commit: int) -> None:
        """What was not written down for good is as if it had never happened."""
        if self._volatile or kept_commit < self._commit():
            self.forgot()
        for mark in self._volatile:
            _mark(mark, None)
        self._volatile.clear()
        for deliveries in self.deliveries.values():
            for delivery in deliveries:
                if delivery.acknowledged is not None and delivery.acknowledged > kept_commit:
                    delivery.acknowledged = None
        for identity in self._identities.values():
            for step in identity.steps:
                for push in step.pushes:
                    if push.taken is not None and push.taken > kept_commit:
                        push.taken = None

    # --- what the broker wrote down -----------------------------------------------------------------

    def wrote(self, delivery: Delivery) -> None:
        message = delivery.message
        kind = message.topic.rsplit("/", 1)[-1]
        if self.trace is not None:
            text = message.payload.decode()
            self._say(f"wrote {message.topic} {text if kind in FACTS else text[:400]}")
        if kind not in FACTS or "/device/" not in message.topic:
            return
        if message.retain:
            raise Breach("retained", message.topic)
        body = json.loads(message.payload)
        self._identity_known(body)
        first = self._same_number_same_thing(delivery, body)
        if first:
            self._in_order(message.topic, body)
        self._consume(kind, body, first)

    def _identity_known(self, body: dict[str, Any]) -> None:
        if body["timestamp"] is not None and body["id"] not in self._identities:
            raise Breach("ghost", f"{body['id']} was never stored")

    def _same_number_same_thing(self, delivery: Delivery, body: dict[str, Any]) -> bool:
        """True for a first delivery."""
        plain = json.dumps({key: value for key, value in body.items() if key != "event_type"}, sort_keys=True)
        number = (body["journal"], delivery.message.topic, body["sequence"])
        if self._numbers.setdefault(number, plain) != plain:
            raise Breach("sequence", f"{number} means two things: {self._numbers[number]} and {plain}")
        key = (body["journal"], body["id"], body["revision"])
        before = self.deliveries.setdefault(key, [])
        for earlier in before:
            if _plain(earlier) != plain:
                raise Breach("revision", f"{key} means two things: {_plain(earlier)} and {plain}")
            if (earlier.process, earlier.connection) == (delivery.process, delivery.connection):
                raise Breach("duplicate", f"{key} twice on one connection")
            if earlier.acknowledged is not None:
                raise Breach("duplicate", f"{key} again, though its acknowledgement was taken")
        before.append(delivery)
        return len(before) == 1

    def _in_order(self, topic: str, body: dict[str, Any]) -> None:
        journal, sequence = body["journal"], body["sequence"]
        last = self._last_sequence.get((journal, topic), 0)
        if sequence != last + 1:
            raise Breach("gap", f"{topic} in {journal}: {sequence} comes after {last}")
        self._last_sequence[(journal, topic)] = sequence
        last = self._revisions.get((journal, body["id"]), 0)
        if body["revision"] <= last:
            raise Breach("order", f"{body['id']} in {journal}: revision {body['revision']} comes after {last}")
        self._revisions[(journal, body["id"])] = body["revision"]
        channel = topic.rsplit("/", 1)[0]
        if body["source"] == "history" and body["timestamp"] is not None and "raw" not in body:
            read = (journal, body["received_at"], int(body["timestamp"]))
            before = self._last_history.get(channel)
            if before is not None and before[:2] == read[:2] and before[2] > read[2]:
                raise Breach("order", f"{channel}: {read[2]} from history comes after {before[2]}")
            self._last_history[channel] = read

    def _consume(self, kind: str, body: dict[str, Any], first: bool) -> None:
        id, journal = body["id"], body["journal"]
        if kind == "trigger":
            behind_s = abs(self._manners.device_ahead_s) + max(0.0, self.agreed_s(body["device"]))
            young_ms = 1000 * (LIVE_WITHIN_S + TOLERANCE_S + behind_s)
            if body["delay_ms"] < young_ms:  # live when we learned of it, as far as can be seen from outside
                self.lives.add(id)
            journals = self.trigger_journals.setdefault(id, [])
            if first and journal in journals:
                raise Breach("impulse", f"{id} twice on `trigger` within {journal}")
            seems_new = self._manners.device_ahead_s > 0 and body["source"] == "push"  # its clock is ahead
            if body["event_type"] == "trigger" and any(other != journal for other in journals) and not seems_new:
                raise Breach("impulse", f"{id} as `trigger` again, under {journal}")
            if journal not in journals:
                journals.append(journal)
        if not first:
            return
        told = self.told.get(id)
        same_journal = told is not None and told.journal == journal and "raw" not in body
        if told is not None and same_journal and all(body[key] == told.body[key] for key in STATE):
            raise Breach("repeat", f"{id} revision {body['revision']} tells what was told: {body}")
        if told is None or told.journal != journal or body["revision"] > told.revision:
            corrects = kind == "correction" and body.get("previous") is not None  # of what stood on `trigger`
            usable = kind == "trigger" or corrects or (told is not None and told.usable_told)
            if told is not None and told.journal != journal and kind == "rejected":
                usable = False  # begun anew: under this journal it never was usable
            self.told[id] = Told(journal, body["revision"], body, kind, usable, self._timeline.now, self.blind)


def _mark(mark: PushMark | Delivery, commit: int | None) -> None:
    if isinstance(mark, Delivery):
        mark.acknowledged = commit
    else:
        mark.taken = commit


def _plain(delivery: Delivery) -> str:
    body = json.loads(delivery.message.payload)
    return json.dumps({key: value for key, value in body.items() if key != "event_type"}, sort_keys=True)
