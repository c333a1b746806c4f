"""Everything that the simulator can be told to do wrong."""

import json
import threading

import pytest
import requests
from simulator_probe import DEVICE, OTHER, TOPIC, opened, raw_answer, rest_of, subscribed
from websocket import (
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from mt1bridge.simulator import running_simulator

COUNT = f"/mt1/api/devices/{DEVICE}/channel/0/trigger/count"


@pytest.fixture
def sim():
    with running_simulator() as running:
        yield running


@pytest.fixture
def rest(sim):
    with rest_of(sim) as client:
        yield client


# --- REST


def test_page_instead_of_json(sim, rest):
    sim.control.rest_fault("html")
    answer = rest.count_answer()
    assert (answer.status_code, answer.text[:6]) == (200, "<html>")
    assert rest.count() == 0, "struck once"


def test_empty_body(sim, rest):
    sim.control.rest_fault("empty")
    assert (rest.count_answer().status_code, sim.control.counters()["rest_faults"]) == (200, 1)


@pytest.mark.parametrize("status", [502, 503, 504, 404])
def test_status_of_a_proxy(sim, rest, status):
    sim.control.rest_fault("status", status=status, headers={"Retry-After": "5"})
    answer = rest.count_answer()
    assert (answer.status_code, answer.headers["Retry-After"], answer.text[:6]) == (status, "5", "<html>")


def test_redirect_to_another_host(sim):
    sim.control.rest_fault("status", status=302, headers={"Location": "http://127.0.0.1:9/x"})
    answer = requests.get(f"{sim.url}{COUNT}", allow_redirects=False, timeout=5)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/x")


def test_status_in_the_envelope(sim, rest):
    sim.control.rest_fault("envelope", status=-2011, times=2)
    assert [rest.count_answer().json()["status"] for _ in range(3)] == [-2011, -2011, 0]


def test_body_cut_by_the_end_of_the_connection(sim, rest):
    sim.control.impulse(DEVICE)
    sim.control.rest_fault("truncated", where="history")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        rest.history()
    assert len(rest.history()) == 1


def test_body_cut_in_order(sim, rest):
    sim.control.rest_fault("cut")
    answer = rest.count_answer()
    assert answer.text == '{"status":0,"message":"OK"'[: len(answer.text)]
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(answer.text)


def test_login_body_may_be_cut_with_the_token_in_place(sim, rest):
    sim.control.rest_fault("cut", where="login")
    answer = requests.post(f"{sim.url}/mt1/api/user/login", json={"username": "club", "password": "mt1demo"}, timeout=5)
    assert rest.count_answer(token=answer.headers["authorization"]).status_code == 200


def test_byte_by_byte(sim, rest):
    sim.control.rest_fault("slow", delay_s=0.001)
    assert rest.count() == 0
    sim.control.rest_fault("slow", delay_s=10)
    with pytest.raises(requests.ConnectionError):  # requests tells a time-out within the body so
        rest.count_answer(timeout=0.3)


def test_late_answer_and_no_answer(sim, rest):
    sim.control.rest_fault("delay", delay_s=0.05)
    assert rest.count() == 0
    sim.control.rest_fault("hang")
    with pytest.raises(requests.ReadTimeout):
        rest.count_answer(timeout=0.3)
    assert sim.control.requests()[-1]["status"] is None


def test_call_may_be_carried_out_and_the_answer_lost(sim):
    sim.control.rest_fault("lost", where="login")
    with rest_of(sim, login=False) as rest:
        with pytest.raises(requests.ConnectionError):
            rest.login()
        assert sim.control.tokens() == 1


def test_connection_may_be_reset_before_the_call(sim):
    sim.control.rest_fault("reset")
    assert raw_answer(sim, COUNT) == "reset"
    assert "token_refusals" not in sim.control.counters()


def test_body_without_end(sim, rest):
    sim.control.rest_fault("huge", size=3_000_000)
    assert 2_900_000 < len(rest.count_answer().content) < 3_100_000


def test_any_body(sim, rest):
    sim.control.rest_fault("raw", status=200, body='{"status":"0"}', headers={"X-A": "b"})
    answer = rest.count_answer()
    assert (answer.json(), answer.headers["X-A"]) == ({"status": "0"}, "b")
    sim.control.rest_fault("raw", status=403, body_hex="fffe")
    assert rest.count_answer().content == b"\xff\xfe"


def test_faults_choose_their_call_and_device(sim, rest):
    sim.control.rest_fault("status", where="count", device=OTHER, times=None)
    assert rest.current().status_code == rest.count_answer().status_code == 200
    assert [rest.count_answer(OTHER).status_code for _ in range(3)] == [502] * 3
    assert sim.control.faults()["waiting_rest"][0]["where"] == "count"
    sim.control.clear_faults()
    assert rest.count(OTHER) == 0


def test_faults_that_do_not_exist_are_refused(sim):
    with pytest.raises(ValueError, match="no such fault: fire"):
        sim.control.rest_fault("fire")
    with pytest.raises(ValueError, match="no such call: everywhere"):
        sim.control.rest_fault("html", where="everywhere")
    with pytest.raises(TypeError, match="colour"):
        sim.control.connect_fault("hang", colour="red")
    with pytest.raises(ValueError, match="no such action: burn"):
        sim.control.sockets("burn")


# --- connects


@pytest.mark.parametrize("status", [502, 503, 403])
def test_upgrade_may_be_answered_with_a_status(sim, status):
    sim.control.connect_fault("status", status=status)
    with pytest.raises(WebSocketBadStatusException, match=str(status)), opened(sim):
        pass
    with opened(sim) as push:
        assert push.text() == "o"


def test_upgrade_may_never_be_answered(sim):
    sim.control.connect_fault("hang")
    with pytest.raises(WebSocketTimeoutException), opened(sim, timeout=0.3):
        pass


def test_upgrade_may_be_reset(sim):
    sim.control.connect_fault("reset")
    with pytest.raises((ConnectionResetError, WebSocketException)), opened(sim):
        pass


def test_upgrade_may_have_a_wrong_accept(sim):
    sim.control.connect_fault("wrong_accept")
    with pytest.raises(WebSocketException), opened(sim):
        pass


def test_open_may_never_come(sim):
    sim.control.connect_fault("no_open")
    with opened(sim) as push, pytest.raises(WebSocketTimeoutException):
        push.text(0.3)


def test_first_text_may_be_anything(sim):
    sim.control.connect_fault("text", body="x nonsense")
    with opened(sim) as push:
        assert push.text() == "x nonsense"


@pytest.mark.parametrize(("code", "reason"), [(3000, "Go away!"), (2010, "Another connection still open"), (1001, "")])
def test_connection_may_be_closed_at_once(sim, code, reason):
    sim.control.connect_fault("close", code=code, reason=reason)
    with opened(sim) as push:
        assert push.text() == "o"
        assert push.text() == "c" + json.dumps([code, reason], separators=(",", ":"))
        assert push.end() == 1000


def test_connected_may_never_come(sim):
    sim.control.connect_fault("no_connected")
    with opened(sim) as push:
        push.connect()
        assert push.quiet()


def test_connect_may_be_answered_with_error(sim):
    sim.control.connect_fault("error", reason="Broker not available", times=2)
    for _ in range(2):
        with opened(sim) as push:
            push.connect()
            assert push.frame()[:2] == ("ERROR", {"message": "Broker not available", "content-length": "0"})
            assert push.end() == 1002


def test_subscribe_may_end_the_connection(sim):
    sim.control.connect_fault("close_after_subscribe")
    with opened(sim) as push:
        push.connect()
        push.frame()
        push.send(f"SUBSCRIBE\nid:1\ndestination:{TOPIC}\n\n\0")
        assert push.end() == "reset"


def test_connection_may_be_mute_or_half_open_from_the_start(sim):
    sim.control.connect_fault("mute")
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE)
        assert push.quiet()
    sim.control.connect_fault("swallow")
    with opened(sim) as push:
        push.connect()
        assert push.frame()[0] == "CONNECTED"
        push.send(f"SUBSCRIBE\nid:1\ndestination:{TOPIC}\nreceipt:r\n\n\0")
        assert push.quiet()


# --- open sockets


def test_sockets_may_be_reset_dropped_or_closed(sim):
    for action, end in (("reset", "reset"), ("drop", "closed"), ("close_frame", 1012)):
        with subscribed(sim) as push:
            assert sim.control.sockets(action, code=1012) == 1
            assert push.end() == end


def test_one_of_two_sockets_may_be_closed(sim):
    with subscribed(sim) as first, subscribed(sim) as second:
        victim = sim.control.sessions()[0]["session"]
        assert sim.control.sockets("close", victim) == 1
        assert first.text() == 'c[3000,"Go away!"]'
        sim.control.impulse(DEVICE)
        assert second.push()


def test_swallowed_socket_stays_open_and_silent(sim):
    sim.control.behave(heart_beat=(50, 50), sockjs_beat_s=0.05)
    with opened(sim) as push:
        assert push.text() == "o"
        push.connect(beat="50,50")
        assert push.text().startswith('a["CONNECTED')
        sim.control.sockets("swallow")
        sim.control.impulse(DEVICE)
        push.ws.ping()
        push.send("\n" * 100)
        assert ended_in_silence(push)
        assert sim.control.sessions()[0]["swallowed"] is True


def ended_in_silence(push):
    """True when half a second passes without a byte; what was on the way before may come."""
    for _ in range(10):
        try:
            push.text(0.5)
        except WebSocketTimeoutException:
            return True
    return False


def test_mute_socket_has_heart_beats_only(sim):
    sim.control.behave(heart_beat=(50, 0))
    with opened(sim) as push:
        push.connect(beat="0,50")
        assert push.frame()[0] == "CONNECTED"
        push.subscribe()
        sim.control.sockets("mute")
        sim.control.impulse(DEVICE, 0, 1)
        assert push.quiet()
        assert push.text() == 'a["\\n"]'
        sim.control.sockets("unmute")
        sim.control.impulse(DEVICE, 0, 2)
        assert push.push()["dto"]["startNumber"]["startNumber"] == 2


def test_heart_beats_may_stop_while_messages_go_on(sim):
    sim.control.behave(heart_beat=(50, 0))
    with opened(sim) as push:
        push.connect(beat="0,50")
        assert push.frame()[0] == "CONNECTED"
        push.subscribe()
        sim.control.sockets("stop_beats")
        sim.control.impulse(DEVICE)
        assert push.push()
        with pytest.raises(WebSocketTimeoutException):
            push.text(0.3)
        sim.control.sockets("start_beats")
        assert push.text() == 'a["\\n"]'


def test_error_may_come_at_any_time(sim):
    with subscribed(sim) as push:
        sim.control.sockets("error", reason="Session closed.")
        assert push.frame()[1]["message"] == "Session closed."
        assert push.end() == 1002


def test_sockets_may_be_reset_again_and_again(sim):
    sim.control.flap(0.05, 0.1, 3.0)
    for _ in range(3):
        with opened(sim) as push:
            assert push.end() in ("reset", "closed")


def test_server_may_go_down_and_come_up_with_all_it_had(sim, rest):
    sim.control.impulse(DEVICE, 0, 1)
    url = sim.url
    with subscribed(sim) as push:
        sim.go_down()
        assert push.end() == "reset"
    with pytest.raises(requests.ConnectionError):
        rest.count()
    sim.come_up()
    assert (sim.url, rest.count()) == (url, 1)
    with subscribed(sim) as push:
        sim.go_down(farewell=True)
        assert push.text() == 'c[3000,"Go away!"]'
        assert push.end() == 1001


# --- injections


def test_any_body_may_be_injected(sim):
    with subscribed(sim) as push:
        sim.control.inject_body(DEVICE, "not json\n<b>", repeat=2)
        assert [push.frame()[2] for _ in range(2)] == ["not json\n<b>"] * 2
        sim.control.inject_body(DEVICE, "abc", {"content-length": "7", "message-id": "", "x": "y"})
        _, headers, _ = push.frame()
        assert (headers["content-length"], headers["x"], "message-id" in headers) == ("7", "y", False)
        sim.control.push_body(DEVICE, "[]")
        assert push.frame()[2] == "[]"


def test_any_text_frame_or_byte_may_be_injected(sim):
    with subscribed(sim) as push:
        for text in ("a[]", "a[1,null,{}]", 'a["cut', "x", 'm"one"'):
            assert sim.control.inject_text(text) == 1
            assert push.text() == text
        sim.control.inject_stomp(["MESSAGE\n\n", "\0"])
        assert push.text() == r'a["MESSAGE\n\n","\u0000"]'
        sim.control.inject_bytes("810568656c6c6f")
        assert push.text() == "hello"


# --- loads and traffic


def content(sim):
    return [
        (entry["device"], entry["channel"], row["timestamp"], row["type"], row["number"], row["number_type"])
        for entry in sim.control.stored()
        for row in entry["rows"]
    ]


def test_load_is_pushed_whole_and_the_same_for_the_same_seed(sim):
    start = 17710614151234500
    with subscribed(sim, topics=("/topic/user/4711/devices/trigger",)) as push:
        load = sim.control.load(300, 1000, corrections=0.2, seed=7, start=start)
        sim.wait_load(load)
        progress = sim.control.load_progress(load)
        assert progress["impulses"] == 300
        assert progress["renumbered"] > 5
        assert progress["cleared"] > 5
        pushed = [push.push()["dto"] for _ in range(sim.control.counters()["pushes_sent"])]
    rows = content(sim)
    assert len(pushed) == len(rows) == 300 + 2 * progress["renumbered"] + progress["cleared"]
    assert {(entry["device"], entry["channel"]) for entry in sim.control.stored()} == {
        (device, channel) for device in (DEVICE, OTHER) for channel in (0, 1)
    }
    in_effect = [one["in_effect"] for entry in sim.control.stored() for one in entry["triggers"]]
    assert (len(in_effect), in_effect.count(False)) == (300, progress["cleared"])
    with running_simulator() as again:
        again.wait_load(again.control.load(300, 0, corrections=0.2, seed=7, start=start, devices=None))
        assert [row[3:] for row in content(again)] == [row[3:] for row in rows]
    with running_simulator() as other:
        other.wait_load(other.control.load(300, 0, corrections=0.2, seed=8, start=start))
        assert [row[3:] for row in content(other)] != [row[3:] for row in rows]


def test_load_goes_to_the_devices_and_channels_told(sim):
    sim.wait_load(sim.control.load(20, 0, devices=[OTHER], channels=[3]))
    assert {row[:2] for row in content(sim)} == {(OTHER, 3)}
    with pytest.raises(KeyError, match="no such device: 1"):
        sim.control.load(1, 0, devices=["1"])


def test_end_of_a_load_can_be_waited_for_over_http(sim, rest):
    load = rest.control("load", count=50, per_second=500).json()["result"]
    answer = requests.get(f"{sim.url}/control/wait_load", params={"load": load, "timeout": 20}, timeout=30).json()
    assert (answer["ok"], answer["result"]["impulses"], answer["result"]["done"]) == (True, 50, True)
    assert requests.get(f"{sim.url}/control/wait_load", params={"load": 9}, timeout=5).status_code == 400


def test_loads_share_the_loop_with_calls(sim, rest):
    load = sim.control.load(2000, 0)
    seen = []
    worker = threading.Thread(target=lambda: seen.append(rest.count()))
    worker.start()
    sim.wait_load(load)
    worker.join()
    assert 0 <= seen[0] <= 2000


def test_race_begins_at_once_with_the_first_subscriber(sim):
    sim.control.race(2000.0, seed=3)
    assert sim.control.stored() == []
    with subscribed(sim) as push:
        first = push.push()["dto"]
        assert (first["timingChannel"], first["startNumber"]) == ("C0", {"startNumber": 1, "type": "SEQUENTIAL"})
        assert first["timestamp"] <= sim.control.now()
        sim.wait_for(lambda control: control.counters().get("pushes", 0) > 150, what="traffic")
        sim.control.stop_race()
        places = {(entry["device"], entry["channel"]) for entry in sim.control.stored()}
        assert places == {(DEVICE, 0), (OTHER, 1)}


def test_race_on_one_device_has_start_and_finish_there(sim):
    sim.control.race(2000.0, devices=[DEVICE], wait=False)
    sim.wait_for(lambda control: len(control.stored(DEVICE)) == 2, what="start and finish")
    sim.control.stop_race()
    with pytest.raises(ValueError, match="not positive"):
        sim.control.race(0)


# --- control over HTTP


def test_every_verb_works_over_http(sim, rest):
    made = rest.control("impulse", device=DEVICE, channel="C1", number=12, number_type="MANUAL").json()
    assert made["ok"] is True
    timestamp = made["result"]["timestamp"]
    assert rest.control("renumber", device=DEVICE, channel=1, timestamp=timestamp, number=10).json()["ok"]
    stored = requests.get(f"{sim.url}/control/stored", params={"device": DEVICE, "channel": "1"}, timeout=5).json()
    assert stored["result"] == sim.control.stored(DEVICE, 1)
    assert stored["result"][0]["triggers"][0]["number"] == 10
    assert rest.control("behave", bounds="exclusive", heart_beat=[0, 0]).json()["result"]["bounds"] == "exclusive"
    assert sim.control.behaviour()["heart_beat"] == (0, 0)
    assert "impulse" in requests.get(f"{sim.url}/control/", timeout=5).json()
    switches = requests.get(f"{sim.url}/control/switches", timeout=5).json()["result"]
    assert {one["name"] for one in switches} == sim.control.behaviour().keys()
    assert all(entry["path"].startswith("/mt1/") for entry in sim.control.requests()), "control is not in the log"


@pytest.mark.parametrize(
    ("verb", "body", "status", "error"),
    [
        ("fly", "{}", 404, "no such verb: fly"),
        ("_rows", "{}", 404, "no such verb"),
        ("impulse", '{"device":"1"}', 404, "no such device: 1"),
        ("impulse", "{}", 400, "missing a required argument: 'device'"),
        ("behave", '{"bounds":"x"}', 400, "bounds: 'x' is not a choice"),
        ("impulse", '{"device":"231203016","at":1.7e16}', 400, "is not a whole number of 100 ns"),
        ("impulse", "[", 400, "the body is not a JSON object"),
    ],
)
def test_wrong_control_is_refused_with_its_reason(sim, verb, body, status, error):
    answer = requests.post(f"{sim.url}/control/{verb}", data=body, timeout=5)
    assert answer.status_code == status
    assert answer.json()["ok"] is False
    assert error in answer.json()["error"]


def test_port_in_use_is_told_to_who_starts(sim):
    with pytest.raises(OSError, match="address already in use"), running_simulator(port=sim.port):
        pass
