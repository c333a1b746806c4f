"""What is found where the journal should be, and is none."""

import sqlite3

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


def test_a_database_of_something_else_is_set_aside(tmp_path):
    file = tmp_path / "journal.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE fact(a)")
    db.close()
    found = opened(tmp_path)
    assert found.fresh
    assert found.set_aside is not None
    with sqlite3.connect(tmp_path / found.set_aside) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("fact",)]
    db.close()


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
