"""The simulator itself: a web server with its world, started and stopped in an asyncio loop."""

import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from mt1bridge.simulator.behaviour import Behaviour
from mt1bridge.simulator.clock import monotonic, wall_time
from mt1bridge.simulator.control import Control, ControlOverHttp
from mt1bridge.simulator.damage import damaged
from mt1bridge.simulator.realtime import Realtime
from mt1bridge.simulator.rest import Rest, refusal
from mt1bridge.simulator.world import World

USERNAME, PASSWORD = "club", "mt1demo"
DEVICES = ("231203016", "231203037")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_REALTIME = ("info", "websocket", "websocket_raw")


class Simulator:
    """One MT1 server: `await start()`, `url`, `control`, `await stop()`. port 0: the system chooses, and the same
    port is used again after `stop` and another `start`; what is stored stays too."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        devices: tuple[str, ...] = DEVICES,
        username: str = USERNAME,
        password: str = PASSWORD,
        behaviour: Behaviour | None = None,
        seed: int = 1,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self.world = World(behaviour or Behaviour(), seed)
        self.control = Control(self.world)
        self._runner: web.AppRunner | None = None
        self.control.add_account(username, password)
        for device in devices:
            self.control.add_device(device)

    @property
    def url(self) -> str:
        """`http(s)://host:port`, without a slash at its end: root of REST and of /control/."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    @property
    def realtime_url(self) -> str:
        """Root of the realtime half: `<url>/devices`."""
        return f"{self.url}/devices"

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Listen. OSError if the port is taken."""
        self.world.stopping.clear()
        app = web.Application(middlewares=[self._around], client_max_size=1 << 20)
        app.add_routes(Rest(self.world).routes())
        app.add_routes(Realtime(self.world).routes())
        app.add_routes(ControlOverHttp(self.control).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self, farewell: bool = True) -> None:
        """Stop listening and end every connection, with c[3000,"Go away!"] or, without farewell, by RST."""
        self.world.stopping.set()
        for session in list(self.world.sessions.values()):
            if farewell and not session.swallowed:
                session.close(1001, sockjs=(3000, "Go away!"))
                session.transport.close()
            else:
                session.reset()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _around(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Log, quota and faults around every call but those of /control/."""
        if request.path.startswith("/control/"):
            return await handler(request)
        kind = request.match_info.route.name or "other"
        entry = self._logged(request, kind)
        try:
            answer = await self._guarded(request, kind, handler)
        except web.HTTPException as problem:
            entry["status"] = problem.status
            raise
        entry["status"] = answer.status
        return answer

    def _logged(self, request: web.Request, kind: str) -> dict[str, object]:
        world = self.world
        world.counters["requests"] += 1
        world.counters[f"{'realtime' if kind in _REALTIME else 'rest'}_{kind}"] += 1
        entry = {
            "number": world.next_request(),
            "kind": kind,
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "time": wall_time(),
            "monotonic": monotonic(),
            "status": None,
        }
        world.requests.append(entry)
        return entry

    async def _guarded(self, request: web.Request, kind: str, handler: _Handler) -> web.StreamResponse:
        world, behaviour = self.world, self.world.behaviour
        counted = kind not in _REALTIME or behaviour.quota_counts_realtime
        if counted and world.quota.refuses(request.remote or "", behaviour, monotonic()):
            world.counters["quota_answers"] += 1
            answer = refusal(behaviour.quota_answer, "Quota exceeded", behaviour.refusal_body)
            if behaviour.retry_after is not None:
                answer.headers["Retry-After"] = behaviour.retry_after
            return answer
        place = "info" if kind == "info" else kind
        fault = (
            None if kind.startswith("websocket") else world.faults.take_rest(place, request.match_info.get("device"))
        )
        if fault is None:
            return await handler(request)
        world.counters["rest_faults"] += 1
        return await damaged(world, request, fault, lambda: handler(request))
