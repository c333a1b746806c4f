"""What is written to the tables is read back as it was."""

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.journal import codec
from mt1bridge.model.fact import Entry, Fact, Kind, Previous, Source
from mt1bridge.model.known import ChannelMemory, Known, Tally
from mt1bridge.model.trigger import CHANNELS, LAST_TICK, Change, ChannelId, Reading, Sighting, TriggerId
from mt1bridge.topics.names import Names
from mt1bridge.topics.payloads import fact_publication, tally_publication

NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
FLAGS = st.none() | st.booleans()
TEXT = st.text(max_size=20) | st.characters(categories=["Cs", "Cc"])  # JSON knows no two halves of one character
READINGS = st.builds(Reading, NUMBERS, st.none() | TEXT, FLAGS, FLAGS, FLAGS, st.integers(-2880, 2880))
TICKS = st.integers(0, LAST_TICK)
PLACES = st.builds(ChannelId, st.text("0123456789", min_size=1, max_size=32), st.sampled_from(CHANNELS))
IDS = st.builds(lambda at, timestamp: TriggerId(at.device, at.channel, timestamp), PLACES, TICKS)


@st.composite
def facts(draw):
    at, timestamp = draw(PLACES), draw(st.none() | TICKS)
    identity = f"{at}-malformed-{draw(TEXT)}" if timestamp is None else f"{at}-{timestamp}"
    return Fact(
        id=identity,
        at=at,
        timestamp=timestamp,
        kind=draw(st.sampled_from(Kind)),
        event_type=draw(st.sampled_from(["trigger", "cleared", "rejected"])),
        revision=draw(st.integers(1, 10**6)),
        reading=draw(READINGS),
        in_effect=draw(st.booleans()),
        source=draw(st.sampled_from(Source)),
        received_ms=draw(st.integers(0, 2**50)),
        device_name=draw(st.none() | TEXT),
        channel_name=draw(st.none() | TEXT),
        previous=draw(st.none() | st.builds(Previous, READINGS, st.booleans())),
        reasons=draw(st.lists(st.sampled_from(["invalid", "edge"])).map(tuple)),
        raw=draw(st.none() | TEXT),
        change=draw(st.sampled_from(["", "cleared", "deleted"])),
        late_at_birth=draw(st.booleans()),
    )


KNOWN = st.builds(
    Known,
    id=IDS,
    reading=st.none() | READINGS,
    in_effect=st.booleans(),
    revision=st.integers(0, 10**6),
    usable=st.booleans(),
    starts=st.lists(st.tuples(NUMBERS, st.integers(1, 9)), max_size=3).map(tuple),
    cleared=st.lists(NUMBERS, max_size=3).map(tuple),
    clear_due=st.booleans(),
    rows=st.sampled_from(["", "-", "0123456789abcdef"]),
    row_count=st.integers(0, 9),
    changed_ms=st.integers(0, 2**50),
    deleted=st.lists(NUMBERS, max_size=3).map(tuple),
    unpushed=st.lists(st.tuples(NUMBERS, st.integers(1, 9)), max_size=3).map(tuple),
    doubtful=st.booleans(),
)


@given(facts())
def test_a_fact(fact):
    text = codec.fact_to_text(fact)
    assert text.isascii()
    assert codec.fact_from_text(fact.at, fact.kind.value, text) == fact


@given(READINGS)
def test_a_reading(reading):
    assert codec.reading_from_text(codec.reading_to_text(reading)) == reading


@given(KNOWN)
def test_all_that_is_known_of_a_trigger(known):
    reading = codec.reading_to_text(known.reading) if known.reading is not None else None
    row = (reading, int(known.in_effect), known.revision, int(known.usable), codec.memory_of(known))
    assert codec.known_from_row(known.id, *row) == known


def test_a_plain_pushed_start_takes_no_room_for_its_memory():
    reading = Reading(12, "MANUAL", True, False, True, 60)
    plain = Known(TriggerId("1", "C0", 5), reading, True, 1, True, starts=((12, 1),))
    assert codec.memory_of(plain) is None


@given(IDS, st.sampled_from([Change.SET, Change.CLEAR]), READINGS)
def test_a_row_of_history(trigger, change, reading):
    row = Sighting(trigger, change, reading)
    assert codec.sighting_from_text(trigger, codec.sighting_to_text(row)) == row


@given(
    st.builds(
        ChannelMemory,
        at=PLACES,
        cut_ms=st.integers(0, 2**50),
        baselined=st.booleans(),
        base_count=st.none() | st.integers(0, 10**6),
        server_count=st.none() | st.integers(0, 10**6),
        carry=st.integers(0, 99),
        missing=st.integers(0, 99),
        complete=FLAGS,
        checked_ms=st.integers(0, 2**50),
        proven_ms=st.integers(0, 2**50),
        read_all_ms=st.integers(0, 2**50),
        seen=st.booleans(),
        window_rows=st.integers(0, 10**6),
    )
)
def test_a_channel(memory):
    assert codec.channel_from_text(memory.at, codec.channel_to_text(memory)) == memory


def test_a_channel_written_down_by_an_older_or_a_newer_version_has_what_both_know():
    at = ChannelId("1", "C0")
    assert codec.channel_from_text(at, '{"cut_ms": 7, "seen": true, "unheard_of": 1}') == ChannelMemory(
        at, 7, seen=True
    )


# --- damage -------------------------------------------------------------------------------------------

CHARACTERS = st.characters(max_codepoint=0x7F)
PLAIN_FACTS = facts().filter(lambda fact: fact.received_ms < 2**43)  # a clock before the year 2248


def damaged(data, text):
    """With another character in one place."""
    place = data.draw(st.integers(0, len(text) - 1))
    return text[:place] + data.draw(CHARACTERS) + text[place + 1 :]


@given(st.data(), PLAIN_FACTS)
def test_a_damaged_fact_is_found_or_can_be_told(data, fact):
    text = damaged(data, codec.fact_to_text(fact))
    try:
        read = codec.fact_from_text(fact.at, fact.kind.value, text)
    except codec.UnreadableRowError:
        return
    fact_publication(Names("mt1"), Entry(1, 1, "k3v9", read), late=False)
    codec.fact_to_text(read)


@given(st.data(), KNOWN)
def test_a_damaged_state_is_found_or_of_the_right_kind(data, known):
    reading, memory = codec.reading_to_text(known.reading or Reading(1, None, None, None, None)), codec.memory_of(known)
    if memory is not None and data.draw(st.booleans()):
        memory = damaged(data, memory)
    else:
        reading = damaged(data, reading)
    try:
        read = codec.known_from_row(known.id, reading, 1, 1, 1, memory)
    except codec.UnreadableRowError:
        return
    codec.reading_to_text(read.reading)
    codec.memory_of(read)


@given(st.data(), st.integers(0, 2**42), FLAGS)
def test_a_damaged_channel_is_found_or_of_the_right_kind(data, cut_ms, complete):
    at = ChannelId("231203016", "C0")
    text = damaged(data, codec.channel_to_text(ChannelMemory(at, cut_ms, complete=complete, checked_ms=cut_ms)))
    try:
        read = codec.channel_from_text(at, text)
    except codec.UnreadableRowError:
        return
    tally_publication(Names("mt1"), Tally(at, 0, 0), read)
