"""Runs seeds, and makes of a failing plan the smallest one that still fails in the same way."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.simulation import plan as plans
from tests.simulation.plan import Manners, Plan
from tests.simulation.process import Parts
from tests.simulation.witness import Breach
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Failure:
    """rule: of the promise, or the name of an exception."""

    plan: Plan
    rule: str
    text: str


def run_plan(plan: Plan, parts: Parts, trace: Callable[[str], None] | None = None) -> Failure | None:
    world = World(plan, parts, trace)
    try:
        world.run()
    except Breach as breach:
        return Failure(plan, breach.rule, f"{breach} (at {world.timeline.now:.1f} s)")
    except Exception as error:  # noqa: BLE001 - whatever the bridge raises is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        rule = f"{type(error).__name__} in {where.name}"
        return Failure(plan, rule, "".join(traceback.format_exception(error)))
    finally:
        world.close()
    return None


def run_seed(seed: int, parts: Parts | None = None) -> Failure | None:
    return run_plan(plans.make(seed), parts or Parts())


def shrink(failure: Failure, parts: Parts, tries: int = 400) -> Failure:
    """Leave out entries, then peculiarities, as long as the same promise is broken."""

    def still(plan: Plan) -> Failure | None:
        nonlocal tries
        tries -= 1
        found = run_plan(plan, parts) if tries > 0 else None
        return found if found is not None and found.rule == failure.rule else None

    size = max(1, len(failure.plan.entries) // 2)
    while size:
        start = 0
        while start < len(failure.plan.entries):
            gone = set(range(start, min(start + size, len(failure.plan.entries))))
            smaller = still(failure.plan.without(gone))
            if smaller is not None:
                failure = smaller
            else:
                start += size
        size //= 2
    return _plainer(failure, still)


def _plainer(failure: Failure, still: Callable[[Plan], Failure | None]) -> Failure:
    plain = Manners()
    for name in Manners.__slots__:
        value = getattr(plain, name)
        if getattr(failure.plan.manners, name) != value:
            manners = replace(failure.plan.manners, **{name: value})
            found = still(replace(failure.plan, manners=manners))
            failure = found or failure
    return failure
