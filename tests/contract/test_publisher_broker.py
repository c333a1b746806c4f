"""The publisher against a real mosquitto: what it promises while all goes well, or the broker says no."""

from pathlib import Path

import pytest
from mosquitto import Mosquitto, Options, Recorder
from publisher_rig import WILL, Rig, settings

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerLost,
    BrokerTrouble,
    CloseBroker,
    Publication,
    Subscribed,
)

both_versions = pytest.mark.parametrize("protocol", [5, 4])


@both_versions
def test_a_message_is_delivered_and_then_acknowledged(tmp_path: Path, protocol: int) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        Recorder(broker.port, "mt1/#") as recorder,
        Rig(settings(broker.port)) as rig,
    ):
        connected = rig.connect(protocol=protocol)
        token = rig.publish(Publication("mt1/device/1/C0/trigger", b'{"schema": 1}'))

        assert rig.inbox.wait(Acknowledged) == [Acknowledged(1, token, 0)]
        assert connected.protocol == protocol
        assert recorder.wait_for(1)
        (message,) = recorder.messages()
        assert (message.topic, message.payload, message.qos) == ("mt1/device/1/C0/trigger", b'{"schema": 1}', 1)


def test_mqtt5_carries_content_type_expiry_properties_and_correlation(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Recorder(broker.port) as recorder, Rig(settings(broker.port)) as rig:
        rig.connect()
        rig.publish(
            Publication(
                "mt1/x",
                b"{}",
                content_type="application/json",
                expiry_s=180,
                properties=(("id", "1-C0-2 é"), ("schema", "1")),
                correlation=b"\x00\xff",
            )
        )
        assert recorder.wait_for(1)
        assert recorder.messages()[0].properties == {
            "ContentType": "application/json",
            "MessageExpiryInterval": 180,
            "UserProperty": [("id", "1-C0-2 é"), ("schema", "1")],
            "CorrelationData": "00ff",
        }


def test_mqtt311_leaves_out_what_only_mqtt5_has(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Recorder(broker.port) as recorder, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=4)
        rig.publish(Publication("mt1/x", b"{}", content_type="text/plain", expiry_s=1, properties=(("id", "1"),)))
        assert recorder.wait_for(1)
        assert recorder.messages()[0].properties == {}
        assert recorder.messages()[0].payload == b"{}"


@both_versions
def test_a_retained_message_stays_and_an_empty_one_takes_it_away(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/a", b"here", retain=True))
        rig.publish(Publication("mt1/b", b"gone", retain=True))
        rig.publish(Publication("mt1/b", b"", retain=True))
        rig.inbox.wait(Acknowledged, 3)
        with Recorder(broker.port, "mt1/a", "mt1/b") as recorder:
            rig.publish(Publication("mt1/b", b"end"))
            assert recorder.wait_for(2)
            assert [(each.payload, each.retained) for each in recorder.messages()] == [(b"here", True), (b"end", False)]


@both_versions
def test_what_the_broker_sends_arrives_with_its_retained_flag(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/old", b"1", retain=True))
        rig.inbox.wait(Acknowledged)
        rig.close()
        rig.lost()

        rig.connect("mt1/#", protocol=protocol)
        rig.publish(Publication("mt1/new", b"2", correlation=b"7"))
        old, new = rig.inbox.wait(Arrived, 2)
        assert (old.connection, old.topic, old.payload, old.retained) == (2, "mt1/old", b"1", True)
        assert (new.connection, new.topic, new.payload, new.retained) == (2, "mt1/new", b"2", False)
        assert new.correlation == (b"7" if protocol == 5 else None)


@both_versions
def test_subscribed_follows_connected_also_without_subscriptions(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        first, second = rig.inbox.every()
        assert isinstance(first, BrokerConnected)
        assert second == Subscribed(1, ())


@both_versions
def test_many_messages_are_each_acknowledged_once_and_arrive_in_order(tmp_path: Path, protocol: int) -> None:
    number, window = 5000, 100
    options = Options(max_inflight=window, extra=("max_queued_messages 0",))
    with (
        Mosquitto(tmp_path, options) as broker,
        Recorder(broker.port) as recorder,
        Rig(settings(broker.port)) as rig,
    ):
        rig.connect(protocol=protocol)
        for index in range(number):
            rig.inbox.wait_until(lambda index=index: len(rig.inbox.all(Acknowledged)) > index - window)  # type: ignore[misc]
            rig.publish(Publication(f"mt1/device/1/C{index % 9}/trigger", b"%d" % index))

        acknowledged = rig.inbox.wait(Acknowledged, number)
        assert sorted(event.token for event in acknowledged) == list(range(1, number + 1))
        assert {event.reason for event in acknowledged} == {0}
        assert recorder.wait_for(number)
        assert [int(each.payload) for each in recorder.messages()] == list(range(number))


def test_the_brokers_limits_are_reported(tmp_path: Path) -> None:
    options = Options(max_packet_size=200, max_inflight=7)
    with Mosquitto(tmp_path, options) as broker, Rig(settings(broker.port)) as rig:
        connected = rig.connect()
        assert connected == BrokerConnected(1, 5, 7, 200, 2, True)


def test_a_message_above_the_brokers_packet_size_is_refused_and_not_sent(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, Options(max_packet_size=200)) as broker,
        Recorder(broker.port) as recorder,
        Rig(settings(broker.port)) as rig,
    ):
        rig.connect(will=None)
        header = (
            2 + 1 + 2 + 5 + 2 + 1
        )  # fixed header (length over 127: one byte more), topic, identifier, no properties
        fits = rig.publish(Publication("mt1/x", b"x" * (200 - header)))
        too_large = rig.publish(Publication("mt1/x", b"y" * (201 - header)))
        after = rig.publish(Publication("mt1/x", b"z"))

        reasons = {event.token: event.reason for event in rig.inbox.wait(Acknowledged, 3)}
        assert reasons == {fits: 0, too_large: 0x95, after: 0}
        assert recorder.wait_for(2)
        assert [each.payload[:1] for each in recorder.messages()] == [b"x", b"z"]


@pytest.mark.parametrize(("protocol", "reason"), [(5, 0x87), (4, 5)])
def test_a_wrong_password_is_a_refusal_that_leaves_no_secret_in_the_text(
    tmp_path: Path, protocol: int, reason: int
) -> None:
    with Mosquitto(tmp_path, Options(users={"bridge": "right"})) as broker:
        for password in ("sesame-wrong", ""):
            with Rig(settings(broker.port, username="bridge", password=password)) as rig:
                rig.open(protocol=protocol)
                lost = rig.lost()
                assert (lost.trouble, lost.reason) == (BrokerTrouble.REFUSED, reason)
                assert "sesame" not in repr(rig.inbox.every())
                assert rig.inbox.all(BrokerConnected) == []


@both_versions
def test_any_character_in_a_password_works(tmp_path: Path, protocol: int) -> None:
    password = "a:b#c%d\"e'f ü€ \\"
    with (
        Mosquitto(tmp_path, Options(users={"brücke": password})) as broker,
        Rig(settings(broker.port, username="brücke", password=password)) as rig,
    ):
        assert rig.connect(protocol=protocol).protocol == protocol


def test_a_publish_that_the_acl_forbids_is_acknowledged_as_refused(tmp_path: Path) -> None:
    acl = "user bridge\ntopic write mt1/allowed\n"
    with (
        Mosquitto(tmp_path, Options(users={"bridge": "secret"}, acl=acl)) as broker,
        Rig(settings(broker.port, username="bridge", password="secret")) as rig,
    ):
        rig.connect(will=None)
        forbidden = rig.publish(Publication("mt1/forbidden", b"1"))
        allowed = rig.publish(Publication("mt1/allowed", b"1"))
        reasons = {event.token: event.reason for event in rig.inbox.wait(Acknowledged, 2)}
        assert reasons[forbidden] == 0x87
        assert reasons[allowed] in (0, 0x10)  # 0x10: nobody has subscribed


def test_mqtt311_cannot_tell_that_the_acl_forbids_a_publish(tmp_path: Path) -> None:
    acl = "user bridge\ntopic write mt1/allowed\n"
    with (
        Mosquitto(tmp_path, Options(users={"bridge": "secret"}, acl=acl)) as broker,
        Rig(settings(broker.port, username="bridge", password="secret")) as rig,
    ):
        rig.connect(protocol=4, will=None)
        token = rig.publish(Publication("mt1/forbidden", b"1"))
        assert rig.inbox.wait(Acknowledged) == [Acknowledged(1, token, 0)]


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "nul\0", "lone \ud800", "x" * 65_536])
def test_a_topic_that_cannot_be_published_to_is_refused_and_the_connection_stays(tmp_path: Path, topic: str) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        bad = rig.publish(Publication(topic, b"1"))
        good = rig.publish(Publication("mt1/x", b"2"))
        reasons = {event.token: event.reason for event in rig.inbox.wait(Acknowledged, 2)}
        assert reasons[bad] == 0x90
        assert reasons[good] < 0x80


def test_a_property_without_an_encoding_is_refused_and_the_connection_stays(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        bad = rig.publish(Publication("mt1/x", b"1", properties=(("id", "x" * 65_536),)))
        good = rig.publish(Publication("mt1/x", b"2"))
        reasons = {event.token: event.reason for event in rig.inbox.wait(Acknowledged, 2)}
        assert reasons[bad] == 0x83
        assert reasons[good] < 0x80


def test_a_broker_without_retained_messages_or_qos_1_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    will = Publication("mt1/bridge/state", b"offline")
    for options, code in ((Options(retain=False), 0x9A), (Options(max_qos=0), 0x9B)):
        with Mosquitto(tmp_path, options) as broker, Rig(settings(broker.port)) as rig:
            rig.open()  # its will is retained, with QoS 1
            lost = rig.lost()
            assert (lost.trouble, lost.reason) == (BrokerTrouble.REFUSED, code)
            connected = rig.connect(will=will if code == 0x9A else None)
            assert connected.retain_available is (code != 0x9A)
            assert connected.maximum_qos == (2 if code == 0x9A else 0)
            token = rig.publish(Publication("mt1/x", b"1", retain=True))
            assert rig.inbox.wait(Acknowledged) == [Acknowledged(2, token, code)]


@both_versions
@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_it_connects_by_name_and_address_over_tcp_and_websocket(
    tmp_path: Path, scheme: str, host: str, protocol: int
) -> None:
    options = Options(host="::1" if host == "::1" else "127.0.0.1", websockets=scheme == "ws")
    with (
        Mosquitto(tmp_path, options) as broker,
        Rig(settings(broker.port, host=host, scheme=scheme, path="/mqtt" if scheme == "ws" else "")) as rig,
    ):
        rig.connect("mt1/#", protocol=protocol)
        for index in range(200):
            rig.publish(Publication("mt1/x", b"x" * index))
        rig.inbox.wait(Acknowledged, 200)
        assert [len(event.payload) for event in rig.inbox.wait(Arrived, 200)] == list(range(200))


@both_versions
def test_a_closed_connection_tells_stopped_and_leaves_no_will(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Recorder(broker.port) as recorder, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/last", b"1"))
        rig.close()
        lost = rig.lost()
        assert (lost.trouble, lost.reason) == (BrokerTrouble.STOPPED, None)
        assert recorder.wait_for(1)  # what was handed over before is sent

        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/marker", b"2"))
        assert recorder.wait_for(2)
        assert [each.topic for each in recorder.messages()] == ["mt1/last", "mt1/marker"]
        assert f"Received DISCONNECT from {settings(1).client_id}" in broker.log()


@both_versions
def test_a_connection_that_is_closed_for_its_will_leaves_it(tmp_path: Path, protocol: int) -> None:
    """With MQTT 5 after its delay; what was handed over before is sent."""
    with Mosquitto(tmp_path) as broker, Recorder(broker.port) as recorder, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/last", b"1"))
        rig.publisher.close(CloseBroker(rig.connection, will=True))
        assert rig.lost().trouble is BrokerTrouble.STOPPED
        assert recorder.wait_for(2)
        assert [each.topic for each in recorder.messages()] == ["mt1/last", WILL.topic]
        assert "Received DISCONNECT" not in broker.log()


def test_messages_for_another_connection_are_ignored(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Recorder(broker.port) as recorder, Rig(settings(broker.port)) as rig:
        rig.publish(Publication("mt1/before", b"0"))  # nothing is open
        rig.connect()
        rig.connection += 1
        rig.publish(Publication("mt1/other", b"1"))
        rig.connection -= 1
        token = rig.publish(Publication("mt1/this", b"2"))
        assert rig.inbox.wait(Acknowledged) == [Acknowledged(1, token, 0)]
        assert recorder.wait_for(1)
        rig.close()
        rig.lost()
        rig.publish(Publication("mt1/after", b"3"))
        assert [each.topic for each in recorder.messages()] == ["mt1/this"]


def test_opening_again_ends_the_one_before(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        for _ in range(5):
            rig.connect()
        ends = rig.inbox.wait(BrokerLost, 4)
        assert sorted(event.connection for event in ends) == [1, 2, 3, 4]
        # The broker may be the quicker one, and mosquitto 2.0 closes without a word where another client takes over.
        assert {event.trouble for event in ends} <= {
            BrokerTrouble.STOPPED,
            BrokerTrouble.TAKEN_OVER,
            BrokerTrouble.LOST,
        }
        assert rig.publisher.thread_alive()
