"""Settings -> the keys and texts of the file, secrets hidden: for `check` and for whoever wants to see them. Pure."""

import json
from collections.abc import Mapping

from mt1bridge.config.settings import DeviceSettings, Settings
from mt1bridge.config.values import written
from mt1bridge.model.secret import Secret

HIDDEN = "(hidden)"
Section = dict[str, object]


def shown(settings: Settings) -> dict[str, object]:
    """Return the settings as the file would have them, complete; a password is "(hidden)", or None if there is none."""
    return {
        "instance": settings.instance,
        "mt1": _mt1(settings),
        "mqtt": _mqtt(settings),
        "home_assistant": {
            "enabled": settings.home_assistant.enabled,
            "discovery_prefix": settings.home_assistant.discovery_prefix,
        },
        "journal": {"directory": str(settings.journal.directory), "keep": written(settings.journal.keep_s)},
        "reconcile": _reconcile(settings),
        "log": {"level": settings.log.level, "format": settings.log.format},
    }


def as_yaml(settings: Settings, origins: Mapping[str, str]) -> str:
    """Return the settings as YAML in the order of the file, each line with where its value came from."""
    lines: list[str] = []
    for name, value in shown(settings).items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [line for key, member in value.items() for line in _lines(f"{name}.{key}", member, origins)]
        else:
            lines += _lines(name, value, origins)
    return "\n".join(lines) + "\n"


def _mt1(settings: Settings) -> Section:
    mt1 = settings.mt1
    section: Section = {
        "username": mt1.username,
        "password": HIDDEN,
        "url": mt1.url,
        "realtime_url": mt1.realtime_url,
        "ca_file": _path(mt1.ca_file),
        "edges": sorted(mt1.edges),
    }
    if mt1.devices is not None:
        section["devices"] = {device.id: _device(device) for device in mt1.devices}
    return section


def _device(device: DeviceSettings) -> Section:
    return {"name": device.name, "channels": dict(device.channels)}


def _mqtt(settings: Settings) -> Section:
    mqtt = settings.mqtt
    return {
        "url": mqtt.url,
        "username": mqtt.username,
        "password": HIDDEN if isinstance(mqtt.password, Secret) else None,
        "client_id": mqtt.client_id,
        "protocol": "5" if mqtt.protocol == 5 else "3.1.1",
        "base_topic": mqtt.base_topic,
        "ca_file": _path(mqtt.ca_file),
        "cert_file": _path(mqtt.cert_file),
        "key_file": _path(mqtt.key_file),
        "scalar_topics": mqtt.scalar_topics,
        "commands": mqtt.commands,
    }


def _reconcile(settings: Settings) -> Section:
    reconcile = settings.reconcile
    return {
        "interval": written(reconcile.interval_s),
        "full_interval": written(reconcile.full_interval_s),
        "window": written(reconcile.window_s),
        "first_start": written(reconcile.first_start_s),
        "calls_per_minute": reconcile.calls_per_minute,
        "live_within": written(reconcile.live_within_s),
    }


def _path(path: object) -> str | None:
    return str(path) if path is not None else None


def _lines(name: str, value: object, origins: Mapping[str, str]) -> list[str]:
    section, _, key = name.rpartition(".")
    indent = "  " if section else ""
    if key == "devices" and isinstance(value, dict):
        return [f"{indent}devices:", *(f"{indent}  {_flow(device)}: {_flow(value[device])}" for device in value)]
    origin = origins.get(name) or (origins.get(f"{name}_file") if value == HIDDEN else None)
    if value is None:
        origin = origin or "none"
    elif value == HIDDEN:
        origin = origin or "systemd credential"
    return [f"{indent}{key}: {_flow(value)}  # {origin or 'default'}"]


def _flow(value: object) -> str:
    """Return the value as JSON in one line, which is YAML too; plain words stay without quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(member)}" for key, member in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
