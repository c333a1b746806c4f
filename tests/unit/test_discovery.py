"""What Home Assistant is told of us, without Home Assistant; tests/system/home_assistant asks the real one."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.broker import Publication
from mt1bridge.model.status import Upstream
from mt1bridge.topics.discovery import House, KnownDevice, discovery, first_step, removal

FINISH = KnownDevice("231203016", "Finish hut", "MT1", (("C0", "Start gate"), ("C1", "Finish line")))
HOUSE = House("mt1bridge", "mt1", "homeassistant", "1.0.0", (FINISH,), "https://www.alge-results.com")
CHANNEL_COMPONENTS = {
    "impulse",
    "last_start_number",
    "last_time",
    "impulses",
    "missing",
    "correction",
    "rejected",
    "on_trigger",
    "on_cleared",
}


def config(publication):
    return json.loads(publication.payload)


def device_config(known, **changes):
    house = House("mt1bridge", "mt1", "homeassistant", "1.0.0", (known,), **changes)
    return config(discovery(house)[1])


def components(house=HOUSE):
    """Every component of the house by (unique id or key, config)."""
    for publication in discovery(house):
        yield from config(publication)["components"].items()


# --- where it goes ------------------------------------------------------------------------------------------


def test_there_is_one_retained_configuration_for_the_bridge_and_one_for_each_mt1():
    published = discovery(HOUSE)
    assert [publication.topic for publication in published] == [
        "homeassistant/device/mt1bridge_bridge/config",
        "homeassistant/device/mt1bridge_231203016/config",
    ]
    assert all(publication.retain for publication in published)
    assert {publication.content_type for publication in published} == {"application/json"}
    assert all(publication.expiry_s is None for publication in published)


def test_base_topic_and_prefix_of_the_configuration_are_used_everywhere():
    house = House("hut-2", "club/timing", "ha", "1.0.0", (FINISH,))
    for publication in discovery(house):
        assert publication.topic.startswith("ha/device/hut-2_")
        text = publication.payload.decode()
        assert '"mt1/' not in text
        assert '"club/timing/' in text


def test_an_mt1_hangs_below_the_bridge():
    bridge, mt1 = map(config, discovery(HOUSE))
    assert mt1["device"]["via_device"] == bridge["device"]["identifiers"][0]
    assert mt1["device"]["serial_number"] == "231203016"
    assert mt1["device"]["name"] == "Finish hut"
    assert mt1["device"]["configuration_url"] == "https://www.alge-results.com"


def test_every_configuration_names_its_origin_and_asks_for_qos_1():
    for publication in discovery(HOUSE):
        assert config(publication)["origin"] == {"name": "mt1bridge", "sw_version": "1.0.0"}
        assert config(publication)["qos"] == 1
        assert {component["qos"] for component in config(publication)["components"].values()} == {1}


@pytest.mark.parametrize("url", [None, "", "www.alge-results.com", "ftp://x", "http://", "http://[", "http://a b"])
def test_an_address_that_home_assistant_would_refuse_is_left_out(url):
    assert "configuration_url" not in device_config(FINISH, url=url)["device"]


# --- what appears -------------------------------------------------------------------------------------------


def test_the_bridge_has_its_diagnostics():
    bridge = config(discovery(HOUSE)[0])["components"]
    assert list(bridge) == [
        "running",
        "cloud_link",
        "state",
        "backlog",
        "latency",
        "reconnects",
        "started",
        "version",
    ]
    assert {component["entity_category"] for component in bridge.values()} == {"diagnostic"}
    assert bridge["state"]["options"] == [state.value for state in Upstream]


def test_start_and_finish_are_there_before_they_are_seen():
    keys = set(device_config(KnownDevice("7"))["components"])
    assert keys == {"subscribed"} | {f"{channel}_{key}" for channel in ("C0", "C1") for key in CHANNEL_COMPONENTS}


def test_a_channel_seen_once_has_all_that_the_others_have():
    keys = set(device_config(KnownDevice("7", channels=(("C4", None),)))["components"])
    assert {f"C4_{key}" for key in CHANNEL_COMPONENTS} <= keys
    assert {f"C0_{key}" for key in CHANNEL_COMPONENTS} <= keys


def test_an_impulse_is_an_event_entity_with_two_types():
    impulse = device_config(FINISH)["components"]["C1_impulse"]
    assert impulse["platform"] == "event"
    assert impulse["event_types"] == ["trigger", "late"]
    assert impulse["state_topic"] == "mt1/device/231203016/C1/trigger"
    assert impulse["enabled_by_default"] is True


@pytest.mark.parametrize(
    ("key", "topic", "types"),
    [
        ("C1_correction", "correction", ["cleared", "deleted", "renumbered", "changed", "restored"]),
        ("C1_rejected", "rejected", ["rejected"]),
    ],
)
def test_corrections_and_rejected_impulses_are_disabled_until_wanted(key, topic, types):
    component = device_config(FINISH)["components"][key]
    assert component["platform"] == "event"
    assert component["enabled_by_default"] is False
    assert component["event_types"] == types
    assert component["state_topic"] == f"mt1/device/231203016/C1/{topic}"


def test_device_triggers_carry_the_channel_and_never_its_name():
    found = device_config(FINISH)["components"]
    assert {(found[key]["type"], found[key]["subtype"], found[key]["topic"]) for key in ("C1_on_trigger",)} == {
        ("trigger", "C1", "mt1/device/231203016/C1/trigger")
    }
    cleared = found["C1_on_cleared"]
    assert (cleared["type"], cleared["subtype"]) == ("cleared", "C1")
    assert cleared["topic"] == "mt1/device/231203016/C1/correction"
    assert cleared["payload"] == "cleared"


def test_impulses_are_a_total_and_missing_is_a_diagnostic():
    found = device_config(FINISH)["components"]
    assert found["C0_impulses"]["state_class"] == "total"
    assert "entity_category" not in found["C0_impulses"]
    assert found["C0_missing"]["entity_category"] == "diagnostic"
    assert found["subscribed"]["device_class"] == "connectivity"


# --- what stays as it is when links are lost ----------------------------------------------------------------


def test_only_diagnostics_become_unavailable_and_only_with_the_bridge():
    wanted = [{"topic": "mt1/bridge/state", "payload_available": "online", "payload_not_available": "offline"}]
    for publication in discovery(HOUSE):
        assert "availability" not in config(publication)
        assert "availability_topic" not in config(publication)
    for key, component in components():
        if component["platform"] == "device_automation":
            assert "availability" not in component
        elif component.get("entity_category") == "diagnostic" and key != "running":
            assert component["availability"] == wanted, key
        else:
            assert component["availability"] == [], key


# --- ids ----------------------------------------------------------------------------------------------------


def test_ids_stay_when_names_version_and_address_change():
    other = KnownDevice("231203016", "Ziel", "MT2", (("C0", "Start"), ("C1", None), ("C5", "Zwischenzeit")))
    changed = House("mt1bridge", "mt1", "homeassistant", "2.0.0", (other,), None)

    def ids(house):
        return {
            component["unique_id"]: component["default_entity_id"]
            for _, component in components(house)
            if "unique_id" in component
        }

    assert ids(HOUSE).items() <= ids(changed).items()
    assert ids(HOUSE)["mt1bridge_231203016_C1_impulse"] == "event.mt1bridge_231203016_c1_impulse"


def test_entity_ids_are_such_as_home_assistant_takes_them():
    house = House("Hut-2_B", "mt1", "homeassistant", "1", (FINISH,))
    for _, component in components(house):
        if "default_entity_id" in component:
            assert re.fullmatch(rf"{component['platform']}\.[a-z0-9_]+", component["default_entity_id"])
            assert "object_id" not in component


def test_two_instances_share_neither_topics_nor_ids():
    def all_ids(instance):
        house = House(instance, "mt1", "homeassistant", "1", (KnownDevice("1"), KnownDevice("11")))
        topics = {publication.topic for publication in discovery(house)}
        unique = [component["unique_id"] for _, component in components(house) if "unique_id" in component]
        assert len(unique) == len(set(unique))
        return topics | set(unique)

    assert not all_ids("a") & all_ids("a_1")
    assert not all_ids("a") & all_ids("a_bridge")


# --- names --------------------------------------------------------------------------------------------------


def test_what_has_no_name_is_called_by_its_number():
    found = device_config(KnownDevice("7", None, None, (("C1", " \n "),)))
    assert found["device"]["name"] == "MT1 7"
    assert found["device"]["model"] == "MT1"
    assert found["components"]["C1_impulse"]["name"] == "C1 impulse"


def test_channels_of_one_name_are_told_apart():
    found = device_config(KnownDevice("7", "x", None, (("C0", "Gate"), ("C1", "Gate"), ("C2", "Finish"))))
    names = [found["components"][f"C{number}_impulse"]["name"] for number in range(3)]
    assert names == ["Gate C0 impulse", "Gate C1 impulse", "Finish impulse"]


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_name_breaks_the_configuration_or_reaches_more_than_names(device_name, channel_name):
    plain = device_config(KnownDevice("7", "d", "t", (("C1", "c"),)))
    odd = device_config(KnownDevice("7", device_name, "t", (("C1", channel_name),)))
    assert len(odd["device"]["name"]) <= 60
    assert odd["device"]["name"].isprintable() or "\u200d" in odd["device"]["name"] or "\u200c" in odd["device"]["name"]
    assert odd["device"] | {"name": ""} == plain["device"] | {"name": ""}
    for key, component in odd["components"].items():
        assert component | {"name": ""} == plain["components"][key] | {"name": ""}


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ('say "hi"', 'say "hi"'),
        ("{{ states('sun.sun') }}", "{{ states('sun.sun') }}"),
        ("two\nlines\tand\x00more", "two lines and more"),
        ("half \ud83d of a pair", "half of a pair"),
        ("x" * 70_000, "x" * 60),
        ("Süd · 山 🎿", "Süd · 山 🎿"),
    ],
)
def test_names_are_shown_on_one_line_and_cut(given_name, shown):
    assert device_config(KnownDevice("7", given_name))["device"]["name"] == shown


# --- templates, in plain Jinja ------------------------------------------------------------------------------

TRIGGER = {
    "schema": 1,
    "event_type": "trigger",
    "id": "231203016-C1-17710614151234500",
    "revision": 1,
    "device": "231203016",
    "channel": "C1",
    "start_number": 12,
    "timestamp": "17710614151234500",
    "time": "2026-02-14T09:30:15.1234500Z",
}


def render(template, payload):
    jinja2 = pytest.importorskip("jinja2")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["to_json"] = json.dumps
    values = {} if payload is None else {"value_json": payload}
    return environment.from_string(template).render(values)


def test_no_template_fails_on_an_emptied_topic():
    for _, component in components():
        for key in ("value_template", "json_attributes_template"):
            if key in component:
                assert render(component[key], None) in ("None", "", "{}", "OFF")


def test_last_values_are_exact_and_null_is_unknown():
    found = device_config(FINISH)["components"]
    number, time = found["C1_last_start_number"], found["C1_last_time"]
    assert render(number["value_template"], TRIGGER) == "12"
    assert render(number["value_template"], TRIGGER | {"start_number": 0}) == "0"
    assert render(time["value_template"], TRIGGER) == "2026-02-14T09:30:15.1234500Z"
    nothing = TRIGGER | {"id": None, "time": None, "start_number": None}
    assert render(number["value_template"], nothing) == "None"
    assert render(time["value_template"], nothing) == "None"
    exact = json.loads(render(time["json_attributes_template"], TRIGGER | {"device_name": "x" * 70_000}))
    assert exact["timestamp"] == "17710614151234500"
    assert "device_name" not in exact


def test_an_event_carries_the_whole_message_but_for_what_would_be_too_much():
    template = device_config(FINISH)["components"]["C1_rejected"]["value_template"]
    message = TRIGGER | {"event_type": "rejected", "raw": "x" * 3000, "device_name": "y" * 70_000, "reasons": ["type"]}
    told = json.loads(render(template, message))
    assert told == TRIGGER | {
        "event_type": "rejected",
        "reasons": ["type"],
        "device_name": "y" * 100,
        "channel_name": "C1",
    }


def test_a_device_trigger_fires_on_its_own_event_type_alone():
    found = device_config(FINISH)["components"]["C1_on_trigger"]
    assert render(found["value_template"], TRIGGER) == found["payload"]
    assert render(found["value_template"], TRIGGER | {"event_type": "late"}) != found["payload"]


@pytest.mark.parametrize(
    ("state", "shown"), [("live", "ON"), ("degraded", "ON"), ("polling", "ON"), ("quota", "OFF"), ("starting", "OFF")]
)
def test_the_cloud_link_is_on_while_triggers_can_be_had(state, shown):
    bridge = config(discovery(HOUSE)[0])["components"]
    assert render(bridge["cloud_link"]["value_template"], {"state": state}) == shown
    assert render(bridge["state"]["value_template"], {"state": state}) == state


def test_health_that_has_a_hole_is_unknown():
    bridge = config(discovery(HOUSE)[0])["components"]
    health = {"mqtt": None, "bridge_ms": {"p50": 3, "p99": 8.5}, "subscription": {"reconnects": 2}}
    assert render(bridge["backlog"]["value_template"], health) == "None"
    assert render(bridge["latency"]["value_template"], health) == "8.5"
    assert render(bridge["reconnects"]["value_template"], health) == "2"


# --- the first step, by whoever does not know what was ------------------------------------------------------


def test_the_first_step_names_every_component_that_an_mt1_could_have_and_does_not():
    first = first_step(HOUSE)
    now = discovery(HOUSE)
    assert [publication.topic for publication in first] == [publication.topic for publication in now]
    assert first[0] == now[0]
    step_one, wanted = config(first[1])["components"], config(now[1])["components"]
    gone = {key: component for key, component in step_one.items() if key not in wanted}
    channels = [f"C{number}" for number in range(2, 9)]
    assert set(gone) == {f"{channel}_{key}" for channel in channels for key in CHANNEL_COMPONENTS}
    assert gone["C8_impulse"] == {"platform": "event"}
    assert gone["C2_on_trigger"] == {"platform": "device_automation"}
    assert {key: step_one[key] for key in wanted} == wanted


def test_the_first_step_is_the_same_as_the_removal_of_a_channel():
    everything = KnownDevice("231203016", "Finish hut", "MT1", tuple((f"C{n}", None) for n in range(9)))
    before = discovery(House("mt1bridge", "mt1", "homeassistant", "1.0.0", (everything,), HOUSE.url))
    assert removal(before, discovery(HOUSE))[0] == first_step(HOUSE)[1:]


# --- removal ------------------------------------------------------------------------------------------------


def test_nothing_is_removed_where_nothing_is_gone():
    assert removal(discovery(HOUSE), discovery(HOUSE)) == ([], [])


def test_a_device_that_is_gone_is_emptied_at_once():
    now = House("mt1bridge", "mt1", "homeassistant", "1.0.0")
    first, second = removal(discovery(HOUSE), discovery(now))
    assert first == [Publication("homeassistant/device/mt1bridge_231203016/config", b"", retain=True)]
    assert second == []


def test_components_that_are_gone_are_named_by_their_platform_and_then_left_out():
    with_c4 = KnownDevice("231203016", "Finish hut", "MT1", (*FINISH.channels, ("C4", None)))
    before = discovery(House("mt1bridge", "mt1", "homeassistant", "1.0.0", (with_c4,), HOUSE.url))
    now = discovery(HOUSE)
    first, second = removal(before, now)
    assert second == [now[1]]
    assert [publication.topic for publication in first] == [now[1].topic]
    assert first[0].retain
    step_one, wanted = config(first[0])["components"], config(now[1])["components"]
    gone = {key: component for key, component in step_one.items() if key not in wanted}
    assert set(gone) == {f"C4_{key}" for key in CHANNEL_COMPONENTS}
    assert all(list(component) == ["platform"] for component in gone.values())
    assert gone["C4_on_cleared"] == {"platform": "device_automation"}
    assert {key: step_one[key] for key in wanted} == wanted
    assert list(step_one)[: len(gone)] == list(gone)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{", b'{"components": 3}', b'{"components": {"a": {}}}'])
def test_what_cannot_be_read_of_before_is_simply_replaced(payload):
    now = discovery(HOUSE)
    assert removal([Publication(now[0].topic, payload, retain=True)], now) == ([], [])
