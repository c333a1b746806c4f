"""Rows of history scans until each scan is complete: a database of its own, private, gone with the process.

SQLite keeps it in memory while it is small and in a nameless temporary file when it grows.
"""

import sqlite3
from collections.abc import Sequence

from mt1bridge.journal import codec
from mt1bridge.model.history import StagedTrigger
from mt1bridge.model.trigger import ChannelId, Sighting, TriggerId


class Staging:
    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -512")
        self._db.execute(
            "CREATE TABLE staged(scan INTEGER NOT NULL, timestamp INTEGER NOT NULL, position INTEGER NOT NULL,"
            " row TEXT NOT NULL, PRIMARY KEY(scan, timestamp, position)) WITHOUT ROWID"
        )
        self._positions: dict[int, int] = {}

    def close(self) -> None:
        self._db.close()

    def stage(self, scan: int, rows: Sequence[Sighting]) -> None:
        """Keep the next rows of a scan's listing."""
        position = self._positions.get(scan, 0)
        self._positions[scan] = position + len(rows)
        self._db.executemany(
            "INSERT INTO staged VALUES(?, ?, ?, ?)",
            [(scan, row.id.timestamp, position + index, codec.sighting_to_text(row)) for index, row in enumerate(rows)],
        )

    def next(self, scan: int, at: ChannelId, after: int, limit: int) -> list[StagedTrigger]:
        """The next identities of a scan above timestamp `after`, oldest first, rows in the order of the listing."""
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

    def forget(self, scan: int) -> None:
        self._positions.pop(scan, None)
        self._db.execute("DELETE FROM staged WHERE scan = ?", (scan,))
