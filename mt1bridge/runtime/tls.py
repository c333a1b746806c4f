"""TLS towards a server: one verified context, and plain words for what went wrong.

Verification is never turned off. Python 3.13 is stricter than older ones: it refuses a private CA without the
`keyUsage` extension, so that case has a sentence of its own.
"""

import contextlib
import ssl
from pathlib import Path
from typing import NoReturn

from mt1bridge.model.errors import BridgeError

# Numbers of X509_V_ERR_*, openssl-verify(1)
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_CA = {2, 18, 19, 20, 21, 27}
_REVOKED = 23
_INVALID_CA = {24, 79}
_OTHER_HOST = {62, 64}
_CA_WITHOUT_KEY_USAGE = 92

_ALERTS = {
    "CERTIFICATE_REQUIRED": "{host} demands a client certificate: set cert_file and key_file",
    "HANDSHAKE_FAILURE": "{host} refused the TLS handshake: it may demand a client certificate (cert_file, key_file)",
    "ALERT_UNKNOWN_CA": "{host} does not know the CA that signed our client certificate (cert_file)",
    "CERTIFICATE_EXPIRED": "{host} says that our client certificate (cert_file) has expired",
    "CERTIFICATE_REVOKED": "{host} says that our client certificate (cert_file) has been revoked",
    "BAD_CERTIFICATE": "{host} does not accept our client certificate (cert_file)",
    "CERTIFICATE_UNKNOWN": "{host} does not accept our client certificate (cert_file)",
    "ALERT_DECRYPT_ERROR": "{host} does not accept our client certificate (cert_file)",
    "ALERT_ACCESS_DENIED": "{host} does not admit our client certificate (cert_file)",
    "UNSUPPORTED_PROTOCOL": "{host} speaks only TLS versions that are no longer safe; TLS 1.2 or newer is needed",
    "PROTOCOL_VERSION": "{host} speaks only TLS versions that are no longer safe; TLS 1.2 or newer is needed",
    "WRONG_VERSION_NUMBER": "{host} does not speak TLS on this port",
    "HTTP_REQUEST": "{host} does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "{host} does not speak TLS on this port",
}


class TlsFileError(BridgeError):
    """A certificate or key file cannot be used. setting: ca_file, cert_file or key_file."""

    def __init__(self, setting: str, file: Path, text: str) -> None:
        self.setting, self.file = setting, file
        super().__init__(f"{setting} {file}: {text}")


class _EncryptedKeyError(Exception):
    """The key wants a password."""


def client_context(ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and name, TLS 1.2 or newer.

    ca_file None: the system's certificates. cert_file, key_file: our own certificate, both PEM; the key may stand in
    cert_file. Costs 50 ms and 0.8 MB (FEASIBILITY, section 5): build it once for each peer.
    Raises TlsFileError for any fault of a file.
    """
    if ca_file is None:
        context = ssl.create_default_context()
    else:
        _readable("ca_file", ca_file)
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
        except ssl.SSLError as error:
            raise TlsFileError("ca_file", ca_file, "holds no PEM certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        _load_own(context, cert_file, key_file)
    elif key_file is not None:
        raise TlsFileError("key_file", key_file, "is set without cert_file")
    return context


def _load_own(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    _readable("cert_file", cert_file)
    if key_file is not None:
        _readable("key_file", key_file)
    key_setting, key_place = ("key_file", key_file) if key_file is not None else ("cert_file", cert_file)
    if b"-----BEGIN CERTIFICATE-----" not in cert_file.read_bytes():
        raise TlsFileError("cert_file", cert_file, "holds no PEM certificate")
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _EncryptedKeyError as error:
        raise TlsFileError(
            key_setting, key_place, "the key is protected by a password, which is not supported"
        ) from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(key_setting, key_place, f"the key does not belong to {cert_file}") from error
        raise TlsFileError(key_setting, key_place, f"holds no usable PEM key ({error.reason or error})") from error


def _readable(setting: str, file: Path) -> None:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except FileNotFoundError as error:
        raise TlsFileError(setting, file, "does not exist") from error
    except IsADirectoryError as error:
        raise TlsFileError(setting, file, "is a directory") from error
    except PermissionError as error:
        raise TlsFileError(setting, file, "may not be read by this user") from error
    except OSError as error:
        raise TlsFileError(setting, file, error.strerror or str(error)) from error


def _no_password() -> NoReturn:
    # without this OpenSSL would ask on the terminal, and a daemon would wait for ever
    raise _EncryptedKeyError


class ContextKeeper:
    """One context for all connections, made anew when a file has changed: a certificate is renewed now and then."""

    def __init__(self, *files: Path | None) -> None:
        self._files = files
        self._state: tuple[tuple[int, int] | None, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def get(self) -> ssl.SSLContext:
        """Return the context. Raises TlsFileError."""
        state = tuple(_state(file) for file in self._files)
        if self._context is None or state != self._state:
            self._context = client_context(*self._files)
            self._state = state
        return self._context


def _state(file: Path | None) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        if file is not None:
            return file.stat().st_mtime_ns, file.stat().st_size
    return None


def explain(error: ssl.SSLError, host: str) -> str:
    """Return a sentence that says what is wrong with TLS towards host, and what would help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, host)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{host} closed the connection in the middle of TLS: does this port speak TLS?"
    reason = error.reason or ""
    for name, sentence in _ALERTS.items():
        if name in reason:
            return sentence.format(host=host)
    return f"TLS with {host} failed: {reason or error}"


def _explain_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"the certificate of {host} (or of its CA) has expired, or the clock of this machine is wrong"
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} (or of its CA) is not valid yet: is the clock of this machine right?"
    if code in _OTHER_HOST:
        return f"the certificate was issued for another name than {host}"
    if code in _UNKNOWN_CA:
        return f"the certificate of {host} is signed by a CA that is unknown here: set ca_file to that CA's certificate"
    if code == _REVOKED:
        return f"the certificate of {host} has been revoked"
    if code == _CA_WITHOUT_KEY_USAGE:
        return f"the CA of {host} lacks the extension keyUsage, which Python 3.13 and newer demand: make it anew"
    if code in _INVALID_CA:
        return f"the certificate of {host} is signed by one that is no CA's"
    return f"the certificate of {host} is not accepted: {error.verify_message}"
