"""What goes to the broker next, and what happens when it does not take it: in order, in turns, without a stall."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.broker import Publication
from mt1bridge.model.fact import Entry, Fact, Kind, Source
from mt1bridge.model.trigger import ChannelId, Reading
from mt1bridge.mqtt.handover import CATCHING_UP, CHUNK, EVERY, MANY, TOO_LARGE_TRIES, WINDOW, Handover, InFlight

HUT, SPLIT, GATE = (ChannelId("231203016", name) for name in ("C0", "C1", "C2"))
READING = Reading(12, "MANUAL", True, False, True)


def entry(at: ChannelId, n: int) -> Entry:
    return Entry(n, n, "k3v9", Fact(f"{at}-{n}", at, n, Kind.TRIGGER, "trigger", 1, READING, True, Source.PUSH, 0))


@dataclass
class House:
    """A hand-over between a journal of (channel, number) and a broker that takes everything in order."""

    handover: Handover = field(default_factory=Handover)
    owed: list[tuple[ChannelId, int]] = field(default_factory=list)
    told: list[tuple[ChannelId, int]] = field(default_factory=list)
    tokens: dict[int, Entry] = field(default_factory=dict)
    connection: int = 0
    numbers: int = 0
    reads: int = 0

    def learns(self, at: ChannelId, count: int = 1, announced: int | None = None) -> None:
        for _ in range(count):
            self.numbers += 1
            self.owed.append((at, self.numbers))
        self.handover.owes(at, count if announced is None else announced)

    def connects(self, counts: dict[ChannelId, int] | None = None, receive_maximum: int | None = None) -> None:
        self.connection += 1
        self.tokens.clear()
        found = dict(Counter(at for at, _ in self.owed)) if counts is None else counts
        self.handover.opened(self.connection, receive_maximum, found)

    def read(self, at: ChannelId, after: int) -> list[Entry]:
        self.reads += 1
        assert self.reads < 100_000, "it spins"
        return [entry(at, n) for where, n in self.owed if where == at and n > after][:CHUNK]

    def step(self, now: float = 0.0) -> bool:
        """Hand over one fact, or read some; False if there is nothing to do."""
        if not self.handover.room() or (turn := self.handover.next_lane(now)) is None:
            return False
        at, after = turn
        one = self.handover.next_ready(at)
        if one is None:
            self.handover.filled(at, self.read(at, after))
            return True
        token = self.handover.handed(InFlight(entry=one, handed_at=now))
        self.tokens[token] = one
        self.told.append((at, one.n))
        return True

    def go_on(self, now: float = 0.0) -> None:
        while self.step(now):
            pass

    def acknowledge(self, token: int) -> Entry:
        one = self.tokens.pop(token)
        what = self.handover.acknowledged(self.connection, token)
        assert what is not None
        assert what.entry == one
        self.owed.remove((one.fact.at, one.n))
        return one

    def refuse(self, token: int, until: float) -> None:
        one = self.tokens.pop(token)
        self.handover.acknowledged(self.connection, token)
        self.handover.hold_back(one, until)

    def drain(self, now: float = 0.0) -> None:
        """Until nothing is owed any more, the broker acknowledging in order."""
        self.go_on(now)
        while self.tokens:
            self.acknowledge(next(iter(self.tokens)))
            self.go_on(now)

    def numbers_of(self, at: ChannelId) -> list[int]:
        return [n for where, n in self.told if where == at]


# --- order and turns --------------------------------------------------------------------------------


def test_facts_of_a_channel_go_in_the_order_of_learning():
    house = House()
    house.learns(HUT, 50)
    house.connects()
    house.drain()
    assert house.told == [(HUT, n) for n in range(1, 51)]
    assert house.handover.backlog() == 0


def test_channels_take_turns_so_that_none_waits_for_the_backlog_of_another():
    house = House()
    house.learns(HUT, 100)
    house.learns(SPLIT, 3)
    house.learns(GATE, 2)
    house.connects()
    house.drain()
    assert [at for at, _ in house.told[:9]] == [HUT, SPLIT, GATE, HUT, SPLIT, GATE, HUT, SPLIT, HUT]


def test_a_live_trigger_waits_for_the_backlog_of_its_own_channel_and_for_no_other():
    house = House()
    house.learns(HUT, 100)
    house.connects()
    house.step()
    house.step()
    house.learns(HUT)
    house.learns(SPLIT)
    house.drain()
    assert house.numbers_of(HUT)[-1] == 101
    assert house.told.index((SPLIT, 102)) <= 3


def test_at_most_a_window_is_in_flight_and_less_while_catching_up():
    house = House()
    house.learns(HUT, MANY)
    house.connects()
    house.go_on()
    assert len(house.tokens) == WINDOW
    house.learns(HUT, 1_000)
    house.connects()
    house.go_on()
    assert len(house.tokens) == CATCHING_UP


def test_what_the_broker_announced_is_obeyed():
    house = House()
    house.learns(HUT, 10)
    house.connects(receive_maximum=1)
    house.go_on()
    assert len(house.tokens) == 1
    house.drain()
    assert house.numbers_of(HUT) == list(range(1, 11))


def test_a_replay_leaves_most_of_the_window_to_what_is_live():
    house = House()
    house.connects()
    replayed = 0
    while house.handover.idle():
        house.handover.handed(InFlight(topic="mt1/bridge/replay/a1"))
        replayed += 1
    assert replayed == CATCHING_UP
    house.learns(HUT, 30)
    house.go_on()
    assert len(house.numbers_of(HUT)) == 30


# --- retained topics --------------------------------------------------------------------------------


def test_a_retained_topic_gets_its_turn_in_a_long_backlog():
    house = House()
    house.learns(HUT, 1_000)
    house.connects()
    house.go_on()
    turns = 0
    for _ in range(800):
        if house.handover.state_turn():
            token = house.handover.handed(InFlight(slot="upstream", topic="mt1/bridge/upstream"))
            house.handover.acknowledged(1, token)
            turns += 1
        house.acknowledge(next(iter(house.tokens)))
        house.go_on()
    assert turns >= 800 // EVERY - CATCHING_UP


# --- connections ------------------------------------------------------------------------------------


def test_what_was_in_flight_when_the_connection_broke_is_handed_over_again_first():
    house = House()
    house.learns(HUT, 5)
    house.connects()
    house.go_on()
    house.acknowledge(next(iter(house.tokens)))
    assert house.handover.told_before(entry(HUT, 2))
    house.handover.closed()
    assert not house.handover.room()
    house.learns(HUT)
    house.connects()
    house.drain()
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 5, 2, 3, 4, 5, 6]


def test_an_acknowledgement_of_an_earlier_connection_is_none():
    house = House()
    house.learns(HUT)
    house.connects()
    house.go_on()
    token = next(iter(house.tokens))
    house.connects()
    assert house.handover.acknowledged(1, token) is None
    assert house.handover.acknowledged(2, token) is None
    house.drain()
    assert house.numbers_of(HUT) == [1, 1]


def test_events_are_dropped_without_a_connection_and_forgotten_with_it():
    handover = Handover()
    event = Publication("mt1/bridge/event", b"{}")
    handover.tell(event)
    handover.opened(1, None, {})
    assert handover.next_once() is None
    handover.tell(event)
    assert handover.next_once() == event
    handover.tell(event)
    handover.closed()
    handover.opened(2, None, {})
    assert handover.next_once() is None


def test_a_flood_of_events_has_an_end():
    handover = Handover()
    handover.opened(1, None, {})
    for number in range(5_000):
        handover.tell(Publication(f"t/{number}", b"{}"))
    found = 0
    while handover.next_once() is not None:
        found += 1
    assert found == 1_000


def test_what_has_waited_longest_for_its_acknowledgement():
    house = House()
    house.learns(HUT, 2)
    house.connects()
    assert house.handover.oldest() is None
    house.step(5.0)
    house.step(5.0)
    house.step(7.0)
    assert house.handover.oldest() == 5.0
    house.acknowledge(next(iter(house.tokens)))
    assert house.handover.oldest() == 7.0


# --- what the broker refuses ------------------------------------------------------------------------


def test_a_refused_fact_holds_its_channel_back_and_the_others_go_on():
    house = House()
    house.learns(HUT, 3)
    house.learns(SPLIT, 3)
    house.connects(receive_maximum=2)
    house.go_on()
    first = next(token for token, one in house.tokens.items() if one.fact.at == HUT)
    house.refuse(first, until=10.0)
    house.drain(now=1.0)
    assert house.numbers_of(SPLIT) == [4, 5, 6]
    assert house.numbers_of(HUT) == [1]
    assert house.handover.next_due() == 10.0
    house.drain(now=10.0)
    assert house.numbers_of(HUT) == [1, 1, 2, 3]
    assert house.owed == []


def test_a_channel_held_back_begins_again_with_the_refused_fact_once_nothing_of_it_is_in_flight():
    house = House()
    house.learns(HUT, 4)
    house.connects()
    house.go_on()
    second = list(house.tokens)[1]
    house.refuse(second, until=10.0)
    house.learns(HUT)
    house.go_on(now=20.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 4]  # three of it are still in flight
    assert house.handover.next_due() == float("inf")
    for token in list(house.tokens):
        house.acknowledge(token)
    house.drain(now=20.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 2, 5]


def test_after_a_refusal_one_goes_at_a_time_until_one_is_taken():
    house = House()
    house.learns(HUT, 5)
    house.learns(SPLIT, 2)
    house.connects()
    house.go_on()
    for token in [token for token, one in house.tokens.items() if one.fact.at == HUT]:
        house.refuse(token, until=10.0)
    house.go_on(now=20.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 5, 1]
    house.refuse(next(token for token, one in house.tokens.items() if one.fact.at == HUT), until=30.0)
    house.go_on(now=40.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 5, 1, 1]
    house.acknowledge(next(token for token, one in house.tokens.items() if one.fact.at == HUT))
    house.handover.taken(HUT)
    house.go_on(now=40.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 5]


def test_several_refusals_in_one_window_wait_for_the_latest_and_keep_the_order():
    house = House()
    house.learns(HUT, 3)
    house.connects()
    house.go_on()
    for token, until in zip(list(house.tokens), (10.0, 30.0, 20.0), strict=True):
        house.refuse(token, until)
    house.go_on(now=29.0)
    assert house.numbers_of(HUT) == [1, 2, 3]
    house.drain(now=30.0)
    assert house.numbers_of(HUT) == [1, 2, 3, 1, 2, 3]


def test_a_fact_that_is_too_large_is_given_up_the_third_time():
    handover = Handover()
    assert [handover.too_large(entry(HUT, 1)) for _ in range(TOO_LARGE_TRIES)] == [False, False, True]
    assert handover.too_large(entry(HUT, 2)) is False


# --- counts that are wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [0, 1, 3, 50, 51, 10_000])
def test_a_wrong_count_of_what_is_owed_neither_stalls_nor_spins_nor_repeats(counted):
    house = House()
    house.learns(HUT, 50)
    house.connects({HUT: counted})
    house.drain()
    assert house.numbers_of(HUT) == list(range(1, 51))
    assert house.handover.backlog() == 0
    house.learns(HUT, 2)
    house.drain()
    assert house.numbers_of(HUT) == list(range(1, 53))


def test_facts_that_were_announced_too_few_or_too_many_all_go_once():
    house = House()
    house.connects()
    house.learns(HUT, 3, announced=1)
    house.go_on()
    house.acknowledge(next(iter(house.tokens)))
    house.learns(HUT, 2, announced=9)
    house.drain()
    assert house.numbers_of(HUT) == [1, 2, 3, 4, 5]


@given(st.data())
def test_whatever_happens_every_fact_goes_and_in_order_and_twice_only_where_it_was_refused_or_cut_off(data):
    house = House()
    house.connects()
    now, again = 0.0, 0
    for _ in range(data.draw(st.integers(0, 60))):
        match data.draw(st.sampled_from(["learn", "step", "acknowledge", "refuse", "connect", "time"])):
            case "learn":
                house.learns(
                    data.draw(st.sampled_from([HUT, SPLIT])),
                    data.draw(st.integers(1, 30)),
                    data.draw(st.integers(0, 40)),
                )
            case "step":
                house.step(now)
            case "acknowledge" if house.tokens:
                house.acknowledge(data.draw(st.sampled_from(sorted(house.tokens))))
            case "refuse" if house.tokens:
                house.refuse(data.draw(st.sampled_from(sorted(house.tokens))), now + 5.0)
                again += 1
            case "connect":
                again += len(house.tokens)
                house.handover.closed()
                house.connects()
            case "time":
                now += 3.0
    house.drain(now + 100.0)
    assert house.owed == []
    for at in (HUT, SPLIT):
        first_times = list(dict.fromkeys(house.numbers_of(at)))
        assert first_times == sorted(first_times)
    assert sorted({n for _, n in house.told}) == list(range(1, house.numbers + 1))
    assert len(house.told) <= house.numbers + again
    assert house.handover.backlog() == 0
    assert house.handover.in_flight() == 0
