"""What tells damage of the journal's file, which does not pass, from trouble with the disk, which may."""

import sqlite3

from mt1bridge.journal.codec import UnreadableRowError

CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")  # the former with others behind it: SQLITE_CORRUPT_INDEX


def is_damage(error: Exception) -> bool:
    """Whether the file is to be set aside: it is not whole, or not ours."""
    if isinstance(error, UnreadableRowError) or type(error) is sqlite3.DatabaseError:
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    # Python's own complaint of a text that is no UTF-8 bears no name of SQLite's.
    return getattr(error, "sqlite_errorname", "").startswith(CORRUPT) or "not decode to UTF-8" in str(error)
