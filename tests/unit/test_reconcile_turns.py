"""Channels take turns at being asked about, whatever becomes of the calls for one of them."""

from collections import Counter

from mt1bridge.feed.channel import new_memory
from mt1bridge.feed.reconcile import Reconcile, Reconciliation
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Counted, CountWanted, Failure, PageRead, WantFailed
from mt1bridge.model.trigger import ChannelId

C0, C1, C2 = (ChannelId("231203016", name) for name in ("C0", "C1", "C2"))


def at(seconds):
    return Now(1000.0 + seconds, 1_771_061_415_000 + round(seconds * 1000))


def calls(reconciliation, bad, count, every_s=1.0):
    """What is asked for, call after call; those for the bad channel bring nothing."""
    asked = []
    for number in range(count):
        now = at(number * every_s)
        wanted = reconciliation.next_wanted(now)
        if wanted is None:
            continue
        asked.append(wanted)
        if wanted.at == bad:
            reconciliation.found(WantFailed(wanted, Failure.TRANSIENT, "HTTP 500"), now)
        elif isinstance(wanted, CountWanted):
            reconciliation.found(Counted(wanted.at, 0), now)
        else:
            reconciliation.found(PageRead(wanted, (), now.utc_ms), now)
    return asked


def test_a_channel_whose_calls_bring_nothing_does_not_keep_the_others_waiting():
    reconciliation = Reconciliation(Reconcile(300.0, 1800.0, 172_800.0), 20)
    reconciliation.add([new_memory(one, 0, configured=True) for one in (C0, C1, C2)], at(0))
    reconciliation.subscribed(at(0))
    asked = calls(reconciliation, bad=C0, count=20)
    assert {wanted.at for wanted in asked} == {C0, C1, C2}


def test_it_is_asked_about_again_all_the_same():
    reconciliation = Reconciliation(Reconcile(300.0, 1800.0, 172_800.0), 20)
    reconciliation.add([new_memory(one, 0, configured=True) for one in (C0, C1)], at(0))
    reconciliation.subscribed(at(0))
    asked = Counter(wanted.at for wanted in calls(reconciliation, bad=C0, count=30))
    assert asked[C0] >= 20
    assert asked[C1] >= 2


def test_where_nothing_is_answered_all_have_their_turn():
    reconciliation = Reconciliation(Reconcile(300.0, 1800.0, 172_800.0), 20)
    reconciliation.add([new_memory(one, 0, configured=True) for one in (C0, C1, C2)], at(0))
    reconciliation.subscribed(at(0))
    asked = []
    for number in range(9):
        wanted = reconciliation.next_wanted(at(number))
        asked.append(wanted.at)
        reconciliation.found(WantFailed(wanted, Failure.TRANSIENT, "no answer"), at(number))
    assert Counter(asked) == {C0: 3, C1: 3, C2: 3}
