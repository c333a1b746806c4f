"""The simulator's SockJS and STOMP, spoken to with frames written by hand."""

import json

import pytest
from simulator_probe import DEVICE, OTHER, TOPIC, opened, parsed, rest_of, subscribed
from websocket import WebSocketBadStatusException

from mt1bridge.simulator import running_simulator

AT = 17710614151234500
OTHER_TOPIC = f"/topic/device/{OTHER}/trigger"


@pytest.fixture
def sim():
    with running_simulator() as running:
        yield running


@pytest.fixture
def token(sim):
    with rest_of(sim) as rest:
        return rest.token


def number(body):
    return body["dto"]["startNumber"]["startNumber"]


def test_info_names_the_transport_and_sets_the_cookie(sim):
    with rest_of(sim, login=False) as rest:
        answer = rest.get("/devices/info")
        value = answer.json()
        assert isinstance(value.pop("entropy"), int)
        assert value == {"origins": ["*:*"], "cookie_needed": True, "websocket": True}
        assert "JSESSIONID" in answer.cookies


def test_open_connected_and_receipt_are_framed_by_the_letter(sim, token):
    with opened(sim) as push:
        assert push.text() == "o"
        push.connect(token, beat="10000,10000")
        assert push.text() == r'a["CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n\u0000"]'
        push.send(f"SUBSCRIBE\nid:sub-0\ndestination:{TOPIC}\nreceipt:r-1\n\n\0")
        assert push.text() == r'a["RECEIPT\nreceipt-id:r-1\n\n\u0000"]'


def test_impulse_is_pushed_with_the_headers_of_a_spring_server(sim, token):
    with subscribed(sim, token, path="/123/abcdefgh/websocket") as push:
        sim.control.impulse(DEVICE, 0, 5, at=AT)
        command, headers, body = push.frame()
        assert command == "MESSAGE"
        assert headers == {
            "destination": TOPIC,
            "content-type": "application/json;charset=UTF-8",
            "subscription": "sub-0",
            "message-id": "abcdefgh-1",
            "content-length": str(len(body)),
        }
        wrapper = json.loads(body)
        assert (wrapper["type"], wrapper["entityType"]) == ("ENTITY_ADD", "TriggerDto")
        with rest_of(sim) as rest:
            assert [wrapper["dto"]] == rest.history()


def test_content_length_counts_bytes_and_text_stays_as_it_is(sim):
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE, extra={"note": "Zürich ⛷"})
        text = push.text()
        assert "Zürich ⛷" in text
        _, headers, body = parsed(json.loads(text[1:])[0])
        assert int(headers["content-length"]) == len(body.encode()) > len(body)


def test_topic_of_a_device_brings_all_its_channels_and_no_other_device(sim):
    with subscribed(sim) as push:
        sim.control.impulse(OTHER)
        sim.control.impulse(DEVICE, 0)
        sim.control.impulse(DEVICE, 1)
        assert [push.push()["dto"]["timingChannel"] for _ in range(2)] == ["C0", "C1"]
        assert push.quiet()


def test_topic_of_the_user_brings_everything_again(sim, token):
    with subscribed(sim, token, topics=(TOPIC, "/topic/user/4711/devices/trigger")) as push:
        sim.control.impulse(DEVICE)
        seen = [push.frame()[1] for _ in range(2)]
        assert [one["destination"] for one in seen] == [TOPIC, "/topic/user/4711/devices/trigger"]
        assert [one["subscription"] for one in seen] == ["sub-0", "sub-1"]


def test_renumber_clear_edit_and_delete_are_pushed(sim):
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE, 0, 12, at=AT)
        sim.control.renumber(DEVICE, 0, AT, 10)
        sim.control.edit(DEVICE, 0, AT, number=11)
        sim.control.behave(edit_change="CHANGED")
        sim.control.edit(DEVICE, 0, AT, number=9)
        sim.control.behave(edit_change=None)
        sim.control.edit(DEVICE, 0, AT, number=8)
        sim.control.clear(DEVICE, 0, AT)
        sim.control.delete(DEVICE, 0, AT)
        told = [push.push() for _ in range(7)]
        assert [(one["type"], one["dto"]["type"], number(one)) for one in told] == [
            ("ENTITY_ADD", "StartNumberTrigger", 12),
            ("ENTITY_ADD", "ClearTrigger", 12),
            ("ENTITY_ADD", "StartNumberTrigger", 10),
            ("ENTITY_UPDATE", "StartNumberTrigger", 11),
            ("CHANGED", "StartNumberTrigger", 9),
            ("ENTITY_ADD", "ClearTrigger", 8),
            ("ENTITY_DELETE", "StartNumberTrigger", 8),
        ]
        assert {one["dto"]["timestamp"] for one in told} == {AT}


def test_late_upload_is_pushed_as_a_burst_or_not_at_all(sim):
    with subscribed(sim) as push:
        sim.control.late_upload(DEVICE, 0, 3)
        assert [number(push.push()) for _ in range(3)] == [1, 2, 3]
        sim.control.late_upload(DEVICE, 0, 3, order="newest_first", start=AT)
        assert [number(push.push()) for _ in range(3)] == [3, 2, 1]
        sim.control.late_upload(DEVICE, 0, 3, order="history_only", start=AT + 10**9)
        assert push.quiet()


def test_trigger_may_be_stored_without_a_push(sim):
    with subscribed(sim) as push, rest_of(sim) as rest:
        sim.control.impulse(DEVICE, push=False)
        assert (rest.count(), push.quiet()) == (1, True)


def test_nothing_comes_after_unsubscribe(sim):
    with subscribed(sim, topics=(TOPIC, OTHER_TOPIC)) as push:
        push.send("UNSUBSCRIBE\nid:sub-0\nreceipt:u\n\n\0")
        assert push.frame()[0] == "RECEIPT"
        assert (sim.control.subscribed(), sim.control.subscribed(DEVICE)) == (1, 0)
        sim.control.impulse(DEVICE)
        assert push.quiet()


def test_disconnect_is_receipted_and_closed(sim):
    with subscribed(sim) as push:
        push.send("DISCONNECT\nreceipt:bye\n\n\0")
        assert push.frame()[1] == {"receipt-id": "bye"}
        assert push.end() == 1000
    sim.wait_for(lambda control: control.sessions() == [], what="end of the session")


def test_receipts_may_never_come(sim):
    sim.control.behave(receipts=False)
    with opened(sim) as push:
        push.connect()
        assert push.frame()[0] == "CONNECTED"
        push.send(f"SUBSCRIBE\nid:1\ndestination:{TOPIC}\nreceipt:r\n\n\0")
        sim.wait_subscribed(DEVICE)
        assert push.quiet()


@pytest.mark.parametrize(("offered", "answered"), [("1.0,1.1", "1.1"), ("1.1,1.2", "1.2"), ("1.0", "1.0")])
def test_best_offered_version_is_taken(sim, offered, answered):
    with opened(sim) as push:
        push.connect(version=offered)
        assert push.frame()[1]["version"] == answered


def test_connected_may_bear_anything(sim):
    sim.control.behave(stomp_version="9.9", heart_beat_header="x,y")
    with opened(sim) as push:
        push.connect()
        assert push.frame()[1] == {"version": "9.9", "heart-beat": "x,y"}
    sim.control.behave(heart_beat_header="")
    with opened(sim) as push:
        push.connect()
        assert push.frame()[1] == {"version": "9.9"}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("SUBSCRIBE\nid:1\ndestination:/x\n\n\0", "not connected"),
        ("CONNECT\naccept-version:3.0\n\n\0", "Supported protocol versions are 1.0,1.1,1.2"),
        ("nonsense\0", "no empty line after the headers"),
        ("SEND\nwithout colon\n\n\0", "header without colon: without colon"),
        ("SEND\na:\\t\n\n\0", "unknown escape \\t"),
        ("send\n\n\0", "no command"),
    ],
)
def test_broken_frames_are_answered_with_error_and_close(sim, sent, message):
    with opened(sim) as push:
        assert push.text() == "o"
        push.send(sent)
        command, headers, body = push.frame()
        assert (command, headers["message"].replace("\\\\", "\\"), body) == ("ERROR", message.replace(":", "\\c"), "")
        assert json.loads(push.text()[1:])[0] == 1002
        assert push.end() == 1002


def test_broken_json_closes_the_socket(sim):
    with opened(sim) as push:
        push.ws.send("CONNECT")
        assert push.end() == 1007
        assert sim.control.counters()["broken_frames"] == 1


def test_frame_may_come_in_two_strings_and_two_in_one(sim):
    with opened(sim) as push:
        push.send("CONNECT\naccept-version:1.2\n", f"\n\0SUBSCRIBE\nid:1\ndestination:{TOPIC}\n\n\0\n")
        assert push.frame()[0] == "CONNECTED"
        sim.wait_subscribed(DEVICE)


def test_subscribe_needs_its_headers(sim):
    with subscribed(sim) as push:
        push.send("SUBSCRIBE\nid:1\n\n\0")
        assert push.frame()[:2][0] == "ERROR"


# --- heart-beats


def test_heart_beats_are_sent_as_agreed(sim):
    sim.control.behave(heart_beat=(50, 0), sockjs_beat_s=0.05)
    with opened(sim) as push:
        assert push.text() == "o"
        push.connect(beat="0,100")
        assert push.frame()[1]["heart-beat"] == "50,0"
        assert [push.text() for _ in range(3)] == ['a["\\n"]'] * 3, "and no `h` meanwhile"


def test_sockjs_beats_run_while_there_are_no_stomp_beats(sim):
    sim.control.behave(heart_beat=(0, 0), sockjs_beat_s=0.05)
    with subscribed(sim) as push:
        assert [push.text() for _ in range(3)] == ["h"] * 3
    sim.control.behave(sockjs_beat_s=None)
    with subscribed(sim) as push:
        assert push.quiet()


def test_sockjs_beats_may_run_beside_stomp_beats(sim):
    sim.control.behave(heart_beat=(400, 0), sockjs_beat_s=0.05, sockjs_beat_always=True)
    with opened(sim) as push:
        assert push.text() == "o"
        push.connect(beat="0,400")
        seen = {push.text() for _ in range(12)}
        assert {"h", 'a["\\n"]'} <= seen


@pytest.mark.parametrize("drops", [False, True])
def test_client_without_promised_heart_beats_is_dropped_or_not(sim, drops):
    sim.control.behave(heart_beat=(0, 50), drop_silent_clients=drops)
    with opened(sim) as push:
        push.connect(beat="50,0")
        assert push.frame()[0] == "CONNECTED"
        if drops:
            assert push.end() == 1002
            assert sim.control.counters()["dropped_for_silence"] == 1
        else:
            assert push.quiet(0.5)


def test_client_with_heart_beats_is_kept(sim):
    sim.control.behave(heart_beat=(0, 200), drop_silent_clients=True)
    with opened(sim) as push:
        push.connect(beat="200,0")
        assert push.frame()[0] == "CONNECTED"
        for _ in range(10):
            push.send("\n")
            assert push.quiet(0.1)


# --- tokens and foreign devices


@pytest.mark.parametrize("given", [None, "nonsense"])
def test_connect_with_a_bad_token_is_ignored_refused_or_left_without_messages(sim, given):
    with subscribed(sim, given) as push:
        sim.control.impulse(DEVICE)
        assert push.push()
    sim.control.behave(connect_token="error")
    with opened(sim) as push:
        push.connect(given)
        assert push.frame()[:2][1]["message"] == "Access denied"
        assert push.end() == 1002
    sim.control.behave(connect_token="silent")
    with subscribed(sim, given) as push:
        sim.control.impulse(DEVICE)
        assert push.quiet()
    assert sim.control.counters()["connect_refused"] == 2


@pytest.mark.parametrize("how", ["keep", "close", "silent"])
def test_death_of_the_token_on_an_open_socket(sim, token, how):
    sim.control.behave(expiry_on_socket=how)
    with subscribed(sim, token) as push, subscribed(sim) as without_token:
        sim.control.expire_tokens()
        if how == "close":
            assert push.text() == 'c[3000,"Token expired"]'
            assert push.end() == 1000
        sim.control.impulse(DEVICE)
        assert without_token.push()
        if how == "keep":
            assert push.push()
        elif how == "silent":
            assert push.quiet()


@pytest.mark.parametrize("topic", ["/topic/device/190801013/trigger", "/topic/user/1/devices/trigger"])
def test_foreign_topics_stay_silent_or_end_the_session(sim, token, topic):
    sim.control.add_device("190801013", username="")
    with subscribed(sim, token, topics=(topic,)) as push:
        sim.control.impulse("190801013")
        assert push.quiet()
    sim.control.behave(foreign_subscription="error")
    with opened(sim) as push:
        push.connect(token)
        assert push.frame()[0] == "CONNECTED"
        push.send(f"SUBSCRIBE\nid:1\ndestination:{topic}\n\n\0")
        assert push.frame()[0] == "ERROR"
        assert push.end() == 1002
    assert sim.control.counters()["foreign_subscriptions"] == 2


# --- the upgrade


def test_session_id_in_use_is_refused(sim):
    path = "/000/samesame/websocket"
    with opened(sim, path=path) as first:
        assert first.text() == "o"
        with opened(sim, path=path) as second:
            assert (second.text(), second.text()) == ("o", 'c[2010,"Another connection still open"]')
    sim.wait_for(lambda control: control.sessions() == [], what="end of the sessions")
    with opened(sim, path=path) as third:
        third.connect()
        assert third.frame()[0] == "CONNECTED"


def test_number_of_sockets_may_be_limited(sim):
    sim.control.behave(max_sessions=1)
    with opened(sim), opened(sim) as second:
        assert second.text() == "o"
        assert second.text().startswith("c[1008,")


def test_cookie_and_origin_may_be_required(sim):
    sim.control.behave(cookie_required=True, origin_required=True)
    with (
        pytest.raises(WebSocketBadStatusException, match="403"),
        opened(sim, suppress_origin=True, cookie="JSESSIONID=1"),
    ):
        pass
    with pytest.raises(WebSocketBadStatusException, match="403"), opened(sim):
        pass
    with opened(sim, cookie="JSESSIONID=1") as push:
        assert push.text() == "o"


def test_unframed_websocket_is_off_unless_switched_on(sim):
    with pytest.raises(WebSocketBadStatusException, match="404"), opened(sim, path="/websocket"):
        pass
    sim.control.behave(raw_websocket="on")
    with opened(sim, path="/websocket") as push:
        push.ws.send("CONNECT\naccept-version:1.2\n\n\0")
        assert parsed(push.text())[0] == "CONNECTED"
        push.ws.send(f"SUBSCRIBE\nid:1\ndestination:{TOPIC}\n\n\0")
        sim.wait_subscribed(DEVICE)
        sim.control.impulse(DEVICE)
        assert parsed(push.text())[0] == "MESSAGE"


def test_pings_are_answered_and_binary_is_refused(sim):
    with opened(sim) as push:
        assert push.text() == "o"
        push.ws.ping(b"abc")
        opcode, frame = push.ws.recv_data_frame(control_frame=True)
        assert (opcode, frame.data) == (0xA, b"abc")
        push.ws.send_binary(b"x")
        assert push.end() == 1003


# --- pushes on their way


def test_pushes_may_get_lost(sim):
    sim.control.behave(drop_percent=30)
    with subscribed(sim) as push, rest_of(sim) as rest:
        for _ in range(200):
            sim.control.impulse(DEVICE)
        counters = sim.control.counters()
        assert 20 < counters["pushes_lost"] < 110
        assert counters["pushes_sent"] == 200 - counters["pushes_lost"]
        assert len([push.push() for _ in range(counters["pushes_sent"])]) == counters["pushes_sent"]
        assert push.quiet()
        assert rest.count() == 200


def test_pushes_may_come_twice(sim):
    sim.control.behave(duplicate_percent=100)
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE)
        assert push.push() == push.push()
        assert push.quiet()


def test_pushes_may_overtake_each_other(sim):
    sim.control.behave(reorder_percent=50)
    with subscribed(sim) as push:
        for place in range(1, 51):
            sim.control.impulse(DEVICE, 0, place)
        seen = [number(push.push()) for _ in range(50)]
        assert sorted(seen) == list(range(1, 51)) != seen


def test_single_push_held_back_comes_in_the_end(sim):
    sim.control.behave(reorder_percent=100)
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE, 0, 1)
        assert number(push.push()) == 1


def test_pushes_may_be_delayed(sim):
    sim.control.behave(delay_s=(0.3, 0.4))
    with subscribed(sim) as push:
        sim.control.impulse(DEVICE, 0, 1)
        assert push.quiet(0.1)
        assert number(push.push()) == 1


def test_several_frames_may_share_a_message(sim):
    sim.control.behave(frames_per_message=3, batch_wait_s=0.3)
    with subscribed(sim) as push:
        for place in range(1, 5):
            sim.control.impulse(DEVICE, 0, place)
        sizes = [len(json.loads(push.text()[1:])) for _ in range(2)]
        assert sizes == [3, 1], "the last one when nothing follows"


def test_message_may_be_split_inside_a_character(sim):
    sim.control.behave(fragments=1000)
    with opened(sim) as push:
        assert push.text() == "o"
        push.connect()
        assert push.frame()[0] == "CONNECTED"
        push.subscribe()
        sim.control.impulse(DEVICE, extra={"note": "äöü⛷"})
        assert push.push()["dto"]["note"] == "äöü⛷"


def test_reader_in_time_gets_a_body_of_any_size(sim):
    with subscribed(sim) as push:
        sim.control.inject_body(DEVICE, "x" * 8_000_000)
        assert len(push.frame()[2]) == 8_000_000


def test_stomp_subprotocol_is_taken_if_offered(sim):
    with opened(sim, subprotocols=["v12.stomp"]) as push:
        assert push.ws.getsubprotocol() == "v12.stomp"


def test_slow_reader_is_cut_off(sim):
    sim.control.behave(max_backlog=50_000)
    with subscribed(sim):
        for _ in range(60):
            sim.control.push_body(DEVICE, "x" * 1_000_000)
            if sim.control.counters().get("cut_off"):
                break
        assert sim.control.counters()["cut_off"] == 1
        sim.wait_for(lambda control: control.sessions() == [], what="end of the session")
