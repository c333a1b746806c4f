"""SIGTERM in every state, SIGTERM again, SIGHUP with a faulty file: it ends in time, or goes on as it was."""

import signal
import time

import pytest
import yaml
from mosquitto import Mosquitto, Recorder, wait_until
from process import DEVICE, PASSWORD, STOP_S, USERNAME
from scene import FLOWS, Scene, size


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Scene(tmp_path_factory.mktemp("stop"), {"reconcile": {"interval": "2s"}}) as scene:
        scene.start("live")
        yield scene


@pytest.fixture
def scene(stage):
    stage.simulator.set_account(username=USERNAME, password=PASSWORD)
    stage.calm()
    return stage


def begin(scene: Scene, state: str) -> None:
    """Bring it into this state of the upstream link."""
    sim, cloud, bridge = scene.simulator, scene.cloud, scene.bridge
    bridge.kill()
    if state in ("logging_in", "login_refused"):
        (scene.state_directory / "token.json").unlink()
    if state == "login_refused":
        sim.set_account(username=USERNAME, password="another")
    elif state == "logging_in":
        sim.rest_fault(kind="hang", where="login", times=None)
    elif state == "subscribing":
        sim.connect_fault(kind="no_connected", times=None)
    elif state == "reconciling":
        sim.rest_fault(kind="hang", where="count", times=None)
    elif state == "polling":
        sim.connect_fault(kind="status", status=502, times=None)
    elif state == "quota":
        sim.exhaust_quota(seconds=600)
        sim.connect_fault(kind="status", status=502, times=None)
    elif state == "degraded":
        sim.rest_fault(kind="html", times=None)
    elif state == "disconnected":
        cloud.refuse()
    elif state == "hanging":
        cloud.hang()
    begun = time.time()
    bridge.start()
    if state == "hanging":
        scene.wait_state("subscribing", since=begun)
    else:
        scene.wait_state(state, since=begun)


STATES = ["subscribing", "reconciling", "polling", "disconnected", "login_refused", "logging_in", "live"]
STATES += ["quota", "degraded", "hanging"]


@pytest.mark.parametrize("state", STATES[: size(3, 10)])
def test_sigterm_ends_in_time(scene, state):
    begin(scene, state)
    name = scene.impulse()
    begun = time.monotonic()
    scene.bridge.signal(signal.SIGTERM)
    assert scene.bridge.wait(STOP_S) == 0
    assert time.monotonic() - begun <= STOP_S
    assert scene.witness.newest("bridge/state") == "offline"
    scene.simulator.set_account(username=USERNAME, password=PASSWORD)
    scene.calm()
    scene.arrives(name)
    scene.whole(repeats=0)


@pytest.mark.parametrize("broker", ["refusing", "hanging", "half-open", "slow", "frozen"][: size(4, 5)])
def test_sigterm_with_a_broker_in_trouble(scene, broker):
    """What is owed waits for the next start."""
    way = scene.mqtt
    if broker == "refusing":
        way.refuse()
        way.reset()
    elif broker == "hanging":
        way.hang()
        way.reset()
    elif broker == "half-open":
        way.swallow()
    elif broker == "slow":
        way.throttle(2_000)
    else:
        scene.broker.freeze()
    names = [scene.impulse(number % 2) for number in range(200)]
    pushed = scene.simulator.counters()["pushes_sent"]
    assert pushed >= len(names)
    begun = time.monotonic()
    code = scene.bridge.stop()
    took = time.monotonic() - begun
    if broker == "frozen":
        scene.broker.thaw()
    assert (code, took <= STOP_S) == (0, True)
    scene.calm()
    scene.arrive(names)
    scene.whole(repeats=100)


def test_second_sigterm_waits_for_nothing(scene):
    stopping = len(scene.bridge.notes("stopping"))
    scene.mqtt.swallow(up=False, down=True)
    for _ in range(50):
        scene.impulse()
    scene.bridge.signal(signal.SIGTERM)
    scene.logged("stopping", stopping + 1)  # two at the same moment are one
    begun = time.monotonic()
    scene.bridge.signal(signal.SIGTERM)
    assert scene.bridge.wait(STOP_S) == 0
    assert time.monotonic() - begun < 2.5, "it waited for acknowledgements all the same"
    scene.calm()
    scene.drained()
    scene.whole(repeats=100)


def test_sigterm_at_any_moment_of_the_start(scene):
    """Before it listens to signals, the system's own way ends it; after that, it ends in good order."""
    scene.bridge.kill()
    for delay in [0.02 * n for n in range(0, 40, size(8, 1))]:
        scene.bridge.start()
        time.sleep(delay)
        scene.bridge.signal(signal.SIGTERM)
        assert scene.bridge.wait(STOP_S) in (0, -signal.SIGTERM)
    scene.start()
    scene.arrives(scene.impulse())
    scene.whole(repeats=0)


def test_sighup_with_a_faulty_file(scene):
    good = scene.bridge.file.read_text()
    refused = len(scene.bridge.notes("configuration_refused"))
    try:
        scene.bridge.file.write_text(good.replace("mqtt:", "mqqt:"))
        scene.bridge.signal(signal.SIGHUP)
        note = scene.logged("configuration_refused", refused + 1)
        assert "mqtt" in note["text"]
    finally:
        scene.bridge.file.write_text(good)
    assert scene.bridge.running()
    assert scene.arrives(scene.impulse()) == "trigger"
    reloaded = len(scene.bridge.notes("configuration_reloaded"))
    for _ in range(10):
        scene.bridge.signal(signal.SIGHUP)
    scene.logged("configuration_reloaded", reloaded + 1)
    assert scene.arrives(scene.impulse()) == "trigger"
    assert scene.witness.newest("bridge/upstream")["state"] in FLOWS
    scene.whole(repeats=0)


def test_sighup_to_another_broker_says_offline_at_the_old_one(tmp_path):
    """So another instance may have the place there; what comes from then on, the other broker gets."""
    with Scene(tmp_path) as scene, Mosquitto(tmp_path) as other, Recorder(other.port, "mt1/#") as there:
        scene.start("live")
        scene.arrives(scene.impulse())
        availability = f"device/{DEVICE}/availability"
        scene.until(lambda: scene.witness.newest(availability) == "online", "the availability")
        scene.reload(mqtt={"url": f"mqtt://127.0.0.1:{other.port}"})
        scene.until(lambda: scene.witness.newest("bridge/state") == "offline", "offline at the old broker")
        scene.until(lambda: scene.witness.newest(availability) == "offline", "the availability at the old broker")
        scene.logged("broker_connected", 2)
        scene.impulse()
        assert there.wait_until(lambda: there.messages(f"mt1/device/{DEVICE}/C0/trigger"))
        assert there.messages("mt1/bridge/state")[-1].payload == b"online"
        scene.bridge.signal(signal.SIGTERM)
        assert scene.bridge.wait(STOP_S) == 0
        assert there.wait_until(lambda: there.messages("mt1/bridge/state")[-1].payload == b"offline")


def test_sighup_with_what_needs_a_restart(scene):
    good = scene.bridge.file.read_text()
    wanted = yaml.safe_load(good)
    wanted["log"]["format"] = "console"
    try:
        scene.bridge.file.write_text(yaml.safe_dump(wanted))
        scene.bridge.signal(signal.SIGHUP)
        note = scene.logged("restart_needed")
        assert (note["key"], note["was"], note["wanted"]) == ("log.format", "json", "console")
    finally:
        scene.bridge.file.write_text(good)
        scene.bridge.signal(signal.SIGHUP)


def test_other_signals_change_nothing(scene):
    for number in (signal.SIGPIPE, signal.SIGCONT, signal.SIGWINCH):
        scene.bridge.signal(number)
    assert scene.arrives(scene.impulse()) == "trigger"
    assert wait_until(scene.bridge.running, 1.0)
