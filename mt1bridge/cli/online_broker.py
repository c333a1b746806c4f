"""The broker's part of `mt1bridge check --online`."""

from collections.abc import Iterator, Mapping

from mt1bridge.cli.finding import Finding, Result
from mt1bridge.cli.message_lines import decoded, printable
from mt1bridge.cli.watching import Watcher, passing_by
from mt1bridge.config.settings import Settings
from mt1bridge.model.broker import Arrived, BrokerConnected, BrokerLost, BrokerTrouble, Subscribed
from mt1bridge.runtime.clock import SystemClock
from mt1bridge.topics.names import Names

BROKER_S = 25.0
LOOK_S = 1.0


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Connect as the bridge does, under a client id of our own, and see who else is there."""
    clock, names = SystemClock(), Names(settings.mqtt.base_topic)
    watcher = Watcher(passing_by(settings.mqtt, "check"), (names.info, names.state))
    end, seen = clock.now().monotonic + BROKER_S, dict[str, bytes]()
    try:
        while (left_s := end - clock.now().monotonic) > 0:
            event = watcher.next(left_s)
            if isinstance(event, BrokerLost):
                yield Finding("broker", Result.FAILED, f"{event.text}. {_broker_help(event, settings)}.")
                return
            if isinstance(event, Arrived):
                seen[event.topic] = event.payload
            elif isinstance(event, BrokerConnected):
                yield from _connected(event, settings)
            elif isinstance(event, Subscribed):
                yield from _subscribed(event, settings)
                end = clock.now().monotonic + LOOK_S  # for what is retained
    finally:
        watcher.close()
    yield neighbour_finding(seen, names, settings)
    text = (
        f"Whether this user may publish below {settings.mqtt.base_topic}/ was not tried: a check publishes nothing. "
        "If the broker has access rules, allow it to write there."
    )
    yield Finding("broker", Result.UNCHECKED, text)


def _connected(event: BrokerConnected, settings: Settings) -> Iterator[Finding]:
    version = "5" if event.protocol == 5 else "3.1.1"
    mqtt = settings.mqtt
    who = f"user {mqtt.username}" if mqtt.username else "no user name"
    yield Finding("broker", Result.OK, f"{mqtt.host}:{mqtt.port} accepts us with MQTT {version} ({who}).")
    if mqtt.protocol == 5 and event.protocol != 5:
        text = 'The broker does not speak MQTT 5: set mqtt.protocol to "3.1.1", which saves a try at each connect.'
        yield Finding("broker", Result.WARNING, text)
    if event.maximum_qos < 1:
        yield Finding("broker", Result.FAILED, "The broker takes no QoS 1, which the bridge needs: take another one.")
    if not event.retain_available:
        text = "The broker keeps no retained messages: displays would be empty after each start."
        yield Finding("broker", Result.FAILED, text)


def _subscribed(event: Subscribed, settings: Settings) -> Iterator[Finding]:
    if event.refused:
        text = (
            f"The broker does not let us read {', '.join(event.refused)}, so another instance cannot be noticed: "
            f"allow this user to read {settings.mqtt.base_topic}/bridge/#."
        )
        yield Finding("broker", Result.WARNING, text)


def neighbour_finding(seen: Mapping[str, bytes], names: Names, settings: Settings) -> Finding:
    """Who publishes below the base topic: nobody, this bridge, or another one. seen: retained messages by topic."""
    info = decoded(seen.get(names.info, b""))
    online = seen.get(names.state) == b"online"
    other = info.get("instance") if isinstance(info, dict) else None
    base = settings.mqtt.base_topic
    if not isinstance(other, str):
        return Finding("broker", Result.OK, f"No bridge has published below {base}/ yet.")
    if other == settings.instance:
        state = "is online" if online else "was here before and is offline"
        return Finding("broker", Result.OK, f"This bridge ({printable(other)}) {state}.")
    if online:
        text = (
            f"Another instance, {printable(other)}, is online below {base}/, so this bridge would publish nothing: "
            "give each a mqtt.base_topic of its own."
        )
        return Finding("broker", Result.FAILED, text)
    text = f"Another instance, {printable(other)}, used {base}/ and is offline; this bridge would take its place."
    return Finding("broker", Result.WARNING, text)


def _broker_help(lost: BrokerLost, settings: Settings) -> str:
    mqtt = settings.mqtt
    helps = {
        BrokerTrouble.REFUSED: "Check mqtt.username, the password, and the rules of the broker",
        BrokerTrouble.UNREACHABLE: f"Check mqtt.url ({mqtt.url}), and that the broker runs and listens there",
        BrokerTrouble.TLS: "Check mqtt.ca_file, and whether the port speaks TLS",
        BrokerTrouble.PROTOCOL_VERSION: 'Set mqtt.protocol to "3.1.1"',
    }
    return helps.get(lost.trouble, f"Check that {mqtt.url} is an MQTT broker")
