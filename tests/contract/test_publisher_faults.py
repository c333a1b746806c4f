"""The publisher against a real mosquitto that dies, freezes, or gives our place to another."""

import gc
import os
import threading
from pathlib import Path

import pytest
from mosquitto import Mosquitto, Recorder, free_port, wait_until
from publisher_rig import Rig, settings

from mt1bridge.model.broker import Acknowledged, BrokerConnected, BrokerLost, BrokerTrouble, Publication
from mt1bridge.mqtt.client import Limits

both_versions = pytest.mark.parametrize("protocol", [5, 4])


@both_versions
def test_a_killed_broker_is_a_loss_and_a_new_connection_works_once_it_is_back(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect("mt1/#", protocol=protocol)
        broker.kill()
        assert rig.lost().trouble == BrokerTrouble.LOST

        rig.open(protocol=protocol)
        assert rig.lost().trouble == BrokerTrouble.UNREACHABLE

        broker.start()
        rig.connect(protocol=protocol)
        rig.publish(Publication("mt1/x", b"1"))
        rig.inbox.wait(Acknowledged)


@both_versions
def test_nothing_handed_over_to_a_lost_connection_is_sent_on_the_next(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        broker.freeze()
        for _ in range(50):
            rig.publish(Publication("mt1/old", b"old"))
        broker.kill()
        rig.lost()
        for _ in range(50):
            rig.publish(Publication("mt1/old", b"old"))  # for the connection that is gone

        broker.start()
        with Recorder(broker.port) as recorder:
            rig.connect(protocol=protocol)
            rig.publish(Publication("mt1/new", b"new"))
            rig.inbox.wait(Acknowledged)
            assert recorder.wait_for(1)
            assert {each.topic for each in recorder.messages()} == {"mt1/new"}


@both_versions
def test_a_broker_that_stops_in_good_order_is_a_loss(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig:
        rig.connect(protocol=protocol)
        broker.restart()
        assert rig.lost().trouble == BrokerTrouble.LOST


@both_versions
def test_a_frozen_broker_is_silent(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port), Limits(keepalive_s=1)) as rig:
        rig.connect(protocol=protocol)
        broker.freeze()
        assert rig.lost().trouble == BrokerTrouble.SILENT
        broker.thaw()
        rig.connect(protocol=protocol)


@both_versions
def test_a_frozen_broker_is_silent_also_while_much_is_on_its_way(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port), Limits(keepalive_s=1)) as rig:
        rig.connect(protocol=protocol, will=None)
        broker.freeze()
        for _ in range(100):
            rig.publish(Publication("mt1/x", b"x" * 100_000))  # more than the sockets hold
        assert rig.lost().trouble == BrokerTrouble.SILENT


@both_versions
def test_closing_towards_a_frozen_broker_ends(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port), Limits(farewell_s=0.2)) as rig:
        rig.connect(protocol=protocol)
        broker.freeze()
        for _ in range(100):
            rig.publish(Publication("mt1/x", b"x" * 100_000))
        rig.close()
        assert rig.lost().trouble == BrokerTrouble.STOPPED
        rig.publisher.join(20)
        assert not rig.publisher.thread_alive()


@both_versions
def test_a_broker_that_is_frozen_before_we_come_is_silent(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port), Limits(answer_s=0.3)) as rig:
        broker.freeze()  # the kernel goes on accepting connections for it
        rig.open(protocol=protocol)
        assert rig.lost().trouble == BrokerTrouble.SILENT


@both_versions
def test_a_quiet_connection_is_kept_alive(tmp_path: Path, protocol: int) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port), Limits(keepalive_s=1)) as rig:
        rig.connect(protocol=protocol)
        assert wait_until(lambda: broker.log().count("Received PINGREQ from mt1bridge") >= 2)
        assert rig.inbox.all(BrokerLost) == []


@both_versions
def test_the_third_quick_close_is_taken_for_a_take_over(tmp_path: Path, protocol: int) -> None:
    # mosquitto 2.0.11 tells no client why it closes; a newer one tells those of MQTT 5
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port)) as rig, Rig(settings(broker.port)) as other:
        for trouble in (BrokerTrouble.LOST, BrokerTrouble.LOST, BrokerTrouble.TAKEN_OVER):
            rig.connect(protocol=protocol)
            other.connect(protocol=protocol)
            lost = rig.lost()
            assert lost.trouble == (BrokerTrouble.TAKEN_OVER if lost.reason is not None else trouble)


def test_the_will_is_published_when_the_connection_is_lost(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        Recorder(broker.port, "mt1/bridge/state") as recorder,
        Rig(settings(broker.port)) as rig,
        Rig(settings(broker.port)) as other,
    ):
        rig.connect(protocol=4)
        other.connect(protocol=4, will=None)  # with the same client id: the first is thrown out
        rig.lost()
        assert recorder.wait_for(1)
        assert recorder.messages()[0].payload == b"offline"


def test_nobody_at_the_port_is_unreachable_and_says_where() -> None:
    port = free_port()
    for host, place in (("127.0.0.1", f"127.0.0.1:{port}"), ("::1", f"[::1]:{port}")):
        with Rig(settings(port, host=host)) as rig:
            rig.open()
            lost = rig.lost()
            assert lost.trouble == BrokerTrouble.UNREACHABLE
            assert place in lost.text
            assert "refused" in lost.text


def test_a_thousand_connections_leave_nothing_behind(tmp_path: Path) -> None:
    def once() -> None:
        rig.connect("mt1/request/#")
        rig.publish(Publication("mt1/x", b"x" * 300, properties=(("id", "1"),)))
        count = rig.connection
        rig.inbox.wait_until(lambda: any(event.connection == count for event in rig.inbox.all(Acknowledged)))
        rig.close()
        rig.lost()
        rig.publisher.join(20)
        rig.inbox.clear()

    def rss() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Mosquitto(tmp_path) as broker:
        rig = Rig(settings(broker.port))
        for _ in range(200):
            once()
        before = rss()
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(800):
            once()
        assert threading.active_count() <= threads
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        assert rss() - before < 2_000_000


def test_a_thousand_refused_connections_leave_nothing_behind() -> None:
    rig = Rig(settings(free_port()))
    for _ in range(50):
        rig.open()
        rig.lost()
    rig.publisher.join(20)
    gc.collect()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        rig.open()
        rig.lost()
    rig.publisher.join(20)
    assert wait_until(lambda: threading.active_count() <= threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert len(rig.inbox.all(BrokerLost)) == 1050
    assert rig.inbox.all(BrokerConnected) == []
