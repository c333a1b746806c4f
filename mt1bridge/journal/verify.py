"""Is a journal whole? Integrity of the file, numbers without gaps, states that agree with what was told last.

Messages older than `keep` are pruned, so what is missing among those is no fault; the journal itself says how far that
went, for `keep` may have been another one. Everything is read from one
snapshot, so a daemon that writes meanwhile does no harm.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from mt1bridge.journal import codec
from mt1bridge.journal.query import JournalReader
from mt1bridge.journal.store import PRUNED_BEFORE
from mt1bridge.model.fact import Fact, Kind
from mt1bridge.model.trigger import ChannelId

MANY = 20  # faults of one kind that are told one by one

_LAST = (
    "CREATE TEMP TABLE last(device TEXT, channel TEXT, timestamp INTEGER, epoch INTEGER, revision INTEGER,"
    " reading TEXT, in_effect INTEGER, received_ms INTEGER, PRIMARY KEY(device, channel, timestamp)) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class Owed:
    """Messages of one channel that the broker has not acknowledged. oldest_ms: UTC ms when the first was learned."""

    at: ChannelId
    count: int
    oldest_ms: int


@dataclass(slots=True)
class Verdict:
    """faults: sentences; empty for a whole journal. untold: how many more there are, by kind."""

    faults: list[str] = field(default_factory=list)
    facts: int = 0
    triggers: int = 0
    epochs: int = 0
    owed: list[Owed] = field(default_factory=list)
    _told: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        self._told[kind] = self._told.get(kind, 0) + 1
        if self._told[kind] <= MANY:
            self.faults.append(text)

    def close(self) -> None:
        for kind, count in self._told.items():
            if count > MANY:
                self.faults.append(f"{count - MANY} more like these: {kind}.")


def verify(reader: JournalReader, cutoff_ms: int) -> Verdict:
    """Check everything. cutoff_ms: messages received before then may have been pruned, whatever the journal says.
    Raises nothing for a journal that is damaged: that is a fault to tell."""
    verdict = Verdict()
    try:
        _check_file(reader.db, verdict)
        if not verdict.faults:
            cutoff_ms = max(cutoff_ms, _pruned_ms(reader.db))
            _check_facts(reader, verdict, cutoff_ms)
            _check_states(reader, verdict, cutoff_ms)
            verdict.owed = list(_owed(reader.db))
    except sqlite3.Error as error:
        verdict.add("file", f"The file cannot be read to its end: {error}.")
    verdict.close()
    return verdict


def _check_file(db: sqlite3.Connection, verdict: Verdict) -> None:
    for (text,) in db.execute("PRAGMA integrity_check(20)"):
        if text != "ok":
            verdict.add("damage of the file", f"The file is damaged: {text}.")


def _pruned_ms(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", (PRUNED_BEFORE,)).fetchone()
    return int(row[0]) if row is not None else 0


# --- what was told ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Topic:
    """The last message of one topic within one epoch that was looked at."""

    sequence: int
    received_ms: int


def _check_facts(reader: JournalReader, verdict: Verdict, cutoff_ms: int) -> None:
    db = reader.db
    opened = dict(db.execute("SELECT n, opened_ms FROM epoch").fetchall())
    verdict.epochs = len(opened)
    # What is owed when a journal begins moves into it, so the epochs of a topic may alternate.
    topics: dict[tuple[str, str, str, int], _Topic] = {}
    db.execute(_LAST)
    query = "SELECT n, device, channel, kind, epoch, sequence, body FROM fact ORDER BY n"
    for n, device, channel, kind, epoch, sequence, body in db.execute(query):
        verdict.facts += 1
        try:
            fact = codec.fact_from_text(ChannelId(device, channel), kind, body)
        except codec.UnreadableRowError as error:
            verdict.add("unreadable messages", f"Message {n} of {device} {channel} cannot be read: {error}.")
            continue
        if epoch not in opened:
            verdict.add("messages of no journal", f"Message {n} of {fact.id} belongs to a journal that is not known.")
        key = (device, channel, kind, epoch)
        before = topics.get(key)
        topics[key] = _Topic(sequence, fact.received_ms)
        _check_sequence(key, before, topics[key], opened.get(epoch, 0), cutoff_ms, reader, verdict)
        _note_last(db, fact, epoch, cutoff_ms, verdict)
    _check_ends(db, topics, cutoff_ms, verdict)


def _check_sequence(
    key: tuple[str, str, str, int],
    before: _Topic | None,
    this: _Topic,
    opened_ms: int,
    cutoff_ms: int,
    reader: JournalReader,
    verdict: Verdict,
) -> None:
    """Numbers grow by exactly 1; where one is missing, all up to it must be old enough to have been pruned."""
    last, since_ms = (before.sequence, before.received_ms) if before is not None else (0, opened_ms)
    topic, journal = "/".join(key[:3]), reader.epochs.get(key[3], "?")
    if this.sequence <= last:
        text = f"{topic}: sequence {this.sequence} of journal {journal} comes after {last}."
        verdict.add("sequences that do not grow", text)
    elif this.sequence > last + 1 and since_ms >= cutoff_ms:
        gone = f"{last + 1}" if this.sequence == last + 2 else f"{last + 1} to {this.sequence - 1}"
        verdict.add("sequences with gaps", f"{topic}: sequence {gone} of journal {journal} is missing.")


def _check_ends(
    db: sqlite3.Connection, topics: dict[tuple[str, str, str, int], _Topic], cutoff_ms: int, verdict: Verdict
) -> None:
    """The number given last must be that of the last message."""
    for device, channel, kind, epoch, sequence in db.execute("SELECT * FROM counter"):
        last = topics.get((device, channel, kind, epoch))
        if last is not None and last.sequence != sequence and last.received_ms >= cutoff_ms:
            text = f"{device}/{channel}/{kind}: the last sequence given is {sequence}, that of the last message "
            verdict.add("ends that are missing", f"{text}{last.sequence}.")


def _note_last(db: sqlite3.Connection, fact: Fact, epoch: int, cutoff_ms: int, verdict: Verdict) -> None:
    """Remember what was told last of an identity. A row of an unknown type is told, but changes no state."""
    if fact.timestamp is None:
        return
    key = (fact.at.device, fact.at.channel, fact.timestamp)
    row = db.execute(
        "SELECT epoch, revision, received_ms, reading, in_effect FROM last"
        " WHERE device = ? AND channel = ? AND timestamp = ?",
        key,
    ).fetchone()
    gap = row is not None and row[0] == epoch and fact.revision != row[1] + 1
    if gap and (row[2] >= cutoff_ms or fact.revision <= row[1]):
        verdict.add("revisions with gaps", f"{fact.id}: revision {fact.revision} was told after {row[1]}.")
    odd = fact.kind is Kind.REJECTED and "type" in fact.reasons
    reading, in_effect = (row[3], row[4]) if odd and row is not None else (None, None)
    if not odd:
        reading, in_effect = codec.reading_to_text(fact.reading), int(fact.in_effect)
    db.execute(
        "INSERT OR REPLACE INTO last VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, epoch, fact.revision, reading, in_effect, fact.received_ms),
    )


# --- what is known ----------------------------------------------------------------------------------------


def _check_states(reader: JournalReader, verdict: Verdict, cutoff_ms: int) -> None:
    db = reader.db
    verdict.triggers = int(db.execute("SELECT count(*) FROM trigger").fetchone()[0])
    query = (
        "SELECT l.device, l.channel, l.timestamp, l.revision, l.reading, l.in_effect, l.received_ms,"
        " t.revision, t.reading, t.in_effect"
        " FROM last l LEFT JOIN trigger t USING(device, channel, timestamp)"
    )
    for device, channel, timestamp, revision, reading, in_effect, received_ms, *now in db.execute(query):
        name = f"{device}-{channel}-{timestamp}"
        later_pruned = now[0] is not None and now[0] > revision and received_ms < cutoff_ms
        if now[0] is None:
            verdict.add("messages without a state", f"{name} was told, and nothing is known of it.")
        elif now[0] != revision and not later_pruned:
            text = f"{name}: the state has revision {now[0]}, the last message {revision}."
            verdict.add("states that differ from the last message", text)
        elif reading is not None and not later_pruned and [reading, in_effect] != now[1:]:
            text = f"{name}: its state is not what was told last (revision {revision})."
            verdict.add("states that differ from the last message", text)
    _check_firsts(db, verdict, cutoff_ms)


def _check_firsts(db: sqlite3.Connection, verdict: Verdict, cutoff_ms: int) -> None:
    """What `last` and `recent` are made of: the first message of each trigger. Where nothing was pruned, all told."""
    wrong = (
        "SELECT t.device, t.channel, t.timestamp FROM trigger t JOIN fact f ON f.n = t.first"
        " WHERE f.device != t.device OR f.channel != t.channel OR f.kind != 'trigger'"
    )
    for device, channel, timestamp in db.execute(wrong):
        text = f"{device}-{channel}-{timestamp}: its first message is another trigger's."
        verdict.add("first messages of others", text)
    oldest_ms = db.execute("SELECT min(opened_ms) FROM epoch").fetchone()[0]
    if oldest_ms is None or oldest_ms < cutoff_ms:
        return
    lost = (
        "SELECT t.device, t.channel, t.timestamp, t.revision FROM trigger t"
        " LEFT JOIN last l USING(device, channel, timestamp) WHERE t.revision > 0 AND l.revision IS NULL"
    )
    for device, channel, timestamp, revision in db.execute(lost):
        text = f"{device}-{channel}-{timestamp} was told {revision} time(s), and no message of it is there."
        verdict.add("states without a message", text)


def _owed(db: sqlite3.Connection) -> Iterator[Owed]:
    query = (
        "SELECT o.device, o.channel, o.count, f.kind, f.body FROM"
        " (SELECT device, channel, count(*) AS count, min(n) AS first FROM fact WHERE owed = 1 GROUP BY 1, 2) o"
        " JOIN fact f ON f.n = o.first ORDER BY 1, 2"
    )
    for device, channel, count, kind, body in db.execute(query):
        at = ChannelId(device, channel)
        with suppress(codec.UnreadableRowError):  # unreadable: told as a fault already
            yield Owed(at, int(count), codec.fact_from_text(at, kind, body).received_ms)
