"""JSON as the server sends it, strictly read and exactly written again. Pure.

Whole numbers stay exact, other numbers stay text, and nothing in it can exhaust the stack.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Never

RAW_LIMIT = 2048  # bytes; CONTRACT, section 2
MAX_DEPTH = 64  # a trigger nests three deep; far below the interpreter's own limit
MAX_DIGITS = 40  # a longer whole number is kept as text: int() refuses more than 4300 digits


class NotJson(ValueError):
    """These bytes are no JSON that we take; the text says why in a few words."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number that is no exact int of reasonable length: a fraction, an exponent, thousands of digits.

    text: as the server wrote it, never turned into a float.
    """

    text: str


def parse(body: bytes) -> object:
    """Return the JSON value of `body`: strict UTF-8, whole numbers exact, other numbers as `Number`.

    Raises NotJson for anything else, and for NaN, Infinity, a repeated key, or nesting deeper than 64.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    return parse_text(text)


def compact(value: object, limit: int = RAW_LIMIT) -> str:
    """Return a parsed value as JSON again: compact, keys sorted, ASCII only, cut at `limit` bytes."""
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value):
        pieces.append(piece)
        length += len(piece)
        if length >= limit:
            break
    return "".join(pieces)[:limit]


def text_of(body: bytes, limit: int = RAW_LIMIT) -> str:
    """Return any bytes as text for people, what is no UTF-8 as \\x.., cut at `limit` bytes of UTF-8."""
    text = body[:limit].decode("utf-8", "backslashreplace")
    return text.encode("utf-8")[:limit].decode("utf-8", "ignore")


def encodable(text: str) -> bool:
    """Half a surrogate pair comes through JSON, but neither into UTF-8 nor into the journal."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def parse_text(text: str) -> object:
    """As `parse`, for text."""
    try:
        value: object = json.loads(
            text,
            parse_int=_whole,
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except NotJson:
        raise
    except ValueError:
        raise NotJson("not JSON") from None
    except RecursionError:
        raise NotJson("nested too deep") from None
    _check_depth(value)
    return value


def _whole(text: str) -> int | Number:
    return int(text) if len(text) <= MAX_DIGITS else Number(text)


def _refuse_constant(name: str) -> Never:
    raise NotJson(f"{name} is no JSON number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJson("a key is repeated")
    return members


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
        if not level:
            return
    raise NotJson("nested too deep")


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _pieces(value: object) -> Iterable[str]:
    """Yield the JSON of a value piece by piece; json.dumps cannot write a Number as it came."""
    if isinstance(value, dict):
        yield "{"
        for place, key in enumerate(sorted(value)):
            yield ("," if place else "") + json.dumps(key) + ":"
            yield from _pieces(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, element in enumerate(value):
            yield "," if place else ""
            yield from _pieces(element)
        yield "]"
    else:
        yield value.text if isinstance(value, Number) else json.dumps(value)
