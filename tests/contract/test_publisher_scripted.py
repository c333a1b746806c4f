"""The publisher against a broker of our own script: answers that mosquitto does not give, and plain nonsense."""

import resource
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from mosquitto import wait_until
from publisher_rig import Rig, settings
from scripted_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    SUBACK,
    SUBSCRIBE,
    Peer,
    ScriptedBroker,
    connack4,
    connack5,
    packet,
    puback,
)

from mt1bridge.model.broker import (
    Acknowledged,
    Arrived,
    BrokerConnected,
    BrokerLost,
    BrokerTrouble,
    Publication,
    Subscribed,
)
from mt1bridge.mqtt.client import Limits

REFUSED, LOST, SILENT = BrokerTrouble.REFUSED, BrokerTrouble.LOST, BrokerTrouble.SILENT
UNREACHABLE, PROTOCOL_VERSION = BrokerTrouble.UNREACHABLE, BrokerTrouble.PROTOCOL_VERSION
TAKEN_OVER = BrokerTrouble.TAKEN_OVER

RECEIVE_MAXIMUM, MAXIMUM_QOS, RETAIN_AVAILABLE = b"\x21", b"\x24", b"\x25"
SERVER_KEEP_ALIVE, MAXIMUM_PACKET_SIZE, TOPIC_ALIAS_MAXIMUM, REASON_STRING = b"\x13", b"\x27", b"\x22", b"\x1f"

both_versions = pytest.mark.parametrize("protocol", [5, 4])


def answering(*answers: bytes) -> Callable[[Peer], None]:
    """Return a script that answers CONNECT with these bytes and then listens."""

    def script(peer: Peer) -> None:
        peer.read()
        for answer in answers:
            peer.send(answer)
        peer.hold()

    return script


def serving(peer: Peer, properties: bytes = b"") -> None:
    """Accept, and acknowledge every PUBLISH."""
    peer.accept(properties)
    while True:
        arrived = peer.read()
        if arrived.kind == PUBLISH:
            peer.send(puback(arrived.identifier))


# --- CONNECT ------------------------------------------------------------------------------------------------


def test_connect_with_mqtt5_says_what_the_contract_promises() -> None:
    will = Publication("mt1/bridge/state", b"offline", retain=True, content_type="text/plain")
    with (
        ScriptedBroker(serving) as broker,
        Rig(settings(broker.port, username="user", password="secret")) as rig,
    ):
        rig.connect(will=will)
        body = broker.received(CONNECT)[0].body
    assert body[:7] == b"\x00\x04MQTT\x05"
    # user name, password, will retained with QoS 1, clean start; keep alive 30 s
    assert (body[7], body[8:10]) == (0b1110_1110, struct.pack("!H", 30))
    length = body[10]
    assert b"\x11" + struct.pack("!I", 30) in body[11 : 11 + length]  # session expiry
    rest = body[11 + length :]
    assert rest.startswith(b"\x00\x09mt1bridge")
    assert b"\x18" + struct.pack("!I", 10) in rest  # will delay
    assert rest.endswith(b"\x00\x10mt1/bridge/state\x00\x07offline\x00\x04user\x00\x06secret")


def test_connect_with_mqtt311_asks_for_a_clean_session() -> None:
    with ScriptedBroker(serving) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=4)
        body = broker.received(CONNECT)[0].body
    assert body[:10] == b"\x00\x04MQTT\x04" + bytes([0b0010_1110]) + struct.pack("!H", 30)
    assert body[10:] == b"\x00\x09mt1bridge\x00\x10mt1/bridge/state\x00\x07offline"


@both_versions
def test_connect_without_a_will(protocol: int) -> None:
    with ScriptedBroker(serving) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol, will=None)
        assert broker.received(CONNECT)[0].body[7] == 0b0000_0010


# --- CONNACK ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(code, REFUSED) for code in (0x80, 0x81, 0x82, 0x83, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x97)]
    + [(code, REFUSED) for code in (0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F)]
    + [(0x84, PROTOCOL_VERSION), (0x88, UNREACHABLE), (0x89, UNREACHABLE)],
)
def test_every_mqtt5_refusal_has_its_trouble_and_code(code: int, trouble: BrokerTrouble) -> None:
    reason = REASON_STRING + b"\x00\x0cnot\ntoday \x1b[" + b"!"
    with ScriptedBroker(answering(connack5(code, reason[:15]))) as broker, Rig(settings(broker.port)) as rig:
        rig.open("mt1/#")
        lost = rig.lost()
        assert (lost.trouble, lost.reason) == (trouble, code)
        assert f"0x{code:02X}" in lost.text
        assert "not?today" in lost.text  # the broker's own words, without control characters
        assert lost.text.isprintable()
        assert rig.inbox.every() == [lost]


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(1, PROTOCOL_VERSION), (2, REFUSED), (3, UNREACHABLE), (4, REFUSED), (5, REFUSED), (6, REFUSED), (255, REFUSED)],
)
def test_every_mqtt311_refusal_has_its_trouble_and_code(code: int, trouble: BrokerTrouble) -> None:
    with ScriptedBroker(answering(connack4(code))) as broker, Rig(settings(broker.port)) as rig:
        rig.open("mt1/#", protocol=4)
        lost = rig.lost()
        assert (lost.trouble, lost.reason) == (trouble, code)
        assert rig.inbox.every() == [lost]
        assert len(broker.peers) == 1  # no second try of the library's own, with an older version or another id


@pytest.mark.parametrize("code", [0, 1, 2, 4, 5])
def test_an_answer_in_the_form_of_mqtt311_shows_that_mqtt5_is_not_spoken(code: int) -> None:
    with ScriptedBroker(answering(connack4(code))) as broker, Rig(settings(broker.port)) as rig:
        rig.open()
        assert rig.lost().trouble == PROTOCOL_VERSION


@pytest.mark.parametrize("how", [Peer.close, Peer.reset])
def test_a_broker_that_hangs_up_on_mqtt5_twice_does_not_speak_it(how: Callable[[Peer], None]) -> None:
    def script(peer: Peer) -> None:
        if peer.read().body[6] == 5:
            how(peer)
        else:
            peer.send(connack4())
            peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        for trouble in (LOST, PROTOCOL_VERSION):
            rig.open()
            assert rig.lost().trouble == trouble
        assert rig.connect(protocol=4).protocol == 4


def test_a_broker_that_once_spoke_mqtt5_may_hang_up_without_being_doubted() -> None:
    def script(peer: Peer) -> None:
        if len(broker.peers) == 1:
            serving(peer)
        peer.read()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        for _ in range(4):
            rig.open()
            assert rig.lost().trouble in (LOST, BrokerTrouble.STOPPED)


@both_versions
@pytest.mark.parametrize("flags", [1, 2, 0x80])
def test_wrong_flags_in_connack_end_the_connection(flags: int, protocol: int) -> None:
    answer = connack5(flags=flags) if protocol == 5 else connack4(flags=flags)
    with ScriptedBroker(answering(answer)) as broker, Rig(settings(broker.port)) as rig:
        rig.open(protocol=protocol)
        lost = rig.lost()
        assert lost.trouble == LOST
        assert "flags" in lost.text
        assert rig.inbox.all(BrokerConnected) == []


@both_versions
def test_a_second_connack_ends_the_connection(protocol: int) -> None:
    answer = connack5() if protocol == 5 else connack4()
    with ScriptedBroker(answering(answer, answer)) as broker, Rig(settings(broker.port)) as rig:
        rig.open(protocol=protocol)
        assert rig.lost().trouble == LOST
        assert len(rig.inbox.all(BrokerConnected)) == 1


@both_versions
def test_without_connack_the_broker_is_silent(protocol: int) -> None:
    with ScriptedBroker(Peer.hold) as broker, Rig(settings(broker.port), Limits(answer_s=0.3)) as rig:
        rig.open(protocol=protocol)
        assert rig.lost().trouble == SILENT


@both_versions
def test_half_a_connack_is_silence_too(protocol: int) -> None:
    with (
        ScriptedBroker(answering(b"\x20\x03\x00")) as broker,
        Rig(settings(broker.port), Limits(answer_s=0.3)) as rig,
    ):
        rig.open(protocol=protocol)
        assert rig.lost().trouble == SILENT


@both_versions
def test_without_suback_the_broker_is_silent(protocol: int) -> None:
    with ScriptedBroker(serving) as broker, Rig(settings(broker.port), Limits(answer_s=0.3)) as rig:
        rig.open("mt1/#", protocol=protocol)
        assert rig.lost().trouble == SILENT
        assert len(rig.inbox.all(BrokerConnected)) == 1
        assert rig.inbox.all(Subscribed) == []


# --- what the broker announces ----------------------------------------------------------------------------------


def test_the_announced_limits_are_reported() -> None:
    properties = (
        RECEIVE_MAXIMUM + b"\x00\x01" + MAXIMUM_QOS + b"\x01" + RETAIN_AVAILABLE + b"\x00"
        + MAXIMUM_PACKET_SIZE + b"\x00\x00\x00\x64" + TOPIC_ALIAS_MAXIMUM + b"\x00\x00"
    )  # fmt: skip
    with ScriptedBroker(lambda peer: serving(peer, properties)) as broker, Rig(settings(broker.port)) as rig:
        assert rig.connect(will=None) == BrokerConnected(1, 5, 1, 100, 1, False)


@both_versions
def test_without_announcements_there_are_no_limits(protocol: int) -> None:
    with ScriptedBroker(serving) as broker, Rig(settings(broker.port)) as rig:
        assert rig.connect(protocol=protocol) == BrokerConnected(1, protocol, None, None, 2, True)


def test_the_receive_maximum_is_kept_and_the_order_too() -> None:
    def script(peer: Peer) -> None:
        peer.accept(RECEIVE_MAXIMUM + b"\x00\x01")
        for _ in range(20):
            publish = peer.read_until(PUBLISH)
            assert peer.says_nothing_for(0.02)
            peer.send(puback(publish.identifier))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        tokens = [rig.publish(Publication("mt1/x", b"%d" % index)) for index in range(20)]
        assert [event.token for event in rig.inbox.wait(Acknowledged, 20)] == tokens
        assert [each.body[-2:].lstrip(b"\x00") for each in broker.received(PUBLISH)][-1] == b"19"


@pytest.mark.parametrize(
    ("announced", "message", "code"),
    [
        (MAXIMUM_QOS + b"\x00", Publication("mt1/x", b"1"), 0x9B),
        (RETAIN_AVAILABLE + b"\x00", Publication("mt1/x", b"1", retain=True), 0x9A),
        (MAXIMUM_PACKET_SIZE + b"\x00\x00\x00\x64", Publication("mt1/x", b"x" * 100), 0x95),
        (MAXIMUM_PACKET_SIZE + b"\x00\x00\x00\x64", Publication("mt1/x", b"", properties=(("a", "b" * 90),)), 0x95),
    ],
)
def test_what_the_broker_does_not_take_is_not_sent(announced: bytes, message: Publication, code: int) -> None:
    with ScriptedBroker(lambda peer: serving(peer, announced)) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        token = rig.publish(message)
        assert rig.inbox.wait(Acknowledged) == [Acknowledged(1, token, code)]
        rig.close()
        rig.lost()
        assert wait_until(lambda: broker.received(DISCONNECT))
        assert broker.received(PUBLISH) == []


def test_the_size_that_is_compared_is_that_of_the_packet() -> None:
    limit = MAXIMUM_PACKET_SIZE + struct.pack("!I", 300)
    with ScriptedBroker(lambda peer: serving(peer, limit)) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        for size in range(200, 310):
            rig.publish(
                Publication("mt1/ü", b"x" * size, content_type="text/plain", expiry_s=1, properties=(("ä", "1"),))
            )
        codes = [event.reason for event in rig.inbox.wait(Acknowledged, 110)]
        sizes = [each.size for each in broker.received(PUBLISH)]
        assert max(sizes) == 300
        assert sizes == list(range(301 - len(sizes), 301))
        assert codes.count(0x95) == 110 - len(sizes)


def test_the_servers_keep_alive_replaces_ours() -> None:
    def script(peer: Peer) -> None:
        peer.accept(SERVER_KEEP_ALIVE + b"\x00\x01")
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port), Limits(keepalive_s=3600)) as rig:
        rig.connect()
        lost = rig.lost()
        assert lost.trouble == SILENT
        assert wait_until(lambda: broker.received(PINGREQ))


@pytest.mark.parametrize("keepalive", [0, 65535])
def test_an_unanswered_publish_ends_the_connection_whatever_the_servers_keep_alive(keepalive: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept(SERVER_KEEP_ALIVE + struct.pack("!H", keepalive))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port), Limits(keepalive_s=1)) as rig:
        rig.connect()
        rig.publish(Publication("mt1/x", b"1"))
        assert rig.lost().trouble == SILENT


def test_a_lively_broker_that_leaves_one_message_unacknowledged_is_given_up() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        left_out = peer.read_until(PUBLISH)
        while True:
            arrived = peer.read()
            if arrived.kind == PINGREQ:
                peer.send(packet(PINGRESP))
            elif arrived.kind == PUBLISH and arrived.identifier != left_out.identifier:
                peer.send(puback(arrived.identifier))

    with ScriptedBroker(script) as broker, Rig(settings(broker.port), Limits(keepalive_s=1, acknowledge_s=2.5)) as rig:
        rig.connect()
        tokens = [rig.publish(Publication("mt1/x", b"%d" % number)) for number in range(3)]
        lost = rig.lost()
        assert lost.trouble == SILENT
        assert "does not acknowledge" in lost.text
        assert [event.token for event in rig.inbox.all(Acknowledged)] == tokens[1:]
        assert broker.received(PINGREQ)


# --- SUBACK and messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "answer", "refused"),
    [
        (5, b"\x00\x87\x00", ("a",)),  # no properties, then one code for each filter
        (5, b"\x00\x01\x9e", ("b",)),
        (4, b"\x80\x01", ("a",)),
        (4, b"\x00\x00", ()),
        (4, b"\x01", ("b",)),  # one answer too few is no grant
    ],
)
def test_refused_filters_are_named(protocol: int, answer: bytes, refused: tuple[str, ...]) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        identifier = struct.pack("!H", peer.read_until(SUBSCRIBE).identifier)
        peer.send(packet(SUBACK, struct.pack("!H", 999) + answer))  # for nothing that we asked
        peer.send(packet(SUBACK, identifier + answer))
        peer.send(packet(SUBACK, identifier + answer))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect("a", "b", protocol=protocol)
        assert rig.inbox.all(Subscribed) == [Subscribed(1, refused)]


@both_versions
def test_a_message_nobody_asked_for_arrives_and_one_without_a_readable_topic_does_not(protocol: int) -> None:
    tail = b"\x00" if protocol == 5 else b""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(packet(PUBLISH, b"\x00\x02\xff\xfe" + tail + b"bad"))
        peer.send(packet(PUBLISH, b"\x00\x05other" + tail + b"good"))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        assert rig.inbox.wait(Arrived) == [Arrived(1, "other", b"good", False)]


# --- PUBACK -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_every_reason_in_puback_is_reported_once(code: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        identifier = peer.read_until(PUBLISH).identifier
        peer.send(puback(999, 0x87) + puback(identifier, code) + puback(identifier, 0))
        second = peer.read_until(PUBLISH).identifier
        peer.send(puback(second))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        first = rig.publish(Publication("mt1/x", b"1"))
        rig.inbox.wait(Acknowledged)
        second = rig.publish(Publication("mt1/x", b"2"))
        assert rig.inbox.wait(Acknowledged, 2) == [Acknowledged(1, first, code), Acknowledged(1, second, 0)]


@both_versions
def test_acknowledgements_in_any_order_find_their_messages(protocol: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        identifiers = [peer.read_until(PUBLISH).identifier for _ in range(10)]
        peer.send(b"".join(puback(identifier) for identifier in reversed(identifiers)))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        tokens = [rig.publish(Publication("mt1/x", b"1")) for _ in range(10)]
        assert [event.token for event in rig.inbox.wait(Acknowledged, 10)] == tokens[::-1]


def test_a_packet_identifier_still_in_use_is_not_given_twice() -> None:
    kept: list[int] = []

    def script(peer: Peer) -> None:
        peer.accept()
        kept.append(peer.read_until(PUBLISH).identifier)  # never acknowledged
        while True:
            arrived = peer.read_until(PUBLISH)
            assert arrived.identifier not in kept
            peer.send(puback(arrived.identifier))

    number = 66_000
    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect()
        for index in range(number):
            if index % 500 == 0:
                rig.inbox.wait_until(lambda index=index: len(rig.inbox.all(Acknowledged)) >= index - 1000)  # type: ignore[misc]
            rig.publish(Publication("a", b""))
        acknowledged = rig.inbox.wait(Acknowledged, number - 1)
        assert {event.token for event in acknowledged} == set(range(2, number + 1))


# --- DISCONNECT and nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(0x8E, TAKEN_OVER)]
    + [(code, REFUSED) for code in (0x87, 0x8C, 0x97, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0xA1, 0xA2)]
    + [(code, LOST) for code in (0x80, 0x81, 0x82, 0x83, 0x89, 0x8B, 0x8D, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96)]
    + [(code, LOST) for code in (0x98, 0x99, 0x9F, 0xA0)],
)
def test_every_disconnect_of_the_broker_has_its_trouble_and_code(code: int, trouble: BrokerTrouble) -> None:
    script = answering(connack5() + packet(DISCONNECT, bytes([code])))
    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.open()
        lost = rig.lost()
        assert (lost.trouble, lost.reason) == (trouble, code)
        assert f"0x{code:02X}" in lost.text


def test_the_brokers_reason_is_heard_while_messages_are_on_their_way() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.read_until(PUBLISH)
        peer.send(packet(DISCONNECT, b"\x8e"))  # and closes, with bytes of ours still unread: a reset

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        for _ in range(30):
            rig.connect(will=None)
            for _ in range(50):
                rig.publish(Publication("mt1/x", b"x" * 1000))
            lost = rig.lost()
            assert (lost.trouble, lost.reason) == (TAKEN_OVER, 0x8E)


def test_a_web_server_instead_of_a_broker_is_a_loss() -> None:
    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.open()
        assert rig.lost().trouble == LOST


NONSENSE = {
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",
    "CONNECT from a broker": b"\x10\x00",
    "PINGREQ with a body": b"\xc0\x01x",
    "PUBACK without an identifier": b"\x40\x01\x00",
    "PUBLISH with a topic longer than itself": b"\x30\x04\x00\xffab",
    "PUBLISH with QoS 3": b"\x36\x07\x00\x01a\x00\x01\x00\x00",
}


@both_versions
@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("early", [True, False], ids=["instead of CONNACK", "after CONNACK"])
def test_nonsense_ends_the_connection_with_one_event(nonsense: bytes, early: bool, protocol: int) -> None:
    hello = b"" if early else connack5() if protocol == 5 else connack4()
    with (
        ScriptedBroker(answering(hello + nonsense)) as broker,
        Rig(settings(broker.port), Limits(answer_s=1, keepalive_s=1)) as rig,
    ):
        rig.open(protocol=protocol)
        lost = rig.lost()
        assert lost.trouble == LOST
        assert "MQTT" in lost.text
        assert len(rig.inbox.all(BrokerConnected)) == (0 if early else 1)


@pytest.mark.parametrize(
    "nonsense",
    [b"\x20\x03\x00\x42\x00", b"\x20\x05\x00\x00\x02\x7f\x00", b"\x20\x04\x00\x00\x7f\x21", b"\x20\x01\x00"],
    ids=["unknown reason", "unknown property", "property longer than the packet", "too short"],
)
def test_a_malformed_connack_is_a_loss(nonsense: bytes) -> None:
    with ScriptedBroker(answering(nonsense)) as broker, Rig(settings(broker.port)) as rig:
        rig.open()
        assert rig.lost().trouble == LOST
        assert rig.inbox.all(BrokerConnected) == []


@both_versions
@pytest.mark.parametrize("kind", [PUBREC, PUBCOMP])
def test_an_answer_of_qos_2_to_a_message_of_qos_1_ends_the_connection(kind: int, protocol: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(packet(kind, struct.pack("!H", peer.read_until(PUBLISH).identifier)))
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/x", b"1"))
        assert rig.lost().trouble == LOST
        assert rig.inbox.all(Acknowledged) == []


@both_versions
def test_a_reset_connection_is_a_loss(protocol: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.reset()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.open(protocol=protocol)
        lost = rig.lost()
        assert lost.trouble == LOST


@both_versions
def test_what_is_unacknowledged_when_a_connection_ends_is_never_sent_again(protocol: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        if len(broker.peers) == 1:
            peer.read_until(PUBLISH)
        else:
            peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        for _ in range(10):
            rig.publish(Publication("mt1/old", b"old"))
        rig.lost()
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/new", b"new"))
        assert wait_until(lambda: any(each.kind == PUBLISH for each in broker.peers[1].received))
        assert [each.kind for each in broker.peers[1].received] == [CONNECT, PUBLISH]
        assert broker.peers[1].received[1].body.endswith(b"new")


# --- giving up and being stopped while connecting -------------------------------------------------------------------


def test_closing_while_waiting_for_connack_stops_at_once() -> None:
    with ScriptedBroker(Peer.hold) as broker, Rig(settings(broker.port)) as rig:
        rig.open()
        assert wait_until(lambda: broker.received(CONNECT))
        rig.close()
        assert rig.lost().trouble == BrokerTrouble.STOPPED


@pytest.mark.parametrize("scheme", ["mqtts", "ws"])
@pytest.mark.parametrize("stopped", [True, False])
def test_giving_up_in_the_middle_of_connecting_sends_no_connect_later(scheme: str, stopped: bool) -> None:
    heard = threading.Event()

    def script(peer: Peer) -> None:
        peer.says_nothing_for(20)
        heard.set()
        peer.hold()

    with (
        ScriptedBroker(script) as broker,
        Rig(settings(broker.port, scheme=scheme), Limits(answer_s=20 if stopped else 0.3)) as rig,
    ):
        before = threading.active_count()
        rig.open()
        if stopped:
            assert heard.wait(20)
            rig.close()
        assert rig.lost().trouble == (BrokerTrouble.STOPPED if stopped else SILENT)
        assert wait_until(lambda: threading.active_count() <= before)


def test_a_name_that_resolves_too_late_is_unreachable_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    resolve = socket.getaddrinfo

    def slow(*arguments: object, **options: object) -> object:
        released.wait(20)
        return resolve(*arguments, **options)  # type: ignore[arg-type]

    with ScriptedBroker(serving) as broker:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        with Rig(settings(broker.port, host="localhost"), Limits(answer_s=0.2)) as rig:
            before = threading.active_count()
            rig.open()  # returns although the resolver does not
            assert rig.lost().trouble == UNREACHABLE
            released.set()
            assert wait_until(lambda: threading.active_count() <= before)
            monkeypatch.undo()
            rig.connect()
            assert len(broker.received(CONNECT)) == 1
            assert all(not peer.received or peer is broker.peers[-1] for peer in broker.peers)


def test_a_name_that_does_not_exist_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with Rig(settings(1883, host="broker.invalid")) as rig:
        rig.open()
        lost = rig.lost()
        assert lost.trouble == UNREACHABLE
        assert "broker.invalid" in lost.text
        assert "resolved" in lost.text


def test_no_websocket_at_the_path_is_unreachable_and_names_the_path() -> None:
    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port, scheme="ws", path="/wrong")) as rig:
        rig.open()
        lost = rig.lost()
        assert lost.trouble == UNREACHABLE
        assert "/wrong" in lost.text


def test_without_descriptors_opening_fails_with_an_event() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    rig = Rig(settings(1))
    with socket.socket() as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), limits[1]))
        try:
            rig.open()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [event.trouble for event in rig.inbox.wait(BrokerLost)] == [UNREACHABLE]
