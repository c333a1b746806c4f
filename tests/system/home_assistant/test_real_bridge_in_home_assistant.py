"""Simulator, `mt1bridge run`, mosquitto and Home Assistant: the whole line. Started by `run`, beside this file."""

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ha_process import HomeAssistant, installation_from_environment, wait_for
from mosquitto import free_port
from process import DEVICE, OTHER, Stage

INSTALLATION = installation_from_environment()
pytestmark = [
    pytest.mark.skipif(INSTALLATION is None, reason="needs Home Assistant: tests/system/home_assistant/run"),
    pytest.mark.timeout(900),
]
OLD = INSTALLATION is not None and tuple(map(int, INSTALLATION.version.split("."))) < (2026, 3)
NAMES = {"name": "Finish hut", "channels": {"C0": "Start gate", "C1": "Finish {{ line }}"}}
SETTINGS = {
    "instance": "mt1bridge",
    "mt1": {"devices": {DEVICE: NAMES, OTHER: {"name": "Slalom"}}},
    "reconcile": {"interval": "2s", "full_interval": "5s"},
}


class House:
    """A stage with a Home Assistant that listens to it."""

    def __init__(self, stage: Stage, ha: HomeAssistant) -> None:
        self.stage, self.ha = stage, ha

    def entities(self) -> dict[str, str]:
        listed = self.ha.call("config/entity_registry/list")
        return {entry["unique_id"]: entry["entity_id"] for entry in listed if entry["platform"] == "mqtt"}

    def shown(self, unique_id: str) -> dict[str, Any]:
        entity = self.entities().get(f"mt1bridge_{unique_id}")
        found: dict[str, Any] = self.ha.states().get(entity or "", {"state": None, "attributes": {}})
        return found

    def wait(self, unique_id: str, *states: str) -> dict[str, Any]:
        try:
            wait_for("", lambda: self.shown(unique_id)["state"] in states, 60)
        except AssertionError:
            raise AssertionError(f"{unique_id} is not {states} but {self.shown(unique_id)}") from None
        return self.shown(unique_id)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    assert INSTALLATION is not None
    ha = HomeAssistant(INSTALLATION, INSTALLATION.root / "srv" / "test-configuration", free_port())
    ha.write_configuration()
    with Stage(tmp_path_factory.mktemp("stage"), SETTINGS, (DEVICE, OTHER)) as stage:
        try:
            stage.bridge.start()
            stage.wait_live()
            ha.start()
            ha.add_mqtt(stage.broker.port)
            house = House(stage, ha)
            house.wait("bridge_state", "live")
            wait_for("both devices", lambda: f"mt1bridge_{OTHER}_C1_impulse" in house.entities(), 60)
            yield house
        finally:
            ha.stop()


def test_what_the_bridge_says_of_itself_is_shown(house: House) -> None:
    house.wait("bridge_running", "on")
    house.wait("bridge_cloud_link", "on")
    house.wait("bridge_backlog", "0")
    house.wait("bridge_reconnects", "0")
    assert re.fullmatch(r"\d+\.\d+\.\S+", house.shown("bridge_version")["state"])
    assert house.shown("bridge_started")["state"].startswith("20")
    house.wait(f"{DEVICE}_subscribed", "on")
    house.wait(f"{DEVICE}_C1_impulses", "0")
    house.wait(f"{DEVICE}_C1_missing", "0")
    house.wait(f"{DEVICE}_C1_last_time", "unknown")


def test_an_impulse_and_what_becomes_of_it_is_shown(house: House) -> None:
    first = house.stage.simulator.impulse(device=DEVICE, channel=1, number=11, number_type="MANUAL")
    house.wait(f"{DEVICE}_C1_last_start_number", "11")
    key = house.stage.simulator.impulse(device=DEVICE, channel=1, number=12, number_type="MANUAL")
    house.wait(f"{DEVICE}_C1_last_start_number", "12")
    event = house.shown(f"{DEVICE}_C1_impulse")["attributes"]
    assert event["event_type"] == "trigger"
    assert event["timestamp"] == str(key["timestamp"])
    assert event["channel_name"] == "Finish {{ line }}"
    assert house.shown(f"{DEVICE}_C1_last_time")["attributes"]["timestamp"] == str(key["timestamp"])
    house.wait(f"{DEVICE}_C1_impulses", "2")
    house.stage.simulator.renumber(device=DEVICE, channel=1, timestamp=key["timestamp"], number=14)
    house.wait(f"{DEVICE}_C1_last_start_number", "14")
    house.stage.simulator.clear(device=DEVICE, channel=1, timestamp=key["timestamp"])
    house.wait(f"{DEVICE}_C1_last_start_number", "11")
    house.stage.simulator.clear(device=DEVICE, channel=1, timestamp=first["timestamp"])
    house.wait(f"{DEVICE}_C1_last_start_number", "unknown")


def test_a_channel_appears_when_it_is_first_seen(house: House) -> None:
    assert f"mt1bridge_{OTHER}_C4_impulse" not in house.entities()
    house.stage.simulator.impulse(device=OTHER, channel=4, number=3)
    house.wait(f"{OTHER}_C4_last_start_number", "3")


def test_a_bridge_that_is_killed_leaves_what_was_shown(house: House) -> None:
    house.stage.simulator.impulse(device=DEVICE, channel=0, number=21)
    house.wait(f"{DEVICE}_C0_last_start_number", "21")
    event = house.shown(f"{DEVICE}_C0_impulse")
    house.stage.bridge.kill()
    house.wait("bridge_running", "off")
    house.wait("bridge_state", "unavailable")
    assert house.shown(f"{DEVICE}_C0_impulse")["last_changed"] == event["last_changed"]
    assert house.shown(f"{DEVICE}_C0_last_start_number")["state"] == "21"
    house.stage.simulator.impulse(device=DEVICE, channel=0, number=22)
    house.stage.bridge.start()
    house.wait("bridge_state", "live")
    house.wait(f"{DEVICE}_C0_last_start_number", "22")
    assert house.shown(f"{DEVICE}_C0_impulse")["attributes"]["start_number"] == 22


def test_home_assistant_that_starts_again_knows_everything(house: House) -> None:
    house.ha.stop()
    house.stage.simulator.impulse(device=DEVICE, channel=1, number=31)
    house.stage.wait(
        lambda: house.stage.newest(f"device/{DEVICE}/C1/last")["start_number"] == 31, "what it missed is retained"
    )
    house.ha.start()
    house.wait("bridge_state", "live")
    house.wait(f"{DEVICE}_C1_last_start_number", "31")


def test_an_mt1_that_is_taken_out_disappears_and_one_that_is_put_in_appears(house: House) -> None:
    settings = house.stage.bridge.settings
    settings["mt1"]["devices"].pop(OTHER)
    house.stage.bridge.file.write_text(yaml.safe_dump(settings))
    house.stage.bridge.signal(signal.SIGHUP)

    def left() -> set[str]:
        return {one for one in house.entities() if f"_{OTHER}_" in one}

    wait_for("the MT1 to disappear", lambda: not left(), 60)
    names = {device["name"] for device in house.ha.call("config/device_registry/list")}
    assert "Slalom" not in names
    assert "Finish hut" in names
    settings["mt1"]["devices"][OTHER] = {"name": "Giant slalom"}
    house.stage.bridge.file.write_text(yaml.safe_dump(settings))
    house.stage.bridge.signal(signal.SIGHUP)
    wait_for("the MT1 to appear", lambda: f"mt1bridge_{OTHER}_C1_impulse" in left(), 60)
    house.wait(f"{OTHER}_subscribed", "on")


def test_a_bridge_that_shall_not_be_shown_takes_everything_away(house: House) -> None:
    settings = house.stage.bridge.settings
    settings["home_assistant"] = {"enabled": False}
    assert house.stage.bridge.stop() == 0
    house.stage.bridge.start()
    wait_for("everything to disappear", lambda: not house.entities(), 60)
    devices = house.ha.call("config/device_registry/list")
    assert [device["name"] for device in devices if ["mqtt", "mt1bridge_bridge"] in device["identifiers"]] == []


def test_the_log_has_no_complaint_about_the_bridge(house: House) -> None:
    complaints = house.ha.complaints(re.compile(r"mt1|mqtt|template", re.IGNORECASE))
    if OLD:  # it empties the topic once more for each disabled entity of a device that it removes
        complaints = [one for one in complaints if "No device components to cleanup for mt1bridge_2" not in one]
    assert complaints == []


def test_every_configuration_that_was_sent_is_within_what_small_brokers_take(house: House) -> None:
    sent = [message for message in house.stage.recorder.messages() if message.topic.startswith("homeassistant/device/")]
    assert sent
    for message in sent:
        assert len(message.payload) < 128 * 1024
        assert not message.payload or json.loads(message.payload)["origin"]["name"] == "mt1bridge"
