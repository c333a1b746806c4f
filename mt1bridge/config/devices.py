"""The `devices` of the file: names for devices and channels. The only part of the settings that is nested deeper."""

import re
from types import MappingProxyType

from mt1bridge.config import document, values
from mt1bridge.config.document import Node
from mt1bridge.config.options import DEVICES
from mt1bridge.config.report import Report, Unfit
from mt1bridge.config.settings import DeviceSettings
from mt1bridge.model.trigger import CHANNELS

_EXAMPLE = 'write "231203016": and indented below it  name: Finish hut'


def read_devices(node: Node, report: Report) -> tuple[DeviceSettings, ...]:
    """Return the devices in the order of the file; what is wrong with them goes to the report."""
    place = document.place_of(node)
    members = document.entries(node, DEVICES, report)
    if members is None and not document.is_null(node):
        report.problem(place, DEVICES, f"expected device ids, each with a colon: {_EXAMPLE}")
    elif not members:
        report.problem(place, DEVICES, f"is empty: remove the key to take every device of the account, or {_EXAMPLE}")
    found = []
    for name, key, value in members or ():
        if re.fullmatch("[0-9]{1,20}", name) is None:
            report.problem(document.place_of(key), DEVICES, "expected a device id, digits alone, in quotes", name)
        else:
            found.append(_device(name, value, report))
    return tuple(found)


def _device(device: str, node: Node, report: Report) -> DeviceSettings:
    key = f"{DEVICES}.{device}"
    name: str | None = None
    channels: dict[str, str] = {}
    members = [] if document.is_null(node) else document.entries(node, key, report)
    if members is None:
        report.problem(document.place_of(node), key, "expected name and channels, indented below the device id")
    for member, member_key, value in members or ():
        if document.is_null(value):
            continue
        if member == "name":
            name = _name(value, f"{key}.name", report)
        elif member == "channels":
            channels = _channels(value, f"{key}.channels", report)
        else:
            meant = values.guess(member, ("name", "channels"))
            report.problem(document.place_of(member_key), key, "expected name or channels", member, meant)
    return DeviceSettings(device, name, MappingProxyType(channels))


def _channels(node: Node, key: str, report: Report) -> dict[str, str]:
    members = document.entries(node, key, report)
    if members is None:
        report.problem(document.place_of(node), key, "expected channels and their names, as {C0: Start, C1: Finish}")
    found = {}
    for channel, channel_key, value in members or ():
        if channel not in CHANNELS:
            place, meant = document.place_of(channel_key), channel.upper() if channel.upper() in CHANNELS else ""
            report.problem(place, key, "expected a channel from C0 to C8", channel, meant)
        elif not document.is_null(value):
            name = _name(value, f"{key}.{channel}", report)
            if name is not None:
                found[channel] = name
    return found


def _name(node: Node, key: str, report: Report) -> str | None:
    text = document.scalar(node)
    if text is None:
        report.problem(document.place_of(node), key, "expected a text")
        return None
    if document.is_truth_word(node):
        report.problem(document.place_of(node), key, "is true or false to YAML: put it in quotes", text)
        return None
    try:
        return values.name(text)
    except Unfit as error:
        report.unfit(document.place_of(node), key, error, text)
        return None
