"""Schedules of faults (2,000, or SIMULATION_SEEDS), and what the simulation itself must be.

It is repeatable, and good at making a failure small. More: `python -m tests.simulation --seeds 100000 --from 2000`.
"""

import os
from collections.abc import Sequence

import pytest

from mt1bridge.bridge import Event
from mt1bridge.model.upstream import Answer, LinkMessage
from mt1bridge.turn import Turn
from tests.simulation import plan as plans
from tests.simulation.__main__ import describe
from tests.simulation.plan import FAULTS, LATER, Entry, Manners, Plan
from tests.simulation.process import Parts
from tests.simulation.search import run_plan, run_seed, shrink

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
AT_ONCE = 100
ONCE_BROKEN = (
    2066, 2180, 2302, 2457, 2632, 2915, 3701, 4133, 4216, 4295, 4528, 4768, 5068, 5295,
    5652, 5691, 5720, 6170, 7225, 7340, 7808, 7968, 2461, 4072, 4539, 4629, 5122, 5245, 7184,
    10997, 11261, 13573, 14362, 18809, 21021, 23055, 23394, 30315, 31038, 31807, 36417, 37450, 40774,
    49006, 53240, 58601, 59522, 60641, 68029, 70460, 74098, 81856, 83013, 100102,
    104747, 107149, 108517, 112564, 128992, 132245, 115737, 115879, 116940, 122922, 241092, 250393, 250599, 255878,
    267367, 284181, 293146, 294694, 400178, 400232, 400423,
)  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [*range(0, SEEDS, AT_ONCE), *range(LATER, LATER + SEEDS // 10, AT_ONCE)])
def test_nothing_is_lost_whatever_dies(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        failure = run_seed(seed)
        if failure is not None:
            pytest.fail(describe(shrink(failure, Parts())))


@pytest.mark.timeout(600)
def test_what_was_lost_once_is_lost_no_more() -> None:
    """Seeds beyond the first that failed until something was mended."""
    for seed in ONCE_BROKEN:
        failure = run_seed(seed)
        if failure is not None:
            pytest.fail(describe(shrink(failure, Parts())))


def test_a_seed_is_one_schedule() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        assert run_plan(plans.make(11), Parts(), trace.append) is None
    assert traces[0] == traces[1]
    assert len(traces[0]) > 100


def test_every_fault_occurs_within_a_few_hundred_seeds() -> None:
    kinds = {entry.kind for seed in range(400) for entry in plans.make(seed).entries}
    assert kinds >= set(FAULTS)


class Deaf(Turn):
    """Takes neither pushes nor answers."""

    def take(self, events: Sequence[Event]) -> None:
        super().take([event for event in events if not isinstance(event, LinkMessage | Answer)])


def test_a_failure_is_made_small() -> None:
    impulse = Entry(20.0, "impulse", {"device": 0, "channel": 0, "number": 5, "fate": "ok"})
    noise = tuple(Entry(30.0 + n, "link_lost", {"trouble": "closed"}, n) for n in range(12))
    failure = run_plan(Plan(1, Manners(devices=2, lag_s=8.0), (impulse, *noise)), Parts(turn=Deaf))
    assert failure is not None

    small = shrink(failure, Parts(turn=Deaf))
    assert small.rule == failure.rule == "lost"
    assert small.plan.entries == (impulse,)
    assert small.plan.manners == Manners()
    assert str(impulse) in describe(small)
