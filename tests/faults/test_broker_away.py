"""The broker dies, restarts, stands still, swallows: what it has not acknowledged waits in the journal."""

import time

import pytest
from mosquitto import Options, Recorder
from process import DEVICE, OTHER
from scene import ROOM, WINDOW, Scene, size
from status_lines import StatusLines

BACKLOG = size(1500, 10_000)
GROWTH_MB = 10.0


@pytest.mark.parametrize("persistence", [False, True][: size(1, 2)], ids=["forgetful", "persistent"][: size(1, 2)])
def test_broker_killed_and_restarted_under_load(tmp_path, persistence):
    with Scene(tmp_path, broker=Options(persistence=persistence, extra=ROOM)) as scene:
        scene.start()
        load = scene.simulator.load(count=size(250, 3000), per_second=50, corrections=0.1, seed=11)
        kills = size(2, 20)
        for _kill in range(kills):
            told = scene.witness.told()
            scene.witness.wait(lambda told=told: scene.witness.told() > told + 20, "a stream")
            scene.kill_broker()
            scene.broker_back()
        scene.simulator.wait_load(load)
        scene.whole(repeats=0)
        with Recorder(scene.broker.port, "mt1/bridge/#", f"mt1/device/{DEVICE}/#") as newcomer:
            there = {f"mt1/device/{DEVICE}/C0/last", f"mt1/device/{DEVICE}/recent", "mt1/bridge/info"}
            assert newcomer.wait_until(lambda: there <= {one.topic for one in newcomer.messages() if one.payload})
        assert scene.logins() == 1


def test_backlog_is_on_disk_and_drains_in_order(tmp_path, record_property):
    with Scene(tmp_path) as scene, StatusLines(tmp_path) as status:
        scene.bridge.environment["NOTIFY_SOCKET"] = status.path
        scene.start("live")
        before = scene.rss_mb()
        scene.mqtt.refuse()
        scene.mqtt.reset()
        scene.until(lambda: "broker: unreachable" in status.newest(), "the broker's state")
        start = scene.simulator.now() - 3600 * 10_000_000  # an hour ago: no automation may act on it
        load = scene.simulator.load(count=BACKLOG, per_second=500, seed=2, start=start)
        scene.simulator.wait_load(load)
        grown, begun = scene.rss_mb() - before, time.monotonic()
        scene.mqtt.accept()
        scene.until(lambda: "broker: draining" in status.newest(), "the broker's state")
        scene.all_told(BACKLOG)
        took = time.monotonic() - begun
        scene.whole(repeats=0)
        scene.until(lambda: "broker: connected" in status.newest(), "the broker's state")
        assert set(scene.witness.books.event_types) == {"late"}
        assert scene.witness.newest(f"device/{DEVICE}/C0/tally")["published"] > 0
        assert grown < GROWTH_MB
        figures = f"{BACKLOG} in {took:.1f} s, {BACKLOG / took:.0f}/s; {grown:.1f} MB more while away"
        record_property("figures", figures)
        print(figures)
        assert scene.bridge.stop() == 0


def test_live_triggers_of_other_channels_pass_a_backlog(tmp_path, record_property):
    """Order holds on a channel, and costs the drain time there; no other channel waits for it."""
    backlog, live = size(800, 100_000), size(3, 60)
    with Scene(tmp_path, devices=(DEVICE, OTHER)) as scene:
        scene.start("live")
        before = scene.rss_mb()
        scene.mqtt.refuse()
        scene.mqtt.reset()
        load = scene.simulator.load(count=backlog, per_second=500, devices=[DEVICE], channels=[0], seed=2)
        scene.simulator.wait_load(load, backlog / 400 + 60)
        grown = scene.rss_mb() - before
        scene.mqtt.throttle(120_000)
        scene.mqtt.accept()
        scene.witness.wait(scene.witness.told, "the first of the backlog")
        waits = []
        for number in range(live):
            begun = time.monotonic()
            names = [scene.impulse(1, OTHER), scene.impulse(1, DEVICE)]
            assert [scene.arrives(name) for name in names] == ["trigger"] * 2
            waits.append(time.monotonic() - begun)
            assert scene.witness.told() < backlog, f"the backlog was gone after {number} live ones"
        scene.mqtt.throttle(None)
        scene.all_told(backlog + 2 * live)
        scene.whole(repeats=0)
        drained = scene.rss_mb() - before
        assert max(grown, drained) < GROWTH_MB
        figures = f"past {backlog}: {sorted(waits)[live // 2]:.2f} s in the middle, {max(waits):.2f} s at most"
        figures += f"; {grown:.1f} MB more while away, {drained:.1f} MB once drained"
        record_property("figures", figures)
        print(figures)


def test_frozen_broker(tmp_path):
    """SIGSTOP: the connection stands and is silent. A short stop is waited for; a long one is noticed."""
    with Scene(tmp_path) as scene:
        scene.start()
        scene.arrives(scene.impulse())
        scene.broker.freeze()
        names = [scene.impulse(channel) for channel in (0, 1) for _ in range(20)]
        time.sleep(size(3, 70))  # the fault itself
        scene.broker.thaw()
        scene.arrive(names)
        if size(0, 1):
            assert scene.bridge.notes("broker_lost")[0]["cause"] == "silent"
        scene.whole(repeats=size(0, WINDOW))


@pytest.mark.full
def test_broker_that_accepts_and_never_answers(tmp_path):
    with Scene(tmp_path) as scene, StatusLines(tmp_path) as status:
        scene.bridge.environment["NOTIFY_SOCKET"] = status.path
        scene.start()
        scene.mqtt.hang()
        scene.mqtt.reset()
        name = scene.impulse()
        scene.until(lambda: "has not been heard of" in status.newest(), "the broker's state and reason")
        scene.mqtt.clear()
        assert scene.arrives(name) in ("trigger", "late")
        scene.whole(repeats=0)


def test_acknowledgements_swallowed_before_each_drop(tmp_path, record_property):
    """Repeats there must be: exactly those whose acknowledgement was lost, and equal but for event_type."""
    drops = size(4, 40)
    with Scene(tmp_path) as scene:
        scene.start()
        load = scene.simulator.load(count=size(300, 4000), per_second=50, corrections=0.1, seed=13)
        for _drop in range(drops):
            told = scene.witness.told()
            scene.witness.wait(lambda told=told: scene.witness.told() > told + 10, "a stream")
            scene.mqtt.swallow(up=False, down=True)
            time.sleep(0.05)  # the length of the fault
            scene.mqtt.clear()
        scene.simulator.wait_load(load)
        lost = scene.mqtt.down.swallowed // 4  # a PUBACK is 4 bytes long, or longer
        repeats = scene.whole(repeats=lost + 5 * drops)  # and what was on its way in either direction at the reset
        assert repeats > 0
        figures = f"{drops} drops, {lost} acknowledgements swallowed, {repeats} repeats"
        record_property("figures", figures)
        print(figures)


def test_half_open_towards_the_broker(tmp_path):
    """Nothing arrives in either direction, and nobody says so."""
    with Scene(tmp_path) as scene:
        scene.start()
        scene.arrives(scene.impulse())
        scene.mqtt.swallow()
        names = [scene.impulse() for _ in range(5)]
        if size(0, 1):  # the silence is noticed by itself
            scene.until(lambda: scene.bridge.notes("broker_lost"), "the silence", 90.0)
        scene.mqtt.clear()
        scene.arrive(names)
        scene.whole(repeats=5)


@pytest.mark.full
def test_slow_broker_sets_the_pace(tmp_path):
    """What it cannot take yet waits in the journal; of the state and of every channel something comes through."""
    with Scene(tmp_path) as scene:
        scene.start()
        scene.mqtt.throttle(30_000)
        load = scene.simulator.load(count=size(400, 5000), per_second=200, seed=17)
        scene.simulator.wait_load(load)
        told = len(scene.witness.seen("bridge/health"))
        scene.witness.publish("mt1/bridge/request/health", {"transaction": "slow"})
        scene.witness.wait(lambda: scene.witness.newest("bridge/response/health"), "an answer in between")
        assert told >= 1
        scene.mqtt.throttle(None)
        scene.whole(repeats=0)
