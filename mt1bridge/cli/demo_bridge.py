"""The bridge of the demo: the very same `mt1bridge run`, as a child process with a configuration of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.cli.demo_broker import DemoBroker, end, tail
from mt1bridge.model.errors import BridgeError

END_S = 6.0
# What would make the child another bridge than the one described: our settings, systemd, and a proxy to a loopback.
_LEFT_OUT = (
    "MT1BRIDGE_",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_",
    "JOURNAL_STREAM",
)


@dataclass(frozen=True, slots=True)
class DemoBridge:
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise BridgeError if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise BridgeError(f"the bridge has ended with code {code}: {tail(self.log)}")

    def ask_to_end(self) -> None:
        self.process.terminate()


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of our children: they find the package where we found it, and nothing of the user's settings."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_LEFT_OUT) and not name.lower().endswith("_proxy")
    }
    kept["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if os.path.isabs(place))
    return kept


def configuration(url: str, account: tuple[str, str], broker: DemoBroker, directory: Path) -> str:
    """The few lines that a bridge needs. account: name and password."""
    return "\n".join(
        (
            "instance: mt1bridge-demo",
            f"mt1: {{url: '{url}', username: {account[0]}, password: {account[1]}}}",
            f"mqtt: {{url: 'mqtt://127.0.0.1:{broker.port}', protocol: '{5 if broker.protocol == 5 else '3.1.1'}'}}",
            f"journal: {{directory: '{directory / 'journal'}'}}",
            "log: {format: json}",
            "",
        )
    )


@contextmanager
def demo_bridge(settings: str, directory: Path, environ: Mapping[str, str]) -> Iterator[DemoBridge]:
    """A running bridge. settings: the text of its configuration."""
    file, log = directory / "mt1bridge.yaml", directory / "bridge.log"
    file.touch(0o600)
    file.write_text(settings)
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mt1bridge", "run", "-c", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            process_group=0,
            env=child_environment(environ),
        )
    try:
        yield DemoBridge(process, log)
    finally:
        end(process, END_S)
