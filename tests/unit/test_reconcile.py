"""What history is wanted, when, and what is concluded from it: a server by hand, a second for each call."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from mt1bridge.feed import outcomes as plan
from mt1bridge.feed.channel import CONFIRM_S, UNLISTED_S, new_memory
from mt1bridge.feed.proof import conclude
from mt1bridge.feed.reconcile import Reconcile, Reconciliation
from mt1bridge.feed.scan import Reach, Scan
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, CountWanted, Failure, PageRead, PageWanted, WantFailed
from mt1bridge.model.known import ChannelMemory, Known
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import CHANNELS, Change, ChannelId, Reading, Sighting, TriggerId

START_MS = 1_771_061_415_000
C0, C1, C5 = (ChannelId("231203016", name) for name in ("C0", "C1", "C5"))
HOUR_MS = 3_600_000


class House:
    """A reconciliation, the server that it asks, and what the journal would know of its triggers."""

    def __init__(self, *channels, interval_s=300, full_s=1800, window_s=172_800, calls=20, cap=200):
        self.reconciliation = Reconciliation(Reconcile(interval_s, full_s, window_s), calls)
        self.now_s = 0.0
        self.cap = cap
        self.listed: dict[ChannelId, list[int]] = {at: [] for at in channels or (C0,)}  # ms, in any order
        self.extra: Counter[ChannelId] = Counter()  # counted and never listed
        self.known: dict[TriggerId, Known] = {}
        self.staged: list[Sighting] = []
        self.calls: list[tuple[float, str]] = []
        self.asked: list[PageWanted] = []
        self.told: list[object] = []
        self.deleted: list[TriggerId] = []
        self.failing: Failure | None = None
        self.add(*(new_memory(at, START_MS, configured=True) for at in self.listed))

    @property
    def now(self):
        return Now(1000.0 + self.now_s, START_MS + round(self.now_s * 1000))

    def add(self, *memories):
        self.reconciliation.add(memories, self.now)

    def rows(self, wanted):
        return sorted(
            (ms for ms in self.listed.get(wanted.at, ()) if wanted.from_ms is None or ms >= wanted.from_ms),
            reverse=True,
        )

    def pass_(self, seconds):
        end = self.now_s + seconds
        while self.now_s < end:
            wanted = self.reconciliation.next_wanted(self.now)
            if wanted is not None:
                self._answer(wanted)
            self.now_s += 1.0
        return self

    def _answer(self, wanted):
        name = "count" if isinstance(wanted, CountWanted) else "all" if wanted.from_ms is None else "page"
        self.calls.append((self.now_s, f"{wanted.at.channel} {name}"))
        if isinstance(wanted, PageWanted):
            self.asked.append(wanted)
        if self.failing is not None:
            self.take(self.reconciliation.found(WantFailed(wanted, self.failing, "status -2011"), self.now))
        elif isinstance(wanted, PageWanted):
            found = self.rows(wanted)[wanted.offset : wanted.offset + min(self.cap, wanted.limit)]
            page = PageRead(wanted, tuple(_row(wanted.at, ms) for ms in found), self.now.utc_ms)
            self.take(self.reconciliation.found(page, self.now))
        else:
            value = len(self.listed.get(wanted.at, ())) + self.extra[wanted.at]
            self.take(self.reconciliation.found(Counted(wanted.at, value), self.now))

    def take(self, outcomes):
        for outcome in outcomes:
            if isinstance(outcome, plan.Stage):
                self.staged += outcome.rows
            elif isinstance(outcome, plan.Forget):
                self.staged.clear()
            elif isinstance(outcome, plan.CompareNext):
                self._compare(outcome)
            else:
                self.told.append(outcome)

    def _compare(self, order):
        found = Counter(row.id for row in self.staged)
        growth = loss = 0
        for id in {*found, *(id for id in self.known if id.at == order.at)}:
            known, count = self.known.get(id, Known(id)), found[id]
            expected = order.absent_from <= id.timestamp <= order.absent_to
            loss += max(0, known.row_count - count) if count or expected else 0
            growth += max(0, count - known.row_count)
            if not count and expected and known.in_effect and self.reconciliation.may_be_deleted(order.at, known):
                self.deleted.append(id)
                known = replace(known, in_effect=False)
            if count or expected:
                rows = "some" if count else known.rows
                self.known[id] = replace(known, rows=rows, row_count=count, in_effect=known.in_effect or bool(count))
        scan = self.reconciliation.scan_of(order.scan, order.at)
        self.take(self.reconciliation.compared(scan, order.absent_to, growth, loss, False, True, self.now))

    def store(self, at=C0, ms=None):
        """The server stores a trigger, by default one of just now."""
        self.listed[at].append(self.now.utc_ms if ms is None else ms)

    def push(self, at, ms):
        id = _row(at, ms).id
        self.known[id] = Known(id, in_effect=True, changed_ms=self.now.utc_ms)
        self.take(self.reconciliation.pushed(at, 0))

    def made(self, what):
        return [at for at, call in self.calls if call == what]

    def memory(self, at=C0):
        return self.reconciliation.memory(at)

    def notes(self):
        return [one.event for one in self.told if isinstance(one, Note)]

    def alerts(self):
        standing = set()
        for one in self.told:
            if isinstance(one, AlertRaised):
                standing.add(one.name)
            elif isinstance(one, AlertOver):
                standing.discard(one.name)
        return standing


def _row(at, ms):
    return Sighting(TriggerId(at.device, at.channel, ms * 10_000), Change.SET, Reading(1, None, True, False, True))


# --- what is wanted, and when -----------------------------------------------------------------------


def test_a_known_channel_is_counted_every_interval():
    house = House(interval_s=300).pass_(1000)
    counts = house.made("C0 count")
    assert len(counts) == 4
    assert all(300 <= later - sooner <= 302 for sooner, later in pairwise(counts))


def test_a_channel_that_nobody_uses_is_counted_with_every_full_read():
    house = House(full_s=1800)
    house.add(new_memory(C5, START_MS, configured=False))
    house.pass_(4000)
    assert len(house.made("C5 count")) == 3


def test_intervals_stretch_when_the_budget_demands_it():
    house = House(*(ChannelId("231203016", name) for name in CHANNELS), interval_s=30, full_s=60, calls=2)
    assert len(house.pass_(3600).calls) <= 2 * 60


def test_a_new_subscription_reads_the_window_of_every_known_channel():
    house = House(C0, C1).pass_(20)
    house.calls.clear()
    house.reconciliation.subscribed(house.now)
    assert not house.reconciliation.all_settled()
    house.pass_(20)
    assert len(house.made("C0 page")) == len(house.made("C1 page")) == 1
    assert house.reconciliation.all_settled()


def test_a_count_that_rose_is_read_at_once():
    house = House().pass_(100)
    house.store()
    house.pass_(300)
    assert len(house.known) == 1
    assert house.memory().missing == 0
    assert house.memory().complete is True


def test_a_count_that_did_not_change_starts_nothing_until_a_full_read_is_due():
    house = House(interval_s=300, full_s=1800)
    house.store()
    house.pass_(10)
    house.calls.clear()
    house.pass_(1500)
    assert not house.made("C0 page")
    house.pass_(800)
    assert house.made("C0 page")


def test_everything_that_the_server_has_is_read_once_a_day():
    house = House(interval_s=600)
    house.store(ms=START_MS - 100 * 24 * HOUR_MS)
    house.pass_(3 * 86_400)
    assert len({at // 86_400 for at in house.made("C0 all")}) == 3


def test_without_push_counts_are_asked_as_often_as_the_budget_allows():
    house = House(interval_s=300, calls=20).pass_(10)
    house.reconciliation.poll(True, house.now)
    house.calls.clear()
    house.pass_(60)
    assert 8 <= len(house.made("C0 count")) <= 12


def test_what_fails_for_a_while_is_asked_again():
    house = House()
    house.failing = Failure.TRANSIENT
    house.pass_(30)
    assert not house.reconciliation.all_settled()
    house.failing = None
    house.store()
    house.pass_(120)
    assert house.memory().complete is True


def test_a_refused_device_is_left_alone_until_the_next_full_round():
    house = House(C0, C1, full_s=1800)
    house.failing = Failure.REFUSED
    house.pass_(1000)
    assert len(house.calls) == 1
    assert house.reconciliation.refused_devices == {"231203016"}
    assert any(isinstance(one, plan.DeviceRefused) for one in house.told)
    house.failing = None
    house.pass_(2000)
    assert any(isinstance(one, plan.DeviceAccepted) for one in house.told)
    assert house.reconciliation.refused_devices == frozenset()


def test_a_device_that_is_ours_no_more_is_not_asked_about():
    house = House(C0).pass_(10)
    house.reconciliation.remove("231203016")
    house.calls.clear()
    assert house.pass_(2000).calls == []


# --- late uploads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("age_ms", [HOUR_MS, 1_000 * HOUR_MS])
def test_a_late_upload_is_found_whatever_its_age(age_ms):
    house = House().pass_(100)
    house.store()
    house.store(ms=START_MS - age_ms)
    house.pass_(400)
    assert len(house.known) == 2
    assert house.memory().missing == 0


def test_a_clear_that_was_pushed_does_not_hide_it():
    house = House().pass_(100)
    house.reconciliation.pushed(C0, ends=1)
    house.store(ms=START_MS - 1_000 * HOUR_MS)
    house.pass_(400)
    assert len(house.known) == 1


def _conclude(memory, scan, growth=0, loss=0, ends=0):
    """growth, loss, ends: since the last conclusion."""
    return conclude(replace(memory, growth=growth, loss=loss, pushed_ends=ends), scan, now_ms=2)


def test_a_count_that_rises_between_the_count_and_the_page_is_no_gap():
    memory = ChannelMemory(C0, 0, base_count=4)
    first = _conclude(memory, _scan(count=5, rows=6), growth=2).memory
    second = _conclude(first, _scan(count=6, rows=6)).memory
    assert (first.missing, second.missing) == (0, 0)


def test_nor_is_one_that_fell_and_rose_in_between():
    memory = ChannelMemory(C0, 0, base_count=4)
    first = _conclude(memory, _scan(count=3, rows=4), growth=1, loss=1, ends=0).memory
    second = _conclude(first, _scan(count=4, rows=4), growth=0, loss=0, ends=0).memory
    assert second.missing == 0


def test_a_late_upload_as_old_as_can_be_is_not_hidden_by_a_deletion():
    """The count is as before: one row is gone and another one, older than the window, has come."""
    memory = ChannelMemory(C0, 0, base_count=4, complete=True)
    proof = _conclude(memory, _scan(count=4, rows=3), growth=0, loss=1, ends=1)
    assert proof.escalate is Reach.ALL
    proof = _conclude(proof.memory, _scan(4, 4, Reach.ALL), growth=1, loss=1, ends=1)
    assert (proof.escalate, proof.memory.missing, proof.memory.complete) == (None, 0, True)


def test_a_rise_that_a_pushed_deletion_explains_is_looked_at_again():
    """The count may not know of the deletion yet; when it falls, that must not hide the next rise."""
    memory = ChannelMemory(C0, 0, base_count=0, complete=True)
    proof = _conclude(memory, _scan(1, 0, Reach.ALL), ends=1)
    assert (proof.memory.missing, proof.unsure) == (0, True)
    assert not _conclude(memory, _scan(1, 1, Reach.ALL), growth=1).unsure


def test_a_server_that_counts_on_what_was_deleted_misses_nothing():
    memory = ChannelMemory(C0, 0, base_count=4, complete=True)
    proof = _conclude(memory, _scan(4, 3, Reach.ALL), growth=0, loss=1, ends=0)
    assert (proof.memory.missing, proof.memory.carry) == (0, 0)


def test_rows_that_are_deleted_explain_a_fall_and_nothing_else():
    memory = ChannelMemory(C0, 0, base_count=9, missing=2, complete=False)
    proof = _conclude(memory, _scan(6, 4, Reach.ALL), growth=0, loss=3, ends=3)
    assert proof.memory.missing == 2


def test_what_was_within_the_window_at_the_last_read_is_read_again():
    house = House(interval_s=300, full_s=1800, window_s=3600)
    house.store()
    house.pass_(30)
    read_ms = house.memory().proven_ms
    house.asked.clear()
    house.pass_(2200)
    assert read_ms > START_MS
    assert next(wanted.from_ms for wanted in house.asked if wanted.from_ms is not None) <= read_ms - 3_600_000


def _scan(count, rows, reach=Reach.WINDOW):
    return Scan(1, C0, reach, None, 0, count=count, rows=rows)


# --- what cannot be explained -----------------------------------------------------------------------


def test_a_rise_that_no_read_explains_is_told_once_and_stays():
    house = House().pass_(100)
    house.extra[C0] = 2
    house.pass_(3000)
    assert house.memory().missing == 2
    assert house.memory().complete is False
    assert house.notes().count("gap_found") == 1
    assert house.alerts() == {"missing_231203016_C0"}


def test_it_is_read_without_bound_and_then_no_more():
    house = House(interval_s=300, full_s=1800).pass_(100)
    house.extra[C0] = 1
    house.pass_(1500)
    assert len(house.made("C0 all")) == 1


def test_it_is_over_when_history_shows_it():
    house = House().pass_(100)
    house.extra[C0] = 1
    house.pass_(400)
    house.extra[C0] = 0
    house.store()
    house.pass_(2500)
    assert house.memory().missing == 0
    assert house.alerts() == set()
    assert "gap_closed" in house.notes()


def test_a_full_read_that_shows_all_that_is_counted_misses_nothing():
    memory = ChannelMemory(C0, 0, base_count=1, missing=3)
    assert _conclude(memory, _scan(5, 5, Reach.ALL)).memory.missing == 0


# --- what is gone -----------------------------------------------------------------------------------


def stored_and_read(house, ages_ms=(3 * HOUR_MS, 2 * HOUR_MS, HOUR_MS)):
    for age_ms in ages_ms:
        house.store(ms=START_MS - age_ms)
    return house.pass_(30)


def test_a_row_that_disappears_is_deleted_once_it_was_missed_twice():
    house = stored_and_read(House())
    house.listed[C0].remove(START_MS - 2 * HOUR_MS)
    house.pass_(310)
    assert house.deleted == []
    house.pass_(CONFIRM_S + 10)
    assert [id.timestamp for id in house.deleted] == [(START_MS - 2 * HOUR_MS) * 10_000]


def test_a_row_that_is_missed_once_and_comes_back_is_not():
    house = stored_and_read(House())
    house.listed[C0].remove(START_MS - 2 * HOUR_MS)
    house.pass_(310)
    house.store(ms=START_MS - 2 * HOUR_MS)
    house.pass_(3000)
    assert house.deleted == []
    assert house.memory().missing == 0


def test_two_reads_in_a_row_are_no_proof():
    house = stored_and_read(House())
    house.listed[C0].remove(START_MS - 2 * HOUR_MS)
    for _ in range(5):
        house.reconciliation.reconcile_now(house.now)
        house.pass_(5)
    assert house.deleted == []


def test_one_older_than_the_window_is_looked_for_where_the_count_fell():
    house = stored_and_read(House(window_s=600), (9 * HOUR_MS, 8 * HOUR_MS, 7 * HOUR_MS))
    house.pass_(700)
    house.listed[C0].remove(START_MS - 8 * HOUR_MS)
    house.pass_(600)
    assert len(house.deleted) == 1


def test_it_is_found_over_a_restart_too():
    house = stored_and_read(House(window_s=600), (9 * HOUR_MS, 8 * HOUR_MS, 7 * HOUR_MS))
    house.pass_(700)
    house.listed[C0].remove(START_MS - 8 * HOUR_MS)
    house.pass_(330)
    memory = house.memory()
    house.reconciliation = Reconciliation(Reconcile(300, 1800, 600), 20)
    house.add(memory)
    house.pass_(3000)
    assert len(house.deleted) == 1


def test_old_rows_at_the_end_of_the_listing_may_have_been_forgotten_by_the_server():
    old = (100 * HOUR_MS, 90 * HOUR_MS, HOUR_MS)
    house = stored_and_read(House(window_s=10**6), old)
    house.listed[C0].remove(START_MS - 100 * HOUR_MS)
    house.pass_(6000)
    assert house.deleted == []


def test_a_push_that_history_never_lists_is_given_time():
    house = House()
    house.pass_(20)
    house.push(C0, house.now.utc_ms)
    house.pass_(UNLISTED_S)
    house.reconciliation.reconcile_now(house.now)
    assert house.pass_(30).deleted == []
    house.pass_(UNLISTED_S + 60)
    assert len(house.deleted) == 1


# --- over a restart ---------------------------------------------------------------------------------


def test_what_was_written_down_late_is_taken_over_and_read_without_bound():
    house = House().pass_(30)
    house.calls.clear()
    house.reconciliation.recall([replace(house.memory(), cut_ms=77, baselined=True, seen=True)], house.now)
    assert (house.memory().cut_ms, house.memory().baselined) == (77, True)
    house.pass_(30)
    assert house.made("C0 all")


def test_a_channel_was_read_once_a_scan_was_concluded():
    house = House()
    began = house.now.monotonic
    assert not house.reconciliation.was_read(C0, since=began)
    house.pass_(30)
    assert house.reconciliation.was_read(C0, since=began)
    assert not house.reconciliation.was_read(C0, since=began + 60)
