"""Every topic and key that is really published, compared with docs/contract.md, sections 2 to 5.

One scene, in which everything happens that the page tells of; the tests look at what subscribers got of it. What the
page does not declare fails, and so does what it declares and nobody published.
"""

import json
import re
import time
from dataclasses import dataclass

import contract_page as page
import pytest
from mosquitto import Received, wait_until
from process import DEVICE, OTHER, Stage

FOREIGN = "231203999"
BASE = "club/timing"  # another one than the default: no topic is written down anywhere
SETTINGS = {
    "mt1": {
        "devices": {
            DEVICE: {"name": "Finish hut", "channels": {"C0": "Start gate", "C1": "Finish line"}},
            OTHER: {},
            FOREIGN: {"name": "Not ours"},
        }
    },
    "mqtt": {"base_topic": BASE, "scalar_topics": True},
    "reconcile": {"interval": "2s"},
    "home_assistant": {"discovery_prefix": "discovery"},
}
ON_REQUEST = ("bridge/request/", "bridge/response/", "bridge/replay/")  # section 6, tested with the commands
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z")
MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Scene:
    """live: what a subscriber got that was there from the start; newcomer: what one got who came while the bridge ran;
    after: what one got who came after its end."""

    live: list[Received]
    newcomer: list[Received]
    after: list[Received]

    def of(self, name: str) -> list[Received]:
        """Live messages of a topic of the page."""
        pattern = page.topic(name).pattern(BASE)
        return [one for one in self.live if pattern.fullmatch(one.topic)]

    def bodies(self, name: str) -> list[dict]:
        return [json.loads(one.payload) for one in self.of(name) if one.payload]


def play(stage: Stage) -> None:
    """Everything that the page tells of, once."""
    sim = stage.simulator
    sim.set_device(device=OTHER, clock_offset=-600_000_000)
    stage.bridge.start()
    stage.wait_state("degraded")  # a device is refused
    sim.impulse(device=OTHER, channel=0)
    wrong_clock = time.monotonic()
    play_corrections(stage)
    play_rejected(stage)
    play_wrong_clock(stage, wrong_clock)
    play_trouble(stage)


def play_corrections(stage: Stage) -> None:
    sim = stage.simulator
    at = sim.impulse(device=DEVICE, channel=0, number=12, number_type="MANUAL")["timestamp"]
    stage.wait_told(1)
    sim.clear(device=DEVICE, channel=0, timestamp=at)
    sim.impulse(device=DEVICE, channel=0, number=12, number_type="MANUAL", at=at)
    sim.renumber(device=DEVICE, channel=0, timestamp=at, number=10)
    sim.edit(device=DEVICE, channel=0, timestamp=at, number_type="SEQUENTIAL")
    sim.delete(device=DEVICE, channel=0, timestamp=at)
    sim.impulse(device=DEVICE, channel=1, number=13)
    sim.late_upload(device=DEVICE, channel=1, count=1)
    sim.clear_unknown(device=DEVICE, channel=3, timestamp=at, number=99)
    stage.wait_told(6, "correction")
    stage.wait_told(2, "trigger", channel="C1")
    stage.wait_told(1, "correction", channel="C3")


def play_rejected(stage: Stage) -> None:
    sim = stage.simulator
    for odd in ({"valid": False}, {"blocked": True}, {"falling_edge": False}, {"type": "LapTrigger"}):
        sim.impulse(device=DEVICE, channel=2, **odd)
    broken = {"deviceId": DEVICE, "timingChannel": "C2", "timestamp": 1.5, "type": "StartNumberTrigger"}
    body = {"type": "ENTITY_ADD", "entityType": "TriggerDto", "dto": broken}
    sim.push_body(device=DEVICE, body=json.dumps(body))
    stage.wait_told(5, "rejected", channel="C2")
    sim.push_body(device=DEVICE, body="{no json")
    at = stage.told("rejected", channel="C2")[0]["timestamp"]
    sim.clear(device=DEVICE, channel=2, timestamp=int(at))
    stage.wait_told(6, "rejected", channel="C2")


def play_wrong_clock(stage: Stage, begun: float) -> None:
    """Three pushed impulses, 5 s or more apart, that agree: then the alert."""
    alert = f"bridge/alert/device_clock_{OTHER}"
    for moment in (6.0, 12.0, 18.0):
        assert wait_until(lambda at=begun + moment: time.monotonic() > at)
        stage.simulator.impulse(device=OTHER, channel=0)
    stage.wait(lambda: stage.bodies(alert), "the alert of a wrong clock")


def play_trouble(stage: Stage) -> None:
    sim = stage.simulator
    missing = f"bridge/alert/missing_{DEVICE}_C1"
    sim.add_count(device=DEVICE, channel=1, difference=2)
    stage.wait(lambda: stage.newest(missing), "the alert of missing triggers")
    sim.add_count(device=DEVICE, channel=1, difference=-2)
    stage.wait(lambda: stage.bodies(missing)[-1] is None, "the end of the alert of missing triggers")
    sim.sockets(action="reset")
    told = {"gap_found", "gap_closed", "malformed", "device_refused", "link_lost"}
    stage.wait(lambda: told <= {one["event_type"] for one in stage.bodies("bridge/event")}, f"events {told}")
    stage.wait_state("degraded")
    sim.register(device=FOREIGN, username="club")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with Stage(tmp_path_factory.mktemp("scene"), SETTINGS, devices=(DEVICE, OTHER)) as stage:
        play(stage)
        with stage.subscriber() as other:
            assert other.wait_until(lambda: len({one.topic for one in other.messages()}) >= len(expected(stage)))
            newcomer = [one for one in other.messages() if one.retained]
        assert stage.bridge.stop() == 0
        live = stage.recorder.messages()
        with stage.subscriber() as last:
            assert last.wait_until(lambda: len({one.topic for one in last.messages()}) >= len(expected(stage)))
            after = [one for one in last.messages() if one.retained]
    return Scene(live, newcomer, after)


def expected(stage: Stage) -> set[str]:
    """Topics whose newest live message is not empty, of those that the page retains."""
    newest = {one.topic: one.payload for one in stage.recorder.messages()}
    patterns = [topic.pattern(BASE) for topic in page.topics() if topic.retained]
    return {topic for topic, payload in newest.items() if payload and any(p.fullmatch(topic) for p in patterns)}


def declared(topic: str) -> list[page.Topic]:
    return [one for one in page.topics() if one.pattern(BASE).fullmatch(topic)]


def below_base(messages: list[Received]) -> list[Received]:
    return [one for one in messages if not one.topic.startswith("discovery/")]


REQUIRED = [one.name for one in page.topics() if not one.name.startswith(tuple(f"mt1/{head}" for head in ON_REQUEST))]


# --- topics ---------------------------------------------------------------------------------------


def test_every_topic_is_declared_once(scene):
    wrong = {one.topic for one in below_base(scene.live) if len(declared(one.topic)) != 1}
    assert wrong == set()


@pytest.mark.parametrize("name", REQUIRED)
def test_declared_topic_is_published(scene, name):
    assert scene.of(name) != []


def test_newcomer_finds_what_the_page_retains_and_nothing_else(scene):
    retained = {one.topic for one in below_base(scene.newcomer)}
    assert {topic for topic in retained if not declared(topic)[0].retained} == set()
    newest = {one.topic: one.payload for one in below_base(scene.live)}
    wanted = {topic for topic, payload in newest.items() if payload and declared(topic)[0].retained}
    assert retained == wanted


def test_impulses_are_never_retained(scene):
    never = [topic.pattern(BASE) for topic in page.topics() if topic.never_retained]
    assert len(never) == 3
    for one in scene.newcomer + scene.after:
        assert not any(pattern.fullmatch(one.topic) for pattern in never)


def test_stopping_leaves_offline_behind(scene):
    after = {one.topic: one.payload for one in scene.after}
    assert after[f"{BASE}/bridge/state"] == b"offline"
    assert json.loads(after[f"{BASE}/bridge/upstream"])["state"] == "stopping"
    assert after[f"{BASE}/device/{DEVICE}/availability"] == b"offline"


# --- MQTT -----------------------------------------------------------------------------------------


def test_all_is_qos_1(scene):
    assert {one.qos for one in scene.live} == {1}


def test_content_types(scene):
    for one in below_base(scene.live):
        if one.payload:
            text = declared(one.topic)[0].words() or declared(one.topic)[0].payload == "plain text"
            assert one.properties.get("ContentType") == ("text/plain" if text else "application/json"), one.topic


def test_impulses_bear_id_and_schema_as_user_properties(scene):
    for kind in ("trigger", "correction", "rejected"):
        for one in scene.of(f"mt1/device/<device>/<channel>/{kind}"):
            body = json.loads(one.payload)
            assert sorted(map(tuple, one.properties["UserProperty"])) == [("id", body["id"]), ("schema", "1")]


def test_health_alone_expires(scene):
    for one in scene.live:
        health = one.topic == f"{BASE}/bridge/health"
        expiry = one.properties.get("MessageExpiryInterval")
        assert (expiry is not None and 170 <= expiry <= 180) if health else expiry is None, one.topic


# --- payloads -------------------------------------------------------------------------------------


def test_plain_topics_say_declared_words(scene):
    for topic in page.topics():
        if topic.words():
            assert {one.payload.decode() for one in scene.of(topic.name)} == topic.words()


def check_keys(body, always, sometimes=frozenset()):
    assert set(body) - always - sometimes == set(), "keys that the page does not declare"
    assert always - set(body) == set(), "keys that the page declares and that are not there"


@pytest.mark.parametrize("kind", ["trigger", "correction", "rejected"])
def test_keys_of_messages(scene, kind):
    bodies = scene.bodies(f"mt1/device/<device>/<channel>/{kind}")
    for body in bodies:
        check_keys(body, *page.message_keys(kind))
        if "previous" in body:
            check_keys(body["previous"], page.previous_keys())
    assert {body["event_type"] for body in bodies} == page.event_types(kind)


def test_types_and_formats_of_messages(scene):
    example = page.example()
    for kind in ("trigger", "correction"):
        for body in scene.bodies(f"mt1/device/<device>/<channel>/{kind}"):
            for key in set(body) & set(example):
                assert type(body[key]) is type(example[key]), key
            assert INSTANT.fullmatch(body["time"])
            assert MILLISECONDS.fullmatch(body["received_at"])
            assert body["timestamp"].isdigit()
            assert body["id"] == f"{body['device']}-{body['channel']}-{body['timestamp']}"


def test_every_reason_is_told(scene):
    bodies = scene.bodies("mt1/device/<device>/<channel>/rejected")
    assert {reason for body in bodies for reason in body["reasons"]} == page.reasons()
    assert {bool(body.get("raw")) for body in bodies if set(body["reasons"]) & {"type", "malformed"}} == {True}


def test_end_of_what_was_never_usable_is_rejected_with_the_change(scene):
    changes = [body["change"] for body in scene.bodies("mt1/device/<device>/<channel>/rejected") if "change" in body]
    assert changes == ["cleared"]


def test_names_are_there_where_they_are_configured(scene):
    for body in scene.bodies("mt1/device/<device>/<channel>/trigger"):
        named = (body.get("device_name"), body.get("channel_name"))
        if body["device"] == DEVICE:
            assert named == ("Finish hut", {"C0": "Start gate", "C1": "Finish line"}.get(body["channel"]))
        else:
            assert named[1] is None


@pytest.mark.parametrize(
    "name",
    ["mt1/bridge/upstream", "mt1/bridge/info", "mt1/device/<device>/info", "mt1/device/<device>/<channel>/tally"],
)
def test_keys_of_plain_json(scene, name):
    for body in scene.bodies(name):
        check_keys(body, page.plain_keys(name))


@pytest.mark.parametrize("name", ["mt1/bridge/event", "mt1/bridge/alert/<name>"])
def test_events_and_alerts_have_their_keys_and_facts_of_their_own(scene, name):
    for body in scene.bodies(name):
        assert page.plain_keys(name) - set(body) == set()


def test_standing_alert_is_emptied_when_over(scene):
    messages = [one for one in scene.live if one.topic == f"{BASE}/bridge/alert/missing_{DEVICE}_C1"]
    assert [bool(one.payload) for one in messages] == [True, False]


def test_keys_of_last_and_recent(scene):
    for body in scene.bodies("mt1/device/<device>/<channel>/last"):
        check_keys(body, *page.last_keys())
    lists = scene.bodies("mt1/device/<device>/recent")
    for body in (entry for entries in lists for entry in entries):
        check_keys(body, *page.last_keys())
    assert any(lists)


def test_recent_has_keys_and_order_as_in_last(scene):
    newest = {one.topic: json.loads(one.payload) for one in scene.live if one.topic.endswith(("/last", "/recent"))}
    last = newest[f"{BASE}/device/{DEVICE}/C1/last"]
    assert last["id"] is not None
    assert next(one for one in newest[f"{BASE}/device/{DEVICE}/recent"] if one["id"] == last["id"]) == last


def test_last_with_nothing_in_effect_is_null(scene):
    body = next(one for one in scene.bodies("mt1/device/<device>/<channel>/last") if one["channel"] == "C0")
    assert (body["id"], body["time"], body["start_number"]) == (None, None, None)


def test_scalars_are_the_text_of_last(scene):
    newest = {one.topic: one.payload for one in scene.live if one.payload}
    last = json.loads(newest[f"{BASE}/device/{DEVICE}/C1/last"])
    for field in ("start_number", "time", "time_of_day", "id"):
        assert newest[f"{BASE}/device/{DEVICE}/C1/value/{field}"].decode() == str(last[field])
        assert newest[f"{BASE}/device/{DEVICE}/C0/value/{field}"] == b"-"


def test_keys_of_health(scene):
    keys = page.health_keys()
    for body in scene.bodies("mt1/bridge/health"):
        check_keys(body, frozenset(keys))
        for name, inner in keys.items():
            if inner:
                check_keys(body[name], inner)


def test_states_are_words_of_the_page(scene):
    told = {body["state"] for body in scene.bodies("mt1/bridge/upstream")}
    assert told <= set(page.states())
    assert {"degraded", "stopping"} <= told
    assert {body["state"] for body in scene.bodies("mt1/bridge/health")} <= set(page.states())


def test_no_secret_is_published(scene):
    from process import PASSWORD

    assert [one.topic for one in scene.live if PASSWORD.encode() in one.payload] == []
