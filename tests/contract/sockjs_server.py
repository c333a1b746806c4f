"""Two servers to try the link against, each in threads of its own, on a port of the system's choice.

`RawServer` speaks WebSocket by hand, so that a test's script can send any bytes at all and stop at any point.
`SockJsServer` is PyPI's `sockjs` on aiohttp with a small STOMP side, so that the framing is not ours alone.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import sockjs
from aiohttp import web

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.cloud.link import Links
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import CloseLink, LinkEvent, LinkLost, OpenLink

T = TypeVar("T")
PATIENCE = 15.0  # seconds until a test gives up on something that should come at once
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
QUICK = LinkLimits(receipts=0.3, one_by_one=0.2)  # for servers that do no receipts


# --- the client's side -----------------------------------------------------------------------------------


class Bench:
    """A `Links` and its inbox."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, limits: LinkLimits = QUICK, **options: Any) -> None:
        self.inbox: queue.Queue[LinkEvent] = queue.Queue()
        self.events: list[LinkEvent] = []
        self.links = Links(url, tls, self.inbox.put, limits=limits, **options)
        self._next = 1

    def open(self, *devices: str, token: str = "token", one_by_one: bool = False) -> int:
        number, self._next = self._next, self._next + 1
        self.links.open(OpenLink(number, Secret(token), devices, one_by_one))
        return number

    def close(self, link: int) -> None:
        self.links.close(CloseLink(link))

    def next(self, patience: float = PATIENCE) -> LinkEvent:
        event = self.inbox.get(timeout=patience)
        self.events.append(event)
        return event

    def wait(self, kind: type[T], patience: float = PATIENCE) -> T:
        """The next event of this kind; others before it are kept in `events`. A link lost meanwhile is a failure."""
        until = time.monotonic() + patience
        while True:
            event = self.next(max(0.01, until - time.monotonic()))
            if isinstance(event, kind):
                return event
            assert not isinstance(event, LinkLost), event

    def lost(self, *devices: str, token: str = "token", one_by_one: bool = False) -> LinkLost:
        """Open a link that is not to last, and how it ended."""
        self.open(*devices, token=token, one_by_one=one_by_one)
        return self.end()

    def end(self) -> LinkLost:
        return self.wait(LinkLost)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(1, self._next):
            self.close(number)
        self.links.join(PATIENCE)
        assert not self.links.dead()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("link-")]


def eventually(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


def message(device: str, body: str, subscription: str = "sub-0", **headers: str) -> str:
    """A MESSAGE as Spring writes it; headers replace its own, "" leaves one out."""
    values = {
        "destination": f"/topic/device/{device}/trigger",
        "content-type": "application/json;charset=UTF-8",
        "subscription": subscription,
        "message-id": "abc123-7",
        "content-length": str(len(body.encode())),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}:{value}\n" for name, value in values.items() if value)
    return f"MESSAGE\n{head}\n{body}\0"


def array_of(*texts: str) -> str:
    return "a" + json.dumps(texts)


# --- a server by hand ------------------------------------------------------------------------------------


class Peer:
    """One accepted connection, for a script."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.request = ""
        self._strings: list[str] = []

    # HTTP

    def read_head(self) -> str:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self._exactly(1)
        return data.decode()

    def upgrade(self, accept: str | None = None) -> "Peer":
        self.request = self.read_head()
        headers = dict(line.lower().split(": ", 1) for line in self.request.split("\r\n")[1:] if line)
        key = next(line[19:] for line in self.request.split("\r\n") if line.lower().startswith("sec-websocket-key: "))
        assert headers["upgrade"] == "websocket"
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        self.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept or base64.b64encode(digest).decode()}\r\n\r\n".encode()
        )
        return self

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    # WebSocket

    def frame(self, opcode: int, payload: bytes, *, fin: int = 1, rsv: int = 0, mask: bool = False) -> None:
        size = len(payload)
        second = (
            bytes([size | mask << 7])
            if size < 126
            else (
                struct.pack("!BH", 126 | mask << 7, size) if size < 65536 else struct.pack("!BQ", 127 | mask << 7, size)
            )
        )
        self.write(bytes([fin << 7 | rsv << 4 | opcode]) + second + (b"\0\0\0\0" if mask else b"") + payload)

    def text(self, text: str) -> None:
        self.frame(TEXT, text.encode())

    def strings(self, *texts: str) -> None:
        self.text(array_of(*texts))

    def read_frame(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        assert second & 128, "a client must mask"
        size = second & 127
        if size > 125:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8))
        key, data = self._exactly(4), self._exactly(size)
        return first & 15, bytes(byte ^ key[index % 4] for index, byte in enumerate(data))

    def read_stomp(self) -> str:
        """The next STOMP frame of the client, heart-beats passed over."""
        while True:
            while self._strings:
                string = self._strings.pop(0)
                if string.strip("\n"):
                    return string
            opcode, data = self.read_frame()
            if opcode == TEXT:
                self._strings += json.loads(data)

    def hold(self) -> None:
        """Read and forget until the client goes."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                self._exactly(1)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # SockJS and STOMP

    def greet(self, connected: str = "CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0") -> str:
        """Upgrade, `o`, read CONNECT and answer it; the client's CONNECT."""
        self.upgrade()
        self.text("o")
        connect = self.read_stomp()
        assert connect.startswith("CONNECT\n"), connect
        self.strings(connected)
        return connect

    def serve(self, devices: int = 1, **options: str) -> "Peer":
        """Greet, and answer so many SUBSCRIBEs with receipts."""
        self.greet(**options)
        for _ in range(devices):
            self.receipt(self.read_stomp())
        return self

    def receipt(self, subscribe: str) -> None:
        self.strings(f"RECEIPT\nreceipt-id:{header(subscribe, 'receipt')}\n\n\0")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def header(frame: str, name: str) -> str:
    values = [line.partition(":")[2] for line in frame.split("\n\n")[0].split("\n") if line.startswith(f"{name}:")]
    assert len(values) == 1, frame
    return values[0]


class RawServer:
    """Runs `script(peer)` for every connection, in a thread each. What goes wrong in a script fails the test, except
    that the client went away."""

    def __init__(self, script: Callable[[Peer], object], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"):
        self._script, self._tls = script, tls
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}/devices"
        self.peers: list[Peer] = []
        self._faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, name="raw-server", daemon=True)]

    def __enter__(self) -> "RawServer":
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(PATIENCE)
        for peer in self.peers:
            peer.sock.close()
        if self._faults and kind is None:
            raise self._faults[0]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._run, args=(sock,), name="raw-peer", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        peer = Peer(sock, len(self.peers))
        self.peers.append(peer)
        try:
            if self._tls is not None:
                peer.sock = self._tls.wrap_socket(sock, server_side=True)
            self._script(peer)
        except (OSError, EOFError):
            pass  # the client went away, as it may
        except BaseException as fault:  # noqa: BLE001 - raised again in the test's thread
            self._faults.append(fault)
        finally:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)


# --- PyPI's sockjs ---------------------------------------------------------------------------------------


class SockJsServer:
    """A SockJS server with a STOMP broker of a few lines: CONNECTED, receipts, and `publish`."""

    def __init__(self, heart_beat: str = "10000,10000") -> None:
        self._heart_beat = heart_beat
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()), daemon=True)
        self._subscriptions: dict[Any, dict[str, str]] = {}
        self.frames: list[str] = []
        self.url = ""

    def __enter__(self) -> "SockJsServer":
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        self._loop.close()

    def publish(self, device: str, *bodies: str, together: bool = False) -> None:
        """To every subscriber, each body in a message of its own, or all in one a[...]."""
        self._loop.call_soon_threadsafe(self._publish, device, bodies, together)

    async def _main(self) -> None:
        app = web.Application()
        sockjs.add_endpoint(app, self._heard, name="devices", prefix="/devices")
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/devices"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _heard(self, _manager: object, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.CLOSED:
            self._subscriptions.pop(session, None)
        if msg.type != sockjs.MsgType.MESSAGE or not msg.data.strip("\n"):
            return
        self.frames.append(msg.data)
        if msg.data.startswith("CONNECT\n"):
            self._subscriptions[session] = {}
            session.send(f"CONNECTED\nversion:1.2\nheart-beat:{self._heart_beat}\n\n\0")
        elif msg.data.startswith("SUBSCRIBE\n"):
            self._subscriptions[session][header(msg.data, "destination")] = header(msg.data, "id")
            session.send(f"RECEIPT\nreceipt-id:{header(msg.data, 'receipt')}\n\n\0")

    def _publish(self, device: str, bodies: tuple[str, ...], together: bool) -> None:
        for session, subscriptions in self._subscriptions.items():
            subscription = subscriptions.get(f"/topic/device/{device}/trigger")
            texts = [message(device, body, subscription) for body in bodies] if subscription else []
            if together:
                session.send_frame(array_of(*texts))
            else:
                for text in texts:
                    session.send(text)


@contextlib.contextmanager
def raw(script: Callable[[Peer], object], limits: LinkLimits = QUICK, **options: Any) -> Iterator[Bench]:
    """A raw server and a bench that knows its address."""
    with RawServer(script) as server, Bench(server.url, limits=limits, **options) as bench:
        yield bench
