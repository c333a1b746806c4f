"""The link to the MT1 server: what its shells report (events) and what they are told to do (orders).

Every connection has a `link` number that is never used again; every REST call a `call` number.
Shells put events into the inbox and do nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mt1bridge.model.secret import Secret

# --- orders ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open a connection, CONNECT with the token, SUBSCRIBE to one topic per device."""

    link: int
    token: Secret
    devices: tuple[str, ...]
    one_by_one: bool = False  # wait for each subscription to stand before the next: finds the one that is refused


@dataclass(frozen=True, slots=True)
class CloseLink:
    link: int


class Method(StrEnum):
    GET = "GET"
    POST = "POST"


@dataclass(frozen=True, slots=True)
class Call:
    """One REST call. path: below the REST root, beginning with /mt1/api/. token None: no authorization header."""

    call: int
    method: Method
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    login: tuple[str, Secret] | None = None  # (username, password), sent as the JSON body
    token: Secret | None = None


# --- events ---------------------------------------------------------------------------------------


class Trouble(StrEnum):
    """Why a connection or a call failed, in the words that users see."""

    DNS = "dns"  # the name cannot be resolved
    REFUSED = "connection_refused"
    TLS = "tls"  # certificate or protocol; the text says which
    TIMEOUT = "timeout"
    CLOSED = "closed"  # the other side went away
    SILENT = "silent"  # no byte within the silence limit
    UPGRADE = "websocket_refused"  # the upgrade to WebSocket was answered with an HTTP status
    STOMP_ERROR = "stomp_error"  # an ERROR frame
    PROTOCOL = "protocol"  # bytes that are no SockJS or STOMP, or too large
    PROXY = "proxy"
    STOPPED = "stopped"  # we closed it
    NETWORK = "network"  # anything else on the way


@dataclass(frozen=True, slots=True)
class LinkConnected:
    """CONNECTED came. heart_beat: the server's own words; silence_limit_s: when we shall call it dead."""

    link: int
    version: str
    heart_beat: str
    silence_limit_s: float


@dataclass(frozen=True, slots=True)
class LinkSubscribed:
    """All SUBSCRIBEs are sent and either receipted or given the time to take effect."""

    link: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkMessage:
    """One MESSAGE. body: its bytes as they came."""

    link: int
    destination: str
    body: bytes


@dataclass(frozen=True, slots=True)
class LinkOddity:
    """Something on a healthy link that is not understood and was passed over: told as malformed."""

    link: int
    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection is gone or never came to be. Exactly one for every OpenLink.

    close_code: of the SockJS `c[code,…]` or WebSocket close, if there was one.
    http_status: of a refused upgrade. device: with one_by_one, the one whose subscription ended it, as far as one can
    tell: named by the server's receipt, else the last one sent.
    """

    link: int
    trouble: Trouble
    text: str
    close_code: int | None = None
    http_status: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer to a call: any HTTP status at all, nothing judged.

    token, retry_after, date: the headers authorization, retry-after and date.
    """

    call: int
    http_status: int
    body: bytes
    token: Secret | None = None
    retry_after: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The call brought no whole answer."""

    call: int
    trouble: Trouble
    text: str


LinkEvent = LinkConnected | LinkSubscribed | LinkMessage | LinkOddity | LinkLost
RestEvent = Answer | NoAnswer
