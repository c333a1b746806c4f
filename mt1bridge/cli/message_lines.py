"""What is published, as lines for people. Pure.

Messages may come from anybody who may publish to the broker, so nothing is taken for granted, and nothing in them
reaches the terminal that could move its cursor.
"""

import json
from collections.abc import Mapping
from typing import Any

FACTS = ("trigger", "correction", "rejected")
HEADING = f"{'time of day':<17}  {'device':<10}  {'ch.':<3}  {'number':>6}  what happened"
LATE_AFTER_MS = 10_000  # the default of reconcile.live_within: what came sooner is late for another reason
_COLOURS = {"trigger": "32", "late": "33", "rejected": "31"}
_CORRECTION_COLOUR = "36"


def printable(value: object, longest: int = 200) -> str:
    """Text without control characters."""
    text = value if isinstance(value, str) else str(value)
    return "".join(one if one.isprintable() else "?" for one in text[:longest])


def decoded(payload: bytes) -> object:
    """The JSON value, or the text where it is none."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "backslashreplace")


def fact_of(base: str, topic: str, payload: bytes) -> dict[str, Any] | None:
    """The body of a `trigger`, `correction` or `rejected` message; None for any other."""
    levels = topic.removeprefix(f"{base}/device/").split("/")
    if not topic.startswith(f"{base}/device/") or len(levels) != 3 or levels[2] not in FACTS:
        return None
    body = decoded(payload)
    return body if isinstance(body, dict) else None


def fact_line(body: Mapping[str, Any], colour: bool) -> str:
    """One message of a channel in columns, as HEADING names them."""
    number = body.get("start_number")
    columns = (
        f"{printable(body.get('time_of_day') or '-'):<17}",
        f"{printable(body.get('device') or '-'):<10}",
        f"{printable(body.get('channel') or '-'):<3}",
        f"{printable('-' if number is None else number):>6}",
    )
    what = printable(body.get("event_type") or "-")
    note = _note(body)
    line = "  ".join((*columns, f"{what}{f' ({note})' if note else ''}"))
    if not colour:
        return line
    return f"\x1b[{_COLOURS.get(what, _CORRECTION_COLOUR)}m{line}\x1b[0m"


def state_line(base: str, topic: str, payload: bytes) -> str | None:
    """What a message says of the bridge, the MT1 server or a device; None where it is nothing to show."""
    rest = topic.removeprefix(f"{base}/")
    levels = rest.split("/")
    text = printable(payload.decode("utf-8", "replace"))
    if rest == "bridge/state":
        return f"bridge: {text}"
    if rest == "bridge/upstream":
        body = decoded(payload)
        return f"link to the MT1 server: {_upstream(body)}" if isinstance(body, dict) else None
    if levels[:2] == ["bridge", "alert"] and len(levels) == 3:
        body = decoded(payload)
        told = printable(body.get("text", "")) if isinstance(body, dict) else ""
        return f"alert {printable(levels[2])}: {told}" if payload else f"alert {printable(levels[2])}: over"
    if levels[0] == "device" and levels[2:] == ["availability"]:
        return f"device {printable(levels[1])}: {text}"
    return None


def _upstream(body: Mapping[str, Any]) -> str:
    reasons = body.get("reasons")
    why = ", ".join(printable(one) for one in reasons) if isinstance(reasons, list) else ""
    return printable(body.get("state", "?")) + (f" ({why})" if why else "")


def _note(body: Mapping[str, Any]) -> str:
    """What the event type alone does not say."""
    previous, event = body.get("previous"), body.get("event_type")
    if event == "renumbered" and isinstance(previous, dict):
        return f"was {printable(previous.get('start_number'))}"
    if event == "rejected" and isinstance(body.get("reasons"), list):
        return ", ".join(printable(reason) for reason in body["reasons"])
    delay_ms = body.get("delay_ms")
    if event == "late" and isinstance(delay_ms, int) and delay_ms > LATE_AFTER_MS:
        return f"learned {delay_ms / 1000:.1f} s after the impulse"
    return ""
