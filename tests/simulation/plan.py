"""What is to happen: made from a seed, and small enough to read after shrinking."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

MANY = 100
ACTIVE_S = 480.0  # faults stop then
LATER = 400_000  # the first seed of schedules with what was learned of servers later; the others stay what they were


@dataclass(frozen=True, slots=True)
class Entry:
    """at: true seconds."""

    at: float
    kind: str
    args: dict[str, Any] = field(default_factory=dict)
    salt: int = 0

    def random(self) -> Random:
        """For what is left to chance when it happens."""
        return Random(self.salt)

    def __str__(self) -> str:
        args = " ".join(f"{key}={value}" for key, value in self.args.items())
        return f"{self.at:8.2f}  {self.kind} {args}".rstrip()


@dataclass(frozen=True, slots=True)
class Manners:
    """How this server, this broker and this machine are, for a whole plan; MT1-API, section 13, names the unknowns.

    clears: `listed`, `remove` (the row goes), `hidden` (pushed only) (U14). deletes: `remove` or `keep` (U15).
    page_cap: the server's largest page (U12). lag_s: history shows a change that much after it happened.
    """

    devices: int = 1
    interval_s: int = 60
    full_interval_s: int = 300
    window_s: int = 172_800
    calls_per_minute: int = 60
    clears: str = "listed"
    clear_number: bool = True
    deletes: str = "remove"
    page_cap: int = 10_000
    inclusive: bool = True
    lag_s: float = 0.0
    connect_token: str = "ignore"  # U3: ignore, error
    newest_login_only: bool = False  # U24
    receive_maximum: int | None = None
    protocol: int = 5
    device_ahead_s: float = 0.0
    latency_s: float = 0.1
    synchronised: bool = True
    clock_off_s: float = 0.0
    before: int = 0  # triggers that the server has before the first start
    configured: bool = True  # devices are configured, not listed
    count_lag_s: float = 0.0  # the count is that much older than the listing
    listing_lag_s: float = 0.0  # the listing is that much older than the count

    def __str__(self) -> str:
        plain = Manners()
        other = {n: getattr(self, n) for n in Manners.__slots__ if getattr(self, n) != getattr(plain, n)}
        return ", ".join(f"{name}={value}" for name, value in other.items()) or "plain"


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    manners: Manners
    entries: tuple[Entry, ...]

    def without(self, gone: set[int]) -> "Plan":
        return replace(self, entries=tuple(e for i, e in enumerate(self.entries) if i not in gone))


def make(seed: int) -> Plan:
    random = Random(seed)
    manners = replace(_manners(random), count_lag_s=Random(f"{seed} count").choice((0.0, 0.0, 0.0, 2.0, 20.0)))
    entries = _traffic(random, manners)
    for _ in range(random.choice((0, 1, 2, 2, 3, 3, 4, 5, 8))):
        kind = random.choice(list(FAULTS))
        entries.append(Entry(_when(random), kind, FAULTS[kind](random), random.getrandbits(32)))
    if any(entry.args.get("impulses", 0) > MANY for entry in entries):
        manners = replace(manners, page_cap=max(manners.page_cap, 50))  # smaller pages would take hours
    if seed >= LATER:
        manners, more = _later(Random(f"{seed} later"), manners)
        entries += more
    entries.sort(key=lambda entry: entry.at)
    return Plan(seed, manners, tuple(entries))


def _later(random: Random, manners: Manners) -> tuple[Manners, list[Entry]]:
    """Channels that alone are not answered, a listing behind the count, a clock that is days ahead."""
    entries = []
    for _ in range(random.choice((0, 1, 1, 2))):
        args = {
            "seconds": random.choice((20.0, 100.0, 400.0)),
            "device": random.randrange(manners.devices),
            "channels": random.choice(("0", "1", "8", "01", "2345678", "012345678")),
            "how": random.choice(("404", "502", "timeout", "unreadable", "refused")),
        }
        entries.append(Entry(_when(random), "channels_unanswered", args))
    if not manners.count_lag_s:
        manners = replace(manners, listing_lag_s=random.choice((0.0, 0.0, 5.0, 40.0, 400.0)))
    if random.random() < 0.1:
        manners = replace(manners, device_ahead_s=200_000.0)
    return manners, entries


def _manners(random: Random) -> Manners:
    one_of = random.choice
    clears = one_of(("listed", "listed", "remove", "hidden"))
    return Manners(
        devices=one_of((1, 1, 1, 2)),
        interval_s=one_of((60, 120)),
        full_interval_s=one_of((240, 300)),
        window_s=one_of((900, 172_800)),
        calls_per_minute=one_of((20, 60, 60)),
        clears=clears,
        clear_number=clears != "listed" or random.random() < 0.8,
        deletes=one_of(("remove", "remove", "keep")),
        page_cap=one_of((10_000, 10_000, 10_000, 3, 7)),
        inclusive=random.random() < 0.7,
        lag_s=one_of((0.0, 0.0, 1.0, 8.0)),
        connect_token=one_of(("ignore", "ignore", "error")),
        newest_login_only=random.random() < 0.2,
        receive_maximum=one_of((None, None, 1, 3, 20)),
        protocol=one_of((5, 5, 4)),
        device_ahead_s=one_of((0.0, 0.0, 0.0, 0.0, 3.0, -45.0, 120.0)),
        latency_s=one_of((0.02, 0.1, 0.5)),
        synchronised=random.random() < 0.8,
        clock_off_s=one_of((0.0, -3600.0, 40_000.0, -1.7e9)),
        before=one_of((0, 0, 1, 4)),
        configured=random.random() < 0.7,
    )


# --- traffic ----------------------------------------------------------------------------------------


def _when(random: Random) -> float:
    return round(random.uniform(5.0, ACTIVE_S), 2)


def _fate(random: Random) -> str:
    """What becomes of a push."""
    return random.choice(("ok", "ok", "ok", "ok", "ok", "ok", "lost", "twice", "slow"))


def _flags(random: Random) -> dict[str, bool]:
    if random.random() < 0.85:
        return {}
    return random.choice(({"valid": False}, {"blocked": True}, {"fallingEdge": False}))


def _impulse(random: Random, manners: Manners) -> dict[str, Any]:
    return {
        "device": random.randrange(manners.devices),
        "channel": random.choice((0, 0, 1, 1, 5)),
        "number": random.choice((None, *range(1, 9))),
        "fate": _fate(random),
        **_flags(random),
    }


def _correction(random: Random, manners: Manners) -> tuple[str, dict[str, Any]]:
    kind = random.choice(("clear", "clear", "renumber", "renumber", "renumber", "delete", "again", "edit", "twin"))
    args: dict[str, Any] = {
        "device": random.randrange(manners.devices),
        "pick": random.randrange(3),  # the n-th newest impulse of the device
        "fate": _fate(random),
    }
    if kind in ("renumber", "twin"):
        args["number"] = random.choice((None, *range(1, 9)))
    if kind == "renumber":
        args["order"] = random.choice(("clear_first", "clear_first", "new_first"))
        args["gap"] = random.choice((0.0, 0.0, 0.3, 20.0))
        args["fate2"] = _fate(random)
    if kind == "edit":
        args["what"] = random.choice(("valid", "blocked", "number"))
        args["number"] = random.randrange(1, 9)
    return kind, args


def _traffic(random: Random, manners: Manners) -> list[Entry]:
    entries = []
    for _ in range(random.choice((2, 4, 6, 10, 16))):
        at = _when(random)
        entries.append(Entry(at, "impulse", _impulse(random, manners), random.getrandbits(32)))
        for _ in range(random.choice((0, 0, 0, 1, 1, 2))):
            kind, args = _correction(random, manners)
            at += random.choice((0.5, 5.0, 30.0, 90.0))
            if at < ACTIVE_S:
                entries.append(Entry(round(at, 2), kind, args, random.getrandbits(32)))
    for _ in range(random.choice((0, 0, 1, 2))):
        args = {
            "device": random.randrange(manners.devices),
            "seconds": random.choice((20, 200, 7200)),  # that long the device had no network
            "impulses": random.choice((1, 3, 8)),
            "order": random.choice(("oldest", "newest", "random", "history")),
        }
        entries.append(Entry(_when(random), "late_upload", args, random.getrandbits(32)))
    if random.random() < 0.03:
        args = {"device": 0, "seconds": 600, "impulses": random.choice((210, 450)), "order": "history"}
        entries.append(Entry(_when(random), "late_upload", args, random.getrandbits(32)))
    if random.random() < 0.1:
        entries.append(Entry(_when(random), "odd", {"device": 0, "what": random.choice(("type", "text", "field"))}))
    return entries


# --- faults -----------------------------------------------------------------------------------------

Make = Callable[[Random], dict[str, Any]]


def _for(*seconds: float) -> Make:
    return lambda random: {"seconds": random.choice(seconds)}


def _kill(random: Random) -> dict[str, Any]:
    return {
        "near": random.choice(("now", "push", "fact", "fact", "acknowledgement")),
        "points": random.choice((0, 0, 1, 1, 2, 3, 5, 8, 13, 21)),
        "down": random.choice((0.1, 1.0, 60.0)),
    }


FAULTS: dict[str, Make] = {
    "kill": _kill,
    "kills": lambda random: {"times": random.choice((3, 10)), **_kill(random), "down": 0.5},
    "terminate": lambda random: {"down": random.choice((0.1, 5.0, 120.0))},
    "power_cut": lambda random: {"back": random.choice((0, 1, 2, 5, 20)), "down": random.choice((1.0, 30.0))},
    "disk_fails": lambda random: {
        "seconds": random.choice((5.0, 60.0, 300.0)),
        "where": random.choice(("begin", "commit", "write")),
    },
    "stall": _for(2.0, 20.0, 300.0),
    "clock_step": lambda random: {"seconds": random.choice((-3600.0, -30.0, 30.0, 3600.0, 3.0e8))},
    "link_lost": lambda random: {"trouble": random.choice(("closed", "silent", "stomp_error"))},
    "link_down": lambda random: {"seconds": random.choice((10.0, 120.0)), "trouble": random.choice(LINK_TROUBLES)},
    "push_mute": _for(30.0, 300.0),
    "rest_down": lambda random: {"seconds": random.choice((10.0, 120.0)), "how": random.choice(REST_TROUBLES)},
    "rest_slow": _for(30.0, 200.0),
    "quota": lambda random: {
        "seconds": random.choice((5.0, 100.0)),
        "how": random.choice(("200", "429", "retry")),
        "kill": random.choice((0.0, 0.0, 70.0)),  # seconds until then
    },
    "token_dies": lambda random: {"link": random.choice(("keep", "close", "mute"))},
    "device_refused": lambda random: {"seconds": random.choice((30.0, 200.0)), "device": 0},
    "broker_lost": lambda random: {"when": random.choice(("now", "delivered", "lost"))},
    "broker_away": lambda random: {"seconds": random.choice((2.0, 60.0, 400.0)), "forgets": random.random() < 0.3},
    "broker_swallows": _for(5.0, 60.0),
    "broker_refuses": lambda random: {"seconds": random.choice((5.0, 60.0)), "reason": random.choice((0x87, 0x97))},
    "broker_slow": _for(30.0, 200.0),
}
LATER_FAULTS = frozenset({"channels_unanswered"})
LINK_TROUBLES = ("closed", "websocket_refused", "dns", "timeout")
REST_TROUBLES = ("502", "html", "truncated", "timeout", "dns", "empty")
