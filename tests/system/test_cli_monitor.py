"""`mt1bridge monitor` as a process, on a pipe and on a terminal, with a real mosquitto."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mosquitto import Mosquitto, Options, wait_until
from paho.mqtt import publish
from process import COMMAND, PATIENCE_S

LAST = {
    "id": "231203016-C1-17710614151234500",
    "event_type": "trigger",
    "device": "231203016",
    "device_name": "Finish hut",
    "channel": "C1",
    "start_number": 12,
    "time_of_day": "10:30:15.1234500",
    "timestamp": "17710614151234500",
}
UPSTREAM = {"state": "live", "since": "2026-02-14T09:30:15.418Z", "reasons": []}
HEALTH = {"mqtt": {"backlog": 3, "oldest_unacknowledged_s": None}, "triggers": {"published": 41}}


class Monitor:
    """A running monitor; what it writes as it comes."""

    def __init__(self, file: Path, *words: str, terminal: bool = False) -> None:
        self.text = ""
        if terminal:
            reading, writing = pty.openpty()
        else:
            reading, writing = os.pipe()
        environment = {**os.environ, "COLUMNS": "110", "LINES": "20"}
        self.process = subprocess.Popen(
            [str(COMMAND), "monitor", "-c", str(file), *words],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment,
        )
        os.close(writing)
        self._thread = threading.Thread(target=self._read, args=(reading,))
        self._thread.start()

    def _read(self, reading: int) -> None:
        with contextlib.suppress(OSError):  # a terminal without a program
            while data := os.read(reading, 65536):
                self.text += data.decode()
        os.close(reading)

    def wait_for(self, word: str) -> None:
        assert wait_until(lambda: word in self.text or self.process.poll() is not None, PATIENCE_S)
        assert word in self.text, self.text

    def end(self, number: signal.Signals | None = signal.SIGINT) -> tuple[int, str]:
        """Exit code, and what it said on standard error."""
        if number is not None:
            self.process.send_signal(number)
        try:
            _, said = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
            self._thread.join()
        return self.process.returncode, said.decode()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker on which a bridge has published."""
    with Mosquitto(tmp_path, Options()) as running:
        tell(running, "mt1/bridge/state", "online")
        tell(running, "mt1/bridge/upstream", UPSTREAM)
        tell(running, "mt1/bridge/health", HEALTH)
        tell(running, "mt1/device/231203016/availability", "online")
        tell(running, "mt1/device/231203016/C1/last", LAST)
        yield running


def tell(broker: Mosquitto, topic: str, body: object, retain: bool = True) -> None:
    payload = body if isinstance(body, str) else json.dumps(body)
    publish.single(topic, payload, 1, retain, "127.0.0.1", broker.port)


@pytest.fixture
def file(broker: Mosquitto, tmp_path: Path) -> Path:
    path = tmp_path / "mt1bridge.yaml"
    path.touch(0o600)
    settings = {
        "mt1": {"username": "club", "password": "mt1demo"},
        "mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}"},
        "journal": {"directory": str(tmp_path / "state")},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def test_on_a_pipe_every_change_is_a_line(file: Path, broker: Mosquitto) -> None:
    monitor = Monitor(file)
    monitor.wait_for("-- latest: 10:30:15.1234500   231203016   C1       12  trigger\n")
    tell(broker, "mt1/device/231203016/C1/trigger", {**LAST, "start_number": 13}, retain=False)
    monitor.wait_for("10:30:15.1234500   231203016   C1       13  trigger\n")
    tell(broker, "mt1/bridge/state", "offline")
    monitor.wait_for("-- bridge: offline\n")
    assert monitor.end() == (0, "")
    assert "-- link to the MT1 server: live\n" in monitor.text
    assert "\x1b" not in monitor.text


def test_as_json_every_message_is_an_object(file: Path, broker: Mosquitto) -> None:
    monitor = Monitor(file, "--json")
    monitor.wait_for("/last")
    tell(broker, "mt1/device/231203016/C1/correction", {"event_type": "cleared"}, retain=False)
    monitor.wait_for("cleared")
    assert monitor.end() == (0, "")
    messages = [json.loads(line) for line in monitor.text.splitlines()]
    assert {"monitor": "connected"} in messages
    assert {"topic": "mt1/bridge/state", "retained": True, "payload": "online"} in messages
    assert messages[-1] == {
        "topic": "mt1/device/231203016/C1/correction",
        "retained": False,
        "payload": {"event_type": "cleared"},
    }


def test_on_a_terminal_it_is_a_screen_that_is_refreshed_in_place(file: Path, broker: Mosquitto) -> None:
    monitor = Monitor(file, terminal=True)
    monitor.wait_for("10:30:15.1234500")
    monitor.wait_for("backlog     3 not yet acknowledged")
    tell(broker, "mt1/device/231203016/C1/last", {**LAST, "start_number": 77})
    monitor.wait_for("77")
    assert monitor.end(signal.SIGTERM) == (0, "")
    assert monitor.text.startswith("\x1b[?1049h\x1b[?25l")
    _, _, left = monitor.text.rpartition("\x1b[?25h\x1b[?1049l")
    assert "\x1b" not in left
    row = next(line for line in left.splitlines() if line.startswith("231203016"))
    assert re.split(r"\s{2,}", row)[:5] == ["231203016", "Finish hut", "C1", "77", "10:30:15.1234500"]
    assert "MT1 server  live, since 2026-02-14T09:30:15.418Z" in left


def test_a_broker_that_goes_and_comes_is_said_and_not_the_end(file: Path, broker: Mosquitto) -> None:
    monitor = Monitor(file)
    monitor.wait_for("-- bridge: online")
    broker.kill()
    monitor.wait_for("closed the connection")
    broker.start()
    tell(broker, "mt1/bridge/alert/quota", {"text": "Used up."})
    monitor.wait_for("-- alert quota: Used up.")
    assert monitor.end() == (0, "")
    assert monitor.text.count("-- broker: connected") == 2


def test_a_broker_that_is_not_there_ends_it_with_a_sentence(file: Path, broker: Mosquitto) -> None:
    broker.stop()
    monitor = Monitor(file)
    code, said = monitor.end(number=None)
    assert code == 1
    assert said.startswith(f"mt1bridge: 127.0.0.1:{broker.port}: Connection refused")
    assert said.endswith(f"mt1bridge check --online -c {file}\n")


def test_it_publishes_nothing_and_is_no_bridge(file: Path, broker: Mosquitto) -> None:
    monitor = Monitor(file, "--json")
    monitor.wait_for("/last")
    assert monitor.end() == (0, "")
    log = broker.log()
    assert "as mt1bridge-monitor-" in log
    assert "Received PUBLISH from mt1bridge-monitor" not in log


def test_two_with_one_configuration_do_not_throw_each_other_out(file: Path, broker: Mosquitto) -> None:
    both = Monitor(file), Monitor(file)
    seen = wait_until(lambda: all("-- latest:" in one.text for one in both), PATIENCE_S)
    tell(broker, "mt1/bridge/state", "offline")
    seen = seen and wait_until(lambda: all("-- bridge: offline\n" in one.text for one in both), PATIENCE_S)
    assert [one.end() for one in both] == [(0, "")] * 2
    assert seen
    assert [one.text.count("-- broker: connected") for one in both] == [1, 1]


def test_a_user_who_may_not_read_what_the_bridge_tells_is_told_so(file: Path, broker: Mosquitto) -> None:
    tell(broker, "mt1/bridge/upstream", "")  # what access rules look like from here: nothing comes
    lines, objects = Monitor(file), Monitor(file, "--json")
    sentence = "may a client without a user name read below mt1/? See the access rules of the broker"
    try:
        lines.wait_for(f"arrives: {sentence}\n")
        objects.wait_for('{"monitor": "hint", "text": "the bridge is online, but nothing that it tells arrives: ')
    finally:
        assert [lines.end(), objects.end()] == [(0, "")] * 2
    assert "-- hint: the bridge is online" in lines.text


def test_the_rights_of_the_documented_access_rules_are_enough(tmp_path: Path, file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "raspberry-pi.rst").read_text()
    block = re.match(r"(?:    .*\n|\n)+", page.partition("runs a mosquitto with it\n\n::\n\n")[2])
    assert block is not None
    rules = re.sub("^    ", "", block.group(), flags=re.MULTILINE)
    place = tmp_path / "with-rules"
    place.mkdir()
    who = {"username": "mt1bridge", "password": "right"}
    with Mosquitto(place, Options(users={"mt1bridge": "right"}, acl=rules)) as guarded:
        for topic, body in (
            ("mt1/bridge/state", "online"),
            ("mt1/bridge/upstream", json.dumps(UPSTREAM)),
            ("mt1/bridge/alert/quota", json.dumps({"text": "Used up."})),
            ("mt1/device/231203016/C1/last", json.dumps(LAST)),
        ):
            publish.single(topic, body, 1, True, "127.0.0.1", guarded.port, auth=who)  # type: ignore[arg-type]
        settings = yaml.safe_load(file.read_text())
        settings["mqtt"] = {"url": f"mqtt://127.0.0.1:{guarded.port}", **who}
        file.write_text(yaml.safe_dump(settings))
        monitor = Monitor(file)
        try:
            for line in ("bridge: online", "link to the MT1 server: live", "alert quota: Used up.", "latest: "):
                monitor.wait_for(f"-- {line}")
        finally:
            monitor.end()
