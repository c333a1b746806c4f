"""How this server behaves where nobody knows how the real one does: one switch per unknown of MT1-API, section 13.

The first choice is the expected one. A `Behaviour` is a value: `changed` gives another, and the simulator can be
handed it at any time; what is already under way (a token's life, a connection's heart-beat) keeps what it began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


def _switch(unknown: str, doc: str, default: object, check: str, choices: tuple[object, ...] = ()) -> Any:
    return field(default=default, metadata={"unknown": unknown, "doc": doc, "check": check, "choices": choices})


def _choice(unknown: str, doc: str, *choices: object) -> Any:
    return _switch(unknown, doc, choices[0], "choice", choices)


def _flag(unknown: str, doc: str, default: bool) -> Any:
    return _switch(unknown, doc, default, "flag")


def _number(unknown: str, doc: str, default: float | None) -> Any:
    return _switch(unknown, doc, default, "number")


def _text(unknown: str, doc: str, default: str | None) -> Any:
    return _switch(unknown, doc, default, "text")


def _pair(unknown: str, doc: str, default: tuple[float, float]) -> Any:
    return _switch(unknown, doc, default, "pair")


def _object(unknown: str, doc: str) -> Any:
    return _switch(unknown, doc, None, "object")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A refusal is written `HTTP` or `HTTP/status`: "403", "200/-1007"."""

    # --- what devices and the platform send
    default_type: str = _text("U1", "type of a trigger where the command names none", "StartNumberTrigger")
    edit_change: str | None = _text("U2", "change type of an edit on the platform; null: not pushed", "ENTITY_UPDATE")
    clear_timestamp: str = _choice("U16", "a ClearTrigger bears the timestamp of", "same", "own")
    clear_number: bool = _flag("U16", "a ClearTrigger bears the old start number", True)
    renumber_order: str = _choice(
        "U17", "the two triggers of a renumbering", "clear_first", "new_first", "clear_only", "new_only"
    )
    renumber_gap_s: float = _number("U17", "seconds between the two triggers of a renumbering", 0.0)
    late_upload: str = _choice(
        "U18", "pushes of a late upload", "oldest_first", "newest_first", "random", "history_only"
    )
    extra_fields: Mapping[str, Any] | None = _object("U19", "fields added to every DTO")
    twins: bool = _flag("U20", "every impulse is followed by one of the same time and channel, number + 1", False)
    valid: bool = _flag("U21", "`valid` where the command does not say", True)
    blocked: bool = _flag("U21", "`blocked` where the command does not say", False)
    falling_edge: bool = _flag("U21", "`fallingEdge` where the command does not say", True)
    number_as_text: bool = _flag("-", "numbers of the DTO as text (seen by one client)", False)
    device_id_type: str = _choice("U23", "device ids in JSON", "string", "number")
    user_id_type: str = _choice("U23", "the account's id in JSON", "string", "number")

    # --- login and token
    connect_token: str = _choice("U3", "CONNECT with a bad token", "ignore", "error", "silent")
    expiry_on_socket: str = _choice("U4", "open socket when its token dies", "keep", "close", "silent")
    token_lifetime_s: float | None = _number("-", "life of tokens issued from now on; null: for ever", None)
    wrong_password: str = _text("U9", "answer to a wrong password, a refusal", "200/-1007")
    missing_role: str | None = _text("U9", "answer to a login without the role, a refusal; null: welcome", None)
    current_refusal: str = _text("U10", "answer of user/current to a bad token, a refusal", "200/-1007")
    token_refusal: str = _text("U10", "answer of other calls to a bad token, a refusal", "403")
    refusal_body: str = _choice("U11", "body of a refusal without status", "empty", "html", "json")
    newest_login_only: bool = _flag("U24", "a login kills the older tokens of the account", False)
    max_sessions: int | None = _number("U24", "open sockets of all; more get c[1008]; null: any", None)
    token_header: str = _choice(
        "-", "where a login's token is", "header", "missing", "empty", "twice", "bearer", "body"
    )
    accept_bearer: bool = _flag("-", "also accept `Bearer <token>`", False)

    # --- quota
    quota_calls: int | None = _number("U8", "REST calls per address and window; null: no quota", None)
    quota_window_s: float = _number("U8", "length of the window in seconds", 60.0)
    quota_answer: str = _text("U8", "a refusal: 200/-9000 or 429", "200/-9000")
    quota_penalty_s: float = _number("U8", "seconds of refusal once the quota is used up", 60.0)
    quota_penalty_grows: bool = _flag("U8", "a call during the penalty starts it anew", False)
    retry_after: str | None = _text("U8", "Retry-After of a quota answer, verbatim; null: none", None)
    quota_counts_realtime: bool = _flag("U8", "/devices/info and connects count as calls", False)

    # --- count and history
    default_limit: int = _number("U12", "page size when no limit is asked for", 200)
    max_limit: int | None = _number("U12", "longest page; null: none", 200)
    bounds: str = _choice("U13", "timestampFrom_ms and timestampTo_ms are", "inclusive", "exclusive")
    clears_listed: bool = _flag("U14", "ClearTriggers are in the history", True)
    clears_counted: bool = _flag("U14", "ClearTriggers are counted", True)
    deletion: str = _choice("U15", "a deleted row", "remove", "keep")
    retention_days: float | None = _number("U27", "age at which rows leave count and history; null: never", None)
    history_order: str = _choice("-", "newest first, by", "timestamp", "arrival", "shuffled")

    # --- realtime
    foreign_subscription: str = _choice("U5", "SUBSCRIBE to a foreign device", "silent", "error")
    heart_beat: tuple[float, float] = _pair("U6", "heart-beat of CONNECTED in ms: sent, wanted", (10000, 10000))
    heart_beat_header: str | None = _text("U6", "heart-beat header verbatim instead; empty: left out", None)
    stomp_version: str | None = _text("U6", "version of CONNECTED verbatim; null: the best one offered", None)
    sockjs_beat_s: float | None = _number("U6", "`h` after so much silence; null: never", 25.0)
    sockjs_beat_always: bool = _flag("U6", "`h` also while STOMP heart-beats run", False)
    drop_silent_clients: bool = _flag("U7", "drop who misses three promised heart-beats", False)
    cookie_required: bool = _flag("U25", "socket only with the cookie of /devices/info", False)
    origin_required: bool = _flag("U25", "socket only with an Origin header", False)
    raw_websocket: str = _choice("U26", "unframed /devices/websocket", "off", "on")
    receipts: bool = _flag("-", "RECEIPT is sent when asked for", True)
    max_backlog: int = _number("-", "bytes that a slow reader may owe before it is cut off", 512 * 1024)

    # --- pushes on their way
    drop_percent: float = _number("-", "share of pushes that get lost; the history has them", 0.0)
    duplicate_percent: float = _number("-", "share of pushes that are sent twice", 0.0)
    reorder_percent: float = _number("-", "share of pushes that let the next one pass", 0.0)
    delay_s: tuple[float, float] = _pair("-", "each push waits between so and so many seconds", (0.0, 0.0))
    frames_per_message: int = _number("-", "STOMP frames per a[...]", 1)
    batch_wait_s: float = _number("-", "seconds after which an incomplete a[...] is sent", 0.05)
    fragments: int = _number("-", "WebSocket fragments per text message", 1)


def changed(behaviour: Behaviour, changes: Mapping[str, Any]) -> Behaviour:
    """The behaviour with these fields changed; ValueError names a field or value that does not exist."""
    known = {spec.name: spec for spec in fields(Behaviour)}
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"no such switch: {name}")
        values[name] = _checked(name, value, known[name].metadata, known[name].default)
    return replace(behaviour, **values)


def described() -> list[dict[str, Any]]:
    """Every switch: name, unknown of MT1-API section 13 (or -), default, choices, meaning."""
    return [
        {
            "name": spec.name,
            "unknown": spec.metadata["unknown"],
            "default": spec.default,
            "choices": list(spec.metadata["choices"]),
            "meaning": spec.metadata["doc"],
        }
        for spec in fields(Behaviour)
    ]


_OPTIONAL = frozenset(
    {
        "edit_change",
        "extra_fields",
        "token_lifetime_s",
        "missing_role",
        "max_sessions",
        "quota_calls",
        "retry_after",
        "max_limit",
        "retention_days",
        "heart_beat_header",
        "stomp_version",
        "sockjs_beat_s",
    }
)


def _checked(name: str, value: Any, metadata: Mapping[str, Any], default: object) -> Any:
    check = metadata["check"]
    if value is None and name in _OPTIONAL:
        return None
    if check == "choice" and value in metadata["choices"]:
        return value
    if check == "flag" and isinstance(value, bool):
        return value
    if check == "number" and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    if check == "text" and isinstance(value, str):
        return value
    if check == "pair" and isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    if check == "object" and isinstance(value, Mapping):
        return dict(value)
    allowed = f", one of {list(metadata['choices'])}" if check == "choice" else f", like {default!r}"
    raise ValueError(f"{name}: {value!r} is not a {check}{allowed}")
