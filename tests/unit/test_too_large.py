"""A broker that closes the connection on what is too large for it: that one is left in the end, the rest flows."""

import json
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from bridge_house import HUT, SPLIT, device, house, settings

from mt1bridge.model.broker import Acknowledged, Publish
from mt1bridge.mqtt import reasons
from mt1bridge.mqtt.handover import InFlight
from mt1bridge.topics.desk import FIRST

LARGEST = 1800  # bytes of a payload: room for a trigger, for `recent` with three of them, not for an odd row


@pytest.fixture(params=[4, 5], ids=["MQTT 3.1.1", "MQTT 5"])
def running(request, tmp_path):
    first = settings(tmp_path, device(HUT), device(SPLIT), protocol=request.param)
    with house(tmp_path, replace(first, home_assistant=replace(first.home_assistant, enabled=False))) as one:
        one.run(30)
        one.largest = LARGEST
        yield one


def numbers(one, channel):
    return [body["start_number"] for body in one.told(f"/{channel}/trigger")]


def given_up(one):
    return [note.facts for note in one.notes if note.event == "publish_given_up"]


def test_a_fact_that_is_too_large_is_given_up_and_nothing_else_is(running):
    running.odd()
    running.run(0.2)
    running.impulse(channel="C0", number=2)
    running.impulse(channel="C1", number=3)
    running.run(5)
    assert numbers(running, "C1") == [3], "the rest flows"
    assert numbers(running, "C0") == [], "what is behind it on its channel waits"
    running.run(55)
    assert numbers(running, "C0") == [2]
    assert [facts["id"][:12] for facts in given_up(running)] == [f"{HUT}-C0"]
    assert "publish_doubted" in running.events()
    assert [body["event_type"] for body in running.told("/event") if body["event_type"] == "publish_given_up"]
    lost = len(running.gone)
    assert lost <= 6
    running.run(3600)
    assert len(running.gone) == lost
    assert running.bridge.parts.handover.backlog() == 0


def test_several_at_once_each_on_a_channel_of_its_own(running):
    for identity in (HUT, SPLIT):
        for channel in ("C0", "C1"):
            running.odd(identity, channel)
    running.run(0.2)
    running.impulse(channel="C2", number=7)
    for channel in ("C0", "C1"):
        running.impulse(channel=channel, number=8)
    running.run(15)
    assert numbers(running, "C2") == [7]
    running.run(300)
    assert len(given_up(running)) == 4
    assert numbers(running, "C0") == numbers(running, "C1") == [8]


def test_where_all_that_is_small_is_doubted_too_it_is_tried_all_the_same(running):
    doubted = {key: f"mt1/bridge/{key}" for key in (*FIRST, "health")} | {f"recent:{HUT}": f"mt1/device/{HUT}/recent"}
    running.run(5)  # the last acknowledgement is not of this moment
    for key, topic in doubted.items():
        running.bridge._delivery._suspicion.doubt(InFlight(slot=key, topic=topic))
        running.bridge.parts.desk.board.touch(key)
    running.run(120)
    assert not running.bridge._delivery._suspicion.held
    assert not running.gone


def test_an_impulse_that_is_too_large_is_not_counted_as_published(tmp_path):
    first = settings(tmp_path, device(HUT, None, C1="x" * 1500))
    with house(tmp_path, replace(first, home_assistant=replace(first.home_assistant, enabled=False))) as one:
        one.largest = LARGEST
        one.impulse(channel="C1")
        one.run(300)
        assert [facts["id"][:12] for facts in given_up(one) if "id" in facts] == [f"{HUT}-C1"]
        assert one.told("/C1/trigger") == []
        assert one.says(f"mt1/device/{HUT}/C1/tally")["published"] == 0
        assert one.bridge.parts.handover.backlog() == 0


def test_a_retained_topic_that_is_too_large_is_left_out_and_what_is_behind_it_is_told(running):
    for number in range(12):
        running.impulse(channel="C1", number=number)
        running.run(0.3)
    running.run(60)
    assert [facts["topic"] for facts in given_up(running)] == [f"mt1/device/{HUT}/recent"], "loudly and once"
    assert numbers(running, "C1")[-1] == 11
    lost = len(running.gone)
    for number in range(12, 20):
        running.impulse(channel="C1", number=number)
        running.run(10)
    assert numbers(running, "C1")[-1] == 19
    assert running.says(f"mt1/device/{HUT}/C1/last")["start_number"] == 19
    assert running.says(f"mt1/device/{HUT}/C1/tally")["published"] == 20
    assert len(running.gone) == lost, "it is not tried with every trigger"
    assert len(given_up(running)) == 1


def test_a_broker_that_is_given_room_gets_the_retained_topic_within_about_an_hour(running):
    for number in range(14):
        running.impulse(channel="C1", number=number)
        running.run(0.3)
    running.run(60)
    assert given_up(running)
    lost = len(running.gone)
    running.run(3600)
    running.impulse(channel="C1", number=77)
    running.run(60)
    assert lost < len(running.gone) <= lost + 2, "tried once more, alone"
    running.largest = None
    running.run(3600)
    running.impulse(channel="C1", number=78)
    running.run(60)
    assert running.says(f"mt1/device/{HUT}/recent")[0]["start_number"] == 78


def test_the_broker_says_that_it_was_too_large(running):
    """DISCONNECT with its reason: what was largest among those in flight is tried alone, and left the third time."""
    before = running._publish

    def publish(order: Publish) -> None:
        if order.connection not in running.gone and len(order.message.payload) > running.largest:
            running.handed.append(order)
            running.break_off(order.connection, reasons.PACKET_TOO_LARGE)
        else:
            before(order)

    running._publish = publish
    running.odd()
    running.impulse(channel="C1", number=3)
    running.run(0.2)
    running.impulse(channel="C0", number=2)
    running.run(60)
    assert len(given_up(running)) == 1
    assert numbers(running, "C0") == [2]
    assert 3 in numbers(running, "C1")
    assert len(running.gone) == 3


def test_a_way_that_breaks_every_two_seconds_makes_nothing_be_given_up(running):
    """A thin one at that: a large message is under way for most of the time between two breaks."""
    running.largest = None
    running.acknowledges = False
    slow: list[tuple[float, object]] = []
    before = running._publish

    def publish(order: Publish) -> None:
        if order.connection in running.gone:
            return
        before(order)
        ready_at = max([running.seconds, *(at for at, _ in slow)]) + len(order.message.payload) / 4_000
        slow.append((ready_at, Acknowledged(order.connection, order.token, 0)))

    running._publish = publish
    running.odd()
    breaks = running.seconds + 2.0
    end = running.seconds + 600
    while running.seconds < end:
        running.run(0.05)
        for one in [one for one in slow if one[0] <= running.seconds]:
            slow.remove(one)
            if one[1].connection not in running.gone:
                running.pending.append(one[1])
        if running.seconds >= breaks:
            breaks += 2.0
            running.break_off(running.brokers[-1].connection)
            slow.clear()
    assert given_up(running) == []
    running._publish, running.acknowledges = before, True
    running.break_off(running.brokers[-1].connection)
    running.run(30)
    assert running.told("/rejected")
    assert running.bridge.parts.handover.backlog() == 0


def test_what_is_no_larger_than_what_was_taken_is_never_given_up(running):
    """Whatever it is that the broker has against it. It is tried more and more seldom, and the rest flows."""
    running.largest = None
    before = running._publish

    def publish(order: Publish) -> None:
        if order.connection not in running.gone and order.message.topic == f"mt1/device/{HUT}/C0/trigger":
            running.break_off(order.connection)
        before(order)

    running._publish = publish
    running.impulse(channel="C0", number=1)
    running.run(0.2)
    running.impulse(channel="C0", number=2)
    running.impulse(channel="C1", number=3)
    running.run(600)
    lost = len(running.gone)
    running.impulse(channel="C1", number=4)
    running.run(600)
    assert numbers(running, "C1") == [3, 4]
    assert len(running.gone) - lost <= 11
    assert given_up(running) == []
    running._publish = before
    running.run(90)
    assert numbers(running, "C0") == [1, 2]


def test_acknowledgements_that_are_lost_with_the_connection_do_not_hide_which_it_was(running):
    """The broker reads ahead: of all that came in one go before the large one it acknowledges nothing."""
    asked: list[Acknowledged] = []
    before = running._publish
    running.acknowledges = False

    def publish(order: Publish) -> None:
        before(order)
        if order.connection in running.gone:
            asked.clear()
        else:
            asked.append(Acknowledged(order.connection, order.token, 0))

    running._publish = publish
    running.odd()
    for channel in ("C1", "C2", "C3"):
        running.impulse(channel=channel, number=5)
    end = running.seconds + 400
    while running.seconds < end:
        running.run(0.02)
        running.pending.extend(asked)
        asked.clear()
    assert len(given_up(running)) == 1
    for channel in ("C1", "C2", "C3"):
        assert set(numbers(running, channel)) == {5}
    assert running.bridge.parts.handover.backlog() == 0


def test_the_doubted_one_goes_alone_right_after_something_was_acknowledged(running):
    running.odd()
    running.run(60)
    large = [order for order in running.handed if len(order.message.payload) > running.largest]
    assert len(large) == 6
    for order in large[2:]:
        sent = [one.token for one in running.handed if one.connection == order.connection]
        assert sent[-1] == order.token, "alone, and last"
        assert len(sent) > 1


def test_a_broker_that_restarts_now_and_then_has_everything_in_order(running):
    running.largest = None
    for number in range(60):
        running.impulse(channel="C1", number=number)
        if number % 7 == 3:
            running.break_off(running.brokers[-1].connection)
        running.run(3)
    running.run(60)
    told = list(dict.fromkeys(numbers(running, "C1")))
    assert told == list(range(60))
    assert given_up(running) == []
    assert all(
        a <= b
        for a, b in pairwise(
            json.loads(one.payload)["sequence"] for one in running.messages if "/C1/trigger" in one.topic
        )
    )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_breaks_meanwhile_only_what_is_too_large_is_given_up(running, seed):
    """Acknowledgements take their time or are lost, the way breaks for minutes, and then it is well."""
    random = Random(seed)
    coming: list[tuple[float, Acknowledged]] = []
    before, way_s = running._publish, random.choice((0.001, 0.05, 0.4))
    running.acknowledges = False

    def publish(order: Publish) -> None:
        before(order)
        if order.connection not in running.gone and random.random() > 0.02:
            coming.append((running.seconds + way_s * random.random(), Acknowledged(order.connection, order.token, 0)))
        elif order.connection not in running.gone:
            running.break_off(order.connection)

    running._publish = publish
    breaks, well, number, odd = 0.0, running.seconds + 240, 0, 0
    while running.seconds < well + 900:
        running.run(0.1)
        due = [one for one in coming if one[0] <= running.seconds]
        coming[:] = [one for one in coming if one[0] > running.seconds]
        running.pending.extend(one for _, one in due if one.connection not in running.gone)
        if running.seconds > well:
            random.random = lambda: 0.5
            continue
        if random.random() < 0.1:
            number += 1
            running.impulse(channel=random.choice(("C0", "C1", "C2")), number=number)
        if random.random() < 0.004:
            odd += 1
            running.odd(channel=random.choice(("C0", "C1")))
        if running.seconds > breaks:
            running.break_off(running.brokers[-1].connection)
            breaks = running.seconds + random.uniform(0.3, 12)
    told = {number for channel in ("C0", "C1", "C2") for number in numbers(running, channel)}
    assert told == set(range(1, number + 1))
    assert running.bridge.parts.handover.backlog() == 0
    assert len([facts for facts in given_up(running) if "id" in facts]) == odd
