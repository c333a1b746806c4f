"""Every setting once: its key, what it means, its default and how its text is read (contract, section 8).

`devices` alone is not here: it is no single value (devices.py).
"""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mt1bridge.config import addresses, values

T = TypeVar("T", covariant=True)
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One setting.

    name: section and key as in the file. read: its text to its value, or Unfit. default: as the file would have it,
    None where there is none. otherwise: what happens without it, where no default says so. many: a list.
    plain: its text has no meaning of its own to YAML, so words such as `yes` must be quoted. secret: never shown.
    """

    name: str
    read: Callable[[str], T]
    help: str
    default: str | None = None
    otherwise: str = ""
    required: bool = False
    many: bool = False
    plain: bool = False
    secret: bool = False

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def variable(self) -> str:
        return "MT1BRIDGE_" + self.name.upper().replace(".", "_")


def _text(name: str, read: Callable[[str], T], help: str, otherwise: str = "", secret: bool = False) -> Option[T]:
    return Option(name, read, help, otherwise=otherwise, plain=True, secret=secret)


INSTANCE = _text("instance", values.word, "The name of this bridge on MQTT and in Home Assistant.", "mt1bridge")

USERNAME = Option("mt1.username", values.line, "The account at the MT1 server.", required=True, plain=True)
PASSWORD = _text("mt1.password", values.secret, "The password itself.", secret=True)
PASSWORD_FILE = _text("mt1.password_file", values.path, "A file that holds the password and nothing else.")
URL = Option("mt1.url", addresses.web, "The MT1 server.", "https://www.alge-results.com")
REALTIME_URL = Option("mt1.realtime_url", addresses.web, "Where the MT1 server pushes.", otherwise="<url>/devices")
MT1_CA_FILE = _text("mt1.ca_file", values.path, "Certificates to trust, a file in PEM format.", "the system's")
EDGES = Option(
    "mt1.edges", values.some_of("falling", "rising"), "The edges that make a usable impulse.", "falling", many=True
)

MQTT_URL = Option("mqtt.url", addresses.broker, "The broker.", "mqtt://localhost:1883")
MQTT_USERNAME = _text("mqtt.username", values.line, "The user at the broker.", "none")
MQTT_PASSWORD = _text("mqtt.password", values.secret, "The password itself.", secret=True)
MQTT_PASSWORD_FILE = _text("mqtt.password_file", values.path, "A file that holds the password and nothing else.")
CLIENT_ID = _text("mqtt.client_id", values.line, "The client id at the broker.", "the instance")
PROTOCOL = Option("mqtt.protocol", values.protocol, "The version of MQTT.", "5")
BASE_TOPIC = _text("mqtt.base_topic", values.topic, "What every topic begins with.", "mt1")
MQTT_CA_FILE = _text("mqtt.ca_file", values.path, "Certificates to trust, a file in PEM format.", "the system's")
CERT_FILE = _text("mqtt.cert_file", values.path, "Our own certificate, where the broker asks for one.", "none")
KEY_FILE = _text("mqtt.key_file", values.path, "The private key to it, without a password.", "none")
SCALAR_TOPICS = Option("mqtt.scalar_topics", values.truth, "Publish single values as plain text too.", "false")
COMMANDS = Option("mqtt.commands", values.truth, "Take commands over MQTT.", "true")

ENABLED = Option("home_assistant.enabled", values.truth, "Announce everything to Home Assistant.", "true")
PREFIX = Option(
    "home_assistant.discovery_prefix", values.topic, "The discovery prefix set there.", "homeassistant", plain=True
)

DIRECTORY = _text(
    "journal.directory",
    values.path,
    "Where the journal is kept.",
    "$STATE_DIRECTORY (set by systemd), else ~/.local/state/mt1bridge",
)
KEEP = Option("journal.keep", values.duration(3600, 3650 * DAY_S), "How long triggers are kept.", "90d")

INTERVAL = Option("reconcile.interval", values.duration(1, DAY_S), "How often the server's counts are asked for.", "5m")
FULL_INTERVAL = Option("reconcile.full_interval", values.duration(1, 7 * DAY_S), "How often history is read.", "30m")
WINDOW = Option("reconcile.window", values.duration(60, 365 * DAY_S), "How far back such a read goes.", "48h")
FIRST_START = Option(
    "reconcile.first_start", values.duration(0, 3650 * DAY_S), "How far back the very first start goes.", "0s"
)
CALLS = Option("reconcile.calls_per_minute", values.whole(1, 6000), "Calls to the server, all devices together.", "20")
LIVE_WITHIN = Option("reconcile.live_within", values.duration(1, DAY_S), "What is older on delivery is late.", "10s")

LEVEL = Option("log.level", values.one_of("debug", "info", "warning", "error"), "How much is logged.", "info")
FORMAT = Option("log.format", values.one_of("auto", "console", "json", "journal"), "The form of the log.", "auto")

OPTIONS: tuple[Option[object], ...] = (
    INSTANCE,
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    URL,
    REALTIME_URL,
    MT1_CA_FILE,
    EDGES,
    MQTT_URL,
    MQTT_USERNAME,
    MQTT_PASSWORD,
    MQTT_PASSWORD_FILE,
    CLIENT_ID,
    PROTOCOL,
    BASE_TOPIC,
    MQTT_CA_FILE,
    CERT_FILE,
    KEY_FILE,
    SCALAR_TOPICS,
    COMMANDS,
    ENABLED,
    PREFIX,
    DIRECTORY,
    KEEP,
    INTERVAL,
    FULL_INTERVAL,
    WINDOW,
    FIRST_START,
    CALLS,
    LIVE_WITHIN,
    LEVEL,
    FORMAT,
)
SECTIONS = tuple(dict.fromkeys(option.section for option in OPTIONS if option.section))
DEVICES = "mt1.devices"
