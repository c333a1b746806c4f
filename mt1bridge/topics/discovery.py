"""What Home Assistant is told so that it shows us: device-based MQTT discovery (CONTRACT, section 7).

Pure. One retained configuration for the bridge and one for each MT1, each with all its components. What is
odd here is owed to Home Assistant 2025.1 to 2026.11 (its `mqtt` component is the source of the facts below):

- `qos` stands on the device and on every component: the device's own reaches them in the newest versions alone.
- `availability` is `[]` where an entity has none: it then stays what it was, whatever the bridge does.
- Names never enter a topic, an id or a template; templates are constants.
- A template survives an emptied topic: `value_json` is undefined then, and a bare use of it would be logged.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mt1bridge.model.broker import Publication
from mt1bridge.model.trigger import CHANNELS
from mt1bridge.topics.components import Component, bridge_components, channel_components, device_components

ALWAYS = ("C0", "C1")  # start and finish: shown before they are first seen
NAME_LIMIT = 60  # characters of a name that are shown; users and the account may give any text of any length


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """An MT1 that is ours. id: digits. type: the server's word for what it is.

    channels: (channel, name or None), as configured or seen; C0 and C1 are shown even if they are missing here.
    """

    id: str
    name: str | None = None
    type: str | None = None
    channels: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class House:
    """All that discovery tells. url: of the MT1 web site, for the link "Visit" on a device's page."""

    instance: str
    base_topic: str
    discovery_prefix: str
    version: str
    devices: tuple[KnownDevice, ...] = ()
    url: str | None = None


def discovery(house: House) -> list[Publication]:
    """The configurations to retain now: the bridge's first, then one for each MT1."""
    return [_bridge(house), *(_device(house, device) for device in house.devices)]


def first_step(house: House) -> list[Publication]:
    """What to send in front of each configuration of `discovery`, in the same order and on the same topics.

    It names by their `platform` alone all components that an MT1 could have and does not have: so a channel that was
    taken out goes from Home Assistant without anybody having to remember that it was there.
    """
    return [_with_gone(now, _absent(json.loads(now.payload))) for now in discovery(house)]


def removal(before: Sequence[Publication], now: Sequence[Publication]) -> tuple[list[Publication], list[Publication]]:
    """The two steps that take out of Home Assistant what `before` told and `now` tells no longer.

    before, now: what `discovery` gave (or what is retained) then and now. The first list names each component
    that is gone with its `platform` alone, the second is `now` for the same topics: send it once the first is
    acknowledged. A device that is gone as a whole is emptied in the first list, which removes all its
    components; naming them first would make Home Assistant warn of an emptied device without components.
    """
    present = {publication.topic: publication for publication in now}
    first: list[Publication] = []
    second: list[Publication] = []
    for old in before:
        new = present.get(old.topic)
        if new is None:
            if old.payload:
                first.append(Publication(old.topic, b"", retain=True))
            continue
        kept = json.loads(new.payload)["components"]
        gone = {key: platform for key, platform in _platforms(old.payload) if key not in kept}
        if gone:
            first.append(_with_gone(new, gone))
            second.append(new)
    return first, second


def _with_gone(now: Publication, gone: Mapping[str, str]) -> Publication:
    """The configuration with components that are gone (key -> platform) in front.

    In front, as Home Assistant 2025.1 stops reading at a component that it is still busy with.
    """
    if not gone:
        return now
    config = json.loads(now.payload)
    config["components"] = {key: {"platform": platform} for key, platform in gone.items()} | config["components"]
    return _retained(now.topic, config)


def _absent(config: Mapping[str, Any]) -> dict[str, str]:
    """Key -> platform of the components of those channels that an MT1's configuration does not have."""
    if "via_device" not in config["device"]:
        return {}
    possible: dict[str, Component] = {}
    for channel in CHANNELS:
        possible |= channel_components("", channel, channel, "")
    return {key: one.platform for key, one in possible.items() if key not in config["components"]}


def _platforms(payload: bytes) -> Iterator[tuple[str, str]]:
    """Key and platform of every component in a configuration; none if it cannot be read."""
    try:
        config = json.loads(payload)
    except ValueError:
        return
    components = config.get("components") if isinstance(config, dict) else None
    for key, component in components.items() if isinstance(components, dict) else ():
        if isinstance(component, dict) and isinstance(component.get("platform"), str):
            yield key, component["platform"]


def _bridge(house: House) -> Publication:
    unique = f"{house.instance}_bridge"
    device = {
        "identifiers": [unique],
        "name": "MT1 bridge" if house.instance == "mt1bridge" else f"MT1 bridge {house.instance}",
        "manufacturer": "mt1bridge",
        "model": "ALGE MT1 to MQTT bridge",
        "sw_version": house.version,
    }
    root = f"{house.base_topic}/bridge"
    return _configuration(house, unique, _slug(house.instance), device, bridge_components(root))


def _device(house: House, known: KnownDevice) -> Publication:
    unique = f"{house.instance}_{known.id}"
    device: dict[str, object] = {
        "identifiers": [unique],
        "name": _shown(known.name) or f"MT1 {known.id}",
        "manufacturer": "ALGE-TIMING",
        "model": _shown(known.type) or "MT1",
        "serial_number": known.id,
        "via_device": f"{house.instance}_bridge",
    }
    if house.url is not None and _is_web_address(house.url):
        device["configuration_url"] = house.url
    root = f"{house.base_topic}/device/{known.id}"
    bridge_state = f"{house.base_topic}/bridge/state"
    components = device_components(root, bridge_state)
    for channel, label in _labels(known.channels):
        components |= channel_components(f"{root}/{channel}", channel, label, bridge_state)
    return _configuration(house, unique, f"{_slug(house.instance)}_{known.id}", device, components)


def _configuration(
    house: House, unique: str, entity_prefix: str, device: Mapping[str, object], components: Mapping[str, Component]
) -> Publication:
    config = {
        "device": device,
        "origin": {"name": "mt1bridge", "sw_version": house.version},
        "qos": 1,
        "components": {
            key: component.config(f"{unique}_{key}", f"{entity_prefix}_{key.lower()}")
            for key, component in components.items()
        },
    }
    return _retained(f"{house.discovery_prefix}/device/{unique}/config", config)


def _retained(topic: str, config: Mapping[str, object]) -> Publication:
    payload = json.dumps(config, ensure_ascii=False, separators=(",", ":")).encode()
    return Publication(topic, payload, retain=True, content_type="application/json")


def _labels(channels: Sequence[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """(channel, what it is called on the screen) in order of the channels; no two are called the same."""
    names = dict.fromkeys(ALWAYS, "") | {channel: _shown(name) for channel, name in channels}
    counts: dict[str, int] = {}
    for name in names.values():
        counts[name] = counts.get(name, 0) + 1
    return [
        (channel, channel if not name else name if counts[name] == 1 else f"{name} {channel}")
        for channel, name in sorted(names.items())
    ]


def _shown(name: str | None) -> str:
    """A name on one line, without control characters, cut to NAME_LIMIT; empty if nothing is left of it."""
    head = (name or "")[: NAME_LIMIT * 10]
    joiners = "\u200c\u200d"  # hold scripts and emoji together
    plain = "".join(
        char if char in joiners or unicodedata.category(char)[0] not in "CZ" else " " for char in head
    ).split()
    return " ".join(plain)[:NAME_LIMIT].rstrip()


def _slug(instance: str) -> str:
    return instance.lower().replace("-", "_")


def _is_web_address(url: str) -> bool:
    """Home Assistant refuses a whole configuration for a `configuration_url` that it cannot read."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in url
    except ValueError:
        return False
