"""What push does not bring, end to end: old history, late uploads, lost pushes, refused devices."""

from datetime import UTC, datetime, timedelta

from process import DEVICE, OTHER, Stage

FOREIGN = "231203999"
TICKS = 10_000_000


def ticks_ago(**ago: float) -> int:
    return int((datetime.now(UTC) - timedelta(**ago)).timestamp()) * TICKS


def proven(stage: Stage, published: int) -> bool:
    """So many were told and acknowledged on C0, and the server has no more."""
    tally = stage.newest(f"device/{DEVICE}/C0/tally") or {}
    return (tally.get("published"), tally.get("complete"), tally.get("missing")) == (published, True, 0)


def test_first_start_tells_nothing_old_and_then_all_that_is_new(tmp_path):
    with Stage(tmp_path, {"reconcile": {"interval": "2s"}}) as stage:
        old = stage.simulator.late_upload(device=DEVICE, channel=0, count=450)  # three pages
        stage.bridge.start()
        stage.wait_live()
        stage.wait(lambda: proven(stage, 0), "old history to be read")
        late = stage.simulator.late_upload(device=DEVICE, channel=0, count=3, start=ticks_ago(minutes=30))
        unseen = stage.simulator.impulse(device=DEVICE, channel=0, number=900, push=False)["timestamp"]
        told = stage.wait_told(4)
        assert not {body["timestamp"] for body in told} & {str(at) for at in old}
        assert [(body["event_type"], body["timestamp"]) for body in told[:3]] == [("late", str(at)) for at in late]
        assert (told[3]["timestamp"], told[3]["source"], told[3]["start_number"]) == (str(unseen), "history", 900)
        assert [body["sequence"] for body in told] == [1, 2, 3, 4]
        stage.wait(lambda: proven(stage, 4), "new history to be read")
        assert (stage.bridge.stop(), stage.told("correction"), stage.told("rejected")) == (0, [], [])


def test_upload_that_only_history_shows_is_told_late_in_the_order_of_time(tmp_path):
    with Stage(tmp_path, {"reconcile": {"interval": "2s"}}) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.impulse(device=DEVICE, channel=1, number=1)
        stage.wait_told(1, channel="C1")
        start = ticks_ago(hours=3)
        times = stage.simulator.late_upload(device=DEVICE, channel=1, count=210, start=start, order="history_only")
        told = stage.wait_told(211, channel="C1")[1:]
        assert [int(body["timestamp"]) for body in told] == times
        assert {(body["event_type"], body["source"]) for body in told} == {("late", "history")}


def test_pushes_lost_with_the_connection_are_found_in_history(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.sockets(action="mute")  # the connection stands, and brings nothing more
        wanted = [stage.simulator.impulse(device=DEVICE, channel=0)["timestamp"] for _ in range(5)]
        stage.simulator.sockets(action="reset")
        told = stage.wait_told(5)
        assert [int(body["timestamp"]) for body in told] == wanted
        stage.wait_live()
        last = stage.simulator.impulse(device=DEVICE, channel=0)["timestamp"]
        told = stage.wait_told(6)
        assert (told[5]["timestamp"], told[5]["source"]) == (str(last), "push")
        assert {"link_lost"} <= {one["event_type"] for one in stage.bodies("bridge/event")}


def test_without_push_polling_brings_triggers(tmp_path):
    with Stage(tmp_path) as stage:
        stage.simulator.connect_fault(kind="status", status=403, times=None)
        stage.bridge.start()
        stage.wait_state("polling")
        at = stage.simulator.impulse(device=DEVICE, channel=0, number=7)["timestamp"]
        (body,) = stage.wait_told(1)
        assert (body["timestamp"], body["source"], body["start_number"]) == (str(at), "history", 7)
        stage.simulator.clear_faults()
        stage.wait_live()


def test_refused_device_does_not_stop_the_others_and_is_taken_up_when_accepted(tmp_path):
    settings = {
        "mt1": {"devices": {DEVICE: {}, OTHER: {}}},
        "reconcile": {"interval": "2s", "full_interval": "2s"},
    }
    with Stage(tmp_path, settings, devices=(DEVICE, OTHER)) as stage:
        stage.simulator.register(device=OTHER, username="club", registered=False)
        stage.bridge.start()
        stage.wait_state("degraded")
        stage.wait(lambda: stage.newest(f"bridge/alert/device_refused_{OTHER}"), "the alert")
        stage.wait(lambda: stage.texts(f"device/{OTHER}/availability")[-1] == "offline", "the refused one offline")
        assert stage.newest("bridge/upstream")["reasons"] == [f"device_refused_{OTHER}"]
        stage.simulator.impulse(device=DEVICE, channel=0)
        stage.wait_told(1)
        stage.simulator.register(device=OTHER, username="club")
        stage.wait_live()
        assert stage.texts(f"bridge/alert/device_refused_{OTHER}")[-1] == ""
        stage.simulator.impulse(device=OTHER, channel=0)
        stage.wait_told(1, device=OTHER)
        stage.wait(lambda: stage.texts(f"device/{OTHER}/availability")[-1] == "online", "the accepted one online")
        told = [one["event_type"] for one in stage.bodies("bridge/event")]
        assert [word for word in told if word.startswith("device_")] == ["device_refused", "device_accepted"]


def test_token_that_dies_is_renewed_once_and_nothing_is_missed(tmp_path):
    with Stage(tmp_path) as stage:
        stage.simulator.behave(expiry_on_socket="close", connect_token="error")
        stage.bridge.start()
        stage.wait_live()
        stage.bridge.stop()
        stage.bridge.state_file("budget.json").unlink()  # else the next login had to wait for a minute
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.impulse(device=DEVICE, channel=0)
        stage.wait_told(1)
        stage.simulator.expire_tokens()
        at = stage.simulator.impulse(device=DEVICE, channel=0)["timestamp"]
        assert stage.wait_told(2)[1]["timestamp"] == str(at)
        stage.wait_live()
        told = [one["event_type"] for one in stage.bodies("bridge/event")]
        assert told.count("token_renewed") == 1
        assert stage.simulator.counters()["logins"] == 2
