"""Reading a journal from outside, also while the daemon writes it: one read-only connection, one moment.

Everything is read from the snapshot that the first question opens, so what is listed belongs together.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.journal import codec, schema
from mt1bridge.journal.file import FILE
from mt1bridge.model.errors import JournalError
from mt1bridge.model.fact import Entry, InEffect
from mt1bridge.model.trigger import TICKS_PER_MS, ChannelId, Reading


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the facts. None: any. since, until: 100 ns units since 1970 UTC of the impulse, `until` excluded; for
    what is malformed, when it was received. start_number: the present or, of a correction, the previous one."""

    device: str | None = None
    channel: str | None = None
    since: int | None = None
    until: int | None = None
    start_number: int | None = None

    def takes(self, ticks: int, *readings: Reading | None) -> bool:
        """Whether a fact of this time with these readings is wanted; device and channel were asked for already."""
        if (self.since is not None and ticks < self.since) or (self.until is not None and ticks >= self.until):
            return False
        number = self.start_number
        return number is None or any(one is not None and one.start_number == number for one in readings)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as it stands in the journal. delivered: the broker has acknowledged it."""

    entry: Entry
    delivered: bool


class JournalReader:
    """One journal file. A context manager. Raises JournalError with what to do, where it cannot be read."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        try:
            if not self.path.exists():
                raise JournalError(f"there is no journal at {self.path}: has the bridge run here, as this user?")
            self.db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _unreadable(self.path, error) from error
        try:
            self._open()
        except sqlite3.Error as error:
            self.db.close()
            raise _unreadable(self.path, error) from error
        except BaseException:
            self.db.close()
            raise

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def _open(self) -> None:
        version = int(self.db.execute("PRAGMA user_version").fetchone()[0])
        if version != schema.VERSION:
            raise JournalError(
                f"{self.path} has schema {version} and this mt1bridge reads {schema.VERSION}: "
                + (
                    "use the newer one"
                    if version > schema.VERSION
                    else "the bridge brings it up to date when it starts"
                )
            )
        self.db.execute("BEGIN")
        self.epochs = dict(self.db.execute("SELECT n, journal FROM epoch ORDER BY n").fetchall())

    def facts(self, wanted: Wanted) -> Iterator[Recorded]:
        """Messages in the order of learning. Raises JournalError."""
        query = "SELECT n, device, channel, kind, epoch, sequence, body, owed FROM fact"
        try:
            for n, device, channel, kind, epoch, sequence, body, owed in self._rows(query, wanted, "n"):
                fact = codec.fact_from_text(ChannelId(device, channel), kind, body)
                ticks = fact.received_ms * TICKS_PER_MS if fact.timestamp is None else fact.timestamp
                if wanted.takes(ticks, fact.reading, fact.previous.reading if fact.previous else None):
                    yield Recorded(Entry(n, sequence, self.epochs.get(epoch, "?"), fact), not owed)
        except sqlite3.Error as error:
            raise _unreadable(self.path, error) from error

    def in_effect(self, wanted: Wanted) -> Iterator[InEffect]:
        """The triggers in effect as they are now, in order of time; of those whose message was pruned, none."""
        query = (
            "SELECT fact.n, fact.sequence, epoch, kind, body, reading, revision, device, channel FROM"
            " (SELECT device, channel, timestamp, reading, revision, first FROM trigger"
            "  WHERE in_effect = 1 AND usable = 1) JOIN"
            " (SELECT n, sequence, epoch, kind, body FROM fact) AS fact ON fact.n = first"
        )
        try:
            for n, sequence, epoch, kind, body, text, revision, device, channel in self._rows(
                query, wanted, "timestamp, device, channel"
            ):
                fact = codec.fact_from_text(ChannelId(device, channel), kind, body)
                reading = codec.reading_from_text(text)
                if wanted.takes(fact.timestamp or 0, reading):
                    yield InEffect(Entry(n, sequence, self.epochs.get(epoch, "?"), fact), reading, revision)
        except sqlite3.Error as error:
            raise _unreadable(self.path, error) from error

    def _rows(self, query: str, wanted: Wanted, order: str) -> sqlite3.Cursor:
        named = {"device": wanted.device, "channel": wanted.channel}
        terms = [f"{name} = ?" for name, value in named.items() if value is not None]
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        values = [value for value in named.values() if value is not None]
        return self.db.execute(f"{query}{where} ORDER BY {order}", values)


def _unreadable(path: Path, error: Exception) -> JournalError:
    if isinstance(error, PermissionError) or "unable to open" in str(error) or "readonly" in str(error):
        return JournalError(f"{path} cannot be read by this user: use sudo, or the user of the bridge ({error})")
    return JournalError(
        f"{path} cannot be read: {error}. When it starts, the bridge sets a damaged journal aside by itself and reads "
        "back what the MT1 server still has"
    )
