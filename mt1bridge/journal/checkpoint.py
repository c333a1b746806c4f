"""Checkpoints beside the loop: moving the write-ahead log into the file costs fsyncs, tens of ms on an SD card."""

import sqlite3
import threading
from pathlib import Path

ENOUGH_BYTES = 2 * 1024 * 1024  # of the write-ahead log
MUCH_BYTES = 4 * ENOUGH_BYTES
HOLD_MS = 50  # how long the loop may be held for somebody who reads the journal from outside


class Checkpoints:
    """At most one short-lived thread at a time. path: of the journal's file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._due_bytes = ENOUGH_BYTES
        self._thread: threading.Thread | None = None
        self._error: sqlite3.Error | None = None

    def look(self) -> None:
        """Begin one if the log has grown enough. Raises what the last one failed with: the disk did not take it."""
        if self._thread is not None and self._thread.is_alive():
            return
        error, self._error = self._error, None
        if error is not None:
            raise error
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        due = size >= self._due_bytes
        # Whoever reads for long keeps the log from being begun anew: until it has grown again, trying is of no use.
        self._due_bytes = size + ENOUGH_BYTES if due else min(self._due_bytes, size + ENOUGH_BYTES)
        if due:
            self._thread = threading.Thread(target=self._run, name="journal-checkpoint", daemon=True)
            self._thread.start()

    def join(self, within_s: float | None = None) -> None:
        """Wait for the one that runs, at most that long: one that is cut off by the end of the process does no harm."""
        if self._thread is not None:
            self._thread.join(within_s)

    def _run(self) -> None:
        try:
            db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                if self._log.stat().st_size > MUCH_BYTES:
                    # Without a quiet moment the log is never begun anew: hold the loop for the little that is left.
                    db.execute(f"PRAGMA busy_timeout = {HOLD_MS}")
                    db.execute("PRAGMA wal_checkpoint(RESTART)")
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            self._error = error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error))
