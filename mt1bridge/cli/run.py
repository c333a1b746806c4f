"""`mt1bridge run`: the daemon."""

import argparse
import os
import sys
from pathlib import Path

from mt1bridge.cli import add_config_option, config_path

HELP = "the daemon: bridge the MT1 server to MQTT until stopped"
EXAMPLE = "mt1bridge run -c /etc/mt1bridge/mt1bridge.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Load the configuration and turn until asked to stop. Raises ConfigurationError."""
    os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")  # importing stomp.py resolves names, 20 s without DNS
    from mt1bridge.config.loading import Loaded, load
    from mt1bridge.runtime.clock import SystemClock
    from mt1bridge.runtime.logs import configure
    from mt1bridge.runtime.systemd import Notifier

    clock = SystemClock()
    path = Path(config_path(args, os.environ))

    def read() -> Loaded:
        return load(path, os.environ, clock.now().utc_ms)

    loaded = read()
    os.umask(0o077)
    log = configure(loaded.settings.log.level, loaded.settings.log.format, sys.stderr, clock)
    for warning in loaded.warnings:
        log.note("warning", "configuration_questionable", text=str(warning))
    from mt1bridge.app import App

    try:
        return App(loaded.settings, log, Notifier(), read).run()
    finally:
        log.close()
