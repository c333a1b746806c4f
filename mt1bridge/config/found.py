"""The values read so far, each with the place it came from."""

from typing import TypeVar, cast

from mt1bridge.config.options import OPTIONS, Option
from mt1bridge.config.report import NOWHERE, Place, Report, Unfit

T = TypeVar("T")


class Found:
    """Values by option. A value that does not fit is told to the report and counts as not given."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self._places: dict[str, Place] = {}

    def read(self, option: Option[object], text: str, place: Place, report: Report) -> None:
        """Read the text for the option; a later one beats an earlier one."""
        self._places[option.name] = place
        self._values.pop(option.name, None)
        try:
            self._values[option.name] = option.read(text)
        except Unfit as error:
            report.unfit(place, option.name, error, text)

    def begin(self, section: str, place: Place) -> None:
        """Remember where a section begins: what is missing in it is told there."""
        self._places[section] = place

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
        """Return where the option was given, else where its section begins."""
        return self._places.get(option.name) or self._places.get(option.section) or NOWHERE

    def origins(self) -> dict[str, Place]:
        return {option.name: self._places[option.name] for option in OPTIONS if self.given(option)}
