"""`mt1bridge run` as a process among others: exit codes, the lock of its directory, and an end in every state."""

import os
import signal
import socket
import stat
import time
from contextlib import contextmanager

import pytest
from mosquitto import wait_until
from process import DEVICE, PATIENCE_S, STOP_S, Bridge, Stage, merged, run_to_the_end

NOWHERE = "http://127.0.0.1:9"  # the port of discard: nobody listens


def state(bridge: Bridge) -> str:
    """The newest state, from the log: it is there without a broker too."""
    return (bridge.notes("state_changed") or [{"state": "starting"}])[-1]["state"]


def wait_for_state(stage: Stage, wanted: str) -> None:
    assert wait_until(lambda: state(stage.bridge) == wanted, PATIENCE_S), stage.bridge.log()


def ends(bridge: Bridge) -> None:
    """SIGTERM ends it in good order and in time."""
    assert bridge.running()
    begun = time.monotonic()
    bridge.signal(signal.SIGTERM)
    code = bridge.wait(PATIENCE_S)
    took = time.monotonic() - begun
    assert code == 0, bridge.log()[-3000:]
    assert took < STOP_S, f"it took {took:.1f} s:\n{bridge.log()[-3000:]}"
    assert bridge.notes("stopped") != []
    assert "Traceback" not in bridge.log()


# --- exit codes -----------------------------------------------------------------------------------


def test_faulty_configuration_ends_with_78_and_tells_every_fault(tmp_path):
    file = tmp_path / "faulty.yaml"
    file.write_text("mt1:\n  usrname: club\n  password: x\nmqtt:\n  url: http://x\n")
    ended = run_to_the_end("run", "-c", file)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert f"{file}:2:3" in ended.stderr
    assert "username" in ended.stderr
    assert f"{file}:5:" in ended.stderr


def test_configuration_that_is_not_there_ends_with_78(tmp_path):
    ended = run_to_the_end("run", "-c", tmp_path / "nowhere.yaml")
    assert ended.returncode == 78
    assert "nowhere.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_usage_ends_with_2():
    assert run_to_the_end("run", "--frobnicate").returncode == 2


def test_second_bridge_on_one_directory_ends_with_1_and_names_the_first(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        second = Bridge(tmp_path, stage.bridge.settings, name="second")
        second.start()
        assert second.wait() == 1
        assert f"process {stage.bridge.pid}" in second.log()
        assert "Traceback" not in second.log()
        at = stage.simulator.impulse(device=DEVICE, channel=0)["timestamp"]
        assert stage.wait_told(1)[0]["timestamp"] == str(at), "the first goes on"
        ends(stage.bridge)
        second.start()
        assert wait_until(lambda: second.notes("started") != [], PATIENCE_S), "the directory is free again"
        assert second.stop() == 0


# --- what it leaves behind ------------------------------------------------------------------------


def test_what_it_keeps_is_for_its_user_alone(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.impulse(device=DEVICE, channel=0)
        stage.wait_told(1)
        directory = stage.bridge.state_file("")
        kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        assert {"token.json", "journal.db"} <= set(kept)
        assert {name for name, mode in kept.items() if mode & 0o077} == set()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_log_holds_no_secret(tmp_path):
    password = "s3cret:pass/word"
    settings = {"mt1": {"password": password}}
    with Stage(tmp_path, settings, simulator=("--password", password)) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.expire_tokens()
        stage.simulator.sockets(action="reset")
        assert wait_until(lambda: stage.bridge.notes("link_lost") != [], PATIENCE_S)
        token = stage.bridge.state_file("token.json").read_text().split('"token": "')[1].split('"')[0]
        ends(stage.bridge)
        assert password not in stage.bridge.log()
        assert token not in stage.bridge.log()


def test_idle_bridge_keeps_few_threads_and_open_files(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        tasks = f"/proc/{stage.bridge.pid}/task"
        assert wait_until(lambda: len(os.listdir(tasks)) <= 4, PATIENCE_S), "main, REST, link, MQTT"
        assert len(os.listdir(f"/proc/{stage.bridge.pid}/fd")) < 30


# --- SIGTERM in every state -----------------------------------------------------------------------


@contextmanager
def silent_server():
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_end_while_it_starts(tmp_path):
    """Before the handlers stand the system's default ends it: what counts is that it does not hang."""
    with Stage(tmp_path) as stage:
        for wait_s in (0.05, 0.15, 0.3, 0.6):
            stage.bridge.start()
            time.sleep(wait_s)  # no condition: somewhere in the imports, or just after
            begun = time.monotonic()
            stage.bridge.signal(signal.SIGTERM)
            assert stage.bridge.wait() in (0, -signal.SIGTERM)
            assert time.monotonic() - begun < STOP_S
            assert "Traceback" not in stage.bridge.log()


def test_end_while_live(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        ends(stage.bridge)


def test_end_with_sigint(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.bridge.signal(signal.SIGINT)
        assert stage.bridge.wait(STOP_S) == 0


def test_end_while_the_mt1_server_is_away(tmp_path):
    with Stage(tmp_path, {"mt1": {"url": NOWHERE}}) as stage:
        stage.bridge.start()
        wait_for_state(stage, "disconnected")
        ends(stage.bridge)


@pytest.mark.parametrize("what", ["login", "devices", "count"])
def test_end_while_the_mt1_server_does_not_answer(tmp_path, what):
    with Stage(tmp_path) as stage:
        stage.simulator.rest_fault(kind="hang", where=what, times=None)
        stage.bridge.start()
        assert wait_until(lambda: stage.simulator.counters().get(f"rest_{what}"), PATIENCE_S)
        ends(stage.bridge)


def test_end_while_the_realtime_endpoint_does_not_answer(tmp_path):
    with Stage(tmp_path) as stage:
        stage.simulator.connect_fault(kind="hang", times=None)
        stage.bridge.start()
        assert wait_until(lambda: stage.simulator.counters().get("upgrades"), PATIENCE_S)
        ends(stage.bridge)


def test_end_while_polling(tmp_path):
    with Stage(tmp_path) as stage:
        stage.simulator.connect_fault(kind="status", status=403, times=None)
        stage.bridge.start()
        stage.wait_state("polling")
        ends(stage.bridge)


def test_end_while_the_login_is_refused(tmp_path):
    with Stage(tmp_path, {"mt1": {"password": "another"}}) as stage:
        stage.bridge.start()
        stage.wait_state("login_refused")
        stage.wait(lambda: stage.newest("bridge/alert/login_refused"), "the alert")
        ends(stage.bridge)


def test_end_in_quota(tmp_path):
    with Stage(tmp_path) as stage:
        stage.simulator.exhaust_quota(seconds=600)
        stage.bridge.start()
        stage.wait_state("quota")
        ends(stage.bridge)


def test_end_while_the_broker_is_away(tmp_path):
    with Stage(tmp_path) as stage:
        stage.broker.kill()
        stage.bridge.start()
        wait_for_state(stage, "live")
        stage.simulator.impulse(device=DEVICE, channel=0)
        ends(stage.bridge)
        stage.broker.start()
        with stage.subscriber("mt1/device/+/+/trigger") as subscriber:  # the one of the stage may not be back yet
            stage.bridge.start()
            assert subscriber.wait_for(1, PATIENCE_S), stage.bridge.log()
        ends(stage.bridge)


def test_end_while_the_broker_is_silent(tmp_path):
    """Connected, with a backlog that is not acknowledged; what is owed is told after the next start."""
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.broker.freeze()
        stage.simulator.load(count=300, per_second=0, devices=[DEVICE], channels=[0])
        assert wait_until(lambda: stage.simulator.counters().get("pushes_sent", 0) >= 300, PATIENCE_S)
        ends(stage.bridge)
        stage.broker.thaw()
        stage.bridge.start()
        stage.wait(lambda: len({body["id"] for body in stage.told("trigger")}) == 300, "all 300")


def test_end_while_a_server_in_the_brokers_place_says_nothing(tmp_path):
    with silent_server() as port, Stage(tmp_path) as stage:
        stage.bridge.settings = merged(stage.bridge.settings, {"mqtt": {"url": f"mqtt://127.0.0.1:{port}"}})
        stage.bridge.start()
        wait_for_state(stage, "live")
        ends(stage.bridge)


def test_end_while_a_backlog_drains(tmp_path):
    with Stage(tmp_path) as stage:
        stage.bridge.start()
        stage.wait_live()
        stage.simulator.load(count=5000, per_second=0, devices=[DEVICE], channels=[0, 1])
        stage.wait_told(50)
        ends(stage.bridge)
