"""Push that stands and brings nothing is renewed, however often history is asked; push that is slow is not."""

import json
from dataclasses import replace

import pytest
from bridge_house import HUT, House, device, house, settings

from mt1bridge.feed.awaited import MOST, SOON_S, Awaited
from mt1bridge.model.trigger import TriggerId
from mt1bridge.model.upstream import LinkMessage


def trigger(number: int) -> TriggerId:
    return TriggerId(HUT, "C1", number)


def test_what_push_does_not_bring_in_time_is_missed_once():
    awaited = Awaited()
    for number in (1, 2, 3):
        awaited.shown(trigger(number), 5, 100.0)
    awaited.pushed([trigger(2), trigger(9)])
    assert awaited.missed(5, 100.0 + SOON_S - 0.1) == 0
    awaited.shown(trigger(1), 5, 120.0)
    assert awaited.missed(5, 100.0 + SOON_S) == 2
    assert awaited.missed(5, 1000.0) == 0


def test_another_subscription_is_not_blamed():
    awaited = Awaited()
    awaited.shown(trigger(1), 5, 100.0)
    assert awaited.missed(6, 1000.0) == 0
    assert awaited.missed(5, 1000.0) == 0


def test_it_does_not_grow_without_end():
    awaited = Awaited()
    for number in range(MOST + 10):
        awaited.shown(trigger(number), 5, 100.0)
    assert awaited.missed(5, 1000.0) == MOST


def asking(directory, interval_s):
    plain = settings(directory, device(HUT))
    return house(directory, replace(plain, reconcile=replace(plain.reconcile, interval_s=interval_s)))


def unpushed(running: House, delay_s: float | None) -> None:
    """A trigger that history lists at once and push brings so much later, or never."""
    links = set(running.open_links)
    running.open_links.clear()
    running.impulse()
    running.open_links |= links
    running.run(delay_s or 0.0)
    if delay_s is not None:
        body = json.dumps({"type": "ENTITY_ADD", "dto": running.server.rows[HUT, "1"][0]}).encode()
        running.pending.append(LinkMessage(max(links), f"/topic/device/{HUT}/trigger", body))


@pytest.mark.parametrize("interval_s", [5, 60])
def test_a_mute_subscription_is_renewed(tmp_path, interval_s):
    with asking(tmp_path, interval_s) as running:
        for _ in range(30):
            unpushed(running, None)
            running.run(5)
        running.run(70)
        assert running.events().count("push_missed") == 1
        assert len(running.links) == 2
        assert len(running.told("/C1/trigger")) == 30


def test_a_slow_subscription_is_not_renewed(tmp_path):
    with asking(tmp_path, 5) as running:
        for _ in range(30):
            unpushed(running, 12.0)
            running.run(1)
        assert "push_missed" not in running.events()
        assert len(running.links) == 1
        assert len(running.told("/C1/trigger")) == 30
