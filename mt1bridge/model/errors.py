"""The errors that we raise, each with the exit code of a command that it ends.

BridgeError                 1
├── UsageError              2   the command line is wrong
├── ConfigurationError     78   the file, the environment or a secret is wrong: every problem at once
├── MissingExtraError       1   an optional library is not installed
├── CloudError              1   the MT1 server did not do what was asked
├── BrokerError             1   the MQTT broker did not do what was asked
└── JournalError            1   the journal cannot be used

A message says what happened, where, and what to do; facts are attributes too. `cli.main` alone turns an error into
text and an exit code. What the daemon lives through is no error here but an event (upstream.py, broker.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration, or questionable about it, and what would be right.

    key: as `mqtt.url`; "" where it concerns the file as a whole. line, column: counted from 1, None where there is
    none. variable: the environment variable that the value came from; then file, line and column are not set.
    text never holds a secret.
    """

    text: str
    key: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None
    variable: str | None = None

    def __str__(self) -> str:
        if self.variable is not None:
            return f"{self.variable}: {self.text}"
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in ("", None))
        return ": ".join(part for part in (place, self.key, self.text) if part)


class BridgeError(Exception):
    """Base of all our errors: a command that meets one ends with its text and exit code."""

    exit_code = 1


class UsageError(BridgeError):
    """The command line is wrong. usage: how it would be right, "" if not known."""

    exit_code = 2

    def __init__(self, text: str, usage: str = "") -> None:
        self.usage = usage
        super().__init__(text)


class ConfigurationError(BridgeError):
    """The configuration cannot be used. problems: all of them, in the order of the file; warnings: the rest to say."""

    exit_code = 78  # EX_CONFIG; systemd does not restart on it

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MissingExtraError(BridgeError):
    """A command needs a library that a plain installation does not bring. remedy: the command that brings it."""

    def __init__(self, library: str, remedy: str) -> None:
        self.library, self.remedy = library, remedy
        super().__init__(f"the library {library} is not installed: install it with  {remedy}")


class CloudError(BridgeError):
    """The MT1 server did not do what was asked."""


class BrokerError(BridgeError):
    """The MQTT broker did not do what was asked."""


class JournalError(BridgeError):
    """The journal cannot be used."""
