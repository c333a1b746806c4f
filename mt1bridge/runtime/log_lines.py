"""From the facts of one happening to a line of log: hidden secrets, harmless text, four formats. Pure.

`values` are the facts by name; a line is bytes, ready to be written. No text that came from outside can end a line,
colour a terminal or pose as another field: control characters are escaped (FAULTS, bad inputs 75).
"""

import json
import re
import struct
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo

HIDDEN = "hidden"
LONGEST_TEXT = 4096  # characters of one value
PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # of syslog

Values = Mapping[str, object]

_SECRET_KEY = re.compile(r"(?:^|[_\-.])(?:password|passcode|passwd|token|authorization|secret)$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(password|passcode|passwd|token|authorization)(\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\"',;}\]\r\n\\]+", re.IGNORECASE
)
# Controls (C0, DEL, C1), line and paragraph separators, marks that turn the direction of text, BOM, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_COLOUR = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_NAME_TAKEN = re.compile(r"MESSAGE|MESSAGE_ID|PRIORITY|SYSLOG_.*|CODE_.*|ERRNO|UNIT|USER_UNIT|TID|DOCUMENTATION")


def hide_secrets(values: Values) -> dict[str, object]:
    """Replace the values of keys named as secrets, in nested mappings and lists too."""
    return {key: HIDDEN if _SECRET_KEY.search(key) else _hide_within(value) for key, value in values.items()}


def _hide_within(value: object) -> object:
    if isinstance(value, Mapping):
        return hide_secrets({str(key): inner for key, inner in value.items()})
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hide_within(inner) for inner in value]
    return value


def hide_in_text(text: str) -> str:
    """Hide what follows `password:`, `authorization=` and the like: for text that others wrote."""
    return _SECRET_TEXT.sub(rf"\1\2{HIDDEN}", text)


def escape(text: str) -> str:
    r"""Make text fit for one line: `\n`, `\x1b`, `\u202e` instead of what they stand for; cut at LONGEST_TEXT."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}…(+{len(text) - LONGEST_TEXT})"
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def to_text(value: object) -> str:
    """One value as harmless text. Never raises."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(to_text(inner) for inner in value)
    if isinstance(value, Mapping):
        return " ".join(f"{escape(str(key))}={_quoted(to_text(inner))}" for key, inner in value.items())
    return escape(_str(value))


def _str(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything; a log line must not
        return f"<{type(value).__name__}: {type(error).__name__} in str()>"


def _quoted(text: str) -> str:
    return text if text and not set(text) & set(' "=') else '"' + text.replace('"', '\\"') + '"'


def error_text(error: BaseException) -> str:
    """The traceback, secrets hidden, as several lines."""
    return hide_in_text("".join(traceback.format_exception(error))).rstrip()


# --- formats --------------------------------------------------------------------------------------

Renderer = Callable[[str, str, Values, int], bytes]
"""(level, event, values, moment in ms since 1970 UTC) -> line."""


def message(event: str, values: Values) -> str:
    """`subscription_lost device=231203016 live_s=12.1`, without a line end."""
    told = {key: value for key, value in values.items() if value is not None and key != "traceback"}
    return " ".join([escape(event), *(f"{escape(key)}={_quoted(to_text(value))}" for key, value in told.items())])


def _trace_lines(values: Values) -> list[str]:
    return [f"    {escape(line)}" for line in str(values.get("traceback", "")).splitlines()]


def console(colour: bool, zone: tzinfo | None = None) -> Renderer:
    """For people at a terminal, in their own time (zone None: the system's)."""

    def render(level: str, event: str, values: Values, utc_ms: int) -> bytes:
        moment = datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(zone).strftime("%H:%M:%S.%f")[:-3]
        begin, end = (_COLOUR[level], _PLAIN) if colour else ("", "")
        lines = [f"{moment} {begin}{level:<8}{end} {message(event, values)}", *_trace_lines(values)]
        return ("\n".join(lines) + "\n").encode()

    return render


def json_line(level: str, event: str, values: Values, utc_ms: int) -> bytes:
    """One JSON object a line, ASCII; `time`, `level` and `event` first."""
    time = datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head: dict[str, object] = {"time": time, "level": level, "event": event}
    facts = {f"{key}_" if key in head else key: _json_value(value) for key, value in values.items()}
    return (json.dumps(head | facts, allow_nan=False) + "\n").encode("ascii")


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # inf and nan are no JSON
    if isinstance(value, list):
        return [_json_value(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    text = _str(value)
    return text if len(text) <= 4 * LONGEST_TEXT else f"{text[: 4 * LONGEST_TEXT]}…"


def priority_line(level: str, event: str, values: Values, _utc_ms: int) -> bytes:
    """`<4>subscription_lost …`: what systemd understands on stderr (sd-daemon(3)); it adds the time itself."""
    lines = [message(event, values), *_trace_lines(values)]
    return "".join(f"<{PRIORITY[level]}>{line}\n" for line in lines).encode()


def journal_entry(identifier: str) -> Renderer:
    """An entry of journald's native protocol: every value a field of its own, upper-case."""

    def render(level: str, event: str, values: Values, _utc_ms: int) -> bytes:
        text = "\n".join([message(event, values), *_trace_lines(values)])
        fields = [("MESSAGE", text), ("PRIORITY", str(PRIORITY[level])), ("SYSLOG_IDENTIFIER", identifier)]
        fields.append(("EVENT", escape(event)))
        for key, value in values.items():
            if value is not None and key != "traceback":
                fields.append((_field_name(key), to_text(value)))
        return b"".join(_field(name, value) for name, value in fields)

    return render


def _field_name(key: str) -> str:
    """Upper-case A-Z, 0-9 and _, at most 64, not one that journald gives a meaning of its own."""
    name = re.sub(r"[^A-Z0-9_]", "_", key.upper())
    if not name or not name[0].isalpha() or name == "EVENT" or _NAME_TAKEN.fullmatch(name):
        name = f"MT1_{name}"
    return name[:64]


def _field(name: str, text: str) -> bytes:
    value = text.encode()
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
