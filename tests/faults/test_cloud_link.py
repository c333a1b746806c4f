"""The push connection breaks in every way: seen at once, mended alone, and what it missed comes from history."""

import time
from datetime import datetime
from itertools import pairwise

import pytest
from certificates import Authority
from lies import Lies
from mosquitto import Tls, free_port
from scene import FLOWS, Scene, size

CLOSE_CODES = size(1, 9)
NO_LOGINS = 1  # that of the first start alone


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Scene(tmp_path_factory.mktemp("link"), {"reconcile": {"interval": "2s"}}) as scene:
        scene.start("live")
        yield scene


@pytest.fixture
def scene(stage):
    stage.calm()
    return stage


def restored(scene: Scene) -> None:
    """Push flows again, and brings what is timed now; everything else has arrived too."""
    scene.wait_state(*FLOWS)
    scene.until(lambda: scene.simulator.subscribed(), "a subscription")
    assert scene.arrives(scene.impulse()) == "trigger"
    scene.whole(repeats=0)
    assert scene.logins() == NO_LOGINS


def test_storm_of_resets(scene):
    seconds = size(5, 60)
    before = scene.simulator.counters()["connects"]
    scene.simulator.flap(shortest_s=0.1, longest_s=0.8, for_s=seconds)
    load = scene.simulator.load(count=30 * seconds, per_second=30, seed=3)
    scene.simulator.wait_load(load)
    restored(scene)
    assert scene.simulator.counters()["connects"] - before <= 12


@pytest.mark.parametrize(
    ("action", "code", "reason"),
    [
        ("close", 3000, "Go away!"),
        ("close", 2010, "Another connection still open"),
        ("close_frame", 1011, "a fault of the server"),
        ("error", 3000, "token expired"),
        ("drop", 3000, ""),
        ("close", 1000, "Normal closure"),
        ("close", 1002, "No response from heartbeat"),
        ("close", 1008, "Too many"),
        ("close", 4999, "nobody knows"),
    ][:CLOSE_CODES]
    + ([] if size(0, 1) else [("error", 3000, "something went wrong")]),
)
def test_closed_by_the_server(scene, action, code, reason):
    begun = time.time()
    lost = len(scene.bridge.notes("link_lost"))
    scene.cloud.refuse()  # so that the state can be seen before it is over
    scene.simulator.sockets(action=action, code=code, reason=reason)
    missed = scene.impulse()
    scene.logged("link_lost", lost + 1)
    status = scene.visible("link_lost", "disconnected", since=begun)
    assert status["reasons"]
    assert status["next_try_at"]
    scene.cloud.accept()
    scene.arrives(missed)
    restored(scene)


def test_server_down_and_up(scene):
    begun = time.time()
    lost = len(scene.bridge.notes("link_lost"))
    scene.cloud.refuse()
    scene.cloud.reset()
    missed = [scene.impulse(channel) for channel in (0, 1) for _ in range(5)]
    scene.logged("link_lost", lost + 1)
    status = scene.visible("link_lost", "disconnected", since=begun)
    assert status["reasons"]
    assert status["next_try_at"]
    scene.cloud.accept()
    scene.arrive(missed)
    scene.until(lambda: scene.witness.events("link_restored"), "its end on bridge/event")
    restored(scene)


def test_server_that_accepts_and_never_answers(scene):
    begun = time.time()
    scene.cloud.hang()
    scene.cloud.reset()
    missed = scene.impulse()
    status = scene.wait_state("disconnected", since=begun)
    assert status["next_try_at"]
    scene.cloud.clear()
    scene.arrives(missed)
    restored(scene)


@pytest.mark.parametrize("where", ["before a byte", "at SUBSCRIBE"])
def test_server_that_accepts_and_drops(scene, where):
    """Whoever it is that hangs up on us, at once or late: we do not storm it."""
    begun, connections = time.time(), scene.cloud.connections
    lost = len(scene.bridge.notes("link_lost"))
    target = scene.cloud.target
    if where == "before a byte":
        scene.cloud.target = free_port()  # nobody is there behind the one who accepts
    else:
        scene.simulator.connect_fault(kind="close_after_subscribe", times=None)
    try:
        scene.cloud.reset()
        missed = scene.impulse()
        status = scene.visible("link_lost", "disconnected", since=begun)
        assert status["reasons"]
        assert status["next_try_at"]
        scene.logged("link_lost", lost + size(4, 6))
        times = [datetime.fromisoformat(note["time"]).timestamp() for note in scene.bridge.notes("link_lost")[lost:]]
        pauses = [after - before for before, after in pairwise(times)]
        assert all(pause >= 2**number for number, pause in enumerate(pauses)), pauses
        assert scene.cloud.connections - connections <= 10 + times[-1] - begun, "calls are a second apart at least"
    finally:
        scene.cloud.target = target
    scene.simulator.clear_faults()
    scene.arrives(missed)
    restored(scene)


def test_no_websocket_but_rest(scene):
    """502 on every upgrade: polling keeps triggers flowing, and push is taken up again when it is to be had."""
    scene.simulator.connect_fault(kind="status", status=502, times=None)
    begun = time.time()
    scene.simulator.sockets(action="reset")
    status = scene.visible("link_lost", "polling", since=begun, http_status=502)
    assert status["next_try_at"]
    assert any("502" in reason for reason in status["reasons"])
    polled = [scene.impulse(0), scene.impulse(1)]
    scene.arrive(polled)
    assert {scene.witness.books.newest[name]["source"] for name in polled} == {"history"}
    assert scene.witness.newest("device/231203016/availability") == "online"
    scene.simulator.clear_faults()
    restored(scene)


def test_mute_push(scene):
    """The connection lives and brings nothing: history shows it, within an interval."""
    scene.simulator.sockets(action="mute")
    missed = [scene.impulse(0) for _ in range(3)]
    scene.arrive(missed)
    assert scene.witness.books.newest[missed[0]]["source"] == "history"
    if size(0, 1):  # then the subscription is renewed
        load = scene.simulator.load(count=200, per_second=2, channels=[1], seed=4)
        scene.until(lambda: scene.witness.events("push_missed"), "the renewal", 150.0)
        scene.simulator.wait_load(load)
        restored(scene)
    scene.simulator.sockets(action="unmute")
    scene.whole(repeats=0)


@pytest.mark.full
def test_every_hundredth_push_is_lost(scene):
    scene.simulator.behave(drop_percent=5.0, duplicate_percent=5.0, reorder_percent=0.0)
    load = scene.simulator.load(count=size(200, 3000), per_second=50, corrections=0.05, seed=23)
    scene.simulator.wait_load(load)
    scene.whole(repeats=0)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["half-open", "no heart-beats"])
def test_silence(scene, kind):
    """Nothing is heard any more, and nobody closes: noticed while it is silent, not at the next send."""
    lost = len(scene.bridge.notes("link_lost"))
    begun = time.time()
    if kind == "half-open":
        scene.cloud.swallow()
        missed = scene.impulse()
    else:
        scene.simulator.behave(sockjs_beat_s=None)
        scene.simulator.sockets(action="stop_beats")
        missed = scene.impulse()
    note = scene.logged("link_lost", lost + 1)
    assert note["cause"] == "silent", note
    if kind == "half-open":
        scene.visible("link_lost", "disconnected", since=begun)
    scene.cloud.clear()
    scene.simulator.behave_by_default()
    scene.arrives(missed)
    restored(scene)
    assert time.time() - begun < 120.0


def test_rest_that_misbehaves(scene):
    """Pages of a portal, cut and hanging answers: push goes on, the state says it, none is taken for an answer."""
    kinds = [{"kind": "truncated"}, {"kind": "status", "status": 502}, {"kind": "html"}, {"kind": "cut"}]
    kinds += [{"kind": "reset"}, {"kind": "empty"}, {"kind": "hang"}, {"kind": "slow", "delay_s": 0.1}]
    kinds += [{"kind": "huge"}]
    for options in kinds[: size(2, 9)]:
        scene.simulator.rest_fault(where="count", **options)
    begun = time.time()
    status = scene.visible("rest_failed", "degraded", since=begun)
    assert [reason for reason in status["reasons"] if reason.startswith("rest_failed: ")]
    names = [scene.impulse(0), scene.impulse(1)]
    assert [scene.arrives(name) for name in names] == ["trigger"] * 2
    scene.until(lambda: not scene.simulator.faults()["waiting_rest"], "every fault met", 300.0)
    scene.wait_state("live", deadline_s=120.0)
    restored(scene)


# --- before there is a connection -------------------------------------------------------------------


def test_name_that_cannot_be_resolved(tmp_path):
    """No login is spent on it, at the start or later; it is asked for again until it can be."""
    lies = Lies(tmp_path)
    with Scene(tmp_path) as scene:
        scene.bridge.environment |= lies.environment
        scene.bridge.settings["mt1"]["url"] = f"http://localhost:{scene.cloud.port}"
        lies.tell(names_fail=True)
        begun = time.time()
        scene.bridge.start()
        assert unresolved(scene.visible("rest_failed", "disconnected", since=begun))
        assert scene.cloud.connections == 0
        lies.tell(names_fail=False)
        scene.wait_state("live")
        begun = time.time()
        lies.tell(names_fail=True)
        scene.cloud.reset()
        missed = scene.impulse()
        scene.until(lambda: any(note["cause"] == "dns" for note in scene.bridge.notes("link_lost")), "a name in vain")
        scene.until(lambda: unresolved(scene.wait_state("disconnected", since=begun)), "the reason")
        lies.tell(names_fail=False)
        scene.arrives(missed)
        restored(scene)


def unresolved(status) -> bool:
    assert status["next_try_at"]
    return any("resolution" in reason or "resolved" in reason for reason in status["reasons"])


def test_certificate_of_somebody_else(tmp_path):
    """Not a byte of ours is shown to it; mended in our file, all is well at once."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    settings = {"mt1": {"ca_file": str(stranger.file)}}
    with Scene(tmp_path, settings, tls=Tls(authority, authority.server())) as scene:
        begun = time.time()
        scene.bridge.start()
        status = scene.visible("rest_failed", "disconnected", since=begun)
        assert any("certificate" in reason for reason in status["reasons"]), status
        assert status["next_try_at"]
        assert scene.calls() == []
        scene.reload(mt1={"ca_file": str(authority.file)})
        scene.wait_state("live")
        restored(scene)
        assert scene.bridge.stop() == 0
