"""A TCP proxy with faults on command, in a thread of its own: between bridge and MT1 server, or bridge and broker.

    with Proxy(broker.port) as way:
        connect_something(way.port)
        way.swallow(down=True, up=False)  # what the broker says, PUBACKs among it, never arrives
        way.reset()                       # RST to both sides of every connection

Up is from the one who connects to the server, down is back. What is swallowed is gone: such a connection can only be
ended. What is stalled, delayed or throttled arrives later, whole and in order.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

ANSWER_S = 10.0
CHUNK = 65536
WAITING_CHUNKS = 256
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


@dataclass(slots=True)
class Way:
    """One direction: its faults, and how many bytes it has passed on or swallowed, over all connections."""

    swallows: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    flows: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: nothing is read any more
    passed: int = 0
    swallowed: int = 0


@dataclass(eq=False, slots=True)
class _Pair:
    """One connection: the one who connected and, unless it hangs, the server."""

    client: asyncio.StreamWriter
    delay_s: float
    server: asyncio.StreamWriter | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def end(self, rudely: bool) -> None:
        for writer in (self.client, self.server):
            if writer is None:
                continue
            if rudely:
                with contextlib.suppress(OSError):  # closed already
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                writer.transport.abort()
            else:
                writer.close()
        for task in self.tasks:
            task.cancel()


class Proxy:
    """Listens on a port of the system's choice on 127.0.0.1 and keeps it. target: the port that it leads to."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0  # accepted so far
        self._delay_coming_s = 0.0
        self.up, self.down = Way(), Way()
        self.up.flows.set()
        self.down.flows.set()
        self._pairs: set[_Pair] = set()
        self._hangs = False
        self._server: asyncio.Server | None = None
        self._started = threading.Event()
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(ANSWER_S):
            raise RuntimeError("the proxy does not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(ANSWER_S)

    # --- faults -------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """New connections are refused, as where nobody listens; those that stand go on."""
        self._do(self._stop_listening)

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def close(self) -> int:
        """End every connection in good order (FIN to both sides); how many there were."""
        return self._do(lambda: self._end_all(rudely=False))

    def reset(self) -> int:
        """End every connection with RST to both sides; how many there were."""
        return self._do(lambda: self._end_all(rudely=True))

    def hang(self, on: bool = True) -> None:
        """New connections are accepted and never led on nor answered."""

        def act() -> None:
            self._hangs = on

        self._do(act)

    def swallow(self, up: bool = True, down: bool = True) -> None:
        """Bytes of these directions vanish, on all connections, also on coming ones; so does the end of a side."""

        def act() -> None:
            self.up.swallows, self.down.swallows = up, down

        self._do(act)

    def stall(self, up: bool = True, down: bool = True) -> None:
        """Nothing of these directions is taken any more; it arrives after `clear`."""

        def act() -> None:
            for way, stop in ((self.up, up), (self.down, down)):
                if stop:
                    way.flows.clear()
                else:
                    way.flows.set()

        self._do(act)

    def delay(self, seconds: float) -> None:
        """Everything takes so long, each way."""

        def act() -> None:
            self.up.delay_s = self.down.delay_s = seconds

        self._do(act)

    def delay_coming(self, seconds: float) -> None:
        """On connections that are made from now on everything takes so long more, each way, as long as they last."""
        self._do(lambda: setattr(self, "_delay_coming_s", seconds))

    def throttle(self, bytes_per_s: float | None, up: bool = True, down: bool = False) -> None:
        """No more than so many bytes a second in these directions; None: as fast as it goes."""

        def act() -> None:
            self.up.bytes_per_s = bytes_per_s if up else None
            self.down.bytes_per_s = bytes_per_s if down else None

        self._do(act)

    def clear(self) -> None:
        """No more faults. Connections that swallowed or hung are reset: what they lost cannot be had again."""
        broken = self._hangs or self.up.swallows or self.down.swallows
        self.hang(False)
        if broken:
            self.reset()
        self.swallow(up=False, down=False)
        self.stall(up=False, down=False)
        self.delay(0.0)
        self.delay_coming(0.0)
        self.throttle(None)
        self.accept()

    def open_connections(self) -> int:
        return self._do(lambda: len(self._pairs))

    # --- inside: all of it in the proxy's own thread --------------------------------------------------

    def _do(self, act: Callable[[], Any]) -> Any:
        async def inside() -> Any:
            return act()

        return self._run(inside())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        assert self._loop is not None, "not started"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        await self._listen()
        self._started.set()
        await self._end.wait()
        self._stop_listening()
        self._end_all(rudely=True)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _end_all(self, rudely: bool) -> int:
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.end(rudely)
        return len(pairs)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pair = _Pair(writer, self._delay_coming_s)
        self._pairs.add(pair)
        if self._hangs:
            return
        try:
            from_server, pair.server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._over(pair)
            return
        if pair not in self._pairs:  # a fault ended it meanwhile
            pair.end(rudely=True)
            return
        queues: tuple[asyncio.Queue[Any], ...] = (asyncio.Queue(WAITING_CHUNKS), asyncio.Queue(WAITING_CHUNKS))
        for source, sink, way, queue in (
            (reader, pair.server, self.up, queues[0]),
            (from_server, writer, self.down, queues[1]),
        ):
            pair.tasks.append(asyncio.create_task(self._take(source, way, queue, pair)))
            pair.tasks.append(asyncio.create_task(self._give(sink, way, queue, pair)))

    async def _take(self, source: asyncio.StreamReader, way: Way, queue: "asyncio.Queue[Any]", pair: _Pair) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await way.flows.wait()
                data = await source.read(CHUNK)
                await queue.put((loop.time() + way.delay_s + pair.delay_s, data))
                if not data:
                    return
        except OSError:
            if not way.swallows:
                self._over(pair)

    async def _give(self, sink: asyncio.StreamWriter, way: Way, queue: "asyncio.Queue[Any]", pair: _Pair) -> None:
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                if way.swallows:
                    way.swallowed += len(data)
                elif not data:
                    sink.write_eof()
                    pair.tasks = [task for task in pair.tasks if task is not asyncio.current_task()]
                    if all(task.done() for task in pair.tasks):
                        self._pairs.discard(pair)
                        pair.end(rudely=False)
                    return
                else:
                    await self._write(sink, way, data)
        except OSError:
            self._over(pair)

    async def _write(self, sink: asyncio.StreamWriter, way: Way, data: bytes) -> None:
        rate = way.bytes_per_s
        step = len(data) if rate is None else max(1, int(rate / 20))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            sink.write(piece)
            await sink.drain()
            way.passed += len(piece)
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)

    def _over(self, pair: _Pair) -> None:
        """One side was reset, or the server cannot be reached: so it is for the other side."""
        if pair in self._pairs:
            self._pairs.discard(pair)
            pair.end(rudely=True)
