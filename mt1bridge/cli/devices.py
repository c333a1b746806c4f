"""`mt1bridge devices`: the devices of the account."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.cli import add_config_option, add_json_option, config_path
from mt1bridge.cli.message_lines import printable
from mt1bridge.config.settings import Settings
from mt1bridge.model.status import Device

HELP = (
    "List the devices of the account at the MT1 server, and which of them the configuration names. The token of the\n"
    "bridge is used where there is one; else this logs in, at most once a minute, and keeps the token for the bridge."
)
EXAMPLE = "mt1bridge devices"


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """listed: the account has it. configured: None where the configuration names no devices and so takes all."""

    id: str
    type: str | None
    name: str | None
    listed: bool
    configured: bool | None
    configured_name: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """0. Raises ConfigurationError; CloudError where the MT1 server does not answer as hoped."""
    from mt1bridge.cli.account import AccountVisit
    from mt1bridge.cli.service_place import load_beside

    settings = load_beside(Path(config_path(args, os.environ)), os.environ).settings
    with AccountVisit(settings) as visit:
        found = rows(visit.devices(), settings)
    if args.json:
        print(json.dumps([{name: getattr(row, name) for name in DeviceRow.__slots__} for row in found]))
    else:
        for line in table(found):
            print(line)
    return 0


def rows(listed: Sequence[Device], settings: Settings) -> list[DeviceRow]:
    """Those of the account, in its order, then those that are configured alone."""
    wanted = settings.mt1.devices
    names = {device.id: device.name for device in wanted or ()}
    found = [
        DeviceRow(one.id, one.type, one.name, True, None if wanted is None else one.id in names, names.get(one.id))
        for one in listed
    ]
    known = {one.id for one in listed}
    return found + [DeviceRow(one, None, None, False, True, name) for one, name in names.items() if one not in known]


def table(found: Sequence[DeviceRow]) -> list[str]:
    """The rows in columns; a sentence where there are none."""
    if not found:
        return ["The account has no devices: register yours to it at the MT1 server's web page."]
    cells = [("device", "type", "name", "configured")]
    for row in found:
        name = row.name or row.configured_name
        cells.append((row.id, printable(row.type or "-"), printable(name or "-"), _configured(row)))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    return [
        "  ".join((*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[3])) for line in cells
    ]


def _configured(row: DeviceRow) -> str:
    if not row.listed:
        return "yes, but the account does not list it: register it there, or mend mt1.devices"
    if row.configured is None:
        return "yes (all devices are taken)"
    return "yes" if row.configured else "no"
