"""`mt1bridge check`: every fault of the configuration at once, or what is in effect."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mt1bridge.cli import add_config_option, add_json_option, config_path
from mt1bridge.cli.service_place import service_environment
from mt1bridge.config.loading import load
from mt1bridge.config.settings import Loaded
from mt1bridge.config.showing import as_yaml, shown
from mt1bridge.model.errors import ConfigurationError, Problem
from mt1bridge.runtime.clock import SystemClock

if TYPE_CHECKING:
    from mt1bridge.cli.finding import Finding

HELP = (
    "Check the configuration: the file, the environment, and the files that they name. Every fault is told with its\n"
    "line and column; without any, the settings in effect are shown, passwords hidden. Nothing is sent anywhere.\n"
    "With --online the MT1 server and the broker are asked too: login, role, devices, push, clock, connection. That\n"
    "publishes nothing, and uses the token and the budget of the bridge."
)
EXAMPLE = """mt1bridge check -c /etc/mt1bridge/mt1bridge.yaml
  mt1bridge check --online"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_json_option(parser)
    parser.add_argument("--online", action="store_true", help="also ask the MT1 server and the broker")


def run(args: argparse.Namespace) -> int:
    """0; 78 if the configuration is faulty, 1 if something out there is not as it must be."""
    path = Path(config_path(args, os.environ))
    try:
        around = {**service_environment(path, os.environ), **os.environ} if args.online else os.environ
        loaded = load(path, around, SystemClock().now().utc_ms)
    except ConfigurationError as error:
        if not args.json:
            raise
        _print_json(path, error.problems, error.warnings)
        return error.exit_code
    if not args.json:
        _print_text(path, loaded)
    findings = _ask_around(loaded, tell=not args.json) if args.online else None
    if args.json:
        _print_json(path, (), loaded.warnings, loaded, findings)
    return 1 if any(finding.result == "failed" for finding in findings or ()) else 0


def _ask_around(loaded: Loaded, tell: bool) -> list["Finding"]:
    from mt1bridge.cli.online import check_online

    if tell:
        print("\n# Online:", flush=True)
    findings = []
    for finding in check_online(loaded.settings):
        findings.append(finding)
        if tell:
            print(f"{finding.result.value:<12}{finding.about + ':':<10}{finding.text}", flush=True)
    return findings


def _print_text(path: Path, loaded: Loaded) -> None:
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"# {path} is fine. In effect, and where each value came from (digest {loaded.settings.digest()}):")
    print(as_yaml(loaded.settings, loaded.origins), end="")


def _print_json(
    path: Path,
    problems: Sequence[Problem],
    warnings: Sequence[Problem],
    loaded: Loaded | None = None,
    findings: Sequence["Finding"] | None = None,
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
    if findings is not None:
        told["online"] = [asdict(finding) for finding in findings]
    print(json.dumps(told))
