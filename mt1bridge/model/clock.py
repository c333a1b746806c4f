"""A moment, as the loop hands it to the pure cores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks.

    monotonic: seconds since some fixed moment; for waiting and deadlines only.
    utc_ms: milliseconds since 1970 UTC; for people, payloads and lateness only. It may jump.
    good: utc_ms is known to be right (synchronised, or compared with the MT1 server's Date).
    """

    monotonic: float
    utc_ms: int
    good: bool = True
