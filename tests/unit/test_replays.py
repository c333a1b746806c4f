"""Replays that were asked for: which facts they take, in which order they are answered."""

import json

import pytest

from mt1bridge.model.fact import Entry, Fact, Kind, Source
from mt1bridge.model.trigger import ChannelId, Reading
from mt1bridge.topics.names import Names
from mt1bridge.topics.replays import AT_ONCE, Replay, Replays, ReplyTo, Wish

NAMES = Names("mt1")
C0, C1 = ChannelId("231203016", "C0"), ChannelId("231203016", "C1")
OTHER = ChannelId("231203037", "C0")


def entry(n, at=C0, timestamp: int | None = 1_000, kind=Kind.TRIGGER, number=12, journal="k3v9", sequence=None):
    reading = Reading(number, "MANUAL", True, False, True)
    fact = Fact(f"{at}-{n}", at, timestamp, kind, kind.value, 1, reading, True, Source.PUSH, received_ms=5)
    return Entry(n, n if sequence is None else sequence, journal, fact)


def replay(wish=None, at_most=100):
    return Replay(wish or Wish(), NAMES, ReplyTo("mt1/bridge/response/replay", "a1", b"\x07"), at_most)


def taken(one):
    found = []
    while (entry := one.next()) is not None:
        found.append(entry.n)
    return found


ENTRIES = [
    entry(1, timestamp=1_000),
    entry(2, C1, timestamp=2_000, number=None),
    entry(3, timestamp=2_000, kind=Kind.CORRECTION, sequence=1),
    entry(4, OTHER, timestamp=3_000, number=7),
    entry(5, timestamp=None, kind=Kind.REJECTED, sequence=1),  # received at 5 ms: 50000 ticks
    entry(6, timestamp=1_500, journal="x1", sequence=1),
]


@pytest.mark.parametrize(
    ("wish", "numbers"),
    [
        (Wish(), [1, 2, 3, 4, 5, 6]),
        (Wish(since=2_000), [2, 3, 4, 5]),
        (Wish(until=2_000), [1, 2, 3, 6]),
        (Wish(since=1_500, until=1_500), [6]),
        (Wish(device="231203037"), [4]),
        (Wish(channel="C1"), [2]),
        (Wish(start_number=7), [4]),
        (Wish(journal="x1"), [6]),
        (Wish(topic="mt1/device/231203016/C0/correction"), [3]),
        (Wish(topic="mt1/device/231203016/C0/trigger", journal="k3v9", from_sequence=1, to_sequence=1), [1]),
        (Wish(topic="mt1/device/231203016/C0/trigger", journal="x1", from_sequence=1), [6]),
        (Wish(topic="nobody/knows"), []),
        (Wish(device="231203016", channel="C0", since=1_000, until=1_999), [1, 6]),
    ],
)
def test_a_replay_takes_what_was_asked_for_and_nothing_else(wish, numbers):
    one = replay(wish)
    one.take(ENTRIES)
    assert taken(one) == numbers
    assert one.told == len(numbers)


def test_a_replay_walks_through_the_journal_in_stretches_and_knows_its_end():
    one = replay()
    one.take(ENTRIES[:2])
    assert not one.exhausted
    assert one.after == 2
    assert taken(one) == [1, 2]
    one.take(ENTRIES[2:4])
    assert taken(one) == [3, 4]
    one.take([])
    assert one.exhausted
    assert one.told == 4


def test_a_stretch_without_anything_that_was_asked_for_is_not_the_end():
    one = replay(Wish(channel="C8"))
    one.take(ENTRIES)
    assert not one.exhausted
    assert one.after == 6
    assert taken(one) == []


def test_an_answer_goes_where_it_was_asked_for_with_its_transaction_and_correlation():
    answer = replay().answer({"count": 3})
    assert (answer.topic, answer.retain, answer.correlation) == ("mt1/bridge/response/replay", False, b"\x07")
    assert json.loads(answer.payload) == {"transaction": "a1", "status": "ok", "count": 3}


def test_replays_are_served_one_after_the_other_and_only_so_many_wait():
    replays = Replays()
    waiting = [replay() for _ in range(AT_ONCE)]
    assert replays.first() is None
    assert all(replays.add(one) for one in waiting)
    assert not replays.add(replay())
    assert replays.first() is waiting[0]
    replays.done()
    assert replays.first() is waiting[1]
    assert replays.add(replay())
    replays.clear()
    assert replays.first() is None
