"""One turn of the loop: what was learned is written down before anybody is told.

The daemon and the simulation take the same turns; only what surrounds them differs: the inbox, the clock, and who
carries out the orders.
"""

from collections.abc import Callable, Sequence
from functools import partial

from mt1bridge.bridge import Bridge, Event, Order
from mt1bridge.journal.journal import Journal
from mt1bridge.model.clock import Now
from mt1bridge.model.orders import JournalTrouble

EVENTS_AT_ONCE = 256
LONGEST_WAIT_S = 30.0
HEAL_EVERY_S = 10.0
PRUNE_AFTER_S = 60.0
PRUNE_EVERY_S = 3600.0
QUIET_WITHIN_S = 3.0


class Turn:
    """now: reads the clock. carry_out: does one order. keep_s: `journal.keep`.

    fault: takes what an event raised, or raises it again; without it, it is raised."""

    def __init__(
        self,
        bridge: Bridge,
        journal: Journal,
        now: Callable[[], Now],
        carry_out: Callable[[Order], None],
        keep_s: float,
        fault: Callable[[Exception], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._journal = journal
        self._now = now
        self._carry_out = carry_out
        self.keep_s = keep_s
        self._fault = fault
        self._in_trouble = False
        self._heal_at = 0.0
        self._then: Callable[[], None] | None = None  # waits until nothing is in flight
        self._then_by = 0.0
        self._prune_at = now().monotonic + PRUNE_AFTER_S

    def wait_s(self) -> float:
        """How long the loop may wait for an event."""
        now = self._now()
        if self._then is not None:
            return max(0.0, self._then_by - now.monotonic)
        if self._bridge.busy:
            return 0.0
        return min(LONGEST_WAIT_S, max(0.0, self._bridge.next_due(now) - now.monotonic))

    def when_quiet(self, then: Callable[[], None], within_s: float = QUIET_WITHIN_S, leaves: bool = False) -> None:
        """Do this once the broker has acknowledged what it was given, or that much later; till then it gets nothing.

        leaves: it leads to another place on MQTT; at the old one we say before that we are gone.
        What was to be done so before, and was not, is not done any more; nor is anything once the end has begun.
        """
        if self._bridge.stopping:
            return
        self._then, self._then_by = then, self._now().monotonic + within_s
        if leaves:
            self._bridge.leave(self._now())
            self._hand_over(self._bridge.say_farewell)
        self._look_whether_quiet()

    def _look_whether_quiet(self) -> None:
        if self._then is None or (self._bridge.in_flight and self._now().monotonic < self._then_by):
            return
        then, self._then = self._then, None
        then()

    def take(self, events: Sequence[Event]) -> None:
        """Take these events, then compare some history if nothing more is waiting; write down; tell."""
        orders: list[Order] = []
        for event in events:
            orders += self._safely(partial(self._step, event))
        if self._bridge.busy and len(events) < EVENTS_AT_ONCE:
            orders += self._safely(lambda: self._bridge.idle(self._now()))
        self._safely(self._tend_journal)
        orders += self._commit()
        self._do(orders)
        if self._bridge.stopping:
            self._then = None
        self._hand_over(self._bridge.hand_over if self._then is None else self._bridge.say_farewell)
        self._look_whether_quiet()

    def _hand_over(self, give: Callable[[Now], list[Order]]) -> None:
        handed = self._safely(lambda: give(self._now()))
        self._journal.commit(self._now().utc_ms)  # what is retained from now on, what is told as late
        self._do(handed)

    def _step(self, event: Event) -> list[Order]:
        return self._bridge.step(event, self._now())

    def _safely(self, work: Callable[[], list[Order]]) -> list[Order]:
        """What we cannot bear must not stop all else; what it had ordered comes with the next work."""
        try:
            return work()
        except Exception as error:
            if self._fault is None:
                raise
            self._fault(error)
            return []

    def tell(self, orders: Sequence[Order]) -> None:
        """Carry out orders that came of no event, once what they tell is written down."""
        self._do([*self._commit(), *orders])

    def _do(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self._carry_out(order)

    def _commit(self) -> list[Order]:
        """Commit, and let the bridge know if the disk's trouble began or ended."""
        now = self._now()
        self._journal.commit(now.utc_ms)
        trouble = self._journal.trouble
        if (trouble is not None) == self._in_trouble:
            return []
        self._in_trouble = trouble is not None
        orders = self._bridge.step(JournalTrouble(trouble), now)
        self._journal.commit(now.utc_ms)
        return orders

    def _tend_journal(self) -> list[Order]:
        """Now and then: a disk that heals, what is older than `keep`. Orders nothing."""
        now = self._now()
        if self._in_trouble and now.monotonic >= self._heal_at:  # the bridge has been told of it
            self._heal_at = now.monotonic + HEAL_EVERY_S
            self._journal.try_disk(now.utc_ms, self._bridge.retold)
        if now.monotonic >= self._prune_at and now.good:
            self._prune_at = now.monotonic + PRUNE_EVERY_S
            if self._journal.prune(now.utc_ms - int(self.keep_s * 1000), now.utc_ms):
                self._prune_at = now.monotonic + 1.0
        return []
