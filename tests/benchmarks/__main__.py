"""The bridge beside a naive script, measured in one run: `python -m tests.benchmarks`.

Both run against the same simulator and the same mosquitto, both over TLS, one after the other. Figures are of this
machine and this hour; the ratios travel better. --quick: fewer triggers. --json: for programs.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("benchmarks", "contract", "system")]

from process import Process  # noqa: E402 - the path comes first
from subject import (  # noqa: E402
    DEVICES,
    PATIENCE_S,
    TICKS_PER_MS,
    Arrivals,
    Naive,
    Place,
    bridge,
    cpu_s,
    rss_mib,
    threads,
    tls_place,
    wait_until,
    wakeups,
)

TARGET_RSS_MIB = 38
LATENCY_PER_SECOND = 50
FLOOD_PER_SECOND = 0  # all at once


@dataclass(frozen=True)
class Figures:
    """One subject. start_up_s: from its start to the arrival of an impulse sent once it had subscribed."""

    start_up_s: float
    start_up_cpu_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    ceiling_per_s: float
    cpu_per_trigger_ms: float
    idle_rss_mib: float
    idle_threads: int
    idle_cpu_percent: float
    idle_wakeups_per_s: float
    rss_after_load_mib: float


UNITS = {
    "start_up_s": ("start-up to the first trigger told", "s", 2),
    "start_up_cpu_s": ("start-up, CPU", "s", 2),
    "latency_p50_ms": (f"latency p50 at {LATENCY_PER_SECOND}/s", "ms", 2),
    "latency_p99_ms": (f"latency p99 at {LATENCY_PER_SECOND}/s", "ms", 2),
    "ceiling_per_s": ("ceiling", "triggers/s", 0),
    "cpu_per_trigger_ms": ("CPU per trigger at the ceiling", "ms", 3),
    "idle_rss_mib": ("idle RSS", "MiB", 1),
    "idle_threads": ("threads", "", 0),
    "idle_cpu_percent": ("idle CPU", "%", 2),
    "idle_wakeups_per_s": ("idle wake-ups", "1/s", 1),
    "rss_after_load_mib": ("RSS after the load", "MiB", 1),
}


def measure(make: Callable[[Path, Place], Process], triggers: int, idle_s: float) -> Figures:
    with tempfile.TemporaryDirectory() as name, tls_place(Path(name)) as place:
        arrivals = Arrivals(place.broker.plain_port)
        subject = make(Path(name), place)
        try:
            return measured(subject, place, arrivals, triggers, idle_s)
        finally:
            subject.kill()
            arrivals.close()


def measured(subject: Process, place: Place, arrivals: Arrivals, triggers: int, idle_s: float) -> Figures:
    begun = time.monotonic()
    subject.start()
    sim = place.simulator
    subscribed = wait_until(lambda: sim.subscribed() >= len(DEVICES) or not subject.running(), PATIENCE_S)
    assert subscribed, f"it did not subscribe:\n{subject.log()}"
    assert subject.running(), f"it has ended:\n{subject.log()}"
    sim.impulse(device=DEVICES[0], channel=0)
    arrivals.wait(1)
    start_up_s, start_up_cpu_s = time.monotonic() - begun, cpu_s(subject)
    idle_cpu, idle_wakeups = idle(subject, place, idle_s)
    rss, count = rss_mib(subject), threads(subject)
    latencies = sorted(latencies_ms(place, arrivals, triggers // 5, LATENCY_PER_SECOND))
    before_cpu = cpu_s(subject)
    ceiling = flood(place, arrivals, triggers)
    return Figures(
        start_up_s,
        start_up_cpu_s,
        statistics.median(latencies),
        latencies[len(latencies) * 99 // 100],
        ceiling,
        (cpu_s(subject) - before_cpu) * 1000 / triggers,
        rss,
        count,
        idle_cpu,
        idle_wakeups,
        rss_mib(subject),
    )


def idle(subject: Process, place: Place, seconds: float) -> tuple[float, float]:
    """(CPU in percent, wake-ups per second) of a while without triggers, after the last call of the start."""
    end = time.monotonic() + PATIENCE_S
    calls = -1
    while calls != (calls := len(place.simulator.requests())) and time.monotonic() < end:
        time.sleep(seconds / 2)
    cpu, woken, at = cpu_s(subject), wakeups(subject), time.monotonic()
    time.sleep(seconds)  # a measurement of nothing happening: there is nothing to wait for
    passed = time.monotonic() - at
    return 100 * (cpu_s(subject) - cpu) / passed, (wakeups(subject) - woken) / passed


def latencies_ms(place: Place, arrivals: Arrivals, count: int, per_second: int) -> list[float]:
    """From the moment at which the simulator pushed a trigger to its arrival at the subscriber."""
    known = set(arrivals.at)
    run_load(place, arrivals, count, per_second)
    pushed = {str(row["timestamp"]): row["uploaded_at"] for one in place.simulator.stored() for row in one["rows"]}
    new = [stamp for stamp in arrivals.at if stamp not in known]
    return [(arrivals.at[stamp] // 100 - pushed[stamp]) / TICKS_PER_MS for stamp in new]


def flood(place: Place, arrivals: Arrivals, count: int) -> float:
    """Triggers per second, from the first push to the last arrival, when all are pushed at once."""
    known = set(arrivals.at)
    run_load(place, arrivals, count, FLOOD_PER_SECOND)
    new = {stamp: at for stamp, at in arrivals.at.items() if stamp not in known}
    pushed = [row["uploaded_at"] for one in place.simulator.stored() for row in one["rows"]]
    first = sorted(pushed)[-count]
    return count * 1e7 / (max(new.values()) // 100 - first)


def run_load(place: Place, arrivals: Arrivals, count: int, per_second: int) -> None:
    wanted = len(arrivals.at) + count
    place.simulator.load(count=count, per_second=per_second, channels=[0, 1])
    arrivals.wait(wanted)


# --- the table ------------------------------------------------------------------------------------


def table(ours: Figures, naive: Figures) -> str:
    lines = [f"{'':36}{'mt1bridge':>12}{'naive':>12}{'ratio':>8}"]
    for key, (words, unit, digits) in UNITS.items():
        one, other = getattr(ours, key), getattr(naive, key)
        ratio = f"{one / other:.2f}" if other else "-"
        lines.append(f"{words + (f' [{unit}]' if unit else ''):36}{one:>12.{digits}f}{other:>12.{digits}f}{ratio:>8}")
    verdict = "met" if ours.idle_rss_mib <= TARGET_RSS_MIB else "MISSED"
    lines.append(f"target: idle RSS with TLS at most {TARGET_RSS_MIB} MiB: {verdict}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer triggers, shorter idling")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    triggers, idle_s = (1000, 10.0) if args.quick else (5000, 30.0)
    ours = measure(bridge, triggers, idle_s)
    naive = measure(Naive, triggers, idle_s)
    if args.json:
        print(json.dumps({"mt1bridge": asdict(ours), "naive": asdict(naive)}, indent=2))
    else:
        print(f"Python {platform.python_version()}, {platform.machine()}, {triggers} triggers at the ceiling\n")
        print(table(ours, naive))
    return 0 if ours.idle_rss_mib <= TARGET_RSS_MIB else 1


sys.exit(main())
