"""What rows add up to, whatever is known of them; the stories are told in test_corrections.py."""

from collections import Counter

from mt1bridge.feed.rows import CONTRADICTED, NO_ROWS, digest_of, not_pushed, standing, starts_of, still_deleted
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting, TriggerId

TRIGGER = TriggerId("231203016", "C1", 17_710_614_151_234_500)


def row(number, change=Change.SET):
    return Sighting(TRIGGER, change, Reading(number, "MANUAL", True, False, True, 60))


def clear(number):
    return row(number, Change.CLEAR)


def known(**more):
    return Known(TRIGGER, **more)


def test_the_digest_of_rows_does_not_depend_on_their_order():
    assert digest_of((row(1), clear(1))) == digest_of((clear(1), row(1)))
    assert digest_of((row(1),)) != digest_of((row(1), row(1)))
    assert digest_of(()) != digest_of((row(1),))
    assert CONTRADICTED not in (digest_of(()), digest_of((row(1),)), NO_ROWS)


def test_of_what_is_not_known_the_newest_row_that_nothing_cancels_stands():
    assert standing((row(7), row(4)), known()) == row(7).reading
    assert standing((clear(7), row(7), row(4)), known()) == row(4).reading
    assert standing((clear(7), row(7)), known()) is None


def test_starts_are_counted_by_number_and_clears_are_none():
    assert starts_of((row(4), clear(4), row(4), row(None))) == Counter({4: 2, None: 1})


def test_what_push_has_brought_is_not_awaited_from_it_any_more():
    assert not_pushed(known(), Counter([4, 4])) == ((4, 2),)
    assert not_pushed(known(starts=((4, 1),)), Counter([4, 4])) == ((4, 1),)
    assert not_pushed(known(starts=((4, 2),), unpushed=((4, 1),)), Counter([4, 4])) == ((4, 1),)
    assert not_pushed(known(starts=((4, 2),), unpushed=((4, 2),)), Counter([4])) == ((4, 1),)


def test_a_deletion_counts_until_its_row_is_gone():
    once = known(starts=((5, 1),), deleted=(5,))
    assert still_deleted(once, Counter([5])) == (5,)
    assert still_deleted(once, Counter([7])) == ()
    assert still_deleted(known(starts=((5, 2),), deleted=(5, 5)), Counter([5])) == (5,)
    assert still_deleted(once, Counter()) == ()
