"""`mt1bridge version`: what is installed, for people who report a fault."""

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version

from mt1bridge import __version__
from mt1bridge.cli import add_json_option

HELP = "Show the version of mt1bridge, of Python and of the libraries it works with."
EXAMPLE = "mt1bridge version --json"
LIBRARIES = ("paho-mqtt", "stomp.py", "websocket-client", "requests", "PyYAML", "structlog", "systemd-python")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    versions = {"mt1bridge": __version__, "python": platform.python_version(), "system": platform.platform()}
    libraries = {library: _installed(library) for library in LIBRARIES}
    if args.json:
        print(json.dumps({**versions, "libraries": libraries}))
    else:
        for name, text in {**versions, **libraries}.items():
            print(f"{name} {text or '(not installed)'}")
    return 0


def _installed(library: str) -> str | None:
    """Return the version of a library without importing it, None if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
