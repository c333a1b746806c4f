"""The journal: what it keeps over every kind of end, in which epoch, and while the disk takes nothing."""

import errno
import shutil
import sqlite3
import threading
import time
import tracemalloc
from contextlib import closing
from dataclasses import replace
from itertools import count

import pytest

from mt1bridge.journal.checkpoint import Checkpoints
from mt1bridge.journal.file import FILE, MARK
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.mark import SIZE
from mt1bridge.journal.query import JournalReader
from mt1bridge.journal.store import Store
from mt1bridge.journal.verify import verify
from mt1bridge.model.fact import Fact, Kind, Previous, Source
from mt1bridge.model.known import ChannelMemory, Known, Learned, Tally
from mt1bridge.model.trigger import ChannelId, Reading, TriggerId

NOW = 1_771_061_400_000
DAY = 86_400_000
HUT = "231203016"
C0, C1 = ChannelId(HUT, "C0"), ChannelId(HUT, "C1")
READING = Reading(12, "MANUAL", True, False, True, 60)


class Disk:
    """What the file system does. fails: the error of every write, None while it works; readable: while it fails."""

    def __init__(self):
        self.fails: str | None = None
        self.readable = True
        self.fails_at_commit_alone = False

    def open_store(self, path):
        return Failing(path, self)


class Failing(Store):
    """A store on that disk. Memory never fails."""

    def __init__(self, path, disk):
        self._disk = None if path == ":memory:" else disk
        if self._disk is not None and disk.fails and not disk.readable:
            raise sqlite3.OperationalError(disk.fails)
        super().__init__(path)

    def begin(self):
        if self._disk is not None and self._disk.fails and not self._disk.fails_at_commit_alone:
            raise sqlite3.OperationalError(self._disk.fails)
        super().begin()

    def commit(self):
        if self._disk is not None and self._disk.fails:
            raise sqlite3.OperationalError(self._disk.fails)
        super().commit()


class Machine:
    """A directory, a disk, runs of the machine, and ids that are never given twice."""

    def __init__(self, directory):
        self.directory, self.disk, self.boot = directory, Disk(), "run-1"
        self._ids = count(1)
        self.opened = None

    def start(self, now_ms=NOW):
        journal = Journal(self.directory, self.boot, lambda: f"j{next(self._ids)}", self.disk.open_store)
        self.opened = journal.open(now_ms)
        return journal

    def kill(self, journal):
        """The process is gone: what was not committed is lost, nothing says that it was a clean end."""
        for store in (journal._disk, journal._memory):
            if store is not None:
                store.db.close()

    def reboot(self):
        self.boot = f"run-{int(self.boot[4:]) + 1}"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def journal(machine):
    with closing(machine.start()) as one:
        yield one


def trigger(timestamp, at=C1, live=False, number=12, received_ms=NOW, revision=1):
    """A first message on the trigger topic."""
    identity = TriggerId(at.device, at.channel, timestamp)
    reading = replace(READING, start_number=number)
    fact = Fact(
        str(identity), at, timestamp, Kind.TRIGGER, "trigger", revision, reading, True, Source.PUSH, received_ms
    )
    return Learned(at, Known(identity, reading, True, revision, True), fact, live=live)


def correction(before, event_type="cleared", in_effect=False, number=None):
    """What happens next to a trigger that was told."""
    known, fact = before.known, before.fact
    reading = known.reading if number is None else replace(known.reading, start_number=number)
    after = replace(known, in_effect=in_effect, revision=known.revision + 1, reading=reading)
    told = replace(
        fact,
        kind=Kind.CORRECTION,
        event_type=event_type,
        revision=after.revision,
        reading=reading,
        in_effect=in_effect,
        previous=Previous(known.reading, known.in_effect),
    )
    return Learned(before.at, after, told)


def rejected(timestamp, at=C1, received_ms=NOW):
    one = trigger(timestamp, at, received_ms=received_ms)
    fact = replace(one.fact, kind=Kind.REJECTED, event_type="rejected", reasons=("invalid",))
    return Learned(at, replace(one.known, usable=False), fact)


def learns(journal, *learned, now_ms=NOW):
    for at in {one.at for one in learned}:
        journal.remember(ChannelMemory(at, 0, seen=True), now_ms)
    journal.write(learned, now_ms)
    journal.commit(now_ms)


def owed(journal, at=C1, after=0, limit=1_000):
    return [entry.fact.timestamp for entry in journal.owed(at, after, limit)]


def numbers(journal, at=C1):
    """(journal id, sequence) of what is owed."""
    return [(entry.journal, entry.sequence) for entry in journal.owed(at, 0, 1_000)]


def acknowledges(journal, *timestamps, at=C1):
    for entry in journal.owed(at, 0, 1_000):
        if not timestamps or entry.fact.timestamp in timestamps:
            journal.acknowledged(entry, NOW)
    journal.commit(NOW)


def last(journal, at=C1):
    newest = journal.newest(at)
    return newest and newest.first.fact.timestamp


def recent(journal, channels=("C0", "C1")):
    return [one.first.fact.timestamp for one in journal.recent(HUT, channels)]


# --- epochs -----------------------------------------------------------------------------------------


def test_the_first_start_begins_a_journal(machine):
    with closing(machine.start()) as journal:
        assert (machine.opened.fresh, machine.opened.trouble) == (True, None)
        assert (journal.journal, journal.opened_ms) == ("j1", NOW)


def ends(machine, journal, clean):
    if clean:
        journal.close()
    else:
        machine.kill(journal)


@pytest.mark.parametrize(
    ("clean", "reboots", "goes_on"),
    [(True, False, True), (False, False, True), (True, True, True), (False, True, False)],
)
def test_the_journal_goes_on_unless_the_machine_ended_uncleanly(machine, clean, reboots, goes_on):
    journal = machine.start()
    learns(journal, trigger(10))
    ends(machine, journal, clean)
    if reboots:
        machine.reboot()
    with closing(machine.start(NOW + DAY)) as journal:
        learns(journal, trigger(20))
        assert numbers(journal) == [("j1" if goes_on else "j2", 1), ("j1" if goes_on else "j2", 2)]
        assert journal.opened_ms == (NOW if goes_on else NOW + DAY)
        assert not machine.opened.fresh


def test_who_reads_the_journal_does_not_hold_up_a_clean_end(machine):
    """As `mt1bridge journal list | less` does."""
    journal = machine.start()
    learns(journal, trigger(10))
    with JournalReader(machine.directory):
        learns(journal, trigger(20))
        began = time.monotonic()
        journal.close()
        assert time.monotonic() - began < 2
        machine.reboot()
        with closing(machine.start()) as journal:
            assert numbers(journal) == [("j1", 1), ("j1", 2)]


def test_a_checkpoint_that_takes_long_does_not_hold_up_a_clean_end(machine, monkeypatch):
    """As on an SD card that is worn out."""
    over = threading.Event()
    monkeypatch.setattr(Checkpoints, "_run", lambda _: over.wait(30))
    journal = machine.start()
    journal._checkpoints._due_bytes = 0
    learns(journal, trigger(10))
    assert "journal-checkpoint" in [thread.name for thread in threading.enumerate()]
    began = time.monotonic()
    journal.close()
    assert time.monotonic() - began < 2
    over.set()
    machine.reboot()
    with closing(machine.start()) as journal:
        assert journal.journal == "j1"


def test_an_unclean_end_is_forgotten_by_the_next_clean_one(machine):
    ends(machine, machine.start(), clean=False)
    machine.reboot()
    machine.start().close()
    machine.reboot()
    with closing(machine.start()) as journal:
        assert journal.journal == "j2"


def test_where_the_run_of_the_machine_is_not_known_an_unclean_end_begins_a_journal(machine):
    machine.boot = ""
    ends(machine, machine.start(), clean=False)
    with closing(machine.start()) as journal:
        assert journal.journal == "j2"


def test_a_file_that_took_the_place_of_ours_begins_a_journal_however_clean_it_ended(machine):
    journal = machine.start()
    learns(journal, trigger(10))
    journal.close()
    backup = machine.directory / "backup"
    shutil.copy(machine.directory / FILE, backup)
    journal = machine.start()
    learns(journal, trigger(20))
    journal.close()
    backup.replace(machine.directory / FILE)
    with closing(machine.start()) as journal:
        learns(journal, trigger(30))
        assert numbers(journal) == [("j2", 1), ("j2", 2)]


def put_back(backup, directory, keep_times):
    """Copy over what is there, as `cp` or `cp -p` does: every inode stays."""
    for saved in backup.iterdir():
        place = directory / saved.name
        with place.open("r+b") as file:
            file.truncate()
            file.write(saved.read_bytes())
        if keep_times:
            shutil.copystat(saved, place)


@pytest.mark.parametrize("keep_times", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("clean", [True, False])
def test_a_backup_of_an_earlier_run_that_was_copied_over_the_file_begins_a_journal(
    machine, tmp_path_factory, clean, whole, keep_times
):
    """whole: the mark was copied back as well."""
    backup = tmp_path_factory.mktemp("backup")
    journal = machine.start()
    learns(journal, trigger(10))
    journal.close()
    for file in [FILE, MARK] if whole else [FILE]:
        shutil.copy2(machine.directory / file, backup)
    if whole:
        age(backup / MARK)
    journal = machine.start()
    learns(journal, trigger(20))
    ends(machine, journal, clean)
    put_back(backup, machine.directory, keep_times)
    with closing(machine.start()) as journal:
        learns(journal, trigger(30))
        assert numbers(journal) == [("j2", 1), ("j2", 2)]


def age(mark):
    """As if it had been written ten seconds ago."""
    *words, written_ns = mark.read_text().split()
    mark.write_text(" ".join([*words, str(int(written_ns) - 10_000_000_000)]).rjust(SIZE))


@pytest.mark.parametrize("clean", [True, False])
def test_a_backup_of_the_same_run_that_was_copied_over_the_file_begins_a_journal(machine, tmp_path_factory, clean):
    backup = tmp_path_factory.mktemp("backup")
    journal = machine.start()
    learns(journal, trigger(10))
    journal.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy2(machine.directory / FILE, backup)
    learns(journal, trigger(20))
    ends(machine, journal, clean)
    put_back(backup, machine.directory, keep_times=False)
    with closing(machine.start()) as journal:
        learns(journal, trigger(30))
        assert numbers(journal) == [("j2", 1), ("j2", 2)]


def test_without_a_mark_a_journal_begins(machine):
    machine.start().close()
    (machine.directory / MARK).unlink()
    with closing(machine.start()) as journal:
        assert journal.journal == "j2"


@pytest.mark.parametrize("clean", [True, False])
def test_a_journal_goes_on_over_many_ends_and_after_everything_was_pruned(machine, clean):
    for turn in range(3):
        journal = machine.start()
        assert journal.journal == "j1"
        learns(journal, *(rejected(10 * turn + one, received_ms=NOW - 100 * DAY) for one in range(3)))
        acknowledges(journal)
        prunes(journal)
        ends(machine, journal, clean)
        with closing(machine.start()) as journal:
            assert journal.journal == "j1"
            learns(journal, trigger(1_000 + turn))
            assert numbers(journal)[-1] == ("j1", turn + 1)


@pytest.mark.parametrize("hot", [False, True], ids=["copied at rest", "copied in use"])
def test_a_copy_of_an_earlier_day_written_over_ours_begins_a_journal(machine, hot):
    file = machine.directory / FILE
    journal = machine.start()
    learns(journal, trigger(10))
    if not hot:
        journal.close()
    backup = {part: part.read_bytes() for part in machine.directory.glob(f"{FILE}*")}
    journal = journal if hot else machine.start()
    learns(journal, trigger(20))
    journal.close()
    inode = file.stat().st_ino
    for part, content in backup.items():
        part.write_bytes(content)
    assert file.stat().st_ino == inode
    with closing(machine.start()) as journal:
        learns(journal, trigger(30))
        assert numbers(journal) == [("j2", 1), ("j2", 2)]  # 10 may have been acknowledged since


def test_a_killed_process_loses_what_it_had_not_committed_and_nothing_else(machine):
    journal = machine.start()
    learns(journal, trigger(10))
    journal.write([trigger(20)], NOW)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert owed(journal) == [10]


# --- what is told -----------------------------------------------------------------------------------


def test_sequences_grow_by_one_within_each_topic(journal):
    learns(journal, trigger(10), trigger(11, C0), rejected(12), trigger(13), rejected(14))
    told = [(entry.fact.kind, entry.sequence) for entry in journal.owed(C1, 0, 10)]
    assert told == [(Kind.TRIGGER, 1), (Kind.REJECTED, 1), (Kind.TRIGGER, 2), (Kind.REJECTED, 2)]
    assert numbers(journal, C0) == [("j1", 1)]


def test_what_is_owed_comes_a_stretch_at_a_time_in_the_order_of_learning(journal):
    learns(journal, *(trigger(timestamp) for timestamp in (30, 10, 20)))
    first = journal.owed(C1, 0, 2)
    assert [entry.fact.timestamp for entry in first] == [30, 10]
    assert owed(journal, after=first[-1].n) == [20]
    assert journal.owing_channels() == {C1: 3}


def test_what_is_acknowledged_is_owed_no_more_and_stays_for_a_replay(journal):
    learns(journal, trigger(10), trigger(20))
    acknowledges(journal, 10)
    assert owed(journal) == [20]
    assert [entry.fact.timestamp for entry in journal.facts_after(0, journal.last_n, 10)] == [10, 20]
    assert [entry.fact.timestamp for entry in journal.facts_after(0, 1, 10)] == [10]


def test_the_tally_counts_what_the_broker_has_and_what_of_it_is_in_effect(journal):
    first, second = trigger(10), trigger(20)
    learns(journal, first, second)
    assert journal.tally(C1) == Tally(C1, 0, 0)
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 2, 2)
    cleared = correction(first)
    learns(journal, cleared, correction(second, "renumbered", in_effect=True, number=7), rejected(30))
    assert journal.tally(C1) == Tally(C1, 2, 2)
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 2, 1)
    learns(journal, correction(cleared, "restored", in_effect=True))
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 2, 2)


def gives_up(journal, timestamp, event_type="trigger"):
    [entry] = [e for e in journal.owed(C1, 0, 100) if (e.fact.timestamp, e.fact.event_type) == (timestamp, event_type)]
    journal.given_up(entry, NOW)
    journal.commit(NOW)


@pytest.mark.parametrize("where", ["on the disk", "the disk fails then", "the disk fails before", "and recovers"])
def test_what_was_given_up_does_not_count_and_neither_does_what_becomes_of_it(machine, where):
    journal = machine.start()
    first = trigger(10)
    learns(journal, first, *(trigger(timestamp) for timestamp in range(20, 50)))  # 10 is in `recent` no more
    if where == "the disk fails before":
        fails(machine)
        learns(journal, trigger(50))
    gives_up(journal, 10)
    if where in ("the disk fails then", "and recovers"):
        fails(machine)
        learns(journal, trigger(50))
    acknowledges(journal)
    many = 30 + (where != "on the disk")
    assert journal.tally(C1) == Tally(C1, many, many)
    if where == "and recovers":
        heals(machine, journal)
    learns(journal, gone := correction(first))
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, many, many)
    learns(journal, correction(gone, "restored", in_effect=True), correction(trigger(20)))
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, many, many - 1)
    if where != "on the disk" and where != "and recovers":
        heals(machine, journal)
    assert owed(journal) == []
    assert journal.tally(C1) == Tally(C1, many, many - 1)
    journal.store.recount()
    assert journal.tally(C1) == Tally(C1, many, many - 1)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert owed(journal) == []


def test_a_clear_that_was_given_up_is_one_all_the_same(journal):
    learns(journal, first := trigger(10))
    acknowledges(journal)
    learns(journal, gone := correction(first))
    gives_up(journal, 10, "cleared")
    assert journal.tally(C1) == Tally(C1, 1, 0)
    learns(journal, correction(gone, "restored", in_effect=True))
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 1, 1)


def test_what_was_given_up_stays_in_the_journal(journal):
    learns(journal, *(trigger(timestamp, received_ms=NOW - 100 * DAY) for timestamp in range(10, 40)))
    gives_up(journal, 10)
    acknowledges(journal)
    assert prunes(journal) == 9
    assert told(journal) == [10, *range(20, 40)]


def test_what_is_known_of_a_trigger_is_its_newest_state(journal):
    first = trigger(10)
    learns(journal, first, correction(first, "renumbered", in_effect=True, number=7))
    identity = first.known.id
    assert journal.known([identity, replace(identity, timestamp=11)]) == {
        identity: replace(first.known, revision=2, reading=replace(READING, start_number=7))
    }


def test_oddities_are_known_by_their_digest(journal):
    journal.write([Learned(C1, oddity="abc")], NOW)
    journal.commit(NOW)
    assert journal.oddities([(C1, "abc"), (C0, "abc"), (C1, "x")]) == {(C1, "abc")}


def test_small_things_are_kept(machine):
    journal = machine.start()
    journal.remember(ChannelMemory(C1, 5, seen=True, missing=2), NOW)
    journal.set_device_offset(HUT, 3_600_000, NOW)
    journal.retain("mt1/bridge/info", True, NOW)
    journal.retain("mt1/bridge/alert/quota", True, NOW)
    journal.retain("mt1/bridge/alert/quota", False, NOW)
    journal.commit(NOW)
    journal.close()
    with closing(machine.start()) as journal:
        assert journal.channels() == [ChannelMemory(C1, 5, seen=True, missing=2)]
        assert journal.device_offsets() == {HUT: 3_600_000}
        assert journal.retained() == {"mt1/bridge/info"}


# --- last and recent --------------------------------------------------------------------------------


def test_the_newest_is_the_largest_timestamp(journal):
    learns(journal, trigger(20), trigger(30), trigger(10))
    assert last(journal) == 30
    assert recent(journal) == [30, 20, 10]


def test_a_live_impulse_is_the_newest_whatever_its_timestamp_says(journal):
    learns(journal, trigger(1_000, live=True), trigger(10, live=True))
    assert last(journal) == 10
    learns(journal, trigger(500))
    assert last(journal) == 10
    learns(journal, trigger(2_000))
    assert last(journal) == 2_000
    learns(journal, trigger(11, live=True), trigger(12, live=True))
    assert recent(journal) == [12, 11, 2_000, 10, 1_000, 500]


def test_recent_goes_over_all_channels_of_the_device_and_ends_after_twenty(journal):
    learns(journal, *(trigger(timestamp, C0 if timestamp % 3 else C1, live=True) for timestamp in range(30)))
    assert recent(journal) == list(range(29, 9, -1))
    assert recent(journal, ("C1",)) == [27, 24, 21, 18, 15, 12, 9, 6, 3, 0]
    assert recent(journal, ()) == []


def test_what_is_cleared_leaves_last_and_recent_and_comes_back_to_its_place(journal):
    old, new = trigger(10), trigger(20)
    gone = correction(new)
    learns(journal, old, new, gone)
    assert (last(journal), recent(journal)) == (10, [10])
    learns(journal, correction(gone, "restored", in_effect=True))
    assert (last(journal), recent(journal)) == (20, [20, 10])


def test_last_shows_the_first_message_with_the_state_of_now(journal):
    first = trigger(10)
    learns(journal, first, correction(first, "renumbered", in_effect=True, number=7))
    newest = journal.newest(C1)
    assert newest.first.fact == first.fact
    assert (newest.reading.start_number, newest.revision) == (7, 2)


def test_what_was_never_usable_is_not_shown(journal):
    learns(journal, rejected(10))
    assert (last(journal), recent(journal)) == (None, [])


def test_a_trigger_that_was_told_late_after_all_shows_as_late(journal):
    learns(journal, trigger(10))
    [entry] = journal.owed(C1, 0, 1)
    journal.told_late(entry, True, NOW)
    journal.commit(NOW)
    assert journal.newest(C1).first.fact.late_at_birth


# --- prune ------------------------------------------------------------------------------------------


def prunes(journal, before_ms=NOW - 90 * DAY, now_ms=NOW):
    gone = journal.prune(before_ms, now_ms)
    journal.commit(NOW)
    return gone


def told(journal):
    return [entry.fact.timestamp for entry in journal.facts_after(0, journal.last_n, 10_000)]


def test_what_is_older_than_keep_goes_but_for_what_is_owed_or_shown(journal):
    old = NOW - 100 * DAY
    learns(journal, *(trigger(timestamp, received_ms=old) for timestamp in range(30)), rejected(90, received_ms=old))
    learns(journal, trigger(50))
    acknowledges(journal, *range(1, 100))
    shown = recent(journal)
    assert prunes(journal) == 11  # 1 to 10, and the rejected one
    assert told(journal) == [0, *range(11, 30), 50]
    assert owed(journal) == [0]
    assert recent(journal) == shown
    assert prunes(journal) == 0


def test_what_was_pruned_is_still_known_and_told_no_second_time(journal):
    first = rejected(10, received_ms=NOW - 100 * DAY)
    learns(journal, first)
    acknowledges(journal)
    assert prunes(journal) == 1
    assert journal.known([first.known.id]) == {first.known.id: first.known}


def test_one_message_of_a_clock_that_was_ahead_does_not_keep_all_later_ones(journal):
    learns(journal, rejected(10, received_ms=NOW + 4_000 * DAY), rejected(20, received_ms=NOW - 100 * DAY))
    acknowledges(journal)
    assert prunes(journal) == 1
    assert told(journal) == [10]


def test_many_messages_of_a_clock_that_was_ahead_do_not_keep_all_later_ones(journal):
    learns(journal, *(rejected(timestamp, received_ms=NOW + 4_000 * DAY) for timestamp in range(3_000)))
    learns(journal, *(rejected(timestamp, received_ms=NOW - 100 * DAY) for timestamp in range(5_000, 6_000)))
    for entry in journal.owed(C1, 0, 10_000):
        journal.acknowledged(entry, NOW)
    assert [prunes(journal) for _ in range(4)] == [500, 500, 0, 0]
    assert told(journal) == list(range(3_000))


def test_one_message_of_a_clock_that_was_ahead_does_not_let_later_ones_be_forgotten_when_their_time_comes(journal):
    learns(journal, rejected(10, received_ms=NOW + 4_000 * DAY))
    learns(journal, *(rejected(timestamp, received_ms=NOW) for timestamp in range(5_000, 7_000)))
    for entry in journal.owed(C1, 0, 10_000):
        journal.acknowledged(entry, NOW)
    assert prunes(journal) == 0
    assert sum(prunes(journal, NOW + DAY, NOW + 91 * DAY) for _ in range(5)) == 2_000


def test_what_was_pruned_leaves_its_number_to_nobody(machine):
    """`last` finds the first message of a trigger by its number."""
    journal = machine.start()
    learns(journal, *(trigger(timestamp, received_ms=NOW - 100 * DAY) for timestamp in range(30, 0, -1)))
    acknowledges(journal)
    assert prunes(journal) == 10
    journal.close()
    with closing(machine.start()) as journal:
        learns(journal, *(rejected(timestamp, C0) for timestamp in range(100, 120)))
        learns(journal, *(correction(trigger(timestamp)) for timestamp in range(11, 31)))
        assert recent(journal) == []


def test_numbers_go_on_after_everything_was_pruned(machine):
    journal = machine.start()
    learns(journal, *(rejected(timestamp, received_ms=NOW - 100 * DAY) for timestamp in range(5)))
    acknowledges(journal)
    prunes(journal)
    journal.close()
    with closing(machine.start()) as journal:
        learns(journal, rejected(10))
        assert numbers(journal) == [("j1", 6)]


def test_a_great_deal_goes_a_bit_at_a_time(journal):
    learns(journal, *(rejected(timestamp, received_ms=NOW - 100 * DAY) for timestamp in range(1_200)))
    for entry in journal.owed(C1, 0, 10_000):
        journal.acknowledged(entry, NOW)
    assert [prunes(journal) for _ in range(4)] == [500, 500, 200, 0]


# --- files that cannot be used ----------------------------------------------------------------------


def test_junk_is_set_aside_and_a_new_journal_begins(machine):
    junk = b"this is no database" * 1_000
    (machine.directory / FILE).write_bytes(junk)
    with closing(machine.start()) as journal:
        assert machine.opened.fresh
        assert machine.opened.trouble is None
        assert (machine.directory / machine.opened.set_aside).read_bytes() == junk
        learns(journal, trigger(10))
        assert owed(journal) == [10]


def test_a_damaged_file_is_set_aside_with_what_belongs_to_it(machine):
    journal = machine.start()
    learns(journal, *(trigger(timestamp) for timestamp in range(500)))
    machine.kill(journal)
    path = machine.directory / FILE
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 1024):
        content[page * 1024 : page * 1024 + 512] = b"\xff" * 512
    path.write_bytes(content)
    with closing(machine.start(NOW + 1)) as journal:
        assert machine.opened.set_aside == f"{FILE}.corrupt-{NOW + 1}"
        assert owed(journal) == []
        assert journal.journal == "j2"


def test_a_damaged_file_that_cannot_be_set_aside_at_the_start_is_set_aside_once_it_can(machine, monkeypatch):
    """As on a disk that went read-only when it was damaged."""
    (machine.directory / FILE).write_bytes(b"this is no database" * 1_000)
    with monkeypatch.context() as read_only:
        read_only.setattr("pathlib.Path.rename", refuses)
        journal = machine.start()
        assert "Read-only" in machine.opened.trouble
        learns(journal, trigger(10))
        assert not journal.try_disk(NOW, retold)
        assert journal.trouble is not None
    assert [journal.try_disk(NOW, retold) for _ in range(2)][-1]
    assert (machine.directory / f"{FILE}.corrupt-{NOW}").exists()
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert owed(journal) == [10]


def refuses(*_):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_file_of_a_newer_version_is_set_aside_untouched(machine):
    machine.start().close()
    with closing(sqlite3.connect(machine.directory / FILE)) as db:
        db.execute("PRAGMA user_version = 99")
    with closing(machine.start()):
        assert machine.opened.set_aside is not None
    with closing(sqlite3.connect(machine.directory / machine.opened.set_aside)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)


def test_the_journal_is_for_us_alone(machine):
    with closing(machine.start()):
        assert (machine.directory / FILE).stat().st_mode & 0o077 == 0


def retold(_before, _now, _now_is_last):
    """Nothing has to be told again."""


def test_until_history_was_read_a_new_journal_may_repeat_over_restarts_too(machine):
    journal = machine.start()
    assert not journal.may_repeat  # the very first: nothing was told before
    learns(journal, trigger(10))
    machine.kill(journal)
    machine.reboot()
    for _ in range(2):
        journal = machine.start()
        assert journal.may_repeat
        machine.kill(journal)
    journal = machine.start()
    journal.history_read(NOW)
    journal.commit(NOW)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert not journal.may_repeat


# --- the disk takes nothing -------------------------------------------------------------------------


@pytest.fixture(params=["at once", "at the commit"])
def failing(request, machine):
    """How the disk of this machine fails, once it does."""
    machine.disk.fails_at_commit_alone = request.param == "at the commit"
    return machine


def fails(machine, text="disk I/O error"):
    machine.disk.fails = text


def heals(machine, journal):
    machine.disk.fails = None
    assert journal.try_disk(NOW + DAY, retold)


def test_a_failing_disk_never_stops_delivery_and_opens_a_journal_of_its_own(failing):
    with closing(failing.start()) as journal:
        learns(journal, trigger(10))
        fails(failing)
        learns(journal, trigger(20))
        assert journal.trouble == "OperationalError: disk I/O error"
        assert owed(journal) == [10, 20]
        assert numbers(journal) == [("j1", 1), ("j2", 1)]
        assert recent(journal) == [20, 10]


def test_when_the_disk_takes_writes_again_it_gets_everything_and_another_journal_begins(failing):
    journal = failing.start()
    learns(journal, trigger(10))
    fails(failing)
    learns(journal, trigger(20))
    assert not journal.try_disk(NOW, retold)
    assert journal.journal == "j2"
    heals(failing, journal)
    assert journal.trouble is None
    learns(journal, trigger(30))
    assert owed(journal) == [10, 20, 30]
    ids = [one for one, _ in numbers(journal)]
    assert len(set(ids)) == 3
    assert [sequence for _, sequence in numbers(journal)] == [1, 1, 1]
    failing.kill(journal)
    with closing(failing.start()) as journal:
        assert owed(journal) == [10, 20, 30]
        assert recent(journal) == [30, 20, 10]


def test_tries_that_fail_change_nothing(failing):
    with closing(failing.start()) as journal:
        learns(journal, trigger(10))
        fails(failing)
        learns(journal, trigger(20))
        for _ in range(3):
            assert not journal.try_disk(NOW, retold)
            learns(journal, trigger(30 + journal.last_n))
        assert {one for one, _ in numbers(journal)} == {"j1", "j2"}
        assert last(journal) is not None
        heals(failing, journal)
        assert len(owed(journal)) == 5


def durable(journal):
    """Whether the present commit waits for the disk: 2 is FULL, 1 NORMAL."""
    return journal.store.db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_what_is_to_survive_a_power_cut_is_synced_once_the_disk_can_and_no_more_often(machine, monkeypatch):
    journal = machine.start()
    synced = []
    commit = Failing.commit

    def noting(store):
        if store is journal._disk and store.db.in_transaction and durable(journal):
            if machine.disk.fails_to_sync:
                raise sqlite3.OperationalError("disk I/O error")
            synced.append(store.meta("clean"))
        commit(store)

    monkeypatch.setattr(Failing, "commit", noting)
    machine.disk.fails_to_sync = True
    journal.sync()
    learns(journal, trigger(10))
    assert journal.trouble is not None
    machine.disk.fails_to_sync = False
    heals(machine, journal)
    learns(journal, trigger(20))
    assert len(synced) == 1
    for timestamp in range(30, 40):
        learns(journal, trigger(timestamp))
    assert len(synced) == 1
    journal.close()


def test_what_is_acknowledged_while_the_disk_fails_is_owed_no_more(failing):
    journal = failing.start()
    learns(journal, trigger(10), trigger(20))
    fails(failing)
    acknowledges(journal, 10)
    assert owed(journal) == [20]
    acknowledges(journal, 20)
    assert owed(journal) == []
    assert journal.tally(C1) == Tally(C1, 2, 2)
    heals(failing, journal)
    assert owed(journal) == []
    assert journal.tally(C1) == Tally(C1, 2, 2)
    failing.kill(journal)
    with closing(failing.start()) as journal:
        assert owed(journal) == []


def test_many_acknowledged_while_the_disk_fails_do_not_hide_what_is_still_owed(failing):
    with closing(failing.start()) as journal:
        learns(journal, *(trigger(timestamp) for timestamp in range(100)))
        fails(failing)
        acknowledges(journal, *range(60))
        found, after = [], 0
        while entries := journal.owed(C1, after, 20):
            found += [entry.fact.timestamp for entry in entries]
            after = entries[-1].n
        assert found == list(range(60, 100))


def test_what_happens_meanwhile_to_a_trigger_of_the_disk_is_one_story(failing):
    journal = failing.start()
    many = [trigger(timestamp) for timestamp in range(40)]
    learns(journal, *many)
    acknowledges(journal)
    fails(failing)
    first = many[0]  # too old for `recent`, so memory has no copy of it
    assert journal.known([first.known.id]) == {first.known.id: first.known}
    learns(journal, correction(first, "renumbered", in_effect=True, number=7))
    learns(journal, *(correction(one) for one in many[1:]))
    assert (last(journal), recent(journal)) == (0, [0])
    heals(failing, journal)
    assert (last(journal), recent(journal)) == (0, [0])
    assert journal.newest(C1).reading.start_number == 7
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 40, 1)
    failing.kill(journal)


def test_numbers_are_never_given_twice_over_failures(failing):
    with closing(failing.start()) as journal:
        seen = []
        for turn in range(4):
            learns(journal, trigger(10 * turn))
            fails(failing)
            learns(journal, trigger(10 * turn + 1))
            heals(failing, journal)
            seen = [(entry.journal, entry.sequence) for entry in journal.owed(C1, 0, 100)]
        assert len(seen) == len(set(seen)) == 8
        order = [entry.n for entry in journal.owed(C1, 0, 100)]
        assert order == sorted(set(order))
        assert owed(journal) == [0, 1, 10, 11, 20, 21, 30, 31]


def test_a_full_disk_is_noticed_by_sqlite_itself(machine):
    journal = machine.start()
    learns(journal, trigger(10))
    pages = journal.store.db.execute("PRAGMA page_count").fetchone()[0]
    disk = journal.store
    disk.db.execute(f"PRAGMA max_page_count = {pages}")
    for timestamp in range(20, 60):
        learns(journal, trigger(timestamp))
    assert "full" in journal.trouble
    assert owed(journal) == [10, *range(20, 60)]
    disk.db.execute("PRAGMA max_page_count = 1000000")
    assert journal.try_disk(NOW, retold)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert owed(journal) == [10, *range(20, 60)]


def test_a_disk_that_fails_from_the_start_is_no_reason_not_to_start(machine):
    fails(machine)
    machine.disk.readable = False
    with closing(machine.start()) as journal:
        assert machine.opened.trouble == "OperationalError: disk I/O error"
        learns(journal, trigger(10))
        acknowledges(journal)
        assert journal.tally(C1) == Tally(C1, 1, 1)


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_journal_that_could_not_be_opened_at_the_start_loses_nothing_when_it_can(machine, readable, at_once):
    """at_once: as soon as it can be read, it can be written to."""
    journal = machine.start()
    learns(journal, trigger(10), trigger(20))
    acknowledges(journal, 10)
    before = numbers(journal)
    journal.close()
    fails(machine)
    machine.disk.readable = readable
    journal = machine.start(NOW + DAY)
    learns(journal, trigger(30, revision=1))
    acknowledges(journal, 30)
    learns(journal, trigger(40))
    machine.disk.readable = True
    if not at_once:
        assert not journal.try_disk(NOW + DAY, retold)
    heals(machine, journal)
    assert journal.was_unread is not readable
    assert owed(journal) == [20, 40]
    assert numbers(journal)[0] == before[0]
    assert len({one for one, _ in numbers(journal)}) == 2
    assert recent(journal) == [40, 30, 20, 10]
    assert journal.tally(C1) == Tally(C1, 2, 2)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert owed(journal) == [20, 40]


@pytest.mark.parametrize("corrections", [0, 1])
def test_the_revision_that_is_shown_was_told_in_the_journal_that_is_shown(machine, corrections):
    """The disk owes a story of its own, and what was told without it came to the same state."""
    journal = machine.start()
    story = [trigger(10, number=7 if not corrections else 6)]
    story += [correction(story[0], "renumbered", in_effect=True, number=7)] * corrections
    learns(journal, *story)
    journal.close()
    fails(machine)
    machine.disk.readable = False
    journal = machine.start()
    learns(journal, trigger(10, number=7))
    machine.disk.fails, machine.disk.readable = None, True

    def same_state(before, now, now_is_last):
        assert now_is_last
        return Learned(C1, replace(now, revision=max(before.revision, now.revision)))

    assert journal.try_disk(NOW, same_state)
    shown = journal.newest(C1)
    told = {(entry.journal, entry.fact.revision): entry.fact.reading for entry in journal.owed(C1, 0, 10)}
    assert told[shown.first.journal, shown.revision] == shown.reading
    assert (shown.revision, shown.reading.start_number) == (1 + corrections, 7)
    journal.close()


def test_what_the_disk_still_owes_of_a_trigger_that_memory_told_is_followed_by_how_it_is(machine):
    """The disk owes 12 in effect; memory, which did not know that, told that it is 7 and that another is as it was."""
    journal = machine.start()
    learns(journal, trigger(10), trigger(20), trigger(30))
    acknowledges(journal, 30)
    journal.close()
    fails(machine)
    machine.disk.readable = False
    journal = machine.start(NOW + DAY)
    learns(journal, trigger(10, number=7), trigger(30, number=8))
    acknowledges(journal)
    machine.disk.fails = None
    asked = []

    def again(before, now, now_is_last):
        asked.append((before.id.timestamp, before.reading.start_number, now.reading.start_number, now_is_last))
        if now_is_last:
            return None
        return correction(trigger(before.id.timestamp), "renumbered", in_effect=True, number=now.reading.start_number)

    assert journal.try_disk(NOW + DAY, again)
    assert asked == [(10, 12, 7, False), (30, 12, 8, True)]
    told = journal.owed(C1, 0, 100)
    assert [(entry.fact.timestamp, entry.fact.event_type) for entry in told] == [
        (10, "trigger"), (20, "trigger"), (10, "renumbered"),
    ]  # fmt: skip
    assert told[0].journal != told[-1].journal == journal.journal
    assert told[-1].sequence == 1
    journal.close()


@pytest.mark.parametrize("healed", ["at the next start", "a while after it", "after it, not at once"])
def test_what_a_failing_disk_could_not_mark_is_told_again_under_another_journal_alone(failing, healed):
    journal = failing.start()
    learns(journal, trigger(10), trigger(20), rejected(30))
    acknowledges(journal, 10)
    before = numbers(journal)
    fails(failing)
    acknowledges(journal, 20)
    journal.close()
    if healed == "at the next start":
        failing.disk.fails = None
        journal = failing.start()
    else:
        failing.disk.readable = False
        journal = failing.start()
        learns(journal, trigger(40))
        failing.disk.readable = True
        if healed == "after it, not at once":
            assert not journal.try_disk(NOW, retold)
        heals(failing, journal)
    assert owed(journal)[:2] == [20, 30]
    assert not {one for one, _ in before} & {one for one, _ in numbers(journal)}
    kinds = [(entry.fact.kind, entry.sequence) for entry in journal.owed(C1, 0, 2)]
    assert kinds == [(Kind.TRIGGER, 1), (Kind.REJECTED, 1)]
    learns(journal, trigger(50))
    assert numbers(journal)[-1] == (journal.journal, 2)
    assert len(set(numbers(journal))) == len(numbers(journal)) - 1  # 20 and 30 have numbers of their own topics
    acknowledges(journal)
    journal.close()
    with JournalReader(failing.directory) as reader:
        assert verify(reader, 0).faults == []


def test_a_clean_end_while_the_disk_fails_is_no_clean_end_of_the_journal(machine):
    journal = machine.start()
    learns(journal, trigger(10))
    fails(machine)
    learns(journal, trigger(20))
    journal.close()
    machine.disk.fails = None
    machine.reboot()
    with closing(machine.start()) as journal:
        assert journal.journal not in ("j1", "j2")
        assert owed(journal) == [10]


# --- size -------------------------------------------------------------------------------------------


def test_a_long_backlog_is_opened_and_drained_without_reading_it_into_memory(machine):
    """In weeks of an absent broker a million may be owed; a few thousand show the same."""
    amount = 5_000
    journal = machine.start()
    for start in range(0, amount, 1_000):
        learns(journal, *(trigger(timestamp, C0 if timestamp % 2 else C1) for timestamp in range(start, start + 1_000)))
    machine.kill(journal)
    tracemalloc.start()
    try:
        with closing(machine.start()) as journal:
            assert journal.owing_channels() == {C0: amount // 2, C1: amount // 2}
            drained = 0
            for at in (C0, C1):
                after = 0
                while entries := journal.owed(at, after, 20):
                    for entry in entries:
                        journal.acknowledged(entry, NOW)
                    journal.commit(NOW)
                    drained, after = drained + len(entries), entries[-1].n
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert drained == amount
    assert peak < 500_000  # all of them would be ten times that


@pytest.mark.parametrize("ahead_ms", [0, 120_000])
def test_what_was_learned_by_a_clock_of_decades_ago_is_not_old(journal, ahead_ms):
    """Its clear comes before the clock is put right, and it is restored after that: it is shown again."""
    one = trigger((NOW + ahead_ms) * 10_000, received_ms=DAY)
    learns(journal, one, gone := correction(one))
    acknowledges(journal)
    assert journal.prune(NOW - 90 * DAY, NOW) == 0
    learns(journal, correction(gone, "restored", in_effect=True))
    assert recent(journal) == [(NOW + ahead_ms) * 10_000]
