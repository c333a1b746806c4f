"""Whatever happens to the file: within one journal no number means two things, and nothing acknowledged is owed again.

The fates are those of a machine: killed, stopped, power cut (the file as it was some time ago, the mark as it is or
was), a disk that takes nothing for a while or cannot even be read, a backup copied over the file in place, pruning.
"""

import shutil
from itertools import count
from random import Random

import pytest
from test_journal import C0, C1, DAY, NOW, Machine, correction, rejected, retold, trigger

from mt1bridge.journal.file import FILE, MARK
from mt1bridge.journal.query import JournalReader
from mt1bridge.journal.verify import verify
from mt1bridge.model.known import ChannelMemory

FILES = (FILE, f"{FILE}-wal", MARK)


class Fate:
    def __init__(self, directory, seed):
        self.random = Random(seed)
        self.machine = Machine(directory)
        self.backup = directory / "backup"
        self.meaning = {}  # what a number of one journal means
        self.acknowledged = set()  # what the broker has, by its number
        self.stamps = count(1)
        self.known = {}
        self.now_ms = NOW
        self.journal = self.machine.start(self.now_ms)

    def run(self, steps):
        for _ in range(steps):
            self.now_ms += self.random.randrange(1, 20_000)
            fates = {
                self.learns: 12,
                self.acknowledges: 8,
                self.prunes: 1,
                self.disk: 4,
                self.stops: 2,
                self.kills: 2,
                self.cuts: 1,
                self.backs_up: 1,
                self.puts_back: 1,
            }
            fate = self.random.choices(list(fates), list(fates.values()))[0]
            fate()
            self.looks()

    # --- fates ----------------------------------------------------------------------------------------

    def learns(self):
        learned = []
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.choice([C0, C1])
            here = [one for one in self.journal.known(list(self.known)).values() if one.id.at == at and one.usable]
            what = self.random.random()
            stamp = next(self.stamps) * 10
            if here and what < 0.4:
                one = self.random.choice(sorted(here, key=lambda known: known.id.timestamp))
                if one.id not in {other.known.id for other in learned}:
                    before = trigger(one.id.timestamp, at, received_ms=self.now_ms)
                    before = type(before)(at, one, before.fact)
                    learned.append(correction(before, "changed", in_effect=not one.in_effect))
            elif what < 0.6:
                learned.append(rejected(stamp, at, received_ms=self.now_ms))
            else:
                learned.append(trigger(stamp, at, received_ms=self.now_ms))
                self.known[learned[-1].known.id] = True
        for at in {one.at for one in learned}:
            self.journal.remember(ChannelMemory(at, 0, seen=True), self.now_ms)
        self.journal.write(learned, self.now_ms)
        self.journal.commit(self.now_ms)

    def acknowledges(self):
        for at in (C0, C1):
            for entry in self.journal.owed(at, 0, self.random.randrange(0, 6)):
                self.journal.acknowledged(entry, self.now_ms)
                self.acknowledged.add(key(entry))
        self.journal.commit(self.now_ms)

    def prunes(self):
        self.journal.prune(self.now_ms - self.random.randrange(0, 2 * DAY), self.now_ms, 5)
        self.journal.commit(self.now_ms)

    def disk(self):
        """Fails, at once or at the commit, or works again."""
        disk = self.machine.disk
        disk.fails = None if disk.fails else "disk I/O error"
        disk.fails_at_commit_alone = self.random.random() < 0.5
        disk.readable = self.random.random() < 0.5
        if disk.fails is None:
            self.journal.try_disk(self.now_ms, retold)

    def stops(self):
        self.journal.close()
        self.starts()

    def kills(self):
        self.machine.kill(self.journal)
        self.starts()

    def cuts(self):
        """The power: the file may be any earlier one, and the mark with it or not."""
        self.machine.kill(self.journal)
        self.machine.reboot()
        if self.backup.exists() and self.random.random() < 0.5:
            self.copies_back(FILES if self.random.random() < 0.5 else FILES[:2])
        self.starts()

    def backs_up(self):
        if self.machine.disk.fails:
            return
        shutil.rmtree(self.backup, ignore_errors=True)
        self.backup.mkdir()
        for name in FILES:
            if (self.machine.directory / name).exists():
                shutil.copy2(self.machine.directory / name, self.backup)

    def puts_back(self):
        if not self.backup.exists():
            return
        self.journal.close() if self.random.random() < 0.5 else self.machine.kill(self.journal)
        self.copies_back(FILES[:2])
        self.starts()

    def copies_back(self, names):
        for name in names:
            place, saved = self.machine.directory / name, self.backup / name
            if not saved.exists():
                place.unlink(missing_ok=True)
                continue
            with place.open("r+b" if place.exists() else "wb") as file:
                file.truncate()
                file.write(saved.read_bytes())
        (self.machine.directory / f"{FILE}-shm").unlink(missing_ok=True)

    def starts(self):
        if self.machine.disk.fails and self.machine.disk.readable:
            self.acknowledged.clear()  # what is in doubt is told as it stands there, since nothing else can be written
        self.journal = self.machine.start(self.now_ms)

    # --- what must hold -------------------------------------------------------------------------------

    def looks(self):
        for at in (C0, C1):
            entries = self.journal.owed(at, 0, 10_000)
            assert [entry.n for entry in entries] == sorted({entry.n for entry in entries})
            last = {}
            for entry in entries:
                assert key(entry) not in self.acknowledged
                topic = (entry.journal, entry.fact.kind)
                assert entry.sequence > last.get(topic, 0)
                last[topic] = entry.sequence
                for number in (key(entry), (entry.journal, entry.fact.id, entry.fact.revision)):
                    fact = (entry.fact, entry.sequence)
                    assert self.meaning.setdefault(number, fact) == fact

    def ends(self):
        self.machine.disk.fails = None
        self.journal.try_disk(self.now_ms, retold)
        self.looks()
        self.journal.close()
        with JournalReader(self.machine.directory) as reader:
            assert verify(reader, self.now_ms + 1).faults == []


def key(entry):
    return (entry.journal, entry.fact.at, entry.fact.kind, entry.sequence)


@pytest.mark.parametrize("seed", range(40))
def test_no_number_of_a_journal_ever_means_two_things(tmp_path, seed):
    fate = Fate(tmp_path, seed)
    try:
        fate.run(80)
        fate.ends()
    finally:
        fate.machine.kill(fate.journal)
