"""Clocks that are wrong at boot, are set under way, or jump: nothing is lost, nothing late passes for live."""

import pytest
from lies import YEAR_S, Lies
from scene import Scene, size

from mt1bridge.runtime.clock import SYNCHRONISED

pytestmark = pytest.mark.skipif(SYNCHRONISED.exists(), reason="the system vouches for its clock")
FIRST_STARTS = [10 * YEAR_S, -50 * YEAR_S]


@pytest.fixture
def stage(tmp_path):
    lies = Lies(tmp_path)
    with Scene(tmp_path, {"reconcile": {"interval": "2s"}}) as scene:
        scene.bridge.environment |= lies.environment
        yield scene, lies


def live_again(scene: Scene) -> None:
    """Impulses are told as live, soon."""
    scene.until(lambda: scene.arrives(scene.impulse()) == "trigger", "a live trigger", 30.0)


@pytest.mark.parametrize("off_s", FIRST_STARTS[: size(1, 2)], ids=["ahead", "behind"][: size(1, 2)])
def test_first_start_with_a_wrong_clock(stage, off_s):
    """What is timed from then on is told, and nothing older, whatever the clock said at the start."""
    scene, lies = stage
    older = [scene.impulse(channel, at=scene.simulator.now() - 10 * 10_000_000) for channel in (0, 1)]
    lies.tell(clock_off_s=off_s)
    scene.simulator.connect_fault(kind="status", status=503, times=None)
    scene.simulator.rest_fault(kind="delay", where="count", delay_s=5.0)  # the first reading has to wait
    scene.bridge.start()
    scene.until(lambda: scene.simulator.counters().get("rest_count"), "a count that is not answered yet")
    missed = [scene.impulse(channel) for channel in (0, 1) for _ in range(3)]
    scene.simulator.clear_faults()
    scene.arrive(missed)
    live_again(scene)
    told = set(scene.witness.books.newest)
    assert not told & set(older)
    assert set(missed) <= told


def test_boot_in_1970(stage):
    """With a token, and no call answered: nobody knows the time, so all is late. Then the clock is set."""
    scene, lies = stage
    scene.start("live")
    scene.bridge.kill()
    scene.simulator.rest_fault(kind="reset", times=None)
    lies.tell(clock_off_s=-55 * YEAR_S)
    scene.bridge.start()
    scene.until(lambda: scene.simulator.subscribed(), "a subscription")
    assert scene.arrives(scene.impulse()) == "late"
    scene.simulator.clear_faults()
    live_again(scene)  # compared with the server's Date
    lies.tell(clock_off_s=0.0)
    live_again(scene)
    scene.whole(repeats=0)
    assert scene.logins() == 1
    assert scene.bridge.stop() == 0


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0, 10 * YEAR_S, -10 * YEAR_S][: size(2, 4)])
def test_clock_that_is_set_under_way(stage, step_s):
    """No reconnect, no login; as long as nobody has compared it again, all is late, and then live again."""
    scene, lies = stage
    scene.start("live")
    live_again(scene)
    connects, brokers = scene.simulator.counters()["connects"], scene.mqtt.connections
    lies.tell(clock_off_s=step_s)
    live_again(scene)
    scene.impulse(at=scene.simulator.now() - 60 * 10_000_000)
    scene.whole(repeats=0)
    assert scene.witness.books.event_types["late"] >= 1
    assert (scene.simulator.counters()["connects"], scene.mqtt.connections) == (connects, brokers)
    assert scene.logins() == 1
    assert scene.bridge.stop() == 0
