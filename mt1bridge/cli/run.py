"""`mt1bridge run`: the daemon.

What is imported here, and when, decides how much memory the daemon needs (DESIGN, "Small"): the configuration is read
first, and what read it is gone before the rest is imported, which then uses that memory again.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mt1bridge.cli import add_config_option, config_path
from mt1bridge.config.settings import Loaded, Settings
from mt1bridge.runtime.clock import Clock, SystemClock
from mt1bridge.runtime.modules import import_without, let_go, settle

if TYPE_CHECKING:
    from mt1bridge.runtime.logs import Log

HELP = "the daemon: bridge the MT1 server to MQTT until stopped"
EXAMPLE = "mt1bridge run -c /etc/mt1bridge/mt1bridge.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Load the configuration and turn until asked to stop. Raises ConfigurationError."""
    os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")  # importing stomp.py resolves names, 20 s without DNS
    clock = SystemClock()
    path = Path(config_path(args, os.environ))
    settings, log = _begin(path, clock)
    from mt1bridge.app import App
    from mt1bridge.runtime.systemd import Notifier

    settle()
    try:
        return App(settings, log, Notifier(), lambda: read(path, clock)).run()
    finally:
        log.close()


def _begin(path: Path, clock: Clock) -> "tuple[Settings, Log]":
    loaded = read(path, clock)
    os.umask(0o077)
    from mt1bridge.runtime.logs import configure

    log = configure(loaded.settings.log.level, loaded.settings.log.format, sys.stderr, clock)
    for warning in loaded.warnings:
        log.note("warning", "configuration_questionable", text=str(warning))
    return loaded.settings, log


def read(path: Path, clock: Clock) -> Loaded:
    """Read the configuration, at the start or again. Raises ConfigurationError."""
    import_without("yaml", ("yaml._yaml",))  # its parser in C never lets go of the rest; ours is a small file
    try:
        return _load(path, clock)
    finally:
        let_go("yaml", "mt1bridge.config", keep=("mt1bridge.config", "mt1bridge.config.settings"))


def _load(path: Path, clock: Clock) -> Loaded:
    from mt1bridge.config.loading import load

    return load(path, os.environ, clock.now().utc_ms)
