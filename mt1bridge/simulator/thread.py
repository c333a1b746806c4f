"""The simulator in a thread of its own, for tests that are not asynchronous."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from mt1bridge.simulator.control import VERBS, Control
from mt1bridge.simulator.server import Simulator

T = TypeVar("T")
_ANSWER_S = 30.0


class _InLoop:
    """Looks like `Control`; each verb is carried out in the simulator's loop while the caller waits."""

    def __init__(self, thread: "SimulatorThread", control: Control) -> None:
        self._thread, self._control = thread, control

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb not in VERBS:
            raise AttributeError(f"no such verb: {verb}")
        method = getattr(self._control, verb)
        return lambda *values, **named: self._thread.run(lambda: method(*values, **named))


class SimulatorThread:
    """`start()`, `url`, `realtime_url`, `control`, `stop()`; arguments as those of `Simulator`."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._simulator: Simulator | None = None
        self._thread = threading.Thread(target=self._main, name="simulator", daemon=True)

    @property
    def simulator(self) -> Simulator:
        assert self._simulator is not None, "not started"
        return self._simulator

    @property
    def url(self) -> str:
        return self.simulator.url

    @property
    def realtime_url(self) -> str:
        return self.simulator.realtime_url

    @property
    def port(self) -> int:
        return self.simulator.port

    @property
    def control(self) -> Control:
        return cast(Control, _InLoop(self, self.simulator.control))

    def start(self) -> None:
        """Returns when the server listens; raises what kept it from it."""
        self._thread.start()
        self._ready.wait()
        if self._problem is not None:
            self._thread.join()
            raise self._problem

    def stop(self) -> None:
        if self._loop is not None and self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_ANSWER_S)

    def run(self, act: Callable[[], T]) -> T:
        """Do this in the simulator's loop; its result or exception."""

        async def inside() -> T:
            return act()

        assert self._loop is not None, "not started"
        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(_ANSWER_S)

    def go_down(self, farewell: bool = False) -> None:
        """Stop listening, as a server that is restarted or has lost its line; what is stored stays."""
        assert self._loop is not None, "not started"
        asyncio.run_coroutine_threadsafe(self.simulator.stop(farewell), self._loop).result(_ANSWER_S)

    def come_up(self) -> None:
        """Listen again on the same port."""
        assert self._loop is not None, "not started"
        asyncio.run_coroutine_threadsafe(self.simulator.start(), self._loop).result(_ANSWER_S)

    def wait_for(self, condition: Callable[[Control], object], timeout: float = 10.0, what: str = "condition") -> None:
        """Until the condition, which may ask the control anything, is true. TimeoutError otherwise."""
        deadline = time.monotonic() + timeout
        while not self.run(lambda: condition(self.simulator.control)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come true in {timeout} s")
            time.sleep(0.005)

    def wait_subscribed(self, device: str | None = None, count: int = 1, timeout: float = 10.0) -> None:
        """Until there are so many subscriptions (that bring this device)."""
        self.wait_for(lambda control: control.subscribed(device) >= count, timeout, "subscription")

    def wait_load(self, load: int, timeout: float = 120.0) -> None:
        """Until a load is through."""
        self.wait_for(lambda control: control.load_progress(load)["done"], timeout, f"load {load}")

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as problem:  # noqa: BLE001 - handed to the thread that called start()
            self._problem = problem
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._simulator = Simulator(**self._options)
        await self._simulator.start()
        self._ready.set()
        await self._end.wait()
        await self._simulator.stop(farewell=False)


@contextmanager
def running_simulator(**options: Any) -> Iterator[SimulatorThread]:
    """A running simulator on a port that the system chose; arguments as those of `Simulator`."""
    thread = SimulatorThread(**options)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
