"""Disk, journal and power: nothing that was told is denied, nothing that was owed is forgotten."""

import os
import random
import resource
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from scene import FULL, WINDOW, Scene, size

ROOT = os.geteuid() == 0


@contextmanager
def small_disk(directory: Path, megabytes: int):
    """A file system of its own with so much room; skips where none can be had."""
    directory.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(directory)]
    if not ROOT or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system of our own can be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Take all the room that is left; the file that took it."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
        try:
            while True:
                file.write(b"\0" * 512)
        except OSError:
            pass
    return filler


def several(scene: Scene, count: int = 10) -> list[str]:
    return [scene.impulse(number % 2) for number in range(count)]


def degraded_by_journal(scene: Scene, since: float) -> None:
    status = scene.visible("journal_failed", "degraded", since=since)
    assert "journal" in status["reasons"]
    scene.until(lambda: scene.witness.newest("bridge/alert/journal"), "the alert")


def healed(scene: Scene) -> None:
    scene.logged("journal_restored")
    scene.until(lambda: scene.witness.newest("bridge/alert/journal") is None, "the end of the alert")


@pytest.mark.parametrize("killed", [True, False][: size(1, 2)], ids=["killed inside", "goes on"][: size(1, 2)])
def test_disk_full_and_room_again(tmp_path, killed):
    """Delivery goes on in memory, under a journal of its own; room is found by itself, and all is written down."""
    with (
        small_disk(tmp_path / "disk", size(4, 12)) as disk,
        Scene(tmp_path, {"journal": {"directory": str(disk)}}) as scene,
    ):
        scene.start()
        before = several(scene)
        scene.arrive(before)
        begun = time.time()
        filler = fill(disk)
        load = scene.simulator.load(count=size(200, 2000), per_second=100, corrections=0.1, seed=29)
        scene.simulator.wait_load(load)
        degraded_by_journal(scene, begun)
        scene.until(lambda: scene.witness.told() == len(before) + size(200, 2000), "all of it, from memory")
        assert len(scene.witness.books.journals) == 2
        if killed:
            told = len(scene.bridge.notes("started"))
            scene.bridge.kill()
            scene.bridge.start()
            scene.logged("started", told + 1)
        filler.unlink()
        if not killed:
            healed(scene)
        after = several(scene)
        scene.arrive(after)
        # what memory held alone is told again after the kill, once, under another journal and late
        scene.whole(repeats=WINDOW if killed else 0)
        if size(0, 1):
            scene.restart("live")
            scene.whole(repeats=WINDOW)
        assert scene.bridge.stop() == 0


@pytest.mark.skipif(ROOT and not FULL, reason="a file system of our own tells more")
def test_no_write_goes_beyond_a_limit(tmp_path):
    """As `disk full`, where no file system can be mounted: writes of the journal fail, and later they do not."""
    with Scene(tmp_path, {"log": {"level": "info"}}) as scene:
        scene.start("live")
        begun = time.time()
        largest = max(file.stat().st_size for file in scene.state_directory.iterdir())
        limits = resource.prlimit(scene.bridge.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(scene.bridge.pid, resource.RLIMIT_FSIZE, (largest + 20_000, limits[1]))
        load = scene.simulator.load(count=200, per_second=200, seed=31)
        scene.simulator.wait_load(load)
        resource.prlimit(scene.bridge.pid, resource.RLIMIT_FSIZE, limits)
        degraded_by_journal(scene, begun)
        scene.until(lambda: scene.witness.told() == 200, "all of it, from memory")
        healed(scene)
        scene.whole(repeats=0)
        assert scene.bridge.stop() == 0


@pytest.mark.full
def test_read_only_directory(tmp_path):
    with small_disk(tmp_path / "disk", 4) as disk, Scene(tmp_path, {"journal": {"directory": str(disk)}}) as scene:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        (tmp_path / "run").mkdir()
        scene.bridge.environment["RUNTIME_DIRECTORY"] = str(tmp_path / "run")  # else the login waits for a minute
        scene.start("degraded")
        assert "journal" in scene.witness.newest("bridge/upstream")["reasons"]
        scene.arrive(several(scene))
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        healed(scene)
        scene.arrive(several(scene))
        scene.whole(repeats=0)
        assert scene.bridge.stop() == 0


def test_no_descriptor_left(tmp_path):
    """Nothing can be opened any more, and both connections end: it waits, and goes on when it can."""
    with Scene(tmp_path, {"log": {"level": "debug"}}) as scene:
        scene.start("live")
        limits = resource.prlimit(scene.bridge.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(scene.bridge.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        scene.cloud.reset()
        scene.mqtt.reset()
        missed = several(scene)
        scene.logged("link_lost", size(3, 6))
        scene.logged("broker_lost", size(3, 6))
        assert any("open files" in note["text"] for note in scene.bridge.notes("broker_lost"))
        resource.prlimit(scene.bridge.pid, resource.RLIMIT_NOFILE, limits)
        scene.arrive(missed)
        scene.whole(repeats=0)
        assert scene.bridge.stop() == 0


# --- journals that cannot be used -------------------------------------------------------------------


def random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def holes(path: Path) -> None:
    """Pages in the middle that are no pages any more."""
    size_now = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(4096, size_now, 8192):
            file.seek(place)
            file.write(random.Random(place).randbytes(2048))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def not_ours(path: Path) -> None:
    """A database of something else, under our name; one of its tables is called as one of ours."""
    path.unlink()
    subprocess.run(
        [
            "python3",
            "-c",
            "import sqlite3,sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE fact(a)')",
            str(path),
        ],
        check=True,
    )


DAMAGES = [random_bytes, not_ours, holes, cut_off]


@pytest.mark.parametrize("damage", DAMAGES[: size(1, 4)], ids=lambda one: one.__name__)
def test_unusable_journal_is_set_aside_and_read_back(tmp_path, damage):
    """What it held comes back from the server's history: late, under another journal, none left out."""
    with Scene(tmp_path) as scene:
        scene.start()
        told = several(scene, 30)
        scene.arrive(told)
        scene.bridge.kill()
        missed = several(scene)
        for name in ("journal.db-wal", "journal.db-shm"):
            if damage in (holes, cut_off):  # as after a clean end: all of it is in the file
                break
            (scene.state_directory / name).unlink(missing_ok=True)
        else:
            damage(scene.state_directory / "journal.db")
        if damage in (holes, cut_off):
            scene.rewrite_journal("PRAGMA user_version")  # opening and closing it empties the write-ahead log
            damage(scene.state_directory / "journal.db")
        scene.start()
        scene.arrive(missed)
        scene.until(lambda: scene.witness.newest("bridge/alert/journal"), "the alert")
        assert list(scene.state_directory.glob("journal.db.corrupt-*"))
        assert scene.logged("journal_set_aside")
        retold = [name for name in told if scene.witness.books.newest[name]["event_type"] == "late"]
        scene.whole(repeats=0)
        scene.until(lambda: len(scene.witness.books.journals) == 2, "another journal")
        assert len(retold) <= len(told)


def test_damaged_rows_under_way(tmp_path):
    """The file is whole for SQLite: what is read of it shows the damage, and nothing stops."""
    with Scene(tmp_path) as scene:
        scene.start("live")
        told = several(scene)
        scene.arrive(told)
        for table, column in (("fact", "body"), ("trigger", "reading")):
            scene.rewrite_journal(f"UPDATE {table} SET {column} = '?' || substr({column}, 2)")
        scene.mqtt.reset()
        scene.arrive(several(scene))
        scene.logged("journal_set_aside")
        scene.logged("journal_restored")
        newest = scene.witness.books.newest
        scene.until(lambda: all(newest[name]["event_type"] == "late" for name in told), "all of it read back")
        assert "set aside" in scene.witness.newest("bridge/alert/journal")["text"]
        assert len(list(scene.state_directory.glob("journal.db.corrupt-*[0-9]"))) == 1
        assert not scene.bridge.notes("internal_error")
        scene.whole(repeats=0)


@pytest.mark.full
def test_journal_of_a_newer_version(tmp_path):
    """It is not written to, and it is not lost: aside, under its own name."""
    with Scene(tmp_path) as scene:
        scene.start("live")
        scene.arrive(several(scene))
        assert scene.bridge.stop() == 0
        scene.rewrite_journal("PRAGMA user_version = 99")
        missed = several(scene)
        scene.start()
        scene.arrive(missed)
        assert list(scene.state_directory.glob("journal.db.*"))
        scene.whole(repeats=0)


@pytest.mark.full
def test_journal_deleted_while_away(tmp_path):
    """No first start: it is read back over `journal.keep`, as late."""
    with Scene(tmp_path) as scene:
        scene.start("live")
        told = several(scene)
        scene.arrive(told)
        assert scene.bridge.stop() == 0
        for file in scene.state_directory.glob("journal.db*"):
            file.unlink()
        missed = several(scene)
        scene.start()
        scene.arrive(missed)
        scene.until(lambda: all_late_again(scene, told), "what it held, told again as late")
        scene.whole(repeats=0)


@pytest.mark.parametrize("files", ["journal.db", "*"], ids=["the journal", "all files"])
def test_state_restored_from_a_backup(tmp_path, files):
    """In place, so that nothing shows it but what is in the files: no number may be given a second meaning."""
    with Scene(tmp_path) as scene:
        scene.start("live")
        before = several(scene)
        scene.arrive(before)
        assert scene.bridge.stop() == 0
        backup = {file: file.read_bytes() for file in scene.state_directory.glob(files)}
        scene.start("live")
        lost = several(scene, 20)
        scene.arrive(lost)
        assert scene.bridge.stop() == 0
        for file, content in backup.items():
            file.write_bytes(content)
        missed = several(scene)
        scene.start()
        scene.arrive(missed)
        scene.until(lambda: all_late_again(scene, lost), "what the backup lacks, told again as late")
        scene.whole(repeats=0)
        assert len(scene.witness.books.journals) == 2
        assert not any(scene.witness.books.newest[name]["event_type"] == "late" for name in before)


def all_late_again(scene: Scene, names: list[str]) -> bool:
    newest = scene.witness.books.newest
    return all(newest[name]["event_type"] == "late" for name in names)


class PowerCut:
    """The journal as the last fsync left it, at most a little newer: taken once the bridge is live."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._synced = {file.name: file.read_bytes() for file in scene.state_directory.glob("journal.db*")}

    def strike(self, kept: str = "what was synced") -> None:
        """While it does not run: what came later is gone, and the machine is started anew."""
        file = self._scene.state_directory / "journal.db"
        if kept != "everything":
            for other in ("journal.db-wal", "journal.db-shm"):
                file.with_name(other).unlink(missing_ok=True)
            with file.open("r+b") as target:  # the same file, as the file system's repair leaves it
                target.truncate()
                if kept == "what was synced":
                    target.write(self._synced["journal.db"])
                    file.with_name("journal.db-wal").write_bytes(self._synced["journal.db-wal"])
        if kept != "an empty file":
            self._scene.rewrite_journal("UPDATE meta SET value = 'another run of the machine' WHERE key = 'boot'")


@pytest.mark.parametrize("kept", ["what was synced", "an empty file", "everything"][: size(1, 3)])
def test_power_cut(tmp_path, kept):
    """What was not synced is gone: a new journal id begins, and what is told again is late."""
    with Scene(tmp_path) as scene:
        scene.start()
        power = PowerCut(scene)
        told = several(scene, 30)
        scene.arrive(told)
        scene.drained()  # what is not acknowledged would be told again, and rightly
        scene.bridge.kill()
        missed = several(scene)
        power.strike(kept)
        scene.start()
        scene.arrive(missed)
        if kept != "everything":
            scene.until(lambda: all_late_again(scene, told), "what was lost, told again as late")
        scene.whole(repeats=0)
        journals = list(scene.witness.books.journals)
        assert len(journals) == 2
        assert scene.witness.newest("bridge/info")["journal"] == journals[1]


@pytest.mark.full
def test_power_cut_in_a_later_run(tmp_path):
    """What an earlier run wrote is safe; what the last one did not sync is told again, and nothing else is."""
    with Scene(tmp_path) as scene:
        scene.start("live")
        safe = several(scene, 20)
        scene.arrive(safe)
        assert scene.bridge.stop() == 0
        scene.start()
        power = PowerCut(scene)
        lost = several(scene, 20)
        scene.arrive(lost)
        scene.bridge.kill()
        missed = several(scene)
        power.strike()
        scene.start()
        scene.arrive(missed)
        scene.until(lambda: all_late_again(scene, lost), "what was lost, told again as late")
        scene.whole(repeats=0)
        assert len(scene.witness.books.journals) == 2
        assert not any(scene.witness.books.newest[name]["event_type"] == "late" for name in safe)
