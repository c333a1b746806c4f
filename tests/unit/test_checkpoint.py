"""Checkpoints beside the loop: the write-ahead log stays short, the writer goes on, trouble is told."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest

from mt1bridge.journal.checkpoint import ENOUGH_BYTES, MUCH_BYTES, Checkpoints
from mt1bridge.journal.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def store(path):
    with closing(Store(str(path))) as one:
        yield one


def log_bytes(path):
    return path.with_name(path.name + "-wal").stat().st_size


def grows(store, path, upto=ENOUGH_BYTES):
    """Until the log is that long."""
    number = 0
    while log_bytes(path) < upto:
        store.begin()
        for _ in range(50):
            number += 1
            store.set_meta(f"{number}", "x" * 4_000)
        store.commit()


def still_in_log(path):
    """Frames of the log that are not in the file yet, as SQLite itself says."""
    with closing(sqlite3.connect(path)) as db:
        _busy, log, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return log - moved


def threads():
    return [one.name for one in threading.enumerate() if one.name == "journal-checkpoint"]


def test_a_short_log_is_left_alone(store, path):
    checkpoints = Checkpoints(path)
    store.begin()
    store.set_meta("a", "b")
    store.commit()
    checkpoints.look()
    assert threads() == []
    checkpoints.join()


def test_a_log_that_has_grown_is_moved_into_the_file_beside_the_loop(store, path):
    grows(store, path)
    before = path.stat().st_size
    checkpoints = Checkpoints(path)
    checkpoints.look()
    checkpoints.join()
    assert path.stat().st_size > before + ENOUGH_BYTES // 2
    assert still_in_log(path) == 0
    assert threads() == []


def test_the_log_does_not_grow_for_ever(store, path):
    checkpoints = Checkpoints(path)
    longest = 0
    for _ in range(10):
        store.begin()
        for number in range(300):
            store.set_meta(f"{number}", "x" * 4_000)
        store.commit()
        longest = max(longest, log_bytes(path))
        checkpoints.look()
        checkpoints.join()
    assert longest < 2 * ENOUGH_BYTES  # of 12 MB that were written


def test_somebody_who_reads_for_long_does_not_hold_the_writer_up(store, path):
    """As `mt1bridge journal list | less` does."""
    checkpoints = Checkpoints(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        grows(store, path, MUCH_BYTES)
        began, slowest = time.monotonic(), 0.0
        for number in range(30):
            checkpoints.look()
            asked = time.monotonic()
            store.begin()
            store.set_meta(f"{number}", "x" * 4_000)
            store.commit()
            slowest = max(slowest, time.monotonic() - asked)
            checkpoints.join()
        assert slowest < 1
        assert time.monotonic() - began < 3
    grows(store, path, MUCH_BYTES + 2 * ENOUGH_BYTES)
    checkpoints.look()
    checkpoints.join()
    store.begin()
    store.set_meta("after", "x")
    store.commit()
    assert log_bytes(path) <= ENOUGH_BYTES


def test_one_at_a_time(store, path):
    grows(store, path)
    checkpoints = Checkpoints(path)
    for _ in range(20):
        checkpoints.look()
        assert len(threads()) <= 1
    checkpoints.join()


def test_an_open_transaction_is_no_trouble(store, path):
    grows(store, path)
    checkpoints = Checkpoints(path)
    store.begin()
    store.set_meta("open", "x")
    checkpoints.look()
    checkpoints.join()
    store.commit()
    checkpoints.look()
    checkpoints.join()
    assert store.meta("open") == "x"


def test_trouble_is_told_at_the_next_look(tmp_path):
    broken = tmp_path / "journal.db"
    broken.write_bytes(b"no database" * 100)
    broken.with_name("journal.db-wal").write_bytes(bytes(ENOUGH_BYTES))
    checkpoints = Checkpoints(broken)
    checkpoints.look()
    checkpoints.join()
    with pytest.raises(sqlite3.DatabaseError):
        checkpoints.look()
    checkpoints.join()


def test_without_a_log_there_is_nothing_to_do(tmp_path):
    checkpoints = Checkpoints(tmp_path / "nowhere" / "journal.db")
    checkpoints.look()
    checkpoints.join()
