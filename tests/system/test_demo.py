"""The demo as a newcomer starts it: a process of its own, with everything in it real."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mosquitto import wait_until
from process import COMMAND, PATIENCE_S

BROKERS = ("mosquitto", "embedded")
CLOSING = " delivered, missing 0; "


class Demo:
    """A running demo; its lines as they come. Its temporary directory lies in `place`."""

    def __init__(self, place: Path, *words: str) -> None:
        self._place = place
        environment = {**os.environ, "TMPDIR": str(place), "MT1BRIDGE_MQTT_URL": "mqtt://nowhere.invalid"}
        self.process = subprocess.Popen(
            [str(COMMAND), "demo", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    def has(self, word: str) -> bool:
        return any(word in line for line in list(self.lines))

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code, and what it said on standard error."""
        assert self.process.stderr is not None
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self._reader.join()
            said = self.process.stderr.read()
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        return code, said

    def children(self) -> set[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(number) for task in tasks for number in task.read_text().split()}

    def child(self, word: str) -> int:
        """The number of the child with this word in its command line."""
        found = [one for one in self.children() if word in Path(f"/proc/{one}/cmdline").read_text()]
        assert len(found) == 1, f"{word}: {found}"
        return found[0]

    def leftovers(self) -> list[str]:
        return sorted(one.name for one in self._place.iterdir() if one.name.startswith("mt1bridge"))


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    """Those that a test starts; none of them outlives it."""
    running: list[Demo] = []
    yield running
    for demo in running:
        demo.process.kill()
        demo.process.wait()


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def is_trigger(line: str) -> bool:
    return line.endswith("  trigger")


@pytest.mark.parametrize("broker", BROKERS)
def test_triggers_come_and_it_ends_by_itself_with_nothing_missing(
    tmp_path: Path, demos: list[Demo], broker: str
) -> None:
    demo = Demo(tmp_path, "--seconds", "5", "--broker", broker)
    demos.append(demo)
    assert wait_until(lambda: len(demo.children()) == 2, PATIENCE_S)
    children = demo.children()
    code, said = demo.end()
    assert (code, said) == (0, "")
    assert any(is_trigger(line) for line in demo.lines)
    assert any("mosquitto_sub -p " in line for line in demo.lines[:8])
    assert CLOSING in demo.lines[-1]
    assert int(demo.lines[-1].split()[1]) >= 1
    assert (alive(children), demo.leftovers()) == (set(), [])


@pytest.mark.parametrize(
    ("broker", "number"),
    [
        ("mosquitto", signal.SIGINT),
        ("mosquitto", signal.SIGTERM),
        ("mosquitto", signal.SIGHUP),
        ("embedded", signal.SIGINT),
    ],
)
def test_a_signal_ends_it_in_good_order(tmp_path: Path, demos: list[Demo], broker: str, number: signal.Signals) -> None:
    demo = Demo(tmp_path, "--broker", broker)
    demos.append(demo)
    assert wait_until(lambda: any(map(is_trigger, list(demo.lines))), PATIENCE_S)
    children = demo.children()
    demo.process.send_signal(number)
    assert demo.end() == (0, "")
    assert demo.has("-- bridge: offline")
    assert CLOSING in demo.lines[-1]
    assert (alive(children), demo.leftovers()) == (set(), [])


def test_ctrl_c_before_anything_happened_is_fine_too(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--broker", "mosquitto")
    demos.append(demo)
    assert wait_until(lambda: bool(demo.leftovers()), PATIENCE_S)
    demo.process.send_signal(signal.SIGINT)
    code, said = demo.end()
    assert code in (0, 130), said
    assert "Traceback" not in said
    assert demo.leftovers() == []


def test_as_json_every_message_and_the_sum_is_an_object(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--json", "--seconds", "6", "--speed", "120", "--broker", "mosquitto")
    demos.append(demo)
    assert demo.end() == (0, "")
    first, *messages, last = (json.loads(line) for line in demo.lines)
    assert first["demo"]["broker"] == "mosquitto"
    told: list[dict[str, Any]] = [
        one["payload"] for one in messages if one["topic"].endswith(("/trigger", "/rejected"))
    ]
    triggers = [(body["id"], body["revision"]) for body in told]
    assert len(triggers) == len(set(triggers)) > 10
    assert last["demo"]["stored"] == last["demo"]["delivered"] == len({identity for identity, _ in triggers})
    assert last["demo"]["missing"] == 0


def test_raw_messages_are_topic_and_payload(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "-v", "--seconds", "3", "--broker", "mosquitto")
    demos.append(demo)
    assert demo.end() == (0, "")
    assert "mt1/bridge/state online" in demo.lines
    raw = [line.partition(" ") for line in demo.lines if line.startswith("mt1/device/") and "/trigger " in line]
    assert all(json.loads(payload)["event_type"] == "trigger" for _, _, payload in raw)
    assert raw


def test_somebody_outside_sees_it_too(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--json", "--broker", "embedded")
    demos.append(demo)
    assert wait_until(lambda: demo.has('"online"'), PATIENCE_S)
    port = json.loads(demo.lines[0])["demo"]["port"]
    words = ["mosquitto_sub", "-p", str(port), "-t", "mt1/device/+/+/trigger", "-C", "1", "-W", "30"]
    seen = subprocess.run(words, capture_output=True, timeout=PATIENCE_S, check=True).stdout
    demo.process.send_signal(signal.SIGINT)
    assert demo.end()[0] == 0
    assert demo.has(json.loads(seen)["id"])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5.0)


@pytest.mark.parametrize(("word", "said"), [("mosquitto", "the broker mosquitto has ended"), ("run", "the bridge has")])
def test_a_part_that_dies_ends_it_with_a_sentence(tmp_path: Path, demos: list[Demo], word: str, said: str) -> None:
    demo = Demo(tmp_path, "--broker", "mosquitto")
    demos.append(demo)
    assert wait_until(lambda: demo.has("-- bridge: online"), PATIENCE_S)
    children = demo.children()
    os.kill(demo.child(f"\0{word}\0" if word == "run" else word), signal.SIGKILL)
    code, told = demo.end()
    assert code == 1
    assert told.startswith(f"mt1bridge: {said}")
    assert (alive(children), demo.leftovers()) == (set(), [])


def test_a_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    words = f"{COMMAND} demo --broker mosquitto --json | head -n 3"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    piped = subprocess.run(words, shell=True, env=environment, capture_output=True, timeout=PATIENCE_S, check=True)
    assert (len(piped.stdout.splitlines()), piped.stderr) == (3, b"")
    assert list(tmp_path.iterdir()) == []


def test_without_any_broker_it_says_what_to_install(tmp_path: Path) -> None:
    body = "import sys; sys.modules['amqtt'] = None; from mt1bridge.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", body, "demo", "--broker", "embedded"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'mt1bridge[demo]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--seconds", "0"), ("--speed", "fast"), ("--broker", "emqx"), ("-v", "--json")])
def test_wrong_words_are_wrong_usage(words: tuple[str, ...]) -> None:
    done = subprocess.run([str(COMMAND), "demo", *words], capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
