"""The very first start on a machine without a battery clock: what was there before it is not told."""

import pytest
from bridge_house import HUT, NOON, House, device, settings

from mt1bridge.bridge import Start
from mt1bridge.bridge.beginning import UNSURE_MS
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import KeepFirstStart
from mt1bridge.model.upstream import Call, NoAnswer, Trouble

YEAR_MS = 365 * 86_400_000


class Unset(House):
    """A machine whose clock is set half a minute after the start; until then it is this far off."""

    off_ms = -56 * YEAR_MS
    first_starts: list[int]

    def __init__(self, directory, first, off_ms):
        self.off_ms, self.first_starts = off_ms, []
        super().__init__(directory, first)

    def start(self):
        return Start(None, None, self.now())

    def now(self):
        right_ms = NOON + round(self.seconds * 1000)
        good = self.seconds >= 30
        return Now(1000.0 + self.seconds, right_ms if good else right_ms + self.off_ms, good)

    def carry_out(self, order):
        """Under a clock that is wrong, no certificate is valid."""
        if isinstance(order, Call) and not self.now().good:
            self.pending.append(NoAnswer(order.call, Trouble.TLS, "the certificate is not valid yet"))
            return
        if isinstance(order, KeepFirstStart):
            self.first_starts.append(order.cut_ms)
        super().carry_out(order)

    def stored(self, age_s, number):
        """A trigger that history alone has."""
        wrong_ms = self.now().utc_ms - NOON - round(self.seconds * 1000)
        self.impulse(age_s=age_s + wrong_ms / 1000, number=number)


@pytest.mark.parametrize("off_ms", [-56 * YEAR_MS, -3_600_000, 10 * YEAR_MS])
def test_what_was_there_before_the_first_start_is_not_told_and_what_came_after_it_is(tmp_path, off_ms):
    running = Unset(tmp_path, settings(tmp_path, device(HUT)), off_ms)
    try:
        running.stored(600, number=1)
        running.run(10)
        assert running.links == []
        running.stored(1, number=2)
        running.run(170)
        assert running.says("mt1/bridge/upstream")["state"] == "live"
        assert [(body["start_number"], body["event_type"]) for body in running.told("/C1/trigger")] == [(2, "late")]
        assert running.first_starts == [NOON - UNSURE_MS]
        assert running.says("mt1/bridge/info")["started_at"] == "2026-02-14T09:30:00.000Z"
        assert running.says("mt1/bridge/health")["uptime_s"] == pytest.approx(180, abs=31)
    finally:
        running.close()


def test_a_clock_that_is_set_and_was_right_changes_nothing(tmp_path):
    running = Unset(tmp_path, settings(tmp_path, device(HUT)), 0)
    try:
        running.run(120)
        assert running.first_starts == [NOON - UNSURE_MS]
    finally:
        running.close()
