"""A row that is damaged in a file which SQLite finds whole: set aside, told, and history brings back what was lost."""

import sqlite3
from contextlib import closing

import pytest
from bridge_house import HUT, NOON, House, device, house, settings
from test_journal import C1, NOW, Machine, acknowledges, learns, owed, recent, refuses, trigger

from mt1bridge.bridge import Start
from mt1bridge.journal.codec import UnreadableRowError
from mt1bridge.journal.file import FILE
from mt1bridge.model.broker import BrokerLost, BrokerTrouble
from mt1bridge.model.known import ChannelMemory, Tally
from mt1bridge.model.orders import Tick

DAMAGES = {
    "an owed message": "UPDATE fact SET body = '\x7f' || substr(body, 2) WHERE owed = 1",
    "no UTF-8": "UPDATE fact SET body = CAST(x'ff' || substr(body, 2) AS TEXT) WHERE owed = 1",
    "a number that is none": "UPDATE fact SET body = replace(body, '\"a\":17', '\"a\":1e') WHERE owed = 1",
    "the first message of one that is shown": "UPDATE fact SET body = replace(body, '\"r\":', '\"q\":') WHERE n = 1",
    "a message of no journal": "UPDATE fact SET epoch = 77 WHERE n = 1",
    "the state of a trigger": "UPDATE trigger SET reading = '\x7f' || substr(reading, 2)",
    "what history listed": "UPDATE trigger SET memory = '\x7f' || substr(memory, 2) WHERE memory IS NOT NULL",
    "what is remembered of a channel": "UPDATE channel SET memory = '\x7f' || substr(memory, 2) WHERE channel = 'C1'",
}
READ_UNDER_WAY = {name: sql for name, sql in DAMAGES.items() if "channel" not in name}
damages = pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)


class LaterHouse(House):
    """The process that follows one at this second."""

    def __init__(self, directory, first, server, since):
        self.since = since
        super().__init__(directory, first, server)

    def start(self):
        return Start(None, None, self.now(), first_ms=NOON, fresh=self.opened.fresh)

    def now(self):
        return (
            super()
            .now()
            .__class__(1000.0 + self.since + self.seconds, NOON + round((self.since + self.seconds) * 1000))
        )


def damage(directory, sql):
    with closing(sqlite3.connect(directory / FILE, isolation_level=None)) as db:
        assert db.execute(sql).rowcount > 0
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def set_aside(directory):
    return [path for path in directory.glob(f"{FILE}.corrupt-*") if path.suffix not in ("-wal", "-shm")]


def lives_on(running, numbers):
    """All that was owed is told, again as `late` alone; what comes is told at once; all is counted; people know."""
    told = running.told("/C1/trigger")
    assert {body["start_number"] for body in told} >= numbers
    live = [body["start_number"] for body in told if body["event_type"] == "trigger"]
    assert len(live) == len(set(live))
    running.impulse(number=99)
    running.run(60)
    newest = running.told("/C1/trigger")[-1]
    assert (newest["start_number"], newest["event_type"]) == (99, "trigger")
    tally = running.says(f"mt1/device/{HUT}/C1/tally")
    assert (tally["published"], tally["in_effect"], tally["missing"], tally["complete"]) == (3, 3, 0, True)
    assert running.says(f"mt1/device/{HUT}/C1/last")["start_number"] == 99
    assert running.says("mt1/bridge/upstream")["state"] == "live"
    assert running.journal.trouble is None
    assert "set aside" in running.says("mt1/bridge/alert/journal")["text"]
    assert "journal_set_aside" in running.events()


@damages
@pytest.mark.parametrize("clean", [True, False], ids=["after a clean end", "after a kill"])
def test_a_start_with_a_damaged_row(tmp_path, sql, clean):
    first = settings(tmp_path, device(HUT))
    with house(tmp_path, first) as before:
        before.impulse(number=11)
        before.run(400)
        before.acknowledges = False
        before.impulse(number=12)
        before.run(5)
        if not clean:
            before.journal.store.db.close()
    damage(tmp_path, sql)
    running = LaterHouse(tmp_path, first, before.server, before.seconds)
    found = running.journal.set_aside
    if found is not None:
        running.bridge.journal_set_aside(found)
    running.run(200)
    lives_on(running, {12})
    assert set_aside(tmp_path)
    running.close()


@pytest.mark.parametrize("sql", READ_UNDER_WAY.values(), ids=READ_UNDER_WAY)
def test_a_row_that_is_damaged_under_way(tmp_path, sql):
    with house(tmp_path, settings(tmp_path, device(HUT))) as running:
        running.impulse(number=11)
        running.run(400)
        running.acknowledges = False
        running.impulse(number=12)
        running.run(15)
        damage(tmp_path, sql)
        running.acknowledges = True
        running.pending.append(BrokerLost(running.brokers[-1].connection, BrokerTrouble.LOST, "reset"))
        running.run(2000)
        lives_on(running, {11, 12})


# --- the journal by itself ----------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def told_anew(_before, _now, _now_is_last):
    """Nothing has to be told again."""


READS = ("known", "owed", "newest", "channels", "tally", "owing_channels", "read_through")


def spoil(journal, error):
    """Every question to the disk's store fails from now on."""

    def fails(*_):
        raise error

    for name in READS:
        setattr(journal._disk, name, fails)


def mend(journal):
    for name in READS:
        delattr(journal._disk, name)


QUESTIONS = {
    "known": lambda journal: journal.known([trigger(10).known.id]),
    "owed": lambda journal: journal.owed(C1, 0, 10),
    "newest": lambda journal: journal.newest(C1),
    "channels": lambda journal: journal.channels(),
    "tally": lambda journal: journal.tally(C1),
    "owing": lambda journal: journal.owing_channels(),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_disk_that_cannot_be_read_is_gone_on_without_and_kept_as_it_is(machine, ask):
    """An error of the disk may pass: the file is not set aside for it."""
    journal = machine.start()
    learns(journal, trigger(10))
    spoil(journal, sqlite3.OperationalError("disk I/O error"))
    ask(journal)
    assert journal.trouble == "OperationalError: disk I/O error"
    learns(journal, trigger(20))
    assert owed(journal) == [20]
    assert not journal.try_disk(NOW, told_anew)
    mend(journal)
    assert journal.try_disk(NOW, told_anew)
    assert (journal.was_lost, journal.set_aside, owed(journal)) == (False, None, [10, 20])
    journal.close()


@pytest.mark.parametrize("error", [UnreadableRowError("a row"), sqlite3.DatabaseError("disk image is malformed")])
@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_file_that_is_found_damaged_is_set_aside_with_what_it_held(machine, ask, error):
    journal = machine.start()
    learns(journal, trigger(10), trigger(15))
    acknowledges(journal, 10)
    [in_flight] = journal.owed(C1, 0, 10)
    spoil(journal, error)
    ask(journal)
    learns(journal, trigger(20))
    before = journal.journal
    assert journal.try_disk(NOW, told_anew)
    assert journal.was_lost
    assert journal.may_repeat
    assert journal.journal not in ("j1", before)
    assert set_aside(machine.directory)
    journal.acknowledged(in_flight, NOW)
    assert owed(journal) == [20]
    assert list(journal.known([trigger(10).known.id, trigger(20).known.id])) == [trigger(20).known.id]
    learns(journal, trigger(10))
    acknowledges(journal)
    assert journal.tally(C1) == Tally(C1, 2, 2)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert journal.may_repeat
        assert recent(journal) == [20, 10]


def test_history_is_read_back_after_a_restart_as_well(machine):
    """It was set aside, and the process died before it could do so itself."""
    journal = machine.start()
    read = ChannelMemory(C1, 5, baselined=True, base_count=7, proven_ms=NOW, complete=True, seen=True)
    learns(journal, trigger(10))
    journal.remember(read, NOW)
    journal.commit(NOW)
    spoil(journal, UnreadableRowError("a row"))
    journal.owed(C1, 0, 10)
    journal.remember(read, NOW)
    assert journal.try_disk(NOW, told_anew)
    machine.kill(journal)
    with closing(machine.start()) as journal:
        assert journal.channels() == [ChannelMemory(C1, 5, seen=True)]


def test_a_damaged_file_that_cannot_be_set_aside_waits_in_memory_until_it_can(machine, monkeypatch):
    journal = machine.start()
    learns(journal, trigger(10))
    spoil(journal, UnreadableRowError("a row"))
    with monkeypatch.context() as read_only:
        read_only.setattr("pathlib.Path.rename", refuses)
        assert journal.newest(C1) is None
        learns(journal, trigger(20))
        for _ in range(2):
            assert not journal.try_disk(NOW, told_anew)
        assert owed(journal) == [20]
    assert journal.try_disk(NOW, told_anew)
    assert journal.was_lost
    assert owed(journal) == [20]
    journal.close()


def test_a_file_that_sqlite_finds_damaged_when_it_is_written_to_is_set_aside(machine, monkeypatch):
    journal = machine.start()
    learns(journal, trigger(10))

    def malformed():
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(journal._disk, "begin", malformed)
    learns(journal, trigger(20))
    assert journal.try_disk(NOW, told_anew)
    assert (journal.was_lost, owed(journal)) == (True, [20])
    journal.close()


def test_what_is_found_when_old_messages_are_pruned_is_no_end(tmp_path):
    with house(tmp_path, settings(tmp_path, device(HUT))) as running:
        running.impulse(number=11)
        running.run(5)
        damage(tmp_path, "UPDATE fact SET body = 'x'")
        running.turn._prune_at = 0
        running.run(60)
        assert "journal_set_aside" in running.events()
        assert running.says("mt1/bridge/upstream")["state"] == "live"


@pytest.mark.parametrize("where", ["hand_over", "prune"])
def test_an_error_at_the_hand_over_or_in_the_journals_care_is_a_fault_that_is_told(tmp_path, monkeypatch, where):
    with house(tmp_path, settings(tmp_path, device(HUT))) as running:
        faults = []
        running.turn._fault = faults.append

        def fails(*_):
            raise ValueError(where)

        with monkeypatch.context() as broken:
            broken.setattr(running.bridge if where == "hand_over" else running.journal, where, fails)
            running.turn._prune_at = 0
            running.turn.take([Tick()])
            running.turn.take([Tick()])
        assert [str(one) for one in faults] == [where] * (2 if where == "hand_over" else 1)
        running.impulse()
        running.run(5)
        assert len(running.told("/C1/trigger")) == 1
