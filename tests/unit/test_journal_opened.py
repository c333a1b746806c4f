"""What is found where the journal should be, and is none."""

import sqlite3

from mt1bridge.journal.journal import Journal


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
