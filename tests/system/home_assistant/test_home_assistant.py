"""Home Assistant itself shows what it should and nothing else, over every restart. Started by `run`, beside this file.

One Home Assistant and one broker serve all tests of this module; each test leaves them running.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ha_broker import Mosquitto, free_port
from ha_messages import DEVICE, Told
from ha_process import HomeAssistant, installation_from_environment, wait_for

from mt1bridge.topics.discovery import House, KnownDevice, discovery, removal

INSTALLATION = installation_from_environment()
pytestmark = [
    pytest.mark.skipif(INSTALLATION is None, reason="needs Home Assistant: tests/system/home_assistant/run"),
    pytest.mark.timeout(900),
]
OLD = INSTALLATION is not None and tuple(map(int, INSTALLATION.version.split("."))) < (2026, 3)
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "home-assistant"
FINISH_HUT = KnownDevice(DEVICE, "Finish hut", "MT1", (("C0", "Start gate"), ("C1", "Finish line")))
HOUSE = House("mt1bridge", "mt1", "homeassistant", "1.0.0", (FINISH_HUT,), "https://www.alge-results.com")
SIGNAL = "automation.mt1_signal_on_a_finish"
CONFIGURATION = """
recorder: {commit_interval: 0}
history:
logbook:
automation: !include automations.yaml
input_boolean: {horn: {name: Horn}}
lovelace:
  dashboards:
    mt1-timing: {mode: yaml, title: Timing, filename: dashboard.yaml, show_in_sidebar: true}
"""
# What its MQTT client says of the broker's restarts in these tests.
NOT_OURS = re.compile(
    r"\[(?:homeassistant\.components\.mqtt\.client|paho\.mqtt\.client)\]|Error talking to MQTT: The client"
)
# Until 2026.2 at least, Home Assistant empties a device's topic once more for each disabled entity that it removes
# with the device, hears that, and finds nothing left to remove.
REMOVED_TWICE = "No device components to cleanup for mt1bridge_77"


@dataclass
class Site:
    broker: Mosquitto
    ha: HomeAssistant
    told: Told

    def entity(self, unique_id: str) -> str:
        """The entity id that this version of Home Assistant gave to a unique id of ours."""
        return self.entities()[unique_id]

    def entities(self) -> dict[str, str]:
        listed = self.ha.call("config/entity_registry/list")
        return {entry["unique_id"]: entry["entity_id"] for entry in listed if entry["platform"] == "mqtt"}

    def ready(self) -> bool:
        return unique_ids(HOUSE) <= set(self.entities())

    def listen(self) -> None:
        self.ha.events.clear()
        self.ha.call("subscribe_events", event_type="automation_triggered")

    def state(self, unique_id: str) -> str | None:
        return self.ha.state(self.entity(unique_id))

    def attributes(self, unique_id: str) -> dict[str, object]:
        found = self.ha.states()[self.entity(unique_id)]["attributes"]
        assert isinstance(found, dict)
        return found

    def translate(self, text: str) -> str:
        """An example with the entity ids of this version: before 2025.10 they come from names."""
        entities = self.entities()
        for publication in discovery(HOUSE):
            for component in json.loads(publication.payload)["components"].values():
                if "unique_id" in component:
                    wished = component["default_entity_id"]
                    text = re.sub(rf"\b{re.escape(wished)}\b", entities[component["unique_id"]], text)
        return text

    def signals(self) -> int:
        events = self.ha.seen("automation_triggered")
        return len([event for event in events if event["data"]["entity_id"] == SIGNAL])

    def shows(self, number: int) -> None:
        wait_for(f"number {number}", lambda: self.state(f"mt1bridge_{DEVICE}_C1_last_start_number") == str(number))

    def complaints(self) -> list[str]:
        found = self.ha.complaints(re.compile(r"mt1|mqtt|template", re.IGNORECASE))
        return [entry for entry in found if not NOT_OURS.search(entry)]


def unique_ids(house: House) -> set[str]:
    return {
        component["unique_id"]
        for publication in discovery(house)
        for component in json.loads(publication.payload)["components"].values()
        if "unique_id" in component
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert INSTALLATION is not None
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    ha = HomeAssistant(INSTALLATION, INSTALLATION.root / "srv" / "test-configuration", free_port())
    ha.write_configuration(CONFIGURATION)
    (ha.config / "automations.yaml").write_text("[]\n")
    (ha.config / "dashboard.yaml").write_text((EXAMPLES / "dashboard.yaml").read_text())
    blueprints = ha.config / "blueprints" / "automation" / "mt1bridge"
    blueprints.mkdir(parents=True)
    (blueprints / "finish-signal.yaml").write_text((EXAMPLES / "finish-signal.yaml").read_text())
    told = Told(broker.port, HOUSE)
    site = Site(broker, ha, told)
    try:
        ha.start()
        ha.add_mqtt(broker.port)
        told.announce()
        wait_for("the entities", site.ready, 60)
        wait_for("retained values", lambda: site.state(f"mt1bridge_{DEVICE}_C1_impulses") == "0")
        automations = site.translate((EXAMPLES / "automations.yaml").read_text())
        automations = re.sub(r'for: "\d\d:\d\d:\d\d"', 'for: "00:00:01"', automations)  # what takes minutes
        (ha.config / "automations.yaml").write_text(automations)
        ha.call("call_service", domain="automation", service="reload")
        site.listen()
        wait_for("the automations", lambda: ha.state(SIGNAL) == "on")
        yield site
    finally:
        site.told.stop()
        ha.stop()
        broker.stop()
        print(f"\nHome Assistant {INSTALLATION.version}; its log: {ha.config / 'output.txt'}")


IMPULSE = f"mt1bridge_{DEVICE}_C1_impulse"


def test_everything_appears_under_its_unique_id(site: Site) -> None:
    assert set(site.entities()) == unique_ids(HOUSE)
    devices = {device["name"]: device for device in site.ha.call("config/device_registry/list")}
    assert devices["Finish hut"]["via_device_id"] == devices["MT1 bridge"]["id"]
    assert devices["Finish hut"]["serial_number"] == DEVICE
    assert devices["Finish hut"]["configuration_url"] == "https://www.alge-results.com"
    disabled = {
        entry["unique_id"] for entry in site.ha.call("config/entity_registry/list") if entry["disabled_by"] is not None
    }
    assert disabled == {f"mt1bridge_{DEVICE}_{channel}_{kind}" for channel in ("C0", "C1") for kind in OFF}


OFF = ("correction", "rejected")


def test_the_bridge_tells_how_it_is(site: Site) -> None:
    shown = {key: site.state(f"mt1bridge_bridge_{key}") for key in ("running", "cloud_link", "state", "backlog")}
    assert shown == {"running": "on", "cloud_link": "on", "state": "live", "backlog": "3"}
    assert site.state("mt1bridge_bridge_latency") == "8.53"
    assert site.state("mt1bridge_bridge_reconnects") == "2"
    assert site.state("mt1bridge_bridge_started") == "2026-02-14T08:00:00+00:00"
    assert site.state("mt1bridge_bridge_version") == "1.0.0"
    site.told.health(bridge_ms={"p50": None, "p99": None})
    wait_for("no latency known", lambda: site.state("mt1bridge_bridge_latency") == "unknown")
    site.told.health()
    for state in ("starting", "login_refused", "quota", "disconnected"):
        site.told.upstream(state, ["token"])
        wait_for(state, lambda state=state: site.state("mt1bridge_bridge_state") == state)
        assert site.state("mt1bridge_bridge_cloud_link") == "off"
    assert site.attributes("mt1bridge_bridge_state")["reasons"] == ["token"]
    site.told.upstream("live")
    wait_for("live", lambda: site.state("mt1bridge_bridge_cloud_link") == "on")


def test_no_trigger_in_effect_is_unknown(site: Site) -> None:
    assert site.state(f"mt1bridge_{DEVICE}_C1_last_start_number") == "unknown"
    assert site.state(f"mt1bridge_{DEVICE}_C1_last_time") == "unknown"
    assert site.state(IMPULSE) == "unknown"


def test_the_first_impulse_only_arms_the_signal(site: Site) -> None:
    told = site.told.trigger("C1", 1)
    site.shows(1)
    wait_for("the event", lambda: site.attributes(IMPULSE).get("id") == told["id"])
    assert site.signals() == 0


def test_an_impulse_arrives_exactly_and_sounds_the_signal(site: Site) -> None:
    before = site.signals()
    told = site.told.trigger("C1", 12)
    wait_for("the signal", lambda: site.signals() == before + 1)
    event = site.attributes(IMPULSE)
    assert {key: event[key] for key in told} == told
    site.shows(12)
    last = site.attributes(f"mt1bridge_{DEVICE}_C1_last_time")
    assert {key: last[key] for key in ("time", "local_time", "time_of_day", "timestamp", "id", "start_number")} == {
        key: told[key] for key in ("time", "local_time", "time_of_day", "timestamp", "id", "start_number")
    }
    assert site.state(f"mt1bridge_{DEVICE}_C1_last_time") == told["time"][:19] + "+00:00"
    assert site.state(f"mt1bridge_{DEVICE}_C1_impulses") == str(site.told.sequence)


def test_every_impulse_of_a_burst_sounds_the_signal(site: Site) -> None:
    before = site.signals()
    for number in range(20, 28):
        site.told.trigger("C1", number)
    wait_for("eight signals", lambda: site.signals() == before + 8, 60)


def test_old_news_is_another_event_and_stays_silent(site: Site) -> None:
    before = site.signals()
    told = site.told.trigger("C1", 30, event_type="late")
    site.shows(30)
    assert site.attributes(IMPULSE)["id"] == told["id"]
    assert site.attributes(IMPULSE)["event_type"] == "late"
    assert site.signals() == before


def test_an_impulse_told_twice_sounds_once(site: Site) -> None:
    before = site.signals()
    told = site.told.trigger("C1", 31)
    site.told.publish(f"device/{DEVICE}/C1/trigger", told, retain=False)
    site.told.trigger("C1", 32)
    site.shows(32)
    wait_for("two signals", lambda: site.signals() >= before + 2)
    assert site.signals() == before + 2


def test_device_triggers_fire_on_their_event_alone(site: Site) -> None:
    devices = {device["name"]: device["id"] for device in site.ha.call("config/device_registry/list")}
    offered = site.ha.call("device_automation/trigger/list", device_id=devices["Finish hut"])
    ours = {(trigger["type"], trigger["subtype"]): trigger for trigger in offered if trigger["domain"] == "mqtt"}
    assert set(ours) == {(kind, channel) for kind in ("trigger", "cleared") for channel in ("C0", "C1")}
    for event, trigger in (("seen_trigger", ours["trigger", "C1"]), ("seen_cleared", ours["cleared", "C1"])):
        trigger.pop("metadata", None)
        site.ha.call("subscribe_events", event_type=event)
        path = f"/api/config/automation/config/{event}"
        action = {"event": event, "event_data": {"id": "{{ trigger.payload_json.id }}"}}
        site.ha.post(path, {"alias": event, "triggers": [trigger], "actions": [action]})
    wait_for(
        "both automations", lambda: {"automation.seen_trigger", "automation.seen_cleared"} <= set(site.ha.states())
    )
    probe = site.told.trigger("C1", 39)
    wait_for("Home Assistant to be subscribed", lambda: cleared(site, probe))
    told = site.told.trigger("C1", 40)
    late = site.told.trigger("C1", 41, event_type="late")
    site.told.correction(late, "renumbered")
    site.told.correction(told, "cleared")
    wait_for("the correction", lambda: site.ha.seen("seen_cleared")[-1]["data"]["id"] == told["id"])
    assert [event["data"]["id"] for event in site.ha.seen("seen_trigger")] == [probe["id"], told["id"]]
    assert {event["data"]["id"] for event in site.ha.seen("seen_cleared")} == {probe["id"], told["id"]}


def cleared(site: Site, told: dict[str, object]) -> bool:
    """Home Assistant subscribes to a new topic some time after the automation is there: tell it until it is heard."""
    site.told.correction(told, "cleared")
    time.sleep(0.3)
    return bool(site.ha.seen("seen_cleared"))


def test_corrections_and_rejected_impulses_can_be_enabled(site: Site) -> None:
    for kind in OFF:
        entity = site.entity(f"mt1bridge_{DEVICE}_C1_{kind}")
        site.ha.call("config/entity_registry/update", entity_id=entity, disabled_by=None)
    # Home Assistant loads them by itself 30 s later.
    wait_for(
        "both to be loaded",
        lambda: {site.state(f"mt1bridge_{DEVICE}_C1_{kind}") for kind in OFF} == {"unknown"},
        90,
    )
    told = site.told.trigger("C1", 50)

    def heard() -> bool:
        site.told.correction(told, "deleted")
        site.told.rejected("C1", ["type"], raw="x" * 40_000, device_name="y" * 70_000)
        return {site.attributes(f"mt1bridge_{DEVICE}_C1_{kind}").get("event_type") for kind in OFF} == {
            "deleted",
            "rejected",
        }

    wait_for("both", heard)
    correction = site.attributes(f"mt1bridge_{DEVICE}_C1_correction")
    assert correction["event_type"] == "deleted"
    assert correction["previous"]["start_number"] == 50  # type: ignore[index]
    assert "raw" not in site.attributes(f"mt1bridge_{DEVICE}_C1_rejected")


# --- notices --------------------------------------------------------------------------------------------------


def notices(site: Site) -> dict[str, str]:
    found = site.ha.call("persistent_notification/get")
    return {notice["notification_id"]: notice["message"] for notice in found}


def test_a_lost_link_is_notified_until_it_is_back(site: Site) -> None:
    site.told.upstream("disconnected", ["dns"])
    wait_for("the notice", lambda: "mt1_link" in notices(site))
    assert notices(site)["mt1_link"].endswith("State: disconnected dns")
    site.told.upstream("live")
    wait_for("the notice to go", lambda: "mt1_link" not in notices(site))


def test_a_stopped_bridge_is_notified(site: Site) -> None:
    site.told.publish("bridge/state", "offline", retain=True)
    wait_for("the notice", lambda: "does not run" in notices(site).get("mt1_link", ""))
    site.told.publish("bridge/state", "online", retain=True)
    wait_for("the notice to go", lambda: "mt1_link" not in notices(site))


def test_a_missing_impulse_is_notified(site: Site) -> None:
    site.told.tally("C0", 5, missing=2)
    name = f"mt1_{site.entity(f'mt1bridge_{DEVICE}_C0_missing')}"
    wait_for("the notice", lambda: name in notices(site))
    assert notices(site)[name] == "Finish hut Start gate missing: 2 as of 2026-02-14T08:00:02.000Z."
    site.told.tally("C0", 5)


# --- restarts -----------------------------------------------------------------------------------------------


@pytest.fixture
def unchanged(site: Site) -> Iterator[None]:
    """After the test the same impulse is shown as before, no signal sounded, and the next impulse sounds it."""
    told = site.told.trigger("C1", 60)
    site.shows(60)
    wait_for("the impulse", lambda: site.attributes(IMPULSE).get("id") == told["id"])
    signals, state = site.signals(), site.state(IMPULSE)
    yield
    if not site.ha.events:  # Home Assistant itself was restarted
        signals = 0
    wait_for("the same impulse", lambda: site.state(IMPULSE) == state)
    site.shows(60)
    assert site.attributes(IMPULSE)["id"] == told["id"]
    assert site.signals() == signals
    site.told.trigger("C1", 61)
    wait_for("the signal", lambda: site.signals() == signals + 1)


def restart_bridge(site: Site) -> None:
    site.told = Told(site.broker.port, HOUSE, site.told)
    site.told.announce_again()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("end", ["stop", "die"])
def test_a_restart_of_the_bridge_is_no_impulse(site: Site, end: str) -> None:
    shown = site.state(IMPULSE)
    getattr(site.told, end)()
    wait_for("running to be off", lambda: site.state("mt1bridge_bridge_running") == "off")
    assert site.state("mt1bridge_bridge_state") == "unavailable"
    assert site.state(f"mt1bridge_{DEVICE}_subscribed") == "unavailable"
    assert site.state(IMPULSE) == shown
    assert site.state(f"mt1bridge_{DEVICE}_C1_last_start_number") == "60"
    restart_bridge(site)
    wait_for("running to be on", lambda: site.state("mt1bridge_bridge_state") == "live")


@pytest.mark.usefixtures("unchanged")
def test_a_restart_of_the_broker_is_no_impulse(site: Site) -> None:
    site.broker.stop()
    wait_for("the lost broker to be seen", lambda: site.state(IMPULSE) == "unavailable")
    site.broker.start()
    site.told.reconnected()
    site.told.announce_again()
    wait_for("Home Assistant to be back", lambda: site.state("mt1bridge_bridge_running") == "on", 120)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_of_home_assistant_is_no_impulse(site: Site, end: str) -> None:
    if end == "kill":
        # A clean stop keeps what is shown; a kill keeps what was kept last.
        site.ha.stop()
        site.ha.start()
    getattr(site.ha, end)()
    site.ha.start()
    site.listen()
    site.told.announce_again()  # what the bridge does on Home Assistant's birth message
    wait_for("the entities", lambda: site.state("mt1bridge_bridge_state") == "live", 120)


# --- what comes and goes ------------------------------------------------------------------------------------


def test_a_new_channel_and_a_new_mt1_appear_and_disappear_again(site: Site) -> None:
    seen = replace(FINISH_HUT, channels=(*FINISH_HUT.channels, ("C4", "Split")))
    odd = KnownDevice("77", 'say "{{ states(1) }}"\n' + "x" * 70_000, None, (("C1", "{% raw"), ("C0", "{% raw")))
    more = replace(HOUSE, devices=(seen, odd))
    site.told.retain(discovery(more))
    wait_for("what is new", lambda: unique_ids(more) <= set(site.entities()))
    assert site.state("mt1bridge_77_C1_impulse") == "unknown"
    names = {device["name"] for device in site.ha.call("config/device_registry/list")}
    assert {name for name in names if name.startswith("say")} == {('say "{{ states(1) }}" ' + "x" * 60)[:60]}

    before = discovery(more)
    first, second = removal(before, discovery(HOUSE))
    site.told.retain(first)
    site.told.retain(second)
    gone = unique_ids(more) - unique_ids(HOUSE)
    enabled = {one for one in gone if not one.endswith(OFF)}
    wait_for("what is gone", lambda: not enabled & set(site.entities()))
    if not OLD:  # of a channel that is gone, older ones keep what was never enabled
        wait_for("what was disabled", lambda: not gone & set(site.entities()))
    assert unique_ids(HOUSE) <= set(site.entities())


def test_the_dashboard_is_one_and_names_entities_that_exist(site: Site) -> None:
    dashboard = site.ha.call("lovelace/config", url_path="mt1-timing")
    assert dashboard["title"] == "Timing"
    text = site.translate((EXAMPLES / "dashboard.yaml").read_text())
    named = set(re.findall(r"\b(?:sensor|binary_sensor|event)\.[a-z0-9_]+", text))
    assert named <= set(site.ha.states())


def test_the_log_has_no_complaint_about_us(site: Site) -> None:
    time.sleep(2)  # nothing to wait for: what is not written needs a moment not to be written
    complaints = site.complaints()
    if OLD:
        complaints = [entry for entry in complaints if REMOVED_TWICE not in entry]
    assert complaints == []
    assert "mt1bridge" in site.ha.log()
