"""What the daemon needs while nothing happens, looked at from within: threads, imports, TLS contexts, memory.

Exact figures are for tests/benchmarks; here is what must not creep in (DESIGN, "Small").
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from mosquitto import Mosquitto, Options, Tls, wait_until
from process import DEVICE, PATIENCE_S, Bridge, Process, Simulator

PROBE = """
import signal, sys

def tell(*_):
    import gc, json, os, ssl, threading
    with open("/proc/self/status") as status:
        rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    told = {
        "modules": sorted(sys.modules),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "contexts": sum(isinstance(one, ssl.SSLContext) for one in gc.get_objects()),
        "rss_kib": rss,
    }
    with open(place + ".new", "w") as file:
        json.dump(told, file)
    os.replace(place + ".new", place)

place = sys.argv.pop(1)
signal.signal(signal.SIGUSR1, tell)
from mt1bridge.cli import main
sys.exit(main())
"""

# Each costs 0.2 to 25 MB, and belongs to another command, to nobody, or to what is over once the daemon runs.
UNWANTED = frozenset({
    "aiohttp", "amqtt", "asyncio", "attr", "chardet", "charset_normalizer", "concurrent", "ctypes", "multiprocessing",
    "rich", "subprocess", "systemd", "unittest", "xml", "yaml",
})  # fmt: skip
LARGEST_KIB = 45 * 1024  # far above what it needs, for another Python and other libraries than were measured


class Probed(Bridge):
    """`mt1bridge run` that tells about itself on SIGUSR1."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        super().__init__(directory, settings)
        self._told = directory / "told.json"
        probe = directory / "probe.py"
        probe.write_text(PROBE)
        self._words = [sys.executable, str(probe), str(self._told), *self._words[1:]]

    def look(self) -> Any:
        self._told.unlink(missing_ok=True)
        self.signal(signal.SIGUSR1)
        assert wait_until(self._told.exists, PATIENCE_S), self.log()[-3000:]
        return json.loads(self._told.read_text())

    def wait_noted(self, event: str, **facts: object) -> None:
        def noted() -> bool:
            return any(facts.items() <= note.items() for note in self.notes(event))

        assert wait_until(noted, PATIENCE_S), f"{event} {facts} is not in the log:\n{self.log()[-3000:]}"


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Probed]:
    """A bridge that is live, over TLS on both sides."""
    authority = Authority(tmp_path)
    server = authority.server()
    simulator = Simulator(tmp_path, "--device", DEVICE, "--tls-cert", server.cert, "--tls-key", server.key)
    with ExitStack() as stack:
        stack.callback(simulator.stop)
        simulator.start(verify=str(authority.file))
        broker = stack.enter_context(Mosquitto(tmp_path, Options(tls=Tls(authority, server))))
        settings = {
            "mt1": {"url": simulator.url, "ca_file": str(authority.file)},
            "mqtt": {"url": f"mqtts://localhost:{broker.port}", "ca_file": str(authority.file)},
        }
        bridge = Probed(tmp_path, settings)
        stack.callback(bridge.kill)
        bridge.start()
        bridge.wait_noted("state_changed", state="live")
        yield bridge


def unwanted(modules: list[str]) -> list[str]:
    """Those of the modules that an idle daemon does without."""
    kept = {"mt1bridge.config", "mt1bridge.config.settings", "mt1bridge.cli", "mt1bridge.cli.run"}
    ours = [name for name in modules if name.startswith(("mt1bridge.config.", "mt1bridge.cli.", "mt1bridge.simulator"))]
    return [name for name in modules if name.partition(".")[0] in UNWANTED] + [
        name for name in ours if name not in kept
    ]


def test_an_idle_daemon_has_four_threads_two_tls_contexts_and_no_idle_imports(idle: Probed) -> None:
    def kinds() -> list[str]:
        return [name.rstrip("0123456789") for name in idle.look()["threads"]]

    assert wait_until(lambda: kinds() == ["MainThread", "link-", "mqtt-", "mt1-rest"], PATIENCE_S), kinds()
    told = idle.look()
    assert told["contexts"] == 2  # one for each peer
    assert unwanted(told["modules"]) == []
    assert told["rss_kib"] < LARGEST_KIB


def test_what_reads_the_configuration_is_gone_again_after_a_reload(idle: Probed) -> None:
    idle.signal(signal.SIGHUP)
    idle.wait_noted("configuration_reloaded")
    assert unwanted(idle.look()["modules"]) == []
    idle.file.write_text("mt1: {usrname: club}\n", encoding="utf-8")
    idle.signal(signal.SIGHUP)
    idle.wait_noted("configuration_refused")
    assert unwanted(idle.look()["modules"]) == []
    assert idle.stop() == 0


WHAT_READ_IT = """
import gc, os, sys, types
from pathlib import Path
from mt1bridge.cli.run import read
from mt1bridge.runtime.clock import SystemClock

loaded = read(Path(sys.argv[1]), SystemClock())
left = {
    one.__module__ for one in gc.get_objects()
    if isinstance(one, (type, types.FunctionType)) and isinstance(one.__module__, str)
    and one.__module__.startswith(("yaml", "mt1bridge.config"))
}
assert loaded.settings.mt1.username == "club"
print(*sorted(left))
"""


def test_nothing_holds_on_to_what_read_the_configuration(tmp_path: Path) -> None:
    """A class of it in somebody's cache would keep all of it in memory (typing has such caches)."""
    script, file = tmp_path / "script.py", tmp_path / "mt1bridge.yaml"
    script.write_text(WHAT_READ_IT)
    file.write_text("mt1: {username: club, password: x}\njournal: {directory: .}\n")
    file.chmod(0o600)
    process = Process(tmp_path, "script")
    process._words = [sys.executable, str(script), str(file)]
    process.start()
    assert process.wait() == 0, process.log()
    assert process.log() == "mt1bridge.config.settings\n"
