"""The realtime half: /devices/info and the WebSocket transport of SockJS (MT1-API, section 7)."""

import asyncio
import base64
import hashlib

from aiohttp import WSMsgType, web

from mt1bridge.simulator import wire
from mt1bridge.simulator.faults import Fault
from mt1bridge.simulator.rest import envelope, html_page
from mt1bridge.simulator.session import Session
from mt1bridge.simulator.transport import reset
from mt1bridge.simulator.world import World

_COOKIE = "JSESSIONID"
_LONGEST = 4_000_000
_PROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


class Realtime:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/devices/info", self.info, name="info"),
            web.get("/devices/{server}/{session}/websocket", self.framed, name="websocket"),
            web.get("/devices/websocket", self.raw, name="websocket_raw"),
        ]

    async def info(self, _request: web.Request) -> web.Response:
        value = {
            "entropy": self._world.rng.getrandbits(32),
            "origins": ["*:*"],
            "cookie_needed": True,
            "websocket": True,
        }
        answer = web.json_response(value)
        answer.set_cookie(_COOKIE, "simulator", path="/")
        return answer

    async def raw(self, request: web.Request) -> web.StreamResponse:
        """The unframed endpoint: not there unless the behaviour says so."""
        if self._world.behaviour.raw_websocket == "off":
            return web.Response(status=404)
        return await self._upgrade(request, f"raw{self._world.next_session()}", framed=False)

    async def framed(self, request: web.Request) -> web.StreamResponse:
        return await self._upgrade(request, request.match_info["session"], framed=True)

    async def _upgrade(self, request: web.Request, name: str, framed: bool) -> web.StreamResponse:
        world, behaviour = self._world, self._world.behaviour
        world.counters["upgrades"] += 1
        fault = world.faults.take_connect()
        if fault and fault.kind in _BEFORE:
            return await _BEFORE[fault.kind](self, request, fault)
        if behaviour.cookie_required and _COOKIE not in request.cookies:
            return envelope([], -1, "Cookie required", 403)
        if behaviour.origin_required and "Origin" not in request.headers:
            return envelope([], -1, "Origin required", 403)
        taken = any(one.name == name for one in world.sessions.values())
        full = behaviour.max_sessions is not None and len(world.sessions) >= behaviour.max_sessions
        # Pings are answered here and not by the library: a swallowed connection must stay silent.
        ws = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=_LONGEST, timeout=0.5, protocols=_PROTOCOLS
        )
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            return ws
        session = Session(world, name, transport, fault, framed)
        if taken or full:
            session.send_text("o")
            session.close(1000, sockjs=(2010, "Another connection still open") if taken else (1008, "Too many"))
        else:
            world.sessions[session.number] = session
            world.counters["connects"] += 1
            session.opened()
        try:
            await self._read(ws, session)
        finally:
            world.sessions.pop(session.number, None)
            session.transport.close()
        return ws

    async def _read(self, ws: web.WebSocketResponse, session: Session) -> None:
        while True:
            message = await ws.receive()
            if message.type is WSMsgType.TEXT:
                session.heard(message.data)
            elif message.type is WSMsgType.PING:
                session.write(wire.ws_frame(wire.PONG, message.data))
            elif message.type is WSMsgType.BINARY:
                session.close(1003, "Binary messages not supported")
            elif message.type is WSMsgType.CLOSE:
                session.write(wire.ws_close(message.data or None))
                return
            elif message.type is not WSMsgType.PONG:
                return

    # --- faults in place of the upgrade

    async def _hang(self, request: web.Request, _fault: Fault) -> web.StreamResponse:
        await self._world.stopping.wait()
        return _gone(request)

    async def _status(self, _request: web.Request, fault: Fault) -> web.StreamResponse:
        answer = html_page(fault.status)
        answer.headers.update(fault.headers)
        return answer

    async def _reset(self, request: web.Request, _fault: Fault) -> web.StreamResponse:
        return _gone(request)

    async def _wrong_accept(self, request: web.Request, _fault: Fault) -> web.StreamResponse:
        accept = base64.b64encode(hashlib.sha1(b"wrong").digest()).decode()
        if request.transport is not None:
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            request.transport.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
            await asyncio.sleep(0.5)
        return _gone(request)


_BEFORE = {
    "hang": Realtime._hang,
    "status": Realtime._status,
    "reset": Realtime._reset,
    "wrong_accept": Realtime._wrong_accept,
}


def _gone(request: web.Request) -> web.StreamResponse:
    """Reset the connection; what the library then tries to answer goes nowhere."""
    if request.transport is not None:
        reset(request.transport)
    return web.Response(status=500)
