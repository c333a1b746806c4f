"""`mt1bridge demo`: simulator, broker and bridge in one, and what is published."""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mt1bridge.cli.demo_bridge import DemoBridge, child_environment, configuration, demo_bridge
from mt1bridge.cli.demo_broker import DemoBroker, demo_broker
from mt1bridge.cli.demo_tale import BASE, Tale, stored_ids
from mt1bridge.cli.watching import Watcher
from mt1bridge.cli.wishes import Wish, wish_to_end
from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import Arrived, BrokerConnected, BrokerLost, Subscribed
from mt1bridge.model.errors import BridgeError, BrokerError
from mt1bridge.runtime.clock import SystemClock

if TYPE_CHECKING:
    from mt1bridge.simulator import SimulatorThread

HELP = (
    "See the bridge work: a simulated MT1 server with a ski race, an MQTT broker and the bridge, all on this machine,\n"
    "and every message as it is published. Nothing else is needed and nothing is left behind. The broker is an\n"
    "installed mosquitto, else the one that  pip install 'mt1bridge[demo]'  brings."
)
EXAMPLE = """mt1bridge demo
  mt1bridge demo --seconds 30 --json"""
ACCOUNT = ("club", "mt1demo")
SUBSCRIBE_S = 10.0
ARREARS_S = 4.0
FAREWELL_S = 6.0
LOOK_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_positive, metavar="N", help="stop after so long (default: at Ctrl-C)")
    parser.add_argument(
        "--broker",
        choices=("auto", "mosquitto", "embedded"),
        default="auto",
        help="auto: an installed mosquitto, else the embedded one (default)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=12.0,
        metavar="N",
        help="race so many times as fast as life; 12 is a trigger a second (default)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-v", "--verbose", action="store_true", help="print raw messages: topic and payload")
    how.add_argument("--json", action="store_true", help="print a JSON object for each message, for programs")


def run(args: argparse.Namespace) -> int:
    """0, or 1 if a trigger did not arrive. Raises BridgeError; ModuleNotFoundError where the extra is missing."""
    from mt1bridge.simulator import running_simulator

    how = "json" if args.json else "raw" if args.verbose else "lines"
    tale = Tale(how, sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="mt1bridge-demo-", ignore_cleanup_errors=True))
        directory = Path(place)
        wish = stack.enter_context(wish_to_end())
        broker = stack.enter_context(demo_broker(args.broker, directory, child_environment(os.environ)))
        simulator = stack.enter_context(running_simulator(username=ACCOUNT[0], password=ACCOUNT[1]))
        watcher = Watcher(_settings(broker), (f"{BASE}/#",))
        stack.callback(watcher.close)
        wish.then(watcher.wake)
        _wait_subscribed(watcher)
        settings = configuration(simulator.url, ACCOUNT, broker, directory)
        bridge = stack.enter_context(demo_bridge(settings, directory, os.environ))
        tale.begin(simulator.url, broker)
        simulator.control.race(args.speed)
        stage = _Stage(broker, simulator, watcher, bridge, tale)
        stage.play(wish, args.seconds)
        return stage.finish(wish)


class _Stage:
    """Everything that plays."""

    def __init__(
        self, broker: DemoBroker, simulator: "SimulatorThread", watcher: Watcher, bridge: DemoBridge, tale: Tale
    ) -> None:
        self._broker, self._simulator, self._bridge = broker, simulator, bridge
        self._watcher, self._tale = watcher, tale
        self._clock = SystemClock()

    def play(self, wish: Wish, seconds: float | None) -> None:
        """Show what comes until the end is wished for."""
        end = float("inf") if seconds is None else self._now() + seconds
        while not wish.asked and self._now() < end:
            self._broker.check()
            self._bridge.check()
            self._show(min(LOOK_S, max(0.0, end - self._now())))

    def finish(self, wish: Wish) -> int:
        """Let arrive what is under way, then let the bridge say goodbye. Asked again: at once."""
        asked = wish.asked
        self._simulator.control.stop_race()
        ids = stored_ids(self._simulator.control.stored())
        end = self._now() + ARREARS_S
        while self._tale.missing(ids) and self._now() < end and wish.asked == asked and self._alive():
            self._show(0.1)
        self._bridge.ask_to_end()
        end = self._now() + FAREWELL_S
        while self._alive() and self._now() < end and wish.asked == asked:
            self._show(0.1)
        while self._show(0.2):
            pass
        told = self._tale.end(ids)
        return 1 if told.missing else 0

    def _alive(self) -> bool:
        return self._bridge.process.poll() is None

    def _show(self, timeout_s: float) -> bool:
        event = self._watcher.next(timeout_s)
        if isinstance(event, Arrived):
            self._tale.arrived(event)
        return event is not None

    def _now(self) -> float:
        return self._clock.now().monotonic


def _wait_subscribed(watcher: Watcher) -> None:
    """Nothing but retained messages waits for a subscriber: the bridge begins when we listen."""
    clock = SystemClock()
    end = clock.now().monotonic + SUBSCRIBE_S
    while (left_s := end - clock.now().monotonic) > 0:
        event = watcher.next(left_s)
        if isinstance(event, Subscribed):
            return
        if isinstance(event, BrokerLost):
            raise BrokerError(f"the broker of the demo cannot be used: {event.text}")
        assert event is None or isinstance(event, BrokerConnected | Arrived)
    raise BridgeError(f"the broker of the demo did not answer within {SUBSCRIBE_S:.0f} s")


def _settings(broker: DemoBroker) -> MqttSettings:
    """The watcher's connection: plain, on the loopback."""
    return MqttSettings(
        url=f"mqtt://127.0.0.1:{broker.port}",
        scheme="mqtt",
        host="127.0.0.1",
        port=broker.port,
        path="",
        username=None,
        password=None,
        client_id="mt1bridge-demo-watcher",
        protocol=broker.protocol,
        base_topic=BASE,
        ca_file=None,
        cert_file=None,
        key_file=None,
        scalar_topics=False,
        commands=False,
    )


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
