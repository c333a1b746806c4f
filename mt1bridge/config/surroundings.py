"""What the process was started with, as far as settings depend on it: home, systemd's directories, the unit's name."""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.config.report import Place, Report, Unfit


@dataclass(frozen=True, slots=True)
class Surroundings:
    """config_directory: where relative paths of the file begin. state, credentials: as systemd names them, or None.

    unit: the instance of a systemd template unit, "" for none. user: the user id that we run as.
    """

    config_directory: Path
    working_directory: Path
    home: Path | None
    state: Path | None
    credentials: Path | None
    unit: str
    user: int

    def absolute(self, path: Path, place: Place) -> Path:
        """Return the path from / on. Relative ones begin at the file, those of the environment where we are.

        Raises Unfit for ~/ without a home.
        """
        if path.parts[:1] == ("~",):
            if self.home is None:
                raise Unfit("a path from / on, because no home directory is known")
            return self.home.joinpath(*path.parts[1:])
        return (self.working_directory if place.variable else self.config_directory) / path

    def journal_directory(self) -> Path | None:
        """Return where the journal is kept if nothing else is said; None if no place is known."""
        return self.state or (self.home / ".local/state/mt1bridge" if self.home is not None else None)


def surroundings(file: Path, environ: Mapping[str, str], report: Report) -> Surroundings:
    """Look around. file: the configuration file."""
    unit = environ.get("MT1BRIDGE_UNIT_INSTANCE", "")
    if re.fullmatch("[A-Za-z0-9_-]{0,50}", unit) is None:
        text = "expected a unit instance of at most 50 letters, digits, - and _"
        report.problem(Place(variable="MT1BRIDGE_UNIT_INSTANCE"), "", text, unit)
        unit = ""
    working = Path(os.getcwd())
    return Surroundings(
        config_directory=working / file.parent,
        working_directory=working,
        home=_directory(environ.get("HOME", "")) or _home_by_user(),
        state=_directory(environ.get("STATE_DIRECTORY", "").split(":")[0]),
        credentials=_directory(environ.get("CREDENTIALS_DIRECTORY", "")),
        unit=unit,
        user=os.geteuid(),
    )


def _directory(text: str) -> Path | None:
    return Path(text) if text.startswith("/") else None


def _home_by_user() -> Path | None:
    """Return the home in the user database; users of services have / or none at all there."""
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return None
    return Path(home) if home.startswith("/") and os.path.isdir(home) and home != "/" else None
