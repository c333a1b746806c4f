"""Accounts, devices, tokens and rows: all that the server knows. Values in memory, no sockets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mt1bridge.simulator.rows import ChannelRows

ROLE = "TIMING_POINT_ACCOUNT"


@dataclass(slots=True)
class Account:
    id: str
    username: str
    password: str
    roles: list[str] = field(default_factory=lambda: ["USER", ROLE])
    devices: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Device:
    """time_offset: minutes, None leaves it out; clock_offset: error of the device's clock in 100 ns;
    refused: REST says -2011; listed: part of the device list; waiting: what an offline device has yet to upload."""

    id: str
    type: str = "MT1"
    components: dict[str, Any] = field(default_factory=dict)
    time_offset: int | None = 60
    clock_offset: int = 0
    refused: bool = False
    listed: bool = True
    online: bool = True
    waiting: list[Callable[[bool], None]] = field(default_factory=list)


@dataclass(slots=True)
class Token:
    text: str
    account: Account
    expires_at: float | None  # on the monotonic clock


@dataclass(slots=True)
class Store:
    accounts: dict[str, Account] = field(default_factory=dict)  # by username
    devices: dict[str, Device] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    channels: dict[tuple[str, int], ChannelRows] = field(default_factory=dict)
    arrivals: int = 0

    def channel(self, device: str, channel: int) -> ChannelRows:
        return self.channels.setdefault((device, channel), ChannelRows())

    def next_arrival(self) -> int:
        self.arrivals += 1
        return self.arrivals

    def device(self, device: str) -> Device:
        if device not in self.devices:
            raise KeyError(f"no such device: {device}")
        return self.devices[device]

    def account_of(self, token: str | None, now: float) -> Account | None:
        """Whose token this is; None if it is unknown or has expired."""
        known = self.tokens.get(token or "")
        if known is None or (known.expires_at is not None and known.expires_at <= now):
            return None
        return known.account

    def may_see(self, account: Account, device: str) -> bool:
        known = self.devices.get(device)
        return known is not None and device in account.devices and not known.refused

    def owners(self, device: str) -> Iterator[Account]:
        return (account for account in self.accounts.values() if device in account.devices)
