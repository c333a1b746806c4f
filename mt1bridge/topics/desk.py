"""Everything retained, and where it comes from: states, alerts, devices, `last`, `recent`, `tally`, discovery. Pure.

A key names a slot of the board; its content is rendered when it is handed over, so it is never older than that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mt1bridge.config.settings import DeviceSettings
from mt1bridge.model.books import Books
from mt1bridge.model.broker import Publication
from mt1bridge.model.known import ChannelMemory
from mt1bridge.model.status import Device, UpstreamStatus
from mt1bridge.model.trigger import CHANNELS, ChannelId
from mt1bridge.topics import discovery, times
from mt1bridge.topics.board import Board
from mt1bridge.topics.introduction import Introduction
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import (
    JSON_TYPE,
    TEXT_TYPE,
    last_body,
    last_publication,
    recent_publication,
    scalar_publications,
    tally_publication,
    to_json,
)

HEALTH_EXPIRY_S = 180
GAP_S = {"recent": 0.2, "tally": 1.0, "health": 1.0, "last": 0.05}
# Raised, maybe, while the disk took nothing, so that the journal cannot say it.
FIXED_ALERTS = ("disk_space", "journal", "login_refused", "other_instance", "quota")
FIRST = ("state", "upstream", "info")


@dataclass(frozen=True, slots=True)
class Identity:
    """What `bridge/info` tells of us, and discovery."""

    instance: str
    version: str
    url: str
    config_digest: str
    started_ms: int
    scalar_topics: bool
    discovery_prefix: str | None


@dataclass(frozen=True, slots=True)
class Alert:
    """A standing fault. since_ms: UTC ms when it was raised first."""

    text: str
    facts: Mapping[str, object]
    since_ms: int


ChannelNames = Callable[[ChannelId], tuple[str | None, str | None]]


class Called:
    """What devices and channels are called: as configured, else, a device, as the account's list has it."""

    def __init__(self, devices: Sequence[DeviceSettings]) -> None:
        self.devices = devices
        self.listed: Mapping[str, Device] = {}

    def names(self, at: ChannelId) -> tuple[str | None, str | None]:
        """(device name, channel name), None where there is none."""
        configured = next((device for device in self.devices if device.id == at.device), None)
        name = configured.name if configured else None
        if name is None and at.device in self.listed:
            name = self.listed[at.device].name
        return name, configured.channels.get(at.channel) if configured else None


def will(names: Names) -> Publication:
    """What the broker is to say when we vanish."""
    return _state(names, b"offline")


class Desk:
    """names_of: (device name, channel name) of a channel, as configured or listed."""

    def __init__(
        self,
        names: Names,
        identity: Identity,
        books: Books,
        memory_of: Callable[[ChannelId], ChannelMemory | None],
        names_of: ChannelNames,
    ) -> None:
        self.board = Board()
        self.identity = identity
        self._names = names
        self._books = books
        self._forgets = books.may_repeat  # alerts may stand that it does not know of
        self._memory_of = memory_of
        self._names_of = names_of
        self.health: Callable[[], Mapping[str, object]] = dict  # set by whoever can tell it
        self._devices: dict[str, Device] = {}
        self._channels: dict[str, list[str]] = {}
        self._called: dict[str, tuple[tuple[str | None, str | None], ...]] = {}  # names as last shown
        self._alerts: dict[str, Alert] = {}
        self._introduction = Introduction(self.board, self.clear)
        self._account: str | None = None
        self.told: set[str] = set()  # retained topics handed over by this process
        self.staying()
        self.board.put("info", self._info)
        self.board.put("health", self._health_publications, GAP_S["health"])

    # --- the bridge ---------------------------------------------------------------------------------

    def leaving(self) -> None:
        """We end, or go to another place."""
        self.board.put("state", lambda: [_state(self._names, b"offline")])

    def staying(self) -> None:
        """We go nowhere after all."""
        self.board.put("state", lambda: [_state(self._names, b"online")])

    def presence(self) -> list[str]:
        """Slots that say whether we are there: the state first, then the availabilities."""
        return ["state", *(key for key in self.board.keys() if key.startswith("availability:"))]  # noqa: SIM118

    def identify(self, config_digest: str, url: str) -> None:
        self.identity = replace(self.identity, config_digest=config_digest, url=url)
        self.board.touch("info")
        self._discover()

    def began(self, utc_ms: int) -> None:
        """It is known better when we started."""
        if utc_ms != self.identity.started_ms:
            self.identity = replace(self.identity, started_ms=utc_ms)
            self.board.touch("info")

    def upstream(self, status: UpstreamStatus) -> None:
        body = {
            "state": status.state.value,
            "since": times.milliseconds(status.since_ms),
            "reasons": list(status.reasons),
            "next_try_at": times.milliseconds(status.next_try_ms),
        }
        publication = _json(self._names.upstream, body)
        self.board.put("upstream", lambda: [publication])
        self.board.touch("health")

    def account(self, account: str | None) -> None:
        if account != self._account:
            self._account = account
            self.board.touch("info")

    def _info(self) -> list[Publication]:
        who = self.identity
        body = {
            "version": who.version,
            "schema": 1,
            "started_at": times.milliseconds(who.started_ms),
            "instance": who.instance,
            "account": self._account,
            "mt1_url": who.url,
            "devices": sorted(self._devices),
            "journal": self._books.journal,
            "config_digest": who.config_digest,
        }
        return [_json(self._names.info, body)]

    def _health_publications(self) -> list[Publication]:
        body = to_json(self.health())
        return [Publication(self._names.health, body, retain=True, content_type=JSON_TYPE, expiry_s=HEALTH_EXPIRY_S)]

    # --- alerts -------------------------------------------------------------------------------------

    def alert(self, name: str, text: str, facts: Mapping[str, object], now_ms: int) -> bool:
        """Raise a standing alert. False if it stands with the same text already."""
        standing = self._alerts.get(name)
        if standing is not None and standing.text == text:
            return False
        self._alerts[name] = alert = Alert(text, facts, standing.since_ms if standing is not None else now_ms)
        body = {**facts, "since": times.milliseconds(alert.since_ms), "text": text}  # no fact hides these two
        publication = _json(self._names.alert(name), body)
        self.board.put(f"alert:{name}", lambda: [publication])
        return True

    def alert_over(self, name: str) -> bool:
        if self._alerts.pop(name, None) is None:
            return False
        self.clear(f"alert:{name}", [self._names.alert(name)])
        return True

    def alerts(self) -> dict[str, Alert]:
        """What stands now, by name."""
        return dict(self._alerts)

    def clear(self, key: str, topics: Sequence[str]) -> None:
        """Empty retained topics; the slot goes when that is acknowledged."""
        publications = [Publication(topic, b"", retain=True) for topic in topics]
        self.board.put(key, lambda: publications, emptying=True)

    # --- devices and channels -----------------------------------------------------------------------

    def device(self, device: Device, channels: Sequence[str]) -> None:
        """Show a device with these channels, or show it anew."""
        called = tuple(self._names_of(ChannelId(device.id, channel)) for channel in CHANNELS)
        same = self._devices.get(device.id) == device and self._called.get(device.id) == called
        if same and self._channels.get(device.id) == list(channels):
            return
        self._devices[device.id], self._called[device.id] = device, called
        for channel in self._channels.get(device.id, ()):
            self.board.touch(f"last:{ChannelId(device.id, channel)}")  # names stand in it before the first trigger
        self._channels.setdefault(device.id, [])
        self.board.put(f"device:{device.id}", lambda: [self._device_info(device.id)])
        self.board.put(f"recent:{device.id}", lambda: self._recent(device.id), GAP_S["recent"])
        for channel in channels:
            self.channel(ChannelId(device.id, channel))
        self.board.touch("info")
        self._discover()

    def channel(self, at: ChannelId) -> None:
        """Show a channel that was not shown yet."""
        shown = self._channels.get(at.device)
        if shown is None or at.channel in shown:
            return
        shown.append(at.channel)
        shown.sort()
        self.board.put(f"last:{at}", lambda: self._last(at), GAP_S["last"])
        self.board.put(f"tally:{at}", lambda: self._tally(at), GAP_S["tally"])
        self.board.touch(f"device:{at.device}")
        self.board.touch(f"recent:{at.device}")  # of a channel that is not shown, nothing is
        self._discover()

    def shown_channels(self, device: str) -> list[str]:
        return list(self._channels.get(device, ()))

    def devices(self) -> list[str]:
        return list(self._devices)

    def availability(self, device: str, online: bool) -> None:
        word = b"online" if online else b"offline"
        publication = Publication(self._names.availability(device), word, retain=True, content_type=TEXT_TYPE)
        self.board.put(f"availability:{device}", lambda: [publication])

    def remove(self, device: str) -> None:
        """A device is ours no more: its retained topics are emptied, but for those that are ours again by then."""
        topics = self._topics(device)
        for channel in self._channels.pop(device, []):
            at = ChannelId(device, channel)
            self.board.drop(f"last:{at}")
            self.board.drop(f"tally:{at}")
        self._devices.pop(device, None)
        for key in (f"device:{device}", f"recent:{device}", f"availability:{device}"):
            self.board.drop(key)

        def gone() -> list[Publication]:
            ours = self._topics(device) if device in self._devices else []
            return [Publication(topic, b"", retain=True) for topic in topics if topic not in ours]

        self.board.put(f"gone:{device}", gone, emptying=True)
        self.board.touch("info")
        self._discover()

    def _topics(self, device: str) -> list[str]:
        """What is retained of a device."""
        topics = [self._names.device_info(device), self._names.availability(device), self._names.recent(device)]
        for channel in self._channels.get(device, ()):
            at = ChannelId(device, channel)
            topics += [self._names.last(at), self._names.tally(at)]
            if self.identity.scalar_topics:
                topics += [p.topic for p in scalar_publications(self._names, at, last_body(at, None, None, None))]
        return topics

    def changed(self, at: ChannelId, last: bool) -> None:
        """Something of a channel is out of date: its tally, and with `last` what is in effect."""
        self.board.touch(f"tally:{at}")
        if last:
            self.board.touch(f"last:{at}")
            self.board.touch(f"recent:{at.device}")

    def _device_info(self, device: str) -> Publication:
        known = self._devices[device]
        channels: dict[str, Any] = {}
        for channel in self._channels[device]:
            channels[channel] = self._names_of(ChannelId(device, channel))[1]
        body = {"id": device, "name": known.name, "type": known.type, "channels": channels, "raw": known.raw or None}
        return _json(self._names.device_info(device), body)

    def _last(self, at: ChannelId) -> list[Publication]:
        body = last_body(at, self._books.newest(at), *self._names_of(at))
        publications = [last_publication(self._names, at, body)]
        if self.identity.scalar_topics:
            publications += scalar_publications(self._names, at, body)
        return publications

    def _recent(self, device: str) -> list[Publication]:
        newest = self._books.recent(device, self._channels.get(device, ()))
        return [recent_publication(self._names, device, newest)]

    def _tally(self, at: ChannelId) -> list[Publication]:
        memory = self._memory_of(at)
        return [tally_publication(self._names, self._books.tally(at), memory)] if memory is not None else []

    # --- Home Assistant -----------------------------------------------------------------------------

    def _discover(self) -> None:
        prefix = self.identity.discovery_prefix
        if prefix is None:
            return
        house = discovery.House(
            instance=self.identity.instance,
            base_topic=self._names.base,
            discovery_prefix=prefix,
            version=self.identity.version,
            devices=tuple(self._known_device(device) for device in sorted(self._devices)),
            url=self.identity.url,
        )
        self._introduction.introduce(house)

    def _known_device(self, device: str) -> discovery.KnownDevice:
        channels = [(c, self._names_of(ChannelId(device, c))[1]) for c in self._channels[device]]
        name = self._names_of(ChannelId(device, "C0"))[0]
        return discovery.KnownDevice(device, name, self._devices[device].type, tuple(channels))

    def discover_again(self) -> None:
        """Home Assistant was born anew."""
        self._introduction.again()

    # --- connection ---------------------------------------------------------------------------------

    def handed(self, publication: Publication) -> bool:
        """Note what is retained from now on. True if the journal must learn it: it was not retained by us before."""
        if not publication.payload:
            self.told.discard(publication.topic)
            return False
        new = publication.topic not in self.told
        self.told.add(publication.topic)
        return new

    def acknowledged(self, key: str) -> None:
        """The broker has one more publication of a slot."""
        if self.board.acknowledged(key):
            self._introduction.acknowledged(key)

    def connected(self) -> None:
        """Everything retained is sent again on every connect."""
        state, *availabilities = self.presence()
        self.board.all_again([state, *FIRST, *availabilities])

    def stale(self) -> list[str]:
        """Topics that this instance once retained and no longer does."""
        ours = self._books.retained() | {self._names.alert(name) for name in FIXED_ALERTS}
        if self._forgets:
            ours.update(topic for device in self._devices for topic in self._names.device_alerts(device))
        return sorted(ours - self.told)


def _state(names: Names, word: bytes) -> Publication:
    return Publication(names.state, word, retain=True, content_type=TEXT_TYPE)


def _json(topic: str, body: Mapping[str, object]) -> Publication:
    return Publication(topic, to_json(body), retain=True, content_type=JSON_TYPE)
