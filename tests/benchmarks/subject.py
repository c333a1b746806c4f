"""What is measured: a process, started against a simulator and a mosquitto that both speak TLS."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certificates import Authority
from mosquitto import Mosquitto, Options, Tls, wait_until
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from process import PASSWORD, USERNAME, Bridge, Process, Simulator

NAIVE = Path(__file__).with_name("naive.py")
DEVICES = ("231203016", "231203037")
TICKS_PER_MS = 10_000
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Place:
    """Simulator and broker, with the CA that both are signed by."""

    simulator: Simulator
    broker: Mosquitto
    ca_file: Path


class Arrivals:
    """A subscriber that notes when each trigger came. at: timestamp of the trigger (text) -> ns of the wall clock."""

    def __init__(self, port: int) -> None:
        self.at: dict[str, int] = {}
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("+/#", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_S), "the subscriber could not subscribe"

    def _note(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/trigger"):
            now = time.time_ns()
            stamp = message.payload.partition(b'"timestamp":')[2].lstrip(b' "')[:17].decode()
            with self._changed:
                self.at.setdefault(stamp, now)
                self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.at) >= count, PATIENCE_S), f"{len(self.at)} of {count}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Naive(Process):
    def __init__(self, directory: Path, place: Place) -> None:
        super().__init__(directory, "naive")
        self._words = [sys.executable, str(NAIVE), place.simulator.url, USERNAME, PASSWORD]
        self._words += [str(place.ca_file), str(place.broker.port)]


def bridge(directory: Path, place: Place) -> Process:
    settings: Mapping[str, Any] = {
        "mt1": {"url": place.simulator.url, "ca_file": str(place.ca_file)},
        "mqtt": {"url": f"mqtts://localhost:{place.broker.port}", "ca_file": str(place.ca_file)},
        "log": {"level": "info"},
    }
    return Bridge(directory, settings)


@contextmanager
def tls_place(directory: Path) -> Iterator[Place]:
    authority = Authority(directory)
    certificate = authority.server("localhost", "127.0.0.1")
    words = [word for device in DEVICES for word in ("--device", device)]
    tls = ("--tls-cert", certificate.cert, "--tls-key", certificate.key)
    simulator = Simulator(directory, *words, *tls)
    extra = ("max_queued_messages 0", "max_inflight_messages 0")
    try:
        simulator.start(verify=str(authority.file))
        with Mosquitto(directory, Options(host="localhost", tls=Tls(authority, certificate), extra=extra)) as broker:
            yield Place(simulator, broker, authority.file)
    finally:
        simulator.stop()


# --- what the kernel says of a process ------------------------------------------------------------


def rss_mib(process: Process) -> float:
    return status(process, "VmRSS") / 1024


def threads(process: Process) -> int:
    return status(process, "Threads")


def status(process: Process, key: str) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def cpu_s(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(process: Process) -> int:
    """Voluntary context switches of all its threads since its start."""
    total = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def gone(process: Process) -> bool:
    return wait_until(lambda: not process.running(), PATIENCE_S)
