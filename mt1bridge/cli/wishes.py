"""Ctrl-C and the like as a wish, for commands that have something to put in order before they end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Wish:
    """How often somebody asked for the end."""

    def __init__(self) -> None:
        self.asked = 0
        self._tell: Callable[[], None] = lambda: None

    def then(self, tell: Callable[[], None]) -> None:
        """Call this whenever somebody asks. It runs in a signal handler."""
        self._tell = tell

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked += 1
        self._tell()


@contextmanager
def wish_to_end() -> Iterator[Wish]:
    """From here on signals only count. What is ignored (nohup) stays ignored."""
    wish = Wish()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, wish.ask)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
