"""Other settings while the bridge runs: what changed takes effect, what did not is not dropped."""

from dataclasses import replace

import pytest
from bridge_house import HUT, SPLIT, Server, device, house, settings

from mt1bridge.model.broker import Acknowledged, BrokerLost, BrokerTrouble, CloseBroker
from mt1bridge.model.orders import StopAsked
from mt1bridge.model.secret import Secret
from mt1bridge.topics.desk import Desk


@pytest.fixture
def start(tmp_path):
    """A running bridge with these devices; its settings are at hand as `first`."""

    def begin(*devices, server=None, **mqtt):
        first = settings(tmp_path, *devices, **mqtt)
        context = house(tmp_path, first, server)
        running = context.__enter__()
        running.first = first
        opened.append(context)
        return running

    opened = []
    yield begin
    for context in opened:
        context.__exit__(None, None, None)


def changed(running, *devices, **mt1):
    return replace(running.first, mt1=replace(running.first.mt1, **({"devices": devices} if devices else {}), **mt1))


def changed_mqtt(running, **mqtt):
    return replace(running.first, mqtt=replace(running.first.mqtt, **mqtt))


# --- nothing ----------------------------------------------------------------------------------------


def test_the_same_settings_drop_nothing_and_say_nothing(start):
    running = start(device(HUT, "Finish hut", C1="Finish line"))
    retained = dict(running.retained)
    running.reconfigure(running.first)
    running.run(1)
    assert (len(running.links), len(running.brokers), running.server.logins) == (1, 2, 1)
    assert {topic for topic, text in running.retained.items() if retained.get(topic) != text} <= {
        "mt1/bridge/info",
        "mt1/bridge/health",
    }


# --- devices and channels ---------------------------------------------------------------------------


def test_another_device_is_subscribed_to_beside_the_present_subscription_and_shown(start):
    running = start(device(HUT))
    running.reconfigure(changed(running, device(HUT), device(SPLIT, "Split")))
    running.run(30)
    assert [link.devices for link in running.links] == [(HUT,), (HUT, SPLIT)]
    assert running.closed_links == [1]
    assert running.says(f"mt1/device/{SPLIT}/info")["name"] == "Split"
    assert running.retained[f"mt1/device/{SPLIT}/availability"] == b"online"
    running.impulse(SPLIT)
    running.run(5)
    assert [body["device"] for body in running.told("/C1/trigger")] == [SPLIT]


def test_a_device_that_is_taken_out_leaves_nothing_behind_and_comes_back_whole(start):
    running = start(device(HUT), device(SPLIT))
    running.run(30)
    before = {topic for topic in running.topics(SPLIT) if "config" not in topic}
    assert f"mt1/device/{SPLIT}/availability" in before
    running.reconfigure(changed(running, device(HUT)))
    running.run(30)
    assert running.topics(SPLIT) == set()
    assert running.says("mt1/bridge/info")["devices"] == [HUT]
    running.reconfigure(running.first)
    running.run(60)
    assert {topic for topic in running.topics(SPLIT) if "config" not in topic} == before
    assert running.retained[f"mt1/device/{SPLIT}/availability"] == b"online"
    assert running.says("mt1/bridge/upstream")["state"] == "live"


def test_other_names_are_shown_at_once_and_told_with_the_next_trigger(start):
    running = start(device(HUT, "Hut", C1="Line"))
    running.reconfigure(changed(running, device(HUT, "Finish hut", C1="Finish line")))
    running.run(5)
    info = running.says(f"mt1/device/{HUT}/info")
    assert (info["name"], info["channels"]["C1"]) == ("Finish hut", "Finish line")
    assert "Finish line" in running.retained[f"homeassistant/device/mt1bridge_{HUT}/config"].decode()
    running.impulse()
    running.run(5)
    [body] = running.told("/C1/trigger")
    assert (body["device_name"], body["channel_name"]) == ("Finish hut", "Finish line")
    assert len(running.links) == 1


def test_only_another_channel_name_is_shown_too(start):
    running = start(device(HUT, "Hut", C1="Line"))
    running.reconfigure(changed(running, device(HUT, "Hut", C1="Finish line")))
    running.run(5)
    assert running.says(f"mt1/device/{HUT}/info")["channels"]["C1"] == "Finish line"
    assert running.says(f"mt1/device/{HUT}/C1/last")["channel_name"] == "Finish line"


def test_a_channel_that_is_configured_later_is_shown_before_it_is_seen(start):
    running = start(device(HUT))
    assert f"mt1/device/{HUT}/C4/last" not in running.retained
    running.reconfigure(changed(running, device(HUT, None, C4="Split")))
    running.run(30)
    assert running.says(f"mt1/device/{HUT}/C4/last")["channel_name"] == "Split"
    assert "C4_impulse" in running.retained[f"homeassistant/device/mt1bridge_{HUT}/config"].decode()
    assert running.says(f"mt1/device/{HUT}/C4/tally")["complete"] is True


def test_a_channel_that_is_configured_while_the_bridge_is_off_is_shown_from_the_start(tmp_path):
    with house(tmp_path, settings(tmp_path, device(HUT))):
        pass
    with house(tmp_path, settings(tmp_path, device(HUT, None, C4="Split"))) as running:
        assert f"mt1/device/{HUT}/C4/last" in running.retained


def test_without_configured_devices_the_accounts_are_asked_for_at_once(start):
    running = start(device(HUT), server=Server(listed=[HUT, SPLIT]))
    running.reconfigure(changed(running, devices=None))
    running.run(30)
    assert running.links[-1].devices == (HUT, SPLIT)
    assert f"mt1/device/{SPLIT}/info" in running.retained


def test_other_edges_count_from_the_next_trigger_on(start):
    running = start(device(HUT))
    running.reconfigure(changed(running, edges=frozenset({"rising"})))
    running.impulse()
    running.run(5)
    assert running.told("/trigger") == []
    assert [body["reasons"] for body in running.told("/rejected")] == [["edge"]]


# --- the account ------------------------------------------------------------------------------------


def test_another_password_alone_keeps_token_and_subscription(start):
    running = start(device(HUT))
    running.reconfigure(changed(running, password=Secret("better")))
    running.run(30)
    assert (running.server.logins, len(running.links), running.closed_links) == (1, 1, [])


def test_another_user_logs_in_anew_and_goes_on(start):
    running = start(device(HUT))
    running.reconfigure(changed(running, username="other"))
    running.run(120)
    assert running.server.logins == 2
    assert running.closed_links == [1]
    assert running.says("mt1/bridge/upstream")["state"] == "live"
    running.impulse()
    running.run(5)
    assert len(running.told("/C1/trigger")) == 1


# --- the broker -------------------------------------------------------------------------------------


def test_another_base_topic_moves_everything_and_what_is_owed(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(2)
    running.acknowledges = True
    running.reconfigure(changed_mqtt(running, base_topic="club/timing"))
    running.run(30)
    assert running.retained["club/timing/bridge/state"] == b"online"
    assert {topic for topic in running.retained if topic.startswith("mt1/") and "/alert/" not in topic} == set()
    topics = [one.topic for one in running.messages if one.topic.endswith("/trigger")]
    assert topics == [f"mt1/device/{HUT}/C1/trigger", f"club/timing/device/{HUT}/C1/trigger"]
    first, second = running.told("/C1/trigger")
    assert first | {"event_type": ""} == second | {"event_type": ""}
    assert len(running.links) == 1


def alerts(desk: Desk):
    return {name: alert.since_ms for name, alert in desk.alerts().items()}


def test_alerts_stand_on_the_other_broker_too_since_they_began(start):
    running = start(device(HUT))
    for _ in range(5):
        running.reconfigure(changed(running, edges=frozenset({"rising"})))
        running.impulse()
        running.run(5)
    name = f"only_rejected_{HUT}_C1"
    before = running.says(f"mt1/bridge/alert/{name}")
    running.run(60)
    running.reconfigure(changed_mqtt(running, host="other.example"))
    running.retained.clear()
    running.run(30)
    assert running.says(f"mt1/bridge/alert/{name}") == before


def test_a_base_topic_of_its_own_is_the_end_of_the_quarrel_with_another_instance(start):
    running = start(device(HUT))
    running.arrives("mt1/bridge/info", b'{"instance": "other"}')
    running.run(5)
    assert "other_instance_found" in running.events()
    running.reconfigure(changed_mqtt(running, base_topic="club/timing"))
    running.run(30)
    assert running.retained["club/timing/bridge/state"] == b"online"
    assert running.topics("club/timing/bridge/alert/") == set()


def test_the_state_and_the_availability_are_told_to_the_other_broker(start):
    running = start(device(HUT))
    running.reconfigure(changed_mqtt(running, host="other.example"))
    running.retained.clear()
    running.run(30)
    assert running.says("mt1/bridge/upstream")["state"] == "live"
    assert running.retained[f"mt1/device/{HUT}/availability"] == b"online"
    assert "account" in running.says("mt1/bridge/info")


def test_commands_that_are_switched_off_are_not_listened_to(start):
    running = start(device(HUT))
    running.reconfigure(changed_mqtt(running, commands=False))
    running.run(30)
    assert "mt1/bridge/request/+" not in running.brokers[-1].subscriptions
    running.arrives("mt1/bridge/request/health", b"")
    running.run(5)
    assert running.told("/response/health") == []


def test_home_assistant_that_is_switched_off_is_told_so(start):
    running = start(device(HUT))
    assert running.topics("homeassistant/") != set()
    running.reconfigure(replace(running.first, home_assistant=replace(running.first.home_assistant, enabled=False)))
    running.run(30)
    assert running.topics("homeassistant/") == set()


def test_another_instance_that_came_while_we_were_away_is_left_in_peace(start):
    running = start(device(HUT))
    running.broker_is_away = True
    running.pending.append(BrokerLost(running.brokers[-1].connection, BrokerTrouble.LOST, "reset"))
    running.run(30)
    running.retained |= {"mt1/bridge/info": b'{"instance": "second"}', "mt1/bridge/state": b"online"}
    running.impulse()
    running.broker_is_away, told = False, len(running.handed)
    running.run(600)
    assert running.handed[told:] == []
    assert "other_instance_found" in running.events()
    running.retained["mt1/bridge/state"] = b"offline"
    running.run(90)
    assert running.says("mt1/bridge/info")["instance"] == "mt1bridge"
    assert len(running.told("/C1/trigger")) == 1


# --- pace -------------------------------------------------------------------------------------------


def test_another_budget_holds_from_then_on(start):
    running = start(device(HUT))
    slow = replace(running.first.reconcile, calls_per_minute=6, interval_s=10)
    running.reconfigure(replace(running.first, reconcile=slow))
    running.run(120)
    before = len(running.server.calls)
    running.run(60)
    assert len(running.server.calls) - before <= 6


def test_a_reload_while_calls_are_under_way_loses_nothing(start):
    running = start(device(HUT))
    running.impulse()
    running.bridge.step(running.pending.popleft(), running.now())
    running.reconfigure(changed(running, device(HUT), device(SPLIT)))
    running.run(30)
    assert len(running.told("/C1/trigger")) == 1
    assert running.says("mt1/bridge/upstream")["state"] == "live"


def test_a_device_that_was_taken_out_and_came_back_while_the_broker_was_away_is_shown_whole(start):
    running = start(device(HUT), device(SPLIT))
    running.run(30)
    before = {topic for topic in running.topics(SPLIT) if "config" not in topic}
    running.broker_is_away = True
    running.pending.append(BrokerLost(running.brokers[-1].connection, BrokerTrouble.LOST, "reset"))
    running.run(5)
    running.reconfigure(changed(running, device(HUT)))
    running.run(20)
    running.reconfigure(running.first)
    running.run(60)
    running.broker_is_away = False
    running.run(60)
    assert {topic for topic in running.topics(SPLIT) if "config" not in topic} == before
    assert running.retained[f"mt1/device/{SPLIT}/availability"] == b"online"


def test_what_is_on_its_way_is_acknowledged_before_the_connection_ends_and_told_once(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(1)
    in_flight = Acknowledged(running.brokers[-1].connection, running.tokens[-1], 0)
    running.reconfigure_when_quiet(changed_mqtt(running, scalar_topics=True))
    running.impulse(number=13)
    running.run(1)
    assert len(running.brokers) == 2  # it waits, and hands nothing over
    assert len(running.told("/C1/trigger")) == 1
    running.acknowledges = True
    running.pending.append(in_flight)
    running.run(30)
    assert len(running.brokers) > 2
    assert [body["start_number"] for body in running.told("/C1/trigger")] == [12, 13]


def test_a_broker_that_acknowledges_nothing_does_not_keep_other_settings_waiting(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(1)
    running.reconfigure_when_quiet(changed_mqtt(running, scalar_topics=True))
    running.acknowledges = True
    running.run(2.5)
    assert len(running.brokers) == 2
    running.run(1)
    assert len(running.brokers) > 2
    running.run(30)
    assert [body["start_number"] for body in running.told("/C1/trigger")] == [12, 12]


# --- leaving a broker -------------------------------------------------------------------------------


def presence(running):
    return [running.retained["mt1/bridge/state"], running.retained[f"mt1/device/{HUT}/availability"]]


def test_the_broker_that_we_leave_is_told_that_we_are_gone_and_nothing_else(start):
    running = start(device(HUT))
    left, told = running.brokers[-1].connection, len(running.handed)
    running.impulse()
    running.acknowledges = False
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    assert len(running.brokers) == 2, "it waits for the acknowledgements"
    assert presence(running) == [b"offline", b"offline"]
    running.run(1)
    running.pending.extend(Acknowledged(left, order.token, 0) for order in running.handed[told:])
    running.acknowledges = True
    running.run(30)
    topics = [order.message.topic for order in running.handed[told:] if order.connection == left]
    assert topics == ["mt1/bridge/state", f"mt1/device/{HUT}/availability"]
    assert [(order.connection, order.will) for order in running.closed_brokers][-2] == (left, False)
    assert presence(running) == [b"online", b"online"]
    assert len(running.told("/C1/trigger")) == 1


def test_at_once_where_nothing_is_on_its_way(start):
    running = start(device(HUT))
    left, told = running.brokers[-1].connection, len(running.handed)
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    running.run(0.1)
    topics = [order.message.topic for order in running.handed[told:] if order.connection == left]
    assert topics == ["mt1/bridge/state", f"mt1/device/{HUT}/availability"]
    assert len(running.brokers) > 2


def test_a_broker_that_we_leave_and_that_does_not_answer_is_left_to_our_will(start):
    running = start(device(HUT))
    left = running.brokers[-1].connection
    running.acknowledges = False
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    running.run(3.5)
    assert [order for order in running.closed_brokers if order.connection == left] == [CloseBroker(left, will=True)]


def test_another_base_topic_on_the_same_broker_leaves_no_will_behind(start):
    running = start(device(HUT))
    left = running.brokers[-1].connection
    running.reconfigure_when_quiet(changed_mqtt(running, base_topic="club/timing"))
    words = [order.message for order in running.handed if order.connection == left][-2:]
    assert [message.payload for message in words] == [b"offline", b"offline"]
    running.run(30)
    assert CloseBroker(left) in running.closed_brokers
    assert {topic for topic in running.retained if topic.startswith("mt1/") and "/alert/" not in topic} == set()
    assert running.retained["club/timing/bridge/state"] == b"online"


def test_where_the_place_stays_the_same_nobody_is_told_that_we_are_gone(start):
    running = start(device(HUT))
    told = len(running.handed)
    running.reconfigure_when_quiet(changed_mqtt(running, scalar_topics=True))
    running.run(30)
    assert b"offline" not in [order.message.payload for order in running.handed[told:]]


def test_who_stays_after_all_is_online_again(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(1)
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    assert presence(running) == [b"offline", b"offline"]
    running.reconfigure_when_quiet(running.first)
    running.acknowledges = True
    for order in running.handed[-10:]:
        running.pending.append(Acknowledged(running.brokers[-1].connection, order.token, 0))
    running.run(10)
    assert len(running.brokers) == 2
    assert presence(running) == [b"online", b"online"]


def test_the_end_comes_before_other_settings(start):
    """Asked to stop while they wait: `offline` is said here, and nothing is opened any more."""
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(0.1)
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    running.pending.append(StopAsked("SIGTERM"))
    running.acknowledges = True
    for order in running.handed[-10:]:
        running.pending.append(Acknowledged(running.brokers[-1].connection, order.token, 0))
    running.run(5)
    assert running.finished
    assert presence(running) == [b"offline", b"offline"]
    running.reconfigure_when_quiet(changed_mqtt(running, host="other.example"))
    running.run(5)
    assert len(running.brokers) == 2


def test_at_the_end_our_will_speaks_where_offline_could_not_be_said(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.pending.append(StopAsked("SIGTERM"))
    running.run(5)
    assert running.finished
    assert running.closed_brokers[-1] == CloseBroker(running.brokers[-1].connection, will=True)


def test_the_settings_asked_for_last_are_the_ones_that_hold(start):
    running = start(device(HUT))
    running.acknowledges = False
    running.impulse()
    running.run(1)
    running.reconfigure_when_quiet(changed_mqtt(running, base_topic="first"))
    running.reconfigure_when_quiet(changed_mqtt(running, base_topic="second"))
    running.acknowledges = True
    running.run(30)
    assert running.retained["second/bridge/state"] == b"online"
    assert running.topics("first/") == set()
