"""CA, certificate and key files: whether they can be used, before the broker is asked.

Importing ssl takes memory, so it happens only where such a file is configured.
"""

from datetime import UTC, datetime
from pathlib import Path

from mt1bridge.config.opening import Unreadable, read_regular
from mt1bridge.config.report import Unfit

LARGEST = 1 << 20  # bytes that are looked at; the system's own CA file has a quarter of that


class _Locked(Exception):
    """The library asked for the password of a key."""


def check_ca(path: Path) -> None:
    """Raise Unfit if the file holds no certificates that can be trusted."""
    import ssl

    _readable(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise Unfit(f"certificates in PEM format, but {path} holds none", echo=False) from error


def check_pair(cert: Path, key: Path) -> None:
    """Raise Unfit if certificate and key cannot be read or do not belong together."""
    import ssl

    def ask() -> str:
        raise _Locked

    _readable(cert)
    _readable(key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, ask)
    except _Locked as error:
        raise Unfit(
            f"a key without a password, but {key} has one: openssl pkey -in {key} -out NEW removes it", echo=False
        ) from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unfit(f"the key that belongs to {cert}, but {key} is another one", echo=False) from error
        raise Unfit(f"a certificate and its key in PEM format in {cert} and {key}", echo=False) from error


def expired(path: Path, now_ms: int) -> str:
    """Return when the first certificate in the file ended, "" if it has not, or cannot be read.

    now_ms: milliseconds since 1970 UTC.
    """
    import ssl

    try:
        pem = path.read_text("ascii", "replace")
        begin = pem.index("-----BEGIN CERTIFICATE-----")
        end = pem.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
        ends_at = not_after(ssl.PEM_cert_to_DER_cert(pem[begin:end]))
    except (OSError, ValueError):
        return ""
    return f"{ends_at:%Y-%m-%d %H:%M} UTC" if ends_at.timestamp() * 1000 < now_ms else ""


def not_after(der: bytes) -> datetime:
    """Return the end of a certificate's validity. Raises ValueError if the bytes are no certificate (RFC 5280, 4.1)."""
    certificate = _content(der, 0)[0]
    part = _content(certificate, 0)[0]  # tbsCertificate
    position = 0
    if part[:1] == b"\xa0":  # the version, which may be left out
        position = _content(part, 0)[1]
    for _ in range(3):  # serialNumber, signature, issuer
        position = _content(part, position)[1]
    validity = _content(part, position)[0]
    second = _content(validity, 0)[1]
    text = _content(validity, second)[0].decode("ascii")
    if validity[second] == 0x17:  # UTCTime: two digits of the year, 50 to 99 are 19xx (RFC 5280, 4.1.2.5.1)
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _content(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the content of the DER element at the position, and where the next one begins."""
    if position + 2 > len(data):
        raise ValueError("DER ends early")
    start, length = position + 2, data[position + 1]
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size]), start + size
    if start + length > len(data):
        raise ValueError("DER ends early")
    return data[start : start + length], start + length


def _readable(path: Path) -> None:
    try:
        read_regular(path, LARGEST)
    except Unreadable as error:
        raise Unfit(f"a file, but {path} {error.reason}", echo=False) from error
