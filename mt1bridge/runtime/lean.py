"""structlog without what it brings along and nobody here uses.

`structlog.stdlib` imports asyncio for loggers that are awaited: 1.8 MiB in a daemon that is to idle in 38
(FEASIBILITY 5). It gets a stand-in that imports the real one when somebody first asks something of it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from mt1bridge.runtime.modules import import_without, let_go


class _OnUse(ModuleType):
    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)


@contextmanager
def put_off(name: str) -> Iterator[None]:
    """Whoever imports `name` meanwhile gets a stand-in. No effect if it is imported already."""
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _OnUse(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


with put_off("asyncio"):
    # For its own console output, which is not ours; 5 MB where they happen to be installed.
    import_without("structlog", ("rich", "better_exceptions", "colorama", "twisted"))
import structlog  # noqa: E402 - what it would bring along had to be left out first

BoundLoggerBase = structlog.BoundLoggerBase  # all that we use
del structlog
let_go("structlog")  # 0.7 MB, for the imports that follow
