"""SockJS framing over WebSocket: what a text message from the server means, and how ours are written. Pure.

Server to client: `o` open, `h` heart-beat, `a["…"]` strings, `m"…"` one string, `c[code,"reason"]` close.
Client to server: a JSON array of strings (MT1-API, section 7). Nothing here raises on any text from the server.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

RAW_LIMIT = 4096  # characters of a thing not understood that are passed on
TEXT_LIMIT = 500  # characters of a server's words that go into a text for people

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CLOSE_CODES = range(65536)


@dataclass(frozen=True, slots=True)
class Opened:
    """`o`: the session stands."""


@dataclass(frozen=True, slots=True)
class Alive:
    """`h`: the transport lives. It is no STOMP heart-beat."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Something not understood that does no harm: raw, cut at RAW_LIMIT, and why."""

    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Strings:
    """The strings of an `a[…]` or `m"…"`, in order; odd: its elements that are no strings."""

    texts: tuple[str, ...]
    odd: tuple[Odd, ...] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    """`c[code,"reason"]`; code None where it cannot be read."""

    code: int | None
    reason: str


Frame = Opened | Alive | Strings | Closed | Odd


def odd(raw: str, reason: str) -> Odd:
    return Odd(raw[:RAW_LIMIT], reason)


def plain(text: str, limit: int = TEXT_LIMIT) -> str:
    """A stranger's words made fit for one log line: control characters escaped, cut at `limit` characters."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text[:limit])[:limit]


def read_frame(text: str) -> Frame:
    """Tell what one text message of the server is."""
    letter, rest = text[:1], text[1:]
    if letter == "a":
        return _read_array(text)
    if letter == "o" and not rest.strip():
        return Opened()
    if letter == "h" and not rest.strip():
        return Alive()
    if letter == "c":
        return _read_close(rest)
    if letter == "m":
        single = _json(rest)
        return Strings((single,)) if isinstance(single, str) else odd(text, "SockJS m frame that holds no string")
    return odd(text, "unknown SockJS frame" if text else "empty SockJS frame")


def write_frame(payload: str) -> str:
    """One string as the client sends it. Lone surrogates leave as JSON escapes."""
    return json.dumps([payload])


def endpoint(realtime_url: str, server: int, session: str) -> str:
    """The WebSocket URL of a new session below an http or https URL: ws…/<3 digits>/<session>/websocket.

    Raises ValueError for any other scheme, or without a host.
    """
    parts = urlsplit(realtime_url)
    schemes = {"http": "ws", "https": "wss"}
    if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
        raise ValueError("the realtime URL must begin with http:// or https:// and name a host")
    path = f"{parts.path.rstrip('/')}/{server % 1000:03d}/{session}/websocket"
    return urlunsplit((schemes[parts.scheme], parts.netloc.rpartition("@")[2], path, "", ""))


def _read_array(text: str) -> Frame:
    elements = _json(text[1:])
    if not isinstance(elements, list):
        return odd(text, "SockJS a frame that holds no array")
    texts = tuple(element for element in elements if isinstance(element, str))
    strangers = tuple(
        odd(_as_text(element), "element of a SockJS array that is no string")
        for element in elements
        if not isinstance(element, str)
    )
    return Strings(texts, strangers)


def _read_close(rest: str) -> Closed:
    parts = _json(rest)
    if not isinstance(parts, list):
        return Closed(None, plain(rest))
    code = parts[0] if parts and type(parts[0]) is int and parts[0] in _CLOSE_CODES else None
    reason = parts[1] if len(parts) > 1 and isinstance(parts[1], str) else ""
    return Closed(code, plain(reason))


def _json(text: str) -> object:
    """The value, or None where it is no JSON, nested too deep, or holds a number too long to read."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _as_text(value: object) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return type(value).__name__
