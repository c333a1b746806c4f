"""One SQLite file (or memory): what is written down and what is read back. No decisions about trouble here.

Every write belongs to the transaction that `begin` opens and `commit` ends. Raises sqlite3.Error as it comes:
`journal.py` decides what that means.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from mt1bridge.journal import codec, schema
from mt1bridge.model.fact import Entry, Fact, InEffect, Kind
from mt1bridge.model.known import ChannelMemory, Known, Learned, Tally
from mt1bridge.model.trigger import TICKS_PER_MS, ChannelId, TriggerId

AHEAD_MS = 86_400_000  # a device's clock may run ahead (MT1-API, U13)
RECENT = 20  # CONTRACT, section 2, `recent`
DELIVERED, GIVEN_UP = 0, 2  # fact.owed, where it is not 1; what was given up is never pruned
STRETCH = 100  # messages read at a time where there may be many
PRUNED = "n"  # meta: no number up to this is given again, though its fact may be gone
PRUNED_BEFORE = "pruned_ms"  # meta: messages received before this UTC ms may be gone, whatever `keep` is now


class Store:
    """One open database. path: a file name or ":memory:"."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            schema.prepare(self.db)
            schema.migrate(self.db)
        except BaseException:
            self.db.close()
            raise
        self._last_n = self._next_n = self._owed = 0
        # Messages up to this, with times that lie ahead of us, keep no later one from being pruned.
        self._ahead_upto = 0
        self._epochs: dict[int, str] = {}
        self.note_numbers()
        self._next_n = self._last_n + 1

    def close(self) -> None:
        self.db.close()

    def begin(self) -> None:
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        if self.db.in_transaction:
            self.db.execute("COMMIT")

    def rollback(self) -> None:
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.note_numbers()
        self._next_n = self._last_n + 1

    # --- epochs and small things --------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def set_meta(self, key: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))

    def last_epoch(self) -> tuple[int, str, int] | None:
        """(number, journal id, opened at UTC ms) of the newest epoch."""
        row = self.db.execute("SELECT n, journal, opened_ms FROM epoch ORDER BY n DESC LIMIT 1").fetchone()
        return (int(row[0]), str(row[1]), int(row[2])) if row else None

    def open_epoch(self, n: int, journal: str, opened_ms: int, reason: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO epoch VALUES(?, ?, ?, ?)", (n, journal, opened_ms, reason))
        self._epochs[n] = journal

    def opened_really(self, n: int, opened_ms: int) -> None:
        self.db.execute("UPDATE epoch SET opened_ms = ? WHERE n = ?", (opened_ms, n))

    def note_numbers(self) -> None:
        """Read again which epochs there are, which number was given last, and how much is owed."""
        self._epochs = dict(self.db.execute("SELECT n, journal FROM epoch").fetchall())
        newest = int(self.db.execute("SELECT coalesce(max(n), 0) FROM fact").fetchone()[0])
        self._last_n = max(newest, int(self.meta(PRUNED) or 0))
        self._owed = int(self.db.execute("SELECT count(*) FROM fact WHERE owed = 1").fetchone()[0])

    def raise_n(self, n: int) -> None:
        """Never give a number below n to a fact."""
        self._next_n = max(self._next_n, n)

    @property
    def next_n(self) -> int:
        return self._next_n

    @property
    def last_n(self) -> int:
        """The highest number that a fact has, or had before it was pruned."""
        return self._last_n

    @property
    def owed_count(self) -> int:
        """How many facts the broker has not acknowledged."""
        return self._owed

    # --- triggers -----------------------------------------------------------------------------------

    def known(self, ids: Iterable[TriggerId]) -> dict[TriggerId, Known]:
        found = {}
        for one in ids:
            row = self.db.execute(
                "SELECT reading, in_effect, revision, usable, memory FROM trigger"
                " WHERE device = ? AND channel = ? AND timestamp = ?",
                (one.device, one.channel, one.timestamp),
            ).fetchone()
            if row:
                found[one] = codec.known_from_row(one, *row)
        return found

    def oddities(self, asked: Collection[tuple[ChannelId, str]]) -> set[tuple[ChannelId, str]]:
        query = "SELECT 1 FROM oddity WHERE device = ? AND channel = ? AND digest = ?"
        return {(at, d) for at, d in asked if self.db.execute(query, (at.device, at.channel, d)).fetchone()}

    def write(self, learned: Learned, epoch: int) -> None:
        """Write one thing down; a fact gets its numbers here."""
        at, n = learned.at, None
        if learned.oddity is not None:
            self.db.execute("INSERT OR IGNORE INTO oddity VALUES(?, ?, ?)", (at.device, at.channel, learned.oddity))
        if learned.fact is not None:
            n = self._append(learned.fact, epoch)
        if learned.known is not None:
            self._keep(learned.known, n, learned)

    def _append(self, fact: Fact, epoch: int) -> int:
        n, self._next_n = self._next_n, self._next_n + 1
        self._last_n, self._owed = n, self._owed + 1
        key = (fact.at.device, fact.at.channel, fact.kind.value)
        row = self.db.execute(
            "INSERT INTO counter VALUES(?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
            " sequence = CASE WHEN epoch = excluded.epoch THEN sequence + 1 ELSE 1 END, epoch = excluded.epoch"
            " RETURNING sequence",
            (*key, epoch),
        ).fetchone()
        self.db.execute(
            "INSERT INTO fact VALUES(?, ?, ?, ?, ?, ?, ?, 1)", (n, *key, epoch, row[0], codec.fact_to_text(fact))
        )
        return n

    def _keep(self, known: Known, n: int | None, learned: Learned) -> None:
        first = n if learned.fact is not None and learned.fact.kind is Kind.TRIGGER else None
        rank = self._rank(known.id, learned.live) if first is not None else None
        reading = codec.reading_to_text(known.reading) if known.reading is not None else None
        self.db.execute(
            "INSERT INTO trigger VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " reading = excluded.reading, in_effect = excluded.in_effect, revision = excluded.revision,"
            " usable = excluded.usable, memory = excluded.memory,"
            " first = coalesce(first, excluded.first), rank = coalesce(rank, excluded.rank)",
            (
                known.id.device, known.id.channel, known.id.timestamp, reading, known.in_effect, known.revision,
                known.usable, codec.memory_of(known), first, rank,
            ),
        )  # fmt: skip

    def _rank(self, trigger: TriggerId, live: bool) -> int:
        """Newest is the largest timestamp, except that a live impulse always becomes the newest of its device."""
        row = self.db.execute("SELECT max(top) FROM channel WHERE device = ?", (trigger.device,)).fetchone()
        top = int(row[0] or 0)
        rank = max(trigger.timestamp, top + 1) if live else trigger.timestamp
        if rank > top:
            self.db.execute(
                "INSERT INTO channel(device, channel, memory, top) VALUES(?, ?, '', ?)"
                " ON CONFLICT DO UPDATE SET top = excluded.top",
                (trigger.device, trigger.channel, rank),
            )
        return rank

    def expected_between(self, at: ChannelId, above: int, upto: int, limit: int) -> list[Known]:
        """Triggers with above < timestamp <= upto that are in effect or were listed by history, oldest first."""
        rows = self.db.execute(
            "SELECT timestamp, reading, in_effect, revision, usable, memory FROM trigger"
            " WHERE device = ? AND channel = ? AND timestamp > ? AND timestamp <= ?"
            f" AND (in_effect = 1 OR {codec.LISTED}) ORDER BY timestamp LIMIT ?",
            (at.device, at.channel, above, upto, limit),
        ).fetchall()
        return [codec.known_from_row(TriggerId(at.device, at.channel, row[0]), *row[1:]) for row in rows]

    def newest(self, at: ChannelId, limit: int = 1) -> list[InEffect]:
        """The newest triggers in effect of one channel, newest first."""
        rows = self.db.execute(
            "SELECT fact.n, fact.sequence, fact.epoch, fact.kind, fact.body, reading, revision FROM trigger"
            " JOIN fact ON fact.n = trigger.first"
            " WHERE trigger.device = ? AND trigger.channel = ? AND in_effect = 1 AND usable = 1"
            " ORDER BY rank DESC LIMIT ?",
            (at.device, at.channel, limit),
        ).fetchall()
        return [
            InEffect(self.entry(n, sequence, epoch, at, kind, body), codec.reading_from_text(reading), revision)
            for n, sequence, epoch, kind, body, reading, revision in rows
        ]

    def recent(self, device: str, channels: Iterable[str]) -> list[InEffect]:
        """The newest 20 triggers in effect of a device, newest first."""
        rows: list[tuple[int, str, int]] = []
        for channel in channels:
            found = self.db.execute(
                "SELECT rank, timestamp FROM trigger"
                " WHERE device = ? AND channel = ? AND in_effect = 1 AND usable = 1 AND first IS NOT NULL"
                " ORDER BY rank DESC LIMIT ?",
                (device, channel, RECENT),
            )
            rows += [(int(rank), channel, int(timestamp)) for rank, timestamp in found]
        rows.sort(reverse=True)
        wanted: dict[str, int] = {}
        for _, channel, _ in rows[:RECENT]:
            wanted[channel] = wanted.get(channel, 0) + 1
        by_channel = {c: self.newest(ChannelId(device, c), limit) for c, limit in wanted.items()}
        return [by_channel[channel].pop(0) for _, channel, _ in rows[:RECENT] if by_channel[channel]]

    # --- what the broker owes us an acknowledgement for ---------------------------------------------

    def owed(self, at: ChannelId, after: int, limit: int) -> list[Entry]:
        rows = self.db.execute(
            "SELECT n, sequence, epoch, kind, body FROM fact"
            " WHERE owed = 1 AND device = ? AND channel = ? AND n > ? ORDER BY n LIMIT ?",
            (at.device, at.channel, after, limit),
        ).fetchall()
        return [self.entry(n, sequence, epoch, at, kind, body) for n, sequence, epoch, kind, body in rows]

    def all_owed(self) -> Iterator[Entry]:
        """What all channels owe, one channel after the other, without ever holding all of it."""
        for at, _ in self.owing_channels():
            after = 0
            while entries := self.owed(at, after, STRETCH):
                yield from entries
                after = entries[-1].n

    def facts_after(self, after: int, at_most: int, limit: int) -> list[Entry]:
        """Facts of all channels with after < n <= at_most, in the order of learning."""
        rows = self.db.execute(
            "SELECT n, device, channel, sequence, epoch, kind, body FROM fact"
            " WHERE n > ? AND n <= ? ORDER BY n LIMIT ?",
            (after, at_most, limit),
        ).fetchall()
        return [
            self.entry(n, sequence, epoch, ChannelId(device, channel), kind, body)
            for n, device, channel, sequence, epoch, kind, body in rows
        ]

    def entry(self, n: int, sequence: int, epoch: int, at: ChannelId, kind: str, body: str) -> Entry:
        """A row of the table `fact`. Raises UnreadableRowError."""
        journal = self._epochs.get(epoch)
        if journal is None:
            raise codec.UnreadableRowError(f"message {n} of {at} belongs to a journal that is not known")
        return Entry(n, sequence, journal, codec.fact_from_text(at, kind, body))

    def read_through(self) -> None:
        """Read what is owed and what is shown. Raises UnreadableRowError: PRAGMA quick_check looks into no text.

        6 ms on a PC where 100,000 messages are kept and none is owed, 2 s where all are; on a Raspberry Pi some five
        times that.
        """
        for memory in self.channels():
            shown = self.newest(memory.at, RECENT)
            ids = [TriggerId(memory.at.device, memory.at.channel, one.first.fact.timestamp or 0) for one in shown]
            self.known(ids)
        for _ in self.all_owed():
            pass

    def owing_channels(self) -> list[tuple[ChannelId, int]]:
        """(channel, how many facts it owes)."""
        rows = self.db.execute("SELECT device, channel, count(*) FROM fact WHERE owed = 1 GROUP BY 1, 2")
        return [(ChannelId(device, channel), count) for device, channel, count in rows]

    def holds(self, n: int) -> bool:
        """Whether there is a fact of this number."""
        return self.db.execute("SELECT 1 FROM fact WHERE n = ?", (n,)).fetchone() is not None

    def acknowledged(self, entry: Entry) -> None:
        """The broker has it. Counts what `tally` tells."""
        self._settle(entry, DELIVERED)
        self._count(entry.fact, 1)

    def given_up(self, entry: Entry) -> None:
        """The broker will never have it: it is owed no more, and an impulse does not count for `tally`."""
        self._settle(entry, GIVEN_UP)
        self.db.execute("UPDATE fact SET owed = ? WHERE n = ?", (GIVEN_UP, entry.n))  # a copy of it in memory, too
        if entry.fact.kind is not Kind.TRIGGER:  # one that was published is cleared, though nobody could be told
            self._count(entry.fact, 1)

    def _settle(self, entry: Entry, owed: int) -> None:
        self._owed -= self.db.execute("UPDATE fact SET owed = ? WHERE n = ? AND owed = 1", (owed, entry.n)).rowcount

    def _count(self, fact: Fact, times: int) -> None:
        """Add to what `tally` tells what an acknowledged fact changes there. What happens to an impulse that was
        given up changes nothing."""
        published, in_effect = _counts(fact)
        if (published or in_effect) and not (fact.kind is Kind.CORRECTION and self._is_given_up(fact)):
            self.db.execute(
                "INSERT INTO channel(device, channel, memory, published, in_effect) VALUES(?, ?, '', ?, ?)"
                " ON CONFLICT DO UPDATE SET published = published + excluded.published,"
                " in_effect = in_effect + excluded.in_effect",
                (fact.at.device, fact.at.channel, times * published, times * in_effect),
            )

    def _is_given_up(self, fact: Fact) -> bool:
        """Whether the impulse that it corrects is one that the broker never got."""
        found = self.db.execute(
            "SELECT 1 FROM trigger JOIN fact ON fact.n = first AND owed = ?"
            " WHERE trigger.device = ? AND trigger.channel = ? AND timestamp = ?",
            (GIVEN_UP, fact.at.device, fact.at.channel, fact.timestamp),
        )
        return found.fetchone() is not None

    def adopt(self, epoch: int, upto: int) -> None:
        """What is owed, up to this number, is told within this epoch, its sequence counted anew."""
        self.db.execute(
            "UPDATE fact SET epoch = ?, sequence = anew.sequence FROM"
            " (SELECT n, row_number() OVER (PARTITION BY device, channel, kind ORDER BY n) AS sequence"
            "  FROM fact WHERE owed = 1 AND n <= ?) AS anew WHERE fact.n = anew.n",
            (epoch, upto),
        )
        self.db.execute(
            "INSERT OR REPLACE INTO counter SELECT device, channel, kind, epoch, max(sequence) FROM fact"
            " WHERE owed = 1 AND n <= ? GROUP BY device, channel, kind",
            (upto,),
        )

    def recount(self) -> None:
        """Count anew what `tally` tells: all that ever was usable, but for what the broker has not got."""
        self.db.execute(
            "UPDATE channel SET (published, in_effect) = (SELECT count(*), coalesce(sum(in_effect), 0) FROM trigger"
            " WHERE trigger.device = channel.device AND trigger.channel = channel.channel AND usable = 1"
            " AND NOT EXISTS (SELECT 1 FROM fact WHERE n = first AND owed = ?))",
            (GIVEN_UP,),
        )
        for entry in self.all_owed():
            self._count(entry.fact, -1)

    def told_late(self, entry: Entry, late: bool) -> None:
        """An impulse was told otherwise than it looked when we learned of it: `last` says what was told."""
        body = codec.fact_to_text(replace(entry.fact, late_at_birth=late))
        self.db.execute("UPDATE fact SET body = ? WHERE n = ?", (body, entry.n))

    # --- channels and devices -----------------------------------------------------------------------

    def channels(self) -> list[ChannelMemory]:
        rows = self.db.execute("SELECT device, channel, memory FROM channel WHERE memory != ''")  # else not ours yet
        return [codec.channel_from_text(ChannelId(device, channel), memory) for device, channel, memory in rows]

    def remember(self, memory: ChannelMemory) -> None:
        self.db.execute(
            "INSERT INTO channel(device, channel, memory) VALUES(?, ?, ?)"
            " ON CONFLICT DO UPDATE SET memory = excluded.memory",
            (memory.at.device, memory.at.channel, codec.channel_to_text(memory)),
        )

    def tally(self, at: ChannelId) -> Tally:
        row = self.db.execute(
            "SELECT published, in_effect FROM channel WHERE device = ? AND channel = ?", (at.device, at.channel)
        ).fetchone()
        return Tally(at, *(row or (0, 0)))

    def device_offsets(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT device, offset_ms FROM device").fetchall())

    def set_device_offset(self, device: str, offset_ms: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO device VALUES(?, ?)", (device, offset_ms))

    # --- retained topics ----------------------------------------------------------------------------

    def retained(self) -> set[str]:
        return {topic for (topic,) in self.db.execute("SELECT topic FROM retained")}

    def retain(self, topic: str, keep: bool) -> None:
        if keep:
            self.db.execute("INSERT OR IGNORE INTO retained VALUES(?)", (topic,))
        else:
            self.db.execute("DELETE FROM retained WHERE topic = ?", (topic,))

    # --- retention ----------------------------------------------------------------------------------

    def prune(self, before_ms: int, now_ms: int, limit: int) -> int:
        """Delete up to `limit` acknowledged messages received before then; the identities stay, so that a later
        read of old history tells nothing again. What `last` and `recent` show is kept. Returns how many went."""
        shown: set[int] = set()
        for device, channel in self.db.execute("SELECT device, channel FROM channel").fetchall():
            rows = self.db.execute(
                "SELECT first FROM trigger WHERE device = ? AND channel = ? AND in_effect = 1 AND usable = 1"
                " ORDER BY rank DESC LIMIT ?",
                (device, channel, RECENT),
            )
            shown.update(first for (first,) in rows if first is not None)
        gone: list[tuple[int]] = []
        while not gone:
            received = self._acknowledged_after(self._ahead_upto, limit + len(shown), now_ms)
            gone = [(n,) for n, at_ms in received if at_ms < before_ms and n not in shown]
            # A message of a clock that was ahead is kept, and keeps no other.
            if gone or len(received) < limit or any(at_ms <= now_ms and n not in shown for n, at_ms in received):
                break
            self._ahead_upto = received[-1][0]
        self.db.executemany("DELETE FROM fact WHERE n = ?", gone)
        if gone:
            self.set_meta(PRUNED, str(self._last_n))
            self.set_meta(PRUNED_BEFORE, str(max(before_ms, int(self.meta(PRUNED_BEFORE) or 0))))
        return len(gone)

    def _acknowledged_after(self, after: int, limit: int, now_ms: int) -> list[tuple[int, int]]:
        """(number, UTC ms when it was learned) of messages that the broker has, in the order of learning.

        A clock that was decades behind makes no message old: it was learned after the impulse that it tells of.
        """
        rows = self.db.execute(
            "SELECT n, body FROM fact WHERE owed = 0 AND n > ? ORDER BY n LIMIT ?", (after, limit)
        ).fetchall()
        at = ChannelId("0", "C0")  # that is not asked for
        found = []
        for n, body in rows:
            fact = codec.fact_from_text(at, "trigger", body)
            happened_ms = (fact.timestamp or 0) // TICKS_PER_MS
            is_told = happened_ms <= now_ms + AHEAD_MS  # else nobody knows what that clock meant
            found.append((n, max(fact.received_ms, min(happened_ms, now_ms) if is_told else 0)))
        return found

    def bytes(self) -> int:
        pages = int(self.db.execute("PRAGMA page_count").fetchone()[0])
        return pages * int(self.db.execute("PRAGMA page_size").fetchone()[0])


def _counts(fact: Fact) -> tuple[int, int]:
    """What an acknowledged fact adds to (published, in_effect) of its channel."""
    if fact.kind is Kind.TRIGGER:
        return 1, 1
    if fact.kind is Kind.CORRECTION and fact.previous is not None:
        return 0, int(fact.in_effect) - int(fact.previous.in_effect)
    return 0, 0
