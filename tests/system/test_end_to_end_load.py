"""A day's racing in a minute: each trigger and each correction exactly once, in order, to 100 ns.

TRIGGERS=10000 runs the whole of it (some three minutes); without it there are fewer.
"""

import json
import os
import random
import threading
import time

from ledger import Ledger
from mosquitto import Recorder
from process import Stage

DEVICES = ("231203016", "231203037", "190801013", "231203044")
CHANNELS = (0, 1, 2)
TRIGGERS = int(os.environ.get("TRIGGERS", "2000"))
PER_SECOND = 200
YOUNGEST = 300  # triggers that came after the one that is deleted: the load corrects the last fifty alone


class Deletions:
    """Deletes on the platform what the subscriber knows, while the load runs: ten or so a second."""

    def __init__(self, stage: Stage, recorder: Recorder) -> None:
        self._stage, self._recorder = stage, recorder
        self._end = threading.Event()
        self._random = random.Random(5)
        self._thread = threading.Thread(target=self._run)
        self.problem: BaseException | None = None
        self.count = 0

    def __enter__(self) -> "Deletions":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            done: set[str] = set()
            while not self._end.wait(0.1):
                ledger = Ledger().add(self._recorder.messages()[-4 * YOUNGEST :])
                corrected = set(ledger.ids("correction")) | done
                old = [one for one in ledger.ids("trigger")[:-YOUNGEST] if one not in corrected]
                if old:
                    done.add(chosen := self._random.choice(old))
                    device, channel, timestamp = chosen.split("-")
                    self._stage.simulator.delete(device=device, channel=channel, timestamp=int(timestamp))
                    self.count += 1
        except BaseException as problem:  # noqa: BLE001 - raised in the test
            self.problem = problem


def until(condition, deadline_s, what):
    """Look now and then: a look after every message would cost more than the message."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in {deadline_s} s"
        time.sleep(0.25)


def test_every_trigger_and_correction_exactly_once_in_order(tmp_path, record_property):
    settings = {"reconcile": {"interval": "5s"}}  # history is read and compared while the pushes come
    with Stage(tmp_path, settings, devices=DEVICES) as stage, impulses(stage) as recorder:
        stage.bridge.start()
        stage.wait_live()
        begun = time.monotonic()
        with Deletions(stage, recorder) as deletions:
            load = stage.simulator.load(
                count=TRIGGERS, per_second=PER_SECOND, channels=CHANNELS, corrections=0.1, seed=20260214
            )
            progress = stage.simulator.wait_load(load, 60 + 2 * TRIGGERS / PER_SECOND)
        assert deletions.problem is None
        assert min(progress["renumbered"], progress["cleared"], deletions.count) > 0
        stored = stage.simulator.stored()
        wanted = sum(len(entry["rows"]) for entry in stored) + deletions.count
        until(lambda: len(recorder.messages()) >= wanted, 60.0, f"{wanted} messages")
        elapsed = time.monotonic() - begun
        check_retained(stage, stored, 60.0 + TRIGGERS / 20)
        ledger = Ledger().add(recorder.messages())
        ledger.check_sequences()
        compared = ledger.compare(stored)
        assert compared == wanted
        assert len(set(ledger.ids("trigger"))) == len(ledger.ids("trigger")) == TRIGGERS
        late = sum(body["event_type"] == "late" for _, body in ledger.bodies)
        health = stage.newest("bridge/health")
        assert stage.bridge.stop() == 0
        figures = f"{TRIGGERS} triggers, {compared - TRIGGERS} corrections in {elapsed:.1f} s, {late} late; {health}"
        record_property("figures", figures)
        print(figures)


def impulses(stage: Stage) -> Recorder:
    return stage.subscriber("mt1/device/+/+/trigger", "mt1/device/+/+/correction", "mt1/device/+/+/rejected")


def check_retained(stage: Stage, stored, deadline_s: float) -> None:
    """`last`, `recent` and `tally` come to say what the simulator's truth is, and that nothing is missing."""

    def newest() -> dict[str, object]:
        return {one.topic: json.loads(one.payload) for one in stage.recorder.messages() if one.topic in topics}

    tallies = {f"mt1/device/{one['device']}/C{one['channel']}/tally": one for one in stored}
    lasts = {f"mt1/device/{one['device']}/C{one['channel']}/last": one for one in stored}
    recents = {f"mt1/device/{device}/recent" for device in DEVICES}
    topics = {*tallies, *lasts, *recents}

    def proven() -> bool:
        told = newest()
        return all(
            told[topic]["published"] == len(one["triggers"])
            and told[topic]["in_effect"] == sum(trigger["in_effect"] for trigger in one["triggers"])
            and (told[topic]["complete"], told[topic]["missing"]) == (True, 0)
            for topic, one in tallies.items()
        )

    until(proven, deadline_s, "every tally complete")
    told = newest()
    for topic, one in lasts.items():
        in_effect = [trigger for trigger in one["triggers"] if trigger["in_effect"]]
        assert told[topic]["timestamp"] == str(in_effect[-1]["timestamp"])
        assert told[topic]["start_number"] == in_effect[-1]["number"]
    for device in DEVICES:
        truth = [
            (trigger["timestamp"], f"C{one['channel']}", trigger["number"])
            for one in stored
            if one["device"] == device
            for trigger in one["triggers"]
            if trigger["in_effect"]
        ]
        shown = [
            (int(one["timestamp"]), one["channel"], one["start_number"]) for one in told[f"mt1/device/{device}/recent"]
        ]
        assert shown == sorted(truth, reverse=True)[:20]
