"""How a library that a plain installation does not bring is installed here."""

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from types import MappingProxyType

DEBIAN = Path("/usr/lib/mt1bridge")  # where the Debian package has our modules
# What Debian calls it. amqtt is not in Debian: the demo takes a mosquitto instead.
DEBIAN_PACKAGES: Mapping[str, str] = MappingProxyType({"aiohttp": "python3-aiohttp", "amqtt": "mosquitto"})


def remedy(library: str, extra: str, python: str = sys.executable, here: Path = Path(__file__)) -> str:
    """The command to type. extra: of setup.cfg. python: the one that runs us. here: a module of ours."""
    if here.is_relative_to(DEBIAN):
        return f"sudo apt install {DEBIAN_PACKAGES.get(library, library)}"
    return f"{quote(python)} -m pip install 'mt1bridge[{extra}]'"
