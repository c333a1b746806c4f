"""How long the link waits for what, and what is agreed with the server about heart-beats. Pure."""

import re
from dataclasses import dataclass

_BEATS = re.compile(r"\s*(\d{1,12})\s*,\s*(\d{1,12})\s*")


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Seconds where not said otherwise. MT1-API, sections 7 and 8."""

    connect: float = 20.0  # name, TCP, proxy, TLS and the upgrade together
    opened: float = 10.0  # from the upgrade to SockJS `o`
    connected: float = 10.0  # from CONNECT to CONNECTED
    receipts: float = 5.0  # from the last SUBSCRIBE on: the server may not do receipts
    one_by_one: float = 1.0  # for one receipt, where one is subscribed after the other
    stagger: float = 0.25  # before the next address of a name is tried beside the first (RFC 8305)
    silence_floor: float = 30.0  # the least silence that ends a link whose server promised heart-beats
    silence_unpromised: float = 60.0  # the silence that ends a link without: more than two SockJS `h`
    longest_beat: float = 60.0  # a promise of fewer beats is no promise to rely on
    ping_every: float = 20.0  # WebSocket pings, only without agreed heart-beats
    pong_every: float = 0.1  # between two answers to pings: a flood is not answered one by one
    heart_beat_ms: tuple[int, int] = (10_000, 10_000)  # what we offer: sent, wanted
    message_bytes: int = 8 * 1024 * 1024  # of one WebSocket message
    head_bytes: int = 64 * 1024  # of an HTTP answer to the upgrade or to a proxy's CONNECT


@dataclass(frozen=True, slots=True)
class HeartBeats:
    """What is agreed. send_every None: none are sent. understood False: the server's words were no two numbers."""

    send_every: float | None
    silence_limit: float
    ping_every: float | None
    understood: bool = True


def agree(words: str | None, limits: LinkLimits) -> HeartBeats:
    """From CONNECTED's heart-beat header ("sx,sy" in ms; STOMP 1.2) and our offer to what both keep to.

    Ours leave at 0.8 of the agreed interval, because servers are strict. Three missed beats of theirs, and never
    less than the floor, are silence.
    """
    match = _BEATS.fullmatch(words) if words is not None else None
    theirs, wanted = (int(match[1]) / 1000, int(match[2]) / 1000) if match else (0.0, 0.0)
    ours_ms, ask_ms = limits.heart_beat_ms
    send = max(ours_ms / 1000, wanted) if ours_ms and wanted else 0.0
    receive = max(ask_ms / 1000, theirs) if ask_ms and theirs else 0.0
    promised = 0 < receive <= limits.longest_beat
    return HeartBeats(
        send_every=0.8 * send if send else None,
        silence_limit=max(3 * receive, limits.silence_floor) if promised else limits.silence_unpromised,
        ping_every=None if promised else limits.ping_every,
        understood=match is not None or words is None,
    )
