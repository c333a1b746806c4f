"""SIGKILL of the bridge, at any instant: nothing is lost, and repeated is at most what was in flight."""

import random
import signal
import time

from scene import WINDOW, Scene, size

KILLS = size(6, 50)
TRIGGERS = size(300, 2000)
PER_SECOND = 40


def test_killed_at_random_points_of_a_stream(tmp_path, record_property):
    chance = random.Random(20260214)
    with Scene(tmp_path) as scene:
        scene.mqtt.delay(0.05)  # so that there is always something in flight
        scene.start()
        load = scene.simulator.load(count=TRIGGERS, per_second=PER_SECOND, corrections=0.1, seed=7)
        repeats = []
        for _kill in range(KILLS):
            time.sleep(chance.uniform(0.2, 2.0))  # anywhere: while it starts, catches up, in steady state
            scene.bridge.kill()
            repeats.append(scene.witness.books.repeats)
            scene.bridge.start()
        scene.simulator.wait_load(load)
        scene.whole(repeats=WINDOW * KILLS)
        per_kill = [after - before for before, after in zip(repeats, [*repeats[1:], scene.repeats], strict=True)]
        assert 0 < max(per_kill) <= WINDOW
        assert scene.logins() == 1
        figures = f"{KILLS} kills, {TRIGGERS} triggers: repeats {sum(per_kill)}, at most {max(per_kill)} per kill"
        record_property("figures", figures)
        print(figures)
        assert scene.bridge.stop() == 0


def test_stopped_and_continued(tmp_path):
    """SIGSTOP, as where the machine sleeps: who waited for us has gone meanwhile, and nothing is missing."""
    with Scene(tmp_path) as scene:
        scene.simulator.behave(drop_silent_clients=True)
        scene.start("live")
        load = scene.simulator.load(count=size(300, 3000), per_second=40, corrections=0.1, seed=9)
        scene.witness.wait(lambda: scene.witness.told() > 20, "a stream")
        scene.bridge.signal(signal.SIGSTOP)
        time.sleep(size(3, 60))  # the fault itself
        scene.bridge.signal(signal.SIGCONT)
        scene.simulator.wait_load(load)
        scene.whole(repeats=WINDOW)
        assert scene.logins() == 1
        assert scene.bridge.stop() == 0


def test_both_sides_break_again_and_again(tmp_path, record_property):
    """With periods of their own, so that pausing and going on meet in every order."""
    seconds = size(8, 120)
    with Scene(tmp_path, {"reconcile": {"interval": "2s"}}) as scene:
        scene.mqtt.delay(0.05)  # so that there is always something in flight
        scene.start("live")
        load = scene.simulator.load(count=30 * seconds, per_second=30, corrections=0.1, seed=21)
        end, next_cloud, next_broker, drops = time.monotonic() + seconds, 0.0, 0.0, 0
        while (now := time.monotonic()) < end:
            if now >= next_cloud:
                scene.cloud.reset()
                next_cloud = now + 3.7
            if now >= next_broker:
                drops += scene.mqtt.reset()
                next_broker = now + 2.3
            time.sleep(max(0.0, min(next_cloud, next_broker, end) - time.monotonic()))
        scene.simulator.wait_load(load)
        scene.wait_state("live", deadline_s=240.0)  # the next try may be a minute away, and all of it is in history
        repeats = scene.whole(repeats=WINDOW * drops)
        figures = f"{drops} broker connections reset, {30 * seconds} triggers: {repeats} repeats"
        record_property("figures", figures)
        print(figures)
        assert scene.logins() == 1
        assert scene.bridge.stop() == 0


def test_killed_while_it_catches_up(tmp_path):
    """A backlog drains with a smaller window: each kill repeats twenty messages at most."""
    chance = random.Random(5)
    with Scene(tmp_path) as scene:
        scene.start()
        scene.mqtt.refuse()
        scene.mqtt.reset()
        load = scene.simulator.load(count=size(1000, 10_000), per_second=500, seed=3)
        scene.simulator.wait_load(load)
        scene.mqtt.accept()
        scene.mqtt.throttle(300_000)
        for _kill in range(size(3, 10)):
            before, told = scene.witness.books.repeats, scene.witness.told()
            scene.witness.wait(lambda told=told: scene.witness.told() > told + 20, "progress")
            time.sleep(chance.uniform(0.0, 0.2))
            scene.bridge.kill()
            scene.bridge.start()
            told = scene.witness.told()
            scene.witness.wait(lambda told=told: scene.witness.told() > told, "progress after the kill")
            assert scene.witness.books.repeats - before <= 20
        scene.mqtt.throttle(None)
        scene.whole(repeats=20 * size(3, 10))
