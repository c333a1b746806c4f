"""Walking through a listing page by page, while it changes under the walk."""

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.feed.scan import OVERLAP, PAGE, RESTARTS, Reach, Scan
from mt1bridge.model.history import PageRead
from mt1bridge.model.trigger import Change, ChannelId, Reading, Sighting, TriggerId

AT = ChannelId("231203016", "C1")


def row(timestamp, number=1):
    return Sighting(TriggerId(AT.device, AT.channel, timestamp), Change.SET, Reading(number, None, True, False, True))


def scan(reach=Reach.ALL, from_ms=None):
    return Scan(1, AT, reach, from_ms, to_ms=1_771_061_415_000)


class Walk:
    """A scan over a listing (newest first) of a server that puts at most `cap` rows into a page."""

    def __init__(self, listing, cap=PAGE):
        self.listing, self.cap = list(listing), cap
        self.scan = scan()
        self.largest = 0
        self.read = []
        self.pages = 0

    def page(self):
        wanted = self.scan.wanted()
        rows = tuple(self.listing[wanted.offset : wanted.offset + min(self.cap, wanted.limit)])
        self.largest = max(self.largest, len(rows))
        restarts = self.scan.restarts
        new = self.scan.take(PageRead(wanted, rows, 0), self.largest)
        if self.scan.restarts > restarts:
            self.read.clear()
        self.read += new
        self.pages += 1

    def to_its_end(self, between=lambda: None, at_most=10_000):
        while not self.scan.pages_done:
            assert self.pages < at_most, "does not end"
            self.page()
            between()
        return self.read


def listing(count):
    return [row(timestamp) for timestamp in range(count, 0, -1)]


def test_an_empty_listing_is_one_page():
    walk = Walk([])
    assert walk.to_its_end() == []
    assert walk.pages == 1


def test_a_page_shorter_than_the_largest_ever_is_the_last():
    walk = Walk(listing(3))
    walk.largest = 200
    walk.to_its_end()
    assert walk.pages == 1


def test_what_may_be_the_servers_limit_is_not_taken_for_the_end():
    walk = Walk(listing(30), cap=7)
    assert walk.to_its_end() == listing(30)


def test_pages_overlap_so_that_a_shift_shows():
    walk = Walk(listing(PAGE + 50))
    walk.page()
    assert walk.scan.wanted().offset == PAGE - OVERLAP


def test_a_listing_that_stays_is_read_whole_and_once():
    for count in (1, 2, 4, 5, 7, 8, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 3):
        walk = Walk(listing(count))
        assert walk.to_its_end() == listing(count)


def test_a_new_row_during_the_walk_is_no_second_row_of_another():
    walk = Walk(listing(10), cap=3)
    walk.page()
    walk.listing.insert(0, row(99))
    assert walk.to_its_end() == listing(10)


def test_a_shift_by_more_than_the_walk_advances_is_no_end():
    walk = Walk(listing(30), cap=3)
    walk.page()
    walk.page()
    walk.listing.insert(0, row(99))
    assert walk.to_its_end() == listing(30)


def test_a_burst_at_the_head_makes_the_walk_begin_anew():
    walk = Walk(listing(30), cap=7)
    walk.page()
    burst = [row(timestamp) for timestamp in range(200, 170, -1)]
    walk.listing[:0] = burst
    assert walk.to_its_end() == burst + listing(30)
    assert walk.scan.restarts == 1


def test_it_does_not_begin_anew_for_ever():
    walk = Walk(listing(30), cap=7)

    def a_burst_at_first():
        if walk.pages <= 2 * RESTARTS + 2:
            walk.listing[:0] = [row(walk.pages * 100 + step) for step in range(130, 100, -1)]

    walk.to_its_end(a_burst_at_first)
    assert walk.scan.restarts == RESTARTS


def test_a_removed_row_hides_none():
    walk = Walk(listing(30), cap=7)
    walk.page()
    del walk.listing[1]
    assert set(listing(30)) <= {*walk.to_its_end()}


def test_bounds_are_wider_than_asked_for_where_they_may_be_exclusive():
    wanted = scan(from_ms=1_000_000).wanted()
    assert wanted.from_ms == 999_000
    assert wanted.to_ms == 1_771_061_415_000


def test_no_bound_is_below_1970():
    assert scan(from_ms=500).wanted().from_ms == 0


def test_another_look_is_wanted_as_soon_as_any_asks_for_it():
    one = scan()
    assert one.again_s is None
    for seconds in (60.0, 15.0, 300.0):
        one.look_again_in(seconds)
    assert one.again_s == 15.0


@given(
    st.integers(0, 60),
    st.integers(2, 12),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 3)), max_size=6),  # (after how many pages, rows that come)
)
def test_rows_that_come_meanwhile_neither_hide_nor_double_any(count, cap, arrivals):
    walk = Walk(listing(count), cap)
    waiting = [pages for pages, rows in arrivals for _ in range(rows)]
    stamps = iter(range(1_000, 2_000))

    def arrive():
        for pages in [pages for pages in waiting if pages == walk.pages]:
            waiting.remove(pages)
            walk.listing.insert(0, row(next(stamps)))

    read = walk.to_its_end(arrive)
    old = [one for one in read if one.id.timestamp <= count]
    assert sorted(old, key=lambda one: -one.id.timestamp) == listing(count)
