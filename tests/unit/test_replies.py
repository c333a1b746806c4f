"""REST answers -> outcomes, in the order of MT1-API, section 3."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.replies import (
    Account,
    AuthRefused,
    Device,
    Login,
    Ok,
    QuotaExceeded,
    Refused,
    Transient,
    account,
    count,
    devices,
    judge,
    read_login,
    server_date_ms,
)
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, NoAnswer, Trouble

DATE = "Sat, 14 Feb 2026 09:30:15 GMT"
DATE_MS = 1_771_061_415_000
TOKEN = "0123456789ABCDEF0123456789ABCDEF"
CLUB = {"id": "u-4711", "username": "club", "roles": ["USER", "TIMING_POINT_ACCOUNT"]}


def answer(body: Any = None, status: int = 200, **headers: Any) -> Answer:
    return Answer(1, status, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)


def envelope(status: Any = 0, data: Any = (), **more: Any) -> dict[str, Any]:
    return {"status": status, "data": list(data) if isinstance(data, tuple) else data, **more}


# --- judge ------------------------------------------------------------------------------------------


def test_status_0_gives_the_data():
    assert judge(answer(envelope(data=({"value": 3},)))) == Ok([{"value": 3}])
    assert judge(answer(envelope(), status=201)) == Ok([])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"status":0,"data":[]}', b'{"status":-9000}'])
def test_401_and_403_refuse_whatever_the_body(status, body):
    assert isinstance(judge(answer(body, status)), AuthRefused)


@pytest.mark.parametrize("body", [b"", b'{"status":0,"data":[]}'])
def test_429_is_the_quota_whatever_the_body(body):
    outcome = judge(answer(body, 429, retry_after="120"))
    assert isinstance(outcome, QuotaExceeded)
    assert outcome.retry_after_s == 120


@pytest.mark.parametrize(
    "status", [101, 300, 301, 302, 304, 307, 308, 400, 404, 409, 410, 418, 500, 502, 503, 504, 999]
)
def test_any_other_status_but_2xx_is_transient_and_named(status):
    outcome = judge(answer(envelope(), status))
    assert isinstance(outcome, Transient)
    assert str(status) in outcome.text
    assert outcome.trouble is None


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_called_one(status):
    assert "redirect" in judge(answer(b"", status)).text


def test_the_known_statuses_of_the_envelope():
    quota = judge(answer(envelope(-9000, None, message="Quota exceeded"), retry_after="7"))
    assert isinstance(quota, QuotaExceeded)
    assert quota.retry_after_s == 7
    assert isinstance(judge(answer({"status": -1007, "message": "Not logged in"})), AuthRefused)
    refused = judge(answer(envelope(-2011, message="Not allowed")))
    assert refused == Refused(-2011, "Not allowed")
    assert refused.device_refused
    assert "device" in refused.text


def test_an_unknown_status_is_refused_for_this_call_only():
    outcome = judge(answer(envelope(-5, message=None)))
    assert outcome == Refused(-5, "")
    assert not outcome.device_refused
    assert "-5" in outcome.text
    assert judge(answer(envelope(1))) == Refused(1, "")


def test_the_servers_words_come_as_one_printable_line_of_bounded_length():
    outcome = judge(answer(envelope(-5, message="\x1b[31mno\nway\ud800" + "x" * 500)))
    assert outcome.text.isprintable()
    assert len(outcome.message) <= 200
    outcome.message.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"{}",
        b'{"status":0,"data":[',
        b'{"data":[]}',
        b"\xff",
        b"[" * 10_000,
    ]
    + [json.dumps(envelope(status)).encode() for status in ("0", None, True, 0.0, [])]
    + [json.dumps(envelope(0, data)).encode() for data in (None, {}, "x", 5)]
    + [b'{"status":0}', b'{"status":0,"status":0,"data":[]}', b'{"status":0,"data":[NaN]}'],
)
def test_a_wrong_shape_is_transient(body):
    outcome = judge(answer(body))
    assert isinstance(outcome, Transient)
    assert outcome.text.startswith("not the MT1 server's answer")


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>", b"\n <html>", b"\xef\xbb\xbf<html>"])
def test_a_web_page_is_called_one(body):
    outcome = judge(answer(body))
    assert isinstance(outcome, Transient)
    assert "captive portal" in outcome.text


def test_no_answer_is_transient_with_its_trouble():
    assert judge(NoAnswer(1, Trouble.DNS, "host: no such name")) == Transient("host: no such name", Trouble.DNS)


# --- Retry-After ------------------------------------------------------------------------------------


def retry_after(text: str | None, date: str | None = None, utc_ms: int | None = None) -> float | None:
    outcome = judge(answer(b"", 429, retry_after=text, date=date), utc_ms)
    assert isinstance(outcome, QuotaExceeded)
    return outcome.retry_after_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("90", 90),
        (" 90 ", 90),
        ("0", 1),
        ("-5", 1),
        ("soon", 1),
        ("", 1),
        ("1.5", 1),
        ("٣", 1),
        ("3601", 3600),
        ("1000000000", 3600),
        ("9" * 5000, 3600),
    ],
)
def test_retry_after_in_seconds_stays_within_a_second_and_an_hour(text, seconds):
    assert retry_after(text) == seconds


def test_a_retry_after_date_counts_from_the_answers_own_date():
    assert retry_after("Sat, 14 Feb 2026 09:32:15 GMT", DATE, utc_ms=0) == 120
    assert retry_after("Sat, 14 Feb 2026 09:00:00 GMT", DATE) == 1
    assert retry_after("Fri, 31 Dec 9999 23:59:59 GMT", DATE) == 3600


def test_a_retry_after_date_counts_from_our_clock_where_the_answer_has_no_date():
    assert retry_after(DATE, None, utc_ms=DATE_MS - 30_000) == 30
    assert retry_after(DATE, "garbage", utc_ms=DATE_MS - 30_000) == 30
    assert retry_after(DATE) == 1


def test_the_servers_date():
    assert server_date_ms(DATE) == DATE_MS
    assert server_date_ms("Sat, 14 Feb 2026 09:30:15") == DATE_MS
    for text in (None, "", "x", "Sat, 99 Feb 2026 09:30:15 GMT", "Sat, 14 Feb 1920 09:30:15 GMT", "1" * 500):
        assert server_date_ms(text) is None


@given(st.text())
def test_no_date_raises(text):
    result = server_date_ms(text)
    assert result is None or result >= 0


# --- login ------------------------------------------------------------------------------------------


def login(token: str | None = TOKEN, data: Any = (CLUB,)) -> Login | Transient:
    reply = answer(envelope(data=data), token=None if token is None else Secret(token))
    outcome = judge(reply)
    assert isinstance(outcome, Ok)
    return read_login(reply, outcome)


def test_a_login_gives_account_and_token():
    found = login()
    assert found == Login(Account("u-4711", ("USER", "TIMING_POINT_ACCOUNT"), "club"), Secret(TOKEN))
    assert isinstance(found, Login)
    assert found.account.may_time
    assert TOKEN not in repr(found)


def test_bearer_is_no_part_of_the_token():
    found = login(f"Bearer {TOKEN}")
    assert isinstance(found, Login)
    assert found.token == Secret(TOKEN)
    assert found.note is not None
    assert TOKEN not in found.note


@pytest.mark.parametrize(
    "token", [None, "", "  ", "Bearer ", "x" * 1_000_000, f"{TOKEN}, {TOKEN[::-1]}", "a\nb", "ä", "a\0"]
)
def test_a_login_without_a_usable_token_is_transient(token):
    found = login(token)
    assert isinstance(found, Transient)
    assert TOKEN not in found.text


def test_an_account_id_may_be_a_number_and_roles_may_be_missing():
    assert account([{"id": 4711}]) == Account("4711", (), None)
    found = account([{"id": "u", "roles": ["A", 5, None], "username": 7}])
    assert found == Account("u", ("A",), None)
    assert not found.may_time


@pytest.mark.parametrize(
    "data", [[], [None], ["x"], [[]], [{}], *([{"id": i}] for i in (None, "", True, "a b", "x" * 129, 1.5))]
)
def test_an_account_without_a_usable_id_is_transient(data):
    assert isinstance(account(data), Transient)


# --- count and devices ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [([{"value": 102}], 102), ([{"value": 0}, {}], 0), ([{"value": "12"}], 12)]
    + [([{"value": value}], None) for value in (None, -1, True, 1.5, "x", "-1", "9" * 5000, [])]
    + [(data, None) for data in ([], [None], [5], [{}])],
)
def test_a_count_is_a_whole_number_or_unknown(data, expected):
    assert count(data) == expected


def test_devices_of_the_documented_shape():
    data = [
        {"id": "231203016", "type": "MT1", "deviceComponents": {}},
        {"id": 231203037, "type": "MT1", "deviceComponents": {"info": [{"name": "Split 1"}]}},
    ]
    assert devices(data) == [
        Device("231203016", "MT1", None, '{"deviceComponents":{},"id":"231203016","type":"MT1"}'),
        Device(
            "231203037",
            "MT1",
            "Split 1",
            '{"deviceComponents":{"info":[{"name":"Split 1"}]},"id":231203037,"type":"MT1"}',
        ),
    ]


def test_what_is_no_device_is_left_out_and_each_id_comes_once():
    data: list[object] = [
        None,
        5,
        [],
        {},
        {"id": "x"},
        {"id": None},
        {"id": "7"},
        {"id": 7, "type": "again"},
        {"id": "8"},
    ]
    assert [device.id for device in devices(data)] == ["7", "8"]


def test_the_name_nearest_to_the_surface_counts():
    components = {"a": {"b": {"name": "deep"}}, "c": {"deviceName": "  near "}, "name": " "}
    assert devices([{"id": "1", "deviceComponents": components}])[0].name == "near"
    assert devices([{"id": "1", "owner": {"name": "club"}}])[0].name is None


@pytest.mark.parametrize("name", ["", " ", 5, None, ["x"]])
def test_an_empty_name_is_none(name):
    assert devices([{"id": "1", "deviceComponents": {"name": name}}])[0].name is None


def test_a_strange_name_is_text_of_bounded_length_that_utf_8_takes():
    (device,) = devices([{"id": "1", "type": "\ud800", "deviceComponents": {"name": "\ud800/#+" * 70_000}}])
    assert device.name is not None
    assert len(device.name.encode()) <= 800
    assert device.type == "?"
    assert len(device.raw) == 16 * 1024


# --- whatever comes ---------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([0, -9000, -1007]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "id", "value", "name", "roles", "deviceComponents"]), inner
        )
    ),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.integers(100, 999), st.text(), st.text())
def test_no_answer_raises(body, status, date, wait):
    outcome = judge(Answer(1, status, body, retry_after=wait, date=date))
    assert outcome.text.isprintable()


@given(st.lists(JSON))
def test_no_data_raises(data):
    outcome = judge(answer(envelope(data=data)))
    if isinstance(outcome, Ok):
        account(outcome.data)
        count(outcome.data)
        devices(outcome.data)
        read_login(answer(token=Secret("x")), outcome)
