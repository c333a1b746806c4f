"""What `mt1bridge check --online` found."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """about: login, devices, realtime, clock, broker. text: sentences, with what to do where something is wrong."""

    about: str
    result: Result
    text: str
