"""Token, password and quota: push goes on where it can; calls and logins stay few, over restarts too."""

import time

import pytest
import requests
from process import PASSWORD, USERNAME
from scene import FLOWS, Scene, size

pytestmark = pytest.mark.full  # minutes of waiting each; on demand


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Scene(tmp_path_factory.mktemp("login"), {"reconcile": {"interval": "2s"}}) as scene:
        scene.start("live")
        yield scene


@pytest.fixture
def scene(stage):
    stage.simulator.set_account(username=USERNAME, password=PASSWORD)
    stage.calm()
    stage.simulator.forget()
    return stage


def foreign_login(scene: Scene) -> None:
    """Somebody logs in with our account: a browser, another program."""
    body = {"username": USERNAME, "password": PASSWORD}
    requests.post(f"{scene.simulator.url}/mt1/api/user/login", json=body, timeout=10).raise_for_status()


@pytest.mark.parametrize("socket", ["silent", "keep", "close"][: size(1, 3)])
def test_token_dies(scene, socket):
    """One login, whatever becomes of the socket; what is timed meanwhile arrives."""
    scene.simulator.behave(expiry_on_socket=socket, connect_token="error")
    scene.simulator.expire_tokens()
    names = [scene.impulse(0), scene.impulse(1)]
    scene.arrive(names)
    scene.until(lambda: scene.simulator.tokens() == 1, "a new token")
    scene.until(lambda: scene.simulator.subscribed(), "a subscription")
    names = [scene.impulse(0), scene.impulse(1)]
    scene.arrive(names)
    scene.whole(repeats=0)
    assert scene.logins() == 1


def test_a_login_elsewhere_kills_our_token(scene):
    scene.simulator.behave(newest_login_only=True)
    foreign_login(scene)
    scene.until(lambda: scene.logins() == 2, "a login of ours")
    scene.wait_state(*FLOWS)
    assert scene.arrives(scene.impulse()) == "trigger"
    scene.whole(repeats=0)
    assert scene.logins() == 2


@pytest.mark.parametrize(("answer", "retry_after"), [("429", "120"), ("200/-9000", None), ("429", None)][: size(1, 3)])
def test_quota(scene, answer, retry_after):
    """No REST for as long as it lasts, over a restart too; push goes on."""
    scene.simulator.behave(quota_answer=answer, retry_after=retry_after)
    begun = time.time()
    scene.simulator.exhaust_quota(seconds=600)
    status = scene.wait_state("degraded", since=begun)
    assert "quota" in status["reasons"]
    scene.until(lambda: scene.witness.newest("bridge/alert/quota"), "the alert")
    number = scene.next_call()
    assert scene.arrives(scene.impulse()) == "trigger"
    scene.restart("degraded")
    scene.arrives(scene.impulse())  # as `late`: no Date of the server has told that our clock is right
    time.sleep(size(3, 60))  # a time in which it would otherwise ask
    assert scene.calls(number) == []
    kept = scene.kept_budget()
    pause_s = (kept["quota_until_ms"] - begun * 1000) / 1000
    assert pause_s >= (120 if retry_after else 90)
    scene.simulator.exhaust_quota(seconds=0)
    scene.bridge.kill()
    missed = scene.impulse()
    scene.let_pass(pause_s)
    scene.start()
    scene.arrives(missed)
    scene.until(lambda: scene.witness.newest("bridge/alert/quota") is None, "the end of the alert")
    scene.wait_state("live")
    scene.whole(repeats=4)
    assert scene.logins() == 0


@pytest.mark.full
def test_quota_without_a_subscription(scene):
    """Neither REST nor push: the state is `quota`, and its end is known."""
    scene.simulator.exhaust_quota(seconds=600)
    scene.wait_state("degraded")
    scene.simulator.connect_fault(kind="status", status=503, times=None)
    begun = time.time()
    scene.simulator.sockets(action="reset")
    status = scene.wait_state("quota", since=begun)
    assert status["next_try_at"]
    missed = scene.impulse()
    scene.simulator.clear_faults()
    scene.wait_state("degraded", since=begun)
    assert scene.arrives(scene.impulse()) == "trigger"
    scene.simulator.exhaust_quota(seconds=0)
    scene.bridge.kill()
    scene.let_pass(600)
    scene.start()
    scene.arrives(missed)
    scene.whole(repeats=4)


def test_refused_login_waits_longer_each_time_over_restarts(scene):
    """1, 5, 15, then 60 minutes; mended in the file, it is tried at once."""
    scene.simulator.set_account(username=USERNAME, password="another")
    scene.simulator.expire_tokens()
    begun = time.time()
    status = scene.wait_state("login_refused", since=begun)
    assert status["next_try_at"]
    pauses = []
    for refused in range(1, size(3, 6)):
        scene.until(lambda n=refused: scene.simulator.counters().get("logins_refused") == n, f"refusal {refused}")
        scene.until(lambda n=refused: scene.kept_budget()["refused"] == n, f"refusal {refused} written down")
        kept = scene.kept_budget()
        pauses.append(round((kept["login_not_before_ms"] - kept["saved_ms"]) / 1000))
        scene.restart("login_refused")  # too early: it says so, and asks nothing
        assert scene.witness.newest("bridge/alert/login_refused")
        scene.bridge.kill()
        assert scene.simulator.counters()["logins_refused"] == refused
        scene.let_pass(pauses[-1])
        scene.bridge.start()
    assert pauses == [60, 300, 900, 3600, 3600][: size(2, 5)]
    scene.until(lambda: scene.witness.newest("bridge/alert/login_refused"), "the alert")
    missed = scene.impulse()
    scene.simulator.set_account(username=USERNAME, password="mended")
    scene.bridge.settings["mt1"]["password"] = "mended"
    try:
        scene.bridge.kill()
        scene.let_pass(3600)
        scene.start()
        scene.arrives(missed)
        scene.until(lambda: scene.witness.newest("bridge/alert/login_refused") is None, "the end of the alert")
        scene.whole(repeats=4)
    finally:
        scene.bridge.settings["mt1"]["password"] = PASSWORD


def test_twenty_restarts_in_two_minutes(scene, record_property):
    """Each time the token has died in between: two logins at most all the same."""
    begun = time.monotonic()
    for _restart in range(20):
        scene.restart("reconciling", "live", "starting", "logging_in", "disconnected")
        scene.simulator.expire_tokens()
    took = time.monotonic() - begun
    assert took < 120.0, "slower than the promise is about"
    assert scene.logins() <= 2
    figures = f"20 restarts in {took:.0f} s: {scene.logins()} logins, {len(scene.calls())} calls"
    record_property("figures", figures)
    print(figures)
    assert scene.witness.newest("bridge/upstream")["next_try_at"]
    scene.calm()
    scene.whole(repeats=4)
