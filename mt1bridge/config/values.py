"""One text -> one value, or `Unfit` with what would be right. Pure; the same for the file and the environment."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mt1bridge.config.report import Unfit

Reads = Callable[[str], object]
LONGEST_MQTT_TEXT = 65_535  # bytes; MQTT 5, 1.5.4 and 1.5.6: a length of two bytes
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")


def guess(word: str, known: Iterable[str]) -> str:
    """Return the nearest of the known words, "" if none is near."""
    # Imported here because a file without faults never needs it.
    from difflib import get_close_matches

    by_plain = {_plainly(candidate): candidate for candidate in known}
    near = get_close_matches(_plainly(word[:80]), list(by_plain), n=1, cutoff=0.6)
    return by_plain[near[0]] if near else ""


def truth(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise Unfit("true or false", {"1": "true", "0": "false"}.get(text) or guess(text, ("true", "false")))


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers low..high, decimal digits without a leading zero."""

    def read(text: str) -> int:
        expected = f"a whole number from {low} to {high}"
        if re.fullmatch("[0-9]{1,18}", text) is None:
            raise Unfit(expected)
        if text.startswith("0") and text != "0":
            raise Unfit(f"{expected} without a leading zero")
        if not low <= int(text) <= high:
            raise Unfit(expected)
        return int(text)

    return read


def duration(low_s: int, high_s: int) -> Callable[[str], int]:
    """Return a reader of durations as 90s, 5m, 12h, 30d -> seconds, within limits."""

    def read(text: str) -> int:
        form = re.fullmatch("(0|[1-9][0-9]{0,9})([smhd])", text)
        if text == "0":
            seconds = 0
        elif form is None:
            raise Unfit("a duration such as 90s, 5m, 12h or 30d", _meant_duration(text))
        else:
            seconds = int(form[1]) * _UNITS[form[2]]
        if not low_s <= seconds <= high_s:
            raise Unfit(f"a duration from {written(low_s)} to {written(high_s)}")
        return seconds

    return read


def written(seconds: int) -> str:
    """Return the duration as the file has it, in the largest unit that fits without a rest."""
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0 and (seconds or unit == "s"))
    return f"{seconds // _UNITS[unit]}{unit}"


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text in words:
            return text
        raise Unfit(f"one of {', '.join(words)}", guess(text, words))

    return read


def some_of(*words: str) -> Callable[[str], frozenset[str]]:
    """Return a reader of a list by comma with at least one of the words."""
    one = one_of(*words)

    def read(text: str) -> frozenset[str]:
        parts = [part.strip() for part in text.split(",")]
        if parts == [""]:
            raise Unfit(f"at least one of {', '.join(words)}")
        return frozenset(one(part) for part in parts)

    return read


def protocol(text: str) -> int:
    """Return 5, or 4 for MQTT 3.1.1 (the number that the protocol itself uses)."""
    if text in ("5", "3.1.1"):
        return 5 if text == "5" else 4
    raise Unfit('"5" or "3.1.1"', {"4": '"3.1.1"', "3": '"3.1.1"', "3.1": '"3.1.1"', "5.0": '"5"'}.get(text, ""))


def name(text: str) -> str:
    """Return a name for people: one line, not blank, not long."""
    if len(line(text)) > 200:
        raise Unfit("a name of at most 200 characters")
    return text


def line(text: str) -> str:
    """Return a text in one line, not blank, as MQTT can carry it."""
    if not text.strip():
        raise Unfit("a text that is not empty")
    _encodable(text)
    if _CONTROL.search(text) or len(text.encode()) > LONGEST_MQTT_TEXT:
        raise Unfit("one line of text without control characters")
    return text


def word(text: str) -> str:
    """Return a name that may stand in topics and unique ids."""
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", text) is None:
        raise Unfit("1 to 64 letters, digits, - and _", re.sub("[^A-Za-z0-9_-]+", "-", text.strip())[:64].strip("-"))
    return text


def secret(text: str) -> str:
    """Return the secret as it is, to the byte."""
    if not text.strip():
        raise Unfit("a password that is not empty", echo=False)
    try:
        _encodable(text)
    except Unfit as error:
        raise Unfit(error.expected, echo=False) from error
    if "\x00" in text or len(text.encode()) > LONGEST_MQTT_TEXT:
        raise Unfit("a password without a NUL character, of at most 65535 bytes", echo=False)
    return text


def path(text: str) -> Path:
    """Return the path as written; it is made absolute by who knows where it was written."""
    if not text.strip() or _CONTROL.search(text):
        raise Unfit("the path of a file, in one line")
    _encodable(text)
    if text.startswith("~") and not text.startswith("~/"):
        raise Unfit("a path from / or from ~/ on")
    return Path(text)


def topic(text: str) -> str:
    """Return the beginning of a topic: no wildcard, no empty level, at most 200 bytes."""
    _encodable(text)
    if not text or _CONTROL.search(text) or any(sign in text for sign in "#+"):
        raise Unfit("a topic without #, + and control characters", guess=text.rstrip("/#+"))
    if text.startswith("$"):
        raise Unfit("a topic that does not begin with $: the broker keeps those for itself")
    if "" in text.split("/"):
        raise Unfit(
            "a topic without an empty level: no / at either end, no //", "/".join(filter(None, text.split("/")))
        )
    if len(text.encode()) > 200:
        raise Unfit("a topic of at most 200 bytes")
    return text


def _encodable(text: str) -> None:
    """Refuse halves of characters: YAML escapes and the environment can make them, UTF-8 cannot write them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unfit("text that is valid UTF-8", echo=False) from error


def _plainly(text: str) -> str:
    return text.lower().replace("-", "_")


def _meant_duration(text: str) -> str:
    """Return what `90`, `90 s` or `5min` meant, "" where that is not sure."""
    form = re.fullmatch("([1-9][0-9]{0,9}) ?([a-z]*)", text.lower())
    unit = (form[2] or "s")[0] if form is not None else ""
    return f"{form[1]}{unit}" if form is not None and unit in _UNITS else ""
