"""python -m tests.simulation --seeds N [--from S] [--jobs J], or --seed S [--trace]."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from tests.simulation import plan as plans
from tests.simulation.process import Parts
from tests.simulation.search import Failure, run_plan, run_seed, shrink

CHUNK = 50
TOLD_EVERY = 1_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="S", help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--most", type=int, default=5, help="failing seeds to show")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: everything that happens")
    parser.add_argument("--whole", action="store_true", help="do not shrink")
    given = parser.parse_args()
    if given.seed is not None:
        return _one(given.seed, given.trace, given.whole)
    return _many(range(given.first, given.first + given.seeds), given.jobs, given.most, given.whole)


def _one(seed: int, trace: bool, whole: bool) -> int:
    failure = run_seed(seed)
    plan = plans.make(seed)
    if failure is None:
        if trace:
            run_plan(plan, Parts(), print)
        print(f"seed {seed}: nothing wrong")
        return 0
    failure = failure if whole else shrink(failure, Parts())
    if trace:
        run_plan(failure.plan, Parts(), print)
    print(describe(failure))
    return 1


def _many(seeds: range, jobs: int, most: int, whole: bool) -> int:
    began, done, failures = time.monotonic(), 0, []
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for found in map(_chunk, chunks) if jobs == 1 else pool.map(_chunk, chunks):
            done += CHUNK
            failures += found
            for failure in found:
                print(f"seed {failure.plan.seed}: {failure.text.splitlines()[-1][:200]}", flush=True)
            if done % TOLD_EVERY == 0 and done < len(seeds):
                print(f"{done} schedules, {done / (time.monotonic() - began) * 60:.0f} a minute", flush=True)
            if len(failures) >= most:
                break
    passed = time.monotonic() - began
    for failure in failures[:most]:
        print(describe(failure if whole else shrink(failure, Parts())))
    done = min(done, len(seeds))
    print(f"{done} schedules in {passed:.0f} s, {done / passed * 60:.0f} a minute; {len(failures)} failed")
    print("seeds:", " ".join(f"{failure.plan.seed}({failure.rule})" for failure in failures) or "-")
    return 1 if failures else 0


def _chunk(seeds: range) -> list[Failure]:
    return [failure for failure in map(run_seed, seeds, repeat(None)) if failure is not None]


def describe(failure: Failure) -> str:
    """What went wrong, in which schedule, and how to see it again."""
    plan = failure.plan
    head = [f"\nseed {plan.seed}: {failure.text}", f"manners: {plan.manners}"]
    again = f"again: python -m tests.simulation --seed {plan.seed} --trace\n"
    return "\n".join([*head, *(f"  {entry}" for entry in plan.entries), again])


if __name__ == "__main__":
    sys.exit(main())
