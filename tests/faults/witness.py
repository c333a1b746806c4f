"""What the broker delivered, judged while it comes: a subscriber with a session of its own, and the contract's rules.

A breach is kept, not raised: the subscriber goes on. `breaches` and, once everything should have come, `compare` with
the simulator's `stored` are what a test asks for. Shares no code with the bridge.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes

KINDS = ("trigger", "correction", "rejected")
PATIENCE_S = 30.0
SESSION_S = 3600
Told = tuple[str, str, int]  # journal, id, revision


@dataclass(slots=True)
class Difference:
    """Delivered against stored. lost, ghosts: ids; wrong: ids whose newest message is not the truth."""

    lost: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.ghosts or self.wrong)


@dataclass(slots=True)
class Books:
    """The rules of the contract, section 3, message by message."""

    first: dict[Told, int] = field(default_factory=dict)  # -> digest of its first delivery, but for event_type
    event_types: Counter[str] = field(default_factory=Counter)
    sequences: dict[tuple[str, str], dict[int, tuple[str, int]]] = field(default_factory=lambda: defaultdict(dict))
    revisions: dict[tuple[str, str], int] = field(default_factory=dict)  # (journal, id) -> the highest one told
    newest: dict[str, dict[str, Any]] = field(default_factory=dict)  # id -> as a consumer has it
    journals: dict[str, None] = field(default_factory=dict)  # in the order of their first message
    impulses: set[str] = field(default_factory=set)  # ids told on `trigger`
    pushed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # channel -> ids first seen by push
    repeats: int = 0
    breaches: list[str] = field(default_factory=list)

    def take(self, topic: str, body: dict[str, Any], retained: bool) -> None:
        journal, name, revision, sequence = body["journal"], body["id"], body["revision"], body["sequence"]
        self.journals.setdefault(journal)
        if retained:
            self._breach(f"{topic} is retained: {name}")
        key = (journal, name, revision)
        digest = hash(json.dumps({k: v for k, v in body.items() if k != "event_type"}, sort_keys=True))
        if topic.endswith(("/correction", "/rejected")):
            digest = hash((digest, body["event_type"]))
        if key in self.first:
            self.repeats += 1
            if self.first[key] != digest:
                self._breach(f"{topic}: {key} was told as two different messages")
        else:
            self._first(topic, body, key, digest)
        self._sequence(topic, journal, sequence, (name, revision))

    def _first(self, topic: str, body: dict[str, Any], key: Told, digest: int) -> None:
        journal, name, revision = key
        self.first[key] = digest
        self.event_types[body["event_type"]] += 1
        highest = self.revisions.get((journal, name), 0)
        if revision <= highest:
            self._breach(f"{topic}: revision {revision} of {name} came after {highest}")
        self.revisions[journal, name] = max(highest, revision)
        before = self.newest.get(name)
        if before is None or before["journal"] != journal or before["revision"] < revision:
            keys = ("journal", "revision", "in_effect", "start_number", "start_number_type", "event_type", "source")
            self.newest[name] = {key: body.get(key) for key in keys}
        if topic.endswith("/trigger"):
            if name in self.impulses and body["event_type"] != "late":
                self._breach(f"{topic}: {name} is an impulse again, under journal {journal}, and not late")
            if name not in self.impulses and body["source"] == "push":
                self.pushed[f"{body['device']}-{body['channel']}"].append(name)
            self.impulses.add(name)

    def _sequence(self, topic: str, journal: str, sequence: int, what: tuple[str, int]) -> None:
        numbers = self.sequences[topic, journal]
        if sequence in numbers:
            if numbers[sequence] != what:
                self._breach(f"{topic}: sequence {sequence} of {journal} is {numbers[sequence]} and {what}")
        elif sequence != len(numbers) + 1:
            self._breach(f"{topic}: sequence {sequence} of {journal} came after {len(numbers)}")
            numbers[sequence] = what
        else:
            numbers[sequence] = what

    def _breach(self, text: str) -> None:
        if len(self.breaches) < 100:
            self.breaches.append(text)

    # --- against the truth --------------------------------------------------------------------------

    def compare(self, stored: Sequence[Mapping[str, Any]]) -> Difference:
        """Every trigger that the simulator has, once it had its time to arrive."""
        difference, there = Difference(), set()
        for entry in stored:
            for one in entry["triggers"]:
                name = f"{entry['device']}-C{entry['channel']}-{one['timestamp']}"
                there.add(name)
                told = self.newest.get(name)
                if told is None:
                    difference.lost.append(name)
                    continue
                same = told["in_effect"] in (None, one["in_effect"])  # a rejected one does not say
                if not same or (one["in_effect"] and told["start_number"] != one["number"]):
                    difference.wrong.append(name)
        difference.ghosts = [name for name in self.newest if name not in there]
        return difference

    def out_of_order(self, stored: Iterable[Mapping[str, Any]]) -> list[str]:
        """Channels whose pushed impulses were not told in the order in which the server pushed them.

        A trigger has several rows where it was renumbered; any of them may be the one that was seen first.
        """
        wrong = []
        for entry in stored:
            channel = f"{entry['device']}-C{entry['channel']}"
            places: dict[str, list[int]] = defaultdict(list)
            for place, row in enumerate(entry["rows"]):
                places[f"{channel}-{row['timestamp']}"].append(place)
            reached = -1
            for name in self.pushed.get(channel, []):
                after = [place for place in places.get(name, []) if place > reached]
                if name in places and not after:
                    wrong.append(f"{name} after row {reached}")
                    break
                reached = after[0] if after else reached
        return wrong


class Witness:
    """Subscribes to everything below `mt1/` with QoS 1 and a persistent session; keeps all but event messages whole.

    `others` are retained topics and events: topic -> [(when, payload)], when in seconds since 1970.
    """

    def __init__(self, port: int, username: str | None = None, password: str | None = None) -> None:
        self.books = Books()
        self.others: dict[str, list[tuple[float, bytes]]] = defaultdict(list)
        self.connects = 0
        self._markers = 0
        self._changed = threading.Condition(threading.RLock())
        self._port = port
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="witness", protocol=MQTTProtocolVersion.MQTTv5
        )
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("mt1/#", qos=1)
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._record

    def __enter__(self) -> Self:
        properties = paho.Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        self._client.connect("127.0.0.1", self._port, keepalive=60, clean_start=False, properties=properties)
        self._client.loop_start()
        self.wait(lambda: self.connects > 0, "the witness's subscription")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, body: object) -> None:
        self._client.publish(topic, json.dumps(body), qos=1)

    def catch_up(self) -> None:
        """Until the broker has nothing more for us: a message of our own came back, and nothing else before it."""
        before = -1
        while before != (before := self._count()):
            marker = f"marker-{self._markers}"
            self._markers += 1
            self.publish("mt1/witness", marker)
            self.wait(lambda marker=marker: self.newest("witness") == marker, "a message of our own")

    def _count(self) -> int:
        with self._changed:
            return len(self.books.first) + self.books.repeats + sum(map(len, self.others.values())) - self._markers

    def _subscribed(self, *_: object) -> None:
        with self._changed:
            self.connects += 1
            self._changed.notify_all()

    def _record(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            if message.topic.rpartition("/")[2] in KINDS and message.topic.startswith("mt1/device/"):
                try:
                    self.books.take(message.topic, json.loads(message.payload), message.retain)
                except (ValueError, KeyError, TypeError) as error:
                    self.books.breaches.append(f"{message.topic}: {error!r} of {message.payload!r}")
            else:
                self.others[message.topic].append((time.time(), bytes(message.payload)))
            self._changed.notify_all()

    # --- what it saw --------------------------------------------------------------------------------

    def compare(self, stored: Sequence[Mapping[str, Any]]) -> Difference:
        with self._changed:
            return self.books.compare(stored)

    def out_of_order(self, stored: Iterable[Mapping[str, Any]]) -> list[str]:
        with self._changed:
            return self.books.out_of_order(stored)

    def wait(self, condition: Callable[[], object], what: str, deadline_s: float = PATIENCE_S) -> None:
        """Until the condition, looked at after every message, is true; AssertionError if it does not become so."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(condition()), deadline_s):
                raise AssertionError(f"{what}: not within {deadline_s} s")

    def told(self) -> int:
        """How many ids were told as impulses."""
        with self._changed:
            return len(self.books.impulses)

    def newest(self, topic: str) -> Any:
        """The newest JSON (or text) of a retained topic, without `mt1/`; None if it is empty or was never there."""
        with self._changed:
            seen = self.others.get(f"mt1/{topic}")
            payload = seen[-1][1] if seen else b""
        if not payload:
            return None
        try:
            return json.loads(payload)
        except ValueError:
            return payload.decode()

    def seen(self, topic: str) -> list[tuple[float, Any]]:
        """(when, JSON) of everything on a topic, without `mt1/`; what emptied it is None."""
        with self._changed:
            return [(at, json.loads(payload) if payload else None) for at, payload in self.others[f"mt1/{topic}"]]

    def events(self, event_type: str) -> list[dict[str, Any]]:
        """What `bridge/event` told of this kind."""
        return [body for _, body in self.seen("bridge/event") if body and body["event_type"] == event_type]
