"""How far back the first start reaches, whatever the clock says before anybody has compared it."""

import pytest
from bridge_house import HUT, NOON, House, Server, device, settings

from mt1bridge.bridge.beginning import UNSURE_MS
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import KeepFirstStart
from mt1bridge.model.upstream import Call

YEAR_MS = 31_557_600_000
HOUR_MS = 3_600_000
BEFORE, AFTER = NOON - HOUR_MS, NOON + 200  # the latter before anything was asked or subscribed to


class Doubtful(House):
    """Its clock is off until the server has answered. answers: whether it does."""

    off_ms = 0
    answers = True
    known = False

    def now(self) -> Now:
        told = NOON + round(self.seconds * 1000)
        return Now(1000.0 + self.seconds, told if self.known else told + self.off_ms, self.known)

    def carry_out(self, order: object) -> None:
        if isinstance(order, KeepFirstStart):
            self.kept.append(order.cut_ms)
        elif not isinstance(order, Call):
            super().carry_out(order)
        elif self.answers:
            self.known = True
            super().carry_out(order)

    def __init__(self, *words: object) -> None:
        self.kept: list[int] = []
        super().__init__(*words)


def row(at_ms: int) -> dict[str, object]:
    return {
        "deviceId": HUT,
        "timestamp": at_ms * 10_000,
        "timingChannel": "C1",
        "timeOffset": 60,
        "type": "StartNumberTrigger",
        "startNumber": {"startNumber": 12, "type": "MANUAL"},
        "valid": True,
        "blocked": False,
        "fallingEdge": True,
    }


def told_in_a_minute(running: House) -> list[int]:
    try:
        running.run(60)
        return [int(body["timestamp"]) // 10_000 for body in running.told("/C1/trigger")]
    finally:
        running.close()


@pytest.mark.parametrize("off_ms", [0, 10 * YEAR_MS, 40_000_000, -40_000_000, -50 * YEAR_MS])
@pytest.mark.parametrize("configured", [True, False])
def test_what_is_timed_from_then_on_is_told_and_nothing_older(tmp_path, off_ms, configured):
    class Off(Doubtful):
        pass

    Off.off_ms = off_ms
    server = Server(rows={(HUT, "1"): [row(AFTER), row(BEFORE)]})
    running = Off(tmp_path, settings(tmp_path, *([device(HUT)] if configured else [])), server)
    assert told_in_a_minute(running) == [AFTER]
    assert running.kept == [NOON - UNSURE_MS]
    assert running.says("mt1/bridge/health")["uptime_s"] <= 61


def test_a_first_start_in_the_future_was_before_this_one(tmp_path):
    class Ahead(Doubtful):
        off_ms = 10 * YEAR_MS
        answers = False

    assert told_in_a_minute(Ahead(tmp_path, settings(tmp_path, device(HUT)))) == []
    server = Server(rows={(HUT, "1"): [row(AFTER), row(BEFORE)]})
    assert told_in_a_minute(House(tmp_path, settings(tmp_path, device(HUT)), server)) == [AFTER]
