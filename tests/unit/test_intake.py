"""From sightings to what the journal writes down: each once, with names, in order of arrival."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.feed.intake import Intake, oddity_of, questions
from mt1bridge.model.fact import Kind, Source
from mt1bridge.model.known import Known
from mt1bridge.model.trigger import Change, ChannelId, Malformed, Reading, Sighting, TriggerId

NOW = 1_771_061_415_418
C0, C1 = ChannelId("231203016", "C0"), ChannelId("231203016", "C1")
READING = Reading(12, "MANUAL", True, False, True, 60)


def names(at):
    return ("Finish hut", "Finish line") if at == C1 else ("Finish hut", None)


def live(_trigger):
    return True


def old(_trigger):
    return False


def sighting(timestamp=100, number=12, change=Change.SET, at=C1, **changes):
    raw = changes.pop("raw", "")
    return Sighting(
        TriggerId(at.device, at.channel, timestamp), change, Reading(number, "MANUAL", **FLAGS | changes), raw
    )


FLAGS = {"valid": True, "blocked": False, "falling_edge": True, "time_offset": 60}


def unknown_type(timestamp=100, raw='{"type":"Memo"}'):
    return sighting(timestamp, change=Change.UNKNOWN, raw=raw)


class Book:
    """Sightings go in, what is known grows; `told` is what came of them."""

    def __init__(self, edges=("falling",)):
        self.intake = Intake(edges, names)
        self.known: dict[TriggerId, Known] = {}
        self.odd = set()
        self.told = []
        self.repeated = 0

    def keep(self, learned):
        for one in learned:
            if one.known is not None:
                self.known[one.known.id] = one.known
            if one.oddity is not None:
                self.odd.add((one.at, one.oddity))
            if one.fact is not None:
                self.told.append((one.fact.kind.value, one.fact.event_type, one.fact.id, one.fact.revision))
        return learned

    def pushed(self, *seen, is_live=live):
        ids, odd = questions(seen)
        known = {one: self.known[one] for one in ids if one in self.known}
        learned, repeated = self.intake.pushed(seen, known, odd & self.odd, NOW, is_live)
        self.repeated += repeated
        return self.keep(learned)

    def odd_rows(self, *rows):
        ids, odd = questions(rows)
        known = {one: self.known[one] for one in ids if one in self.known}
        return self.keep(self.intake.odd_rows(rows, known, odd & self.odd, NOW))

    def listed(self, *rows, asked_ms=NOW, is_live=old):
        trigger = rows[0].id
        one, again = self.intake.listed(trigger, rows, self.known.get(trigger), asked_ms, NOW, is_live)
        return self.keep([one] if one else []), again


# --- push -------------------------------------------------------------------------------------------


def test_an_impulse_becomes_a_fact_with_its_names_and_all_that_was_read():
    [learned] = Book().pushed(sighting())
    fact = learned.fact
    assert (fact.id, fact.at, fact.timestamp) == ("231203016-C1-100", C1, 100)
    assert (fact.kind, fact.event_type, fact.revision, fact.source) == (Kind.TRIGGER, "trigger", 1, Source.PUSH)
    assert (fact.device_name, fact.channel_name) == ("Finish hut", "Finish line")
    assert (fact.reading, fact.in_effect, fact.received_ms) == (READING, True, NOW)
    assert learned.live
    assert not fact.late_at_birth


def test_an_impulse_that_is_too_old_to_act_on_is_born_late_and_is_no_live_one():
    [learned] = Book().pushed(sighting(), is_live=old)
    assert learned.fact.event_type == "trigger"  # judged again at hand-over
    assert learned.fact.late_at_birth
    assert not learned.live


def test_a_repeat_is_counted_and_says_nothing():
    book = Book()
    book.pushed(sighting())
    assert book.pushed(sighting(), sighting()) == []
    assert book.repeated == 2
    assert book.told == [("trigger", "trigger", "231203016-C1-100", 1)]


def test_a_repeat_within_one_message_is_known_too():
    book = Book()
    book.pushed(sighting(), sighting())
    assert book.repeated == 1
    assert len(book.told) == 1


def test_several_sightings_of_one_trigger_in_one_message_are_told_one_after_the_other():
    book = Book()
    book.pushed(sighting(), sighting(change=Change.CLEAR), sighting(number=10), sighting(number=12))
    assert [(event_type, revision) for _, event_type, _, revision in book.told] == [
        ("trigger", 1),
        ("cleared", 2),
        ("renumbered", 3),
        ("renumbered", 4),
    ]


def test_what_is_not_usable_is_rejected_with_all_its_reasons_and_never_late():
    [learned] = Book().pushed(sighting(valid=False, blocked=True, falling_edge=False), is_live=old)
    assert (learned.fact.kind, learned.fact.reasons) == (Kind.REJECTED, ("invalid", "blocked", "edge"))
    assert not learned.fact.late_at_birth


def test_the_other_edge_is_usable_where_the_settings_say_so():
    [learned] = Book(edges=("rising", "falling")).pushed(sighting(falling_edge=False))
    assert learned.fact.kind is Kind.TRIGGER


# --- what is odd ------------------------------------------------------------------------------------


def test_an_unknown_type_is_told_raw_once_and_changes_nothing_of_its_trigger():
    book = Book()
    book.pushed(sighting())
    state = book.known[sighting().id]
    [learned] = book.pushed(unknown_type())
    fact = learned.fact
    assert (fact.kind, fact.reasons, fact.raw) == (Kind.REJECTED, ("type",), '{"type":"Memo"}')
    assert (fact.revision, fact.id) == (2, "231203016-C1-100")
    assert (learned.known.reading, learned.known.in_effect) == (state.reading, state.in_effect)
    assert book.pushed(unknown_type()) == []
    assert book.repeated == 1


def test_revisions_go_on_after_an_unknown_type():
    book = Book()
    book.pushed(sighting(), unknown_type(), sighting(change=Change.CLEAR))
    assert [revision for _, _, _, revision in book.told] == [1, 2, 3]


def test_what_is_malformed_is_told_once_under_its_channel_with_its_text():
    book = Book()
    odd = Malformed(C1, '{"timestamp":"x"}', "timestamp is no whole number")
    [learned] = book.pushed(odd)
    fact = learned.fact
    assert (fact.kind, fact.reasons, fact.raw) == (Kind.REJECTED, ("malformed",), '{"timestamp":"x"}')
    assert (fact.timestamp, fact.revision, fact.in_effect) == (None, 1, False)
    assert fact.id.startswith("231203016-C1-malformed-")
    assert book.pushed(odd) == []
    [other] = book.pushed(Malformed(C1, '{"timestamp":"y"}', "timestamp is no whole number"))
    assert other.fact.id != fact.id


def test_a_push_of_good_and_bad_loses_neither():
    book = Book()
    book.pushed(sighting(1), Malformed(C0, "[]", "no trigger"), unknown_type(2), sighting(3))
    assert [kind for kind, *_ in book.told] == ["trigger", "rejected", "rejected", "trigger"]


def test_odd_rows_of_history_are_told_once_whether_push_or_history_came_first():
    book = Book()
    book.pushed(unknown_type(1))
    assert book.odd_rows(unknown_type(1)) == []
    [learned] = book.odd_rows(unknown_type(2, '{"type":"Other"}'), unknown_type(2, '{"type":"Other"}'))
    assert learned.fact.source is Source.HISTORY
    assert book.pushed(unknown_type(2, '{"type":"Other"}')) == []


def test_two_of_an_unknown_type_are_two_though_all_that_is_kept_of_their_text_is_the_same():
    cut = "{" + "x" * 2047
    assert oddity_of(unknown_type(1, cut)) != oddity_of(unknown_type(2, cut))
    assert oddity_of(unknown_type(1, cut)) == oddity_of(unknown_type(1, cut))


def test_questions_name_every_identity_and_every_oddity():
    odd = Malformed(C0, "[]", "no trigger")
    nowhere = Malformed(None, "x", "not JSON")
    ids, digests = questions([sighting(1), sighting(1), unknown_type(2), odd, nowhere])
    assert {one.timestamp for one in ids} == {1, 2}
    assert digests == {(C1, oddity_of(unknown_type(2))), (C0, oddity_of(odd))}
    assert oddity_of(sighting(1)) is None


@given(st.text() | st.text(st.characters(categories=["Cs"])))
def test_any_text_has_a_digest(raw):
    assert len(oddity_of(Malformed(C0, raw, "odd"))) == 12


# --- history ----------------------------------------------------------------------------------------


def test_what_history_alone_shows_is_told_from_history():
    book = Book()
    [learned], again = book.listed(sighting())
    assert (learned.fact.kind, learned.fact.source, learned.fact.late_at_birth) == (Kind.TRIGGER, Source.HISTORY, True)
    assert not again


def test_what_push_told_before_history_says_nothing_and_the_other_way_round():
    book = Book()
    book.pushed(sighting(1))
    book.listed(sighting(1), asked_ms=NOW + 60_000)
    book.listed(sighting(2))
    book.pushed(sighting(2))
    assert [identity for _, _, identity, _ in book.told] == ["231203016-C1-1", "231203016-C1-2"]


def test_a_page_asked_for_a_moment_after_a_push_does_not_take_it_back_but_is_looked_at_again():
    book = Book()
    book.pushed(sighting(number=12))
    book.pushed(sighting(number=10))
    learned, again = book.listed(sighting(number=12), asked_ms=NOW + 3_000)
    assert again
    assert all(one.fact is None for one in learned)
    assert book.known[sighting().id].reading.start_number == 10


def test_a_deletion_that_overtakes_its_row_is_not_forgotten_before_the_row_is_listed():
    """The start with 7 was pushed while nobody was subscribed; the server keeps the rows of what it deletes."""
    book = Book()
    book.pushed(sighting(number=12))
    book.pushed(sighting(number=7, change=Change.DELETE))
    [counted], again = book.listed(sighting(number=12), asked_ms=NOW + 150)
    assert (counted.fact, again) == (None, True)
    rows = (sighting(number=7), sighting(number=12, change=Change.CLEAR), sighting(number=12))
    [learned], again = book.listed(*rows, asked_ms=NOW + 11_000)
    assert (learned.fact.event_type, again) == ("cleared", False)


def test_a_page_asked_for_long_after_a_push_may_correct_it():
    book = Book()
    book.pushed(sighting(number=12))
    learned, again = book.listed(sighting(number=7), sighting(number=12), asked_ms=NOW + 60_000)
    assert not again
    assert [one.fact.event_type for one in learned] == ["renumbered"]


@pytest.mark.parametrize("walk_ms", [5_000, 59_000, 61_000, 900_000])
def test_what_push_changed_while_the_pages_came_outranks_them_however_long_that_took(walk_ms):
    book = Book()
    book.pushed(sighting(number=12))
    book.pushed(sighting(number=12, change=Change.CLEAR), sighting(number=7))
    learned, again = book.listed(sighting(number=12), asked_ms=NOW - walk_ms)
    assert ([one.fact for one in learned if one.fact], again) == ([], True)


def test_what_was_there_before_the_channel_was_ours_is_known_and_never_told():
    book = Book()
    trigger = sighting().id
    learned = book.intake.baseline(trigger, (sighting(),), NOW)
    assert learned.fact is None
    book.keep([learned])
    assert book.listed(sighting(), asked_ms=NOW + 60_000)[0] == []
    assert [one.fact for one in book.pushed(sighting())] == [None]
    assert book.pushed(sighting()) == []
    assert book.told == []


def test_a_correction_of_what_was_there_before_is_told():
    book = Book()
    book.keep([book.intake.baseline(sighting().id, (sighting(),), NOW)])
    [learned] = book.pushed(sighting(number=7))
    assert (learned.fact.kind, learned.fact.reading.start_number, learned.fact.revision) == (Kind.TRIGGER, 7, 1)


# --- whatever comes ---------------------------------------------------------------------------------

ANY = st.one_of(
    st.builds(
        sighting,
        st.integers(1, 3),
        st.sampled_from([10, 12]),
        st.sampled_from([Change.SET, Change.CLEAR, Change.DELETE]),
        valid=st.sampled_from([True, False, None]),
    ),
    st.builds(unknown_type, st.integers(1, 3), st.sampled_from(['{"a":1}', '{"a":2}'])),
    st.builds(Malformed, st.just(C1), st.sampled_from(["x", "y"]), st.just("odd")),
)


@given(st.lists(ANY, max_size=12), st.lists(st.integers(1, 4), max_size=12))
def test_revisions_of_an_id_grow_by_one_and_packets_make_no_difference(seen, sizes):
    whole, parts = Book(), Book()
    whole.pushed(*seen)
    rest = list(seen)
    for size in [*sizes, len(rest)]:
        parts.pushed(*rest[:size])
        del rest[:size]
    assert whole.told == parts.told
    assert whole.known == parts.known
    assert whole.repeated == parts.repeated
    for identity in {told[2] for told in whole.told}:
        revisions = [revision for _, _, other, revision in whole.told if other == identity]
        assert revisions == list(range(1, len(revisions) + 1))


@given(st.lists(ANY, max_size=12))
def test_whatever_is_pushed_twice_is_told_once_if_nothing_came_between(seen):
    book = Book()
    for one in seen:
        book.pushed(one)
        before = len(book.told)
        book.pushed(one)
        assert len(book.told) == before
