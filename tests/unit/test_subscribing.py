"""Which SUBSCRIBE goes out when, and when they are taken to stand."""

import math

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.cloud.subscribing import Subscribing

LIMITS = LinkLimits(receipts=5.0, one_by_one=1.0)


def test_all_devices_are_subscribed_at_once_each_once() -> None:
    talk = Subscribing(("1", "2", "1"), False, LIMITS)
    due = talk.take_due(10.0)
    assert [one.destination for one in due] == ["/topic/device/1/trigger", "/topic/device/2/trigger"]
    assert [one.subscription for one in due] == ["sub-0", "sub-1"]
    assert len({one.receipt for one in due}) == 2
    assert talk.take_due(11.0) == []


def test_they_stand_when_every_receipt_came() -> None:
    talk = Subscribing(("1", "2"), False, LIMITS)
    first, second = talk.take_due(10.0)
    assert talk.receipted(second.receipt)
    assert not talk.take_standing(11.0)
    assert talk.receipted(first.receipt)
    assert talk.take_standing(11.0)
    assert not talk.take_standing(12.0), "told twice"
    assert talk.next_at() == math.inf


def test_they_stand_after_a_while_without_receipts() -> None:
    talk = Subscribing(("1",), False, LIMITS)
    talk.take_due(10.0)
    assert talk.next_at() == 15.0
    assert not talk.take_standing(14.9)
    assert talk.take_standing(15.0)


def test_no_devices_stand_at_once() -> None:
    talk = Subscribing((), False, LIMITS)
    assert talk.take_due(1.0) == []
    assert talk.take_standing(1.0)


def test_a_receipt_counts_once_and_only_if_asked_for() -> None:
    talk = Subscribing(("1", "2"), True, LIMITS)
    (only,) = talk.take_due(1.0)
    assert not talk.receipted("receipt-1"), "that one is not sent yet"
    assert talk.receipted(only.receipt)
    assert not talk.receipted(only.receipt)


def test_one_by_one_waits_for_the_receipt_or_a_second() -> None:
    talk = Subscribing(("1", "2", "3"), True, LIMITS)
    (first,) = talk.take_due(10.0)
    assert talk.take_due(10.5) == []
    assert talk.next_at() == 11.0
    assert talk.receipted(first.receipt)
    (second,) = talk.take_due(10.6)
    assert second.device == "2"
    assert talk.take_due(11.5) == []
    (third,) = talk.take_due(11.6)
    assert third.device == "3"
    assert not talk.take_standing(12.0)
    assert talk.next_at() == 16.6
    assert talk.take_standing(16.6)


def test_the_suspect_is_the_last_sent_or_the_one_that_the_server_names() -> None:
    talk = Subscribing(("1", "2"), True, LIMITS)
    assert talk.suspect() is None
    (first,) = talk.take_due(0.0)
    assert talk.suspect() == "1"
    talk.take_due(1.0)
    assert talk.suspect() == "2"
    assert talk.suspect(first.receipt) == "1"
    assert talk.suspect("nonsense") == "2"
    assert talk.take_standing(99.0)
    assert talk.suspect() is None, "an end hours later points at nobody"


def test_nobody_is_suspected_when_all_go_at_once() -> None:
    talk = Subscribing(("1", "2"), False, LIMITS)
    talk.take_due(0.0)
    assert talk.suspect() is None


def test_only_messages_of_what_was_subscribed_are_ours() -> None:
    talk = Subscribing(("1", "2"), True, LIMITS)
    assert not talk.is_ours("sub-0", "/topic/device/1/trigger")
    talk.take_due(0.0)
    assert talk.is_ours("sub-0", "/topic/device/1/trigger")
    assert talk.is_ours(None, "/topic/device/1/trigger")
    assert talk.is_ours("sub-0", None)
    assert not talk.is_ours(None, None)
    assert not talk.is_ours("sub-1", "/topic/device/2/trigger"), "not subscribed yet"
    assert not talk.is_ours("sub-0", "/topic/device/9/trigger")
    assert not talk.is_ours("sub-9", "/topic/device/1/trigger")
    assert talk.destination("sub-0") == "/topic/device/1/trigger"
