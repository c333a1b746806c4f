"""A broker for the demo: an installed mosquitto, else amqtt from the extra `demo`; a child process either way."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.model.errors import BrokerError
from mt1bridge.runtime.clock import SystemClock

START_S = 15.0
END_S = 2.0
PORTS_TRIED = 5
SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # Debian's mosquitto, off the PATH of ordinary users


@dataclass(frozen=True, slots=True)
class DemoBroker:
    """protocol: the MQTT version to speak with it, 5 or 4 (3.1.1). log: what it said."""

    name: str
    port: int
    protocol: int
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise BrokerError if it has ended."""
        if self.process.poll() is not None:
            raise BrokerError(f"the broker {self.name} has ended: {tail(self.log)}")


@contextmanager
def demo_broker(kind: str, directory: Path, environ: Mapping[str, str]) -> Iterator[DemoBroker]:
    """A broker on a free loopback port. kind: auto, mosquitto or embedded. environ: of the child.

    Raises BrokerError where it does not start; ModuleNotFoundError where amqtt is needed and not installed.
    """
    found = _mosquitto() if kind != "embedded" else None
    if kind == "mosquitto" and found is None:
        raise BrokerError("mosquitto is not installed: install it, or take --broker embedded")
    broker = _start_mosquitto(found, directory) if found is not None else _start_embedded(directory, environ)
    try:
        yield broker
    finally:
        end(broker.process, END_S)


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask a child to end, wait, and end it."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a child's log."""
    try:
        said = log.read_text(errors="replace").strip().splitlines()[-lines:]
    except OSError:
        said = []
    return "\n".join(said) or "it said nothing"


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PATHS]))


def _start_mosquitto(program: str, directory: Path) -> DemoBroker:
    log = directory / "broker.log"
    for _ in range(PORTS_TRIED):
        port = _free_port()
        configuration = directory / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "set_tcp_nodelay true"]
        configuration.write_text("\n".join([*lines, "log_dest stderr", ""]))
        process = _child([program, "-c", str(configuration)], log, None)
        broker = DemoBroker("mosquitto", port, 5, process, log)
        if _accepts(broker):
            return broker
        end(process, END_S)
    raise BrokerError(f"mosquitto does not start: {tail(log)}")


def _accepts(broker: DemoBroker) -> bool:
    """Wait until it takes connections. False: it has ended (the port was taken meanwhile), or is not ready in time."""
    clock = SystemClock()
    deadline = clock.now().monotonic + START_S
    while broker.process.poll() is None and clock.now().monotonic < deadline:
        try:
            socket.create_connection(("127.0.0.1", broker.port), 1.0).close()
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                broker.process.wait(0.02)
        else:
            return broker.process.poll() is None
    return False


def _start_embedded(directory: Path, environ: Mapping[str, str]) -> DemoBroker:
    if importlib.util.find_spec("amqtt") is None:
        raise ModuleNotFoundError("no mosquitto, and no amqtt either", name="amqtt")
    log = directory / "broker.log"
    process = _child([sys.executable, "-P", "-m", "mt1bridge.cli.embedded_broker"], log, environ)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.strip().isdigit():
        end(process, END_S)
        raise BrokerError(f"the embedded broker does not start: {tail(log)}")
    return DemoBroker("amqtt", int(line), 4, process, log)


def _child(command: list[str], log: Path, environ: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    """In a process group of its own: Ctrl-C is ours, and ends the parts in their order."""
    with log.open("ab") as said:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, process_group=0, env=environ
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
