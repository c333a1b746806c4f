"""A virtual MT1 server: history and login by REST, composed as bytes (MT1-API, sections 2 to 6)."""

import json
import sys
from collections.abc import Callable, Container
from email.utils import formatdate
from random import Random
from typing import Any

from mt1bridge.model.secret import Secret
from mt1bridge.model.trigger import ChannelId
from mt1bridge.model.upstream import Answer, Call, NoAnswer, Trouble
from tests.simulation.plan import Manners
from tests.simulation.timeline import Timeline
from tests.simulation.truth import Row, Truth, dto

Reply = tuple[int, bytes]


def envelope(status: int, data: list[Any]) -> bytes:
    return json.dumps({"status": status, "message": "OK" if status == 0 else "No", "data": data}).encode()


ALONE: dict[str, Reply] = {
    "404": (404, b""),
    "502": (502, b"<html>Bad gateway</html>"),
    "unreadable": (200, envelope(0, [])),
    "refused": (200, envelope(-2011, [])),
}


class Server:
    def __init__(self, timeline: Timeline, manners: Manners, truth: Truth, random: Random) -> None:
        self._timeline = timeline
        self._manners = manners
        self.truth = truth
        self._random = random
        self._visible: dict[tuple[str, int], dict[int, Row]] = {}  # by arrival
        self._listed: dict[tuple[str, int], dict[int, Row]] = {}  # what is shown, once the listing knows it
        self._shown: dict[str, tuple[Row, ...]] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self.tokens: set[str] = set()
        self._issued = 0
        self.trouble: str | None = None
        self.slow = False
        self.quota: str | None = None
        self.refused: set[str] = set()
        self.unanswered: dict[str, str] = {}  # what is in a path -> how it fails
        self.logins: list[float] = []
        self.first_read: dict[tuple[str, int], float] = {}

    @property
    def devices(self) -> list[str]:
        return [f"23120301{n}" for n in range(self._manners.devices)]

    def read_anew(self, baselined: Container[ChannelId]) -> None:
        """A process begins that does not know of any first read of the other channels: what one before it knew of
        them it could not write down."""
        known = {key: at for key, at in self.first_read.items() if ChannelId(key[0], f"C{key[1]}") in baselined}
        self.first_read = known

    # --- history ------------------------------------------------------------------------------------

    def show(
        self, device: str, channel: int, key: str, rows: tuple[Row, ...], count_lag_s: float, lag_s: float
    ) -> None:
        """From now on these rows are there for an identity; the count, or the listing, knows it later."""
        listed = self._visible.setdefault((device, channel), {})
        for row in self._shown.get(key, ()):
            listed.pop(row.arrival, None)
        for row in rows:
            listed[row.arrival] = row
        self._shown[key] = rows
        count = len(listed)
        self._timeline.after(count_lag_s, lambda: self._count(device, channel, count))
        snapshot = dict(listed)
        if lag_s:
            self._timeline.after(lag_s, lambda: self._list(device, channel, snapshot))
        else:
            self._list(device, channel, snapshot)

    def _list(self, device: str, channel: int, rows: dict[int, Row]) -> None:
        self._listed[device, channel] = rows

    def _count(self, device: str, channel: int, count: int) -> None:
        self._counts[device, channel] = count

    def rows(self, device: str, channel: int) -> list[Row]:
        """Newest first."""
        listed = self._listed.get((device, channel), {}).values()
        return sorted(listed, key=lambda row: (row.timestamp, row.arrival), reverse=True)

    # --- REST ---------------------------------------------------------------------------------------

    def call(self, order: Call, answer: Callable[[Answer | NoAnswer], None]) -> None:
        """Answer later."""
        if order.login is not None:
            self.logins.append(self._timeline.now)
        latency = self._manners.latency_s * self._random.uniform(0.5, 2.0)
        if self.slow:
            latency += self._random.choice((0.0, 3.0, 25.0))
        self._timeline.after(latency / 2, lambda: self._judge(order, latency / 2, answer))

    def _judge(self, order: Call, way_back: float, answer: Callable[[Answer | NoAnswer], None]) -> None:
        result = self._result(order)
        self._timeline.after(way_back, lambda: answer(result))

    def _result(self, order: Call) -> Answer | NoAnswer:
        how = self.trouble
        if how in ("timeout", "dns"):
            return NoAnswer(order.call, Trouble(how), f"{how} in the simulation")
        if how is not None:
            status, body = {
                "502": (502, b"<html>Bad gateway</html>"),
                "html": (200, b"<html>Please log in to the hotel's network</html>"),
                "truncated": (200, b'{"status":0,"message":"OK","data":[{"val'),
                "empty": (200, b""),
            }[how]
            return self._answer(order, status, body)
        if self.quota is not None:
            if self.quota == "200":
                return self._answer(order, 200, envelope(-9000, []))
            return self._answer(order, 429, b"", retry_after="120" if self.quota == "retry" else None)
        if order.login is not None:
            return self._login(order)
        if order.token is None or order.token.reveal() not in self.tokens:
            return self._refusal(order)
        alone = next((how for part, how in self.unanswered.items() if part in order.path), None)
        if alone == "timeout":
            return NoAnswer(order.call, Trouble.TIMEOUT, "timeout in the simulation")
        status, body = self._get(order) if alone is None else ALONE[alone]
        return self._answer(order, status, body)

    def _answer(
        self, order: Call, status: int, body: bytes, token: str | None = None, retry_after: str | None = None
    ) -> Answer:
        date = formatdate(self._timeline.utc_ms // 1000, usegmt=True)
        return Answer(order.call, status, body, Secret(token) if token else None, retry_after, date)

    def _login(self, order: Call) -> Answer:
        if self._manners.newest_login_only:
            self.tokens.clear()
        self._issued += 1
        token = f"{self._issued:032X}"
        self.tokens.add(token)
        account = {"id": "u-4711", "username": "club", "roles": ["USER", "TIMING_POINT_ACCOUNT"]}
        return self._answer(order, 200, envelope(0, [account]), token)

    def _refusal(self, order: Call) -> Answer:
        if order.path == "/mt1/api/user/current":
            return self._answer(order, 200, envelope(-1007, []))
        return self._answer(order, 403, b"")

    def _get(self, order: Call) -> Reply:
        parts = order.path.removeprefix("/mt1/api/").split("/")
        if parts == ["user", "current"]:
            return 200, envelope(0, [{"id": "u-4711", "roles": ["TIMING_POINT_ACCOUNT"]}])
        if parts[0] == "user":
            listed = [{"id": device, "type": "MT1", "deviceComponents": {}} for device in self.devices]
            return 200, envelope(0, listed)
        device, channel = parts[1], int(parts[3])
        if device in self.refused or device not in self.devices:
            return 200, envelope(-2011, [])
        if parts[-1] == "count":
            number = self._counts.get((device, channel), 0)
            if not number:
                self.first_read.setdefault((device, channel), self._timeline.now)
            return 200, envelope(0, [{"value": number}])
        self.first_read.setdefault((device, channel), self._timeline.now)
        return 200, envelope(0, [dto(device, channel, row) for row in self._page(device, channel, order.query)])

    def _page(self, device: str, channel: int, query: Any) -> list[Row]:
        strict = 0 if self._manners.inclusive else 1
        low = int(query["timestampFrom_ms"]) + strict if "timestampFrom_ms" in query else 0
        high = int(query["timestampTo_ms"]) - strict if "timestampTo_ms" in query else sys.maxsize
        rows = [row for row in self.rows(device, channel) if low <= row.timestamp // 10_000 <= high]
        offset, limit = int(query["offset"]), min(int(query["limit"]), self._manners.page_cap)
        return rows[offset : offset + limit]
