"""The examples name what there is; whether they work is tried in tests/system/{home_assistant,node_red,scoreboard}."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mt1bridge.topics.discovery import House, KnownDevice, discovery

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
HOUSE = House("mt1bridge", "mt1", "homeassistant", "1.0.0", (KnownDevice("231203016"),))


class BlueprintLoader(yaml.SafeLoader):
    """YAML as Home Assistant's blueprints have it."""


BlueprintLoader.add_constructor("!input", lambda loader, node: f"!input {loader.construct_scalar(node)}")


def entity_ids():
    return {
        component["default_entity_id"]
        for publication in discovery(HOUSE)
        for component in json.loads(publication.payload)["components"].values()
        if "default_entity_id" in component
    }


def flow():
    return json.loads((EXAMPLES / "node-red" / "run-times.json").read_text())


@pytest.mark.parametrize("name", ["automations.yaml", "dashboard.yaml"])
def test_entities_in_the_home_assistant_examples_are_ours(name):
    text = (EXAMPLES / "home-assistant" / name).read_text()
    assert yaml.safe_load(text)
    named = set(re.findall(r"\b(?:sensor|binary_sensor|event)\.mt1[a-z0-9_]+", text))
    assert named
    assert named <= entity_ids()


def test_the_blueprint_takes_what_the_example_automation_gives_it():
    blueprint = yaml.load((EXAMPLES / "home-assistant" / "finish-signal.yaml").read_text(), BlueprintLoader)
    automations = yaml.safe_load((EXAMPLES / "home-assistant" / "automations.yaml").read_text())
    uses = [one["use_blueprint"] for one in automations if "use_blueprint" in one]
    assert [use["path"] for use in uses] == ["mt1bridge/finish-signal.yaml"]
    assert set(uses[0]["input"]) == set(blueprint["blueprint"]["input"])


def test_the_broker_of_the_flow_loses_nothing():
    (broker,) = [node for node in flow() if node["type"] == "mqtt-broker"]
    assert broker["clientid"]
    assert broker["protocolVersion"] == "5"
    assert broker["cleansession"] is False
    assert broker["autoUnsubscribe"] is False
    assert int(broker["sessionExpiry"]) >= 86_400
    assert {node["qos"] for node in flow() if node["type"] in ("mqtt in", "mqtt out")} == {"1"}


def test_the_wires_of_the_flow_end_at_nodes_that_there_are():
    ids = {node["id"] for node in flow()}
    assert len(ids) == len(flow())
    assert {end for node in flow() for ends in node.get("wires", []) for end in ends} <= ids


def test_the_scoreboard_fetches_nothing():
    page = (EXAMPLES / "scoreboard" / "index.html").read_text()
    assert not re.search(r"https?://|<link|<img|<iframe|src=|@import|url\(|fetch\(|import\s*\(", page)
