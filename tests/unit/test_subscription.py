"""The connection to the realtime endpoint, told as a story: what happens, and what is then ordered and told."""

from mt1bridge.cloud.subscription import (
    OVERLAP_S,
    REFUSED_AGAIN_S,
    RENEW_GAP_S,
    Subscription,
    SubscriptionLost,
    SubscriptionStands,
    TokenDoubted,
)
from mt1bridge.model.clock import Now
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import Note
from mt1bridge.model.upstream import CloseLink, LinkConnected, LinkLost, LinkSubscribed, OpenLink, Trouble

T1, T2 = Secret("first"), Secret("second")
HUT, SPLIT, GATE = "231203016", "231203037", "231203099"


def at(seconds: float) -> Now:
    return Now(1000.0 + seconds, 1_771_061_415_000 + round(seconds * 1000))


class Story:
    """One subscription; `devices` and `token` are what is wanted, `tick` and the rest say when."""

    def __init__(self, *devices: str, token: Secret | None = T1) -> None:
        self.subscription = Subscription(lambda: 0.0)
        self.devices, self.token = devices, token

    def tick(self, seconds):
        return self.subscription.tick(at(seconds), self.token, self.devices)

    def connected(self, link):
        return self.subscription.connected_now(LinkConnected(link, "1.2", "10000,10000", 30.0))

    def stands(self, link, seconds, *devices):
        self.connected(link)
        return self.subscription.subscribed_now(LinkSubscribed(link, devices or self.devices), at(seconds))

    def lost(self, link, seconds, trouble=Trouble.CLOSED, device=None):
        return self.subscription.lost(LinkLost(link, trouble, "gone", device=device), at(seconds))

    def due(self, seconds):
        return self.subscription.next_due(at(seconds), self.token, self.devices) - at(0).monotonic


def live(*devices: str) -> Story:
    """Subscribed by link 1 at second 0."""
    story = Story(*(devices or (HUT, SPLIT)))
    story.tick(0)
    story.stands(1, 0)
    return story


def renewing() -> Story:
    """Link 1 stands; link 2, with a new token, is on its way since second 100."""
    story = live()
    story.token = T2
    story.tick(100)
    return story


def opened(link, token=T1, devices=(HUT, SPLIT), one_by_one=False):
    return OpenLink(link, token, devices, one_by_one)


def events(outcomes):
    """Outcomes with notes shortened to (event, level)."""
    return [(one.event, one.level) if isinstance(one, Note) else one for one in outcomes]


# --- opening ----------------------------------------------------------------------------------------


def test_nothing_is_opened_without_a_token_or_without_devices():
    assert Story(HUT, token=None).tick(0) == []
    assert Story().tick(0) == []
    assert Story(HUT, token=None).due(0) == float("inf")
    assert Story().due(0) == float("inf")


def test_one_connection_is_opened_for_all_devices_and_only_one():
    story = Story(HUT, SPLIT)
    assert story.due(0) <= 0
    assert story.tick(0) == [opened(1)]
    assert story.tick(1) == []
    assert story.due(1) == float("inf")


def test_a_subscription_that_stands_is_told_with_its_devices_and_the_servers_heart_beat():
    story = Story(HUT, SPLIT)
    story.tick(0)
    assert not story.subscription.subscribed
    told = story.stands(1, 2)
    assert events(told) == [("link_subscribed", "info"), SubscriptionStands((HUT, SPLIT), "10000,10000")]
    assert story.subscription.subscribed
    assert story.subscription.since_ms == at(2).utc_ms


# --- losing -----------------------------------------------------------------------------------------


def test_a_lost_connection_is_told_once_and_opened_again_after_a_growing_pause():
    story = live()
    assert events(story.lost(1, 100)) == [("link_lost", "warning"), SubscriptionLost("gone")]
    assert story.tick(100.5) == []
    assert story.due(100.5) == 101
    assert story.tick(101) == [opened(2)]
    assert events(story.lost(2, 102)) == [("link_lost", "debug")]
    assert story.tick(103.9) == []
    assert story.tick(104) == [opened(3)]
    restored = story.stands(3, 105)
    assert events(restored) == [("link_restored", "info"), SubscriptionStands((HUT, SPLIT), "10000,10000")]
    assert restored[0].facts["outage_s"] == 5.0


def test_pauses_grow_to_a_minute_and_no_further_and_start_anew_after_a_minute_that_went_well():
    story = Story(HUT)
    seconds, pauses = 0.0, []
    for link in range(1, 10):
        assert story.tick(seconds) != []
        story.lost(link, seconds)
        pauses.append(story.due(seconds) - seconds)
        seconds = story.due(seconds)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    story.tick(seconds)
    story.stands(10, seconds)
    story.lost(10, seconds + 59)
    assert story.due(seconds + 59) == seconds + 59 + 60
    story.tick(seconds + 119)
    story.stands(11, seconds + 119)
    story.lost(11, seconds + 179)
    assert story.due(seconds + 179) == seconds + 180


def test_the_next_try_waits_for_no_pause_once_a_login_has_worked():
    story = live()
    for link, seconds in ((1, 10), (2, 11), (3, 13)):
        story.lost(link, seconds)
        story.tick(story.due(seconds))
    story.lost(4, 17)
    story.subscription.retry_now(at(18))
    assert story.tick(18) == [opened(5)]


# --- renewal ----------------------------------------------------------------------------------------


def test_a_new_token_is_taken_by_a_second_connection_before_the_first_one_is_closed():
    story = live()
    story.token = T2
    assert story.due(100) <= 100
    assert story.tick(100) == [opened(2, T2)]
    assert story.subscription.owns(1)
    assert story.subscription.owns(2)
    assert SubscriptionStands((HUT, SPLIT), "10000,10000") in story.stands(2, 101)
    assert story.tick(101 + OVERLAP_S - 0.1) == []
    assert story.due(102) == 101 + OVERLAP_S
    assert story.tick(101 + OVERLAP_S) == [CloseLink(1)]
    assert story.lost(1, 107, Trouble.STOPPED) == []
    assert story.subscription.subscribed
    assert not story.subscription.owns(1)
    assert story.tick(108) == []


def test_other_devices_make_a_new_connection_the_same_devices_in_another_order_do_not():
    story = live(HUT)
    story.devices = (HUT, SPLIT)
    assert story.tick(10) == [opened(2)]
    story.stands(2, 11)
    story.tick(16)
    story.devices = (SPLIT, HUT)
    assert story.tick(20) == []
    assert story.due(20) == float("inf")


def test_no_devices_left_is_no_reason_to_close_what_stands():
    story = live()
    story.devices = ()
    assert story.tick(10) == []
    assert story.subscription.subscribed


def test_a_token_that_is_gone_is_no_reason_to_close_what_stands():
    story = live()
    story.token = None
    assert story.tick(10) == []
    assert story.subscription.subscribed


def test_while_one_renewal_is_under_way_or_overlaps_no_other_begins():
    story = renewing()
    story.devices = (HUT,)
    assert story.tick(101) == []
    story.stands(2, 102, HUT, SPLIT)
    assert story.tick(103) == []
    assert story.tick(107) == [CloseLink(1), opened(3, T2, (HUT,))]


def test_the_present_connection_is_lost_while_the_next_is_opening_and_that_one_takes_over():
    story = renewing()
    assert events(story.lost(1, 101)) == [("link_lost", "warning"), SubscriptionLost("gone")]
    assert not story.subscription.subscribed
    assert story.tick(200) == []  # no third one: the second is on its way
    assert events(story.stands(2, 201)) == [
        ("link_restored", "info"),
        SubscriptionStands((HUT, SPLIT), "10000,10000"),
    ]
    assert story.tick(210) == []


def test_the_next_connection_is_lost_and_tried_again_while_the_present_one_stands():
    story = renewing()
    assert events(story.lost(2, 101)) == [("link_renewal_failed", "warning")]
    assert story.subscription.subscribed
    assert story.tick(101.5) == []
    assert story.tick(102) == [opened(3, T2)]
    assert events(story.lost(3, 103)) == [("link_renewal_failed", "debug")]
    assert story.tick(105) == [opened(4, T2)]
    story.stands(4, 106)
    assert story.tick(111) == [CloseLink(1)]


def test_the_replaced_connection_is_lost_within_the_overlap_and_nobody_is_told():
    story = renewing()
    story.stands(2, 101)
    assert story.lost(1, 102) == []
    assert story.tick(110) == []


def test_a_replacement_lost_within_the_overlap_leaves_the_one_before_it_standing():
    story = renewing()
    story.stands(2, 101)
    assert events(story.lost(2, 103)) == [("link_renewal_failed", "warning")]
    assert story.subscription.subscribed
    assert story.subscription.number == 1
    assert story.tick(103.9) == []
    assert story.tick(110) == [opened(3, T2)]
    story.stands(3, 111)
    assert story.tick(116) == [CloseLink(1)]


def test_both_connections_lost_within_the_overlap_are_one_outage():
    story = renewing()
    story.stands(2, 101)
    story.lost(2, 103)
    assert events(story.lost(1, 103.5)) == [("link_lost", "warning"), SubscriptionLost("gone")]
    assert story.tick(106) == [opened(3, T2)]


def test_what_history_alone_showed_renews_the_connection_but_not_again_and_again():
    story = live()
    assert story.subscription.push_missed(at(10))
    assert story.tick(10) == [opened(2)]
    story.stands(2, 11)
    assert not story.subscription.push_missed(at(12))
    assert story.tick(16) == [CloseLink(1)]
    assert not story.subscription.push_missed(at(10 + RENEW_GAP_S - 1))
    assert story.subscription.push_missed(at(10 + RENEW_GAP_S))


def test_a_renewal_for_what_push_missed_is_still_wanted_when_it_fails():
    story = live()
    story.subscription.push_missed(at(10))
    story.tick(10)
    story.lost(2, 11)
    assert story.tick(12) == [opened(3)]
    story.stands(3, 13)
    story.lost(3, 14)  # within the overlap: link 1 is still there
    assert story.tick(16) == [opened(4)]
    story.stands(4, 17)
    assert story.tick(22) == [CloseLink(1)]
    assert story.tick(100) == []


def test_an_outage_makes_a_renewal_needless():
    story = live()
    story.subscription.push_missed(at(10))
    story.lost(1, 10)
    assert story.tick(11) == [opened(2)]
    story.stands(2, 12)
    assert story.tick(100) == []


def test_nothing_can_have_been_missed_by_a_push_that_does_not_stand():
    story = live()
    story.lost(1, 5)
    assert not story.subscription.push_missed(at(10))


# --- what the server refuses ------------------------------------------------------------------------


def test_an_error_before_the_server_took_us_puts_the_token_in_doubt():
    story = Story(HUT)
    story.tick(0)
    assert events(story.lost(1, 1, Trouble.STOMP_ERROR)) == [TokenDoubted(), ("link_lost", "warning")]


def isolated() -> Story:
    """SPLIT was found to be refused, at second 5; the others stand on link 4 since second 10."""
    story = Story(HUT, SPLIT, GATE)
    story.tick(0)
    for link, seconds in ((1, 0), (2, 1)):
        story.connected(link)
        story.lost(link, seconds, Trouble.STOMP_ERROR)
        story.tick(story.due(seconds))
    story.connected(3)
    story.lost(3, 5, Trouble.STOMP_ERROR, device=SPLIT)
    story.tick(story.due(5))
    story.stands(4, 10, HUT, GATE)
    return story


def test_errors_after_the_server_took_us_are_traced_to_one_device_and_the_others_go_on_without_it():
    story = Story(HUT, SPLIT, GATE)
    everything = (HUT, SPLIT, GATE)
    assert story.tick(0) == [opened(1, devices=everything)]
    story.connected(1)
    assert events(story.lost(1, 0, Trouble.STOMP_ERROR)) == [("link_lost", "warning")]
    assert story.tick(1) == [opened(2, devices=everything)]
    story.connected(2)
    assert events(story.lost(2, 1, Trouble.STOMP_ERROR)) == [("link_lost", "debug")]
    assert story.tick(3) == [opened(3, devices=everything, one_by_one=True)]
    story.connected(3)
    assert events(story.lost(3, 4, Trouble.STOMP_ERROR, device=SPLIT)) == [
        ("device_subscription_refused", "warning"),
        ("link_lost", "debug"),
    ]
    assert story.subscription.refused == {SPLIT}
    assert story.tick(8) == [opened(4, devices=(HUT, GATE))]
    assert SubscriptionStands((HUT, GATE), "10000,10000") in story.stands(4, 9, HUT, GATE)


def test_an_error_of_a_session_that_stood_is_no_hint_at_a_device():
    story = live()
    for link, seconds in ((1, 100), (2, 300), (3, 500), (4, 700)):
        assert ("link_lost", "warning") in events(story.lost(link, seconds, Trouble.STOMP_ERROR))
        assert story.tick(seconds + 60) == [opened(link + 1)]
        story.stands(link + 1, seconds + 61)


def test_a_single_device_is_tried_for_ever():
    story = Story(HUT)
    seconds = 0.0
    for link in range(1, 20):
        assert story.tick(seconds) == [opened(link, devices=(HUT,))]
        story.connected(link)
        story.lost(link, seconds, Trouble.STOMP_ERROR)
        seconds = story.due(seconds)
    assert story.subscription.refused == frozenset()


def test_a_refused_device_is_tried_again_later_and_what_stands_stays_until_it_is_accepted():
    story = isolated()
    later = 5 + REFUSED_AGAIN_S
    assert story.tick(later - 1) == []
    assert story.due(100) == later
    assert story.tick(later) == [opened(5, devices=(HUT, GATE, SPLIT), one_by_one=True)]
    assert story.subscription.refused == {SPLIT}
    accepted = story.stands(5, later + 1, HUT, GATE, SPLIT)
    assert ("device_accepted", "info") in events(accepted)
    assert SubscriptionStands((HUT, GATE, SPLIT), "10000,10000") in accepted
    assert story.subscription.refused == frozenset()
    assert story.tick(later + 6) == [CloseLink(4)]


def test_a_device_that_is_still_refused_costs_one_try_and_no_push():
    story = isolated()
    later = 5 + REFUSED_AGAIN_S
    story.tick(later)
    story.connected(5)
    assert events(story.lost(5, later + 1, Trouble.STOMP_ERROR, device=SPLIT)) == [
        ("device_subscription_refused", "debug"),
        ("link_renewal_failed", "warning"),
    ]
    assert story.subscription.subscribed
    assert story.subscription.devices() == (HUT, GATE)
    assert story.due(later + 1) == later + 1 + REFUSED_AGAIN_S


def test_two_refused_devices_are_found_one_after_the_other():
    story = Story(HUT, SPLIT, GATE)
    story.tick(0)
    seconds, link = 0.0, 1
    refusing = {SPLIT, GATE}
    while not story.subscription.subscribed:
        order = story.tick(seconds) or [opened(1, devices=(HUT, SPLIT, GATE))]
        wanted = order[0]
        story.connected(link)
        first = next((device for device in wanted.devices if device in refusing), None)
        if first is None:
            story.stands(link, seconds, *wanted.devices)
        else:
            story.lost(link, seconds, Trouble.STOMP_ERROR, device=first if wanted.one_by_one else None)
            seconds = story.due(seconds)
        link += 1
        assert link < 20
    assert story.subscription.refused == refusing
    assert story.subscription.devices() == (HUT,)


# --- the end ----------------------------------------------------------------------------------------


def test_the_end_closes_every_connection_and_is_no_outage():
    story = renewing()
    assert story.subscription.stop() == [CloseLink(1), CloseLink(2)]
    assert story.lost(2, 101, Trouble.STOPPED) != []
    assert story.lost(1, 101, Trouble.STOPPED) == [SubscriptionLost("gone")]


def test_another_account_drops_everything_and_begins_anew():
    story = renewing()
    story.stands(2, 101)
    assert story.subscription.drop() == [CloseLink(2), CloseLink(1)]
    assert story.lost(1, 102) == []
    assert story.lost(2, 102) == []
    assert not story.subscription.owns(2)
    assert story.tick(102) == [opened(3, T2)]
