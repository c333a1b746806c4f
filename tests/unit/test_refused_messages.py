"""What the broker refuses waits, even where the broker ends the connection as well; the rest goes on."""

from mt1bridge.model.broker import Publication
from mt1bridge.model.fact import Entry, Fact, Kind, Source
from mt1bridge.model.trigger import ChannelId, Reading
from mt1bridge.mqtt.handover import Handover, InFlight
from mt1bridge.topics.board import Board

START, FINISH = ChannelId("231203016", "C0"), ChannelId("231203016", "C1")


def entry(at: ChannelId, n: int) -> Entry:
    reading = Reading(12, "MANUAL", True, False, True)
    fact = Fact(f"{at}-{n}", at, n, Kind.TRIGGER, "trigger", 1, reading, True, Source.PUSH, 0)
    return Entry(n, n, "k3v9", fact)


def hand_over(handover: Handover, one: Entry, now: float) -> int:
    assert handover.next_lane(now) is not None
    handover.filled(one.fact.at, [one])
    return handover.handed(InFlight(entry=one))


def test_a_refused_channel_waits_on_the_next_connection_too():
    handover = Handover()
    refused = entry(START, 1)
    handover.opened(1, None, {START: 1})
    token = hand_over(handover, refused, 0.0)
    handover.acknowledged(1, token)
    handover.hold_back(refused, until=20.0)
    handover.closed()
    handover.opened(2, None, {START: 1, FINISH: 1})
    assert handover.next_lane(1.0) == (FINISH, 0)
    hand_over(handover, entry(FINISH, 2), 1.0)
    assert handover.next_lane(19.9) is None
    assert handover.next_due() == 20.0
    assert handover.next_lane(20.0) == (START, 0)


def test_a_channel_that_may_go_again_is_not_held_on_a_third_connection():
    handover = Handover()
    refused = entry(START, 1)
    handover.opened(1, None, {START: 1})
    handover.acknowledged(1, hand_over(handover, refused, 0.0))
    handover.hold_back(refused, until=20.0)
    handover.opened(2, None, {START: 1})
    assert handover.next_lane(20.0) == (START, 0)
    handover.opened(3, None, {START: 1})
    assert handover.next_lane(0.0) == (START, 0)


def test_a_refused_topic_waits_on_the_next_connection_too():
    board = Board()
    for key in ("last", "tally"):
        board.put(key, lambda key=key: [Publication(key, b"{}", retain=True)])
    board.take("last", 0.0)
    board.acknowledged("last")
    board.refused("last", until=20.0)
    board.all_again([])
    assert board.next(1.0) == "tally"
    board.take("tally", 1.0)
    assert board.next(19.9) is None
    assert not board.unsent(19.9)
    assert board.next_due() == 20.0
    assert board.next(20.0) == "last"
