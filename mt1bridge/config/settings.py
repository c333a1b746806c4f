"""The settings of one bridge: frozen, checked, complete (contract, section 8).

Nobody behind the reader sees a dict or a text to parse. Durations are seconds and say so in their name (`_s`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from mt1bridge.model.errors import Problem
from mt1bridge.model.secret import Secret

DIGEST_LENGTH = 12  # hex digits: enough to see a change, short enough to read out


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """id: digits. name: for people, None where none was given. channels: "C0".."C8" -> name for people."""

    id: str
    name: str | None
    channels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mt1Settings:
    """The account at the MT1 server.

    url, realtime_url: without a trailing slash; realtime_url is resolved already.
    edges: a subset of "falling", "rising", never empty. devices: None means every device of the account.
    """

    username: str
    password: Secret
    url: str
    realtime_url: str
    ca_file: Path | None
    edges: frozenset[str]
    devices: tuple[DeviceSettings, ...] | None


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """The broker.

    scheme: mqtt, mqtts, ws or wss. host: without brackets. path: of the WebSocket, "" for mqtt and mqtts.
    protocol: 5, or 4 for MQTT 3.1.1.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    username: str | None
    password: Secret | None
    client_id: str
    protocol: int
    base_topic: str
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    scalar_topics: bool
    commands: bool


@dataclass(frozen=True, slots=True)
class HomeAssistantSettings:
    enabled: bool
    discovery_prefix: str


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """directory: absolute. keep_s: never less than ReconcileSettings.window_s."""

    directory: Path
    keep_s: int


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    interval_s: int
    full_interval_s: int
    window_s: int
    first_start_s: int
    calls_per_minute: int
    live_within_s: int


@dataclass(frozen=True, slots=True)
class LogSettings:
    """level: debug, info, warning or error. format: auto, console, json or journal."""

    level: str
    format: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. instance: names this bridge on MQTT and in Home Assistant."""

    instance: str
    mt1: Mt1Settings
    mqtt: MqttSettings
    home_assistant: HomeAssistantSettings
    journal: JournalSettings
    reconcile: ReconcileSettings
    log: LogSettings

    def digest(self) -> str:
        """Return a short hash over everything but the secrets: the same settings, the same digest, on any machine."""
        text = json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True, slots=True)
class Loaded:
    """settings: complete. warnings: what works but should be mended.

    origins: key -> "line 7" or the variable that gave it, and of a password file its path; what has its default is not
    there.
    """

    settings: Settings
    warnings: tuple[Problem, ...]
    origins: Mapping[str, str]


def _plain(value: object) -> object:
    """Return the value as JSON knows it, with every secret left out."""
    if is_dataclass(value):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: _plain(member) for name, member in members.items() if not isinstance(member, Secret)}
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, frozenset):
        return sorted(str(member) for member in value)
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    return str(value) if isinstance(value, Path) else value
