"""Planned changes of the push connection: the next one stands before the one before it ends.

The stream that runs meanwhile is shown by push alone: history could not make good for a moment without a subscription.
"""

import time
from collections.abc import Callable

import pytest
from process import DEVICE, OTHER
from scene import FLOWS, PATIENCE_S, Scene


@pytest.fixture
def scene(tmp_path):
    with Scene(tmp_path, {"reconcile": {"interval": "2s"}}) as scene:
        scene.start("live")
        yield scene


def stream_until(scene: Scene, condition: Callable[[], object], what: str) -> None:
    end, number = time.monotonic() + PATIENCE_S, 0
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s; {scene.tail()}"
        scene.impulse(number % 2, listed=False, counted=False)
        number += 1


def replaced(scene: Scene, connects: int) -> bool:
    """Whether another connection came, and the one before it is gone."""
    return scene.simulator.counters()["connects"] > connects and len(scene.simulator.sessions()) == 1


def without_a_gap(scene: Scene, since: float) -> None:
    """All of the stream was told, once, at once; nobody was told of an outage."""
    scene.whole(repeats=0)
    assert set(scene.witness.books.event_types) == {"trigger"}
    assert not scene.bridge.notes("link_lost")
    told = [body["state"] for at, body in scene.witness.seen("bridge/upstream") if at > since]
    assert set(told) <= set(FLOWS)


def test_a_token_is_renewed_without_a_gap(scene):
    scene.simulator.behave(expiry_on_socket="keep", connect_token="error")
    scene.bridge.kill()
    scene.let_pass(60)  # the last login is a minute ago
    scene.start("live")
    begun, connects = time.time(), scene.simulator.counters()["connects"]
    scene.simulator.expire_tokens()
    stream_until(scene, lambda: replaced(scene, connects), "another connection with another token")
    without_a_gap(scene, begun)
    assert (scene.logins(), scene.simulator.tokens()) == (2, 1)


def test_another_device_is_subscribed_to_without_a_gap(scene):
    scene.simulator.add_device(device=OTHER)
    begun, connects = time.time(), scene.simulator.counters()["connects"]
    scene.reload(mt1={"devices": {DEVICE: {}, OTHER: {}}})
    stream_until(scene, lambda: replaced(scene, connects), "another connection for both devices")
    assert scene.arrives(scene.impulse(1, OTHER)) == "trigger"
    without_a_gap(scene, begun)


def test_what_the_slower_of_two_connections_brings_is_not_told_again(scene):
    """A start and its clear are both told before the start comes by the other connection."""
    scene.simulator.add_device(device=OTHER)
    begun, connects = time.time(), scene.simulator.counters()["connects"]
    scene.cloud.delay_coming(0.7)
    scene.reload(mt1={"devices": {DEVICE: {}, OTHER: {}}})
    scene.until(lambda: scene.simulator.subscribed(device=DEVICE) == 2, "both connections subscribed")
    for number in range(20):
        key = scene.simulator.impulse(device=DEVICE, channel=number % 2)
        scene.simulator.clear(device=DEVICE, channel=number % 2, timestamp=key["timestamp"])
    last = scene.impulse(1)
    scene.until(lambda: replaced(scene, connects), "the slower connection alone")
    scene.arrives(last)
    scene.whole(repeats=0)
    assert scene.witness.books.event_types == {"trigger": 21, "cleared": 20}
    assert not [body for at, body in scene.witness.seen("bridge/event") if at > begun and body["event_type"] == "gap"]
