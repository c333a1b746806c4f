"""What a subscriber got, against what the simulator stored: one by one, in order, to 100 ns.

Shares no code with the bridge: times are written out here once more.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mosquitto import Received

KINDS = ("trigger", "correction", "rejected")
TICKS = 10_000_000
Step = tuple[str, int, int | None, str]  # (event type, timestamp, start number, its type)


def written(timestamp: int) -> str:
    """The instant as the contract writes it."""
    seconds, fraction = divmod(timestamp, TICKS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:07d}Z"


@dataclass
class Ledger:
    """Messages on trigger, correction and rejected topics, in the order of their arrival."""

    base: str = "mt1"
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # (topic, body)
    retained: int = 0

    def add(self, messages: Iterable[Received]) -> "Ledger":
        for one in messages:
            if one.topic.startswith(f"{self.base}/device/") and one.topic.rpartition("/")[2] in KINDS:
                self.bodies.append((one.topic, json.loads(one.payload)))
                self.retained += one.retained
        return self

    def of(self, device: str, channel: int) -> Iterator[dict[str, Any]]:
        """Bodies of a channel, of all three topics."""
        for topic, body in self.bodies:
            if topic.startswith(f"{self.base}/device/{device}/C{channel}/"):
                yield body

    def ids(self, kind: str) -> list[str]:
        return [body["id"] for topic, body in self.bodies if topic.endswith(f"/{kind}")]

    # --- what must hold whatever was sent -----------------------------------------------------------

    def check_sequences(self, repeats: bool = False) -> None:
        """On each topic and journal: 1, 2, 3 ... With repeats a number may come again, and is then the same message."""
        told: dict[tuple[str, str], dict[int, tuple[str, int]]] = defaultdict(dict)
        for topic, body in self.bodies:
            numbers = told[topic, body["journal"]]
            what = (body["id"], body["revision"])
            if body["sequence"] in numbers:
                assert repeats, f"{topic}: sequence {body['sequence']} came twice"
                assert numbers[body["sequence"]] == what, f"{topic}: sequence {body['sequence']} means two things"
            else:
                assert body["sequence"] == len(numbers) + 1, f"{topic}: {body['sequence']} came after {len(numbers)}"
                numbers[body["sequence"]] = what

    def without_repeats(self) -> "Ledger":
        """As a consumer has it that ignores the (id, revision) that it has seen."""
        seen: set[tuple[str, int]] = set()
        ledger = Ledger(self.base)
        for topic, body in self.bodies:
            if (body["id"], body["revision"]) not in seen:
                seen.add((body["id"], body["revision"]))
                ledger.bodies.append((topic, body))
        return ledger

    def check_repeats(self) -> None:
        """What comes again under the same journal is the same message; an impulse may have become late."""
        seen: dict[tuple[str, int, str], dict[str, Any]] = {}
        for _, body in self.bodies:
            key = (body["id"], body["revision"], body["journal"])
            first = seen.setdefault(key, body)
            aged = {**first, "event_type": "late"} if first["event_type"] == "trigger" else first
            assert body in (first, aged), key

    def repeats(self) -> int:
        return len(self.bodies) - len(self.without_repeats().bodies)

    def check_texts(self) -> None:
        """Times are exact, ids are the server's own identity, nothing is retained."""
        assert self.retained == 0
        for topic, body in self.bodies:
            assert topic.split("/")[-3:-1] == [body["device"], body["channel"]]
            assert body["time"] == written(int(body["timestamp"]))
            assert body["id"] == f"{body['device']}-{body['channel']}-{body['timestamp']}"

    # --- against the truth --------------------------------------------------------------------------

    def compare(self, stored: Sequence[Mapping[str, Any]]) -> int:
        """Every message of every channel against `stored` of the simulator; returns how many were compared."""
        self.check_texts()
        compared = 0
        channels = {(entry["device"], entry["channel"]) for entry in stored}
        assert {(body["device"], int(body["channel"][1:])) for _, body in self.bodies} <= channels
        for entry in stored:
            told = [step_of(body) for body in self.of(entry["device"], entry["channel"])]
            deleted = [step for step in told if step[0] == "deleted"]
            rest = [step for step in told if step[0] != "deleted"]
            wanted = list(steps_of(entry["rows"]))
            where = f"{entry['device']} C{entry['channel']}"
            for place, (got, want) in enumerate(zip(rest, wanted, strict=False)):
                assert got == want, f"{where}, message {place + 1}"
            assert len(rest) == len(wanted), f"{where}: {(rest or [None])[-1]}, {(wanted or [None])[-1]}"
            gone = sorted(row["timestamp"] for row in entry["rows"] if row["deleted"])
            assert sorted(step[1] for step in deleted) == gone, f"{where}: deleted"
            compared += len(told)
        self.compare_ends(stored)
        return compared

    def compare_ends(self, stored: Sequence[Mapping[str, Any]]) -> None:
        """The newest that was told of each id is the truth of it, and there is nothing else."""
        assert sum(len(list(self.of(entry["device"], entry["channel"]))) for entry in stored) == len(self.bodies)
        for entry in stored:
            self._compare_end(entry)

    def _compare_end(self, entry: Mapping[str, Any]) -> None:
        newest: dict[int, dict[str, Any]] = {}
        for body in self.of(entry["device"], entry["channel"]):
            newest[int(body["timestamp"])] = body
        assert sorted(newest) == [one["timestamp"] for one in entry["triggers"]]
        for one in entry["triggers"]:
            body = newest[one["timestamp"]]
            assert body["in_effect"] == one["in_effect"], body
            if one["in_effect"]:
                flags = (one["number"], one["number_type"], one["valid"], one["blocked"], one["falling_edge"])
                told = ("start_number", "start_number_type", "valid", "blocked", "falling_edge")
                assert tuple(body[key] for key in told) == flags


def step_of(body: Mapping[str, Any]) -> Step:
    kind = "trigger" if body["event_type"] == "late" else body["event_type"]
    return kind, int(body["timestamp"]), body["start_number"], body["start_number_type"]


def steps_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Step]:
    """What rows of one channel, all of them pushed and usable, must be told as; deletions apart."""
    known: dict[int, tuple[bool, int | None, str]] = {}  # timestamp -> in effect, number, its type
    for row in rows:
        at, number, word = row["timestamp"], row["number"], row["number_type"]
        before = known.get(at)
        if row["type"] == "ClearTrigger":
            assert before is not None, "a clear of what was never there"
            if before[0] and before[1] == number:
                known[at] = (False, *before[1:])
                yield "cleared", at, *before[1:]
        elif before is None:
            known[at] = (True, number, word)
            yield "trigger", at, number, word
        elif before != (True, number, word):
            known[at] = (True, number, word)
            event = "renumbered" if before[1] != number else "changed" if before[0] else "restored"
            yield event, at, number, word
