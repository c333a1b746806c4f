"""History as the whole bridge reads it: servers that answer oddly, late, or not at all for one channel alone."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from bridge_house import HUT, NOON, SPLIT, House, Server, device, settings

from mt1bridge.bridge import Start
from mt1bridge.cloud.budget import BudgetMemo
from mt1bridge.cloud.outcomes import KeptToken
from mt1bridge.model.clock import Now
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, LinkLost, LinkMessage, LinkOddity, NoAnswer, OpenLink, Trouble

HOUR = 3600.0
C1 = (HUT, "1")


@dataclass
class Archive(Server):
    """A server that keeps to bounds. extra: what it counts and does not list; hidden: rows (by timestamp) likewise."""

    extra: dict[tuple[str, str], int] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    failing: dict[str, Answer | NoAnswer] = field(default_factory=dict)  # what is in a path -> what comes of it
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # pages

    def answer(self, call):
        for part, reply in self.failing.items():
            if part in call.path:
                self.calls.append(call.path)
                return replace(reply, call=call.call)
        if call.path.endswith("/trigger"):
            self.asked.append((call.path, dict(call.query)))
        if call.path.endswith("/count"):
            self.calls.append(call.path)
            _, _, _, _, identity, _, channel, *_ = call.path.split("/")
            at = (identity, channel)
            number = len(self.rows.get(at, [])) + self.extra.get(at, 0)
            return Answer(call.call, 200, json.dumps({"status": 0, "data": [{"value": number}]}).encode(), None)
        return super().answer(call)

    def _page(self, rows, call):
        low = int(call.query.get("timestampFrom_ms", 0))
        high = int(call.query.get("timestampTo_ms", 2**60))
        within = [row for row in rows if low <= row["timestamp"] // 10_000 <= high]
        listed = [row for row in within if row["timestamp"] not in self.hidden]
        return super()._page(sorted(listed, key=lambda row: -row["timestamp"]), call)


class NoPush(House):
    """No WebSocket is to be had."""

    def carry_out(self, order):
        if isinstance(order, OpenLink):
            self.pending.append(LinkLost(order.link, Trouble.UPGRADE, "403", http_status=403))
        else:
            super().carry_out(order)


@pytest.fixture
def start(tmp_path):
    opened = []

    def begin(*devices, kind=House, server=None):
        first = settings(tmp_path, *(devices or (device(HUT),)))
        first = replace(first, reconcile=replace(first.reconcile, calls_per_minute=20))
        one = kind(tmp_path, first, server or Archive())
        opened.append(one)
        return one

    yield begin
    for one in opened:
        one.close()


@contextmanager
def unheard(running):
    """Push brings nothing of what happens now."""
    links, running.open_links = running.open_links, set()
    yield
    running.open_links = links


def row(running, age_s, number=12):
    return {
        "deviceId": HUT, "timestamp": (running.now().utc_ms - round(age_s * 1000)) * 10_000, "timingChannel": "C1",
        "timeOffset": 60, "type": "StartNumberTrigger", "startNumber": {"startNumber": number, "type": "MANUAL"},
        "valid": True, "blocked": False, "fallingEdge": True,
    }  # fmt: skip


def pushes(running, dto):
    body = json.dumps({"type": "ENTITY_ADD", "dto": dto}).encode()
    running.pending.append(LinkMessage(max(running.open_links), f"/topic/device/{HUT}/trigger", body))


def tally(running):
    return running.says(f"mt1/device/{HUT}/C1/tally")


def upstream(running):
    return running.says("mt1/bridge/upstream")


def told_after(running, most_s, step_s=10.0, topic=f"{HUT}/C1/trigger"):
    """Seconds until another impulse is told; fails after `most_s`."""
    before, begun = len(running.told(topic)), running.seconds
    while len(running.told(topic)) == before:
        assert running.seconds - begun < most_s, f"nothing told in {most_s} s"
        running.run(step_s)
    return running.seconds - begun


# --- a channel that is not answered -----------------------------------------------------------------

BAD = {
    "404": Answer(0, 404, b"", None),
    "500": Answer(0, 500, b"<html>", None),
    "hangs": NoAnswer(0, Trouble.TIMEOUT, "alge.example: no whole answer in time"),
    "unreadable": Answer(0, 200, b'{"status":0,"data":[]}', None),
}


@pytest.mark.parametrize("channels", ["8", "78", "2345678"])
@pytest.mark.parametrize("how", BAD)
def test_channels_that_bring_nothing_starve_no_other(start, how, channels):
    running = start()
    running.server.failing = {f"/channel/{channel}/": BAD[how] for channel in channels}
    running.run(2 * HOUR)
    with unheard(running):
        running.impulse()
    told_after(running, 400)
    assert tally(running)["complete"] in (True, None)
    calls = len(running.server.calls)
    running.run(HOUR)
    assert len(running.server.calls) - calls < 400


def test_a_device_that_brings_nothing_is_named_and_starves_no_other(start):
    running = start(device(HUT), device(SPLIT))
    running.server.failing = {f"/devices/{SPLIT}/": BAD["500"]}
    running.run(HOUR)
    assert upstream(running)["state"] == "degraded"
    assert upstream(running)["reasons"] == [f"channel_unanswered_{SPLIT}_{channel}" for channel in ("C0", "C1")]
    with unheard(running):
        running.impulse()
    told_after(running, 400)
    assert running.events().count("channel_unanswered") >= 2
    running.server.failing.clear()
    running.run(400)
    assert (upstream(running)["state"], upstream(running)["reasons"]) == ("live", [])


def test_without_push_the_others_go_on_being_asked(start):
    running = start(kind=NoPush)
    running.server.failing = {"/channel/8/": BAD["500"]}
    running.run(900)
    assert upstream(running)["state"] == "polling"
    for _ in range(5):
        running.impulse()
        told_after(running, 60)
        assert upstream(running)["state"] == "polling"


def test_what_is_unreadable_for_all_is_an_outage_and_no_storm(start):
    running = start()
    running.run(60)
    running.server.failing = {"/count": BAD["unreadable"]}
    running.run(900)
    assert upstream(running)["reasons"] == ["rest_failed: the count cannot be read"]
    calls = len(running.server.calls)
    running.run(HOUR)
    assert len(running.server.calls) - calls < 80


def test_after_an_outage_of_rest_everything_is_asked_soon(start):
    running = start()
    running.run(60)
    running.server.failing = {"/devices": BAD["hangs"]}
    running.run(2 * HOUR)
    assert upstream(running)["state"] == "degraded"
    with unheard(running):
        running.impulse()
    running.server.failing.clear()
    told_after(running, 400)


def test_rest_that_fails_beside_push_is_told_with_its_cause_and_the_next_try(start):
    running = start()
    running.run(60)
    running.server.failing = {"/devices": BAD["hangs"]}
    running.run(900)
    found = upstream(running)
    assert found["reasons"] == ["rest_failed: alge.example: no whole answer in time"]
    assert found["next_try_at"] is not None
    assert "no whole answer in time" in running.status


# --- what is refused --------------------------------------------------------------------------------


def refusal(text="not yours"):
    return Answer(0, 200, json.dumps({"status": -2011, "message": text, "data": []}).encode(), None)


def test_a_device_that_is_refused_under_way_is_known_as_such_soon(start):
    running = start()
    running.run(HOUR)
    running.server.failing = {f"/devices/{HUT}/": refusal()}
    running.run(360)
    assert "device_refused" in running.events()
    assert running.retained[f"mt1/device/{HUT}/availability"] == b"offline"
    assert upstream(running)["reasons"] == [f"device_refused_{HUT}"]
    running.server.failing.clear()
    running.run(HOUR)
    assert upstream(running)["state"] == "live"


@pytest.mark.parametrize("channels", ["1", "01"])
def test_channels_that_are_refused_alone_do_not_refuse_the_device(start, channels):
    running = start()
    running.run(HOUR)
    running.server.failing = {f"/channel/{channel}/": refusal() for channel in channels}
    running.run(HOUR)
    assert upstream(running)["state"] == "degraded"
    assert upstream(running)["reasons"] == [f"channel_refused_{HUT}_C{channel}" for channel in channels]
    assert "device_refused" not in running.events()
    assert [note.level for note in running.notes if note.event == "channel_refused"].count("warning") == len(channels)


def test_without_a_token_nothing_is_called_live(start):
    running = start()
    running.run(HOUR)
    running.server.failing = {"/channel/": Answer(0, 403, b"", None), "/user/login": BAD["hangs"]}
    running.run(900)
    assert upstream(running)["state"] == "degraded"
    assert "login_waits" in upstream(running)["reasons"]
    assert upstream(running)["next_try_at"] is not None


# --- how far is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [2 * 86_400, 3650 * 86_400])
def test_a_device_whose_clock_is_far_ahead_loses_nothing(start, ahead_s):
    running = start()
    running.run(HOUR)
    running.impulse(age_s=-ahead_s, number=1)
    running.run(600)
    assert tally(running)["missing"] == 0
    with unheard(running):
        running.impulse(age_s=-ahead_s, number=2)
    told_after(running, 400)
    running.run(600)
    assert (tally(running)["missing"], upstream(running)["state"]) == (0, "live")
    unbounded = [query for path, query in running.server.asked if "timestampTo_ms" not in query]
    running.impulse(age_s=-ahead_s, number=3)
    running.run(600)
    assert [query for path, query in running.server.asked if "timestampTo_ms" not in query] == unbounded


def test_what_a_rise_promised_is_read_for_without_a_bound_until_it_is_found(start):
    running = start()
    running.run(HOUR)
    late = row(running, 5 * 86_400)
    running.server.rows[C1] = [late]
    running.server.hidden.add(late["timestamp"])
    running.run(600)
    assert (tally(running)["missing"], tally(running)["complete"]) == (1, False)
    running.server.hidden.clear()
    told_after(running, HOUR)
    assert tally(running)["complete"] is True


def test_what_stays_missing_is_read_for_more_and_more_rarely(start):
    running = start()
    running.run(HOUR)
    running.server.extra[C1] = 1
    running.run(24 * HOUR)
    unbounded = [query for path, query in running.server.asked if "timestampFrom_ms" not in query and "/1/" in path]
    assert 4 < len(unbounded) < 12


def test_a_busy_channel_gets_its_full_read_too(start):
    running = start()
    running.run(30)
    running.server.rows[C1] = [row(running, 3600 + 30 * i, number=i) for i in range(500)]
    running.run(1800)
    for number in range(45):
        running.impulse(number=number)
        running.run(60)
    running.server.rows[C1][200]["startNumber"] = {"startNumber": 999, "type": "MANUAL"}  # and its push is lost
    for number in range(45):
        running.impulse(number=number)
        running.run(60)
    assert [one["start_number"] for one in running.told("/C1/correction")] == [999]


# --- a long read ------------------------------------------------------------------------------------


@pytest.fixture
def long(start):
    """A bridge in the midst of a read without a bound that takes minutes."""

    def begin(**how):
        running = start(**how)
        running.server.rows[C1] = [row(running, 10 * 86_400 + 60 * i, number=i) for i in range(6000)]
        running.run(60)
        assert "timestampFrom_ms" not in running.server.asked[-1][1]
        return running

    return begin


def test_what_fell_between_two_connections_does_not_wait_for_a_long_read(long):
    running = long()
    [link] = running.open_links
    running.open_links.clear()
    running.pending.append(LinkLost(link, Trouble.CLOSED, "reset"))
    running.impulse(number=77)
    assert told_after(running, 20, step_s=1) <= 10
    assert running.told("/C1/trigger")[0]["start_number"] == 77


def test_polling_does_not_wait_for_a_long_read(long):
    running = long(kind=NoPush)
    for _ in range(5):
        running.impulse()
        told_after(running, 60, step_s=1)


def test_a_long_read_with_looks_beside_it_ends_and_proves(long):
    running = long()
    pushed = 0
    while "timestampFrom_ms" not in running.server.asked[-1][1] or pushed < 5:
        with unheard(running):
            running.impulse(number=pushed)
        running.run(30)
        pushed += 1
    running.run(HOUR)
    assert sorted(one["start_number"] for one in running.told("/C1/trigger")) == list(range(pushed))
    assert (tally(running)["missing"], tally(running)["complete"]) == (0, True)
    assert tally(running)["server_count"] == 6000 + pushed


# --- proof ------------------------------------------------------------------------------------------


def again(running, kind=House, seconds=0.0):
    """Another process with the same journal, server and retained topics."""
    first, server, retained = running.bridge.parts.settings, running.server, running.retained
    running.close()
    after = kind(first.journal.directory, first, server)
    after.seconds, after.retained = running.seconds + seconds, retained
    return after


class Later(House):
    """Begins an hour and a half after the first."""

    def now(self):
        return Now(1000.0 + self.seconds, NOON + 5_400_000 + round(self.seconds * 1000))


def test_a_clear_that_is_counted_and_not_listed_explains_a_rise_over_a_restart_too(start):
    running = start()
    running.run(HOUR)
    timestamp = running.impulse()
    running.run(1000)
    running.server.extra[C1] = 1
    pushes(running, running.server.rows[C1][0] | {"type": "ClearTrigger"})
    running.run(20)
    assert [one["event_type"] for one in running.told("/C1/correction")] == ["cleared"]
    after = again(running, Later)
    after.run(3 * HOUR)
    assert (tally(after)["missing"], upstream(after)["state"]) == (0, "live")
    assert timestamp
    after.close()


def test_a_first_look_hides_nothing_that_is_missing_later(start):
    """The server counts what it lists no more (U27), and its count changes at every look."""
    running = start()
    running.server.rows[C1] = [row(running, 600 + 30 * i, number=i) for i in range(100)]
    running.server.extra[C1] = 50
    running.run(60)
    for number in range(40):
        running.impulse(number=number)
        running.run(60)
        if number == 20:
            running.server.extra[C1] += 7
    running.run(600)
    assert tally(running)["missing"] == 7


def test_what_is_counted_and_listed_late_was_not_deleted(start):
    running = start()
    running.run(HOUR)
    running.impulse(number=1)
    running.run(900)
    running.server.hidden.add(running.impulse(number=2))
    running.run(900)
    assert running.told("/C1/correction") == []
    running.server.hidden.clear()
    running.run(HOUR)
    assert running.told("/C1/correction") == []
    assert (tally(running)["missing"], tally(running)["complete"]) == (0, True)


class Waiting(House):
    """It has a token, a quota pause of five minutes, and a clock that is good after that alone."""

    def start(self):
        memo = BudgetMemo(NOON, quota_until_ms=NOON + 300_000, quota_step=1)
        return Start(KeptToken("club", Secret("t0"), "u-4711", NOON - 1000), memo, self.now())

    def now(self):
        return Now(1000.0 + self.seconds, NOON + round(self.seconds * 1000), self.seconds >= 300)


def test_what_is_acknowledged_before_the_clock_is_right_is_counted(start):
    running = start(kind=Waiting)
    running.run(10)
    for number in range(5):
        running.impulse(number=number)
        running.run(10)
    assert len(running.told("/C1/trigger")) == 5
    running.run(1000)
    assert (tally(running)["published"], tally(running)["server_count"]) == (5, 5)


def test_the_alert_of_what_is_missing_stands_over_a_restart_without_rest(start):
    running = start()
    running.run(HOUR)
    running.server.extra[C1] = 3
    running.run(900)
    alert = f"mt1/bridge/alert/missing_{HUT}_C1"
    since = running.says(alert)["missing"]
    running.server.failing = {"/mt1/api/": BAD["hangs"]}
    after = again(running, Later)
    after.run(600)
    assert after.says(alert)["missing"] == since == 3
    after.close()


# --- quota ------------------------------------------------------------------------------------------


class LongOver(House):
    """The quota's pause was a week ago; the clock is known to be right after two seconds."""

    def start(self):
        saved = NOON - 7 * 86_400_000
        memo = BudgetMemo(saved, quota_until_ms=saved + 900_000, quota_step=4)
        return Start(KeptToken("club", Secret("t0"), "u-4711", saved), memo, self.now())

    def now(self):
        return Now(1000.0 + self.seconds, NOON + round(self.seconds * 1000), self.seconds >= 2)


def test_a_quota_that_is_long_over_holds_nobody_off_once_the_clock_is_right(start):
    running = start(kind=LongOver)
    running.run(60)
    assert upstream(running)["state"] == "live"
    assert running.server.logins == 0


# --- one connection an account ----------------------------------------------------------------------


class OneAtATime(House):
    """The server ends a second connection at once (U24)."""

    def carry_out(self, order):
        if isinstance(order, OpenLink) and self.open_links:
            self.links.append(order)
            self.pending.append(LinkLost(order.link, Trouble.CLOSED, "another session is open"))
        else:
            super().carry_out(order)


def test_a_device_that_cannot_be_subscribed_to_is_named_and_asked_for(tmp_path):
    first = settings(tmp_path)
    running = OneAtATime(tmp_path, replace(first, reconcile=replace(first.reconcile, calls_per_minute=20)), Archive())
    running.run(60)
    running.server.listed.append(SPLIT)
    running.run(2 * HOUR)
    assert (upstream(running)["state"], upstream(running)["reasons"]) == ("degraded", [f"not_subscribed_{SPLIT}"])
    running.server.rows[(SPLIT, "1")] = [row(running, 5) | {"deviceId": SPLIT}]
    told_after(running, 400, topic=f"{SPLIT}/C1/trigger")
    running.close()


# --- secrets and bounds -----------------------------------------------------------------------------


def everything_said(running):
    facts = [str(note.facts).encode() for note in running.notes]
    return [*running.retained.values(), *(one.payload for one in running.messages), running.status.encode(), *facts]


def test_a_server_that_repeats_the_password_is_not_quoted(start):
    running = start()
    words = json.dumps({"status": -1005, "message": "Bad credentials: club / hunter2", "data": []}).encode()
    running.server.failing = {"/user/login": Answer(0, 200, words, None)}
    running.run(60)
    assert upstream(running)["state"] == "login_refused"
    assert "Bad credentials: club / ***" in upstream(running)["reasons"][0]
    assert not [one for one in everything_said(running) if b"hunter2" in one]


def test_nor_is_one_that_repeats_the_token(start):
    running = start()
    token = "0123456789ABCDEF0123456789ABCDEF"
    answer = running.server.answer

    def told(call):
        if call.path.endswith("/login"):
            return replace(answer(call), token=Secret(token))
        if "/channel/" in call.path:
            words = json.dumps({"status": -2011, "message": f"session {token} may not", "data": []}).encode()
            return Answer(call.call, 200, words, None)
        return answer(call)

    running.server.answer = told
    running.run(60)
    assert f"mt1/bridge/alert/device_refused_{HUT}" in running.retained
    assert not [one for one in everything_said(running) if token.encode() in one]


def test_what_is_malformed_on_the_link_is_cut_at_two_kib(start):
    running = start()
    running.run(60)
    running.pending.append(LinkOddity(max(running.open_links), "ä" * 4096, "unknown SockJS frame"))
    running.run(2)
    [told] = [one for one in running.told("bridge/event") if one["event_type"] == "malformed"]
    assert 2000 < len(told["raw"].encode()) <= 2048
