"""The values read so far, each with the place it came from."""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

from typing import TypeVar, cast

from mt1bridge.config.options import OPTIONS, Option
from mt1bridge.config.report import NOWHERE, Place, Report, Unfit

T = TypeVar("T")


class Found:
    """Values by option. A value that does not fit is told to the report and counts as not given."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self._places: dict[str, list[Place]] = {}
        self._empty: dict[str, Place] = {}

    def read(self, option: Option[object], text: str, report: Report) -> None:
        """Read the text for the option that was tried just now; a later one beats an earlier one."""
        try:
            self._values[option.name] = option.read(text)
        except Unfit as error:
            report.unfit(self.place(option), option.name, error, text)

    def tried(self, option: Option[object], place: Place) -> None:
        """Remember that somebody set the option here, though perhaps not to a value that can be used."""
        self._places.setdefault(option.name, []).append(place)
        self._values.pop(option.name, None)

    def left_empty(self, option: Option[object], place: Place) -> None:
        """Remember a key without a value: that counts as not given, but what is missing is told there."""
        self._empty[option.name] = place

    def is_empty(self, option: Option[object]) -> bool:
        """Whether the key stands in the file, without a value."""
        return option.name in self._empty

    def begin(self, section: str, place: Place) -> None:
        """Remember where a section begins: what is missing in it is told there."""
        self._places[section] = [place]

    def put(self, option: Option[T], value: T) -> None:
        """Replace a value that was read by what it comes to."""
        self._values[option.name] = value

    def get(self, option: Option[T]) -> T | None:
        """Return the value given, else the default, else None."""
        if option.name in self._values:
            return cast("T", self._values[option.name])  # it was read by this very option
        return option.read(option.default) if option.default is not None else None

    def need(self, option: Option[T]) -> T:
        """Return a value that is known to be there: its lack was told before."""
        value = self.get(option)
        if value is None:
            raise LookupError(option.name)
        return value

    def given(self, option: Option[object]) -> bool:
        """Whether somebody tried to set it, well or badly."""
        return option.name in self._places

    def place(self, option: Option[object]) -> Place:
        """Return where the option was given (last, if twice) or its key left empty, else where its section begins."""
        if not self.given(option) and option.name in self._empty:
            return self._empty[option.name]
        return (self.places(option) or self._places.get(option.section) or [NOWHERE])[-1]

    def places(self, option: Option[object]) -> list[Place]:
        """Return every place that gave the option: the file, then the environment."""
        return self._places.get(option.name, [])

    def origins(self) -> dict[str, str]:
        """Return key -> where its value came from, without those that have their default."""
        return {option.name: self._origin(option) for option in OPTIONS if self.given(option)}

    def _origin(self, option: Option[object]) -> str:
        """A password is not shown, but the file that it was read from is."""
        file = self._values.get(option.name) if option.name.endswith("password_file") else None
        return f"{self.place(option)}: {file}" if file is not None else str(self.place(option))
