"""The journal: durable where the disk allows, in memory where it does not, and never in the way of delivery.

An epoch is a stretch in which a number never means two things. A new one begins with the first start, after an
unclean end of the machine, after a lost, corrupt or replaced file, and around every stretch in which the disk did
not take what was told (CONTRACT, section 3, `journal`).
"""

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import TypeVar

from mt1bridge.journal import merge
from mt1bridge.journal.checkpoint import HOLD_MS, Checkpoints
from mt1bridge.journal.damage import is_damage
from mt1bridge.journal.file import JournalFile, examine
from mt1bridge.journal.store import DELIVERED, GIVEN_UP, Store
from mt1bridge.model.fact import Entry, Fact, InEffect, Kind
from mt1bridge.model.known import ChannelMemory, Known, Learned, Tally
from mt1bridge.model.trigger import ChannelId, TriggerId

T = TypeVar("T")
Retold = Callable[[Known, Known, bool], Learned | None]

CHECKPOINT_WITHIN_S = 0.3  # of the 5 s that a stop may take, the broker and the MT1 server have had most
REPEATS = "repeats"  # whether history is still to be read for the first time since the epoch began


@dataclass(frozen=True, slots=True)
class Opened:
    """How opening went.

    fresh: there was no journal, or none that can be read. set_aside: the name that a corrupt file got. trouble: why the
    disk is not used, if it is not.
    """

    fresh: bool
    set_aside: str | None = None
    trouble: str | None = None


class Journal:
    """One directory's journal. Owned by the loop's thread.

    boot_id: of the machine's present run, "" if unknown. new_id: makes journal ids. open_store: opens a file or
    ":memory:".
    """

    def __init__(
        self,
        directory: Path,
        boot_id: str,
        new_id: Callable[[], str],
        open_store: Callable[[str], Store] = Store,
    ) -> None:
        self._file = JournalFile(directory, boot_id, open_store)
        self._new_id = new_id
        self._open_store = open_store
        self._checkpoints = Checkpoints(self._file.path)
        self._disk: Store | None = None
        self._unread = False  # what the file holds is not known yet
        self._damaged = False  # the file is to be set aside
        self._doubtful = False  # reading it failed: whether it is damaged is to be found out
        self._lost = False  # it was set aside with what we had written to it
        self._lost_upto = 0  # the last number that was given there
        self._memory: Store | None = None  # in use while the disk takes nothing
        self._epoch = 0
        self._batch: list[Callable[[Store], None]] = []
        self._settled: dict[int, int] = {}  # of the disk's facts, while it takes nothing: number -> fact.owed
        self._sync = False  # the next commit is to survive a power cut
        self._now_ms = 0  # UTC ms when something was written last
        self.journal = ""
        self.opened_ms = 0
        self.opened_here = False  # by this process
        # Something may have been told before this journal began that it does not know of, and history shows as news.
        self.may_repeat = True
        self.trouble: str | None = None
        self.was_unread = False  # when the disk took writes again, it held what nobody had read
        self.was_lost = False  # when it did, it had a new file, and what the old one held is not known any more

    # --- open and close -----------------------------------------------------------------------------

    def open(self, now_ms: int) -> Opened:
        fresh, self._now_ms = False, now_ms
        self._file.read_mark()
        try:
            fresh = not self._file.path.exists()  # PermissionError where the directory is not ours
            self._disk = self._file.open(now_ms)
            fresh = fresh or self._disk.last_epoch() is None  # a power cut may leave a file and nothing in it
            self._continue_or_begin(self._disk, now_ms)
        except (sqlite3.Error, OSError) as error:
            fresh = fresh or self._disk is None
            self._disk_failed(error, now_ms)
        return Opened(fresh, self.set_aside, self.trouble)

    @property
    def set_aside(self) -> str | None:
        """The name that a file got which could not be read."""
        return self._file.set_aside

    def _continue_or_begin(self, store: Store, now_ms: int) -> None:
        store.db.execute("PRAGMA synchronous = FULL")
        store.begin()
        last = store.last_epoch()
        if last and self._file.goes_on(store):
            self._epoch, self.journal, self.opened_ms = last
        else:
            n = (last[0] if last else 0) + 1
            reason = "first start" if not last else "unclean end" if self._file.is_as_left(store) else "another file"
            self._begin_epoch(store, n, now_ms, reason)
            store.adopt(n, store.last_n)  # some of it may have been told, and its acknowledgement lost
            store.set_meta(REPEATS, "1" if last else "0")
        self.may_repeat = store.meta(REPEATS) == "1"
        self._file.sign(store)
        store.commit()
        self._file.mark_whole(store)
        store.db.execute("PRAGMA synchronous = NORMAL")

    def _begin_epoch(self, store: Store, n: int, now_ms: int, reason: str) -> None:
        self._epoch, self.journal, self.opened_ms = n, self._new_id(), now_ms
        self.opened_here = True
        store.open_epoch(n, self.journal, now_ms, reason)

    def close(self) -> None:
        """Write down that this was a clean end. Raises nothing: what fails shows at the next start."""
        with contextlib.suppress(sqlite3.Error, OSError):
            self.commit(self._now_ms)
            self._checkpoints.join(CHECKPOINT_WITHIN_S)
            if self._disk is not None and self._memory is None:
                self._disk.db.execute("PRAGMA synchronous = FULL")
                self._disk.begin()
                self._disk.set_meta("clean", "1")
                self._disk.commit()
                self._file.mark_whole(self._disk, durable=True)
                # A convenience: whoever reads meanwhile (`journal list | less`) prevents it, and is not waited for.
                self._disk.db.execute(f"PRAGMA busy_timeout = {HOLD_MS}")
                self._disk.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for store in (self._disk, self._memory):
            if store is not None:
                store.close()

    # --- writing ------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store that takes what is written now."""
        store = self._memory or self._disk
        assert store is not None  # open() leaves one of them
        return store

    def _do(self, write: Callable[[Store], None], now_ms: int) -> None:
        self._batch.append(write)
        self._now_ms = now_ms
        try:
            self.store.begin()
            write(self.store)
        except sqlite3.Error as error:
            self._disk_failed(error, now_ms)

    def write(self, learned: Iterable[Learned], now_ms: int) -> None:
        """Append facts and keep states. Numbers are given when it is done, in order."""
        for one in learned:
            self._do(partial(self._write_one, one), now_ms)

    def _write_one(self, learned: Learned, store: Store) -> None:
        if store is self._memory and self._disk is not None and learned.known is not None:
            with self._forgiving():
                merge.copy_trigger(self._disk, store, learned.known.id)
        store.write(learned, self._epoch)

    def remember(self, memory: ChannelMemory, now_ms: int) -> None:
        self._do(lambda store: store.remember(memory), now_ms)

    def set_device_offset(self, device: str, offset_ms: int, now_ms: int) -> None:
        self._do(lambda store: store.set_device_offset(device, offset_ms), now_ms)

    def retain(self, topic: str, keep: bool, now_ms: int) -> None:
        """Note that a topic is retained from now on, or no more. The former survives a power cut: nobody else knows."""
        if keep:
            self.sync()
        self._do(lambda store: store.retain(topic, keep), now_ms)

    def acknowledged(self, entry: Entry, now_ms: int) -> None:
        """The broker has this entry."""
        self._do(partial(self._settle, entry, DELIVERED), now_ms)

    def given_up(self, entry: Entry, now_ms: int) -> None:
        """The broker will never take this entry: it is owed no more."""
        self._do(partial(self._settle, entry, GIVEN_UP), now_ms)

    def _settle(self, entry: Entry, how: int, store: Store) -> None:
        if entry.n <= self._lost_upto and not store.holds(entry.n):
            return  # it went out before its journal was lost, and is told again
        if store is self._memory:
            self._settled[entry.n] = how
            if how == GIVEN_UP or entry.fact.kind is Kind.CORRECTION:
                self._fetch(entry.fact, store)  # what becomes of an impulse counts only if that was published
        if how == DELIVERED:
            store.acknowledged(entry)
        else:
            store.given_up(entry)

    def _fetch(self, fact: Fact, memory: Store) -> None:
        if self._disk is not None and fact.timestamp is not None:
            with self._forgiving():
                merge.copy_trigger(self._disk, memory, TriggerId(fact.at.device, fact.at.channel, fact.timestamp))

    def history_read(self, now_ms: int) -> None:
        """All that was told before this journal began, and is shown by history, is known now."""
        self.may_repeat = False
        self._do(lambda store: store.set_meta(REPEATS, "0"), now_ms)

    def opened_really(self, opened_ms: int, now_ms: int) -> None:
        """The present journal began by a clock that was wrong; by the right one it was then."""
        self.opened_ms, n = opened_ms, self._epoch
        self._do(lambda store: store.opened_really(n, opened_ms), now_ms)

    def sync(self) -> None:
        """The next commit, and all before it, is to survive a power cut."""
        self._sync = True

    def told_late(self, entry: Entry, late: bool, now_ms: int) -> None:
        """An impulse was told otherwise than it looked when we learned of it."""
        self._do(lambda store: store.told_late(entry, late), now_ms)

    def commit(self, now_ms: int) -> None:
        """End the transaction: only what is committed may be told."""
        if not self._batch:
            return
        try:
            self.store.commit()
        except sqlite3.Error as error:
            self._disk_failed(error, now_ms)
            self.store.commit()
        self._batch.clear()
        if self._memory is None:
            self._file.mark_whole(self.store)
            try:
                if self._sync:
                    self._sync_disk(now_ms)
                self._checkpoints.look()
            except sqlite3.Error as error:
                self._disk_failed(error, now_ms)

    def _sync_disk(self, now_ms: int) -> None:
        """One commit with fsync makes all before it durable."""
        store = self.store
        store.db.execute("PRAGMA synchronous = FULL")
        store.begin()
        store.set_meta("synced_ms", str(now_ms))
        store.commit()
        self._sync = False
        store.db.execute("PRAGMA synchronous = NORMAL")

    # --- trouble with the disk ----------------------------------------------------------------------

    def _disk_failed(self, error: Exception, now_ms: int) -> None:
        """Go on in memory, in an epoch of its own, and do there what the disk did not take."""
        if self._memory is not None:
            raise error  # memory itself failed: nothing is left to fall back to
        self.trouble = f"{type(error).__name__}: {error}"
        self._damaged = self._damaged or is_damage(error)
        self._file.unmark()
        batch, self._batch = self._batch, []
        memory = self._open_store(":memory:")
        last = self._epoch
        if self._disk is None:  # stay clear of its numbers
            self._unread = True
            last = max(last, now_ms)
            memory.raise_n(now_ms * 1_000)
        else:
            with contextlib.suppress(sqlite3.Error):
                self._disk.rollback()
            memory.raise_n(self._disk.next_n + merge.GAP)
            with self._forgiving():
                last = max(last, (self._disk.last_epoch() or (0,))[0])
                merge.copy_what_is_shown(self._disk, memory)
        memory.begin()
        self._begin_epoch(memory, last + 1, now_ms, "disk does not take it")
        self._memory = memory
        for write in batch:
            self._do(write, now_ms)

    def try_disk(self, now_ms: int, retold: Retold) -> bool:
        """While in memory: see whether the disk takes writes again and give it all. True if the trouble is over.

        retold: (how the disk knows a trigger that memory told anew without knowing of it, how memory does, whether
        that is what the broker gets last) -> what is to be told again.
        """
        if self._memory is None:
            return True
        self.commit(now_ms)
        try:
            self._make_room(now_ms)
            self._disk = disk = self._disk or self._file.open(now_ms)
            disk.db.execute("PRAGMA synchronous = NORMAL")  # it may have failed in the middle of a durable commit
            disk.begin()
            self.was_unread = self._unread and disk.last_epoch() is not None
            overtaken = merge.overtaken(self._memory, disk) if self.was_unread else []
            in_doubt = disk.last_n if self.was_unread and not self._file.goes_on(disk) else 0
            merge.give(self._memory, disk, self._settled, self.was_unread, merge.shown_by_disk(overtaken))
            if self._unread or self._lost:
                disk.recount()
            last = disk.last_epoch()
            epoch = (max(self._epoch, last[0] if last else 0) + 1, self._new_id(), now_ms)
            disk.open_epoch(*epoch, "disk takes it again")
            disk.adopt(epoch[0], in_doubt)
            if self.was_unread or self._lost:
                disk.set_meta(REPEATS, "1")
            self._file.sign(disk)
            disk.raise_n(self._memory.next_n)
            for learned in starmap(retold, overtaken):
                if learned is not None:
                    disk.write(learned, epoch[0])
            disk.commit()
        except (sqlite3.Error, OSError) as error:
            self.trouble = f"{type(error).__name__}: {error}"
            self._damaged = self._damaged or is_damage(error)
            if self._disk is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._disk.rollback()
            if self._disk is not None and self._unread:  # nothing of it is told before it is ours
                self._disk.close()
                self._disk = None
            return False
        self._epoch, self.journal, self.opened_ms = epoch
        self.opened_here = True
        self._file.mark_whole(disk)
        self._memory.close()
        self._memory = None
        self._unread = False
        self.was_lost, self._lost = self._lost, False
        self.may_repeat = self.may_repeat or self.was_lost
        self._settled.clear()
        self.trouble = None
        return True

    def _make_room(self, now_ms: int) -> None:
        """Where the file is damaged, set it aside. Raises OSError, and sqlite3.Error where that cannot be told now."""
        assert self._memory is not None  # the caller has looked
        if self._doubtful and self._disk is not None:
            try:
                examine(self._disk)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._damaged = True
        if self._damaged:
            if self._disk is not None:
                self._lost, self._lost_upto = True, self._disk.last_n
                self._disk.close()
                self._disk = None
                merge.forget_disk(self._memory, self._lost_upto)
            self._file.put_aside(now_ms)
            self._checkpoints = Checkpoints(self._file.path)  # what the old one may say still is of the old file
        self._damaged = self._doubtful = False

    # --- reading ------------------------------------------------------------------------------------

    def _readable(self) -> list[Store]:
        return [store for store in (self._memory, self._disk) if store is not None]

    def _ask(self, question: Callable[[Store], T]) -> T:
        """The store in use answers. A disk that cannot be read is as good as one that takes nothing."""
        if self._memory is None:
            try:
                return question(self.store)
            except sqlite3.Error as error:
                self._doubtful = True
                self._disk_failed(error, self._now_ms)
        return question(self.store)

    def _ask_both(self, question: Callable[[Store], T]) -> list[T]:
        """Memory, if it is in use, and the disk, as far as it can be read."""
        if self._memory is None:
            try:
                return [question(self.store)]
            except sqlite3.Error as error:
                self._doubtful = True
                self._disk_failed(error, self._now_ms)
        answers = [question(self.store)]
        if self._disk is not None:
            with self._forgiving():
                answers.append(question(self._disk))
        return answers

    def known(self, ids: Collection[TriggerId]) -> dict[TriggerId, Known]:
        found: dict[TriggerId, Known] = {}
        for known in self._ask_both(lambda store: store.known(ids)):
            found = known | found
        return found

    def oddities(self, asked: Collection[tuple[ChannelId, str]]) -> set[tuple[ChannelId, str]]:
        return set().union(*self._ask_both(lambda store: store.oddities(asked)))

    def expected_between(self, at: ChannelId, above: int, upto: int, limit: int) -> list[Known]:
        return self._ask(lambda store: store.expected_between(at, above, upto, limit))

    def newest(self, at: ChannelId) -> InEffect | None:
        found = self._ask(lambda store: store.newest(at))
        return found[0] if found else None

    def recent(self, device: str, channels: Iterable[str]) -> list[InEffect]:
        asked = tuple(channels)
        return self._ask(lambda store: store.recent(device, asked))

    def owed(self, at: ChannelId, after: int, limit: int) -> list[Entry]:
        """What one channel owes, in the order of learning; the disk's, being older, first."""
        found = self._ask_both(lambda store: self._still_owed(store, at, after, limit))
        return [entry for entries in reversed(found) for entry in entries][:limit]

    def _still_owed(self, store: Store, at: ChannelId, after: int, limit: int) -> list[Entry]:
        """Without what was acknowledged and could not be marked: less than `limit` means that there is no more."""
        found: list[Entry] = []
        while True:
            entries = store.owed(at, after, limit)
            found += [entry for entry in entries if entry.n not in self._settled]
            if len(entries) < limit or len(found) >= limit:
                return found
            after = entries[-1].n

    def facts_after(self, after: int, at_most: int, limit: int) -> list[Entry]:
        """What was told, in the order of learning, for a replay."""
        found: dict[int, Entry] = {}
        for entries in self._ask_both(lambda store: store.facts_after(after, at_most, limit)):
            found |= {entry.n: entry for entry in entries}
        return [found[n] for n in sorted(found)][:limit]

    @property
    def last_n(self) -> int:
        """The number of the newest fact."""
        return self.store.next_n - 1

    def owing_channels(self) -> dict[ChannelId, int]:
        """How many facts each channel owes the broker."""
        owing: dict[ChannelId, int] = {}
        for channels in self._ask_both(lambda store: store.owing_channels()):
            for at, count in channels:
                owing[at] = owing.get(at, 0) + count
        return owing

    def channels(self) -> list[ChannelMemory]:
        return self._ask(lambda store: store.channels())

    def tally(self, at: ChannelId) -> Tally:
        return self._ask(lambda store: store.tally(at))

    def device_offsets(self) -> dict[str, int]:
        return self._ask(lambda store: store.device_offsets())

    def retained(self) -> set[str]:
        return self._ask(lambda store: store.retained())

    def prune(self, before_ms: int, now_ms: int, limit: int = 500) -> int:
        if self._memory is not None:
            return 0
        gone = 0

        def prune(store: Store) -> None:
            nonlocal gone
            gone = store.prune(before_ms, now_ms, limit)

        self._do(prune, now_ms)
        return gone

    def bytes(self) -> int:
        return self._ask(lambda store: store.bytes())

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """While in memory, a disk that is in trouble may not even be readable. That it is damaged is not forgotten."""
        try:
            yield
        except sqlite3.Error as error:
            self._damaged = self._damaged or is_damage(error)
