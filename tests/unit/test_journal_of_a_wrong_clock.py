"""A journal that began under a wrong clock: once that is put right, nothing live is late, and nothing old is live."""

from contextlib import closing

import pytest
from bridge_house import HUT, NOON, House, device, settings

from mt1bridge.bridge import Start
from mt1bridge.bridge.opening import TOLERATED_MS
from mt1bridge.journal.journal import Journal
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import Tick

HOUR_MS = 3_600_000


class Ahead(House):
    """A machine whose clock is that far ahead until `put_right`. since: seconds since the first process began."""

    def __init__(self, directory, ahead_ms, since=0.0):
        self.ahead_ms, self.since = ahead_ms, since
        super().__init__(directory, settings(directory, device(HUT)))

    def start(self):
        return Start(None, None, self.now(), first_ms=NOON)

    def now(self):
        passed = self.since + self.seconds
        return Now(1000.0 + passed, NOON + round(passed * 1000) + self.ahead_ms)

    def put_right(self):
        self.ahead_ms = 0

    def told_as(self, age_s=0.3, **more):
        """What becomes of an impulse that happens now."""
        self.impulse(age_s=age_s, **more)
        self.run(5)
        return self.told("/C1/trigger")[-1]["event_type"]


@pytest.fixture
def opened_ahead(monkeypatch):
    """The journal is opened by that clock."""

    def opens(ahead_ms):
        opened = Journal.open
        monkeypatch.setattr(Journal, "open", lambda journal, now_ms: opened(journal, now_ms + ahead_ms))

    return opens


@pytest.mark.parametrize("ahead_ms", [1_000, 30_000, 59_000, 61_000, HOUR_MS])
def test_no_live_impulse_is_late_when_the_time_comes_at_which_the_journal_says_it_began(
    tmp_path, opened_ahead, ahead_ms
):
    opened_ahead(ahead_ms)
    with closing(Ahead(tmp_path, ahead_ms)) as running:
        running.run(5)
        running.put_right()
        told = []
        for minute in range(70):
            told.append(running.told_as(number=minute))
            running.run(55)
        assert told == ["trigger"] * 70


def test_it_is_corrected_for_good(tmp_path, opened_ahead):
    opened_ahead(HOUR_MS)
    with closing(Ahead(tmp_path, HOUR_MS)) as running:
        running.run(60)
        running.put_right()
        running.run(60)
        assert abs(running.journal.opened_ms - NOON) <= 1
        name = running.journal.journal
    with closing(Ahead(tmp_path, 0, since=120.0)) as running:
        assert running.journal.journal == name
        assert abs(running.journal.opened_ms - NOON) <= 1


def test_one_that_began_under_a_clock_which_was_behind_says_when_it_really_began(tmp_path, opened_ahead):
    """What was told just before it is told again as late."""
    opened_ahead(-HOUR_MS)
    with closing(Ahead(tmp_path, -HOUR_MS)) as running:
        running.run(2)
        running.put_right()
        running.turn.take([Tick()])
        assert abs(running.journal.opened_ms - NOON) <= 1
        assert running.told_as(age_s=3) == "late"
        assert running.told_as() == "trigger"


def test_a_journal_of_an_earlier_process_is_as_old_as_this_one_at_least(tmp_path, opened_ahead):
    """The clock was put right while nothing ran."""
    opened_ahead(HOUR_MS)
    with closing(Ahead(tmp_path, HOUR_MS)) as running:
        running.run(60)
    with closing(Ahead(tmp_path, 0, since=120.0)) as running:
        running.run(5)
        assert running.journal.opened_ms == NOON + 120_000
        assert running.told_as() == "trigger"


def test_what_happened_before_it_began_is_late(tmp_path, opened_ahead):
    opened_ahead(HOUR_MS)
    with closing(Ahead(tmp_path, HOUR_MS)) as running:
        running.run(2)
        running.put_right()
        running.turn.take([Tick()])
        assert running.told_as(age_s=3) == "late"


def test_a_clock_that_is_not_known_to_be_right_corrects_nothing(tmp_path):
    with closing(Ahead(tmp_path, 0)) as running:
        running.run(60)
        parts = running.bridge.parts
        parts.at(Now(running.now().monotonic, NOON - HOUR_MS, good=False))
        assert parts.journal.opened_ms == NOON
        parts.at(Now(running.now().monotonic, NOON + 60_000 - TOLERATED_MS, good=True))
        assert parts.journal.opened_ms == NOON
