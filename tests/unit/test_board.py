"""The retained topics: what is out of date goes once, in its newest form, and not too often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.broker import Publication
from mt1bridge.topics.board import Board


class Content:
    """Something that changes; a slot renders it as it is at hand-over."""

    def __init__(self, *topics: str) -> None:
        self.topics = topics
        self.value = 0

    def render(self):
        return [Publication(topic, str(self.value).encode(), retain=True) for topic in self.topics]


@pytest.fixture
def board():
    return Board()


def goes(board, now=0.0, acknowledged=True):
    """Everything that may go now: (key, payloads)."""
    found = []
    while (key := board.next(now)) is not None:
        publications = board.take(key, now)
        found.append((key, [one.payload for one in publications]))
        if acknowledged:
            for _ in publications:
                board.acknowledged(key)
    return found


def test_a_slot_goes_once_until_something_changes(board):
    board.put("last", Content("last").render)
    assert goes(board) == [("last", [b"0"])]
    assert goes(board) == []
    board.touch("last")
    assert goes(board) == [("last", [b"0"])]


def test_slots_go_in_the_order_in_which_they_went_out_of_date(board):
    for key in ("a", "b", "c"):
        board.put(key, Content(key).render)
    goes(board)
    for key in ("c", "a", "c"):
        board.touch(key)
    assert [key for key, _ in goes(board)] == ["c", "a"]


def test_what_changes_while_it_is_under_way_goes_once_more_in_its_newest_form(board):
    content = Content("last")
    board.put("last", content.render)
    board.take("last", 0.0)
    for content.value in (1, 2, 3):
        board.touch("last")
    assert goes(board) == []
    assert board.next_due() == float("inf")
    assert not board.acknowledged("last")  # something is new since
    assert goes(board) == [("last", [b"3"])]


def test_a_slot_of_several_topics_waits_for_all_their_acknowledgements(board):
    board.put("last", Content("last", "value/time").render)
    assert board.take("last", 0.0) == [Publication("last", b"0", True), Publication("value/time", b"0", True)]
    board.touch("last")
    board.acknowledged("last")
    assert goes(board) == []
    board.acknowledged("last")
    assert goes(board) == [("last", [b"0", b"0"])]


def test_the_last_acknowledgement_says_that_the_broker_has_it_all(board):
    board.put("last", Content("last", "value/time").render)
    board.take("last", 0.0)
    assert [board.acknowledged("last") for _ in range(3)] == [False, True, False]


def test_a_slot_with_a_gap_goes_at_once_and_then_waits_for_it(board):
    board.put("tally", Content("tally").render, gap_s=1.0)
    assert goes(board, 5.0) != []
    board.touch("tally")
    assert goes(board, 5.9) == []
    assert board.next_due() == 6.0
    assert goes(board, 6.0) != []


@given(st.floats(0, 1e9), st.floats(0.001, 10))
def test_at_the_moment_that_next_due_names_it_goes(now, gap_s):
    board = Board()
    board.put("tally", Content("tally").render, gap_s)
    goes(board, now)
    board.touch("tally")
    assert goes(board, board.next_due()) != []


def test_a_slot_that_waits_for_its_gap_does_not_hold_up_the_others(board):
    board.put("tally", Content("tally").render, gap_s=1.0)
    board.put("upstream", Content("upstream").render)
    goes(board)
    board.touch("tally")
    board.touch("upstream")
    assert [key for key, _ in goes(board, 0.5)] == ["upstream"]


def test_a_new_connection_sends_everything_the_important_first(board):
    for key in ("last", "tally", "state", "info"):
        board.put(key, Content(key).render, gap_s=60.0)
    board.take("last", 0.0)  # never acknowledged
    board.all_again(["state", "nobody", "info"])
    assert [key for key, _ in goes(board)] == ["state", "info", "last", "tally"]


def test_a_slot_without_a_topic_is_done_when_it_is_taken(board):
    board.put("tally", list)
    assert goes(board) == [("tally", [])]
    assert not board.waiting()


def test_waiting_until_everything_is_acknowledged(board):
    board.put("last", Content("last").render)
    assert board.waiting()
    board.take("last", 0.0)
    assert board.waiting()
    board.acknowledged("last")
    assert not board.waiting()


def test_a_slot_that_is_dropped_is_gone_whatever_is_under_way(board):
    board.put("last", Content("last").render)
    board.take("last", 0.0)
    board.touch("last")
    board.drop("last")
    assert board.next(0.0) is None
    assert not board.acknowledged("last")
    board.touch("last")
    assert not board.waiting()
    assert board.keys() == []
    board.drop("last")


def test_new_content_takes_the_place_of_the_old(board):
    board.put("state", lambda: [Publication("state", b"online", True)])
    board.put("state", lambda: [Publication("state", b"offline", True)])
    assert goes(board) == [("state", [b"offline"])]
