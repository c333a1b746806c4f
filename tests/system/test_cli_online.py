"""`devices` and `check --online` against the simulator and a real mosquitto."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mosquitto import Mosquitto, Options, free_port
from paho.mqtt import publish

from mt1bridge.cli import main
from mt1bridge.cloud import kept
from mt1bridge.runtime.state_directory import StateDirectory
from mt1bridge.simulator import SimulatorThread, running_simulator

OURS, FOREIGN = "231203016", "231209999"


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with running_simulator(devices=(OURS, "231203037")) as running:
        running.control.add_device(FOREIGN, "")
        yield running


@dataclass
class Desk:
    """What a timekeeper has at hand: a configuration, and the command."""

    file: Path
    state: Path
    settings: dict[str, Any]
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[int, str, str]:
        self.file.write_text(yaml.safe_dump(self.settings))
        code = main([words[0], "-c", str(self.file), *words[1:]])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def findings(self) -> dict[str, list[tuple[str, str]]]:
        """By what they are about: result and text. The exit code fits them."""
        code, out, err = self.run("check", "--online", "--json")
        assert err == ""
        found: dict[str, list[tuple[str, str]]] = {}
        for one in json.loads(out)["online"]:
            found.setdefault(one["about"], []).append((one["result"], one["text"]))
        failed = any(result == "failed" for several in found.values() for result, _ in several)
        assert code == (1 if failed else 0)
        return found


@pytest.fixture
def desk(simulator: SimulatorThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    file = tmp_path / "mt1bridge.yaml"
    file.touch(0o600)
    settings = {
        "mt1": {"username": "club", "password": "mt1demo", "url": simulator.url},
        "mqtt": {"url": f"mqtt://127.0.0.1:{free_port()}"},
        "journal": {"directory": str(tmp_path / "state")},
    }
    return Desk(file, tmp_path / "state", settings, capsys)


def logins(simulator: SimulatorThread) -> int:
    return simulator.control.counters().get("logins", 0)


# --- devices --------------------------------------------------------------------------------------


def test_the_devices_of_the_account_and_which_are_configured(desk: Desk) -> None:
    desk.settings["mt1"]["devices"] = {OURS: {"name": "Finish hut"}, FOREIGN: {}}
    found = desk.json("devices")
    assert [(one["id"], one["type"], one["listed"], one["configured"]) for one in found] == [
        (OURS, "MT1", True, True),
        ("231203037", "MT1", True, False),
        (FOREIGN, None, False, True),
    ]
    code, out, _ = desk.run("devices")
    assert code == 0
    assert out.splitlines()[1].split() == [OURS, "MT1", "Finish", "hut", "yes"]


def test_the_token_is_kept_for_the_bridge_and_used_again(desk: Desk, simulator: SimulatorThread) -> None:
    desk.json("devices")
    body = json.loads((desk.state / kept.TOKEN_FILE).read_text())
    token = kept.token_from(body, simulator.url)
    assert token is not None
    assert (token.username, (desk.state / kept.TOKEN_FILE).stat().st_mode & 0o777) == ("club", 0o600)
    desk.json("devices")
    assert logins(simulator) == 1


def test_an_expired_token_does_not_make_a_second_login_within_a_minute(desk: Desk, simulator: SimulatorThread) -> None:
    desk.json("devices")
    simulator.control.expire_tokens()
    for _ in range(3):
        code, _, err = desk.run("devices")
        assert code == 1
        assert "try again in " in err
    assert logins(simulator) == 1


def test_a_refused_login_is_not_tried_again_at_once(desk: Desk, simulator: SimulatorThread) -> None:
    desk.settings["mt1"]["password"] = "wrong"
    code, _, err = desk.run("devices")
    assert code == 1
    assert "refused the credentials" in err
    assert "try again in " in desk.run("devices")[2]
    assert logins(simulator) == 1


def test_while_a_bridge_runs_its_token_is_read_and_nothing_is_written(desk: Desk, simulator: SimulatorThread) -> None:
    desk.json("devices")
    bridge = StateDirectory(desk.state)
    bridge.lock()
    try:
        before = {file.name: file.read_bytes() for file in desk.state.iterdir()}
        assert [one["id"] for one in desk.json("devices")] == [OURS, "231203037"]
        simulator.control.expire_tokens()
        code, _, err = desk.run("devices")
        assert (code, logins(simulator)) == (1, 1)
        assert "the bridge that is running has no token" in err
        assert {file.name: file.read_bytes() for file in desk.state.iterdir()} == before
    finally:
        bridge.unlock()


def test_the_quota_is_respected(desk: Desk, simulator: SimulatorThread) -> None:
    desk.json("devices")
    simulator.control.exhaust_quota(60.0)
    assert "quota" in desk.run("devices")[2]
    calls = simulator.control.counters()["requests"]
    assert "quota is used up: try again in " in desk.run("devices")[2]
    assert simulator.control.counters()["requests"] == calls


def test_a_server_that_is_not_there_is_said_and_costs_no_login(desk: Desk) -> None:
    desk.settings["mt1"]["url"] = f"http://127.0.0.1:{free_port()}"
    for _ in range(2):
        code, _, err = desk.run("devices")
        assert code == 1
        assert "refused" in err


def test_without_a_place_for_the_token_no_login_is_made(desk: Desk, simulator: SimulatorThread, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    code, _, err = desk.run("devices")
    assert (code, logins(simulator)) == (1, 0)
    assert "cannot be used" in err


def test_a_faulty_configuration_ends_it_with_78(desk: Desk) -> None:
    desk.settings["mqtt"]["urll"] = "x"
    for command in ("devices", "monitor"):
        assert desk.run(command)[0] == 78


# --- check --online -------------------------------------------------------------------------------


def test_where_all_is_well_everything_is_ok_but_what_is_not_tried(desk: Desk, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        desk.settings["mqtt"]["url"] = f"mqtt://127.0.0.1:{broker.port}"
        found = desk.findings()
    assert {about: [result for result, _ in several] for about, several in found.items()} == {
        "login": ["ok"],
        "devices": ["ok", "ok"],
        "clock": ["ok"],
        "realtime": ["ok"],
        "broker": ["ok", "ok", "not checked"],
    }
    assert "2 device(s) subscribed" in found["realtime"][0][1]
    assert "MQTT 5 (no user name)" in found["broker"][0][1]


def test_for_people_it_says_so_below_the_settings(desk: Desk) -> None:
    code, out, _ = desk.run("check", "--online")
    assert code == 1
    settings, _, online = out.partition("\n# Online:\n")
    assert "is fine" in settings
    assert online.splitlines()[0].startswith("ok          login:    The MT1 server accepts the account club;")
    assert any(line.startswith("failed      broker:") for line in online.splitlines())


def test_a_check_without_online_asks_nobody(desk: Desk, simulator: SimulatorThread) -> None:
    assert "online" not in desk.json("check")
    assert simulator.control.counters().get("requests", 0) == 0


Trouble = Callable[[SimulatorThread], object]
TROUBLES: dict[str, Trouble] = {
    "log in with them on the MT1 server's web page": lambda one: one.control.set_account("club", password="other"),
    "It is called Timekeeper": lambda one: one.control.set_account("club", roles=["USER"]),
    "HTTP 502": lambda one: one.control.rest_fault("status", where="login", status=502, times=None),
    "quota is used up": lambda one: one.control.exhaust_quota(600.0),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_a_login_that_fails_is_said_with_what_to_do(desk: Desk, simulator: SimulatorThread, words: str) -> None:
    TROUBLES[words](simulator)
    found = desk.findings()
    ((result, text),) = found["login"]
    assert result == "failed"
    assert words in text
    assert [result for result, _ in found["devices"]] == ["not checked"]
    assert "realtime" not in found


def test_a_device_that_is_not_ours_is_found(desk: Desk) -> None:
    desk.settings["mt1"]["devices"] = {OURS: {}, FOREIGN: {}}
    found = desk.findings()
    foreign, ours = found["devices"]
    assert (foreign[0], ours[0]) == ("failed", "ok")
    assert f"Device {FOREIGN}: the device is refused for this account" in foreign[1]
    assert "1 device(s) subscribed" in found["realtime"][0][1]


def test_a_network_without_websockets_is_found(desk: Desk, simulator: SimulatorThread) -> None:
    simulator.control.connect_fault("status", status=403, times=None)
    ((result, text),) = desk.findings()["realtime"]
    assert result == "failed"
    assert "does not let WebSockets pass" in text


def test_a_clock_that_is_off_is_found(desk: Desk, simulator: SimulatorThread) -> None:
    body = '{"status":0,"data":[{"value":0}]}'
    headers = {"Date": "Sat, 14 Feb 2026 09:30:00 GMT"}
    simulator.control.rest_fault("raw", where="count", body=body, headers=headers, times=None)
    found = desk.findings()
    assert found["clock"][0][0] == "warning", found
    assert "timedatectl set-ntp true" in found["clock"][0][1]


@pytest.mark.parametrize(
    ("instance", "state", "result"),
    [("other", "online", "failed"), ("other", "offline", "warning"), ("mt1bridge", "online", "ok")],
)
def test_another_instance_is_found(desk: Desk, tmp_path: Path, instance: str, state: str, result: str) -> None:
    with Mosquitto(tmp_path) as broker:
        info = json.dumps({"instance": instance})
        kept_there = [("mt1/bridge/info", info, 1, True), ("mt1/bridge/state", state, 1, True)]
        publish.multiple(kept_there, "127.0.0.1", broker.port)
        desk.settings["mqtt"]["url"] = f"mqtt://127.0.0.1:{broker.port}"
        found = desk.findings()
    assert found["broker"][1][0] == result
    assert instance in found["broker"][1][1]


def test_wrong_credentials_for_the_broker_are_found(desk: Desk, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, Options(users={"club": "right"})) as broker:
        desk.settings["mqtt"] |= {"url": f"mqtt://127.0.0.1:{broker.port}", "username": "club", "password": "wrong"}
        ((result, text),) = desk.findings()["broker"]
    assert result == "failed"
    assert "Check mqtt.username, the password" in text


def test_a_broker_that_does_not_let_us_read_is_found(desk: Desk, tmp_path: Path) -> None:
    options = Options(users={"club": "right"}, acl="user club\ntopic write mt1/#\n")
    with Mosquitto(tmp_path, options) as broker:
        desk.settings["mqtt"] |= {"url": f"mqtt://127.0.0.1:{broker.port}", "username": "club", "password": "right"}
        results = [result for result, _ in desk.findings()["broker"]]
    assert results[0] == "ok"
    assert "failed" not in results


def test_a_broker_that_keeps_nothing_is_found(desk: Desk, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, Options(retain=False)) as broker:
        desk.settings["mqtt"]["url"] = f"mqtt://127.0.0.1:{broker.port}"
        assert "keeps no retained messages" in desk.findings()["broker"][1][1]
