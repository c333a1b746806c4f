"""Why a REST call brought no answer: the libraries' errors -> `Trouble` and a short text that names the host. Pure.

Nothing of an error's own text is used but what OpenSSL and the operating system say: the libraries put headers,
URLs and proxies with their passwords into theirs.
"""

import errno
import os
import socket
import ssl
import zlib
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead

import urllib3.exceptions

from mt1bridge.model.upstream import Trouble

# X509_V_ERR_*, as in OpenSSL's x509_vfy.h
_CERTIFICATE = {
    9: "is not valid yet: is this machine's clock right?",
    10: "has expired, or this machine's clock is wrong",
    18: "is self-signed",
    19: "is signed by an authority that is not trusted here (self-signed)",
    20: "is signed by an authority that is not trusted here",
    21: "is signed by an authority that is not trusted here",
    23: "is revoked",
    62: "is for another host name",
    64: "is for another address",
}


class BadAnswer(ValueError):
    """What came is no HTTP answer that we take; the text says what it is."""


class CutShort(ConnectionError):
    """The connection was closed before the answer was whole."""


def explain(error: BaseException, host: str) -> tuple[Trouble, str]:
    """Return the trouble behind an error of requests, urllib3, http.client, ssl or socket, and a text for people."""
    causes = list(_causes(error))
    for judge in (_proxy, _tls, _name, _way, _system, _answer, _http):  # the wrappers last: they tell less
        for cause in causes:
            found = judge(cause)
            if found is not None:
                return found[0], f"{host}: {found[1]}"
    return Trouble.NETWORK, f"{host}: the call failed ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was made of: requests and urllib3 wrap theirs in `args` and `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _proxy(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, urllib3.exceptions.ProxyError | urllib3.exceptions.ProxySchemeUnknown):
        return Trouble.PROXY, "the proxy cannot be reached or does not let us through"
    if isinstance(error, urllib3.exceptions.LocationParseError):
        return Trouble.PROXY, "the address of the proxy or of the server cannot be read"
    return None


def _tls(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATE.get(error.verify_code)
        return Trouble.TLS, f"the certificate {known or 'is not accepted: ' + error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Trouble.CLOSED, "the connection was closed"
    if isinstance(error, ssl.SSLError):
        reason = (getattr(error, "reason", None) or "unknown").replace("_", " ").lower()
        return Trouble.TLS, f"no TLS connection: {reason}"
    return None


def _name(error: BaseException) -> tuple[Trouble, str] | None:
    return (Trouble.DNS, "the name cannot be resolved") if isinstance(error, socket.gaierror) else None


def _way(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, ConnectionRefusedError):
        return Trouble.REFUSED, "the connection is refused"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return None  # no time-out, whatever its base class says
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return Trouble.TIMEOUT, "cannot be reached in time"
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return Trouble.TIMEOUT, "no whole answer in time"
    if isinstance(error, ConnectionError | IncompleteRead | urllib3.exceptions.IncompleteRead):
        return Trouble.CLOSED, "the connection was closed before the answer was whole"
    return None


def _system(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return Trouble.NETWORK, os.strerror(error.errno)
    return None


def _answer(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, BadAnswer):
        return Trouble.PROTOCOL, str(error)
    if isinstance(error, zlib.error):
        return Trouble.PROTOCOL, "an answer that cannot be decompressed"
    return None


def _http(error: BaseException) -> tuple[Trouble, str] | None:
    if isinstance(error, HTTPException | urllib3.exceptions.ProtocolError):
        return Trouble.PROTOCOL, "an answer that is no HTTP"
    return None
