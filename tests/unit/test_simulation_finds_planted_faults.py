"""The test of the tests: each fault that is planted into the bridge must be found by the simulation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mt1bridge.bridge import Bridge, Event
from mt1bridge.bridge.delivery import Delivery
from mt1bridge.cloud.outcomes import KeepBudget
from mt1bridge.feed.corrections import Corrections, Verdict
from mt1bridge.feed.intake import Intake
from mt1bridge.feed.reconcile import Reconciliation
from mt1bridge.journal.journal import Journal
from mt1bridge.mqtt.handover import Handover
from mt1bridge.turn import Turn
from tests.simulation.process import Parts
from tests.simulation.search import run_seed

SEEDS = 400


class AcknowledgedBeforePuback(Journal):
    def owed(self, *args: Any) -> Any:
        found = super().owed(*args)
        for entry in found:
            self.acknowledged(entry, 0)
        return found


class SequenceNotPersisted(Journal):
    def open(self, now_ms: int) -> Any:
        opened = super().open(now_ms)
        self.store.db.execute("DELETE FROM counter")
        return opened


class EpochNotRenewed(Journal):
    """Every start goes on with the file that it finds."""

    def open(self, now_ms: int) -> Any:
        self._file.goes_on = lambda _store: True
        return super().open(now_ms)


class CommitAfterPublish(Turn):
    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            self._do(self._bridge.step(event, self._now()))
        if self._bridge.busy:
            self._do(self._bridge.idle(self._now()))
        self._do(self._bridge.hand_over(self._now()))
        self._tend_journal()
        self._do(self._commit())


class _CountTakenForProof(Reconciliation):
    """The watermark moves when the count is read, not when history has explained it."""

    def _counted(self, channel: Any, value: int, now: Any) -> Any:
        outcomes = super()._counted(channel, value, now)
        channel.memory = replace(channel.memory, base_count=value, complete=True, proven_ms=now.utc_ms)
        return outcomes


class _InFlightForgotten(Handover):
    """After a broken connection it goes on behind what was handed over last."""

    def opened(self, *args: Any) -> None:
        super().opened(*args)
        for at, lane in self._lanes.items():
            lane.after = self._told.get(at, 0)


class _SeenSet(Intake):
    """What was ever seen is dropped."""

    seen: set[Any]

    def pushed(self, seen: Any, *args: Any) -> Any:
        fresh = [one for one in seen if one not in self.seen]
        self.seen.update(fresh)
        return super().pushed(fresh, *args)

    def listed(self, trigger: Any, rows: Any, *args: Any) -> Any:
        if rows and all(row in self.seen for row in rows):
            return None, False
        self.seen.update(rows)
        return super().listed(trigger, rows, *args)


class _RowByRow(Corrections):
    """History is applied like pushes."""

    def listed(self, rows: Any, known: Any, *at: Any) -> Verdict:
        fact, received_ms = None, at[-1]
        for row in reversed(rows):
            verdict = self.pushed(row, known, received_ms)
            known, fact = verdict.known or known, verdict.fact or fact
        return Verdict(known, fact)


class _LatenessOfBirth(Delivery):
    """An impulse goes out as it was when it was learned."""

    def _judge(self, entry: Any) -> bool:
        return bool(entry.fact.late_at_birth)


def planted(plant: Callable[[Bridge], None]) -> Parts:
    """Parts with a bridge that something was done to after it was made."""

    class Planted(Bridge):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            plant(self)

    return Parts(bridge=Planted)


def count_taken_for_proof(bridge: Bridge) -> None:
    bridge.parts.reconciliation.__class__ = _CountTakenForProof


def in_flight_forgotten(bridge: Bridge) -> None:
    bridge.parts.handover.__class__ = _InFlightForgotten


def seen_set(bridge: Bridge) -> None:
    bridge.parts.intake.__class__ = _SeenSet
    bridge.parts.intake.seen = set()  # type: ignore[attr-defined]


def row_by_row(bridge: Bridge) -> None:
    bridge.parts.intake._corrections.__class__ = _RowByRow


def lateness_of_birth(bridge: Bridge) -> None:
    bridge._delivery.__class__ = _LatenessOfBirth


class BudgetNotKept(Bridge):
    """A restart knows nothing of a quota or of the last login."""

    def step(self, *args: Any) -> Any:
        return [order for order in super().step(*args) if not isinstance(order, KeepBudget)]


# What is planted, and the promises of which it must break one.
FAULTS: dict[str, tuple[Parts, set[str]]] = {
    "acknowledged before the PUBACK": (Parts(journal=AcknowledgedBeforePuback), {"lost", "tally", "gap", "state"}),
    "sequence not persisted": (Parts(journal=SequenceNotPersisted), {"sequence"}),
    "journal id not renewed after a power cut": (Parts(journal=EpochNotRenewed), {"sequence", "revision", "duplicate"}),
    "committed after it was published": (
        Parts(turn=CommitAfterPublish),
        {"sequence", "revision", "duplicate", "state"},
    ),
    "a count taken for proof": (planted(count_taken_for_proof), {"lost", "state", "tally"}),
    "in flight forgotten after a broken connection": (planted(in_flight_forgotten), {"lost", "state", "gap", "last"}),
    "dedupe by a plain seen set": (planted(seen_set), {"state", "lost"}),
    "history applied row by row": (planted(row_by_row), {"state", "repeat"}),
    "lateness judged at birth": (planted(lateness_of_birth), {"live"}),
    "budget not kept over a restart": (Parts(bridge=BudgetNotKept), {"quota", "logins"}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    parts, rules = FAULTS[fault]
    for seed in range(SEEDS):
        failure = run_seed(seed, parts)
        if failure is not None and failure.rule in rules and run_seed(seed) is None:
            print(f"\n{fault}: seed {seed}, {failure.text}")
            return
    pytest.fail(f"{SEEDS} seeds did not find it")
