"""What came of a REST call, in the order in which MT1-API, section 3, says to read an answer. Pure.

`judge` makes one of five outcomes of whatever came; the readers below it make values of the `data` of an `Ok`.
Every outcome has a `text` for people, which never holds a secret or an unprintable character.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mt1bridge.cloud.decode import device_id
from mt1bridge.cloud.json_text import NotJson, compact, encodable, parse
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, NoAnswer, Trouble

STATUS_AUTH = -1007
STATUS_DEVICE_REFUSED = -2011
STATUS_QUOTA = -9000
ROLE = "TIMING_POINT_ACCOUNT"  # without it the API is of no use (MT1-API, section 2)

RETRY_AFTER_MIN_S = 1.0
RETRY_AFTER_MAX_S = 3600.0
MAX_TOKEN_CHARS = 4096  # 32 are usual
MAX_ID_CHARS = 128
MAX_NAME_CHARS = 200
MAX_MESSAGE_CHARS = 200
HIDDEN = "***"
DEVICE_RAW_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Ok:
    """Status 0. data: the envelope's list as parsed; fractions in it are `json_text.Number`."""

    data: list[object]

    @property
    def text(self) -> str:
        return "the MT1 server answered"


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """The token, or at login the credentials, are not accepted: HTTP 401 or 403, or status -1007."""

    text: str


@dataclass(frozen=True, slots=True)
class QuotaExceeded:
    """HTTP 429 or status -9000. retry_after_s: what the server asks for, 1 s to 1 h; None if it does not say."""

    retry_after_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Any other status: holds for this one path only. message: the server's words, made printable."""

    status: int
    message: str

    @property
    def device_refused(self) -> bool:
        """The device does not belong to this account (MT1-API, section 3)."""
        return self.status == STATUS_DEVICE_REFUSED

    @property
    def text(self) -> str:
        what = "the device is refused for this account" if self.device_refused else "the MT1 server refused the call"
        return f"{what}: status {self.status}" + (f" ({self.message})" if self.message else "")


@dataclass(frozen=True, slots=True)
class Transient:
    """No usable answer: try again later. trouble: set where no whole answer came at all."""

    text: str
    trouble: Trouble | None = None


Outcome = Ok | AuthRefused | QuotaExceeded | Refused | Transient


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a login. id: goes into a path, so quote it there."""

    id: str
    roles: tuple[str, ...]
    username: str | None

    @property
    def may_time(self) -> bool:
        return ROLE in self.roles


@dataclass(frozen=True, slots=True)
class Login:
    """A login that worked. note: what was odd about the token's header, for the log."""

    account: Account
    token: Secret
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the account. raw: the server's JSON of it, cut at 16 KiB. Names are untrusted text."""

    id: str
    type: str | None
    name: str | None
    raw: str


def without(outcome: Outcome, secrets: Iterable[Secret]) -> Outcome:
    """The same, where the server's words repeat a secret: without it."""
    if isinstance(outcome, Ok):
        return outcome
    words = outcome.message if isinstance(outcome, Refused) else outcome.text
    for secret in secrets:
        words = words.replace(secret.reveal() or HIDDEN, HIDDEN)
    return replace(outcome, message=words) if isinstance(outcome, Refused) else replace(outcome, text=words)


def judge(reply: Answer | NoAnswer, utc_ms: int | None = None) -> Outcome:
    """Return what came of a call. utc_ms: our own clock, for a Retry-After date in an answer without a Date."""
    if isinstance(reply, NoAnswer):
        return Transient(reply.text, reply.trouble)
    status = reply.http_status
    if status in (401, 403):
        return AuthRefused(f"the MT1 server refused the credentials or the token: HTTP {status}")
    if status == 429:
        return QuotaExceeded(_retry_after_s(reply, utc_ms), "the MT1 server's quota is used up: HTTP 429")
    if 300 <= status < 400:
        return Transient(f"the MT1 server redirects (HTTP {status}), which is not followed: is mt1.url right?")
    if not 200 <= status < 300:
        return Transient(f"the MT1 server answers HTTP {status}")
    return _judge_body(reply, utc_ms)


def read_login(answer: Answer, outcome: Ok) -> Login | Transient:
    """Return account and token of a login that was answered with status 0."""
    found = account(outcome.data)
    if isinstance(found, Transient):
        return found
    if answer.token is None:
        return Transient("the login was accepted, but the answer has no authorization header")
    text = answer.token.reveal().strip(" \t")
    note = None
    word, _, rest = text.partition(" ")
    if word.lower() == "bearer":
        text = rest.strip(" ")
        note = "the token came with the word Bearer, which is not part of it"
    if not text:
        return Transient("the login was accepted, but the authorization header is empty")
    if len(text) > MAX_TOKEN_CHARS:
        return Transient(f"the login was accepted, but the token has {len(text)} characters")
    if not _visible(text):
        return Transient("the login was accepted, but the token has characters that no token has")
    return Login(found, Secret(text), note)


def account(data: list[object]) -> Account | Transient:
    """Return the account of a login or of user/current."""
    first = data[0] if data else None
    if not isinstance(first, dict):
        return _foreign("no account in it")
    identity = first.get("id")
    if isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    if not isinstance(identity, str) or not _visible(identity) or not 1 <= len(identity) <= MAX_ID_CHARS:
        return _foreign("the account has no usable id")
    roles = first.get("roles")
    username = first.get("username")
    return Account(
        id=identity,
        roles=tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else (),
        username=_name(username),
    )


def count(data: list[object]) -> int | None:
    """Return the number of triggers of a channel, None if it cannot be read."""
    first = data[0] if data else None
    value = first.get("value") if isinstance(first, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def devices(data: list[object]) -> list[Device]:
    """Return the account's devices, each id once; what has no id of digits is left out."""
    found: dict[str, Device] = {}
    for element in data:
        identity = device_id(element.get("id")) if isinstance(element, dict) else None
        if isinstance(element, dict) and identity is not None and identity not in found:
            kind = _name(element.get("type"))
            name = next((name for name in map(_name, _name_values(element)) if name), None)
            found[identity] = Device(identity, kind, name, compact(element, DEVICE_RAW_LIMIT))
    return list(found.values())


def server_date_ms(date_header: str | None) -> int | None:
    """Return a Date header as milliseconds since 1970 UTC (whole seconds), None if there is none to read."""
    if date_header is None:
        return None
    try:
        moment = parsedate_to_datetime(date_header)
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return int(seconds) * 1000 if seconds >= 0 else None


def _judge_body(reply: Answer, utc_ms: int | None) -> Outcome:
    start = reply.body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return _foreign(f"HTTP {reply.http_status} with an empty body")
    if start.startswith(b"<"):
        return _foreign("a web page, as of a captive portal or a proxy")
    try:
        envelope = parse(reply.body)
    except NotJson as error:
        return _foreign(str(error))
    status = envelope.get("status") if isinstance(envelope, dict) else None
    if not isinstance(envelope, dict) or not isinstance(status, int) or isinstance(status, bool):
        return _foreign("no status in it")
    if status == STATUS_QUOTA:
        return QuotaExceeded(_retry_after_s(reply, utc_ms), f"the MT1 server's quota is used up: status {status}")
    if status == STATUS_AUTH:
        return AuthRefused(f"the MT1 server refused the credentials or the token: status {status}")
    if status != 0:
        return Refused(status, _printable(envelope.get("message")))
    data = envelope.get("data")
    return Ok(data) if isinstance(data, list) else _foreign("no list of data in it")


def _foreign(why: str) -> Transient:
    return Transient(f"not the MT1 server's answer: {why}")


def _retry_after_s(reply: Answer, utc_ms: int | None) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date. What cannot be read counts as the least; the budget has its own."""
    if reply.retry_after is None:
        return None
    text = reply.retry_after.strip()
    if text.isascii() and text.isdigit():
        seconds = float(int(text)) if len(text) <= 9 else RETRY_AFTER_MAX_S
    else:
        until_ms = server_date_ms(text)
        from_ms = server_date_ms(reply.date)
        if from_ms is None:
            from_ms = utc_ms
        seconds = 0.0 if until_ms is None or from_ms is None else (until_ms - from_ms) / 1000
    return min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)


def _name_values(device: dict[str, object]) -> Iterator[object]:
    """Yield what may be the device's name, the outermost first: it is not part of the documented shape."""
    yield device.get("name")
    yield device.get("deviceName")
    level: list[object] = [device.get("deviceComponents")]
    while level:
        for node in level:
            if isinstance(node, dict):
                yield node.get("name")
                yield node.get("deviceName")
        level = [child for node in level for child in _parts(node)]


def _parts(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _name(value: object) -> str | None:
    """Return a text that UTF-8 and a log line can carry, None where there is nothing in it."""
    if not isinstance(value, str):
        return None
    text = value[:MAX_NAME_CHARS].strip()
    if not encodable(text):
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text or None


def _printable(value: object) -> str:
    """Return the server's words for a log line: one line, nothing that a terminal obeys."""
    text = value if isinstance(value, str) else ""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_MESSAGE_CHARS]).strip()


def _visible(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
