"""`mt1bridge check`: every fault of the configuration at once, or what is in effect."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mt1bridge.cli import add_config_option, add_json_option, config_path
from mt1bridge.config.loading import Loaded, load
from mt1bridge.config.showing import as_yaml, shown
from mt1bridge.model.errors import ConfigurationError, Problem
from mt1bridge.runtime.clock import SystemClock

HELP = (
    "Check the configuration: the file, the environment, and the files that they name. Every fault is told with its\n"
    "line and column; without any, the settings in effect are shown, passwords hidden. Nothing is sent anywhere."
)
EXAMPLE = "mt1bridge check -c /etc/mt1bridge/mt1bridge.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    path = Path(config_path(args, os.environ))
    try:
        loaded = load(path, os.environ, SystemClock().now().utc_ms)
    except ConfigurationError as error:
        if not args.json:
            raise
        _print_json(path, error.problems, error.warnings)
        return error.exit_code
    if args.json:
        _print_json(path, (), loaded.warnings, loaded)
    else:
        _print_text(path, loaded)
    return 0


def _print_text(path: Path, loaded: Loaded) -> None:
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"# {path} is fine. In effect, and where each value came from (digest {loaded.settings.digest()}):")
    print(as_yaml(loaded.settings, loaded.origins), end="")


def _print_json(
    path: Path, problems: Sequence[Problem], warnings: Sequence[Problem], loaded: Loaded | None = None
) -> None:
    told: dict[str, object] = {
        "ok": loaded is not None,
        "file": str(path),
        "problems": [asdict(problem) for problem in problems],
        "warnings": [asdict(warning) for warning in warnings],
    }
    if loaded is not None:
        told["digest"] = loaded.settings.digest()
        told["settings"] = shown(loaded.settings)
        told["origins"] = dict(loaded.origins)
    print(json.dumps(told))
