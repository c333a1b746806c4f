"""Where the service keeps what it keeps, for commands that a person starts beside it.

systemd tells the service its state directory and its instance; a command typed at a terminal has to find out itself,
or it would look into the home of whoever types.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from mt1bridge.config.loading import load
from mt1bridge.config.settings import Loaded
from mt1bridge.runtime.clock import SystemClock

ETC = Path("/etc/mt1bridge")
LIB = Path("/var/lib")


def load_beside(path: Path, environ: Mapping[str, str], etc: Path = ETC, lib: Path = LIB) -> Loaded:
    """Read the settings as the service of this file would see them. Raises ConfigurationError."""
    return load(path, {**service_environment(path, environ, etc, lib), **environ}, SystemClock().now().utc_ms)


def service_environment(path: Path, environ: Mapping[str, str], etc: Path = ETC, lib: Path = LIB) -> dict[str, str]:
    """What systemd would give the service of this file; empty where the file belongs to no service."""
    if path.suffix != ".yaml" or Path(os.path.abspath(path)).parent != etc or "STATE_DIRECTORY" in environ:
        return {}
    instance = "" if path.stem == "mt1bridge" else path.stem
    state = lib / (f"mt1bridge@{instance}" if instance else "mt1bridge")
    if not state.is_dir():
        return {}
    found = {"STATE_DIRECTORY": str(state)}
    if instance:
        found["MT1BRIDGE_UNIT_INSTANCE"] = instance
    return found
