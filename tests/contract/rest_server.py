"""A server that says exactly what a test tells it to, byte by byte, and remembers what it was asked."""

import contextlib
import queue
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import certificates

from mt1bridge.cloud.rest import Deadlines, RestWorker
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, Call, Method, NoAnswer, RestEvent

PATIENCE_S = 20.0  # until a test gives up on something that should have come
PATIENT = Deadlines()
QUICK = Deadlines(connect_s=0.5, total_s=0.5)  # only where the deadline is what must come
PASSWORD = "pa55-wörd-secret"
TOKEN = "T0KEN-secret"
LOGIN = Call(1, Method.POST, "/mt1/api/user/login", login=("club", Secret(PASSWORD)))
READ = Call(2, Method.GET, "/mt1/api/user/current", token=Secret(TOKEN))


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]  # lower-case names
    body: bytes


Script = Callable[[socket.socket, Request], Any]


def say(*parts: bytes) -> Script:
    """Send these bytes and close."""

    def script(conn: socket.socket, _: Request) -> None:
        for part in parts:
            conn.sendall(part)

    return script


def answer(body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Server:
    """Runs `script` for each request; the connection stays open for the next one where the script returns True.

    raw: do not read a request first. tls: wrap every connection.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, raw: bool = False) -> None:
        self._script = script
        self._tls = tls
        self._raw = raw
        self.requests: list[Request] = []
        self.connections = 0
        self.over = threading.Event()  # for scripts that wait: set when the test is over
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def __enter__(self) -> "Server":
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for conn in list(self._open):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(conn)
            thread = threading.Thread(target=self._serve, args=(conn,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        conn = plain
        # The other side may hang up at any moment: that is what many of these tests are about.
        with contextlib.suppress(OSError):
            if self._tls is not None:
                conn = self._tls.wrap_socket(plain, server_side=True)
                self._open.append(conn)
            while self._step(conn):
                pass
        conn.close()
        plain.close()

    def _step(self, conn: socket.socket) -> bool:
        if self._raw:
            return bool(self._script(conn, Request("", {}, b"")))
        request = read_request(conn)
        if request is None:
            return False
        self.requests.append(request)
        return bool(self._script(conn, request))


def read_request(conn: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = conn.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    while len(body) < int(headers.get("content-length", "0")):
        body += conn.recv(65536)
    return Request(line, headers, body)


class Worker:
    """A RestWorker with an inbox to look into; closed and joined at the end."""

    def __init__(self, url: str, deadlines: Deadlines = PATIENT, tls: ssl.SSLContext | None = None) -> None:
        self.inbox: queue.SimpleQueue[RestEvent] = queue.SimpleQueue()
        self.rest = RestWorker(url, tls, self.inbox.put, deadlines=deadlines)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.rest.close()
        assert self.rest.join(PATIENCE_S)

    def ask(self, call: Call = READ) -> RestEvent:
        self.rest.submit(call)
        return self.inbox.get(timeout=PATIENCE_S)

    def answer(self, call: Call = READ) -> Answer:
        event = self.ask(call)
        assert isinstance(event, Answer), event
        return event

    def trouble(self, call: Call = READ) -> NoAnswer:
        event = self.ask(call)
        assert isinstance(event, NoAnswer), event
        assert event.call == call.call
        assert PASSWORD not in event.text
        assert TOKEN not in event.text
        return event


def ask(script: Script, call: Call = READ, deadlines: Deadlines = PATIENT) -> RestEvent:
    with Server(script) as server, Worker(server.url, deadlines) as worker:
        return worker.ask(call)


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._signing = certificates.Authority(directory)

    @staticmethod
    def available() -> bool:
        return shutil.which("openssl") is not None

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)

    @property
    def file(self) -> str:
        return str(self._signing.file)

    def server(self, name: str = "localhost", *, expired: bool = False, self_signed: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self_signed:
            key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key"
            self._openssl(f"req -x509 {key} -out leaf.pem -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}")
            context.load_cert_chain(self._directory / "leaf.pem", self._directory / "leaf.key")
        else:
            signed = self._signing.server(name, expired=expired)
            context.load_cert_chain(signed.cert, signed.key)
        return context

    def _openssl(self, command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=self._directory, check=True, capture_output=True)
