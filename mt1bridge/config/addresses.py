"""URLs of the MT1 server and of the broker: text -> parts, or `Unfit` with what would be right. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from mt1bridge.config.report import Unfit

BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
WEBSOCKET_PATH = "/mqtt"  # what most brokers use; the path of the URL counts if it has one
_MEANT = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "ws", "https": "wss", "mqtt+ssl": "mqtts"}
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """A checked URL. host: without brackets. port: given or the scheme's default. path: "" or from / on."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def local(self) -> bool:
        return is_loopback(self.host)


def broker(text: str) -> Address:
    """Read mqtt://, mqtts://, ws:// or wss:// with host, port and, for WebSocket, path."""
    example = "a URL such as mqtt://localhost:1883"
    if text.startswith(("unix:", "/")):
        raise Unfit(f"{example}: a socket in the file system cannot be used")
    form = _PARTS.fullmatch(text)
    if form is None:
        bare = re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?", text)
        raise Unfit(example, f"mqtt://{text}" if bare else "", echo="@" not in text)
    scheme = form[1].lower()
    if scheme not in BROKER_PORTS:
        meant = f"{_MEANT[scheme]}://{form[2]}{form[3]}" if scheme in _MEANT and "@" not in text else ""
        raise Unfit("a URL that begins with mqtt://, mqtts://, ws:// or wss://", meant, echo="@" not in text)
    host, port = _authority(form[2], BROKER_PORTS[scheme], "username and password_file")
    if form[4]:
        raise Unfit("a URL without ? and #", echo=False)
    websocket = scheme in ("ws", "wss")
    if not websocket and form[3] not in ("", "/"):
        raise Unfit("a URL that ends after host and port", f"{scheme}://{form[2]}")
    return Address(text, scheme, host, port, _visible(form[3] or WEBSOCKET_PATH) if websocket else "")


def web(text: str) -> Address:
    """Read https://, or http:// towards this machine alone; slashes at the end are dropped."""
    form = _PARTS.fullmatch(text)
    if form is None:
        bare = re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?", text)
        raise Unfit("a URL that begins with https://", f"https://{text}" if bare else "", echo="@" not in text)
    scheme = {"wss": "https", "ws": "http"}.get(form[1].lower(), form[1].lower())
    if scheme not in ("http", "https") or scheme != form[1].lower():
        meant = f"{'http' if scheme == 'http' else 'https'}://{form[2]}{form[3]}" if "@" not in text else ""
        raise Unfit("a URL that begins with https://", meant, echo="@" not in text)
    host, port = _authority(form[2], 443 if scheme == "https" else 80, "mt1.username and mt1.password_file")
    if form[4]:
        raise Unfit("a URL without ? and #", echo=False)
    if scheme == "http" and not is_loopback(host):
        raise Unfit(
            "https://: with http:// everybody on the way could read the password; "
            "http:// is for this machine (localhost) alone",
            f"https://{form[2]}{form[3]}",
        )
    path = _visible(form[3]).rstrip("/")
    return Address(f"{scheme}://{form[2]}{path}", scheme, host, port, path)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its name or address alone; nothing is looked up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _authority(text: str, default_port: int, instead: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`."""
    if "@" in text:
        raise Unfit(f"a URL without user and password: give them as {instead}", echo=False)
    form = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([^:]*))?", text)
    if form is None:
        raise Unfit("host or host:port; an IPv6 address stands in brackets, as in //[2001:db8::1]:1883")
    host, port = form[1], form[2]
    if host.startswith("["):
        host = _ipv6(host[1:-1])
    elif not _is_host(host):
        raise Unfit("a host name or an IP address after ://, without spaces")
    if port is None:
        return host, default_port
    if re.fullmatch("[1-9][0-9]{0,4}", port) is None or int(port) > 65_535:
        raise Unfit("a port from 1 to 65535 after the host")
    return host, int(port)


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError as error:
        raise Unfit("an IPv6 address within the brackets") from error


def _is_host(text: str) -> bool:
    if len(text) > 253:
        return False
    if re.fullmatch(r"[0-9.]+", text):  # all digits and dots: an IPv4 address or a slip
        try:
            ip_address(text)
        except ValueError:
            return False
        return True
    try:
        return _HOST.fullmatch(text if text.isascii() else text.encode("idna").decode()) is not None
    except UnicodeError:
        return False


def _visible(path: str) -> str:
    """Return the path if it may stand in the first line of an HTTP request."""
    if re.fullmatch("[!-~]*", path) is None:
        raise Unfit("a path without spaces and with letters of ASCII alone (write others as %..)")
    return path
