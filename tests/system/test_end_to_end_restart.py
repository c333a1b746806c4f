"""Whatever dies in mid-stream, nothing is lost; what comes again is the same message."""

import signal

import pytest
from ledger import Ledger
from mosquitto import Options, Recorder, wait_until
from process import DEVICE, Stage

COUNT, PER_SECOND = 500, 60


def in_mid_stream(stage: Stage, corrections: float = 0.1) -> int:
    """A load is running, and some of it has arrived."""
    stage.bridge.start()
    stage.wait_live()
    load: int = stage.simulator.load(count=COUNT, per_second=PER_SECOND, corrections=corrections, seed=3)
    stage.wait_told(20)
    return load


def complete(stage: Stage, recorder: Recorder) -> Ledger:
    """All that was stored is told; the messages as a consumer has them, repeats included."""
    stored = stage.simulator.stored()

    def all_told() -> bool:
        ledger = Ledger().add(recorder.messages()).without_repeats()
        newest = {body["id"]: body["in_effect"] for _, body in ledger.bodies}
        return all(
            newest.get(f"{one['device']}-C{one['channel']}-{trigger['timestamp']}") == trigger["in_effect"]
            for one in stored
            for trigger in one["triggers"]
        )

    assert wait_until(all_told, 60.0), stage.bridge.log()[-4000:]
    return Ledger().add(recorder.messages())


def check(ledger: Ledger, stage: Stage) -> None:
    ledger.check_texts()
    ledger.check_sequences(repeats=True)
    ledger.check_repeats()
    once = ledger.without_repeats()
    ids = once.ids("trigger")
    assert len(ids) == len(set(ids)), "an impulse was told as two"
    stored = stage.simulator.stored()
    once.compare_ends(stored)
    in_effect = {
        f"{one['device']}-C{one['channel']}-{trigger['timestamp']}"
        for one in stored
        for trigger in one["triggers"]
        if trigger["in_effect"]
    }
    assert in_effect <= set(ids)
    assert len({body["journal"] for _, body in ledger.bodies}) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_bridge_ends_in_mid_stream(tmp_path, number):
    with Stage(tmp_path) as stage:
        load = in_mid_stream(stage)
        for told in (40, 80):  # twice
            stage.bridge.signal(number)
            assert stage.bridge.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
            stage.bridge.start()
            stage.wait_told(told)
        stage.simulator.wait_load(load)
        ledger = complete(stage, stage.recorder)
        check(ledger, stage)
        if number == signal.SIGTERM:
            assert ledger.repeats() == 0, "an orderly end waits for what is on its way"
        assert stage.simulator.counters()["logins"] == 1, "the token is used again"


def test_broker_restarts_in_mid_stream(tmp_path):
    options = Options(persistence=True, extra=("max_queued_messages 100000",))
    with (
        Stage(tmp_path, broker=options) as stage,
        Recorder(stage.broker.port, "mt1/device/+/+/+", session="scoreboard") as recorder,
    ):
        load = in_mid_stream(stage)
        stage.broker.restart()
        stage.simulator.wait_load(load)
        check(complete(stage, recorder), stage)
        with stage.subscriber("mt1/bridge/state") as newcomer:
            assert newcomer.wait_until(lambda: newcomer.messages() != [])
            assert newcomer.messages()[-1].payload == b"online"
        assert stage.bridge.stop() == 0


def test_mt1_server_ends_connections_again_and_again(tmp_path):
    with Stage(tmp_path, {"reconcile": {"interval": "5s"}}) as stage:
        load = in_mid_stream(stage)
        stage.simulator.flap(shortest_s=0.5, longest_s=2.0, for_s=6.0)
        stage.simulator.wait_load(load)
        ledger = complete(stage, stage.recorder)
        check(ledger, stage)
        assert ledger.repeats() == 0, "the broker was never away"


@pytest.mark.parametrize(("protocol", "deadline_s"), [("5", 20.0), ("3.1.1", 8.0)])
def test_killed_bridge_is_told_offline_by_its_will(tmp_path, protocol, deadline_s):
    """With MQTT 5 after 10 s, so that a restart goes unnoticed; with 3.1.1, which knows no delay, at once."""
    with Stage(tmp_path, {"mqtt": {"protocol": protocol}}) as stage:
        stage.bridge.start()
        stage.wait_live()
        at = stage.simulator.impulse(device=DEVICE, channel=0)["timestamp"]
        assert stage.wait_told(1)[0]["timestamp"] == str(at)
        assert stage.texts("bridge/state") == ["online"]
        stage.bridge.kill()
        stage.wait(lambda: stage.texts("bridge/state") == ["online", "offline"], "the will", deadline_s)
        stage.bridge.start()
        stage.wait(lambda: stage.texts("bridge/state")[-1] == "online", "the bridge online again")


def test_restart_within_the_delay_of_the_will_goes_unnoticed(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.bridge.kill()
        stage.bridge.start()
        stage.wait(lambda: len(stage.texts("bridge/state")) > 1, "the state told again")
        stage.wait_live()
        assert set(stage.texts("bridge/state")) == {"online"}
