"""The log: events with facts, to the journal, a terminal, or as JSON lines.

    log = configure("info", "auto", sys.stderr, SystemClock())
    log.note("warning", "subscription_lost", device="231203016", live_s=12.1)

An event is a fixed snake_case name in the past tense; all that varies is a key, units in the key's name. Only the
loop and the shells log; the cores never do. Logging never waits (log_targets.py) and never raises.

The libraries' own loggers end up here as `library_logged`, from WARNING up: each place in their code once, its
repeats within ten minutes as DEBUG. stomp.py prints token and passcode at DEBUG (FEASIBILITY 1.3): its logger is
never below INFO.
"""

import logging
import os
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

from mt1bridge.runtime import log_lines
from mt1bridge.runtime.clock import Clock
from mt1bridge.runtime.lean import BoundLoggerBase
from mt1bridge.runtime.log_targets import JOURNAL_SOCKET, JournalTarget, Outlet, Target, stream_target

Format = Literal["console", "json", "journal"]
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
FORMATS: Mapping[str, Format | None] = {"auto": None, "console": "console", "json": "json", "journal": "journal"}
REPEAT_AFTER_S = 600.0
PLACES_KEPT = 64


class Log:
    """Takes what happened. Safe to call from any thread; returns at once; raises nothing but for an unknown level."""

    def __init__(self, outlet: Outlet, render: log_lines.Renderer, clock: Clock, level: str) -> None:
        self._outlet = outlet
        self._threshold = LEVELS[level]
        self._sink = _Sink(outlet, [_open_error, _hide, _Render(render, clock)], {})

    def note(self, level: str, event: str, /, **fields: object) -> None:
        """Log one event.

        level: debug, info, warning, error, critical. fields: numbers, texts, lists; an exception under `exc_info`
        is told with its traceback, under any other name by its text. None means: there is none.
        """
        if LEVELS[level] >= self._threshold:
            self._sink.note(level, event, fields)

    def set_level(self, level: str) -> None:
        """Say from now on what is `level` and worse. ValueError: no such level."""
        if level not in LEVELS:
            raise ValueError(f"expected one of {', '.join(LEVELS)}, got {level!r}")
        self._threshold = LEVELS[level]
        _tame_libraries(self._threshold)

    def close(self) -> None:
        """Say how many lines are missing, if any, and let go of the target and of the libraries' loggers."""
        root = logging.getLogger()
        for handler in [one for one in root.handlers if isinstance(one, _LibraryHandler) and one.log is self]:
            root.removeHandler(handler)
        self._outlet.close()


def configure(
    level: str,
    format: str,
    stream: TextIO,
    clock: Clock,
    *,
    environ: Mapping[str, str] = os.environ,
    journal_socket: str = JOURNAL_SOCKET,
    identifier: str = "mt1bridge",
) -> Log:
    """Set up the one log of the process and lead the libraries' loggers into it.

    format: auto, console, json or journal. `journal` falls back to lines with a `<N>` priority on the stream where
    journald's socket cannot be reached. ValueError: unknown level or format.
    """
    if level not in LEVELS or format not in FORMATS:
        raise ValueError(f"log level {level!r} or format {format!r} is unknown")
    target, render = _open(choose_format(format, stream, environ), stream, environ, journal_socket, identifier)

    def tell_lost(count: int) -> bytes:
        return render("warning", "log_lines_lost", {"count": count}, clock.now().utc_ms)

    log = Log(Outlet(target, tell_lost), render, clock, level)
    _lead_in_libraries(log, clock)
    log.set_level(level)
    return log


def choose_format(format: str, stream: TextIO, environ: Mapping[str, str]) -> Format:
    """What `auto` means here: journal where systemd reads the stream, console at a terminal, else json."""
    if (named := FORMATS[format]) is not None:
        return named
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "json"
    if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journal"
    return "console" if stream.isatty() else "json"


def _open(
    format: Format, stream: TextIO, environ: Mapping[str, str], journal_socket: str, identifier: str
) -> tuple[Target, log_lines.Renderer]:
    if format == "console":
        return stream_target(stream), log_lines.console(colour=stream.isatty() and not environ.get("NO_COLOR"))
    if format == "json":
        return stream_target(stream), log_lines.json_line
    journal = JournalTarget(journal_socket)
    if journal.reachable():
        return journal, log_lines.journal_entry(identifier)
    journal.close()
    return stream_target(stream), log_lines.priority_line


# --- structlog ------------------------------------------------------------------------------------

Facts = MutableMapping[str, Any]


class _Sink(BoundLoggerBase):
    """structlog's chain of processors, without its global configuration."""

    def note(self, level: str, event: str, fields: dict[str, object]) -> None:
        self._proxy_to_logger(level, event, **{_CLASH.get(key, key): value for key, value in fields.items()})


_CLASH: Mapping[str, str] = {"event": "event_", "method_name": "method_name_", "self": "self_"}


def _open_error(_logger: Any, _level: str, facts: Facts) -> Facts:
    error = facts.pop("exc_info", None)
    if isinstance(error, BaseException):
        facts["error"] = type(error).__name__
        facts["traceback"] = log_lines.error_text(error)
    return facts


def _hide(_logger: Any, _level: str, facts: Facts) -> Facts:
    return log_lines.hide_secrets(facts)


class _Render:
    def __init__(self, render: log_lines.Renderer, clock: Clock) -> None:
        self._render = render
        self._clock = clock

    def __call__(self, _logger: Any, level: str, facts: Facts) -> bytes:
        event = str(facts.pop("event"))
        return self._render(level, event, facts, self._clock.now().utc_ms)


# --- the libraries' loggers -----------------------------------------------------------------------


def _lead_in_libraries(log: Log, clock: Clock) -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(log, clock))

    def tell_dead_thread(dead: threading.ExceptHookArgs) -> None:
        name = dead.thread.name if dead.thread else None
        log.note("error", "thread_failed", thread=name, exc_info=dead.exc_value)

    threading.excepthook = tell_dead_thread


def _tame_libraries(threshold: int) -> None:
    logging.getLogger().setLevel(max(threshold, logging.WARNING))
    logging.getLogger("stomp.py").setLevel(max(threshold, logging.WARNING))


class _LibraryHandler(logging.Handler):
    def __init__(self, log: Log, clock: Clock) -> None:
        super().__init__()
        self.log = log
        self._clock = clock
        self._last: dict[tuple[str, int], float] = {}  # (file, line) -> monotonic seconds; oldest first

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = log_lines.hide_in_text(record.getMessage())
        except (TypeError, ValueError, KeyError):  # arguments that do not fit
            text = log_lines.hide_in_text(str(record.msg))
        level = "debug" if self._is_repeat(record) else _level_name(record.levelno)
        cause = log_lines.hide_in_text(repr(record.exc_info[1])) if record.exc_info else None
        self.log.note(level, "library_logged", logger=record.name, text=text, cause=cause)

    def _is_repeat(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), self._clock.now().monotonic
        last = self._last.get(place)
        if last is not None and now - last < REPEAT_AFTER_S:
            return True
        self._last.pop(place, None)
        self._last[place] = now
        if len(self._last) > PLACES_KEPT:
            del self._last[next(iter(self._last))]
        return False


def _level_name(number: int) -> str:
    return max((name for name, rank in LEVELS.items() if rank <= number), key=LEVELS.__getitem__, default="debug")
