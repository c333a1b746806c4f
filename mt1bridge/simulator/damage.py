"""REST answers as no server should give them; each kind of `faults.REST_FAULTS`."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from mt1bridge.simulator.faults import Fault
from mt1bridge.simulator.rest import envelope, html_page
from mt1bridge.simulator.transport import reset
from mt1bridge.simulator.world import World

Answer = Callable[[], Awaitable[web.StreamResponse]]
_CHUNK = b" " * 65536


async def damaged(world: World, request: web.Request, fault: Fault, answer: Answer) -> web.StreamResponse:
    """Answer the request as the fault says; `answer()` carries the call out and gives the true answer."""
    if fault.kind in ("hang", "reset", "lost"):
        return await _nothing(world, request, fault, answer)
    if fault.kind == "huge":
        return await _huge(request, fault)
    if fault.kind in ("truncated", "cut", "slow", "delay"):
        true = await answer()
        body = true.body if isinstance(true, web.Response) and isinstance(true.body, bytes) else b""
        if fault.kind == "truncated":
            return await _truncated(request, true, body)
        if fault.kind == "slow":
            return await _slow(request, true, body, fault.delay_s)
        if fault.kind == "delay":
            await asyncio.sleep(fault.delay_s)
            return true
        return _like(true, body[: len(body) // 2])
    return _composed(fault)


def _composed(fault: Fault) -> web.Response:
    if fault.kind == "envelope":
        answer = envelope([], fault.status, fault.reason)
    elif fault.kind == "raw":
        body = fault.body.encode("utf-8", "surrogatepass") if fault.body_hex is None else bytes.fromhex(fault.body_hex)
        answer = web.Response(status=fault.status, body=body)
        answer.content_type = "application/json"
    elif fault.kind == "status":
        answer = html_page(fault.status)
    else:
        answer = html_page(200) if fault.kind == "html" else web.Response(status=200)
    answer.headers.update(fault.headers)
    return answer


def _like(true: web.StreamResponse, body: bytes) -> web.Response:
    answer = web.Response(status=true.status, body=body)
    answer.content_type = true.content_type
    if "authorization" in true.headers:
        answer.headers["authorization"] = true.headers["authorization"]
    return answer


async def _nothing(world: World, request: web.Request, fault: Fault, answer: Answer) -> web.StreamResponse:
    if fault.kind == "hang":
        await world.stopping.wait()
    elif fault.kind == "lost":
        await answer()
    if request.transport is not None:
        if fault.kind == "reset":
            reset(request.transport)
        else:
            request.transport.close()
    return web.Response(status=500)  # goes nowhere: the connection is closed


async def _truncated(request: web.Request, true: web.StreamResponse, body: bytes) -> web.StreamResponse:
    stream = web.StreamResponse(status=true.status)
    stream.content_type = "application/json"
    stream.content_length = len(body)
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return stream


async def _slow(request: web.Request, true: web.StreamResponse, body: bytes, pause_s: float) -> web.StreamResponse:
    stream = web.StreamResponse(status=true.status)
    stream.content_type = "application/json"
    stream.content_length = len(body)
    await stream.prepare(request)
    for place in range(len(body)):
        await asyncio.sleep(pause_s)
        await stream.write(body[place : place + 1])
    return stream


async def _huge(request: web.Request, fault: Fault) -> web.StreamResponse:
    stream = web.StreamResponse()
    stream.content_type = "application/json"
    await stream.prepare(request)
    await stream.write(b'{"status":0,"message":"OK","data":[')
    for _ in range(fault.size // len(_CHUNK)):
        await stream.write(_CHUNK)
    return stream
