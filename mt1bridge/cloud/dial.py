"""From a URL to a connected stream: name, TCP, proxy and TLS, each failure with its own trouble and words.

Everything waits in `Wire.wait`, so one deadline covers all of it and a close ends it at once. Only the resolver of
the system cannot be interrupted: it runs in a thread of its own that lives as long as the question.
"""

import base64
import errno
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.cloud.rest_trouble import explain
from mt1bridge.cloud.sockjs import plain
from mt1bridge.cloud.wire import LinkFailure, Waker, Wire
from mt1bridge.model.upstream import Trouble

_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})(?: ([^\r\n]*))?\r?\n")
Address = tuple[int, Any]  # family, and what connect() takes of it


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; authorization: the header's value, if the URL named a user."""

    host: str
    port: int
    authorization: str | None

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def dial(url: str, wire: Wire, tls: ssl.SSLContext | None, limits: LinkLimits, now: Callable[[], float]) -> None:
    """Connect `wire` to the host of a ws or wss URL, through the environment's proxy if there is one.

    Raises LinkFailure.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    proxy = _proxy(host, port, secure)
    if proxy is None:
        _connect(host, port, wire, limits, now)
    else:
        _through(proxy, host, port, wire, limits, now)
    if secure and tls is not None:
        _secure(wire, tls, host)


def http_status(head: bytes) -> tuple[int, str] | None:
    """Status and words of an HTTP answer's first line."""
    found = _STATUS.match(head)
    if found is None:
        return None
    return int(found[1]), plain(f"HTTP {int(found[1])} {(found[2] or b'').decode('latin-1')}".strip(), 200)


# --- proxy ---------------------------------------------------------------------------------------------


def _proxy(host: str, port: int, secure: bool) -> Proxy | None:
    """As the environment says: HTTPS_PROXY (HTTP_PROXY for ws), ALL_PROXY, NO_PROXY."""
    proxies = getproxies()
    url = proxies.get("https" if secure else "http") or proxies.get("all")
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    parts = urlsplit(url if "//" in url else f"http://{url}")
    try:
        proxy_port = parts.port or 80
    except ValueError as error:
        raise LinkFailure(Trouble.PROXY, "the proxy's port in the environment is no number") from error
    if parts.scheme != "http" or not parts.hostname:
        raise LinkFailure(Trouble.PROXY, f"a proxy of kind {plain(parts.scheme, 20)} is not supported, only http")
    return Proxy(parts.hostname, proxy_port, _authorization(parts.username, parts.password))


def _authorization(username: str | None, password: str | None) -> str | None:
    if not username:
        return None
    pair = f"{unquote(username)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _through(proxy: Proxy, host: str, port: int, wire: Wire, limits: LinkLimits, now: Callable[[], float]) -> None:
    name = f"proxy {proxy.host}:{proxy.port}"
    try:
        _connect(proxy.host, proxy.port, wire, limits, now)
        _tunnel(proxy, host, port, wire, limits)
    except LinkFailure as failure:
        if failure.trouble in (Trouble.STOPPED, Trouble.PROXY):
            raise
        raise LinkFailure(Trouble.PROXY, f"{name}: {failure.text}") from failure
    answer = http_status(bytes(wire.head))
    if answer is None:
        raise LinkFailure(Trouble.PROXY, f"{name} did not answer in HTTP")
    if not 200 <= answer[0] < 300:
        raise LinkFailure(Trouble.PROXY, f"{name} answered {answer[1]}", http_status=answer[0])


def _tunnel(proxy: Proxy, host: str, port: int, wire: Wire, limits: LinkLimits) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    wire.send("\r\n".join([*lines, "", ""]))
    wire.begin_head(limits.head_bytes)
    while not wire.head.endswith((b"\r\n\r\n", b"\n\n")):
        wire.recv(1)
    wire.end_head()


# --- name and TCP --------------------------------------------------------------------------------------


def _connect(host: str, port: int, wire: Wire, limits: LinkLimits, now: Callable[[], float]) -> None:
    wire.attach(_race(_resolve(host, port, wire), wire, limits.stagger, now))


def _resolve(host: str, port: int, wire: Wire) -> list[Address]:
    """The addresses of a name, families by turns, the system's favourite first."""
    try:
        addresses = _addresses(host, port, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        addresses = _ask_resolver(host, port, wire)
    first = addresses[0][0] if addresses else None
    same = [address for address in addresses if address[0] == first]
    others = [address for address in addresses if address[0] != first]
    return [address for address in chain.from_iterable(zip_longest(same, others)) if address is not None]


def _addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    return [(entry[0], entry[4]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]


def _ask_resolver(host: str, port: int, wire: Wire) -> list[Address]:
    answers: list[list[Address] | Exception] = []
    done = Waker()

    def ask() -> None:
        try:
            answers.append(_addresses(host, port))
        except (OSError, UnicodeError) as error:
            answers.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=ask, name="resolver", daemon=True).start()
        while not done.is_set():
            wire.wait([(done.fileno(), select.POLLIN)])
    finally:
        done.close()
    answer = answers[0]
    if isinstance(answer, list):
        return answer
    words = answer.strerror if isinstance(answer, OSError) else "it is no name"
    raise LinkFailure(Trouble.DNS, f"{plain(host, 253)}: the name cannot be resolved ({words})")


def _race(addresses: Iterable[Address], wire: Wire, stagger: float, now: Callable[[], float]) -> socket.socket:
    """The first address that takes the connection. The next one starts `stagger` seconds after the last, or at once
    when that failed, so that a dead IPv6 does not cost the whole deadline (RFC 8305)."""
    waiting = list(addresses)
    trying: dict[int, socket.socket] = {}
    failures: list[OSError] = []
    next_at = now()
    try:
        while waiting or trying:
            if waiting and (now() >= next_at or not trying):
                next_at = now() + stagger
                _begin(waiting.pop(0), trying, failures)
                continue
            wanted = [(fd, select.POLLOUT) for fd in trying]
            for fd, _ in wire.wait(wanted, next_at) if waiting else wire.wait(wanted):
                sock = trying.pop(fd)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    return sock
                sock.close()
                failures.append(OSError(error, errno.errorcode.get(error, str(error))))
                next_at = now()
    finally:
        for sock in trying.values():
            sock.close()
    raise _unreached(failures)


def _begin(address: Address, trying: dict[int, socket.socket], failures: list[OSError]) -> None:
    try:
        sock = socket.socket(address[0], socket.SOCK_STREAM)
    except OSError as error:
        failures.append(error)
        return
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = sock.connect_ex(address[1])
    except OSError as error:
        started = error.errno or errno.EIO
    if started in (0, errno.EINPROGRESS):
        trying[sock.fileno()] = sock
    else:
        sock.close()
        failures.append(OSError(started, ""))


def _unreached(failures: list[OSError]) -> LinkFailure:
    codes = {failure.errno for failure in failures}
    if errno.ECONNREFUSED in codes:
        return LinkFailure(Trouble.REFUSED, "the server refuses connections on this port")
    if errno.ETIMEDOUT in codes:
        return LinkFailure(Trouble.TIMEOUT, "the server does not answer")
    if codes & {errno.EMFILE, errno.ENFILE}:
        return LinkFailure(Trouble.NETWORK, "no file descriptor is left for a connection")
    words = ", ".join(sorted(errno.errorcode.get(code or 0, str(code)) for code in codes)) or "no address"
    return LinkFailure(Trouble.NETWORK, f"the server cannot be reached: {words}")


# --- TLS -----------------------------------------------------------------------------------------------


def _secure(wire: Wire, tls: ssl.SSLContext, host: str) -> None:
    try:
        wire.start_tls(tls, host)
    except OSError as error:
        trouble, words = explain(error, plain(host, 253))
        raise LinkFailure(trouble, f"{words}, in the TLS handshake") from error
    except ValueError as error:
        raise LinkFailure(Trouble.TLS, f"{plain(host, 253)} is no name that TLS can verify") from error
