"""Verbs of `Control` about accounts and devices, and those that tell what is and what was."""

from dataclasses import asdict
from typing import Any

from mt1bridge.simulator.behaviour import described
from mt1bridge.simulator.clock import now_units
from mt1bridge.simulator.faults import CONNECT_FAULTS, REST_FAULTS
from mt1bridge.simulator.rows import Window, row_json, truth_json
from mt1bridge.simulator.store import ROLE, Account, Device
from mt1bridge.simulator.timing import channel_number
from mt1bridge.simulator.world import World


class Reports:
    """Everything returned is plain JSON; timestamps are ints of 100 ns since 1970."""

    def __init__(self, world: World) -> None:
        self._world = world

    # --- accounts and devices

    def add_account(
        self, username: str, password: str, *, id: str | None = None, roles: list[str] | None = None
    ) -> str:
        """A new account, without devices; returns its id (digits)."""
        store = self._world.store
        account = Account(str(4711 + len(store.accounts)) if id is None else id, username, password)
        account.roles = ["USER", ROLE] if roles is None else list(roles)
        store.accounts[username] = account
        return account.id

    def add_device(
        self, device: str, username: str | None = None, *, time_offset: int | None = 60, name: str | None = None
    ) -> None:
        """A device, registered to the account (None: to every account that there is, "": to nobody)."""
        store = self._world.store
        store.devices[device] = Device(device, time_offset=time_offset)
        if name is not None:
            store.devices[device].components = {"info": {"name": name}}
        for account in store.accounts.values():
            if username in (None, account.username):
                account.devices.add(device)

    def set_account(self, username: str, *, password: str | None = None, roles: list[str] | None = None) -> None:
        """Another password or other roles; living tokens stay."""
        account = self._world.store.accounts[username]
        account.password = account.password if password is None else password
        account.roles = account.roles if roles is None else list(roles)

    def register(self, device: str, username: str, registered: bool = True) -> None:
        """Add the device to the account, or take it away: then it is foreign (-2011)."""
        devices = self._world.store.accounts[username].devices
        if registered:
            devices.add(device)
        else:
            devices.discard(device)

    # --- what is

    def stored(self, device: str | None = None, channel: int | str | None = None) -> list[dict[str, Any]]:
        """The full truth, one entry per channel in use: `rows` in the order of arrival with their fate (listed, pushed,
        deleted), and `triggers`, one per timestamp in order of time: in effect or not, and the values in effect."""
        entries = []
        wanted = None if channel is None else channel_number(channel)
        for (name, number), rows in sorted(self._world.store.channels.items()):
            known = rows.kept or rows.extra_count
            if known and device in (None, name) and wanted in (None, number):
                triggers = [truth_json(at, rows.truths[at]) for at in sorted(rows.truths)]
                entries.append(
                    {
                        "device": name,
                        "channel": number,
                        "count": rows.count(Window(), self._world.behaviour),
                        "rows": [row_json(kept) for kept in rows.kept.values()],
                        "triggers": triggers,
                    }
                )
        return entries

    def sessions(self) -> list[dict[str, Any]]:
        """The open sockets."""
        return [
            {
                "session": one.number,
                "name": one.name,
                "connected": one.connected,
                "subscriptions": list(one.subscriptions.values()),
                "muted": one.muted,
                "swallowed": one.swallowed,
            }
            for one in self._world.sessions.values()
        ]

    def subscribed(self, device: str | None = None) -> int:
        """How many subscriptions there are (that bring this device)."""
        topics = [topic for one in self._world.sessions.values() for topic in one.subscriptions.values()]
        return sum(1 for topic in topics if device is None or topic.startswith(f"/topic/device/{device}/"))

    def tokens(self) -> int:
        """How many tokens are alive."""
        return len(self._world.store.tokens)

    def behaviour(self) -> dict[str, Any]:
        return asdict(self._world.behaviour)

    def switches(self) -> list[dict[str, Any]]:
        """Every switch with its unknown, default, choices and meaning."""
        return described()

    def faults(self) -> dict[str, Any]:
        """The kinds that there are, and those that wait."""
        waiting = self._world.faults
        return {
            "rest": REST_FAULTS,
            "connect": CONNECT_FAULTS,
            "waiting_rest": [asdict(fault) for fault in waiting.rest],
            "waiting_connect": [asdict(fault) for fault in waiting.connect],
        }

    def now(self) -> int:
        """The server's time in 100 ns."""
        return now_units()

    # --- what was

    def counters(self) -> dict[str, int]:
        """What happened how often: logins, logins_ok, rest_<kind>, quota_answers, token_refusals, connects,
        subscribes, stomp_<command>, pushes (meant), pushes_lost, pushes_sent (MESSAGE frames)."""
        return dict(self._world.counters)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The log of requests from this number on: number, kind, method, path, query, time (s since 1970),
        monotonic (s), status (null while unanswered)."""
        return [entry for entry in self._world.requests if entry["number"] >= since]

    def forget(self) -> None:
        """Empty the counters and the log."""
        self._world.counters.clear()
        self._world.requests.clear()
