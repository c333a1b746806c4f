"""What two connections bring while both stand: each push once, whichever is ahead."""

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.overlap import MOST_AHEAD, MOST_STORIES, Overlap
from mt1bridge.model.trigger import Change, ChannelId, Malformed, Reading, Sighting, TriggerId


def seen(change, number, timestamp=17710614151234500):
    return Sighting(TriggerId("231203016", "C0", timestamp), change, Reading(number, None, True, False, True))


START, CLEAR, OTHER = seen(Change.SET, 6), seen(Change.CLEAR, 6), seen(Change.SET, 7)
ELSEWHERE = seen(Change.SET, 6, timestamp=17710614160000000)


def told(*brought, overlap=None, beside=True):
    """What is new of (link, what it brings)."""
    overlap = overlap or Overlap()
    return [seen for link, seen in brought if overlap.is_new(link, seen, beside)]


def test_a_start_and_its_clear_that_both_bring_are_new_once():
    assert told((1, START), (1, CLEAR), (2, START), (2, CLEAR)) == [START, CLEAR]
    assert told((1, START), (2, START), (2, CLEAR), (1, CLEAR)) == [START, CLEAR]


def test_what_was_matched_is_done_with():
    assert told((1, START), (1, CLEAR), (2, START), (2, CLEAR), (2, START)) == [START, CLEAR, START]


def test_the_lead_may_change():
    brought = [(1, START), (2, START), (2, CLEAR), (2, OTHER), (1, CLEAR), (1, OTHER), (1, START), (2, START)]
    assert told(*brought) == [START, CLEAR, OTHER, START]


def test_what_one_connection_brings_twice_is_new_twice():
    assert told((1, START), (1, CLEAR), (1, START)) == [START, CLEAR, START]
    assert told((1, START), (1, START), beside=False) == [START, START]


def test_the_same_number_entered_again_after_a_change_of_connections_is_new():
    """The first start was pushed before the second connection was subscribed."""
    assert told((1, START), (2, CLEAR), (2, START)) == [START, CLEAR, START]


def test_a_slow_first_connection_that_brings_what_the_second_missed_does_not_bring_the_rest_again():
    assert told((2, START), (2, CLEAR), (1, ELSEWHERE), (1, START), (1, CLEAR)) == [START, CLEAR, ELSEWHERE]


def test_a_clear_that_came_before_its_start_counts_again_after_it():
    """The start came late, by the connection that alone was subscribed then."""
    assert told((2, CLEAR), (1, START), (1, CLEAR)) == [CLEAR, START, CLEAR]


def test_a_connection_alone_is_believed_whatever_another_brought_before_it_ended():
    overlap = Overlap()
    assert told((1, CLEAR), (1, START), overlap=overlap) == [CLEAR, START]
    assert told((2, CLEAR), overlap=overlap, beside=False) == [CLEAR]


def test_what_is_malformed_is_told_once_too():
    noise = Malformed(ChannelId("231203016", "C0"), "{", "timestamp is missing")
    assert told((1, noise), (2, noise)) == [noise]


def test_a_second_connection_that_brings_nothing_costs_no_memory_without_end():
    overlap = Overlap()
    for number in range(2 * MOST_STORIES):
        assert overlap.is_new(1, seen(Change.SET, 1, timestamp=number), True)
    assert not overlap.is_new(2, seen(Change.SET, 1, timestamp=2 * MOST_STORIES - 1), True)
    assert overlap.is_new(2, seen(Change.SET, 1, timestamp=0), True)  # forgotten, and so told again: the safe side
    assert told(*((1, seen(Change.SET, number)) for number in range(MOST_AHEAD + 1)), overlap=overlap)
    assert overlap.is_new(2, seen(Change.SET, 0), True)


@given(st.lists(st.sampled_from((START, CLEAR, OTHER)), max_size=12), st.data())
def test_no_push_is_taken_for_an_older_one_whatever_the_lags_and_whenever_the_second_joins(pushes, data):
    """Pushes of one trigger repeat, as a number that is entered, cleared and entered again."""
    joined = data.draw(st.integers(0, len(pushes)))
    left = data.draw(st.integers(joined, len(pushes)))
    overlap, new = Overlap(), []
    done = {1: 0, 2: joined}
    while done[1] < left or done[2] < len(pushes):
        # What one of them alone brings comes in its turn: nobody could know better.
        may = {1: done[1] < left, 2: done[2] < len(pushes) and done[1] >= (joined if done[2] < left else left)}
        link = data.draw(st.sampled_from([link for link in may if may[link]]))
        new += told((link, pushes[done[link]]), overlap=overlap, beside=done[1] < left or link == 1)
        done[link] += 1
    rest = iter(new)
    assert all(push in rest for push in runs(pushes))
    assert runs(new)[-1:] == pushes[-1:]


def runs(pushes):
    """Without repeats in a row, which mean the same."""
    return [push for n, push in enumerate(pushes) if n == 0 or pushes[n - 1] != push]


@given(st.integers(0, 12), st.data())
def test_of_pushes_that_differ_each_is_new_once(count, data):
    pushes = [seen(Change.SET, number) for number in range(count)]
    joined = data.draw(st.integers(0, count))
    brought, done = [], {1: 0, 2: joined}
    while min(done.values()) < count:
        may = {1: done[1] < count, 2: joined <= done[1] and done[2] < count}
        link = data.draw(st.sampled_from([link for link in may if may[link]]))
        brought.append((link, pushes[done[link]]))
        done[link] += 1
    assert told(*brought) == pushes


@given(st.lists(st.sampled_from((START, CLEAR, OTHER)), min_size=1, max_size=8), st.data())
def test_whatever_comes_the_last_push_of_a_trigger_has_the_last_word(pushes, data):
    """Of two connections that both bring the last push; the second joined late, and may be ahead or behind."""
    joined = data.draw(st.integers(0, len(pushes) - 1))
    streams = {1: list(pushes), 2: pushes[joined:]}
    brought = []
    while streams[1] or streams[2]:
        link = data.draw(st.sampled_from([link for link, rest in streams.items() if rest]))
        brought.append((link, streams[link].pop(0)))
    assert told(*brought)[-1] == pushes[-1]
