"""The broker says no: to our password, to a topic, to a size, to our place. Nothing is lost, and mending is enough."""

import subprocess

import paho.mqtt.client as paho
import pytest
import yaml
from mosquitto import Mosquitto, Options
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from process import DEVICE
from scene import ROOM, Scene, size
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
