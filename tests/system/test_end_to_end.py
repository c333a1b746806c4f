"""Simulator -> `mt1bridge run` -> mosquitto -> subscriber: the installed programs, as processes."""

from process import DEVICE, Stage


def test_impulse_reaches_a_subscriber(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        key = stage.simulator.impulse(device=DEVICE, channel=0, number=12, number_type="MANUAL")
        (body,) = stage.wait_told(1)
        assert body["event_type"] == "trigger"
        assert body["timestamp"] == str(key["timestamp"])
        assert (body["start_number"], body["start_number_type"]) == (12, "MANUAL")
        assert (body["sequence"], body["revision"]) == (1, 1)
        assert stage.bridge.stop() == 0
        assert stage.texts("bridge/state")[-1] == "offline"
