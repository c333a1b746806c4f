"""The REST half (MT1-API, sections 2 to 6)."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mt1bridge.simulator.clock import monotonic, now_units
from mt1bridge.simulator.rows import dto, window
from mt1bridge.simulator.store import ROLE, Account
from mt1bridge.simulator.world import World

_PAGE = "<html><head><title>{status}</title></head><body><h1>{status} {text}</h1></body></html>"
_TEXTS = {401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests", 502: "Bad Gateway", 503: "Unavailable"}


def envelope(data: list[Any], status: int = 0, message: str = "OK", http: int = 200) -> web.Response:
    """The body that every answer has (MT1-API, section 3)."""
    text = json.dumps({"status": status, "message": message, "data": data}, ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=http, text=text, content_type="application/json")


def html_page(status: int) -> web.Response:
    text = _PAGE.format(status=status, text=_TEXTS.get(status, "Error"))
    return web.Response(status=status, text=text, content_type="text/html")


def refusal(written: str, message: str, body: str) -> web.Response:
    """`HTTP` or `HTTP/status`; without a status the body is as `refusal_body` says."""
    http, _, status = written.partition("/")
    if status:
        return envelope([], int(status), message, int(http))
    if body == "html":
        return html_page(int(http))
    if body == "json":
        return envelope([], -1007, message, int(http))
    return web.Response(status=int(http))


class Rest:
    """Handlers; the world says how to behave."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        channel = "/mt1/api/devices/{device}/channel/{channel}/trigger"
        return [
            web.post("/mt1/api/user/login", self.login, name="login"),
            web.get("/mt1/api/user/current", self.current, name="current"),
            web.get("/mt1/api/user/{user}/devices", self.devices, name="devices"),
            web.get(channel + "/count", self.count, name="count"),
            web.get(channel, self.history, name="history"),
        ]

    async def login(self, request: web.Request) -> web.Response:
        world, behaviour = self._world, self._world.behaviour
        world.counters["logins"] += 1
        try:
            given = json.loads(await request.text())
            username, password = given["username"], given["password"]
        except (ValueError, KeyError, TypeError):
            return envelope([], -1, "Bad request", 400)
        account = world.store.accounts.get(username)
        if account is None or account.password != password:
            world.counters["logins_refused"] += 1
            return refusal(behaviour.wrong_password, "Wrong username or password", behaviour.refusal_body)
        if ROLE not in account.roles and behaviour.missing_role is not None:
            world.counters["logins_refused"] += 1
            return refusal(behaviour.missing_role, "Not a timekeeper", behaviour.refusal_body)
        world.counters["logins_ok"] += 1
        return self._welcome(account, world.issue_token(account))

    def _welcome(self, account: Account, token: str) -> web.Response:
        """The account as data[0], the token in the header (MT1-API, section 2)."""
        where, user = self._world.behaviour.token_header, self._user(account)
        answer = envelope([{**user, "token": token} if where == "body" else user])
        if where in ("header", "twice"):
            answer.headers.add("authorization", token)
        if where == "twice":
            answer.headers.add("authorization", token[::-1])
        if where == "empty":
            answer.headers.add("authorization", "")
        if where == "bearer":
            answer.headers.add("authorization", f"Bearer {token}")
        return answer

    async def current(self, request: web.Request) -> web.Response:
        account = self._account(request)
        if account is None:
            return self._unknown(self._world.behaviour.current_refusal)
        return envelope([self._user(account)])

    async def devices(self, request: web.Request) -> web.Response:
        account = self._account(request)
        if account is None:
            return self._unknown(self._world.behaviour.token_refusal)
        if request.match_info["user"] != account.id:
            return envelope([], -2011, "Not allowed")
        number = self._world.behaviour.device_id_type == "number"
        mine = (self._world.store.devices[device] for device in sorted(account.devices))
        return envelope(
            [
                {"id": int(one.id) if number else one.id, "type": one.type, "deviceComponents": one.components}
                for one in mine
                if one.listed and not one.refused
            ]
        )

    async def count(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            numbers = _numbers(request.query)
            rows = self._world.store.channel(request.match_info["device"], int(request.match_info["channel"]))
        except ValueError:
            return envelope([], -1, "Bad request", 400)
        bounds = window(numbers["timestampFrom_ms"], numbers["timestampTo_ms"], self._world.behaviour, now_units())
        return envelope([{"value": rows.count(bounds, self._world.behaviour)}])

    async def history(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        behaviour = self._world.behaviour
        try:
            numbers = _numbers(request.query)
            rows = self._world.store.channel(request.match_info["device"], int(request.match_info["channel"]))
        except ValueError:
            return envelope([], -1, "Bad request", 400)
        limit = behaviour.default_limit if numbers["limit"] is None else numbers["limit"]
        if behaviour.max_limit is not None:
            limit = min(limit, behaviour.max_limit)
        bounds = window(numbers["timestampFrom_ms"], numbers["timestampTo_ms"], behaviour, now_units())
        page = rows.page(bounds, numbers["offset"] or 0, limit, behaviour, self._world.rng)
        return envelope([dto(row, behaviour) for row in page])

    # --- inside

    def _account(self, request: web.Request) -> Account | None:
        token = self._world.raw_token(request.headers.get("authorization"))
        return self._world.store.account_of(token, monotonic())

    def _unknown(self, written: str) -> web.Response:
        self._world.counters["token_refusals"] += 1
        return refusal(written, "Not logged in", self._world.behaviour.refusal_body)

    def _refused(self, request: web.Request) -> web.Response | None:
        account = self._account(request)
        if account is None:
            return self._unknown(self._world.behaviour.token_refusal)
        if not self._world.store.may_see(account, request.match_info["device"]):
            self._world.counters["device_refusals"] += 1
            return envelope([], -2011, "Not allowed")
        return None

    def _user(self, account: Account) -> dict[str, Any]:
        number = self._world.behaviour.user_id_type == "number"
        return {
            "id": int(account.id) if number else account.id,
            "username": account.username,
            "roles": account.roles,
        }


def _numbers(query: Mapping[str, str]) -> dict[str, int | None]:
    """The query's numbers, None where absent. ValueError if one is none."""
    numbers: dict[str, int | None] = {}
    for name in ("limit", "offset", "timestampFrom_ms", "timestampTo_ms"):
        numbers[name] = int(query[name]) if name in query else None
        if name in ("limit", "offset") and (numbers[name] or 0) < 0:
            raise ValueError(f"{name} is negative")
    return numbers
