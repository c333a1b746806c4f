"""The broker says no: to our password, to a topic, to a size, to our place. Nothing is lost, and mending is enough."""

import struct
import subprocess
import time

import paho.mqtt.client as paho
import pytest
import yaml
from mosquitto import Mosquitto, Options
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from process import DEVICE
from scene import ROOM, Scene, size
from scripted_broker import PINGREQ, PINGRESP, PUBLISH, SUBACK, SUBSCRIBE, Packet, Peer, ScriptedBroker, packet, puback
from status_lines import StatusLines

WITNESS = ("witness", "sees-all")


def acl_file(broker: Mosquitto, text: str) -> None:
    (broker_directory(broker) / "acl").write_text(text)
    broker.reload()


def broker_directory(broker: Mosquitto):
    return broker._directory  # the files that it was started with are to be changed


def test_wrong_password_mended_in_our_file(tmp_path):
    users = {"bridge": "right", WITNESS[0]: WITNESS[1]}
    login = {"mqtt": {"username": "bridge", "password": "wrong"}}
    broker = Options(users=users, extra=ROOM)
    with Scene(tmp_path, login, broker, login=WITNESS) as scene, StatusLines(tmp_path) as status:
        scene.bridge.environment["NOTIFY_SOCKET"] = status.path
        scene.bridge.start()
        scene.until(lambda: "broker: refused" in status.newest(), "the broker's state")
        scene.until(lambda: scene.simulator.subscribed(), "the subscription goes on")
        name = scene.impulse()
        scene.bridge.settings["mqtt"]["password"] = "right"
        scene.bridge.file.write_text(yaml.safe_dump(scene.bridge.settings))
        scene.bridge.signal(1)
        scene.arrives(name)
        assert scene.logged("broker_lost")["cause"] == "refused"
        scene.whole(repeats=0)


@pytest.mark.full
def test_wrong_password_mended_at_the_broker(tmp_path):
    users = {"bridge": "another", WITNESS[0]: WITNESS[1]}
    login = {"mqtt": {"username": "bridge", "password": "right"}}
    broker = Options(users=users, extra=ROOM)
    with Scene(tmp_path, login, broker, login=WITNESS) as scene:
        scene.bridge.start()
        scene.logged("broker_lost")
        scene.until(lambda: scene.simulator.subscribed(), "the subscription goes on")
        name = scene.impulse()
        passwords = broker_directory(scene.broker) / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), "bridge", "right"], check=True, capture_output=True)
        scene.broker.reload()
        scene.arrives(name)
        scene.whole(repeats=0)


def test_one_channel_refused_by_the_acl_and_mended(tmp_path):
    everything = "topic readwrite #\n"
    denied = f"topic deny mt1/device/{DEVICE}/C1/trigger\n"
    with Scene(tmp_path, broker=Options(acl=denied + everything, extra=ROOM)) as scene:
        scene.start()
        held = [scene.impulse(1) for _ in range(5)]
        flowing = [scene.impulse(0) for _ in range(5)]
        scene.arrive(flowing)
        scene.logged("broker_lost")
        if scene.bridge.notes("publish_refused"):  # a reset may swallow the PUBACK that says why
            assert scene.logged("publish_refused")["reason"] == "0x87"
        assert not any(name in scene.witness.books.impulses for name in held)
        acl_file(scene.broker, everything)
        held.append(scene.impulse(1))
        scene.arrive(held)
        lost = len(scene.bridge.notes("broker_lost"))
        assert lost <= 4, "it does not knock at a closed door again and again"
        scene.whole(repeats=10 * lost)  # mosquitto 2.0.11 ends the connection with every refusal
        assert scene.bridge.stop() == 0


def test_a_message_that_is_too_large_stops_nothing_else(tmp_path):
    """`recent` with its twenty triggers is larger than this broker takes; the triggers themselves are not."""
    with Scene(tmp_path, broker=Options(max_packet_size=1500, extra=ROOM)) as scene:
        scene.start()
        names = [scene.impulse(channel) for channel in (0, 1) for _ in range(10)]
        scene.arrive(names)
        scene.until(lambda: scene.bridge.notes("publish_refused"), "the refusal in the log")
        scene.simulator.impulse(device=DEVICE, channel=0, type="Odd", extra={"text": "x" * 1500})
        after = [scene.impulse(0), scene.impulse(1)]
        scene.arrives(after[1])
        if size(0, 1):  # three tries, half a minute apart
            scene.arrives(after[0], 120.0)
            assert scene.logged("publish_given_up")["level"] == "error"
            scene.check_log()


def test_a_broker_that_only_closes_on_what_is_too_large(tmp_path):
    """In MQTT 3.1.1 it has no word for it. That one is left in the end, and nothing else is; the rest flows."""
    old = {"mqtt": {"protocol": "3.1.1"}}
    with Scene(tmp_path, old, broker=Options(max_packet_size=1500, extra=ROOM)) as scene:
        scene.start("live")
        scene.arrives(scene.impulse(0))
        scene.simulator.impulse(device=DEVICE, channel=0, type="Odd", extra={"text": "x" * 3000})
        behind = [scene.impulse(0) for _ in range(2)]
        flowing = [scene.impulse(1) for _ in range(2)]
        scene.arrive(flowing, 20.0)
        assert not any(name in scene.witness.books.impulses for name in behind)
        scene.arrive(behind, 90.0)
        [note] = [note for note in scene.bridge.notes("publish_given_up") if "id" in note]
        assert note["level"] == "error"
        assert f"{DEVICE}-C0-" in note["id"]
        assert scene.bridge.notes("publish_doubted")
        more = [scene.impulse(channel) for channel in (0, 1) for _ in range(3)]  # `recent` is too large by now
        scene.arrive(more, 30.0)
        left_out = f"mt1/device/{DEVICE}/recent"
        scene.until(lambda: [n for n in scene.bridge.notes("publish_given_up") if n.get("topic") == left_out], left_out)
        scene.until(lambda: scene.witness.newest(f"device/{DEVICE}/C0/tally")["published"] == 6, "the tally")
        lost = len(scene.bridge.notes("broker_lost"))
        assert lost <= 14
        scene.arrive([scene.impulse(channel) for channel in (0, 1) for _ in range(3)])
        assert len(scene.bridge.notes("broker_lost")) == lost, "it goes on in peace"
        scene.check_log()
        assert scene.bridge.stop() == 0


def test_a_broker_without_qos_1_gets_nothing(tmp_path):
    """Nothing that it acknowledges could be relied on: say so, and deliver once it can be."""
    with Scene(tmp_path, broker=Options(extra=ROOM)) as scene, StatusLines(tmp_path) as status:
        lax = Mosquitto(tmp_path, Options(max_qos=0))
        with lax:
            scene.mqtt.target = lax.port
            scene.bridge.environment["NOTIFY_SOCKET"] = status.path
            scene.bridge.start()
            scene.until(lambda: "QoS 1" in status.newest(), "the reason")
            scene.until(lambda: scene.simulator.subscribed(), "the subscription")
            name = scene.impulse()
        scene.mqtt.target = scene.broker.port
        scene.arrives(name)
        scene.whole(repeats=0)


def granted(subscribe: Packet) -> bytes:
    """SUBACK of MQTT 5 for all filters of a SUBSCRIBE."""
    filters, rest = 0, subscribe.body[3 + subscribe.body[2] :]
    while rest:
        filters, rest = filters + 1, rest[3 + struct.unpack_from("!H", rest)[0] :]
    return packet(SUBACK, subscribe.body[:2] + b"\0" + b"\1" * filters)


class Unwilling:
    """A broker that lives and takes nothing. reason: of its PUBACK; None: there is no PUBACK."""

    def __init__(self, reason: int | None) -> None:
        self._reason = reason

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        peer.be_patient(120.0)
        while True:
            arrived = peer.read()
            if arrived.kind == SUBSCRIBE:
                peer.send(granted(arrived))
            elif arrived.kind == PINGREQ:
                peer.send(packet(PINGRESP))
            elif arrived.kind == PUBLISH and self._reason is not None:
                peer.send(puback(arrived.identifier, self._reason))


@pytest.mark.parametrize("reason", [0x97, 0x80][: size(1, 2)], ids=["quota exceeded", "unspecified"][: size(1, 2)])
def test_a_broker_that_refuses_every_message(tmp_path, reason):
    """Not one counts as delivered, not one is tried without a pause; they come when it takes them."""
    with Scene(tmp_path) as scene, ScriptedBroker(Unwilling(reason)) as unwilling:
        scene.mqtt.target = unwilling.port
        scene.bridge.start()
        scene.until(lambda: scene.simulator.subscribed(), "the subscription goes on")
        names = [scene.impulse(channel) for channel in (0, 1) for _ in range(10)]
        assert scene.logged("publish_refused")["reason"] == f"0x{reason:02X}"
        scene.until(lambda: len(triggers(unwilling)) >= 2, "a try of each channel")
        time.sleep(size(3, 30))  # the fault itself
        assert len(triggers(unwilling)) <= 2 * len(names) * size(1, 6), "a pause of 5 s at least after each refusal"
        assert not scene.bridge.notes("broker_lost")
        scene.mqtt.target = scene.broker.port
        scene.mqtt.reset()
        scene.arrive(names)
        scene.whole(repeats=0)
        assert scene.bridge.stop() == 0


def triggers(broker: ScriptedBroker) -> list[Packet]:
    return [each for each in broker.received(PUBLISH) if each.body[2:].startswith(b"mt1/device/") and is_trigger(each)]


def is_trigger(publish: Packet) -> bool:
    return publish.body[2 : 2 + struct.unpack_from("!H", publish.body)[0]].endswith(b"/trigger")


@pytest.mark.full
def test_a_broker_that_answers_pings_and_acknowledges_nothing(tmp_path):
    """After a minute it is connected to anew, for on a connection nothing may be sent twice."""
    with Scene(tmp_path) as scene, ScriptedBroker(Unwilling(None)) as unwilling:
        scene.mqtt.target = unwilling.port
        scene.bridge.start()
        scene.until(lambda: scene.simulator.subscribed(), "the subscription goes on")
        names = [scene.impulse(channel) for channel in (0, 1) for _ in range(3)]
        scene.until(lambda: scene.bridge.notes("broker_lost"), "the end of patience", 100.0)
        note = scene.logged("broker_lost")
        assert note["cause"] == "silent"
        assert "does not acknowledge" in note["text"]
        scene.mqtt.target = scene.broker.port
        scene.mqtt.reset()
        scene.arrive(names)
        scene.whole(repeats=0)
        assert scene.bridge.stop() == 0


def test_two_bridges_on_one_base_topic(tmp_path):
    """The second one publishes nothing, and says why; when the first one has ended, it takes over."""
    with Scene(tmp_path) as scene, StatusLines(tmp_path) as status:
        scene.start()
        first = scene.bridge
        scene.arrives(scene.impulse())
        second = scene.another("second", {"instance": "second"})
        second.environment["NOTIFY_SOCKET"] = status.path
        second.start()
        scene.until(lambda: second.notes("other_instance_found"), "the other one is noticed")
        scene.until(lambda: "broker: refused" in status.newest(), "the state of the second")
        scene.until(lambda: scene.simulator.subscribed() == 2, "its subscription goes on")
        both = [scene.impulse(channel) for channel in (0, 1) for _ in range(5)]
        scene.arrive(both)
        scene.whole(repeats=0)
        assert len(scene.witness.books.journals) == 1
        assert scene.witness.newest("bridge/info")["instance"] == "testbridge"
        if size(0, 1):  # it looks again every minute
            assert first.stop() == 0
            missed = scene.impulse()
            scene.arrives(missed, 90.0)
            scene.until(lambda: scene.witness.newest("bridge/info")["instance"] == "second", "its own info")
            assert {scene.witness.books.newest[name]["event_type"] for name in both} == {"late"}
        assert second.stop() == 0


def test_another_client_takes_our_session_again_and_again(tmp_path):
    with Scene(tmp_path) as scene:
        scene.start()
        scene.arrives(scene.impulse())
        other = paho.Client(CallbackAPIVersion.VERSION2, client_id="testbridge", protocol=MQTTProtocolVersion.MQTTv5)
        other.reconnect_delay_set(1, 1)
        other.connect("127.0.0.1", scene.broker.port)
        other.loop_start()
        try:
            names = [scene.impulse() for _ in range(3)]
            scene.logged("broker_lost", size(1, 6))
        finally:
            other.disconnect()
            other.loop_stop()
        scene.arrive(names)
        if size(0, 1):
            scene.until(lambda: scene.witness.newest("bridge/alert/other_instance"), "the alert")
        scene.whole(repeats=3)
