"""What is found where the journal should be, and is none."""

import sqlite3
from pathlib import Path

import pytest
from bridge_house import HUT, House, device, settings
from no_rights import no_rights

from mt1bridge.journal.journal import Journal
from mt1bridge.journal.store import Store
from mt1bridge.model.known import ChannelMemory
from mt1bridge.model.trigger import ChannelId


def opened(directory):
    names = iter(["first", "second"])
    journal = Journal(directory, "boot", lambda: next(names))
    found = journal.open(1_000)
    assert journal.trouble is None
    journal.close()
    return found


def test_a_file_without_content_is_a_lost_journal(tmp_path):
    (tmp_path / "journal.db").touch()
    assert opened(tmp_path).fresh


def test_a_file_with_tables_and_no_epoch_is_a_lost_journal(tmp_path):
    """The tables were written, the first transaction was not."""
    opened(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("DELETE FROM epoch")
    db.close()
    assert opened(tmp_path).fresh


@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_something_else_is_set_aside(tmp_path, version):
    """A version of 1 is anybody's."""
    file = tmp_path / "journal.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE fact(a)")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    found = opened(tmp_path)
    assert found.fresh
    assert found.set_aside is not None
    with sqlite3.connect(tmp_path / found.set_aside) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("fact",)]
    db.close()
    again = opened(tmp_path)
    assert (again.fresh, again.set_aside) == (False, None)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE retained",
        "ALTER TABLE fact ADD COLUMN more TEXT",
        "ALTER TABLE channel RENAME COLUMN top TO bottom",
        "DROP TABLE device; CREATE TABLE device(device TEXT, offset_ms INTEGER NOT NULL)",
    ],
)
def test_a_journal_whose_tables_are_not_ours_is_set_aside(tmp_path, damage):
    opened(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.executescript(damage)
    db.close()
    assert opened(tmp_path).set_aside is not None


def test_a_table_of_somebody_else_beside_ours_does_no_harm(tmp_path):
    opened(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("CREATE TABLE notes(text)")
        db.execute("ANALYZE")
    db.close()
    found = opened(tmp_path)
    assert (found.fresh, found.set_aside) == (False, None)


class FullDisk(Store):
    """A store that takes nothing while `full`."""

    full = False

    def commit(self):
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().commit()


def test_what_was_told_from_memory_alone_is_not_told_again_under_the_old_journal(tmp_path):
    """The process is killed while the disk is full; there is room when the next one begins, on the same machine run."""
    names = iter(["first", "in memory", "after the kill", "never"])
    stores = []

    def open_store(path):
        stores.append(FullDisk(path))
        return stores[-1]

    journal = Journal(tmp_path, "boot", lambda: next(names), open_store)
    journal.open(1_000)
    stores[0].full = True
    journal.remember(ChannelMemory(ChannelId("231203016", "C0"), cut_ms=0), 2_000)
    journal.commit(2_000)
    assert journal.journal == "in memory"
    for store in stores:
        store.db.close()  # as SIGKILL does
    after = Journal(tmp_path, "boot", lambda: next(names))
    after.open(3_000)
    assert (after.journal, after.opened_ms) == ("after the kill", 3_000)
    after.store.db.close()
    again = Journal(tmp_path, "boot", lambda: next(names))
    again.open(4_000)
    assert (again.journal, again.opened_ms) == ("after the kill", 3_000)
    again.close()


def retold(_before, _now, _now_is_last):
    """Nothing has to be told again."""


@pytest.mark.parametrize("there", [True, False], ids=["a journal", "no journal"])
def test_a_directory_of_somebody_else_is_a_disk_that_takes_nothing(tmp_path, there):
    if there:
        opened(tmp_path)
    names = iter(["in memory", "on the disk"])
    journal = Journal(tmp_path, "boot", lambda: next(names))
    with no_rights(tmp_path):
        found = journal.open(1_000)
        assert "ermission" in found.trouble
        assert journal.journal == "in memory"
        assert not journal.try_disk(2_000, retold)
    assert journal.try_disk(3_000, retold)
    assert (journal.trouble, journal.journal) == (None, "on the disk")
    journal.close()


def test_the_bridge_runs_degraded_in_a_directory_of_somebody_else(tmp_path):
    with no_rights(tmp_path):
        running = House(tmp_path, settings(tmp_path, device(HUT)))
        running.run(60)
        running.impulse()
        running.run(5)
        upstream = running.says("mt1/bridge/upstream")
        assert (upstream["state"], upstream["reasons"]) == ("degraded", ["journal"])
        assert len(running.told("/C1/trigger")) == 1
    running.run(30)
    assert running.says("mt1/bridge/upstream")["state"] == "live"
    running.close()


def test_a_file_that_may_be_written_but_is_not_ours_is_let_go_each_time(tmp_path, monkeypatch):
    """Its mode cannot be changed; a try every ten seconds must not use up the file descriptors."""
    opened(tmp_path)
    stores = []

    def open_store(path):
        stores.append(Store(path))
        return stores[-1]

    def refuses(*_):
        raise PermissionError("Operation not permitted")

    journal = Journal(tmp_path, "boot", lambda: "never", open_store)
    monkeypatch.setattr(Path, "chmod", refuses)
    assert journal.open(1_000).trouble is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        stores[0].db.execute("SELECT 1")
    journal.close()
