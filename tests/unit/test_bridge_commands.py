"""Commands over MQTT as a caller sees them: what is sent, what comes back (CONTRACT, section 6)."""

import json
from dataclasses import replace

import pytest
from bridge_house import HUT, device, house, settings

from mt1bridge.model.broker import BrokerLost, BrokerTrouble

REQUEST, RESPONSE = "mt1/bridge/request", "mt1/bridge/response"


@pytest.fixture
def running(tmp_path):
    with house(tmp_path, settings(tmp_path, device(HUT))) as one:
        yield one


def ask(running, verb, seconds=10.0, **body):
    """Send a request; all that came for its transaction since."""
    before = len(running.messages)
    running.arrives(f"{REQUEST}/{verb}", json.dumps({"transaction": "a1", **body}).encode())
    running.run(seconds)
    found = [one for one in running.messages[before:] if one.topic.startswith(("mt1/bridge/re", "my/"))]
    return [(one.topic, json.loads(one.payload)) for one in found]


def answered(running, verb, seconds=10.0, **body):
    """The one answer."""
    [(topic, answer)] = ask(running, verb, seconds, **body)
    assert topic == f"{RESPONSE}/{verb}"
    assert answer["transaction"] == "a1"
    return answer


# --- health, log level ------------------------------------------------------------------------------


def test_health_answers_with_the_health_message(running):
    answer = answered(running, "health")
    assert answer["status"] == "ok"
    assert set(running.says("mt1/bridge/health")) <= set(answer)


def test_the_log_level_is_changed(running):
    assert answered(running, "log_level", level="debug") == {"transaction": "a1", "status": "ok", "level": "debug"}
    assert running.levels == ["debug"]


# --- replay -----------------------------------------------------------------------------------------


def test_a_replay_brings_again_what_the_journal_holds_and_then_the_count(running):
    for number in (1, 2, 3):
        running.impulse(number=number)
        running.run(20)
    first = running.told("/C1/trigger")
    found = ask(running, "replay")
    assert [topic for topic, _ in found] == ["mt1/bridge/replay/a1"] * 3 + [f"{RESPONSE}/replay"]
    assert found[-1][1] == {"transaction": "a1", "status": "ok", "count": 3}
    for (_, again), before in zip(found[:3], first, strict=True):
        expected = before | {"event_type": "late", "replayed": True, "topic": f"mt1/device/{HUT}/C1/trigger"}
        assert again == expected


def test_a_replay_takes_only_what_was_asked_for(running):
    for number in (1, 2, 3):
        running.impulse(number=number, channel=f"C{number % 2}")
        running.run(20)
    assert [body.get("start_number") for _, body in ask(running, "replay", channel="C1")][:-1] == [1, 3]
    topic = f"mt1/device/{HUT}/C1/trigger"
    found = ask(running, "replay", topic=topic, journal="k3v9", from_sequence=2, to_sequence=2)
    assert [body.get("sequence") for _, body in found] == [2, None]


def test_a_replay_of_nothing_is_answered_with_none(running):
    assert answered(running, "replay", start_number=99)["count"] == 0


@pytest.mark.parametrize(
    "topic",
    [
        f"mt1/device/{HUT}/C1/last",
        f"mt1/device/{HUT}/C9/trigger",
        f"mt1/device/{HUT}/+/trigger",
        "mt1/device/hut/C1/trigger",
        f"mt2/device/{HUT}/C1/trigger",
        "mt1/bridge/state",
        "",
    ],
)
def test_a_topic_that_cannot_be_replayed_is_refused_in_words(running, topic):
    answer = answered(running, "replay", topic=topic)
    assert (answer["status"], answer["error"]) == (
        "error",
        "topic: nothing can be replayed but mt1/device/<device>/<channel>/trigger, …/correction and …/rejected",
    )


@pytest.mark.parametrize("name", ["trigger", "correction", "rejected"])
def test_a_topic_of_which_nothing_is_held_is_no_mistake(running, name):
    assert answered(running, "replay", topic=f"mt1/device/{HUT}/C8/{name}")["count"] == 0


def test_a_live_trigger_goes_before_a_replay(running):
    for number in range(30):
        running.impulse(number=number)
        running.run(1)
    running.run(20)
    before = len(running.messages)
    running.arrives(f"{REQUEST}/replay", b'{"transaction": "a1"}')
    running.impulse(number=99)
    running.turn.take([running.pending.popleft(), running.pending.popleft()])
    running.run(10)
    topics = [one.topic for one in running.messages[before:]]
    assert topics[0] == f"mt1/device/{HUT}/C1/trigger"
    assert topics.count("mt1/bridge/replay/a1") == 30  # what was told when it was asked for


def test_too_many_replays_at_once_are_refused_in_words(running):
    for number in range(6):
        running.arrives(f"{REQUEST}/replay", json.dumps({"transaction": f"a{number}"}).encode())
    running.acknowledges = False
    running.run(5)
    refused = [body for body in running.told("/response/replay") if body["status"] == "error"]
    assert all("too many replays" in body["error"] for body in refused)
    assert len(refused) <= 2


# --- reconcile --------------------------------------------------------------------------------------


def test_reconcile_answers_once_history_was_compared_with_what_was_found(running):
    running.open_links.clear()  # the push is mute from now on
    running.impulse(age_s=5)
    answer = answered(running, "reconcile", seconds=60)
    assert (answer["status"], answer["found"], answer["missing"], answer["complete"]) == ("ok", 1, 0, True)
    assert answer["channels"] == 2
    assert len(running.told("/C1/trigger")) == 1


def test_a_channel_is_shown_with_its_first_trigger_though_the_server_does_not_count_it_yet(running):
    answer = running.server.answer

    def uncounted(call):
        found = answer(call)
        zero = json.dumps({"status": 0, "data": [{"value": 0}]}).encode()
        return replace(found, body=zero) if "/channel/7/" in call.path and call.path.endswith("/count") else found

    running.server.answer = uncounted
    running.open_links.clear()
    running.impulse(channel="C7", age_s=5)
    answered(running, "reconcile", seconds=60)
    [told] = running.told("/C7/trigger")
    assert running.says(f"mt1/device/{HUT}/C7/last")["id"] == told["id"]
    assert running.says(f"mt1/device/{HUT}/C7/tally")["published"] == 1


def test_reconcile_asked_twice_is_answered_twice(running):
    for transaction in ("a1", "a2"):
        running.arrives(f"{REQUEST}/reconcile", json.dumps({"transaction": transaction}).encode())
    running.run(60)
    assert [body["transaction"] for body in running.told("/response/reconcile")] == ["a1", "a2"]


# --- events -----------------------------------------------------------------------------------------


def test_a_session_that_was_taken_over_is_told_once_the_broker_has_us_again(running):
    connection = running.brokers[-1].connection
    running.pending.append(BrokerLost(connection, BrokerTrouble.TAKEN_OVER, "another client has our id"))
    running.run(30)
    [told] = [one for one in running.told("bridge/event") if one["event_type"] == "session_taken_over"]
    assert told["text"] == "another client has our id"


# --- how it is answered -----------------------------------------------------------------------------


def test_an_mqtt_5_caller_gets_its_answer_where_it_wants_it_with_its_correlation(running):
    running.arrives(f"{REQUEST}/health", b"{}", response_topic="my/answers", correlation=b"\x00\x07")
    running.run(2)
    [answer] = [one for one in running.messages if one.topic == "my/answers"]
    assert answer.correlation == b"\x00\x07"
    assert running.told("/response/health") == []


@pytest.mark.parametrize("topic", ["my/+", "my/#", "#", ""])
def test_a_response_topic_that_is_none_is_replaced_by_ours(running, topic):
    running.arrives(f"{REQUEST}/health", b"{}", response_topic=topic)
    running.run(2)
    assert len(running.told("/response/health")) == 1


def test_a_caller_without_a_transaction_gets_one(running):
    running.arrives(f"{REQUEST}/health", b"")
    running.arrives(f"{REQUEST}/health", b"")
    running.run(2)
    first, second = (body["transaction"] for body in running.told("/response/health"))
    assert first != second


@pytest.mark.parametrize(
    ("verb", "payload", "sentence"),
    [
        ("replay", b"{", "the request is not JSON; an object like {} is expected"),
        ("replay", b'{"channel": "C9"}', "channel: expected C0 to C8"),
        ("log_level", b"{}", "level: expected one of debug, info, warning, error"),
        ("shutdown", b"{}", "there is no verb 'shutdown'; the verbs are replay, reconcile, log_level, health"),
    ],
)
def test_a_request_that_is_wrong_gets_an_error_that_helps(running, verb, payload, sentence):
    running.arrives(f"{REQUEST}/{verb}", payload)
    running.run(2)
    [answer] = running.told(f"/response/{verb}")
    assert (answer["status"], answer["error"]) == ("error", sentence)


def test_a_flood_of_wrong_requests_is_one_warning_a_minute(running):
    for _ in range(50):
        running.arrives(f"{REQUEST}/replay", b"{")
    running.run(5)
    levels = [note.level for note in running.notes if note.event == "request_refused"]
    assert levels == ["warning"] + ["debug"] * 49


def test_a_retained_request_was_not_meant_for_now(running):
    running.arrives(f"{REQUEST}/log_level", b'{"level": "debug"}', retained=True)
    running.run(2)
    assert running.levels == []
    assert running.told("/response/log_level") == []


def test_a_request_on_another_level_is_none(running):
    before = len(running.messages)
    running.arrives(f"{REQUEST}/health/more", b"")
    running.arrives("mt1/bridge/requests/health", b"")
    running.run(2)
    assert running.messages[before:] == []


def test_home_assistants_birth_is_answered_with_discovery_within_seconds(running):
    running.retained = {topic: text for topic, text in running.retained.items() if "homeassistant" not in topic}
    running.arrives("homeassistant/status", b"online")
    running.run(5)
    assert running.topics("homeassistant/device/") == {
        "homeassistant/device/mt1bridge_bridge/config",
        f"homeassistant/device/mt1bridge_{HUT}/config",
    }
