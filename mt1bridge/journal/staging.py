"""Rows of history scans until each scan is complete: a database of its own, private, gone with the process.

SQLite keeps it in memory while it is small and in a nameless temporary file when it grows. Where there is no room for
that file, or no place, everything staged is lost; from then on it stays in memory, however large.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence

from mt1bridge.journal import codec
from mt1bridge.model.history import StagedTrigger
from mt1bridge.model.trigger import ChannelId, Sighting, TriggerId


class StagingLostError(Exception):
    """Rows of this scan are lost, and maybe of others: what is under way must begin anew."""


class Staging:
    """`stage` and `next` raise StagingLostError."""

    def __init__(self) -> None:
        self._db = _database("")
        self._lost: set[int] = set()  # scans of which rows are gone
        self._positions: dict[int, int] = {}

    def close(self) -> None:
        self._db.close()

    def stage(self, scan: int, rows: Sequence[Sighting]) -> None:
        """Keep the next rows of a scan's listing."""
        position = self._positions.get(scan, 0)
        self._positions[scan] = position + len(rows)
        values = [
            (scan, row.id.timestamp, position + index, codec.sighting_to_text(row)) for index, row in enumerate(rows)
        ]
        with self._guarded(scan):
            self._db.executemany("INSERT INTO staged VALUES(?, ?, ?, ?)", values)

    def next(self, scan: int, at: ChannelId, after: int, limit: int) -> list[StagedTrigger]:
        """The next identities of a scan above timestamp `after`, oldest first, rows in the order of the listing."""
        with self._guarded(scan):
            return self._next(scan, at, after, limit)

    def forget(self, scan: int) -> None:
        self._positions.pop(scan, None)
        with contextlib.suppress(StagingLostError), self._guarded(scan):
            self._db.execute("DELETE FROM staged WHERE scan = ?", (scan,))
        self._lost.discard(scan)

    def _next(self, scan: int, at: ChannelId, after: int, limit: int) -> list[StagedTrigger]:
        timestamps = self._db.execute(
            "SELECT DISTINCT timestamp FROM staged WHERE scan = ? AND timestamp > ? ORDER BY timestamp LIMIT ?",
            (scan, after, limit),
        ).fetchall()
        found = []
        for (timestamp,) in timestamps:
            trigger = TriggerId(at.device, at.channel, timestamp)
            rows = self._db.execute(
                "SELECT row FROM staged WHERE scan = ? AND timestamp = ? ORDER BY position", (scan, timestamp)
            )
            found.append(StagedTrigger(timestamp, tuple(codec.sighting_from_text(trigger, text) for (text,) in rows)))
        return found

    @contextlib.contextmanager
    def _guarded(self, scan: int) -> Iterator[None]:
        """Reading too may need the file: room in the cache is made by writing."""
        if scan in self._lost:
            raise StagingLostError
        try:
            yield
        except sqlite3.Error as error:
            self._lost.update(self._positions)
            self._positions.clear()
            self._db.close()
            self._db = _database(":memory:")
            raise StagingLostError(str(error)) from error


def _database(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA cache_size = -512")
    db.execute(
        "CREATE TABLE staged(scan INTEGER NOT NULL, timestamp INTEGER NOT NULL, position INTEGER NOT NULL,"
        " row TEXT NOT NULL, PRIMARY KEY(scan, timestamp, position)) WITHOUT ROWID"
    )
    return db
