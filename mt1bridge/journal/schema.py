"""The tables, and how an older file becomes a newer one."""

import sqlite3

VERSION = 1

_FIRST = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epoch(n INTEGER PRIMARY KEY, journal TEXT NOT NULL, opened_ms INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE trigger(
  device TEXT NOT NULL, channel TEXT NOT NULL, timestamp INTEGER NOT NULL,
  reading TEXT, in_effect INTEGER NOT NULL, revision INTEGER NOT NULL, usable INTEGER NOT NULL,
  memory TEXT, first INTEGER, rank INTEGER,
  PRIMARY KEY(device, channel, timestamp)
) WITHOUT ROWID;
CREATE INDEX newest ON trigger(device, channel, rank) WHERE in_effect = 1 AND usable = 1;
CREATE TABLE oddity(device TEXT NOT NULL, channel TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY(device, channel, digest)) WITHOUT ROWID;
CREATE TABLE fact(
  n INTEGER PRIMARY KEY, device TEXT NOT NULL, channel TEXT NOT NULL, kind TEXT NOT NULL,
  epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, body TEXT NOT NULL, owed INTEGER NOT NULL
);
CREATE INDEX owed ON fact(device, channel, n) WHERE owed = 1;
CREATE TABLE counter(device TEXT NOT NULL, channel TEXT NOT NULL, kind TEXT NOT NULL,
  epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY(device, channel, kind)) WITHOUT ROWID;
CREATE TABLE channel(device TEXT NOT NULL, channel TEXT NOT NULL, memory TEXT NOT NULL,
  published INTEGER NOT NULL DEFAULT 0, in_effect INTEGER NOT NULL DEFAULT 0, top INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(device, channel)) WITHOUT ROWID;
CREATE TABLE device(device TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE retained(topic TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_STEPS: dict[int, str] = {0: _FIRST}  # from version n to n + 1


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to VERSION, one step at a time, each in a transaction of its own.

    Raises sqlite3.DatabaseError; a file of a newer version is an error too, for its meaning is unknown, and so is one
    that is not ours.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == VERSION and not _is_ours(db):
        raise sqlite3.DatabaseError("its tables are not those of a journal")
    if version > VERSION:
        raise sqlite3.DatabaseError(f"written by a newer mt1bridge (schema {version}, this one knows {VERSION})")
    if version == 0 and db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise sqlite3.DatabaseError("a database of something else")
    _upgrade(db, version)


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    while version < VERSION:
        db.executescript(f"BEGIN IMMEDIATE;{_STEPS[version]}PRAGMA user_version = {version + 1};COMMIT;")
        version += 1


def _is_ours(db: sqlite3.Connection) -> bool:
    """Whether each of our tables is there with its columns, in their order. A version of 1 is anybody's.

    Without this a table that is missing would be found at the first write, and look like a passing trouble.
    """
    ours = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _upgrade(ours, 0)
        expected = _columns(ours)
    finally:
        ours.close()
    found = _columns(db)
    return all(found.get(table) == columns for table, columns in expected.items())


def _columns(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Table -> its columns (name, type, NOT NULL, place in the primary key)."""
    tables: dict[str, list[tuple[object, ...]]] = {}
    for table, *column in db.execute(
        'SELECT t.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master t JOIN pragma_table_info(t.name) c'
        " WHERE t.type = 'table' ORDER BY t.name, c.cid"
    ):
        tables.setdefault(table, []).append(tuple(column))
    return tables


def prepare(db: sqlite3.Connection) -> None:
    """Settings of one connection (a commit without fsync survives a killed process)."""
    db.execute("PRAGMA page_size = 1024")  # of a new file: a trigger costs 13 KiB of writes, 42 with pages of 4 KiB
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -512")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoint.py does it beside the loop
    db.execute("PRAGMA journal_size_limit = 1048576")
