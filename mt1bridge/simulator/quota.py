"""The call quota, keyed on the client's address (MT1-API, section 4). Pure: the time is handed in."""

from collections import deque
from dataclasses import dataclass, field

from mt1bridge.simulator.behaviour import Behaviour


@dataclass(slots=True)
class Quota:
    """Calls of the current window and the end of the penalty, per address; times on the monotonic clock."""

    calls: dict[str, deque[float]] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)

    def refuses(self, address: str, behaviour: Behaviour, now: float) -> bool:
        """Count one call of this address; True if it is to be refused."""
        if now < max(self.until.get(address, 0.0), self.until.get("*", 0.0)):
            if behaviour.quota_penalty_grows:
                self.until[address] = now + behaviour.quota_penalty_s
            return True
        if behaviour.quota_calls is None:
            return False
        calls = self.calls.setdefault(address, deque())
        while calls and calls[0] <= now - behaviour.quota_window_s:
            calls.popleft()
        if len(calls) >= behaviour.quota_calls:
            self.until[address] = now + behaviour.quota_penalty_s
            calls.clear()
            return True
        calls.append(now)
        return False

    def exhaust(self, seconds: float, now: float) -> None:
        """As if another program behind the same address had used it up; 0 ends every penalty."""
        self.until.clear()
        self.until["*"] = now + seconds
