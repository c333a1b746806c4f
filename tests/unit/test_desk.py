"""Everything retained, as a subscriber sees it: the desk with a real journal, and a broker that takes all."""

import json
from contextlib import closing

import pytest

from mt1bridge.config.settings import DeviceSettings
from mt1bridge.journal.journal import Journal
from mt1bridge.model.fact import Fact, Kind, Source
from mt1bridge.model.known import ChannelMemory, Known, Learned
from mt1bridge.model.status import Device, Upstream, UpstreamStatus
from mt1bridge.model.trigger import ChannelId, Reading, TriggerId
from mt1bridge.topics.desk import Called, Desk, Identity, will
from mt1bridge.topics.names import Names

HUT, SPLIT = "231203016", "231203037"
C0, C1 = ChannelId(HUT, "C0"), ChannelId(HUT, "C1")
NOON = 1_771_061_400_000
NAMES = Names("mt1")


class Broker:
    """What is retained there, and what came, in order. Takes everything; says so when it is asked to."""

    def __init__(self, desk: Desk, journal: Journal) -> None:
        self.desk, self.journal = desk, journal
        self.retained: dict[str, bytes] = {}
        self.came: list[str] = []
        self.unacknowledged: list[tuple[str, str, bool]] = []
        self.now = 1_000.0

    def takes(self, acknowledging=True):
        """Everything that waits; the topics that came."""
        before = len(self.came)
        self.now += 10.0
        while (key := self.desk.board.next(self.now)) is not None:
            for publication in self.desk.board.take(key, self.now):
                assert publication.retain
                self.came.append(publication.topic)
                if self.desk.handed(publication):
                    self.journal.retain(publication.topic, True, NOON)
                if publication.payload:
                    self.retained[publication.topic] = publication.payload
                else:
                    self.retained.pop(publication.topic, None)
                self.unacknowledged.append((key, publication.topic, not publication.payload))
            if acknowledging:
                self.acknowledges()
        return self.came[before:]

    def acknowledges(self):
        for key, topic, empty in self.unacknowledged:
            self.desk.acknowledged(key)
            if empty and topic not in self.desk.told:
                self.journal.retain(topic, False, NOON)
        self.unacknowledged.clear()

    def reconnects(self):
        self.unacknowledged.clear()
        self.desk.connected()

    def says(self, topic):
        return json.loads(self.retained[topic])


@pytest.fixture
def journal(tmp_path):
    one = Journal(tmp_path, "boot", lambda: "k3v9")
    one.open(NOON)
    with closing(one):
        yield one


@pytest.fixture
def called():
    return Called((DeviceSettings(HUT, "Finish hut", {"C1": "Finish line"}),))


def make(journal, called, prefix=None, scalar=False):
    identity = Identity("hut", "1.0.0", "https://alge.example", "0123", NOON, scalar, prefix)
    memories = {at: ChannelMemory(at, 0, seen=True, server_count=3, complete=True) for at in (C0, C1)}
    return Desk(NAMES, identity, journal, memories.get, called.names)


@pytest.fixture
def desk(journal, called):
    return make(journal, called)


@pytest.fixture
def broker(desk, journal):
    return Broker(desk, journal)


def learns(journal, desk, timestamp, number=12):
    reading = Reading(number, "MANUAL", True, False, True, 60)
    trigger = TriggerId(HUT, "C1", timestamp)
    fact = Fact(str(trigger), C1, timestamp, Kind.TRIGGER, "trigger", 1, reading, True, Source.PUSH, NOON)
    journal.remember(ChannelMemory(C1, 0, seen=True), NOON)
    journal.write([Learned(C1, Known(trigger, reading, True, 1, True), fact, live=True)], NOON)
    journal.commit(NOON)
    desk.changed(C1, last=True)


# --- the bridge -------------------------------------------------------------------------------------


def test_the_first_things_said_on_a_connection_are_that_we_are_there_and_who_we_are(desk, broker):
    desk.upstream(UpstreamStatus(Upstream.LIVE, NOON))
    desk.device(Device(HUT), ["C0"])
    broker.reconnects()
    assert broker.takes()[:3] == ["mt1/bridge/state", "mt1/bridge/upstream", "mt1/bridge/info"]
    assert broker.retained["mt1/bridge/state"] == b"online"


def test_info_has_the_contracts_keys_and_no_secret(desk, broker):
    desk.account("u-4711")
    desk.device(Device(HUT), ["C0"])
    broker.takes()
    assert broker.says("mt1/bridge/info") == {
        "version": "1.0.0",
        "schema": 1,
        "started_at": "2026-02-14T09:30:00.000Z",
        "instance": "hut",
        "account": "u-4711",
        "mt1_url": "https://alge.example",
        "devices": [HUT],
        "journal": "k3v9",
        "config_digest": "0123",
    }


def test_the_state_of_the_link_has_the_contracts_keys(desk, broker):
    desk.upstream(UpstreamStatus(Upstream.DISCONNECTED, NOON, ("dns: no such name",), NOON + 5_000))
    broker.takes()
    assert broker.says("mt1/bridge/upstream") == {
        "state": "disconnected",
        "since": "2026-02-14T09:30:00.000Z",
        "reasons": ["dns: no such name"],
        "next_try_at": "2026-02-14T09:30:05.000Z",
    }


def test_the_end_is_told_by_ourselves_and_by_our_will(desk, broker):
    desk.leaving()
    broker.takes()
    assert broker.retained["mt1/bridge/state"] == b"offline"
    assert will(NAMES).payload == b"offline"
    assert will(NAMES).retain


def test_everything_is_sent_again_on_every_connection(desk, broker):
    desk.upstream(UpstreamStatus(Upstream.LIVE, NOON))
    desk.device(Device(HUT), ["C0", "C1"])
    desk.availability(HUT, True)
    desk.alert("quota", "The quota is used up.", {}, NOON)
    broker.takes()
    before = dict(broker.retained)
    broker.retained.clear()
    broker.reconnects()
    broker.takes()
    assert broker.retained == before


# --- alerts -----------------------------------------------------------------------------------------


def test_an_alert_stands_in_plain_words_that_no_fact_can_hide(desk, broker):
    facts = {"text": "HTTP 429", "since": "never", "pause_s": 90}
    assert desk.alert("quota", "The quota is used up.", facts, NOON)
    broker.takes()
    assert broker.says("mt1/bridge/alert/quota") == {
        "since": "2026-02-14T09:30:00.000Z",
        "text": "The quota is used up.",
        "pause_s": 90,
    }


def test_an_alert_is_told_once_and_its_beginning_stays_when_its_words_change(desk, broker):
    desk.alert("missing_1_C0", "2 are missing.", {"missing": 2}, NOON)
    broker.takes()
    assert not desk.alert("missing_1_C0", "2 are missing.", {"missing": 2}, NOON + 60_000)
    assert broker.takes() == []
    assert desk.alert("missing_1_C0", "3 are missing.", {"missing": 3}, NOON + 60_000)
    broker.takes()
    assert broker.says("mt1/bridge/alert/missing_1_C0") == {
        "since": "2026-02-14T09:30:00.000Z",
        "text": "3 are missing.",
        "missing": 3,
    }


def test_an_alert_that_is_over_is_emptied_and_forgotten(desk, broker, journal):
    desk.alert("quota", "The quota is used up.", {}, NOON)
    broker.takes()
    assert desk.alert_over("quota")
    assert broker.takes() == ["mt1/bridge/alert/quota"]
    assert "mt1/bridge/alert/quota" not in broker.retained
    assert "mt1/bridge/alert/quota" not in journal.retained()
    broker.reconnects()
    assert "mt1/bridge/alert/quota" not in broker.takes()
    assert not desk.alert_over("quota")


def test_an_alert_raised_again_while_it_is_being_emptied_stands(desk, broker):
    desk.alert("quota", "The quota is used up.", {}, NOON)
    broker.takes()
    desk.alert_over("quota")
    broker.takes(acknowledging=False)
    desk.alert("quota", "The quota is used up.", {}, NOON)
    broker.acknowledges()
    broker.takes()
    assert "mt1/bridge/alert/quota" in broker.retained
    broker.reconnects()
    assert "mt1/bridge/alert/quota" in broker.takes()


def test_an_alert_that_is_over_while_the_broker_is_away_is_emptied_when_it_is_back(desk, broker):
    desk.alert("quota", "The quota is used up.", {}, NOON)
    broker.takes()
    desk.alert_over("quota")
    broker.takes(acknowledging=False)
    broker.retained["mt1/bridge/alert/quota"] = b"{}"  # it never arrived
    broker.reconnects()
    broker.takes()
    assert "mt1/bridge/alert/quota" not in broker.retained


# --- devices and channels ---------------------------------------------------------------------------


def test_a_device_is_shown_with_its_channels_and_their_names(desk, broker):
    desk.device(Device(HUT, "Finish hut", "MT1", '{"id":"231203016"}'), ["C0", "C1"])
    broker.takes()
    assert broker.says(f"mt1/device/{HUT}/info") == {
        "id": HUT,
        "name": "Finish hut",
        "type": "MT1",
        "channels": {"C0": None, "C1": "Finish line"},
        "raw": '{"id":"231203016"}',
    }
    assert broker.says(f"mt1/device/{HUT}/recent") == []
    assert broker.says(f"mt1/device/{HUT}/C1/tally")["server_count"] == 3


def test_last_is_never_empty_even_before_the_first_trigger(desk, broker):
    desk.device(Device(HUT), ["C0", "C1"])
    broker.takes()
    assert broker.says(f"mt1/device/{HUT}/C0/last")["id"] is None
    assert broker.says(f"mt1/device/{HUT}/C1/last")["channel_name"] == "Finish line"


def test_a_trigger_shows_in_last_and_recent(desk, broker, journal):
    desk.device(Device(HUT), ["C0", "C1"])
    broker.takes()
    learns(journal, desk, 17710614151234500)
    assert sorted(broker.takes()) == [
        f"mt1/device/{HUT}/C1/last",
        f"mt1/device/{HUT}/C1/tally",
        f"mt1/device/{HUT}/recent",
    ]
    assert broker.says(f"mt1/device/{HUT}/C1/last")["start_number"] == 12
    assert [one["id"] for one in broker.says(f"mt1/device/{HUT}/recent")] == [f"{HUT}-C1-17710614151234500"]


def test_scalars_go_with_last(journal, called):
    desk = make(journal, called, scalar=True)
    broker = Broker(desk, journal)
    desk.device(Device(HUT), ["C1"])
    learns(journal, desk, 17710614151234500)
    broker.takes()
    assert broker.retained[f"mt1/device/{HUT}/C1/value/time_of_day"] == b"10:30:15.1234500"


def test_a_channel_that_is_seen_later_appears(desk, broker):
    desk.device(Device(HUT), ["C0"])
    broker.takes()
    desk.channel(C1)
    assert f"mt1/device/{HUT}/C1/last" in broker.takes()
    assert list(broker.says(f"mt1/device/{HUT}/info")["channels"]) == ["C0", "C1"]
    desk.channel(C1)
    assert broker.takes() == []


def test_what_was_told_before_its_channel_is_shown_stands_in_recent_once_it_is(desk, broker, journal):
    desk.device(Device(HUT), ["C0"])
    learns(journal, desk, 17710614151234500)
    broker.takes()
    assert broker.says(f"mt1/device/{HUT}/recent") == []
    desk.channel(C1)
    broker.takes()
    assert len(broker.says(f"mt1/device/{HUT}/recent")) == 1


def test_a_channel_of_a_device_that_is_not_ours_is_not_shown(desk, broker):
    desk.channel(C1)
    assert not any("/C1/" in topic for topic in broker.takes())


def test_a_device_shown_again_as_it_was_says_nothing(desk, broker):
    desk.device(Device(HUT, "Finish hut"), ["C0"])
    broker.takes()
    desk.device(Device(HUT, "Finish hut"), ["C0"])
    assert broker.takes() == []


def test_a_channel_that_got_another_name_is_shown_with_it(desk, broker, called):
    desk.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes()
    called.devices = (DeviceSettings(HUT, "Finish hut", {"C0": "Gate", "C1": "Line"}),)
    desk.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes()
    assert broker.says(f"mt1/device/{HUT}/info")["channels"] == {"C0": "Gate", "C1": "Line"}
    assert broker.says(f"mt1/device/{HUT}/C0/last")["channel_name"] == "Gate"


@pytest.mark.parametrize("scalar", [False, True])
def test_a_device_that_is_ours_no_more_leaves_nothing_behind(journal, called, scalar):
    desk = make(journal, called, prefix="homeassistant", scalar=scalar)
    broker = Broker(desk, journal)
    desk.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    desk.device(Device(SPLIT), ["C0"])
    desk.availability(HUT, True)
    broker.takes()
    learns(journal, desk, 17710614151234500)
    broker.takes()
    desk.remove(HUT)
    broker.takes()
    assert [topic for topic in broker.retained if HUT in topic] == []
    assert [topic for topic in journal.retained() if HUT in topic] == []
    assert broker.says("mt1/bridge/info")["devices"] == [SPLIT]
    broker.reconnects()
    assert [topic for topic in broker.takes() if HUT in topic] == []


def test_a_removal_that_the_broker_did_not_acknowledge_whole_is_repeated(desk, broker):
    desk.device(Device(HUT), ["C0", "C1"])
    broker.takes()
    before = dict(broker.retained)
    desk.remove(HUT)
    broker.takes(acknowledging=False)
    del broker.unacknowledged[1:]
    broker.acknowledges()
    broker.retained = {topic: text for topic, text in before.items() if topic != f"mt1/device/{HUT}/info"}
    broker.reconnects()
    broker.takes()
    assert [topic for topic in broker.retained if HUT in topic] == []


def test_a_device_that_comes_back_while_it_is_being_removed_stays(desk, broker, journal):
    desk.device(Device(HUT), ["C0"])
    desk.availability(HUT, True)
    broker.takes()
    desk.remove(HUT)
    broker.takes(acknowledging=False)
    desk.device(Device(HUT), ["C0"])
    desk.availability(HUT, True)
    broker.takes(acknowledging=False)
    broker.acknowledges()
    broker.takes()
    ours = {topic for topic in broker.retained if HUT in topic}
    assert ours == {f"mt1/device/{HUT}/{name}" for name in ("info", "recent", "availability", "C0/last", "C0/tally")}
    assert ours <= journal.retained()


# --- what an earlier process retained ---------------------------------------------------------------


def test_what_an_earlier_process_retained_and_we_do_not_is_known(desk, broker, journal):
    journal.retain(f"mt1/device/{SPLIT}/info", True, NOON)
    journal.retain("mt1/bridge/info", True, NOON)
    broker.takes()
    assert f"mt1/device/{SPLIT}/info" in desk.stale()
    assert "mt1/bridge/info" not in desk.stale()
    desk.clear("stale:it", [f"mt1/device/{SPLIT}/info"])
    broker.takes()
    assert f"mt1/device/{SPLIT}/info" not in desk.stale()


@pytest.mark.parametrize("in_doubt", [False, True])
def test_alerts_about_a_device_that_a_journal_with_a_gap_does_not_know_of_are_stale(journal, called, in_doubt):
    journal.may_repeat = in_doubt
    desk = make(journal, called)
    desk.device(Device(HUT), ["C0"])
    about = {f"mt1/bridge/alert/device_refused_{HUT}", f"mt1/bridge/alert/missing_{HUT}_C5"}
    assert (about & set(desk.stale())) == (about if in_doubt else set())
    assert not any(SPLIT in topic for topic in desk.stale())


# --- Home Assistant ---------------------------------------------------------------------------------

CONFIG = f"homeassistant/device/hut_{HUT}/config"


@pytest.fixture
def house(journal, called):
    return make(journal, called, prefix="homeassistant")


def components(payload):
    return json.loads(payload)["components"]


def test_home_assistant_is_told_of_the_bridge_and_of_each_device(house, journal):
    broker = Broker(house, journal)
    house.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes()
    assert {topic for topic in broker.retained if topic.startswith("homeassistant/")} == {
        "homeassistant/device/hut_bridge/config",
        CONFIG,
    }


def test_without_home_assistant_nothing_is_said_there(desk, broker):
    desk.device(Device(HUT), ["C0"])
    assert [topic for topic in broker.takes() if "config" in topic] == []


def test_what_an_earlier_process_may_have_told_goes_in_two_steps(house, journal):
    broker = Broker(house, journal)
    house.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    slot = f"discovery:{CONFIG}"
    broker.takes(acknowledging=False)
    first, second = house.board.take(slot, 0.0)
    assert components(first.payload)["C4_impulse"] == {"platform": "event"}
    assert "C4_impulse" not in components(second.payload)


def test_the_first_step_is_repeated_until_the_broker_has_both(house, journal):
    broker = Broker(house, journal)
    house.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes(acknowledging=False)
    broker.reconnects()
    assert broker.takes().count(CONFIG) == 2
    broker.reconnects()
    assert broker.takes().count(CONFIG) == 1


def test_a_new_channel_is_told_to_home_assistant(house, journal):
    broker = Broker(house, journal)
    house.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes()
    house.channel(ChannelId(HUT, "C4"))
    broker.takes()
    assert "C4_impulse" in components(broker.retained[CONFIG])


def test_when_home_assistant_is_born_anew_it_is_told_everything_again(house, journal):
    broker = Broker(house, journal)
    house.device(Device(HUT, "Finish hut"), ["C0", "C1"])
    broker.takes()
    house.discover_again()
    assert sorted(broker.takes()) == [
        "homeassistant/device/hut_231203016/config",
        "homeassistant/device/hut_bridge/config",
    ]
