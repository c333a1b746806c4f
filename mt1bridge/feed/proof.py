"""Whether what the server counts is explained by what its history showed. Pure (CONTRACT, section 2, `tally`)."""

from dataclasses import dataclass, replace

from mt1bridge.feed.scan import Reach, Scan
from mt1bridge.model.known import ChannelMemory


@dataclass(frozen=True, slots=True)
class Proof:
    """What a finished scan proved.

    escalate: a rise is left unexplained, read further back. unsure: pushed clears and deletions explain it, and so may
    a count that does not know of them yet: look again.
    """

    memory: ChannelMemory
    escalate: Reach | None = None
    unsure: bool = False


def conclude(memory: ChannelMemory, scan: Scan, now_ms: int) -> Proof:
    """Judge a finished scan. Clears and deletions that were pushed explain a rise too: a server may count them and
    list none (U14)."""
    assert scan.count is not None  # every scan begins with a count
    growth, loss, pushed_ends = memory.growth, memory.loss, memory.pushed_ends
    rise = 0 if memory.base_count is None else scan.count - memory.base_count
    left = memory.missing + rise - growth + loss - memory.carry  # what the count promises and nothing showed
    unsure = False
    if scan.reach is not Reach.ALL:
        if left > memory.missing:
            return Proof(replace(memory, server_count=scan.count), Reach(scan.reach + 1))
        if rise < -loss:  # something older is gone
            return Proof(replace(memory, server_count=scan.count), Reach.ALL)
        missing = max(0, left)
        carry = min(max(0, -left), growth + memory.carry)
    elif scan.rows >= scan.count:
        missing, carry = 0, scan.rows - scan.count + scan.beside  # as many as it counts, and what came after the count
    else:  # nothing else can be read; and not every server counts less because a row is gone (U15)
        ends = min(pushed_ends, max(0, rise))
        left, unsure = left + min(loss, max(0, -rise)) - loss - ends, ends > 0
        missing, carry = max(0, left), min(max(0, -left), growth + memory.carry)
    if memory.base_count is None:  # a server may count for good what it lists no more (U27): that hides nothing
        carry = min(carry, max(0, scan.rows - scan.count) + scan.beside)
    proven = scan.reach is not Reach.NARROW
    complete = missing == 0 if proven else None
    return Proof(
        replace(
            memory,
            base_count=scan.count,
            server_count=scan.count,
            missing=missing,
            carry=carry,
            complete=complete if missing == 0 or proven else False,
            checked_ms=now_ms,
            proven_ms=scan.asked_ms if proven and missing == 0 else memory.proven_ms,
            growth=0,
            loss=0,
            pushed_ends=0,
            window_rows=scan.rows if scan.reach is Reach.WINDOW else memory.window_rows,
            read_all_ms=_read_all_ms(memory, scan, now_ms),
            # A channel that the server counts nothing on has no past: whatever it lists from now on is told.
            baselined=memory.baselined or scan.reach is Reach.ALL or (scan.count == 0 and scan.rows == 0),
        ),
        unsure=unsure,
    )


def _read_all_ms(memory: ChannelMemory, scan: Scan, now_ms: int) -> int:
    """0 while something is missed that another read without bound must confirm, even after a restart."""
    if scan.reach is not Reach.ALL:
        return memory.read_all_ms
    return 0 if scan.missed else now_ms
