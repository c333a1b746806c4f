"""Token, password and quota: push goes on where it can; calls and logins stay few, over restarts too."""

import time

import pytest
import requests
from process import PASSWORD, USERNAME
from scene import FLOWS, Scene, size


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
    """No REST for as long as it lasts, over a restart too, and longer when it lasts on; push goes on."""
    least_s = 120 if retry_after else 90
    lost, subscriptions = len(scene.bridge.notes("link_lost")), scene.simulator.subscribed()
    scene.simulator.behave(quota_answer=answer, retry_after=retry_after)
    begun = time.time()
    scene.simulator.exhaust_quota(seconds=600)
    status = scene.visible("quota_hit", "degraded", since=begun)
    assert "quota" in status["reasons"]
    scene.until(lambda: scene.witness.newest("bridge/alert/quota"), "the alert")
    number = scene.next_call()
    assert scene.arrives(scene.impulse()) == "trigger"
    assert scene.simulator.subscribed() == subscriptions == 1, "it cost the push connection"
    assert len(scene.bridge.notes("link_lost")) == lost
    scene.restart("degraded")
    scene.arrives(scene.impulse())  # as `late`: no Date of the server has told that our clock is right
    pause_s = asked_pause_s(scene, 1)
    assert pause_s >= least_s
    if size(0, 1):
        scene.until(lambda: scene.calls(number), "a call when it is over", pause_s + 10.0)
        assert scene.calls(number)[0]["time"] - begun >= least_s
    else:
        time.sleep(3.0)  # it would have asked by now
        assert scene.calls(number) == []
        scene.bridge.kill()
        scene.let_pass(pause_s)
        scene.bridge.start()
    longer_s = asked_pause_s(scene, 2)  # its first call is refused as well
    assert longer_s >= 2 * least_s
    assert len(scene.calls(number)) == 1
    scene.simulator.exhaust_quota(seconds=0)
    scene.bridge.kill()
    missed = scene.impulse()
    scene.let_pass(longer_s)
    scene.start()
    scene.arrives(missed)
    scene.until(lambda: scene.witness.newest("bridge/alert/quota") is None, "the end of the alert")
    scene.wait_state("live")
    scene.whole(repeats=4)
    assert scene.logins() == 0


def asked_pause_s(scene: Scene, answers: int) -> float:
    """How long it keeps from calling after so many quota answers in a row, as it wrote down."""
    scene.until(lambda: scene.kept_budget()["quota_step"] == answers, f"{answers} quota answers written down")
    kept = scene.kept_budget()
    return (kept["quota_until_ms"] - kept["saved_ms"]) / 1000


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
    status = scene.visible("login_refused", "login_refused", since=begun)
    assert status["reasons"]
    assert status["next_try_at"]
    pauses, last = [], size(4, 5)
    for refused in range(1, last + 1):
        scene.until(lambda n=refused: scene.simulator.counters().get("logins_refused") == n, f"refusal {refused}")
        scene.until(lambda n=refused: scene.kept_budget()["refused"] == n, f"refusal {refused} written down")
        kept = scene.kept_budget()
        pauses.append(round((kept["login_not_before_ms"] - kept["saved_ms"]) / 1000))
        begun = time.time()
        scene.restart("login_refused")  # too early: it says so, and asks nothing
        scene.until(lambda since=begun: scene.told_since("bridge/alert/login_refused", since), "the alert, again")
        assert scene.simulator.counters()["logins_refused"] == refused
        if refused < last:
            scene.bridge.kill()
            scene.let_pass(pauses[-1])
            scene.bridge.start()
    assert pauses == [60, 300, 900, 3600, 3600][:last]
    missed = scene.impulse()
    scene.bridge.kill()
    scene.let_pass(60)  # there is a minute between two logins, whoever asks
    scene.start("login_refused")
    scene.simulator.set_account(username=USERNAME, password="mended")
    try:
        scene.reload(mt1={"password": "mended"})
        scene.arrives(missed)
        scene.until(lambda: scene.witness.newest("bridge/alert/login_refused") is None, "the end of the alert")
        scene.wait_state(*FLOWS)
        scene.whole(repeats=4)
        assert scene.logins() == last + 1
    finally:
        scene.bridge.settings["mt1"]["password"] = PASSWORD


def test_twenty_restarts_in_two_minutes(scene, record_property):
    """Each time the token has died in between: one login a minute all the same, and the next try is told."""
    since, begun = time.time(), time.monotonic()
    for _restart in range(20):
        scene.restart("reconciling", "live", "degraded", "starting", "logging_in", "disconnected")
        scene.simulator.expire_tokens()
    took = time.monotonic() - begun
    assert 1 <= scene.logins() <= 1 + took // 60
    waits = [body for at, body in scene.witness.seen("bridge/upstream") if at > since and body["state"] == "starting"]
    assert any(body["next_try_at"] for body in waits)
    figures = f"20 restarts in {took:.0f} s: {scene.logins()} logins, {len(scene.calls())} calls"
    record_property("figures", figures)
    print(figures)
    scene.calm()
    scene.whole(repeats=4)
