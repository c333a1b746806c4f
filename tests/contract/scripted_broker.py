"""A broker that does what a script says, byte for byte: for answers that a real one does not give.

def script(peer):
    peer.accept()
    publish = peer.read()
    peer.send(puback(publish.identifier, 0x97))
    peer.hold()

with ScriptedBroker(script) as broker: ...
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBCOMP = 1, 2, 3, 4, 5, 7
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet. body: all after the fixed header. size: of the whole packet, bytes."""

    kind: int
    flags: int
    body: bytes
    size: int

    @property
    def identifier(self) -> int:
        """Return the packet identifier of a SUBSCRIBE or a PUBLISH with QoS 1."""
        at = 2 + struct.unpack_from("!H", self.body)[0] if self.kind == PUBLISH else 0
        number: int = struct.unpack_from("!H", self.body, at)[0]
        return number


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    if len(body) > 127:
        raise ValueError("a script sends short packets only")
    return bytes([kind << 4 | flags, len(body)]) + body


def connack5(code: int = 0, properties: bytes = b"", flags: int = 0) -> bytes:
    return packet(CONNACK, bytes([flags, code, len(properties)]) + properties)


def connack4(code: int = 0, flags: int = 0) -> bytes:
    return packet(CONNACK, bytes([flags, code]))


def puback(identifier: int, code: int | None = None) -> bytes:
    return packet(PUBACK, struct.pack("!H", identifier) + (b"" if code is None else bytes([code])))


class Peer:
    """One client's connection, seen from the broker.

    received: all its packets so far. rest: bytes that made no whole packet when it ended.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(PATIENCE_S)
        self.received: list[Packet] = []
        self.rest = b""

    def read(self) -> Packet:
        """Return the next packet. Raises EOFError when the client has closed."""
        first = self._exactly(1)[0]
        length, shift, size = 0, 0, 1
        while True:
            byte = self._exactly(1)[0]
            size += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        arrived = Packet(first >> 4, first & 15, self._exactly(length), size + length)
        self.received.append(arrived)
        return arrived

    def accept(self, properties: bytes = b"") -> Packet:
        """Read CONNECT, answer yes in its own version, and return it."""
        connect = self.read()
        self.send(connack5(properties=properties) if connect.body[6] == 5 else connack4())
        return connect

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hold(self) -> None:
        """Read, answering nothing, until the client closes."""
        while True:
            self.read()

    def read_until(self, kind: int) -> Packet:
        """Read up to the first packet of this kind and return it."""
        while True:
            arrived = self.read()
            if arrived.kind == kind:
                return arrived

    def be_patient(self, seconds: float) -> None:
        """Wait that long for a client that has nothing to say."""
        self._socket.settimeout(seconds)

    def says_nothing_for(self, seconds: float) -> bool:
        """Return whether no byte came in this time."""
        self._socket.settimeout(seconds)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)

    def reset(self) -> None:
        """Close with a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close in good order."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, number: int) -> bytes:
        data = b""
        while len(data) < number:
            more = self._socket.recv(number - len(data))
            if not more:
                self.rest = data
                raise EOFError
            data += more
        return data


class ScriptedBroker:
    """Runs the script for every connection, each in a thread. A script that ends closes its connection.

    peers: all that connected, in order; with TLS, only those whose handshake succeeded.
    """

    def __init__(
        self, script: Callable[[Peer], None], host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._listen, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if error is None and self.failures:
            raise self.failures[0]

    def received(self, kind: int) -> list[Packet]:
        """Return all packets of one kind, of all connections."""
        return [each for peer in self.peers for each in peer.received if each.kind == kind]

    def _listen(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connected,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connected: socket.socket) -> None:
        with connected:
            try:
                if self._context is not None:
                    connected.settimeout(PATIENCE_S)
                    connected = self._context.wrap_socket(connected, server_side=True)
                peer = Peer(connected)
                self.peers.append(peer)
                self._script(peer)
                peer.close()
            except (EOFError, OSError):
                connected.close()  # the client has gone, which is what many a script waits for
            except AssertionError as failure:
                self.failures.append(failure)
                connected.close()
