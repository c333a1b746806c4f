"""The log: formats, hidden secrets, harmless text, libraries, and that it never waits."""

import io
import json
import logging
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.clock import Now
from mt1bridge.model.secret import Secret
from mt1bridge.runtime import log_lines
from mt1bridge.runtime.log_targets import CHUNK, StreamTarget
from mt1bridge.runtime.logs import Log, choose_format, configure

MOMENT = 1_771_061_415_418  # 2026-02-14T09:30:15.418Z


class SetClock:
    def __init__(self) -> None:
        self.monotonic = 100.0

    def now(self) -> Now:
        return Now(monotonic=self.monotonic, utc_ms=MOMENT)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(autouse=True)
def leave_no_trace() -> Iterator[None]:
    """`configure` sets what belongs to the process: the root logger and threading.excepthook."""
    root, stomp = logging.getLogger(), logging.getLogger("stomp.py")
    before = (root.level, list(root.handlers), stomp.level, threading.excepthook)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    stomp.setLevel(before[2])
    threading.excepthook = before[3]


def json_log(clock: SetClock, level: str = "info") -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return configure(level, "json", stream, clock, environ={}), stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# --- what a line says -----------------------------------------------------------------------------


def test_json_line_bears_time_level_event_and_facts(clock: SetClock) -> None:
    log, stream = json_log(clock)
    log.note("warning", "subscription_lost", device="231203016", live_s=12.1, devices=("1", "2"), cause=None)
    assert lines(stream) == [
        {
            "time": "2026-02-14T09:30:15.418Z",
            "level": "warning",
            "event": "subscription_lost",
            "device": "231203016",
            "live_s": 12.1,
            "devices": ["1", "2"],
            "cause": None,
        }
    ]


def test_a_fact_cannot_pose_as_time_level_or_event(clock: SetClock) -> None:
    log, stream = json_log(clock)
    log.note("info", "link_opened", time="1", level="2", event="3", self="4", method_name="5")
    (line,) = lines(stream)
    assert (line["time"], line["level"], line["event"]) == ("2026-02-14T09:30:15.418Z", "info", "link_opened")
    assert {line[key] for key in ("time_", "level_", "event_", "self_", "method_name_")} == set("12345")


def test_numbers_json_cannot_hold_are_text(clock: SetClock) -> None:
    log, stream = json_log(clock)
    log.note("info", "delay_measured", low=float("-inf"), mean=float("nan"))
    assert (lines(stream)[0]["low"], lines(stream)[0]["mean"]) == ("-inf", "nan")


def test_console_line_is_plain_where_colour_is_not_wanted() -> None:
    line = log_lines.console(colour=False, zone=UTC)("warning", "link_lost", {"text": 'a "b"', "gone": None}, MOMENT)
    assert line == b'09:30:15.418 warning  link_lost text="a \\"b\\""\n'


def test_console_line_is_coloured_by_level() -> None:
    line = log_lines.console(colour=True, zone=UTC)("error", "link_lost", {}, MOMENT)
    assert line == b"09:30:15.418 \x1b[31merror   \x1b[0m link_lost\n"


def test_an_exception_is_told_with_its_traceback_and_without_its_secrets(clock: SetClock) -> None:
    log, stream = json_log(clock)
    try:
        raise ValueError("refused, authorization: Bearer abc.def")
    except ValueError as error:
        log.note("error", "call_failed", exc_info=error)
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert "test_logs.py" in str(line["traceback"])
    assert "abc.def" not in stream.getvalue()


def test_what_cannot_be_printed_is_named_instead_of_raised(clock: SetClock) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log, stream = json_log(clock)
    log.note("info", "oddity_met", value=Odd())
    assert lines(stream)[0]["value"] == "<Odd: RuntimeError in str()>"


# --- levels ---------------------------------------------------------------------------------------


def test_what_is_below_the_level_is_not_said_until_the_level_changes(clock: SetClock) -> None:
    log, stream = json_log(clock, "warning")
    log.note("info", "first_happened")
    log.set_level("debug")
    log.note("debug", "second_happened")
    log.set_level("error")
    log.note("warning", "third_happened")
    assert [line["event"] for line in lines(stream)] == ["second_happened"]


def test_an_unknown_level_is_refused_and_changes_nothing(clock: SetClock) -> None:
    log, stream = json_log(clock)
    with pytest.raises(ValueError, match="expected one of debug, info"):
        log.set_level("loud")
    log.note("info", "it_went_on")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize(("level", "format"), [("loud", "json"), ("info", "xml")])
def test_unknown_settings_are_refused(clock: SetClock, level: str, format: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        configure(level, format, io.StringIO(), clock, environ={})


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["password", "mqtt_password", "token", "Authorization", "passcode", "access-token"])
@pytest.mark.parametrize("format", ["json", "console", "journal"])
def test_values_of_secret_keys_are_hidden_in_every_format(clock: SetClock, key: str, format: str) -> None:
    stream = io.StringIO()
    log = configure("debug", format, stream, clock, environ={}, journal_socket="/nonexistent")
    log.note("debug", "call_made", **{key: "s3cr3t"}, headers={key: "s3cr3t", "deeper": [{key: "s3cr3t"}]})
    assert "hidden" in stream.getvalue()
    assert "s3cr3t" not in stream.getvalue()


def test_facts_about_a_token_are_not_hidden(clock: SetClock) -> None:
    log, stream = json_log(clock)
    log.note("info", "token_renewed", token_age_s=30, text="the token: it came")
    assert (lines(stream)[0]["token_age_s"], lines(stream)[0]["text"]) == (30, "the token: it came")


def test_a_secret_value_is_hidden_under_any_key(clock: SetClock) -> None:
    log, stream = json_log(clock)
    log.note("info", "login_tried", what=Secret("s3cr3t"), many=(Secret("s3cr3t"),))
    assert "s3cr3t" not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "sending frame: [b'CONNECT', b'passcode:s3cr3t\\n', b'x:1']",
        "{'authorization': 's3cr3t', 'host': 'x'}",
        '{"password": "s3cr3t"}',
        "Authorization: Bearer s3cr3t",
        "token=s3cr3t",
    ],
)
def test_secrets_in_what_a_library_says_are_hidden(clock: SetClock, text: str) -> None:
    log, stream = json_log(clock)
    logging.getLogger("somelib").warning("%s", text)
    log.close()
    assert "hidden" in stream.getvalue()
    assert "s3cr3t" not in stream.getvalue()


# --- harmless text --------------------------------------------------------------------------------


@given(st.text(st.characters()), st.sampled_from(["console", "priority", "journal"]))
def test_no_text_can_break_out_of_its_line(text: str, format: str) -> None:
    renderers = {
        "console": log_lines.console(colour=False, zone=UTC),
        "priority": log_lines.priority_line,
        "journal": log_lines.journal_entry("mt1bridge"),
    }
    values = log_lines.hide_secrets({"name": text, "names": [text], "more": {text: text}})
    rendered = renderers[format]("info", "device_named", values, MOMENT).decode()
    ends = 1 if format != "journal" else 3 + 1 + 3
    assert rendered.count("\n") == ends
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", rendered)


@given(st.text(st.characters()))
def test_json_lines_give_back_any_text_exactly(text: str) -> None:
    line = log_lines.json_line("info", "device_named", {"name": text}, MOMENT)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line)["name"] == text


def test_long_text_is_cut_and_says_by_how_much() -> None:
    assert log_lines.escape("x" * 5000).endswith("x…(+904)")


# --- choice of format -----------------------------------------------------------------------------


def test_auto_is_journal_where_systemd_reads_the_stream(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert choose_format("auto", stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}) == "journal"
        assert choose_format("auto", stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"}) == "json"
        assert choose_format("auto", stream, {}) == "json"
        assert choose_format("console", stream, {}) == "console"


def test_auto_is_console_at_a_terminal() -> None:
    master, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        assert choose_format("auto", stream, {}) == "console"
    os.close(master)


def test_auto_is_json_for_a_stream_without_descriptor() -> None:
    assert choose_format("auto", io.StringIO(), {"JOURNAL_STREAM": "1:2"}) == "json"


# --- the journal ----------------------------------------------------------------------------------


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.setblocking(False)
        yield receiver


def journal_fields(datagram: bytes) -> dict[str, str]:
    """The native protocol, read as systemd.io/JOURNAL_NATIVE_PROTOCOL tells it."""
    fields = {}
    while datagram:
        name, separator, rest = datagram.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
        else:
            assert separator
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


def journal_log(clock: SetClock, journald: socket.socket) -> Log:
    return configure("info", "journal", io.StringIO(), clock, environ={}, journal_socket=journald.getsockname())


def test_journal_entry_has_a_field_for_every_fact(clock: SetClock, journald: socket.socket) -> None:
    log = journal_log(clock, journald)
    log.note("warning", "trigger_late", device="231203016", channel="C1", delay_ms=12000, gone=None)
    log.close()
    assert journal_fields(journald.recv(65536)) == {
        "MESSAGE": "trigger_late device=231203016 channel=C1 delay_ms=12000",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mt1bridge",
        "EVENT": "trigger_late",
        "DEVICE": "231203016",
        "CHANNEL": "C1",
        "DELAY_MS": "12000",
    }


def test_fields_that_mean_something_to_journald_are_renamed(clock: SetClock, journald: socket.socket) -> None:
    log = journal_log(clock, journald)
    log.note("info", "oddity_met", message="m", priority=9, unit="u", _pid=1, event="e")
    log.close()
    fields = journal_fields(journald.recv(65536))
    assert (fields["PRIORITY"], fields["EVENT"]) == ("6", "oddity_met")
    names = {"MT1_MESSAGE": "m", "MT1_PRIORITY": "9", "MT1_UNIT": "u", "MT1__PID": "1", "EVENT_": "e"}
    assert {name: fields[name] for name in names} == names


def test_a_traceback_is_one_entry_of_several_lines(clock: SetClock, journald: socket.socket) -> None:
    log = journal_log(clock, journald)
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        log.note("error", "step_failed", exc_info=error)
    log.close()
    text = journal_fields(journald.recv(65536))["MESSAGE"]
    assert text.startswith("step_failed error=ValueError\n    Traceback")
    assert text.endswith("    second")


def test_without_journald_lines_bear_their_priority(clock: SetClock, tmp_path: Path) -> None:
    stream = io.StringIO()
    log = configure("info", "journal", stream, clock, environ={}, journal_socket=str(tmp_path / "none"))
    log.note("warning", "link_lost", device="1")
    assert stream.getvalue() == "<4>link_lost device=1\n"


def test_stopped_journald_holds_nobody_and_lost_lines_are_counted(clock: SetClock, journald: socket.socket) -> None:
    log = journal_log(clock, journald)
    written = 5000
    for number in range(written):
        log.note("info", "number_told", number=number)
    kept = drain(journald)
    assert 0 < len(kept) < written
    assert [journal_fields(entry)["NUMBER"] for entry in kept] == [str(number) for number in range(len(kept))]
    log.note("info", "journald_returned")
    lost, back = (journal_fields(entry) for entry in drain(journald))
    assert (lost["EVENT"], lost["PRIORITY"], lost["COUNT"]) == ("log_lines_lost", "4", str(written - len(kept)))
    assert back["EVENT"] == "journald_returned"
    log.close()


def drain(receiver: socket.socket) -> list[bytes]:
    entries = []
    while True:
        try:
            entries.append(receiver.recv(65536))
        except BlockingIOError:
            return entries


def test_a_journald_started_anew_is_found_again(clock: SetClock, tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(address)
        log = configure("info", "journal", io.StringIO(), clock, environ={}, journal_socket=address)
    log.note("info", "nobody_listened")
    os.unlink(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(address)
        log.note("info", "somebody_listened")
        assert journal_fields(second.recv(65536))["EVENT"] == "log_lines_lost"
        assert journal_fields(second.recv(65536))["EVENT"] == "somebody_listened"
    log.close()


# --- streams that stall ---------------------------------------------------------------------------


def test_a_full_pipe_holds_nobody_and_lost_lines_are_counted(clock: SetClock) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = configure("info", "json", stream, clock, environ={})
        written = 5000
        for number in range(written):
            log.note("info", "number_told", number=number)
        assert os.get_blocking(writer), "the flag is shared with whoever else has this pipe"
        os.set_blocking(reader, False)
        first = os.read(reader, 1 << 20)
        log.note("info", "reader_returned")
        log.close()
    told = [json.loads(line) for line in (first + os.read(reader, 1 << 20)).splitlines()]
    os.close(reader)
    numbers = [line["number"] for line in told if line["event"] == "number_told"]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < written
    assert [(line["event"], line.get("count")) for line in told[-2:]] == [
        ("log_lines_lost", written - len(numbers)),
        ("reader_returned", None),
    ]


def test_lines_longer_than_a_pipe_takes_at_once_stay_whole() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    target = StreamTarget(writer)
    line = b"x" * (3 * CHUNK) + b"\n"
    taken, received = 0, b""
    for _ in range(200):
        taken += target.offer(line)
        if taken % 7 == 6:
            received += os.read(reader, 5000)
    for _ in range(100):
        try:
            received += os.read(reader, 1 << 20)
        except BlockingIOError:
            break
        target.offer(b"end\n")
    target.close()
    os.close(writer)
    os.close(reader)
    whole = [part for part in received.splitlines(keepends=True) if part != b"end\n"]
    assert whole == [line] * taken


def test_a_closed_pipe_is_no_reason_to_fail(clock: SetClock) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = configure("info", "json", stream, clock, environ={})
        os.close(reader)
        log.note("info", "nobody_listened")
        log.close()


def test_a_file_is_appended_to(clock: SetClock, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as stream:
        log = configure("info", "json", stream, clock, environ={})
        log.note("info", "line_written")
        log.close()
    assert [line[:6] for line in path.read_text().splitlines()] == ["before", '{"time']


# --- libraries ------------------------------------------------------------------------------------


def test_libraries_are_heard_from_warning_up(clock: SetClock) -> None:
    log, stream = json_log(clock, "debug")
    for name in ("stomp.py", "paho.mqtt.client", "urllib3", "websocket"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble %d", 7)
    log.close()
    heard = [(line["level"], line["event"], line["logger"], line["text"]) for line in lines(stream)]
    assert heard[0] == ("warning", "library_logged", "stomp.py", "trouble 7")
    assert len([line for line in heard if line[0] == "warning"]) == 1, "one place in the code speaks up once"
    assert {line[2] for line in heard} == {"stomp.py", "paho.mqtt.client", "urllib3", "websocket"}


def test_a_library_repeating_itself_is_heard_again_after_a_while(clock: SetClock) -> None:
    log, stream = json_log(clock)
    for _ in range(100):
        logging.getLogger("stomp.py").warning("lost connection")
        clock.monotonic += 10
    log.close()
    assert len(lines(stream)) == 2


def test_stomp_py_never_speaks_at_debug(clock: SetClock) -> None:
    for level in ("debug", "info", "error"):
        log, stream = json_log(clock, level)
        assert not logging.getLogger("stomp.py").isEnabledFor(logging.DEBUG)
        logging.getLogger("stomp.py").debug("passcode:x")
        log.close()
        assert stream.getvalue() == ""


def test_a_broken_record_of_a_library_is_told_as_it_is(clock: SetClock) -> None:
    log, stream = json_log(clock)
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # ours alone: pytest's raise at such a record
    logging.getLogger("somelib").warning("%d pieces", "many")
    log.close()
    assert lines(stream)[0]["text"] == "%d pieces"


def test_a_thread_that_dies_is_told(clock: SetClock) -> None:
    def die() -> None:
        raise RuntimeError("boom")

    log, stream = json_log(clock)
    thread = threading.Thread(target=die, name="stomp-io")
    thread.start()
    thread.join(10)
    log.close()
    (line,) = lines(stream)
    assert (line["event"], line["thread"], line["error"]) == ("thread_failed", "stomp-io", "RuntimeError")


def test_a_second_set_up_replaces_the_first(clock: SetClock) -> None:
    _first, old = json_log(clock)
    second, new = json_log(clock)
    logging.getLogger("somelib").warning("x")
    second.close()
    assert (old.getvalue(), len(lines(new))) == ("", 1)


def test_lines_of_several_threads_stay_whole(clock: SetClock, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        log = configure("info", "json", stream, clock, environ={})

        def tell(name: str) -> None:
            for number in range(200):
                log.note("info", "number_told", thread=name, number=number)

        threads = [threading.Thread(target=tell, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        log.close()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert {name: [line["number"] for line in told if line["thread"] == name] for name in "abc"} == {
        name: list(range(200)) for name in "abc"
    }


LEAN = """
import json, logging, sys
import mt1bridge.runtime.logs, io
from mt1bridge.runtime.clock import SystemClock
log = mt1bridge.runtime.logs.configure("info", "json", io.StringIO(), SystemClock())
logging.getLogger("somelib").warning("x")
log.note("info", "it_went_on")
executed = [name for name in ("asyncio", "rich", "structlog") if name in sys.modules]
import structlog
async def said():
    wrapper = structlog.make_filtering_bound_logger(0)
    await structlog.wrap_logger(structlog.PrintLogger(io.StringIO()), wrapper_class=wrapper).ainfo("x")
    return True
import asyncio
executed += [asyncio.run(said()), "asyncio.events" in sys.modules]
print(json.dumps(executed))
"""


def test_logging_does_not_cost_what_structlog_imports_and_nobody_uses() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[true, true]\n"
