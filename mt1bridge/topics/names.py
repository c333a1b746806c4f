"""Names of topics, CONTRACT section 2. Pure. Names that users give never enter a topic."""

from dataclasses import dataclass

from mt1bridge.model.fact import Kind
from mt1bridge.model.trigger import CHANNELS, ChannelId

SCALARS = ("start_number", "time", "time_of_day", "id")


@dataclass(frozen=True, slots=True)
class Names:
    """All topics below one base topic."""

    base: str

    @property
    def state(self) -> str:
        return f"{self.base}/bridge/state"

    @property
    def upstream(self) -> str:
        return f"{self.base}/bridge/upstream"

    @property
    def info(self) -> str:
        return f"{self.base}/bridge/info"

    @property
    def health(self) -> str:
        return f"{self.base}/bridge/health"

    @property
    def event(self) -> str:
        return f"{self.base}/bridge/event"

    @property
    def requests(self) -> str:
        return f"{self.base}/bridge/request/+"

    def request_verb(self, topic: str) -> str | None:
        """The verb of a request topic, None for any other topic."""
        head = f"{self.base}/bridge/request/"
        verb = topic.removeprefix(head)
        return verb if verb != topic and verb and "/" not in verb else None

    def response(self, verb: str) -> str:
        return f"{self.base}/bridge/response/{verb}"

    def replay(self, transaction: str) -> str:
        return f"{self.base}/bridge/replay/{transaction}"

    def alert(self, name: str) -> str:
        return f"{self.base}/bridge/alert/{name}"

    def device_alerts(self, device: str) -> list[str]:
        """Topics of all alerts that may stand about a device."""
        return [self.alert(name) for name in device_alerts(device)]

    def device_info(self, device: str) -> str:
        return f"{self.base}/device/{device}/info"

    def availability(self, device: str) -> str:
        return f"{self.base}/device/{device}/availability"

    def recent(self, device: str) -> str:
        return f"{self.base}/device/{device}/recent"

    def fact(self, at: ChannelId, kind: Kind) -> str:
        return f"{self.base}/device/{at.device}/{at.channel}/{kind.value}"

    def is_fact(self, topic: str) -> bool:
        """Whether triggers, corrections or what was rejected may be told on this topic."""
        head, levels = f"{self.base}/device/", topic.removeprefix(f"{self.base}/device/").split("/")
        return (
            topic.startswith(head)
            and len(levels) == 3
            and levels[0].isascii()
            and levels[0].isdigit()
            and levels[1] in CHANNELS
            and levels[2] in set(Kind)
        )

    def last(self, at: ChannelId) -> str:
        return f"{self.base}/device/{at.device}/{at.channel}/last"

    def tally(self, at: ChannelId) -> str:
        return f"{self.base}/device/{at.device}/{at.channel}/tally"

    def value(self, at: ChannelId, field: str) -> str:
        return f"{self.base}/device/{at.device}/{at.channel}/value/{field}"


def device_alerts(device: str) -> list[str]:
    """Names of all alerts that may stand about a device and its channels."""
    of_channels = [f"{kind}_{device}_{channel}" for kind in ("missing", "only_rejected") for channel in CHANNELS]
    return [f"device_refused_{device}", f"device_clock_{device}", *of_channels]
