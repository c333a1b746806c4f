"""Bytes and texts of WebSocket, SockJS and STOMP, as the server writes and reads them. Pure.

Written by hand instead of with a library, because the simulator must also be able to write what no library would:
fragments that split a character, frames out of turn, lengths that lie.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0


class BrokenFrame(Exception):
    """What the client sent is not a STOMP frame; the text says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A STOMP frame; of a repeated header the first value counts (STOMP 1.2)."""

    command: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def ws_frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """One unmasked WebSocket frame (RFC 6455, section 5.2)."""
    head = (0x80 if final else 0) | opcode
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", head, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def ws_text(text: str, fragments: int = 1) -> bytes:
    """A text message in that many fragments; the cuts fall on bytes, so also inside a character."""
    payload = text.encode("utf-8", "surrogatepass")
    parts = max(1, min(fragments, len(payload)))
    cuts = [len(payload) * part // parts for part in range(parts + 1)]
    frames = []
    for part in range(parts):
        opcode = TEXT if part == 0 else CONTINUATION
        frames.append(ws_frame(opcode, payload[cuts[part] : cuts[part + 1]], part == parts - 1))
    return b"".join(frames)


def ws_close(code: int | None, reason: str = "") -> bytes:
    """A close frame; None is a close without a code."""
    return ws_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode()[:123])


def sockjs_messages(texts: Iterable[str]) -> str:
    """`a[...]`; control characters are escaped, other characters stay as they are."""
    return "a" + json.dumps(list(texts), ensure_ascii=False, separators=(",", ":"))


def sockjs_close(code: int, reason: str) -> str:
    return "c" + json.dumps([code, reason], separators=(",", ":"))


def sockjs_decode(text: str) -> list[str]:
    """The strings that the client sent: `["..."]`, or a bare `"..."`. ValueError for anything else."""
    value = json.loads(text)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("not an array of strings")


_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c"}
_UNESCAPES = {"\\": "\\", "r": "\r", "n": "\n", "c": ":"}


def escape(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def unescape(text: str) -> str:
    """BrokenFrame for an escape that STOMP does not know."""
    if "\\" not in text:
        return text
    result, characters = [], iter(text)
    for character in characters:
        if character == "\\":
            follower = next(characters, "")
            if follower not in _UNESCAPES:
                raise BrokenFrame(f"unknown escape \\{follower}")
            character = _UNESCAPES[follower]
        result.append(character)
    return "".join(result)


def stomp_encode(frame: Frame) -> str:
    """The text of a frame with its NUL. CONNECTED is never escaped (STOMP 1.2)."""
    plain = frame.command == "CONNECTED"
    lines = [frame.command]
    for name, value in frame.headers.items():
        lines.append(f"{name}:{value}" if plain else f"{escape(name)}:{escape(value)}")
    return "\n".join(lines) + "\n\n" + frame.body + "\0"


def stomp_split(buffer: str) -> tuple[list[str], str]:
    """Whole frames (without NUL, heart-beats left out) and what is not complete yet."""
    *whole, rest = buffer.split("\0")
    rest = rest.lstrip("\r\n")
    return [text.lstrip("\r\n") for text in whole], rest


def stomp_decode(text: str) -> Frame:
    """BrokenFrame if it is not one. CONNECT and STOMP are not unescaped (STOMP 1.2)."""
    head, separator, body = text.replace("\r\n", "\n").partition("\n\n")
    if not separator:
        raise BrokenFrame("no empty line after the headers")
    command, *lines = head.split("\n")
    if not command.isalpha() or not command.isupper():
        raise BrokenFrame("no command")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BrokenFrame(f"header without colon: {line[:40]}")
        if command not in ("CONNECT", "STOMP"):
            name, value = unescape(name), unescape(value)
        headers.setdefault(name, value)
    return Frame(command, headers, body)
