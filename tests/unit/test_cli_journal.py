"""`mt1bridge journal`: what a real journal holds, shown, exported and verified."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from mt1bridge.cli import main
from mt1bridge.feed.intake import Intake, questions
from mt1bridge.journal.file import FILE
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.query import JournalReader
from mt1bridge.journal.verify import verify
from mt1bridge.model.clock import Now
from mt1bridge.model.errors import JournalError
from mt1bridge.model.known import ChannelMemory
from mt1bridge.model.trigger import Change, ChannelId, Malformed, Reading, Seen, Sighting, TriggerId

START, FINISH = ChannelId("231203016", "C0"), ChannelId("231203037", "C1")
AT_10 = 17710614000000000  # 2026-02-14T09:30:00Z, 10:30 on the wall clocks of the devices
NOW_MS = AT_10 // 10_000
SECOND = 10_000_000
DAY_MS = 86_400_000


def sighting(at: ChannelId, second: float, number: int | None, change: Change = Change.SET, **flags: bool) -> Sighting:
    timestamp = AT_10 + round(second * SECOND)
    valid, blocked = flags.get("valid", True), flags.get("blocked", False)
    reading = Reading(number, "MANUAL", valid, blocked, True, 60)
    return Sighting(TriggerId(at.device, at.channel, timestamp), change, reading)


class Book:
    """A journal that is told sightings, as the daemon tells it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory, "boot", lambda: "k3v9")
        self.journal.open(NOW_MS)
        for at in (START, FINISH):
            self.journal.remember(ChannelMemory(at, 0), NOW_MS)
        self.intake = Intake({"falling"}, lambda at: ("Hut", "Finish line") if at == FINISH else (None, None))

    def learn(self, *seen: Seen) -> None:
        ids, odd = questions(seen)
        known, odd_known = self.journal.known(ids), self.journal.oddities(odd)
        learned, _ = self.intake.pushed(seen, known, odd_known, NOW_MS, lambda _: True)
        self.journal.write(learned, NOW_MS)
        self.journal.commit(NOW_MS)

    def deliver(self, at: ChannelId) -> None:
        for entry in self.journal.owed(at, 0, 1000):
            self.journal.acknowledged(entry, NOW_MS)
        self.journal.commit(NOW_MS)


@pytest.fixture
def book(tmp_path: Path) -> Iterable[Book]:
    """Starts of 12 and 14, of which 12 becomes 10; finish of 12, cleared; one blocked; the finish is still owed."""
    one = Book(tmp_path)
    one.learn(sighting(START, 0, 12), sighting(FINISH, 60.1234567, 12))
    one.learn(sighting(START, 0, 12, Change.CLEAR), sighting(START, 0, 10), sighting(START, 30, 14))
    one.learn(sighting(FINISH, 60.5, 13, blocked=True), sighting(FINISH, 60.1234567, 12, Change.CLEAR))
    one.deliver(START)
    yield one
    one.journal.close()


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["journal", *words]) == 0
    return capsys.readouterr().out


def exported(capsys: pytest.CaptureFixture[str], book: Book, *words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(told(capsys, "export", "--directory", str(book.directory), *words))))


def json_lines(capsys: pytest.CaptureFixture[str], book: Book, *words: str) -> list[dict[str, object]]:
    text = told(capsys, "export", "--format", "jsonl", "--directory", str(book.directory), *words)
    return [json.loads(line) for line in text.splitlines()]


# --- list and export ------------------------------------------------------------------------------


def test_everything_told_is_exported_in_order_with_exact_times_as_text(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = exported(capsys, book)
    assert [(row["event_type"], row["start_number"]) for row in rows] == [
        ("trigger", "12"),
        ("trigger", "12"),
        ("cleared", "12"),
        ("renumbered", "10"),
        ("trigger", "14"),
        ("rejected", "13"),
        ("cleared", "12"),
    ]
    finish = rows[1]
    assert finish["id"] == "231203037-C1-17710614601234567"
    assert (finish["time"], finish["time_of_day"]) == ("2026-02-14T09:31:00.1234567Z", "10:31:00.1234567")
    assert (finish["timestamp"], finish["device_name"]) == ("17710614601234567", "Hut")
    assert (finish["valid"], finish["blocked"], finish["delivered"]) == ("true", "false", "false")
    assert {row["delivered"] for row in rows if row["device"] == START.device} == {"true"}
    assert rows[3]["previous_start_number"] == "12"
    assert rows[5]["reasons"] == "blocked"


def test_json_lines_are_the_messages_as_they_were_published(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    first = json_lines(capsys, book)[0]
    assert (first["timestamp"], first["sequence"], first["journal"]) == (str(AT_10), 1, "k3v9")
    assert first["schema"] == 1
    assert json.loads(told(capsys, "export", "--json", "--directory", str(book.directory)).splitlines()[0]) == first


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--device", FINISH.device), 3),
        (("--channel", "C0"), 4),
        (("--device", FINISH.device, "--channel", "C0"), 0),
        (("--since", "2026-02-14T09:30:30Z"), 4),
        (("--until", "2026-02-14T10:30:30+01:00"), 3),
        (("--since", "2026-02-14T09:31:00.1234567Z", "--until", "2026-02-14T09:31:00.1234568Z"), 2),
        (("--start-number", "10"), 1),
        (("--start-number", "12"), 5),
    ],
)
def test_filters(book: Book, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], count: int) -> None:
    assert len(exported(capsys, book, *words)) == count


def test_the_final_state_is_each_impulse_once_as_it_is_now(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    rows = exported(capsys, book, "--final")
    assert [(row["id"].rpartition("-")[2], row["start_number"], row["revision"]) for row in rows] == [
        (str(AT_10), "10", "3"),
        (str(AT_10 + 30 * SECOND), "14", "1"),
    ]
    assert exported(capsys, book, "--final", "--start-number", "12") == []


def test_a_list_for_people_says_what_the_broker_has_not_got(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    heading, *lines = told(capsys, "list", "--directory", str(book.directory)).splitlines()
    assert heading.startswith("day ")
    assert len(lines) == 7
    assert lines[1].startswith("2026-02-14  10:31:00.1234567 ")
    assert lines[1].endswith("[the broker has not got it yet]")
    assert lines[0].endswith("  trigger")
    assert told(capsys, "list", "--directory", str(book.directory), "-n", "2").splitlines()[1:] == lines[-2:]
    assert len(told(capsys, "list", "--json", "--directory", str(book.directory)).splitlines()) == 7


def test_what_has_no_time_is_shown_too(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    book.learn(Malformed(START, '{"timestamp": 1.5}', "the timestamp is no whole number"))
    last = json_lines(capsys, book)[-1]
    assert (last["timestamp"], last["reasons"], last["raw"]) == (None, ["malformed"], '{"timestamp": 1.5}')
    assert told(capsys, "list", "--directory", str(book.directory)).splitlines()[-1].startswith("-  ")


def test_export_into_a_file(book: Book, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert told(capsys, "export", "--directory", str(book.directory), "-o", str(tmp_path / "race.csv")) == ""
    assert (tmp_path / "race.csv").read_text() == told(capsys, "export", "--directory", str(book.directory))
    assert main(["journal", "export", "--directory", str(book.directory), "-o", "/no/such/place"]) == 1


def test_what_the_daemon_writes_meanwhile_does_not_hold_anybody_up(book: Book) -> None:
    with JournalReader(book.directory) as reader:
        book.learn(sighting(START, 90, 16))
        assert verify(reader, 0).facts == 7
    with JournalReader(book.directory) as reader:
        assert verify(reader, 0).facts == 8


def test_wrong_words_are_wrong_usage(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--directory", str(book.directory)]
    assert main(["journal"]) == 2
    assert main(["journal", "list", *place, "--since", "yesterday"]) == 2
    assert "no time" in capsys.readouterr().err
    assert main(["journal", "list", *place, "--channel", "C9"]) == 2
    assert main(["journal", "list", *place, "--start-number", "-1"]) == 2


@pytest.mark.parametrize("action", ["list", "export", "verify"])
def test_every_action_has_help_with_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"mt1bridge journal {action} " in told(capsys, action, "--help").partition("example:")[2]


# --- the file -------------------------------------------------------------------------------------


def test_without_a_journal_it_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "list", "--directory", str(tmp_path)]) == 1
    assert f"there is no journal at {tmp_path / FILE}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_another_version_is_not_guessed_at(book: Book) -> None:
    book.journal.close()
    with sqlite3.connect(book.directory / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="schema 99"):
        JournalReader(book.directory)


def test_what_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(JournalError, match="cannot be read"):
        JournalReader(tmp_path)


def test_reading_leaves_the_journal_as_it_is(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    book.journal.close()
    before = (book.directory / FILE).read_bytes()
    told(capsys, "verify", "--directory", str(book.directory))
    assert (book.directory / FILE).read_bytes() == before


# --- verify ---------------------------------------------------------------------------------------


def test_a_whole_journal_is_said_to_be_whole_and_what_is_owed(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "verify", "--directory", str(book.directory))
    counted = "7 messages (triggers, corrections, rejected) about 4 impulses (usable or not), 1 journal id(s)."
    assert counted in text
    assert "231203037 C1: 3 not yet acknowledged by the broker, since 2026-02-14T09:30:00.000Z." in text
    assert text.splitlines()[-1] == "The journal is whole."
    book.deliver(FINISH)
    assert told(capsys, "verify", "--directory", str(book.directory)).endswith("and the broker has everything.\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM fact WHERE n = 3", "231203016/C0/correction: sequence 1 of journal k3v9 is missing."),
        ("DELETE FROM fact WHERE n = 1", "231203016/C0/trigger: sequence 1 of journal k3v9 is missing."),
        ("DELETE FROM fact WHERE n = 5", "the last sequence given is 2, that of the last message 1."),
        ("UPDATE fact SET sequence = 1 WHERE n = 5", "sequence 1 of journal k3v9 comes after 1."),
        ("UPDATE fact SET body = '{' WHERE n = 2", "Message 2 of 231203037 C1 cannot be read"),
        ("UPDATE fact SET epoch = 7 WHERE n = 5", "belongs to a journal that is not known."),
        ("UPDATE trigger SET in_effect = 1 WHERE channel = 'C1'", "its state is not what was told last (revision 2)."),
        (
            "UPDATE trigger SET reading = replace(reading, '10', '11') WHERE reading LIKE '[10,%'",
            "its state is not what was told last (revision 3).",
        ),
        ("UPDATE trigger SET revision = 9 WHERE channel = 'C0'", "the state has revision 9, the last message"),
        ("DELETE FROM trigger WHERE channel = 'C0'", "was told, and nothing is known of it."),
        ("UPDATE trigger SET first = 2 WHERE channel = 'C0'", "its first message is another trigger's."),
        ("DELETE FROM fact WHERE n IN (6)", "was told 1 time(s), and no message of it is there."),
        ("UPDATE fact SET body = replace(body, '\"r\":2', '\"r\":4') WHERE n = 3", "revision 4 was told after 1."),
    ],
)
def test_what_is_wrong_is_found(book: Book, damage: str, words: str) -> None:
    change(book.directory, damage)
    with JournalReader(book.directory) as reader:
        faults = verify(reader, 0).faults
    assert [fault for fault in faults if words in fault]


def change(directory: Path, damage: str) -> None:
    with sqlite3.connect(directory / FILE, isolation_level=None) as db:
        assert db.execute(damage).rowcount > 0
    db.close()


def test_a_fault_is_one_of_the_list_as_json(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--directory", str(book.directory), "--json"]
    assert main(["journal", "verify", *place]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    change(book.directory, "UPDATE trigger SET in_effect = 1 WHERE channel = 'C1'")
    assert main(["journal", "verify", *place]) == 1
    body = json.loads(capsys.readouterr().out)
    assert (body["ok"], body["messages"], len(body["faults"])) == (False, 7, 1)
    assert body["owed"] == [
        {"device": FINISH.device, "channel": "C1", "count": 3, "oldest": "2026-02-14T09:30:00.000Z"}
    ]


def test_what_may_have_been_pruned_is_no_fault(book: Book) -> None:
    book.deliver(FINISH)
    book.journal.prune(NOW_MS + 1, NOW_MS)
    book.journal.commit(NOW_MS)
    with JournalReader(book.directory) as reader:
        verdict = verify(reader, NOW_MS + 1)
    assert (verdict.faults, verdict.facts) == ([], 2)
    change(book.directory, "DELETE FROM meta WHERE key = 'pruned_ms'")
    with JournalReader(book.directory) as reader:
        assert verify(reader, NOW_MS - 1).faults != []


@pytest.mark.parametrize("later", [0, 50 * DAY_MS], ids=["keep of 10 days", "raised to 90 days"])
def test_what_was_pruned_under_another_keep_is_no_fault(
    book: Book, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    """The journal says how far back it is whole; what was lost since is a fault."""
    book.deliver(FINISH)
    now_ms = NOW_MS + 11 * DAY_MS
    book.journal.prune(now_ms - 10 * DAY_MS, now_ms)
    book.journal.commit(now_ms)
    book.journal.prune(now_ms + later - 90 * DAY_MS, now_ms + later)
    book.journal.commit(now_ms + later)
    clock = Now(0.0, now_ms + later)
    monkeypatch.setattr("mt1bridge.runtime.clock.SystemClock.now", lambda _: clock)
    assert "2 messages" in told(capsys, "verify", "--directory", str(book.directory))
    # learned after what was pruned
    monkeypatch.setattr("test_cli_journal.NOW_MS", now_ms)
    book.learn(*(sighting(START, second, number) for second, number in ((100, 20), (130, 21), (160, 22))))
    change(book.directory, "DELETE FROM fact WHERE n = (SELECT max(n) - 1 FROM fact)")
    assert main(["journal", "verify", "--directory", str(book.directory)]) == 1
    assert "is missing" in capsys.readouterr().out


def test_many_faults_of_a_kind_are_counted(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.learn(*(sighting(START, second, 1) for second in range(60)))
    change(tmp_path, "UPDATE trigger SET revision = 5")
    with JournalReader(tmp_path) as reader:
        faults = verify(reader, 0).faults
    assert len(faults) == 21
    assert faults[-1] == "40 more like these: states that differ from the last message."
    book.journal.close()


def test_damage_of_the_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Book(tmp_path)
    book.learn(*(sighting(START, second, 1) for second in range(2000)))
    book.journal.close()
    file = tmp_path / FILE
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    assert main(["journal", "verify", "--directory", str(tmp_path)]) == 1
    assert "malformed" in capsys.readouterr().out
