"""Everything one simulator consists of, and the way of a push from the store to the subscribers."""

import asyncio
import json
import random
import secrets
from collections import Counter, deque
from typing import Any

from mt1bridge.simulator.behaviour import Behaviour
from mt1bridge.simulator.clock import monotonic
from mt1bridge.simulator.faults import Faults
from mt1bridge.simulator.quota import Quota
from mt1bridge.simulator.rows import Row, dto
from mt1bridge.simulator.session import Session
from mt1bridge.simulator.store import Account, Store, Token

_LOG_LENGTH = 200_000
_HELD_S = 1.0  # a push told to let the next one pass does not wait longer than this


def device_topic(device: str) -> str:
    return f"/topic/device/{device}/trigger"


def user_topic(user: str) -> str:
    return f"/topic/user/{user}/devices/trigger"


class World:
    """Owned by one asyncio loop: every method runs in its thread."""

    def __init__(self, behaviour: Behaviour, seed: int) -> None:
        self.behaviour = behaviour
        self.store = Store()
        self.faults = Faults()
        self.quota = Quota()
        self.counters: Counter[str] = Counter()
        self.requests: deque[dict[str, Any]] = deque(maxlen=_LOG_LENGTH)
        self.sessions: dict[int, Session] = {}
        self.rng = random.Random(seed)  # for faults only: content has generators of its own
        self.stopping = asyncio.Event()
        self.subscribed = asyncio.Event()
        self._session_numbers = self._request_numbers = 0
        self._held: tuple[str, str] | None = None

    def next_session(self) -> int:
        self._session_numbers += 1
        return self._session_numbers

    def next_request(self) -> int:
        self._request_numbers += 1
        return self._request_numbers

    # --- tokens

    def raw_token(self, header: str | None) -> str | None:
        """The token in an authorization header; `Bearer` is refused unless the behaviour accepts it."""
        if header and self.behaviour.accept_bearer and header.lower().startswith("bearer "):
            return header[7:]
        return header

    def issue_token(self, account: Account) -> str:
        """A new token (32 upper-case hex digits, MT1-API section 2)."""
        if self.behaviour.newest_login_only:
            self.kill_tokens(account)
        life = self.behaviour.token_lifetime_s
        text = secrets.token_hex(16).upper()
        self.store.tokens[text] = Token(text, account, None if life is None else monotonic() + life)
        if life is not None:
            asyncio.get_running_loop().call_later(life, self.kill_token, text)
        return text

    def kill_token(self, text: str) -> None:
        if self.store.tokens.pop(text, None) is None:
            return
        for session in list(self.sessions.values()):
            if session.token == text:
                session.token_died()

    def kill_tokens(self, account: Account | None = None) -> int:
        """Expire every token (of this account) now; how many there were."""
        dying = [token.text for token in self.store.tokens.values() if account in (None, token.account)]
        for text in dying:
            self.kill_token(text)
        return len(dying)

    def topic_allowed(self, token: str | None, destination: str) -> bool:
        """Foreign: a device that the account may not see, or that nobody knows. Without a token any known device."""
        account = self.store.account_of(token, monotonic())
        parts = destination.split("/")
        if len(parts) == 5 and destination == device_topic(parts[3]):
            known = self.store.devices.get(parts[3])
            return known is not None and not known.refused and (account is None or parts[3] in account.devices)
        if len(parts) == 6 and destination == user_topic(parts[3]):
            return account is None or account.id == parts[3]
        return True

    # --- pushes

    def publish(self, change: str, row: Row) -> None:
        """Send `{"type", "dto", "entityType"}` of the row on its way to the subscribers."""
        wrapper = {"type": change, "dto": dto(row, self.behaviour), "entityType": "TriggerDto"}
        self.push(row.device, json.dumps(wrapper, ensure_ascii=False, separators=(",", ":")))

    def push(self, device: str, body: str) -> None:
        """Through the faults of the way: lost, doubled, delayed, overtaken."""
        self.counters["pushes"] += 1
        if self._chance(self.behaviour.drop_percent):
            self.counters["pushes_lost"] += 1
            return
        low, high = self.behaviour.delay_s
        for _ in range(2 if self._chance(self.behaviour.duplicate_percent) else 1):
            if high > 0:
                asyncio.get_running_loop().call_later(self.rng.uniform(low, high), self.deliver, device, body)
            elif self._held is None and self._chance(self.behaviour.reorder_percent):
                self._held = (device, body)
                asyncio.get_running_loop().call_later(_HELD_S, self._release)
            else:
                self.deliver(device, body)
                self._release()

    def deliver(self, device: str, body: str) -> None:
        """To the device's topic and the topics of its users, now."""
        destinations = [device_topic(device), *(user_topic(owner.id) for owner in self.store.owners(device))]
        for session in list(self.sessions.values()):
            for destination in destinations:
                session.deliver(destination, body)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            self.deliver(*held)

    def _chance(self, percent: float) -> bool:
        return percent > 0 and self.rng.random() * 100 < percent
