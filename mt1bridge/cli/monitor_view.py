"""What the monitor has heard, and how that looks on a terminal. Pure."""

from collections.abc import Mapping
from typing import Any

from mt1bridge.cli.message_lines import decoded, printable

TICKS_PER_S = 10_000_000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_COLUMNS = ("device", "name", "ch.", "name", "number", "time of day", "impulse was", "subscribed")
_TRIGGERS = ("published", "late", "corrected", "rejected", "missing")


class View:
    """Takes messages, gives lines. base: the base topic. place: host and port of the broker."""

    def __init__(self, base: str, place: str) -> None:
        self._base = base
        self._place = place
        self._connected = False
        self._trouble = ""
        self._hint = ""
        self._state: str | None = None
        self._bodies: dict[str, Mapping[str, Any]] = {}  # upstream, health, info
        self._alerts: dict[str, str] = {}
        self._last: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._available: dict[str, str] = {}

    def connected(self) -> None:
        self._connected, self._trouble = True, ""

    def lost(self, text: str) -> None:
        self._connected, self._trouble = False, text

    def hint(self, text: str) -> None:
        """What is probably wrong; forgotten with the first word about the link."""
        self._hint = text

    def take(self, topic: str, payload: bytes) -> None:
        """Remember what a message says; what is not understood is passed over."""
        levels = topic.removeprefix(f"{self._base}/").split("/")
        body = decoded(payload)
        match levels:
            case ["bridge", "state"]:
                self._state = printable(payload.decode("utf-8", "replace"), 20)
            case ["bridge", "upstream" | "health" | "info" as name]:
                self._bodies[name] = body if isinstance(body, dict) else {}
                self._hint = "" if name == "upstream" else self._hint
            case ["bridge", "alert", name]:
                self._alert(name, body if isinstance(body, dict) else None)
            case ["device", device, "availability"]:
                self._available[device] = printable(payload.decode("utf-8", "replace"), 20)
            case ["device", device, channel, "last"] if isinstance(body, dict):
                self._last[(device, channel)] = body
            case _:
                pass

    def lines(self, now_ms: int, width: int, height: int) -> list[str]:
        """At most `height` lines of at most `width` characters. now_ms: UTC ms."""
        head = [*self._head(), ""]
        table = self._table(now_ms)
        room = max(0, height - len(head))
        if len(table) > room:
            table = [*table[: max(0, room - 1)], f"... and {len(table) - room + 1} more"][:room]
        return [line[:width].rstrip() for line in (head + table)[:height]]

    @property
    def _offline(self) -> bool:
        """What the last run of the bridge said of link and devices is out of date."""
        return self._state == "offline"

    def _alert(self, name: str, body: Mapping[str, Any] | None) -> None:
        if body is None:
            self._alerts.pop(name, None)
        else:
            self._alerts[name] = printable(body.get("text", ""))

    def _head(self) -> list[str]:
        info, health, upstream = (self._bodies.get(name, {}) for name in ("info", "health", "upstream"))
        version = f"  {printable(info.get('instance'))}, version {printable(info.get('version'))}" if info else ""
        here = "connected" if self._connected else f"not connected: {printable(self._trouble)}; trying again"
        lines = [
            f"broker      {self._place}, below {self._base}/  {here}",
            f"bridge      {self._state or 'nothing heard of a bridge here'}{version}",
            f"MT1 server  {'not known while the bridge is offline' if self._offline else _upstream(upstream)}",
        ]
        if self._hint:
            lines.append(f"hint        {printable(self._hint)}")
        mqtt, triggers = _object(health, "mqtt"), _object(health, "triggers")
        if mqtt:
            oldest = mqtt.get("oldest_unacknowledged_s")
            waits = "" if oldest is None else f", the oldest for {printable(oldest)} s"
            lines.append(f"backlog     {printable(mqtt.get('backlog'))} not yet acknowledged{waits}")
        if triggers:
            counts = ", ".join(f"{name} {printable(triggers.get(name))}" for name in _TRIGGERS)
            lines.append(f"triggers    {counts} (since the bridge started)")
        return lines + [f"alert       {printable(name)}: {text}" for name, text in sorted(self._alerts.items())]

    def _table(self, now_ms: int) -> list[str]:
        if not self._last:
            return ["No channel has an impulse yet."]
        rows = [_COLUMNS]
        for (device, channel), body in sorted(self._last.items()):
            number, of_day = body.get("start_number"), body.get("time_of_day")
            rows.append((
                printable(device, 20), printable(body.get("device_name") or "", 24), printable(channel, 3),
                printable(body.get("channel_name") or "", 24), "-" if number is None else printable(number, 12),
                printable(of_day or "-", 20), _ago(body.get("timestamp"), now_ms),
                "yes" if self._available.get(device) == "online" and not self._offline else "no",
            ))  # fmt: skip
        named = [column for column in range(len(_COLUMNS)) if column not in (1, 3) or any(r[column] for r in rows[1:])]
        widths = {column: max(len(row[column]) for row in rows) for column in named}
        return ["  ".join(_cell(row[column], widths[column], column == 4) for column in named).rstrip() for row in rows]


def _cell(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _upstream(body: Mapping[str, Any]) -> str:
    if not body:
        return "-"
    reasons = body.get("reasons")
    why = f" ({', '.join(printable(one) for one in reasons)})" if isinstance(reasons, list) and reasons else ""
    return f"{printable(body.get('state'))}{why}, since {printable(body.get('since'))}"


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _ago(timestamp: object, now_ms: int) -> str:
    """timestamp: text of 100 ns units since 1970 UTC."""
    if not isinstance(timestamp, str) or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        return "-"
    seconds = (now_ms * 10_000 - int(timestamp)) // TICKS_PER_S
    if seconds < 0:
        return "just now" if seconds > -_MINUTE_S else "in the future"
    if seconds < _MINUTE_S:
        return f"{seconds} s ago"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min ago"
    return f"{seconds // _HOUR_S} h ago" if seconds < _DAY_S else f"{seconds // _DAY_S} d ago"
