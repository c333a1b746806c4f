"""STOMP frames out of SockJS strings, each brought into a form in which stomp.py's parser cannot go wrong. Pure.

Why not hand the strings to stomp.py as they are (stomp.py 9.0.0, measured): two line ends ahead of a frame lose it;
a content-length that is too large swallows the next frame; a RECEIPT without receipt-id closes the connection. What
leaves here is one whole frame at a time, its content-length true, its command known, and never a bare line end.
"""

import re
from collections.abc import Iterator

from mt1bridge.cloud.sockjs import Odd, odd

PENDING_LIMIT = 8 * 1024 * 1024  # bytes of a frame that may wait for its second half

_COMMANDS = (b"CONNECTED", b"MESSAGE", b"RECEIPT", b"ERROR")
_STARTS = re.compile(rb"(?:CONNECTED|MESSAGE|RECEIPT|ERROR)\r*\n")
_HEAD_END = re.compile(rb"\n\r*\n")
_CONTENT_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,10})[ \t]*\r*(?=\n|\Z)")
_FILLER = b"\r\n\0"  # line ends are heart-beats; a NUL between frames belonged to one already handed on
_EOLS = b"\r\n"


class FrameReader:
    """Splits, joins and repairs. Feed it the strings in order.

    A frame that ends without its NUL waits for the next string: it is either continued there, or taken as whole when
    a heart-beat or a new frame shows that no more of it comes. Bodies are cut at their content-length where a NUL (or
    the end of the string) stands there, else at the first NUL.
    """

    def __init__(self, pending_limit: int = PENDING_LIMIT) -> None:
        self._pending = b""
        self._pending_limit = pending_limit

    def feed(self, text: str) -> list[bytes | Odd]:
        """The frames (ending in NUL) and oddities that this string completes.

        A lone surrogate is kept as its three bytes, so that a strict decoder of the body refuses it by name.
        """
        data = text.encode("utf-8", "surrogatepass")
        found: list[bytes | Odd] = []
        if self._pending:
            if _STARTS.match(data.lstrip(_EOLS)) or (not data.strip(_EOLS) and _may_be_whole(self._pending)):
                found += self.flush()
            else:
                data, self._pending = self._pending + data, b""
        found += self._split(data, last=False)
        return found

    def flush(self) -> list[bytes | Odd]:
        """Take what waits for a second half as all there is."""
        data, self._pending = self._pending, b""
        return list(self._split(data, last=True))

    def _split(self, data: bytes, last: bool) -> Iterator[bytes | Odd]:
        ends_whole = data.rstrip(_EOLS).endswith(b"\0")
        at = _skip_filler(data, 0)
        while at < len(data):
            end, item = _take(data, at, whole=last or ends_whole)
            if item is None:
                if len(data) - at > self._pending_limit:
                    yield _stranger(data[at:], "STOMP frame without an end")
                else:
                    self._pending = data[at:]
                return
            yield item
            at = _skip_filler(data, end)


def _take(data: bytes, at: int, whole: bool) -> tuple[int, bytes | Odd | None]:
    """One item from `at`: (where it ends, the item); the item is None where more is needed.

    whole: no second half is to be expected.
    """
    nul = data.find(b"\0", at)
    if not _begins_frame(data, at):
        stop = nul if nul >= 0 else len(data)
        return stop, _stranger(data[at:stop], "no STOMP frame")
    head_end = _HEAD_END.search(data, at, nul if nul >= 0 else len(data))
    if head_end is None:  # no blank line: a frame of headers alone if a NUL ends it
        if nul < 0:
            return len(data), _stranger(data[at:], "STOMP frame cut in its headers") if whole else None
        return nul, _frame(data[at:nul], b"")
    head, body_at = data[at : head_end.start()], head_end.end()
    end = _body_end(data, body_at, _content_length(head), whole)
    return (len(data), None) if end is None else (end, _frame(head, data[body_at:end]))


def _body_end(data: bytes, body_at: int, length: int | None, whole: bool) -> int | None:
    """Where the body ends, or None where more is needed. A content-length that points at no end is not believed."""
    if length is not None:
        claimed = body_at + length
        if data[claimed : claimed + 1] == b"\0" or (claimed == len(data) and not whole):
            return claimed
        if claimed > len(data) and not whole:
            return None
    nul = data.find(b"\0", body_at)
    if nul >= 0:
        return nul
    return len(data) if whole else None


def _may_be_whole(pending: bytes) -> bool:
    """Whether nothing but the final NUL is missing, as far as one can tell: line ends after it are heart-beats then."""
    head_end = _HEAD_END.search(pending)
    return head_end is not None and _content_length(pending[: head_end.start()]) is None


def _frame(head: bytes, body: bytes) -> bytes | Odd:
    command, *headers = (line.replace(b"\r", b"") for line in head.split(b"\n"))
    headers = [line for line in headers if not line.startswith(b"content-length:")]
    if command == b"RECEIPT" and not any(line.startswith(b"receipt-id:") for line in headers):
        return _stranger(head, "RECEIPT without receipt-id")
    return b"\n".join([command, b"content-length:%d" % len(body), *headers, b"", body]) + b"\0"


def _content_length(head: bytes) -> int | None:
    """The first content-length header (STOMP 1.2: of repeated headers the first counts)."""
    found = _CONTENT_LENGTH.search(head)
    return int(found[1]) if found else None


def _begins_frame(data: bytes, at: int) -> bool:
    """Whether a server's command stands here, or what there is of a line could still become one."""
    line_end = data.find(b"\n", at)
    nul = data.find(b"\0", at, line_end if line_end >= 0 else len(data))
    line = data[at : min(end for end in (line_end, nul, len(data)) if end >= 0)].rstrip(b"\r")
    if line_end < 0 and nul < 0:
        return any(command.startswith(line) for command in _COMMANDS)
    return line in _COMMANDS


def _skip_filler(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _FILLER:
        at += 1
    return at


def _stranger(raw: bytes, reason: str) -> Odd:
    return odd(raw.decode("utf-8", "backslashreplace"), reason)
