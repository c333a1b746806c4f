"""From disk to memory when the disk fails, and back when it takes writes again."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mt1bridge.journal import codec
from mt1bridge.journal.store import DELIVERED, GIVEN_UP, RECENT, Store
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import ChannelId, TriggerId

Row = tuple[Any, ...]  # of a table, as SQLite gives it

GAP = 1_000_000  # numbers that the failed transaction may have given are never given again
_TABLES = ("epoch", "device", "retained", "channel")
_GIVE_TRIGGER = (
    "INSERT INTO trigger VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET reading = excluded.reading,"
    " in_effect = excluded.in_effect, revision = excluded.revision, usable = excluded.usable, memory = excluded.memory,"
    " first = coalesce(excluded.first, first), rank = coalesce(excluded.rank, rank)"
    " WHERE excluded.revision > 0 OR trigger.revision = 0"
)
_GIVE_FACT = "INSERT INTO fact VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"


def copy_what_is_shown(disk: Store, memory: Store) -> None:
    """Channels, and of each the newest triggers in effect with their first messages: `last` and `recent` go on.

    Raises sqlite3.Error where the disk cannot be read; what was copied till then can be.
    """
    memory.begin()
    for table in _TABLES:
        if table == "channel":
            disk.channels()  # nothing that cannot be read may come into memory
        for row in disk.db.execute(f"SELECT * FROM {table}").fetchall():
            _insert(memory, table, row)
    memory.note_numbers()
    for device, channel in disk.db.execute("SELECT device, channel FROM channel").fetchall():
        rows = disk.db.execute(
            "SELECT * FROM trigger WHERE device = ? AND channel = ? AND in_effect = 1 AND usable = 1"
            " ORDER BY rank DESC LIMIT ?",
            (device, channel, RECENT),
        ).fetchall()
        for row in rows:
            _copy(disk, memory, row)
    memory.commit()


def copy_trigger(disk: Store, memory: Store, trigger: TriggerId) -> None:
    """One identity with its first message, unless memory has it: what happens to it next goes on from there."""
    where = "WHERE device = ? AND channel = ? AND timestamp = ?"
    key = (trigger.device, trigger.channel, trigger.timestamp)
    if memory.db.execute(f"SELECT 1 FROM trigger {where}", key).fetchone():
        return
    for row in disk.db.execute(f"SELECT * FROM trigger {where}", key).fetchall():
        _copy(disk, memory, row)


def _copy(disk: Store, memory: Store, row: Row) -> None:
    """A row of the table `trigger`, and its first message. Raises UnreadableRowError before it copies anything."""
    codec.known_from_row(TriggerId(*row[:3]), *row[3:8])
    facts: list[Row] = disk.db.execute("SELECT * FROM fact WHERE n = ?", (row[8],)).fetchall()
    for n, device, channel, kind, epoch, sequence, body, _ in facts:
        disk.entry(n, sequence, epoch, ChannelId(device, channel), kind, body)
    _insert(memory, "trigger", row)
    for fact in facts:
        memory.open_epoch(*disk.db.execute("SELECT * FROM epoch WHERE n = ?", (fact[4],)).fetchone())
        _insert(memory, "fact", (*fact[:-1], GIVEN_UP if fact[-1] == GIVEN_UP else DELIVERED))


def forget_disk(memory: Store, upto: int) -> None:
    """The disk's file is lost: forget what was copied from it, so that history tells it anew, now or after a restart.

    upto: the last number that was given there. What of it the broker had is not known for sure any more.
    """
    memory.begin()
    memory.db.execute("DELETE FROM trigger WHERE coalesce(first, 0) <= ?", (upto,))
    memory.db.execute("DELETE FROM fact WHERE n <= ?", (upto,))
    for one in memory.channels():
        memory.remember(one.anew())
    memory.commit()
    memory.note_numbers()


def overtaken(memory: Store, disk: Store) -> list[tuple[Known, Known, bool]]:
    """What the disk had told, or owes, and memory told anew without knowing of it: (as the disk knows it, as memory
    does, whether the latter is what the broker gets last)."""
    here = {
        TriggerId(*row)
        for row in memory.db.execute("SELECT device, channel, timestamp FROM trigger WHERE revision > 0")
    }
    before, now = disk.known(here), memory.known(here)
    owed, owed_here = _owed(disk), _owed(memory)
    found = []
    for one in sorted((one for one in before if before[one].revision), key=str):
        if one in owed:
            found.append((before[one], now[one], one in owed_here))
        else:  # all of its numbers were told in a journal that is over
            past = replace(before[one], revision=min(before[one].revision, now[one].revision))
            found.append((past, now[one], True))
    return found


def shown_by_disk(overtaken: Iterable[tuple[Known, Known, bool]]) -> set[TriggerId]:
    """Where `last` and `recent` go on with the disk's journal: it tells the higher revision, or the same one last."""
    return {
        before.id
        for before, now, now_is_last in overtaken
        if before.usable and (before.revision, not now_is_last) > (now.revision, False)
    }


def _owed(store: Store) -> set[TriggerId]:
    facts = (entry.fact for entry in store.all_owed())
    return {TriggerId(one.at.device, one.at.channel, one.timestamp) for one in facts if one.timestamp is not None}


def give(
    memory: Store,
    disk: Store,
    settled: Mapping[int, int],
    told_alone: bool,
    keep_first: Collection[TriggerId] = (),
) -> None:
    """Everything that memory learned goes to disk, in the disk's open transaction.

    settled: facts of the disk that are owed no more: number -> fact.owed. told_alone: memory did not know what the
    disk holds. Leave out what was only written down as older than the first start: the disk knows better how far back
    that is. keep_first: triggers whose first message stays the disk's.
    """
    before = {one.at: one for one in disk.channels()} if told_alone else {}
    for table in (*_TABLES, "oddity", "counter"):
        for row in memory.db.execute(f"SELECT * FROM {table}").fetchall():
            _insert(disk, table, row)
    for row in memory.db.execute(f"SELECT * FROM trigger {'WHERE revision > 0' if told_alone else ''}").fetchall():
        first = None if TriggerId(*row[:3]) in keep_first else row[8]
        disk.db.execute(_GIVE_TRIGGER, (*row[:8], first, row[9]))
    for one in memory.channels():
        if one.at in before:
            kept = before[one.at]
            disk.remember(
                replace(
                    one,
                    cut_ms=kept.cut_ms,
                    baselined=kept.baselined,
                    seen=one.seen or kept.seen,
                    read_all_ms=0,  # what memory took for older than the first start is read again
                )
            )
    for row in memory.db.execute("SELECT * FROM fact").fetchall():
        disk.db.execute(_GIVE_FACT, row)
    disk.db.executemany("UPDATE fact SET owed = ? WHERE n = ?", [(owed, n) for n, owed in settled.items()])
    disk.note_numbers()


def _insert(store: Store, table: str, row: tuple[object, ...]) -> None:
    marks = ", ".join("?" * len(row))
    store.db.execute(f"INSERT OR REPLACE INTO {table} VALUES({marks})", row)
