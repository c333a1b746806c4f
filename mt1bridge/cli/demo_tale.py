"""What the demo tells: lines for people, raw messages, or JSON; and the sum at the end."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mt1bridge.cli.demo_broker import DemoBroker
from mt1bridge.cli.message_lines import HEADING, decoded, fact_line, fact_of, printable
from mt1bridge.cli.state_lines import StateLines
from mt1bridge.model.broker import Arrived

BASE = "mt1"


@dataclass(frozen=True, slots=True)
class Sum:
    """stored: triggers that the simulated server holds; delivered: those of them that were published; missing: the
    rest. late, corrected, rejected: messages."""

    stored: int
    delivered: int
    missing: int
    late: int
    corrected: int
    rejected: int


class Tale:
    """Prints messages as they come and remembers whose triggers they were. how: lines, raw or json."""

    def __init__(self, how: str, colour: bool) -> None:
        self._how = how
        self._colour = colour
        self._states = StateLines(BASE)
        self._delivered: set[str] = set()
        self._counts = dict.fromkeys(("late", "correction", "rejected"), 0)

    def begin(self, url: str, broker: DemoBroker) -> None:
        if self._how == "json":
            self._print_json({"simulator": url, "broker": broker.name, "host": "127.0.0.1", "port": broker.port})
        elif self._how == "lines":
            for line in _opening(url, broker):
                print(line)
            print(flush=True)

    def arrived(self, message: Arrived) -> None:
        fact = fact_of(BASE, message.topic, message.payload)
        if fact is not None:
            self._count(message.topic.rpartition("/")[2], fact)
        if self._how == "json":
            line = {"topic": message.topic, "retained": message.retained, "payload": decoded(message.payload)}
            print(json.dumps(line), flush=True)
        elif self._how == "raw":
            print(
                f"{printable(message.topic)} {printable(message.payload.decode(errors='replace'), 1 << 20)}", flush=True
            )
        elif fact is not None:
            print(fact_line(fact, self._colour), flush=True)
        else:
            self._state(message)

    def missing(self, stored: Iterable[str]) -> int:
        """How many of these ids have not been published yet."""
        return len(set(stored) - self._delivered)

    def end(self, stored: Iterable[str]) -> Sum:
        """Print the sum."""
        ids = set(stored)
        missing = len(ids - self._delivered)
        counts = self._counts
        told = Sum(len(ids), len(ids) - missing, missing, counts["late"], counts["correction"], counts["rejected"])
        if self._how == "json":
            self._print_json({name: getattr(told, name) for name in Sum.__slots__})
        else:
            print(
                f"\nTriggers: {told.stored} stored by the simulated MT1 server, {told.delivered} delivered, missing "
                f"{told.missing}; among the messages {told.late} late, {told.rejected} rejected, "
                f"{told.corrected} corrected.",
                flush=True,
            )
        return told

    def _count(self, kind: str, fact: Mapping[str, Any]) -> None:
        if isinstance(fact.get("id"), str):
            self._delivered.add(fact["id"])
        key = "late" if fact.get("event_type") == "late" else kind
        if key in self._counts:
            self._counts[key] += 1

    def _state(self, message: Arrived) -> None:
        line = self._states.line(message.topic, message.payload)
        if line is not None:
            print(f"-- {line}", flush=True)

    def _print_json(self, body: Mapping[str, object]) -> None:
        print(json.dumps({"demo": body}), flush=True)


def stored_ids(stored: Iterable[Mapping[str, Any]]) -> set[str]:
    """Ids of all impulses, from the simulator's `stored`."""
    return {
        f"{row['device']}-C{row['channel']}-{row['timestamp']}"
        for entry in stored
        for row in entry["rows"]
        if row["type"] == "StartNumberTrigger"
    }


def _opening(url: str, broker: DemoBroker) -> tuple[str, ...]:
    return (
        "A ski race at a simulated MT1 server, bridged to MQTT. Everything runs on this machine; Ctrl-C ends it.",
        "",
        f"  MT1 server   {url}  (simulated)",
        f"  MQTT broker  127.0.0.1:{broker.port}  ({broker.name})",
        f"  look from outside:  mosquitto_sub -p {broker.port} -t '{BASE}/#' -v",
        "",
        HEADING,
    )
