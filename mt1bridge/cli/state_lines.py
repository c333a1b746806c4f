"""What is worth a line of all that is said of the bridge, the MT1 server and the devices. Pure."""

from mt1bridge.cli.message_lines import state_line

OF_A_BRIDGE_ONLINE = ("upstream", "availability")  # last words of topics that mean nothing while it is offline


class StateLines:
    """Each change once. base: the base topic.

    While the bridge is offline, what its last run said of link and devices stands at the broker and is out of date:
    it is left out, and told again when the bridge is back.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._shown: dict[str, str] = {}
        self._offline = False

    def line(self, topic: str, payload: bytes) -> str | None:
        """The line to show, None where the message says nothing new."""
        line = state_line(self._base, topic, payload)
        if topic == f"{self._base}/bridge/state":
            self._judge(payload == b"offline")
        elif self._offline and topic.endswith(OF_A_BRIDGE_ONLINE):
            return None
        return line if line is not None and self.is_new(topic, line, over=not payload) else None

    def is_new(self, topic: str, line: str, over: bool = False) -> bool:
        """Whether this was not yet the last line shown of the topic. over: an end, of what was seen to begin."""
        before = self._shown.pop(topic, None)
        if not over:
            self._shown[topic] = line
        return before is not None if over else before != line

    def _judge(self, offline: bool) -> None:
        self._offline = offline
        if offline:
            self._shown = {topic: line for topic, line in self._shown.items() if not topic.endswith(OF_A_BRIDGE_ONLINE)}
