"""The link to the broker, told as a story: looking around, publishing, giving way, trying again."""

import json

import pytest

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    OpenBroker,
    Publication,
    Subscribed,
)
from mt1bridge.model.clock import Now
from mt1bridge.model.status import AlertOver, AlertRaised, Broker, Note
from mt1bridge.mqtt.session import LOOK_AGAIN_S, LOOK_S, BrokerSession, NotReady, Place, Ready

INFO, STATE = "mt1/bridge/info", "mt1/bridge/state"
WILL = Publication(STATE, b"offline", retain=True)
WORK = (INFO, STATE, "mt1/bridge/request/+")


def at(seconds: float) -> Now:
    return Now(1000.0 + seconds, 1_771_061_415_000 + round(seconds * 1000))


class Story:
    def __init__(self, protocol=5):
        place = Place("hut", protocol, WILL, INFO, STATE, WORK)
        self.session = BrokerSession(place, lambda: 0.0)
        self.protocol = protocol

    @property
    def connection(self):
        return self.session.connection

    def tick(self, seconds):
        return self.session.tick(at(seconds))

    def connected(self, seconds, maximum_qos=2):
        event = BrokerConnected(self.connection, self.protocol, None, None, maximum_qos)
        return self.session.handle(event, at(seconds))

    def subscribed(self, seconds, *refused):
        return self.session.handle(Subscribed(self.connection, refused), at(seconds))

    def arrives(self, seconds, topic, payload, retained=True):
        return self.session.handle(Arrived(self.connection, topic, payload, retained), at(seconds))

    def info(self, seconds, instance, retained=True):
        return self.arrives(seconds, INFO, json.dumps({"instance": instance}).encode(), retained)

    def lost(self, seconds, trouble=BrokerTrouble.LOST, connection=None):
        event = BrokerLost(connection or self.connection, trouble, trouble.value)
        return self.session.handle(event, at(seconds))

    def due(self):
        return self.session.next_due() - at(0).monotonic

    def looks(self, seconds):
        """Connects to look around, and is granted its subscriptions."""
        told = self.tick(seconds)
        self.connected(seconds)
        return told + self.subscribed(seconds)

    def works(self, seconds):
        """Connects to publish."""
        told = self.tick(seconds) + self.connected(seconds)
        return told + self.subscribed(seconds)


def ready(protocol=5) -> Story:
    """Nobody else is there; publishing since second 1 on connection 2."""
    story = Story(protocol)
    story.looks(0)
    story.tick(LOOK_S)
    story.connected(1)
    story.subscribed(1)
    assert story.session.ready
    return story


def short(outcomes):
    found = []
    for one in outcomes:
        if isinstance(one, Note):
            found.append((one.event, one.level))
        elif isinstance(one, AlertRaised | AlertOver):
            found.append(f"{'alert' if isinstance(one, AlertRaised) else 'over'} {one.name}")
        elif isinstance(one, Ready):
            found.append("ready")
        else:
            found.append(one)
    return found


def look(connection, protocol=5):
    return OpenBroker(connection, None, (INFO, STATE), protocol)


def work(connection, protocol=5):
    return OpenBroker(connection, WILL, WORK, protocol)


# --- looking around before publishing ---------------------------------------------------------------


def test_the_first_connection_only_looks_and_has_no_will_that_could_speak_for_another():
    story = Story()
    assert story.tick(0) == [look(1)]
    assert story.connected(0) == []
    assert story.subscribed(0) == []
    assert not story.session.ready


def test_where_nobody_is_publishing_begins_after_a_moment_on_a_second_connection():
    story = Story()
    story.looks(0)
    assert story.due() == LOOK_S
    assert story.tick(LOOK_S - 0.1) == []
    assert story.tick(LOOK_S) == [CloseBroker(1), work(2)]
    story.connected(1)
    assert short(story.subscribed(1)) == [("broker_connected", "info"), "ready"]
    assert story.session.state is Broker.CONNECTED
    assert story.due() == float("inf")


def test_our_own_traces_are_no_reason_to_wait():
    story = Story()
    story.looks(0)
    assert story.info(0.1, "hut") == []
    assert story.arrives(0.1, STATE, b"online") == [CloseBroker(1), work(2)]


def test_what_is_retained_may_come_before_the_subscription_is_granted():
    story = Story()
    story.tick(0)
    story.connected(0)
    assert story.info(0, "hut") == []
    assert story.arrives(0, STATE, b"offline") == []
    assert story.subscribed(0) == [CloseBroker(1), work(2)]


def test_another_instance_that_is_gone_leaves_its_base_topic_to_us():
    story = Story()
    story.looks(0)
    story.info(0.1, "other")
    assert story.arrives(0.1, STATE, b"offline") == [CloseBroker(1), work(2)]
    story.connected(1)
    story.subscribed(1)
    assert story.info(1.1, "other") == []  # retained still: we have not overwritten it yet
    assert story.arrives(1.1, STATE, b"offline") == []
    assert story.arrives(1.2, STATE, b"online", retained=False) == []  # the echo of our own
    assert story.info(1.3, "hut", retained=False) == []
    assert story.session.ready


def test_nothing_is_published_beside_another_instance_and_it_is_looked_for_every_minute():
    story = Story()
    story.looks(0)
    story.info(0.1, "other")
    told = story.arrives(0.1, STATE, b"online")
    assert short(told) == [CloseBroker(1), ("other_instance_found", "error"), "alert other_instance"]
    assert told[1].facts == {"other": "other", "base_topic": "mt1"}
    assert story.session.state is Broker.REFUSED
    assert "other" in story.session.why
    assert story.tick(60) == []
    again = 0.1 + LOOK_AGAIN_S
    assert story.tick(again) == [look(3)]
    story.connected(again)
    story.subscribed(again)
    story.info(again, "other")
    assert story.arrives(again, STATE, b"online") == [CloseBroker(3)]  # told before


def test_when_the_other_instance_is_gone_publishing_begins_and_the_alert_is_over():
    story = Story()
    story.looks(0)
    story.info(0, "other")
    story.arrives(0, STATE, b"online")
    story.looks(60)
    story.info(60, "other")
    assert short(story.arrives(60, STATE, b"offline")) == [CloseBroker(3), "over other_instance", work(4)]


def test_another_instance_that_appears_while_we_publish_makes_us_give_way():
    story = ready()
    assert short(story.info(100, "other", retained=False)) == [
        CloseBroker(2),
        NotReady(),
        ("other_instance_found", "error"),
        "alert other_instance",
    ]
    assert not story.session.ready
    assert story.tick(160) == [look(4)]


def test_another_instance_that_came_while_the_broker_was_away_from_us_is_noticed_before_we_publish():
    story = ready()
    story.lost(100)
    story.tick(story.due())
    story.connected(101)
    story.info(101, "other")
    story.arrives(101, STATE, b"online")
    assert short(story.subscribed(101)) == [
        CloseBroker(4),
        ("other_instance_found", "error"),
        "alert other_instance",
    ]
    assert not story.session.ready


def away(seconds, protocol=5, trouble=BrokerTrouble.LOST):
    """Back after so many seconds, with the subscriptions granted and nothing retained seen yet."""
    story = ready(protocol)
    story.lost(100, trouble)
    story.tick(100 + seconds)
    story.connected(100 + seconds)
    return story, story.subscribed(100 + seconds)


def test_after_an_outage_longer_than_the_delay_of_our_will_we_look_before_we_publish():
    story, told = away(10)
    assert (told, story.session.ready) == ([], False)
    assert story.info(110.1, "hut") == []
    assert short(story.arrives(110.1, STATE, b"offline")) == [("broker_connected", "info"), "ready"]
    assert story.connection == 4, "the one that was opened at 110"


def test_what_another_instance_left_running_is_not_published_over():
    story, _ = away(10)
    story.info(110.1, "other")
    told = story.arrives(110.1, STATE, b"online")
    assert short(told) == [CloseBroker(4), ("other_instance_found", "error"), "alert other_instance"]
    assert not story.session.ready
    assert story.due() == pytest.approx(110.1 + LOOK_AGAIN_S)


def test_a_broker_that_has_forgotten_everything_is_not_waited_for_long():
    story, _ = away(3600)
    assert story.due() == 3700 + LOOK_S
    assert short(story.tick(3700 + LOOK_S)) == [("broker_connected", "info"), "ready"]


def test_after_a_short_outage_publishing_begins_with_the_subscription():
    story, _ = away(9.9)
    assert story.session.ready


def test_in_3_1_1_the_will_has_no_delay_so_we_always_look():
    story, _ = away(0.5, protocol=4)
    assert not story.session.ready
    story.info(100.6, "hut")
    story.arrives(100.6, STATE, b"offline")
    assert story.session.ready


def test_a_silent_broker_may_have_given_us_up_long_ago():
    story, _ = away(0.5, trouble=BrokerTrouble.SILENT)
    assert not story.session.ready


def test_a_look_that_is_cut_off_is_made_up_for():
    story, _ = away(20)
    story.lost(120.1)
    story.tick(story.due())
    story.connected(121)
    assert story.subscribed(121) == []
    assert not story.session.ready


def test_what_was_seen_before_the_broker_went_away_for_long_says_nothing_any_more():
    story = Story()
    story.looks(0)
    story.tick(LOOK_S)
    story.lost(1, BrokerTrouble.UNREACHABLE)
    story.tick(500)
    story.connected(500)
    assert story.subscribed(500) == []
    assert not story.session.ready


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"instance": 7}', b"\xff\xfe", b"[" * 100_000])
def test_an_info_that_cannot_be_read_is_nobodys(payload):
    story = Story()
    story.looks(0)
    assert story.arrives(0.1, INFO, payload) == []
    assert story.arrives(0.1, STATE, b"online") == []
    assert story.tick(LOOK_S) == [CloseBroker(1), work(2)]


# --- trouble ----------------------------------------------------------------------------------------


def test_a_lost_broker_is_told_once_and_tried_again_within_two_seconds_for_ever():
    story = ready()
    assert short(story.lost(100)) == [NotReady(), ("broker_lost", "warning")]
    assert story.session.state is Broker.UNREACHABLE
    seconds, pauses = 100.0, []
    for _ in range(5):
        pauses.append(story.due() - seconds)
        seconds = story.due()
        assert [type(one) for one in story.tick(seconds)] == [OpenBroker]
        assert short(story.lost(seconds, BrokerTrouble.UNREACHABLE)) == [("broker_lost", "debug")]
    assert pauses == [0.5, 1, 2, 2, 2]
    assert story.works(seconds + 2)[0].will == WILL  # known to be alone: no second look
    assert story.session.ready
    assert story.session.reconnects == 2


@pytest.mark.parametrize("trouble", [BrokerTrouble.REFUSED, BrokerTrouble.TLS])
def test_a_broker_that_refuses_is_tried_again_with_patience(trouble):
    story = Story()
    seconds, pauses = 0.0, []
    for _ in range(6):
        story.tick(seconds)
        story.lost(seconds, trouble)
        assert story.session.state is Broker.REFUSED
        pauses.append(story.due() - seconds)
        seconds = story.due()
    assert pauses == [2, 4, 8, 16, 30, 30]


def test_the_words_of_the_trouble_stand_until_we_are_connected():
    story = Story()
    story.tick(0)
    story.lost(0, BrokerTrouble.REFUSED)
    assert story.session.why == "refused"
    story.looks(2)
    story.tick(2 + LOOK_S)
    story.connected(3)
    story.subscribed(3)
    assert story.session.why == ""


def test_a_broker_without_qos_1_gets_nothing_and_the_state_says_why():
    story = Story()
    story.tick(0)
    assert short(story.connected(0, maximum_qos=0)) == [CloseBroker(1), ("broker_lost", "warning")]
    assert story.session.state is Broker.REFUSED
    assert "QoS 1" in story.session.why
    assert story.session.handle(Subscribed(1, ()), at(0)) == []
    assert story.lost(0.1, BrokerTrouble.STOPPED, connection=1) == []
    assert story.due() == 2


def test_a_broker_that_speaks_no_mqtt_5_is_spoken_to_in_3_1_1_at_once_and_from_then_on():
    story = Story()
    story.tick(0)
    assert short(story.lost(0, BrokerTrouble.PROTOCOL_VERSION)) == [
        ("broker_protocol_lowered", "warning"),
        look(2, protocol=4),
    ]
    story.connected(0)
    story.subscribed(0)
    assert story.tick(LOOK_S) == [CloseBroker(2), work(3, protocol=4)]


def test_a_broker_that_speaks_neither_is_tried_again_with_patience():
    story = Story(protocol=4)
    story.tick(0)
    assert short(story.lost(0, BrokerTrouble.PROTOCOL_VERSION)) == [("broker_lost", "warning")]
    assert story.due() == 2


def test_topics_that_the_broker_does_not_let_us_read_are_told_and_publishing_begins_all_the_same():
    story = Story()
    story.looks(0)
    story.tick(LOOK_S)
    story.connected(1)
    told = story.subscribed(1, "mt1/bridge/request/+")
    assert short(told) == [("broker_connected", "info"), ("broker_subscription_refused", "warning"), "ready"]
    assert told[1].facts == {"topics": "mt1/bridge/request/+"}


def test_what_comes_of_a_connection_that_is_over_changes_nothing():
    story = ready()
    assert story.lost(100, connection=1) == []
    assert story.session.handle(Arrived(1, INFO, b'{"instance": "other"}', False), at(100)) == []
    assert story.session.handle(Acknowledged(2, 7, 0), at(100)) == []
    assert story.session.ready


# --- another client with our id ---------------------------------------------------------------------


def taken_over(story: Story, seconds: float) -> list[object]:
    told = story.lost(seconds, BrokerTrouble.TAKEN_OVER)
    return short(told)


def contested() -> tuple[Story, float]:
    """Taken over for the third time at the second that is returned."""
    story = ready()
    taken_over(story, 10)
    story.works(12)
    taken_over(story, 13)
    story.works(17)
    assert "alert other_instance" in taken_over(story, 18)
    return story, 18.0


def test_a_client_with_our_id_is_told_and_after_three_times_in_a_minute_is_an_alert_and_a_longer_pause():
    story = ready()
    lost = [NotReady(), ("session_taken_over", "warning"), ("broker_lost", "warning")]
    assert taken_over(story, 10) == lost
    assert story.due() == 12
    story.works(12)
    assert taken_over(story, 13) == lost
    story.works(17)
    assert taken_over(story, 18) == [
        NotReady(),
        ("session_taken_over", "warning"),
        "alert other_instance",
        ("broker_lost", "warning"),
    ]
    assert story.due() == 18 + 30


def test_the_alert_is_over_once_nobody_has_taken_over_for_a_minute():
    story, seconds = contested()
    story.works(seconds + 30)
    seconds += LOOK_S
    story.tick(seconds + 30)
    assert story.tick(seconds + 80) == []
    assert story.due() == seconds + 90
    assert short(story.tick(seconds + 90)) == ["over other_instance"]
    assert story.due() == float("inf")


def test_as_long_as_it_goes_on_the_pause_stays_and_the_log_stays_quiet():
    story, seconds = contested()
    for _ in range(3):
        seconds = story.due()
        story.works(seconds)
        assert ("session_taken_over", "debug") in taken_over(story, seconds + 40)
        assert story.due() == seconds + 70


# --- the end ----------------------------------------------------------------------------------------


def test_the_end_closes_what_is_open_and_opens_nothing_more():
    story = ready()
    assert story.session.stop() == [CloseBroker(2)]
    assert story.lost(100, BrokerTrouble.STOPPED) == []
    assert story.tick(200) == []
    assert story.due() == float("inf")


def test_our_will_speaks_only_for_a_connection_on_which_we_published():
    assert ready().session.stop(will=True) == [CloseBroker(2, will=True)]
    story = Story()
    story.tick(0)
    assert story.session.stop(will=True) == [CloseBroker(1)]


def test_the_end_has_nothing_to_close_while_we_wait():
    story = ready()
    story.lost(100)
    assert story.session.stop() == []
