"""What was found wrong or questionable while reading: gathered, then told at once, without any secret."""

from dataclasses import dataclass

from mt1bridge.model.errors import Problem

MOST_PROBLEMS = 200  # nobody reads more; a file with more is the wrong file
LONGEST_ECHO = 60
GOT = "{got}"  # in the text of a problem: where the user's own text goes, if not to the end


class Unfit(Exception):
    """A text is not what a setting needs.

    expected: what would be right, in words that follow "expected". guess: what was probably meant, "" if unknown.
    echo: whether the text itself may be shown.
    """

    def __init__(self, expected: str, guess: str = "", echo: bool = True) -> None:
        self.expected, self.guess, self.echo = expected, guess, echo
        super().__init__(expected)


class TooManyProblems(Exception):
    """The report is full; reading on is pointless."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was given: line and column (from 1) of the file, or a variable of the environment."""

    line: int | None = None
    column: int | None = None
    variable: str | None = None

    def __str__(self) -> str:
        return self.variable if self.variable is not None else f"line {self.line}"


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class _Finding:
    place: Place
    key: str
    text: str
    got: str | None
    guess: str


class Report:
    """Gathers problems and warnings of one file and one environment.

    file: as the user named it. Texts that came from the user are handed in as `got` and `guess` and nowhere else:
    they are shown only if they have nothing to do with a secret, whether that was read before or after.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[_Finding] = []
        self._warnings: list[_Finding] = []
        self._secrets: set[str] = set()

    def problem(self, place: Place, key: str, text: str, got: str | None = None, guess: str = "") -> None:
        self._problems.append(_Finding(place, key, text, got, guess))
        if len(self._problems) >= MOST_PROBLEMS:
            self._problems.append(_Finding(NOWHERE, "", "that is enough; there may be more below", None, ""))
            raise TooManyProblems

    def unfit(self, place: Place, key: str, error: Unfit, text: str) -> None:
        """Tell that the text given at the place does not fit the key."""
        got = text if error.echo else None
        self.problem(place, key, f"expected {error.expected}", got, error.guess)

    def warn(self, place: Place, key: str, text: str) -> None:
        self._warnings.append(_Finding(place, key, text, None, ""))

    def hide(self, secret: str) -> None:
        """Never show this text, nor anything that holds it or is a part of it."""
        if secret.strip():
            self._secrets.add(secret)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._told(finding) for finding in sorted(self._problems, key=_order))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._told(finding) for finding in sorted(self._warnings, key=_order))

    def _told(self, finding: _Finding) -> Problem:
        text = finding.text
        if finding.got is not None:
            shown = self._shown(finding.got)
            text = text.replace(GOT, shown) if GOT in text else f"{text}, got {shown}"
        if finding.guess and self._may_show(finding.guess):
            text += f"; did you mean {finding.guess}?"
        place = finding.place
        file = "" if place.variable is not None else self._file
        return Problem(text, finding.key, file, place.line, place.column, place.variable)

    def _shown(self, text: str) -> str:
        if not self._may_show(text):
            return "(hidden)"
        return ascii_safe(text if len(text) <= LONGEST_ECHO else text[:LONGEST_ECHO] + "…")

    def _may_show(self, text: str) -> bool:
        return not any(secret in text or (len(text) > 2 and text in secret) for secret in self._secrets)


def ascii_safe(text: str) -> str:
    """Return the text in quotes with everything escaped that could upset a terminal or an encoder."""
    return repr(text.encode("utf-8", "backslashreplace").decode())


def _order(finding: _Finding) -> tuple[bool, int, int]:
    """In the order of the file; what has no line comes last, in the order found."""
    line = finding.place.line
    return (line is None, line or 0, finding.place.column or 0)
