"""The journal's file, and the mark beside it that says how far it was told: is it whole, is it ours, is it as left?"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

from mt1bridge.journal.damage import is_damage
from mt1bridge.journal.mark import Left, Mark
from mt1bridge.journal.store import Store

FILE = "journal.db"
MARK = "journal.whole"


class JournalFile:
    """boot_id: of the machine's present run, "" if unknown. open_store: opens a file."""

    def __init__(self, directory: Path, boot_id: str, open_store: Callable[[str], Store]) -> None:
        self.path = directory / FILE
        self.set_aside: str | None = None  # the name that a file got which could not be read
        self._mark = Mark(directory / MARK)
        self._run = token_hex(8)  # names this process in the file and in the mark
        self._left: Left | None = None  # the mark as the last process left it
        self._marked: Left | None = None
        self._boot_id = boot_id
        self._open_store = open_store

    def read_mark(self) -> None:
        """Once, before the file is opened."""
        self._left = self._mark.read()

    def open(self, now_ms: int) -> Store:
        """The file; where it cannot be understood, it is set aside and a new one takes its place."""
        try:
            return self._checked()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.put_aside(now_ms)
            return self._checked()

    def _checked(self) -> Store:
        store = self._open_store(str(self.path))
        try:
            store.channels()  # without these, nobody knows how far back history was told
            if store.meta("clean") != "1" or not self.is_as_left(store):
                examine(store)
            self.path.chmod(0o600)
        except BaseException:
            store.close()
            raise
        return store

    def put_aside(self, now_ms: int) -> None:
        """Give the file, which nobody may have open, another name. Raises OSError."""
        name = f"{FILE}.corrupt-{now_ms}"
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(FILE + suffix)
            if part.exists():
                part.rename(self.path.with_name(name + suffix))
        self.set_aside = name

    def is_as_left(self, store: Store) -> bool:
        """Whether this is the file that the last process wrote, and as new as what that one told."""
        left = self._left
        if left is None or store.meta("file") != self._file_id() or store.meta("run") != left.run:
            return False
        return not left.is_later_than(store.last_n, store.owed_count)

    def goes_on(self, store: Store) -> bool:
        """The same machine run with the same file goes on; so does a clean end. Anything else begins an epoch."""
        same_run = bool(self._boot_id) and store.meta("boot") == self._boot_id
        return self.is_as_left(store) and (same_run or store.meta("clean") == "1")

    def sign(self, store: Store) -> None:
        """Write down, in the open transaction, who writes to this file from now on."""
        for key, value in (("boot", self._boot_id), ("file", self._file_id()), ("run", self._run), ("clean", "0")):
            store.set_meta(key, value)

    def mark_whole(self, store: Store, durable: bool = False) -> None:
        """Without the mark, numbers were told that the file does not know: the next process begins an epoch."""
        left = Left(self._run, store.last_n, store.owed_count)
        if durable or left != self._marked:
            self._mark.write(left, durable)
            self._marked = left

    def unmark(self) -> None:
        """What is told from now on, the file does not know."""
        self._mark.remove()
        self._marked = None

    def _file_id(self) -> str:
        return str(self.path.stat().st_ino)


def examine(store: Store) -> None:
    """Read what a start needs and what is shown. Raises sqlite3.DatabaseError where that is damaged."""
    verdict = store.db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"quick_check: {verdict}")
    store.read_through()
