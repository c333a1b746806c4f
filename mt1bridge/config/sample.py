"""Where somebody who has no configuration yet finds one to begin with."""

from collections.abc import Sequence
from pathlib import Path

SHORTEST = "mt1: {username: club@example.org, password_file: mt1-password}"
PLACES = (
    Path("/usr/share/doc/mt1bridge/examples/mt1bridge.yaml"),  # the Debian package
    Path(__file__).parents[2] / "etc/mt1bridge.yaml",  # a clone
)


def sample(places: Sequence[Path] = PLACES) -> str:
    """What to begin with, in words: a file with every setting where there is one, else the shortest that will do."""
    found = next((place for place in places if place.is_file()), None)
    return f"a sample with every setting is {found}" if found is not None else f"the shortest is one line:  {SHORTEST}"
