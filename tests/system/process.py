"""The installed `mt1bridge` as processes: the bridge and the simulator, with a real mosquitto between bridge and test.

with Stage(tmp_path) as stage:
    stage.bridge.start()
    stage.wait_live()
    stage.simulator.impulse(device=DEVICE, channel=0)
    ...
"""

import contextlib
import json
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml
from mosquitto import Mosquitto, Options, Recorder, wait_until

COMMAND = Path(sysconfig.get_path("scripts")) / "mt1bridge"
DEVICE, OTHER = "231203016", "231203037"
USERNAME, PASSWORD = "club", "mt1demo"
PATIENCE_S = 60.0  # how long a test waits for what must come; never how long something may take
STOP_S = 5.0  # SIGTERM in every state ends within this (CONTRACT, section 9; the units give it more)


class Process:
    """One process of ours, its output in a file. Whatever state it is in, `kill` ends it."""

    def __init__(self, directory: Path, name: str, *arguments: object) -> None:
        self._words = [str(COMMAND), *(str(argument) for argument in arguments)]
        self._file = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        surroundings = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        surroundings = {name: value for name, value in surroundings.items() if not name.startswith("MT1BRIDGE_")}
        surroundings |= {"PYTHONWARNINGS": "error::ResourceWarning", **self.environment}
        with self._file.open("ab") as log:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=surroundings
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it was never started"
        self._process.send_signal(number)

    def wait(self, deadline_s: float = PATIENCE_S) -> int:
        """The exit code, once it has ended by itself."""
        assert self._process is not None, "it was never started"
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {deadline_s} s:\n{self.log()}") from None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(STOP_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._file.read_text(errors="replace") if self._file.exists() else ""

    def notes(self, event: str) -> list[dict[str, Any]]:
        """Lines of its JSON log about this event."""
        lines = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict) and line.get("event") == event]


class Simulator:
    """`mt1bridge simulate` as a process; every verb of its control is a method (docs/simulator.rst)."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self._ready = directory / "simulator-address"
        options = ("--port", 0, "--traffic", "none", "--ready-file", self._ready)
        self._process = Process(directory, "simulator", "simulate", *options, *arguments)
        self._http = requests.Session()
        self._http.trust_env = False
        self.url = ""

    def start(self, verify: str | None = None) -> None:
        self._process.start()
        if verify is not None:
            self._http.verify = verify
        if not wait_until(lambda: self._ready.exists() or not self._process.running(), PATIENCE_S):
            raise RuntimeError(f"the simulator does not come up:\n{self._process.log()}")
        if not self._process.running():
            raise RuntimeError(f"the simulator has ended:\n{self._process.log()}")
        self.url = self._ready.read_text().strip()

    def stop(self) -> None:
        self._http.close()
        self._process.kill()

    def wait_load(self, load: int, deadline_s: float = 120.0) -> dict[str, Any]:
        """Progress of a load, once it is through."""
        words = {"load": str(load), "timeout": str(deadline_s)}
        answer = self._http.get(f"{self.url}/control/wait_load", params=words, timeout=deadline_s + 30)
        progress: dict[str, Any] = answer.json()["result"]
        assert progress["done"], f"the load is not through after {deadline_s} s: {progress}"
        return progress

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)

        def call(**arguments: object) -> Any:
            answer = self._http.post(f"{self.url}/control/{verb}", json=arguments, timeout=30)
            body = answer.json()
            assert body["ok"], f"{verb}: {body['error']}"
            return body["result"]

        return call


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes, section by section; None takes a key away."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping) and key != "devices":
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


class Bridge(Process):
    """`mt1bridge run` with a configuration and a state directory of its own."""

    def __init__(self, directory: Path, settings: Mapping[str, Any], name: str = "bridge") -> None:
        self.file = directory / f"{name}.yaml"
        super().__init__(directory, name, "run", "-c", self.file)
        self.settings = merged(
            {
                "instance": "testbridge",
                "mt1": {"username": USERNAME, "password": PASSWORD},
                "mqtt": {"url": "mqtt://127.0.0.1:1"},
                "journal": {"directory": str(directory / f"{name}-state")},
                "reconcile": {"calls_per_minute": 60},
                "log": {"format": "json", "level": "debug"},
            },
            settings,
        )

    def state_file(self, name: str) -> Path:
        return Path(self.settings["journal"]["directory"]) / name

    def start(self) -> None:
        self.file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        self.file.chmod(0o600)
        super().start()


class Stage:
    """Simulator, broker, bridge (not started yet) and a recorder of everything that the broker delivers."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        devices: tuple[str, ...] = (DEVICE,),
        broker: Options | None = None,
        simulator: tuple[object, ...] = (),
    ) -> None:
        self._stack = contextlib.ExitStack()
        self.base = (settings or {}).get("mqtt", {}).get("base_topic", "mt1")
        self._directory = directory
        self._settings = settings or {}
        self._broker_options = broker
        words = [word for device in devices for word in ("--device", device)]
        self.simulator = Simulator(directory, *words, *simulator)

    def __enter__(self) -> Self:
        try:
            self.simulator.start()
            self._stack.callback(self.simulator.stop)
            self.broker = self._stack.enter_context(Mosquitto(self._directory, self._broker_options))
            places = {"mt1": {"url": self.simulator.url}, "mqtt": {"url": f"mqtt://127.0.0.1:{self.broker.port}"}}
            self.bridge = Bridge(self._directory, merged(places, self._settings))
            self._stack.callback(self.bridge.kill)
            self.recorder = self._stack.enter_context(self.subscriber())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def subscriber(self, *filters: str) -> Recorder:
        """Another recorder; it sees what is retained as a newcomer does."""
        return Recorder(self.broker.plain_port, *(filters or ("#",)))

    # --- what the broker delivered ------------------------------------------------------------------

    def texts(self, topic: str) -> list[str]:
        return [message.payload.decode() for message in self.recorder.messages(f"{self.base}/{topic}")]

    def bodies(self, topic: str) -> list[Any]:
        return [json.loads(text) if text else None for text in self.texts(topic)]

    def newest(self, topic: str) -> Any:
        """The newest JSON of a topic; None before the first."""
        return (self.bodies(topic) or [None])[-1]

    def wait(self, condition: Any, what: str, deadline_s: float = PATIENCE_S) -> None:
        """Wait until condition() is true, looked at after every message; an AssertionError with all logs if not."""
        if not self.recorder.wait_until(condition, deadline_s):
            raise AssertionError(f"{what} did not come true in {deadline_s} s; {self.bridge.log()[-6000:]}")

    def wait_state(self, *states: str, deadline_s: float = PATIENCE_S) -> None:
        self.wait(
            lambda: (self.newest("bridge/upstream") or {}).get("state") in states,
            f"state {' or '.join(states)}",
            deadline_s,
        )

    def wait_live(self) -> None:
        self.wait_state("live")

    def told(self, kind: str, device: str = DEVICE, channel: str = "C0") -> list[dict[str, Any]]:
        """Messages of one topic of a channel: trigger, correction or rejected."""
        return self.bodies(f"device/{device}/{channel}/{kind}")

    def wait_told(self, count: int, kind: str = "trigger", device: str = DEVICE, channel: str = "C0") -> list[Any]:
        self.wait(lambda: len(self.told(kind, device, channel)) >= count, f"{count} of {device} {channel} {kind}")
        return self.told(kind, device, channel)


def run_to_the_end(*arguments: object, deadline_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """`mt1bridge` with these words, until it ends."""
    words = [str(COMMAND), *(str(argument) for argument in arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=deadline_s, check=False)


def stop_times(process: Process) -> float:
    """Seconds from SIGTERM to the end; it must end with code 0."""
    begun = time.monotonic()
    code = process.stop()
    assert code == 0, f"exit code {code}:\n{process.log()[-3000:]}"
    return time.monotonic() - begun
