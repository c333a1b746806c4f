"""`mt1bridge monitor`: how it goes, live, as the broker tells it."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mt1bridge.cli import add_config_option, add_json_option, config_path, config_words
from mt1bridge.cli.blindness import Blindness
from mt1bridge.cli.message_lines import HEADING, decoded, fact_line, fact_of, printable
from mt1bridge.cli.monitor_view import View
from mt1bridge.cli.service_place import load_beside
from mt1bridge.cli.state_lines import StateLines
from mt1bridge.cli.watching import Watcher, passing_by
from mt1bridge.cli.wishes import Wish, wish_to_end
from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import Arrived, BrokerLost, BrokerTrouble, Subscribed
from mt1bridge.model.errors import BrokerError
from mt1bridge.runtime.clock import SystemClock
from mt1bridge.runtime.dial import place

HELP = (
    "Watch the bridge live, by what it publishes on the configured broker: its state, the link to the MT1 server, the\n"
    "backlog, and the latest impulse of every channel. Needs no bridge on this machine. Ctrl-C ends it. Where the\n"
    "output is no terminal, every message is a line."
)
EXAMPLE = """mt1bridge monitor
  mt1bridge monitor --json | jq ."""
REFRESH_S = 1.0
BURST_S = 0.1
_BRIDGE = ("state", "upstream", "health", "info", "alert/+")
_DEVICE = ("availability", "+/last", "+/trigger", "+/correction", "+/rejected")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """0 when asked to end. Raises ConfigurationError; BrokerError where the broker does not let us in."""
    mqtt = load_beside(Path(config_path(args, os.environ)), os.environ).settings.mqtt
    base = mqtt.base_topic
    filters = [f"{base}/bridge/{name}" for name in _BRIDGE] + [f"{base}/device/+/{name}" for name in _DEVICE]
    watcher = Watcher(passing_by(mqtt, "monitor"), filters)
    with wish_to_end() as wish, _shown_by(args.json, mqtt) as show:
        wish.then(watcher.wake)
        try:
            _watch(watcher, wish, show, Blindness(base, mqtt.username), config_words(args))
        finally:
            watcher.close()
    return 0


class _Show(Protocol):
    """One way of showing."""

    def connected(self) -> None: ...

    def lost(self, text: str) -> None: ...

    def take(self, message: Arrived) -> None: ...

    def hint(self, text: str) -> None:
        """What is probably wrong."""

    def refresh(self) -> None:
        """Nothing more is waiting, or a second has passed."""


def _watch(watcher: Watcher, wish: Wish, show: _Show, blindness: Blindness, config: str) -> None:
    clock = SystemClock()
    ever, shown_at, fresh = False, 0.0, True
    while not wish.asked:
        event = watcher.next(BURST_S if fresh else REFRESH_S)
        if isinstance(event, Subscribed):
            ever = True
            show.connected()
            if event.refused:
                show.lost(f"the broker does not let this user read {', '.join(event.refused)}")
        elif isinstance(event, BrokerLost):
            if not ever or event.trouble is BrokerTrouble.TAKEN_OVER:
                raise BrokerError(_why(event, config))
            show.lost(event.text)
            blindness.disconnected()
        now = clock.now().monotonic
        if isinstance(event, Arrived):
            show.take(event)
            blindness.heard(event.topic, event.payload, now)
        hint = blindness.hint(now)
        if hint is not None:
            show.hint(hint)
        fresh = event is not None
        if not fresh or now - shown_at >= REFRESH_S:
            shown_at = now
            show.refresh()


def _why(lost: BrokerLost, config: str) -> str:
    if lost.trouble is BrokerTrouble.TAKEN_OVER:
        return (
            f"{lost.text}. The monitor's id is of this run alone, so the broker seems to make ids from user names: "
            "give the monitor a user of its own, or it and the bridge throw each other out"
        )
    return f"{lost.text}. What is wrong:  mt1bridge check --online{config}"


@contextmanager
def _shown_by(as_json: bool, mqtt: MqttSettings) -> Iterator[_Show]:
    where = place(mqtt.host, mqtt.port)
    if as_json:
        yield _Json()
    elif not sys.stdout.isatty():
        yield _Lines(mqtt.base_topic)
    else:
        screen = _Screen(View(mqtt.base_topic, where))
        try:
            yield screen
        finally:
            screen.leave()


class _Json:
    """A JSON object a line."""

    def connected(self) -> None:
        print(json.dumps({"monitor": "connected"}), flush=True)

    def lost(self, text: str) -> None:
        print(json.dumps({"monitor": "lost", "text": text}), flush=True)

    def take(self, message: Arrived) -> None:
        body = {"topic": message.topic, "retained": message.retained, "payload": decoded(message.payload)}
        print(json.dumps(body), flush=True)

    def hint(self, text: str) -> None:
        print(json.dumps({"monitor": "hint", "text": text}), flush=True)

    def refresh(self) -> None:
        pass


class _Lines:
    """A line for what changes."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._states = StateLines(base)
        print(HEADING, flush=True)

    def connected(self) -> None:
        print("-- broker: connected", flush=True)

    def lost(self, text: str) -> None:
        print(f"-- broker: {printable(text)}", flush=True)

    def take(self, message: Arrived) -> None:
        fact = fact_of(self._base, message.topic, message.payload)
        if fact is not None:
            print(fact_line(fact, colour=False), flush=True)
            return
        line = self._states.line(message.topic, message.payload) or self._latest(message)
        if line is not None:
            print(f"-- {line}", flush=True)

    def hint(self, text: str) -> None:
        print(f"-- hint: {printable(text)}", flush=True)

    def _latest(self, message: Arrived) -> str | None:
        body = decoded(message.payload) if message.retained and message.topic.endswith("/last") else None
        if not isinstance(body, dict) or not body.get("id"):
            return None
        line = f"latest: {fact_line(body, colour=False)}"
        return line if self._states.is_new(message.topic, line) else None

    def refresh(self) -> None:
        pass


class _Screen:
    """The whole state on the terminal's second screen, refreshed in place (ECMA-48 and xterm's 1049)."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._clock = SystemClock()
        self._lines: list[str] = []
        sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[2J")

    def connected(self) -> None:
        self._view.connected()

    def lost(self, text: str) -> None:
        self._view.lost(text)

    def take(self, message: Arrived) -> None:
        self._view.take(message.topic, message.payload)

    def hint(self, text: str) -> None:
        self._view.hint(text)

    def refresh(self) -> None:
        size = shutil.get_terminal_size()
        self._lines = self._view.lines(self._clock.now().utc_ms, size.columns, size.lines - 1)
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in self._lines) + "\x1b[J")
        sys.stdout.flush()

    def leave(self) -> None:
        """Back to the first screen, and leave there what was seen last."""
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        for line in self._lines:
            print(line)
        sys.stdout.flush()
