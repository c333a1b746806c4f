"""What goes wrong in the world around the bridge, and how it ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.plan import Entry

if TYPE_CHECKING:
    from tests.simulation.world import World


class Faults:
    """One method for each kind of entry."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def _over(self, entry: Entry, end: Callable[[], object]) -> None:
        self._world.timeline.after(entry.args["seconds"], end)

    def end_all(self) -> None:
        """From now on nothing goes wrong any more."""
        world = self._world
        world.say("-- faults end")
        world.machine.disk_fails = world.machine.kill_in = world.machine.armed = None
        world.links.down, world.links.mute = None, False
        world.server.trouble, world.server.quota, world.server.slow = None, None, False
        world.server.refused.clear()
        world.server.unanswered.clear()
        world.broker.away = world.broker.swallows = world.broker.slow = False
        world.broker.refuses = world.broker.break_at_next = None
        world.life.go_on()

    # --- the machine --------------------------------------------------------------------------------

    def kill(self, entry: Entry) -> None:
        self._world.life.kill(entry.args["near"], entry.args["points"], entry.args["down"])

    def kills(self, entry: Entry) -> None:
        args = entry.args
        self._world.life.kill(args["near"], args["points"], args["down"], again=args["times"])

    def terminate(self, entry: Entry) -> None:
        self._world.life.terminate(entry.args["down"])

    def power_cut(self, entry: Entry) -> None:
        self._world.life.cut_power(entry.args["back"], entry.args["down"])

    def stall(self, entry: Entry) -> None:
        self._world.life.stall(entry.args["seconds"])

    def disk_fails(self, entry: Entry) -> None:
        machine = self._world.machine
        machine.disk_fails = entry.args["where"]
        self._over(entry, lambda: setattr(machine, "disk_fails", None))

    def clock_step(self, entry: Entry) -> None:
        self._world.machine.step_clock(entry.args["seconds"])

    # --- the MT1 server -----------------------------------------------------------------------------

    def link_lost(self, entry: Entry) -> None:
        self._world.links.break_all(entry.args["trouble"])

    def link_down(self, entry: Entry) -> None:
        links = self._world.links
        links.down = entry.args["trouble"]
        links.break_all("closed")
        self._over(entry, lambda: setattr(links, "down", None))

    def push_mute(self, entry: Entry) -> None:
        links = self._world.links
        links.mute = True
        self._over(entry, lambda: setattr(links, "mute", False))

    def rest_down(self, entry: Entry) -> None:
        server = self._world.server
        server.trouble = entry.args["how"]
        self._over(entry, lambda: setattr(server, "trouble", None))

    def channels_unanswered(self, entry: Entry) -> None:
        server, args = self._world.server, entry.args
        device = server.devices[args["device"]]
        parts = {f"/{device}/channel/{channel}/": args["how"] for channel in args["channels"]}
        server.unanswered |= parts
        self._over(entry, lambda: [server.unanswered.pop(part, None) for part in parts])

    def rest_slow(self, entry: Entry) -> None:
        server = self._world.server
        server.slow = True
        self._over(entry, lambda: setattr(server, "slow", False))

    def quota(self, entry: Entry) -> None:
        server = self._world.server
        server.quota = entry.args["how"]
        self._world.witness.was_in_quota = True
        self._over(entry, lambda: setattr(server, "quota", None))
        if entry.args["kill"]:
            self._world.timeline.after(entry.args["kill"], lambda: self._world.life.kill("now", 0, 1.0))

    def token_dies(self, entry: Entry) -> None:
        self._world.server.tokens.clear()
        if entry.args["link"] == "close":
            self._world.links.break_all("closed")
        elif entry.args["link"] == "mute":
            self._world.links.mute_all()

    def device_refused(self, entry: Entry) -> None:
        server = self._world.server
        device = server.devices[entry.args["device"]]
        server.refused.add(device)
        self._over(entry, lambda: server.refused.discard(device))

    # --- the broker ---------------------------------------------------------------------------------

    def broker_lost(self, entry: Entry) -> None:
        if entry.args["when"] == "now":
            self._world.broker.break_all()
        else:
            self._world.broker.break_at_next = entry.args["when"]

    def broker_away(self, entry: Entry) -> None:
        broker = self._world.broker
        broker.go(entry.args["forgets"])
        self._over(entry, lambda: setattr(broker, "away", False))

    def broker_swallows(self, entry: Entry) -> None:
        broker = self._world.broker
        broker.swallows = True
        self._over(entry, lambda: setattr(broker, "swallows", False))

    def broker_refuses(self, entry: Entry) -> None:
        broker = self._world.broker
        broker.refuses = entry.args["reason"]
        self._over(entry, lambda: setattr(broker, "refuses", None))

    def broker_slow(self, entry: Entry) -> None:
        broker = self._world.broker
        broker.slow = True
        self._over(entry, lambda: setattr(broker, "slow", False))
