"""The simulator's login, token, quota and device list, asked with plain requests."""

import time

import pytest
import requests
from simulator_probe import DEVICE, OTHER, rest_of

from mt1bridge.simulator import Behaviour, running_simulator


@pytest.fixture
def sim():
    with running_simulator() as running:
        yield running


@pytest.fixture
def rest(sim):
    with rest_of(sim) as client:
        yield client


def test_login_gives_the_account_in_the_body_and_the_token_in_the_header(sim):
    with rest_of(sim, login=False) as rest:
        answer = rest.login()
        assert answer.json() == {
            "status": 0,
            "message": "OK",
            "data": [{"id": "4711", "username": "club", "roles": ["USER", "TIMING_POINT_ACCOUNT"]}],
        }
        assert len(answer.headers["authorization"]) == 32
        assert rest.current().json()["data"][0]["username"] == "club"


def test_token_is_raw_and_bearer_is_refused_unless_switched_on(sim, rest):
    assert rest.count_answer(token=f"Bearer {rest.token}").status_code == 403
    sim.control.behave(accept_bearer=True)
    assert rest.count_answer(token=f"Bearer {rest.token}").status_code == 200


@pytest.mark.parametrize(
    ("written", "http", "status"),
    [("200/-1007", 200, -1007), ("403", 403, None), ("401", 401, None), ("200/-1234", 200, -1234)],
)
def test_wrong_password_is_refused_as_the_behaviour_says(sim, written, http, status):
    sim.control.behave(wrong_password=written)
    with rest_of(sim, login=False) as rest:
        answer = rest.login(password="wrong")
        assert answer.status_code == http
        assert "authorization" not in answer.headers
        assert status is None or answer.json() == {
            "status": status,
            "message": "Wrong username or password",
            "data": [],
        }
    assert sim.control.counters()["logins_refused"] == 1


def test_account_without_role_is_welcome_or_refused(sim):
    sim.control.set_account("club", roles=["USER"])
    with rest_of(sim, login=False) as rest:
        assert rest.login().json()["data"][0]["roles"] == ["USER"]
        sim.control.behave(missing_role="200/-1008")
        assert rest.login().json()["status"] == -1008


@pytest.mark.parametrize(
    ("where", "header"),
    [("missing", None), ("empty", ""), ("body", None)],
)
def test_token_may_be_missing_from_the_header(sim, where, header):
    sim.control.behave(token_header=where)
    with rest_of(sim, login=False) as rest:
        answer = rest.login()
        assert answer.headers.get("authorization") == header
        assert ("token" in answer.json()["data"][0]) == (where == "body")


def test_token_header_may_come_twice_or_as_bearer(sim):
    with rest_of(sim, login=False) as rest:
        sim.control.behave(token_header="twice")
        assert len(rest.login().raw.headers.getlist("authorization")) == 2
        sim.control.behave(token_header="bearer")
        assert rest.login().headers["authorization"].startswith("Bearer ")


def test_body_that_is_no_login_is_a_bad_request(sim):
    answer = requests.post(f"{sim.url}/mt1/api/user/login", data="[]", timeout=5)
    assert (answer.status_code, answer.json()["status"]) == (400, -1)


def test_bad_token_is_403_and_on_user_current_an_envelope(rest):
    assert rest.count_answer(token="nonsense").status_code == 403
    answer = rest.current(token="nonsense")
    assert (answer.status_code, answer.json()["status"], answer.json()["data"]) == (200, -1007, [])


def test_refusals_of_the_token_are_switchable(sim, rest):
    sim.control.behave(token_refusal="200/-1007", current_refusal="403")
    assert rest.history_answer(token="nonsense").json()["status"] == -1007
    assert rest.current(token="nonsense").status_code == 403


@pytest.mark.parametrize(("body", "begin"), [("empty", ""), ("html", "<html>"), ("json", '{"status":-1007')])
def test_body_of_the_403_is_switchable(sim, rest, body, begin):
    sim.control.behave(refusal_body=body)
    answer = rest.count_answer(token="nonsense")
    assert answer.status_code == 403
    assert answer.text.startswith(begin)
    assert bool(answer.text) == bool(begin)


def test_token_dies_after_its_life(sim):
    sim.control.behave(token_lifetime_s=0.2)
    with rest_of(sim) as rest:
        assert rest.count() == 0
        sim.wait_for(lambda control: control.tokens() == 0, 5, "death of the token")
        assert rest.count_answer().status_code == 403


def test_all_tokens_can_be_made_to_die_now(sim, rest):
    assert sim.control.expire_tokens() == 1
    assert rest.count_answer().status_code == 403
    rest.login()
    assert rest.count() == 0
    assert sim.control.counters()["logins_ok"] == 2
    assert sim.control.expire_tokens("club") == 1


def test_older_tokens_live_on_unless_the_newest_login_kills_them(sim, rest):
    old = rest.token
    rest.login()
    assert rest.count_answer(token=old).status_code == 200
    sim.control.behave(newest_login_only=True)
    rest.login()
    assert rest.count_answer(token=old).status_code == 403
    assert rest.count_answer().status_code == 200


def test_device_list_has_ids_types_and_components(sim, rest):
    sim.control.set_device(OTHER, components={"info": {"name": "Split 1"}})
    assert rest.devices().json()["data"] == [
        {"id": DEVICE, "type": "MT1", "deviceComponents": {}},
        {"id": OTHER, "type": "MT1", "deviceComponents": {"info": {"name": "Split 1"}}},
    ]


def test_device_may_be_missing_from_the_list_and_still_be_allowed(sim, rest):
    sim.control.set_device(OTHER, listed=False)
    assert [one["id"] for one in rest.devices().json()["data"]] == [DEVICE]
    assert rest.count(OTHER) == 0


def test_device_list_of_somebody_else_is_refused(sim, rest):
    other = sim.control.add_account("guest", "secret")
    assert rest.get(f"/mt1/api/user/{other}/devices").json()["status"] == -2011


def test_ids_may_be_numbers(sim, rest):
    sim.control.behave(user_id_type="number", device_id_type="number")
    sim.control.impulse(DEVICE)
    assert rest.login().json()["data"][0]["id"] == 4711
    assert [one["id"] for one in rest.devices().json()["data"]] == [int(DEVICE), int(OTHER)]
    assert rest.history()[0]["deviceId"] == int(DEVICE)


def test_refused_device_answers_2011_until_it_is_allowed(sim, rest):
    sim.control.set_device(DEVICE, refused=True)
    assert rest.count_answer().json() == {"status": -2011, "message": "Not allowed", "data": []}
    assert rest.history_answer().json()["status"] == -2011
    sim.control.set_device(DEVICE, refused=False)
    assert rest.count() == 0


def test_device_of_another_account_is_foreign_until_registered(sim, rest):
    sim.control.add_device("190801013", username="")
    assert rest.count_answer("190801013").json()["status"] == -2011
    assert rest.count_answer("999").json()["status"] == -2011
    sim.control.register("190801013", "club")
    assert rest.count("190801013") == 0
    sim.control.register("190801013", "club", False)
    assert rest.count_answer("190801013").json()["status"] == -2011


def test_quota_refuses_with_200_and_9000_when_it_is_used_up(sim, rest):
    sim.control.behave(quota_calls=2)
    assert [rest.count_answer().json()["status"] for _ in range(5)] == [0, 0, -9000, -9000, -9000]
    assert sim.control.counters()["quota_answers"] == 3
    assert rest.login().json()["status"] == -9000, "logins are not exempt"


def test_quota_may_answer_429_with_and_without_retry_after(sim, rest):
    sim.control.behave(quota_calls=0, quota_answer="429", retry_after="7")
    answer = rest.count_answer()
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    sim.control.behave(retry_after=None)
    assert "Retry-After" not in rest.count_answer().headers


def test_quota_comes_back_after_the_penalty(sim, rest):
    sim.control.behave(quota_calls=1, quota_window_s=30, quota_penalty_s=0.3)
    assert [rest.count_answer().json()["status"] for _ in range(2)] == [0, -9000]
    until = sim.simulator.world.quota.until["127.0.0.1"]
    sim.wait_for(lambda _control: time.monotonic() >= until, 5, "end of the penalty")
    assert rest.count() == 0


def test_penalty_may_grow_with_every_call(sim, rest):
    sim.control.behave(quota_calls=0, quota_penalty_grows=True)
    rest.count_answer()
    first = sim.simulator.world.quota.until["127.0.0.1"]
    rest.count_answer()
    assert sim.simulator.world.quota.until["127.0.0.1"] > first


def test_realtime_calls_count_only_if_told(sim, rest):
    sim.control.exhaust_quota(60)
    assert rest.get("/devices/info").json()["websocket"] is True
    sim.control.behave(quota_counts_realtime=True)
    assert rest.get("/devices/info").json()["status"] == -9000


def test_neighbour_can_use_the_quota_up(sim, rest):
    sim.control.exhaust_quota(60)
    assert rest.count_answer().json()["status"] == -9000
    sim.control.exhaust_quota(0)
    assert rest.count() == 0


def test_log_tells_every_call_in_order(sim, rest):
    rest.count(timestampFrom_ms="5")
    entries = sim.control.requests()
    assert [(entry["kind"], entry["method"], entry["status"]) for entry in entries] == [
        ("login", "POST", 200),
        ("count", "GET", 200),
    ]
    assert entries[1]["path"] == f"/mt1/api/devices/{DEVICE}/channel/0/trigger/count"
    assert entries[1]["query"] == {"timestampFrom_ms": "5"}
    assert entries[0]["monotonic"] <= entries[1]["monotonic"]
    assert sim.control.requests(since=entries[1]["number"]) == [entries[1]]
    sim.control.forget()
    assert sim.control.requests() == []
    assert sim.control.counters() == {}


def test_unknown_paths_are_404_and_logged(sim, rest):
    assert rest.get("/mt1/api/nothing").status_code == 404
    assert sim.control.requests()[-1]["status"] == 404


def test_behaviour_can_be_given_at_the_start():
    with running_simulator(behaviour=Behaviour(token_refusal="401")) as sim, rest_of(sim) as rest:
        assert rest.count_answer(token="nonsense").status_code == 401


@pytest.mark.parametrize(
    "wrong", [{"nothing": 1}, {"bounds": "both"}, {"valid": 1}, {"quota_calls": -1}, {"heart_beat": [1]}]
)
def test_behaviour_refuses_what_it_does_not_know(sim, wrong):
    before = sim.control.behaviour()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sim.control.behave(**wrong)
    assert sim.control.behaviour() == before


def test_behaviour_goes_back_to_its_defaults(sim):
    sim.control.behave(bounds="exclusive", valid=False)
    sim.control.behave_by_default()
    assert Behaviour(**sim.control.behaviour()) == Behaviour()
