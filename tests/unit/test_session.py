"""The session with the MT1 server, told as a story: calls that go out, answers that come, what is told of both."""

import json
from itertools import cycle, pairwise

import pytest

from mt1bridge.cloud.budget import Budget, BudgetMemo
from mt1bridge.cloud.outcomes import DevicesListed, KeepBudget, KeepToken, KeptToken, Pushed
from mt1bridge.cloud.session import CloudSession
from mt1bridge.cloud.subscription import SubscriptionStands
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, CountWanted, Failure, PageRead, PageWanted, WantFailed
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import Change, ChannelId, Malformed, Reading, Sighting, TriggerId
from mt1bridge.model.upstream import (
    Answer,
    Call,
    CloseLink,
    LinkConnected,
    LinkLost,
    LinkMessage,
    LinkOddity,
    LinkSubscribed,
    Method,
    NoAnswer,
    OpenLink,
    Trouble,
)

HUT, SPLIT = "231203016", "231203037"
C0, C1 = ChannelId(HUT, "C0"), ChannelId(HUT, "C1")
PASSWORD = Secret("hunter2")
LOGIN, CURRENT, LIST = "/mt1/api/user/login", "/mt1/api/user/current", "/mt1/api/user/u-4711/devices"
COUNT = f"/mt1/api/devices/{HUT}/channel/0/trigger/count"
ACCOUNT = {"id": "u-4711", "username": "club", "roles": ["USER", "TIMING_POINT_ACCOUNT"]}


def at(seconds: float) -> Now:
    return Now(1000.0 + seconds, 1_771_061_415_000 + round(seconds * 1000))


class Story:
    """One session. `at` is the present second; what the session orders and tells comes back as a list."""

    def __init__(self, devices=(HUT,), kept=None, memo=None, calls_per_minute=20):
        self.seconds = 0.0
        self.budget = Budget(calls_per_minute, lambda: 0.0)
        self.session = CloudSession("club", PASSWORD, devices, self.budget, lambda: 0.0)
        self.session.restore(kept, memo, at(0))
        self.last: Call | None = None
        self.made: list[str] = []

    @property
    def now(self):
        return at(self.seconds)

    def told(self, outcomes):
        for one in outcomes:
            if isinstance(one, Call):
                self.last = one
                self.made.append(one.path)
        return outcomes

    def tick(self, seconds=None):
        if seconds is not None:
            assert seconds >= self.seconds
            self.seconds = seconds
        return self.told(self.session.tick(self.now))

    def on(self):
        """Go on to the moment when something happens by itself."""
        for _ in range(3):
            due = self.session.next_due(self.now) - at(0).monotonic
            assert due < float("inf"), "nothing is due"
            if told := self.tick(max(due, self.seconds)):
                return told
        raise AssertionError("it wakes up for nothing")

    def ask(self, wanted):
        free = self.session.free_at(self.now) - at(0).monotonic
        assert free < float("inf"), "no call may be asked for"
        self.seconds = max(self.seconds, free)
        return self.told(self.session.ask(wanted, self.now))

    def answers(self, *data, status=0, http=200, token=None, retry_after=None, call=None):
        body = json.dumps({"status": status, "message": "m", "data": list(data)}).encode() if http == 200 else b""
        number = (call or self.last).call
        secret = Secret(token) if token else None
        return self.told(self.session.rest_event(Answer(number, http, body, secret, retry_after=retry_after), self.now))

    def fails(self, trouble=Trouble.TIMEOUT):
        return self.told(self.session.rest_event(NoAnswer(self.last.call, trouble, trouble.value), self.now))

    def logs_in(self, token="t1"):
        """Until the token of a login has come."""
        while self.last is None or self.last.path != LOGIN:
            self.on()
        return self.answers(ACCOUNT, token=token)

    def lists(self, *devices):
        while self.last.path != LIST:
            self.on()
        return self.answers(*({"id": device} for device in devices or (HUT,)))

    def stands(self, link):
        self.session.link_event(LinkConnected(link, "1.2", "10000,10000", 30.0), self.now)
        return self.session.link_event(LinkSubscribed(link, (HUT,)), self.now)

    def lost(self, link, trouble=Trouble.CLOSED):
        return self.told(self.session.link_event(LinkLost(link, trouble, "gone"), self.now))


def live(devices=(HUT,)) -> Story:
    """Logged in with t1, devices listed, subscribed by link 1."""
    story = Story(devices)
    story.tick(0)
    story.logs_in()
    story.on()
    story.lists()
    story.tick()
    story.stands(1)
    return story


def short(outcomes):
    """Outcomes with notes as (event, level), calls as paths, alerts by their names."""
    found = []
    for one in outcomes:
        if isinstance(one, Note):
            found.append((one.event, one.level))
        elif isinstance(one, Call):
            found.append(one.path)
        elif isinstance(one, AlertRaised):
            found.append(f"alert {one.name}")
        elif isinstance(one, AlertOver):
            found.append(f"over {one.name}")
        elif isinstance(one, KeepToken):
            found.append("token kept" if one.kept else "token forgotten")
        elif isinstance(one, KeepBudget):
            found.append("budget kept")
        else:
            found.append(one)
    return found


def opened(link, token, devices=(HUT,)):
    return OpenLink(link, Secret(token), devices)


# --- login ------------------------------------------------------------------------------------------


def test_a_start_without_a_token_logs_in_and_writes_the_login_down_before_it_goes_out():
    story = Story()
    told = story.tick(0)
    assert short(told) == ["budget kept", LOGIN]
    assert told[0].memo.last_login_ms == at(0).utc_ms
    assert told[1] == Call(1, Method.POST, LOGIN, login=("club", PASSWORD))


def test_a_login_that_works_gives_a_token_that_is_kept_and_a_subscription_and_the_list_of_devices():
    story = Story()
    story.tick(0)
    told = story.answers(ACCOUNT, token="t1")
    assert short(told) == ["token kept", "budget kept", ("token_renewed", "info")]
    assert told[0].kept == KeptToken("club", Secret("t1"), "u-4711", at(0).utc_ms)
    assert story.tick() == [opened(1, "t1")]
    assert story.tick(0.9) == []
    [call] = story.tick(1)
    assert (call.path, call.token) == (LIST, Secret("t1"))


def test_the_token_of_an_earlier_process_is_used_without_a_login():
    story = Story(kept=KeptToken("club", Secret("t0"), "u-4711", 0))
    told = story.tick(0)
    assert short(told) == [opened(1, "t0"), LIST]
    assert told[1].token == Secret("t0")
    assert story.session.logins == 0


def test_the_token_of_another_user_is_not_used():
    story = Story(kept=KeptToken("somebody", Secret("t0"), "u-1", 0))
    assert short(story.tick(0)) == ["budget kept", LOGIN]


def test_a_login_of_an_earlier_process_counts_for_the_one_login_a_minute():
    memo = BudgetMemo(saved_ms=at(-20).utc_ms, last_login_ms=at(-20).utc_ms)
    story = Story(memo=memo)
    assert story.tick(0) == []
    assert story.tick(39.9) == []
    assert short(story.tick(40)) == ["budget kept", LOGIN]


def test_a_wrong_password_is_told_and_tried_again_after_1_5_15_and_then_every_60_minutes():
    story = Story()
    story.tick(0)
    assert short(story.answers(status=-1007)) == [
        "token forgotten",
        "budget kept",
        ("login_refused", "error"),
        "alert login_refused",
    ]
    moments = []
    for _ in range(5):
        story.on()
        moments.append(story.seconds)
        assert ("login_refused", "warning") in short(story.answers(http=403))
    assert moments == [60, 360, 1260, 4860, 8460]
    assert story.made == [LOGIN] * 6


def test_an_account_without_the_role_is_a_refused_login_that_says_what_to_do():
    story = Story()
    story.tick(0)
    told = story.answers(ACCOUNT | {"roles": ["USER"]}, token="t1")
    assert short(told)[-2:] == [("login_refused", "error"), "alert login_refused"]
    assert "Timekeeper" in told[-1].text
    assert story.tick(1) == []


def test_a_refused_login_that_works_later_is_over_once_the_new_token_is_accepted_too():
    story = Story()
    story.tick(0)
    story.answers(status=-1007)
    story.on()
    assert "over login_refused" not in short(story.answers(ACCOUNT, token="t1"))
    assert short(story.tick()) == [opened(1, "t1")]
    assert short(story.on()) == [CURRENT]
    assert short(story.answers(ACCOUNT)) == ["over login_refused"]
    assert story.session.login_refused is None


def test_a_server_that_gives_tokens_and_refuses_them_sees_fewer_and_fewer_logins():
    story = Story()
    logins, told = [], []
    for _ in range(5):
        while story.last is None or story.last.path != LOGIN:
            story.on()
        logins.append(story.seconds)
        told += short(story.answers(ACCOUNT, token="t1"))
        while story.session.has_token:
            if any(isinstance(one, Call) for one in story.on()):
                told += short(story.answers(http=403))
        story.on()
    pauses = [later - earlier for earlier, later in pairwise(logins)]
    assert [round(pause, -1) for pause in pauses] == [60, 300, 900, 3600]
    assert told.count(("login_refused", "error")) == 1
    assert "over login_refused" not in told


@pytest.mark.parametrize("trouble", [Trouble.DNS, Trouble.REFUSED, Trouble.TLS, Trouble.PROXY])
def test_a_login_that_never_left_does_not_use_up_the_one_login_a_minute(trouble):
    story = Story()
    story.tick(0)
    told = story.fails(trouble)
    assert short(told) == ["budget kept", ("rest_failed", "warning")]
    assert told[0].memo.last_login_ms is None
    assert story.tick(1.9) == []
    assert short(story.tick(2)) == ["budget kept", LOGIN]
    assert short(story.fails(trouble)) == ["budget kept", ("rest_failed", "debug")]
    assert short(story.tick(6)) == ["budget kept", LOGIN]


def test_a_login_without_an_answer_may_have_arrived_and_is_not_repeated_within_the_minute():
    story = Story()
    story.tick(0)
    assert short(story.fails(Trouble.TIMEOUT)) == [("rest_failed", "warning")]
    assert story.tick(59) == []
    assert short(story.tick(60)) == ["budget kept", LOGIN]


def test_a_web_page_at_the_login_is_an_outage_told_once_and_no_refusal():
    story = Story()
    told = []
    for _ in range(3):
        story.on()
        page = Answer(story.last.call, 200, b"<html>please log in to the hotel</html>")
        told += short(story.session.rest_event(page, story.now))
    assert told == [("rest_failed", "warning"), ("rest_failed", "debug"), ("rest_failed", "debug")]
    assert story.session.login_refused is None


def test_a_login_without_a_token_in_its_answer_is_an_outage_told_once():
    story = Story()
    told = []
    for _ in range(3):
        story.on()
        told += short(story.answers(ACCOUNT))
    assert told == [("rest_failed", "warning"), ("rest_failed", "debug"), ("rest_failed", "debug")]
    story.on()
    assert ("rest_restored", "info") in short(story.answers(ACCOUNT, token="t1"))


def test_quota_at_the_login_is_answered_with_patience_alone():
    story = Story()
    story.tick(0)
    assert short(story.answers(status=-9000)) == ["budget kept", ("quota_hit", "warning"), "alert quota"]
    assert story.session.in_quota(at(89))
    assert story.tick(89) == []
    assert short(story.tick(90)) == ["budget kept", LOGIN]
    assert short(story.answers(ACCOUNT, token="t1")) == [
        "over quota",
        ("quota_over", "info"),
        "token kept",
        "budget kept",
        ("token_renewed", "info"),
    ]


# --- the token ends ---------------------------------------------------------------------------------


def test_a_token_that_ends_costs_one_login_and_the_refused_call_is_repeated():
    story = live()
    story.seconds = 3000
    story.ask(CountWanted(C0))
    assert short(story.answers(http=403)) == ["token forgotten", ("token_expired", "info")]
    assert short(story.on()) == ["budget kept", LOGIN]
    story.answers(ACCOUNT, token="t2")
    [opening] = story.tick()
    assert opening == opened(2, "t2")  # beside link 1, which stands
    [again] = story.on()
    assert (again.path, again.token) == (COUNT, Secret("t2"))
    assert story.answers({"value": 102}) == [Counted(C0, 102)]
    assert story.made.count(LOGIN) == 2


def test_the_subscription_stands_while_the_token_is_renewed_and_the_old_one_is_closed_last():
    story = live()
    story.ask(CountWanted(C0))
    story.answers(status=-1007)
    assert story.session.subscription.subscribed
    story.seconds = 100
    story.on()
    story.answers(ACCOUNT, token="t2")
    assert story.tick() == [opened(2, "t2")]
    assert any(isinstance(one, SubscriptionStands) for one in story.stands(2))
    while CloseLink(1) not in (told := story.on()):
        assert all(not isinstance(one, CloseLink) for one in told)
        if told and isinstance(told[-1], Call):
            story.answers({"value": 1})
    assert story.session.subscription.subscribed


def test_a_repeat_that_meets_the_quota_or_an_outage_is_still_a_repeat():
    story = live()
    story.ask(CountWanted(C0))
    story.answers(http=403)
    story.on()
    story.answers(ACCOUNT, token="t2")
    story.tick()
    story.on()
    story.answers(status=-9000)
    story.ask(CountWanted(C0))
    story.fails(Trouble.TIMEOUT)
    story.ask(CountWanted(C0))
    assert short(story.answers(http=403)) == [("rest_restored", "info"), "over quota", ("quota_over", "info")]
    assert short(story.on()) == [CURRENT]  # and no second login


@pytest.mark.parametrize("path", [LIST, CURRENT, COUNT])
def test_one_call_that_is_never_answered_does_not_keep_the_others_waiting(path):
    story = live()
    story.seconds = 3700  # the list is due
    turns, answered = cycle([C0, C1]), 0
    for _ in range(60):
        if story.session.free_at(story.now) < float("inf"):
            story.ask(CountWanted(next(turns)))
        else:
            story.on()
        if len(story.made) == answered:
            continue
        answered = len(story.made)
        if story.last.path == path:
            story.answers(http=500)
        elif story.last.path == LOGIN:
            story.answers(ACCOUNT, token="t2")
        elif path == CURRENT and story.last.path == COUNT:
            story.answers(http=403)
        else:
            story.answers({"value": 1})
    assert story.made.count(COUNT.replace("channel/0", "channel/1")) >= 5
    assert story.made.count(LOGIN) <= 2


def test_a_restored_token_that_has_ended_costs_one_login():
    story = Story(kept=KeptToken("club", Secret("t0"), "u-4711", 0))
    story.tick(0)
    assert short(story.answers(http=403)) == ["token forgotten", ("token_expired", "info")]
    assert short(story.on()) == ["budget kept", LOGIN]
    story.answers(ACCOUNT, token="t1")
    story.tick()
    assert short(story.on()) == [LIST]


def test_a_connection_refused_before_it_was_taken_makes_the_token_be_checked_and_renewed():
    story = live()
    story.session.tick(at(10))
    story.seconds = 10
    story.lost(1, Trouble.CLOSED)
    story.tick(11)
    assert short(story.lost(2, Trouble.STOMP_ERROR)) == [("link_lost", "debug")]
    assert short(story.tick(12)) == [CURRENT]
    assert short(story.answers(status=-1007)) == ["token forgotten", ("token_expired", "info")]
    story.seconds = 100
    story.on()
    story.answers(ACCOUNT, token="t2")
    assert story.tick() == [opened(3, "t2")]


def test_any_status_but_0_says_that_the_checked_token_is_not_good():
    story = live()
    story.lost(1)
    story.tick(3)
    story.lost(2, Trouble.STOMP_ERROR)
    assert short(story.tick(4)) == [CURRENT]
    assert short(story.answers(status=-1)) == ["token forgotten", ("token_expired", "info")]


# --- one path is refused ----------------------------------------------------------------------------


def refused_for_good(story: Story, wanted) -> list:
    """Ask for what the server answers with 403, whatever the token, and let everything happen that comes of it."""
    told = story.ask(wanted)
    path = told[0].path
    for _ in range(10):
        if story.last.path == LOGIN:
            told += story.answers(ACCOUNT, token=f"t{len(story.made)}")
        elif story.last.path == CURRENT:
            told += story.answers(ACCOUNT)
        else:
            assert story.last.path == path
            told += story.answers(http=403)
        if any(isinstance(one, WantFailed) for one in told):
            return told
        told += story.on()
        while not isinstance(told[-1], Call):
            told += story.on()
    raise AssertionError(short(told))


def test_a_call_that_is_refused_with_a_good_token_costs_one_login_and_is_then_refused_alone():
    story = live()
    told = refused_for_good(story, CountWanted(C0))
    assert [one for one in short(told) if isinstance(one, str) and one.startswith("/")] == [
        COUNT,
        LOGIN,
        COUNT,
        CURRENT,
    ]
    assert told[-1] == WantFailed(
        CountWanted(C0), Failure.REFUSED, "the MT1 server refuses this call, though it accepts the token"
    )
    assert story.session.has_token


def test_calls_of_many_channels_that_are_refused_cost_one_login_in_all():
    story = live()
    for number in range(9):
        at_channel = ChannelId(HUT, f"C{number}")
        told = refused_for_good(story, CountWanted(at_channel))
        assert told[-1].failure is Failure.REFUSED
        told = refused_for_good(story, CountWanted(at_channel))
        assert told[-1].failure is Failure.REFUSED
    assert story.made.count(LOGIN) == 2  # the first one, and the one for the first refusal
    assert not any(one == ("token_expired", "info") for one in short(story.tick()))


def test_a_refused_call_does_not_hide_the_end_of_the_token():
    story = live()
    refused_for_good(story, CountWanted(C0))
    story.ask(CountWanted(C1))
    assert story.answers(http=403) == []
    story.on()
    assert story.last.path == CURRENT
    story.answers(status=-1007)
    while story.last.path != LOGIN:
        story.on()
    assert story.made.count(LOGIN) == 3


def test_a_list_of_devices_that_is_refused_leaves_configured_devices_alone():
    story = Story()
    story.tick(0)
    story.logs_in()
    story.tick()
    story.on()
    assert story.last.path == LIST
    assert story.answers(http=403) == []
    assert short(story.on()) == [CURRENT]
    assert short(story.answers(ACCOUNT)) == [("device_list_refused", "warning")]
    assert story.session.has_token
    assert story.session.login_refused is None
    story.stands(1)
    assert story.ask(CountWanted(C0)) != []
    assert story.made.count(LOGIN) == 1


def test_without_configured_devices_a_refused_list_is_asked_for_again_within_minutes():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    story.on()
    assert short(story.answers(status=-5)) == [("device_list_refused", "warning")]
    assert story.session.list_refused
    asked = story.seconds
    assert short(story.on()) == [LIST]
    assert 60 <= story.seconds - asked <= 600
    assert short(story.answers(status=-5)) == [("device_list_refused", "debug")]
    story.on()
    story.answers({"id": HUT})
    assert not story.session.list_refused
    assert story.session.devices == (HUT,)


def test_a_device_that_is_refused_by_status_is_refused_at_once_without_a_login():
    story = live()
    story.ask(CountWanted(C0))
    [failed] = story.answers(status=-2011)
    assert (failed.wanted, failed.failure) == (CountWanted(C0), Failure.REFUSED)
    assert story.made.count(LOGIN) == 1


# --- devices ----------------------------------------------------------------------------------------


def test_without_configured_devices_nothing_is_subscribed_to_until_the_list_is_there():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    assert story.tick() == []
    assert story.session.devices is None
    story.on()
    told = story.answers({"id": HUT, "type": "MT1"}, {"id": SPLIT})
    assert short(told)[0] == ("devices_listed", "info")
    assert isinstance(told[1], DevicesListed)
    assert [device.id for device in told[1].devices] == [HUT, SPLIT]
    assert story.tick() == [opened(1, "t1", (HUT, SPLIT))]


def test_the_list_is_asked_for_every_hour_and_told_in_the_log_when_it_has_changed():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    story.on()
    listed = story.seconds
    story.answers({"id": HUT})
    story.tick()
    story.stands(1)
    assert short(story.on()) == [LIST]
    assert story.seconds == listed + 3600
    assert not any(isinstance(one, Note) for one in story.answers({"id": HUT}))
    story.on()
    assert ("devices_listed", "info") in short(story.answers({"id": HUT}, {"id": SPLIT}))
    assert story.tick() == [opened(2, "t1", (HUT, SPLIT))]


def test_an_account_without_devices_is_known_to_have_none():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    story.on()
    story.answers()
    assert story.session.devices == ()


def test_devices_that_rest_refuses_are_not_subscribed_to_and_come_back_when_it_takes_them():
    story = live((HUT, SPLIT))
    story.session.refused_devices(frozenset({SPLIT}))
    assert story.tick() == [opened(2, "t1", (HUT,))]
    story.stands(2)
    story.tick(story.seconds + 6)
    story.session.refused_devices(frozenset())
    assert story.tick() == [opened(3, "t1", (HUT, SPLIT))]


# --- history ----------------------------------------------------------------------------------------


def test_a_count_is_asked_for_by_the_bare_number_of_the_channel():
    story = live()
    [call] = story.ask(CountWanted(C1))
    assert call.path == f"/mt1/api/devices/{HUT}/channel/1/trigger/count"
    assert call.query == {}
    assert story.answers({"value": "7"}) == [Counted(C1, 7)]


def test_a_count_that_cannot_be_read_is_no_count():
    story = live()
    story.ask(CountWanted(C0))
    note, failed = story.answers({"value": "many"})
    assert (note.event, note.level, note.facts["text"]) == ("rest_failed", "warning", "the count cannot be read")
    assert failed == WantFailed(CountWanted(C0), Failure.TRANSIENT, "the count cannot be read")


def test_a_page_is_asked_for_with_limit_and_bounds_and_its_rows_come_in_the_servers_order():
    story = live()
    wanted = PageWanted(C0, 5, 1000, 2000, 200, 200)
    [call] = story.ask(wanted)
    assert call.path == f"/mt1/api/devices/{HUT}/channel/0/trigger"
    assert call.query == {"limit": "200", "offset": "200", "timestampTo_ms": "2000", "timestampFrom_ms": "1000"}
    asked_ms = story.now.utc_ms
    story.seconds += 3
    row = {"timestamp": 17710614151234500, "type": "StartNumberTrigger", "startNumber": {"startNumber": 12}}
    [page] = story.answers(row, row | {"timestamp": 17710614151234400})
    assert isinstance(page, PageRead)
    assert (page.wanted, page.asked_ms) == (wanted, asked_ms)
    assert [seen.id.timestamp for seen in page.rows] == [17710614151234500, 17710614151234400]


def test_a_page_without_a_lower_bound_asks_for_none():
    story = live()
    [call] = story.ask(PageWanted(C0, 5, None, 2000, 0, 200))
    assert "timestampFrom_ms" not in call.query


def test_a_row_of_another_channel_belongs_nowhere():
    story = live()
    story.ask(PageWanted(C0, 5, None, 2000, 0, 200))
    row = {"timestamp": 17710614151234500, "type": "StartNumberTrigger", "timingChannel": "C1"}
    [page] = story.answers(row)
    [seen] = page.rows
    assert isinstance(seen, Malformed)
    assert seen.channel == C0


def test_while_a_call_is_under_way_no_other_may_be_asked_for():
    story = live()
    story.ask(CountWanted(C0))
    assert story.session.free_at(story.now) == float("inf")
    assert story.tick(story.seconds + 30) == []


def test_an_answer_to_an_earlier_call_changes_nothing():
    story = live()
    [first] = story.ask(CountWanted(C0))
    story.fails(Trouble.TIMEOUT)
    story.ask(CountWanted(C1))
    assert story.answers({"value": 9}, call=first) == []
    assert story.answers({"value": 3})[-1] == Counted(C1, 3)


def test_what_is_wanted_waits_out_the_quota_while_push_goes_on():
    story = live()
    story.ask(CountWanted(C0))
    told = story.answers(http=429, retry_after="120")
    assert short(told)[:3] == ["budget kept", ("quota_hit", "warning"), "alert quota"]
    assert told[3].failure is Failure.TRANSIENT
    assert story.session.free_at(story.now) == story.now.monotonic + 120
    assert story.session.subscription.subscribed
    body = b'{"dto": {"timestamp": 17710614151234500, "timingChannel": "C0", "type": "StartNumberTrigger"}}'
    pushed = story.session.link_event(LinkMessage(1, f"/topic/device/{HUT}/trigger", body), story.now)
    assert [type(one) for one in pushed] == [Pushed]


def test_an_outage_of_rest_is_told_once_and_its_end_once_whatever_the_first_answer_is():
    story = live()
    told = []
    for _ in range(3):
        story.ask(CountWanted(C0))
        told += [one for one in short(story.fails()) if not isinstance(one, WantFailed)]
    assert told == [("rest_failed", "warning"), ("rest_failed", "debug"), ("rest_failed", "debug")]
    assert story.session.rest_works is False
    story.ask(CountWanted(C0))
    assert short(story.answers(status=-9000))[0] == ("rest_restored", "info")
    story.ask(CountWanted(C0))
    assert ("rest_restored", "info") not in short(story.answers({"value": 1}))


# --- push -------------------------------------------------------------------------------------------


def test_a_pushed_message_becomes_sightings_with_the_device_of_its_destination():
    story = live()
    body = b'{"dto": {"timestamp": 17710614151234500, "timingChannel": "C0", "type": "StartNumberTrigger"}}'
    reading = Reading(None, None, None, None, None)
    assert story.session.link_event(LinkMessage(1, f"/topic/device/{HUT}/trigger", body), story.now) == [
        Pushed((Sighting(TriggerId(HUT, "C0", 17710614151234500), Change.SET, reading),))
    ]


def test_a_message_of_a_connection_that_is_not_ours_any_more_is_not_taken():
    story = live()
    body = b'{"dto": {"timestamp": 1, "timingChannel": "C0", "type": "StartNumberTrigger"}}'
    assert story.session.link_event(LinkMessage(7, f"/topic/device/{HUT}/trigger", body), story.now) == []


def test_a_start_and_its_clear_that_two_connections_bring_are_told_once():
    story = live()
    story.session.reconfigure("club", PASSWORD, (HUT, SPLIT), 20, story.now, other_server=False)
    assert [one.link for one in story.tick(60) if isinstance(one, OpenLink)] == [2]
    story.stands(2)
    dto = '{"timestamp": 1, "timingChannel": "C0", "startNumber": 6, "type": "%s"}'
    bodies = [(dto % kind).encode() for kind in ("StartNumberTrigger", "ClearTrigger")]
    told = [
        story.session.link_event(LinkMessage(link, f"/topic/device/{HUT}/trigger", body), story.now)
        for link in (2, 1)
        for body in bodies
    ]
    assert [len(pushed) for pushed in told] == [1, 1, 0, 0]


def test_bytes_that_nobody_understands_are_told_as_malformed():
    story = live()
    assert story.session.link_event(LinkOddity(1, "x7", "an unknown frame"), story.now) == [
        Pushed((Malformed(None, "x7", "an unknown frame"),))
    ]


def test_without_push_it_is_polling_after_a_while_or_at_once_where_no_websocket_is_to_be_had():
    story = live()
    story.lost(1)
    begin = story.seconds
    assert not story.session.polling(at(begin + 14.9))
    assert story.session.polling(at(begin + 15))
    story.tick(begin + 1)
    assert story.session.next_due(story.now) == at(begin + 15).monotonic  # for the state to change
    story = live()
    story.lost(1, Trouble.UPGRADE)
    assert story.session.polling(story.now)


def test_it_is_not_polling_while_rest_does_not_work_either():
    story = live()
    story.lost(1)
    story.ask(CountWanted(C0))
    story.fails()
    assert not story.session.polling(at(story.seconds + 100))


# --- for people -------------------------------------------------------------------------------------


def test_the_next_try_of_a_login_is_now_while_it_is_under_way_and_does_not_jump_by_a_minute():
    story = Story()
    story.tick(0)
    assert story.session.next_try(at(3)) == at(3).monotonic
    story.fails(Trouble.DNS)
    assert story.session.next_try(at(0)) == at(2).monotonic


def test_the_next_try_after_a_refused_login_is_the_end_of_its_pause():
    story = Story()
    story.tick(0)
    story.answers(status=-1007)
    assert story.session.next_try(at(1)) == at(60).monotonic


def test_the_next_try_of_a_lost_connection_is_its_own():
    story = live()
    story.lost(1)
    assert story.session.next_try(story.now) == story.now.monotonic + 1


def test_without_a_list_of_devices_the_next_try_is_the_next_call_for_it():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    story.on()
    story.answers(status=-9000)
    assert story.session.next_try(story.now) == story.now.monotonic + 90


# --- other settings ---------------------------------------------------------------------------------


def other(story: Story, username="club", password=PASSWORD, devices=(HUT,), calls=20, other_server=False):
    return story.told(story.session.reconfigure(username, password, devices, calls, story.now, other_server))


def test_the_same_settings_change_nothing():
    story = live()
    assert other(story) == []
    assert story.tick() == []


def test_a_mended_password_is_tried_at_once_if_the_last_login_is_a_minute_old():
    story = Story()
    story.tick(0)
    story.answers(status=-1007)
    story.on()
    story.answers(status=-1007)
    story.seconds = 130
    assert other(story, password=Secret("better")) == []
    assert story.session.login_refused is not None  # until the new one has worked
    told = story.tick()
    assert short(told) == ["budget kept", LOGIN]
    assert told[1].login == ("club", Secret("better"))


def test_the_answer_to_a_login_with_the_old_password_says_nothing_of_the_new_one():
    story = Story()
    story.tick(0)
    old = story.last
    assert other(story, password=Secret("better")) == []
    assert story.answers(status=-1007, call=old) == []
    assert story.session.login_refused is None
    assert story.tick(59) == []
    assert story.tick(60)[1].login == ("club", Secret("better"))


def test_another_password_keeps_the_token_and_the_subscription():
    story = live()
    assert other(story, password=Secret("better")) == []
    assert story.session.has_token
    assert story.session.subscription.subscribed


def test_another_user_begins_anew_and_the_call_under_way_is_forgotten():
    story = live()
    [call] = story.ask(CountWanted(C0))
    assert short(other(story, username="somebody")) == [CloseLink(1), "token forgotten"]
    assert story.answers({"value": 9}, call=call) == []
    story.seconds += 60
    told = story.tick()
    assert short(told) == ["budget kept", LOGIN]
    assert told[1].login == ("somebody", PASSWORD)


def test_another_user_without_configured_devices_gets_the_list_of_the_other_account_at_once():
    story = Story(devices=None)
    story.tick(0)
    story.logs_in()
    story.on()
    story.answers({"id": HUT})
    other(story, username="somebody", devices=None)
    assert story.session.devices is None
    story.seconds += 60
    story.tick()
    story.answers(ACCOUNT, token="t2")
    assert short(story.on()) == [LIST]


def test_another_server_begins_anew_too():
    story = live()
    assert short(other(story, other_server=True)) == [CloseLink(1), "token forgotten"]


def test_other_devices_make_another_subscription_beside_the_present_one():
    story = live()
    assert other(story, devices=(HUT, SPLIT)) == []
    assert story.tick() == [opened(2, "t1", (HUT, SPLIT))]


def test_the_settings_change_while_a_call_is_under_way_and_its_answer_still_counts():
    story = live()
    story.ask(CountWanted(C0))
    other(story, devices=(HUT, SPLIT))
    assert story.answers({"value": 9}) == [Counted(C0, 9)]


# --- the end ----------------------------------------------------------------------------------------


def test_the_end_closes_the_subscription_and_nothing_more_is_asked():
    story = live()
    assert story.session.stop() == [CloseLink(1)]
    assert story.tick(story.seconds + 4000) == []
    assert story.session.next_due(story.now) == float("inf")
    assert story.session.free_at(story.now) == float("inf")


def test_no_secret_stands_in_what_is_told():
    story = Story()
    seen = repr(story.tick(0)) + repr(story.answers(ACCOUNT, token="0123456789ABCDEF")) + repr(story.tick())
    assert "Call(" in seen
    assert "KeptToken(" in seen
    assert "OpenLink(" in seen
    assert "hunter2" not in seen
    assert "0123456789ABCDEF" not in seen
