"""What a sighting means, given what is known of its trigger: pushes one by one, history as a whole."""

import pytest

from mt1bridge.feed.corrections import Corrections, Verdict, why_unusable
from mt1bridge.model.fact import Kind, Source
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, Reading, Sighting, TriggerId

TRIGGER = TriggerId("231203016", "C1", 17_710_614_151_234_500)
FALLING = frozenset({"falling"})


def reading(number=None, valid=True, blocked=False, falling=True):
    return Reading(number, "MANUAL", valid, blocked, falling, 60)


def start(number=None, **flags):
    return Sighting(TRIGGER, Change.SET, reading(number, **flags))


def clear(number=None):
    return Sighting(TRIGGER, Change.CLEAR, reading(number))


def delete(number=None):
    return Sighting(TRIGGER, Change.DELETE, reading(number))


class Story:
    """One identity, and what was told of it: [(event type, number, in effect)]."""

    def __init__(self):
        self.corrections = Corrections(FALLING)
        self.known: Known | None = None
        self.facts = []

    def push(self, *sightings):
        for one in sightings:
            self._take(self.corrections.pushed(one, self.known, 1_000))
        return self

    def history(self, *newest_first):
        self._take(self.corrections.listed(newest_first, self.known, TRIGGER, 2_000))
        return self

    def _take(self, verdict):
        self.known = verdict.known or self.known
        if verdict.fact is not None:
            self.facts.append(verdict.fact)

    @property
    def told(self):
        return [(fact.event_type, fact.reading.start_number, fact.in_effect) for fact in self.facts]

    @property
    def types(self):
        return [fact.event_type for fact in self.facts]


# --- what is usable ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "reasons"),
    [
        (reading(1), ()),
        (reading(1, valid=None, blocked=None, falling=None), ()),
        (reading(1, valid=False), ("invalid",)),
        (reading(1, blocked=True), ("blocked",)),
        (reading(1, falling=False), ("edge",)),
        (reading(1, valid=False, blocked=True, falling=False), ("invalid", "blocked", "edge")),
    ],
)
def test_a_flag_makes_unusable_only_where_it_says_so(one, reasons):
    assert why_unusable(one, FALLING) == reasons


def test_edges_of_the_settings_count():
    assert why_unusable(reading(1, falling=False), {"falling", "rising"}) == ()
    assert why_unusable(reading(1, falling=True), {"rising"}) == ("edge",)


# --- push -------------------------------------------------------------------------------------------


def test_an_impulse_is_told_once():
    story = Story().push(start(5), start(5))
    assert story.told == [("trigger", 5, True)]
    assert story.facts[0].kind is Kind.TRIGGER
    assert story.facts[0].source is Source.PUSH
    assert story.facts[0].revision == 1


def test_a_renumbering_is_a_clear_and_a_correction_of_the_same_id():
    story = Story().push(start(12), clear(12), start(10))
    assert story.told == [("trigger", 12, True), ("cleared", 12, False), ("renumbered", 10, True)]
    assert [fact.revision for fact in story.facts] == [1, 2, 3]
    assert {fact.id for fact in story.facts} == {str(TRIGGER)}
    assert story.facts[2].previous.reading.start_number == 12
    assert story.facts[2].previous.in_effect is False


def test_a_renumbering_whose_new_number_comes_first_is_one_correction():
    story = Story().push(start(12), start(10), clear(12))
    assert story.told == [("trigger", 12, True), ("renumbered", 10, True)]


def test_so_it_is_where_the_clear_names_no_number():
    story = Story().push(start(12), start(10), clear(None))
    assert story.types == ["trigger", "renumbered"]
    assert story.known.in_effect


def test_the_clear_that_is_due_is_due_once():
    story = Story().push(start(12), start(10), clear(None), clear(None))
    assert story.told[-1] == ("cleared", 10, False)


def test_twelve_ten_twelve_is_told_in_every_step():
    story = Story().push(start(12), clear(12), start(10), clear(10), start(12))
    assert story.types == ["trigger", "cleared", "renumbered", "cleared", "renumbered"]
    assert story.told[-1] == ("renumbered", 12, True)


def test_the_same_again_after_a_deletion_is_a_restoration():
    story = Story().push(start(12), delete(12), start(12))
    assert story.types == ["trigger", "deleted", "restored"]


def test_a_clear_of_another_number_changes_nothing():
    story = Story().push(start(12), clear(10))
    assert story.types == ["trigger"]
    assert story.known.in_effect


def test_a_clear_of_what_has_no_number_changes_nothing_if_it_names_one():
    assert Story().push(start(None), clear(10)).types == ["trigger"]


def test_a_clear_without_a_number_clears_what_is_in_effect():
    assert Story().push(start(12), clear(None)).told[-1] == ("cleared", 12, False)


def test_a_clear_is_told_once():
    assert Story().push(start(12), clear(12), clear(12), clear(None)).types == ["trigger", "cleared"]


def test_a_clear_of_an_unknown_trigger_is_told_without_a_previous_state():
    story = Story().push(clear(12))
    assert story.told == [("cleared", 12, False)]
    assert story.facts[0].kind is Kind.CORRECTION
    assert story.facts[0].previous is None


def test_the_first_usable_state_goes_to_trigger_whatever_its_revision():
    story = Story().push(start(5, valid=False), start(5, valid=True))
    assert [(fact.kind, fact.revision) for fact in story.facts] == [(Kind.REJECTED, 1), (Kind.TRIGGER, 2)]


def test_what_was_usable_once_is_corrected_even_into_something_unusable():
    story = Story().push(start(5), start(5, blocked=True))
    assert [(fact.kind, fact.event_type) for fact in story.facts[1:]] == [(Kind.CORRECTION, "changed")]


def test_what_happens_to_something_never_usable_is_told_on_rejected():
    story = Story().push(start(5, blocked=True), clear(5))
    assert [(fact.kind, fact.change) for fact in story.facts] == [(Kind.REJECTED, ""), (Kind.REJECTED, "cleared")]


# --- history ----------------------------------------------------------------------------------------


def test_history_that_lists_what_was_pushed_tells_nothing():
    assert Story().push(start(5)).history(start(5)).types == ["trigger"]


def test_what_history_alone_shows_is_told_from_history():
    story = Story().history(start(5))
    assert story.types == ["trigger"]
    assert story.facts[0].source is Source.HISTORY


def test_history_is_compared_as_a_whole():
    rows = (start(10), clear(12), start(12))
    assert Story().history(*rows).told == [("trigger", 10, True)]
    assert Story().push(start(12)).history(*rows).told == [("trigger", 12, True), ("renumbered", 10, True)]


def test_a_clear_cancels_one_row_with_its_number():
    story = Story().push(start(12)).history(start(12), clear(10), start(10), clear(12), start(12))
    assert story.types == ["trigger"]
    assert story.known.in_effect


def test_history_whose_rows_are_all_cancelled_says_cleared():
    assert Story().push(start(12)).history(clear(12), start(12)).told[-1] == ("cleared", 12, False)


def test_what_was_never_seen_in_effect_is_told_as_cleared():
    assert Story().history(clear(12), start(12)).told == [("cleared", 12, False)]


def test_the_same_rows_are_judged_once():
    story = Story().push(start(12)).history(start(12)).push(delete(12))
    assert story.history(start(12)).types == ["trigger", "deleted"]


def test_history_that_still_lists_what_push_cleared_does_not_restore_it():
    assert Story().push(start(12), clear(12)).history(start(12)).types == ["trigger", "cleared"]


def test_nor_what_push_cleared_before_anything_else_was_seen():
    assert Story().push(clear(12)).history(start(12)).types == ["cleared"]


def test_nor_a_number_that_push_replaced_and_whose_successor_was_cleared():
    story = Story().push(start(12), start(10), clear(10))
    assert story.history(start(10), start(12)).types == ["trigger", "renumbered", "cleared"]


def test_nor_a_number_whose_clear_came_while_another_was_in_effect():
    story = Story().push(start(10), clear(12), clear(10))
    assert story.history(start(10), start(12)).types == ["trigger", "cleared"]


def test_nor_a_deletion_though_history_lists_clears():
    story = Story().push(start(12), clear(12), start(10), delete(10))
    assert story.history(start(10), clear(12), start(12)).types == ["trigger", "cleared", "renumbered", "deleted"]


def test_a_row_more_than_was_cleared_restores():
    story = Story().push(start(12), clear(12)).history(start(12), start(12))
    assert story.types == ["trigger", "cleared", "restored"]


def test_history_that_lists_the_clears_decides():
    """Two clears without a number came by push where the device made one."""
    story = Story().push(start(12), start(10), clear(None), clear(None))
    assert story.history(clear(None), start(10), start(12)).told[-1] == ("restored", 10, True)


def test_what_is_listed_as_older_than_what_is_in_effect_is_no_news():
    story = Story().push(start(5)).history(start(5), start(2))
    assert story.types == ["trigger"]


def test_what_is_listed_as_newer_is():
    assert Story().push(start(5)).history(start(2), start(5)).told[-1] == ("renumbered", 2, True)


def test_an_edit_of_the_newest_row_with_the_number_counts():
    story = Story().push(start(3), start(6), start(3)).history(start(3, blocked=True), start(6), start(3))
    assert story.told[-1] == ("changed", 3, True)
    assert story.facts[-1].reading.blocked is True


def test_rows_that_are_gone_say_deleted():
    story = Story().push(start(12)).history(start(12)).history()
    assert story.told[-1] == ("deleted", 12, False)


def test_what_comes_back_after_its_rows_were_gone_is_restored():
    story = Story().push(start(12)).history(start(12)).history().history(start(12))
    assert story.types == ["trigger", "deleted", "restored"]


def test_rows_that_are_gone_of_something_cleared_tell_nothing():
    story = Story().push(start(12)).history(start(12)).push(clear(12)).history()
    assert story.types == ["trigger", "cleared"]
    assert story.known.row_count == 0


# --- a push that comes after history has told ---------------------------------------------------------


def test_a_start_that_is_pushed_after_history_listed_its_clear_is_cleared_by_the_next_read():
    rows = (clear(6), start(6))
    story = Story().history(*rows).push(start(6)).history(*rows)
    assert story.told == [("cleared", 6, False), ("trigger", 6, True), ("cleared", 6, False)]


def test_a_renumbering_that_is_pushed_in_part_after_history_told_it_whole_ends_as_listed():
    rows = (start(7), clear(4), start(4))
    story = Story().history(*rows).push(start(4), clear(4)).history(*rows)
    assert story.told[0] == ("trigger", 7, True)
    assert story.told[-1] == ("renumbered", 7, True)


def test_a_start_that_is_pushed_after_history_listed_a_newer_one_too_gives_way_to_it_again():
    rows = (start(2), start(4))
    story = Story().history(*rows).push(start(4)).history(*rows)
    assert story.told == [("trigger", 2, True), ("renumbered", 4, True), ("renumbered", 2, True)]
    assert story.history(*rows).types == ["trigger", "renumbered", "renumbered"]


def test_so_it_is_where_the_late_one_is_cleared_at_once_and_clears_are_not_listed():
    rows = (start(7), start(4))
    story = Story().history(*rows).push(start(4), clear(4)).history(*rows)
    assert story.told[-1] == ("renumbered", 7, True)


def test_a_start_that_comes_back_by_push_after_history_told_of_the_first_stays():
    story = Story().history(start(4)).push(clear(4), start(4)).history(start(4), clear(4), start(4))
    assert story.types == ["trigger", "cleared", "restored"]


def test_a_start_that_comes_back_after_its_end_is_not_the_late_first_one():
    """The push of the first was lost; its row was removed, and there is one again."""
    story = Story().history(start(4)).push(delete(4), start(4)).history(start(4))
    assert story.types == ["trigger", "deleted", "restored"]


def test_after_a_push_that_is_newer_than_all_that_was_listed_none_of_that_comes_any_more():
    """1 became 6 in place; its push was lost. Another 1 is no late one."""
    story = Story().history(start(1)).push(start(6), start(1)).history(start(1), start(6))
    assert story.told == [("trigger", 1, True), ("renumbered", 6, True), ("renumbered", 1, True)]


def test_a_clear_without_a_number_is_no_late_one_of_what_it_ends_either():
    story = Story().push(start(2), clear(2)).history(start(5)).push(clear(None), start(5)).history(start(5))
    assert story.told[-1] == ("restored", 5, True)
    assert story.known.in_effect


def test_the_late_clear_of_what_history_replaced_ends_nothing():
    story = Story().history(start(None)).history(start(6)).push(clear(None), start(6)).history(start(6))
    assert story.told == [("trigger", None, True), ("renumbered", 6, True)]


def test_where_what_was_in_effect_is_listed_no_more_what_is_listed_counts():
    """5 became 6, and 5 again: of that nothing was pushed. Its row is the only one."""
    story = Story().push(start(5), start(6), clear(5)).history(start(5))
    assert story.told[-1] == ("renumbered", 5, True)


def test_a_late_repeat_of_what_history_told_changes_nothing():
    story = Story().history(start(4)).push(start(4), clear(4), start(4))
    assert story.types == ["trigger", "cleared", "restored"]
    assert story.known.doubtful is False


def test_an_edited_number_is_no_sign_that_cleared_rows_are_removed():
    """6 became 2 in place, and 2 was cleared: the row is listed still."""
    story = Story().push(start(6), start(2), clear(2)).history(start(2))
    assert story.told[-1] == ("cleared", 2, False)


def test_rows_that_a_push_did_not_contradict_are_not_compared_again():
    rows = (clear(6), start(6))
    story = Story().push(start(6), clear(6)).history(*rows)
    before = story.known
    assert story.history(*rows).known is before
    assert story.types == ["trigger", "cleared"]


def test_the_deletion_of_a_start_without_a_number_that_was_never_pushed_counts():
    """12 is cleared, a start without a number lost on its way, and that is deleted: history still lists it."""
    story = Story().push(start(12), clear(12), delete(None)).history(start(None), clear(12), start(12))
    assert story.told[-1] == ("cleared", 12, False)


def test_a_clear_without_a_number_cancels_one_without_where_others_name_theirs():
    listed = (clear(None), start(None), clear(8), start(8), start(7))
    assert Story().history(*listed).told == [("trigger", 7, True)]


def test_a_clear_without_a_number_cancels_any_where_none_names_its_own():
    assert Story().history(clear(None), start(7)).types == ["cleared"]
    assert Story().history(start(9), clear(None), start(7)).told == [("trigger", 9, True)]


# --- what push deleted, and a server that lists it still ----------------------------------------------


def test_one_of_two_rows_stays_in_effect_where_the_other_is_deleted_and_listed_still():
    story = Story().push(start(5), delete(5)).history(start(5)).history(start(5), start(5))
    assert story.told == [("trigger", 5, True), ("deleted", 5, False), ("restored", 5, True)]


def test_a_clear_after_a_deletion_and_a_return_ends_both_rows():
    story = Story().push(start(5), delete(5), clear(5)).history(clear(5), start(5), start(5))
    assert story.types == ["trigger", "deleted"]


def test_a_deletion_told_twice_is_one():
    story = Story().push(start(5), delete(5), delete(5)).history(start(5), start(5))
    assert story.types == ["trigger", "deleted", "restored"]


# --- a server that does not list clears ---------------------------------------------------------------


def test_what_history_replaced_does_not_come_back_once_its_successor_is_cleared():
    listed = (start(4), start(6))
    story = Story().push(start(6)).history(*listed).push(clear(4)).history(*listed)
    assert story.told == [("trigger", 6, True), ("renumbered", 4, True), ("cleared", 4, False)]


def test_what_is_listed_as_older_than_what_was_cleared_is_no_news():
    assert Story().push(clear(1)).history(start(1), start(3)).types == ["cleared"]


def test_a_number_that_comes_back_where_cleared_rows_are_removed_is_news():
    """8 became 5, and 5 became 8 again: that push was lost, its row is the only one."""
    story = Story().push(start(8), clear(8), start(5), clear(5)).history(start(8))
    assert story.told[-1] == ("renumbered", 8, True)


# --- two journals -------------------------------------------------------------------------------------


def retold(before, now, now_is_last=False):
    known = Story().push(*before).known
    return Corrections(FALLING).retold(known, Story().push(*now).known, now_is_last, 3_000)


def test_what_an_older_journal_says_last_is_corrected_by_how_it_is():
    verdict = retold([start(6)], [start(1)])
    fact = verdict.fact
    assert (fact.kind, fact.event_type, fact.reading.start_number) == (Kind.CORRECTION, "renumbered", 1)
    assert (fact.previous.reading.start_number, fact.revision, verdict.known.revision) == (6, 2, 2)
    assert retold([start(6)], [start(6), clear(6)]).fact.event_type == "cleared"
    assert retold([start(6), clear(6)], [start(6)]).fact.event_type == "restored"
    assert retold([start(6)], [start(6, valid=False)]).fact.event_type == "changed"
    assert retold([start(6, valid=False)], [start(6, blocked=True)]).fact.kind is Kind.REJECTED


def test_what_an_older_journal_says_rightly_is_not_told_again():
    assert retold([start(6)], [start(6)]).fact is None


@pytest.mark.parametrize("older_first", [True, False])
def test_what_one_journal_tells_as_a_trigger_is_one_though_the_other_rejected_it(older_first):
    """Its state is the same, and whoever heard of the rejection last hears that it is a trigger."""
    stories = ([start(6), start(6, blocked=True)], [start(6, blocked=True)])
    verdict = retold(*(stories if older_first else reversed(stories)), now_is_last=older_first)
    fact = verdict.fact
    assert verdict.known.usable
    assert (fact.kind, fact.event_type, fact.revision, fact.reading.blocked) == (Kind.CORRECTION, "changed", 3, True)
    assert fact.previous is not None


def test_what_is_gone_by_both_journals_is_not_told_again():
    story = [start(6), start(6, blocked=True), clear(6)]
    assert retold(story, story[1:]).fact is None


def test_what_was_pushed_since_and_is_told_last_is_not_told_again():
    assert retold([start(6)], [start(6), start(7)], now_is_last=True) == Verdict()
    assert retold([start(6)], [start(6), start(7)], now_is_last=False).fact.event_type == "renumbered"


def test_what_comes_next_is_numbered_above_both_journals():
    longer = [start(5), start(6), start(7)]
    assert retold(longer, [start(1)]).fact.revision == 4
    assert retold(longer, [start(7)]).known.revision == 3


def read_anew(before, now, now_is_last):
    """The older journal knew what was pushed, and the other one what history lists of it: the next read decides."""
    corrections = Corrections(FALLING)
    known = Story().push(*before).known
    verdict = corrections.retold(known, Story().history(*now).known, now_is_last, 3_000)
    return verdict, corrections.listed(now, verdict.known, known.id, 4_000)


@pytest.mark.parametrize("gone", [clear(6), delete(6)], ids=["cleared", "deleted"])
def test_history_that_still_lists_what_an_older_journal_knows_as_gone_does_not_restore_it(gone):
    merged, read = read_anew([start(6), gone], [start(6)], now_is_last=False)
    assert (merged.fact, read.fact) == (None, None)
    assert not read.known.in_effect
    _, read = read_anew([start(6), gone], [start(6)], now_is_last=True)
    assert (read.fact.event_type, read.known.in_effect) == ("cleared", False)


def test_what_history_shows_as_news_to_an_older_journal_is_told_by_the_next_read():
    merged, read = read_anew([start(6)], [start(6), clear(6)], now_is_last=False)
    assert (merged.fact, read.fact.event_type) == (None, "cleared")
    merged, read = read_anew([start(6)], [start(6), clear(6)], now_is_last=True)
    assert (merged.fact, read.fact) == (None, None)
    assert not read.known.in_effect


def test_the_higher_revision_is_told_as_what_it_then_means():
    """Of history alone more was told than of the older journal, which has the last word: its state is said again."""
    corrections = Corrections(FALLING)
    now = Story().history(start(1)).history(start(1), start(2), clear(1)).history(start(3)).known
    verdict = corrections.retold(Story().push(start(6)).known, now, False, 3_000)
    assert (verdict.fact.revision, verdict.fact.reading.start_number) == (now.revision + 1, 6)
