"""The simulator's count and history, and what devices, timekeepers and the platform do to them."""

import pytest
from simulator_probe import DEVICE, OTHER, rest_of

from mt1bridge.simulator import running_simulator

AT = 17710614151234500  # 2026-02-14T09:30:15.12345Z
MS = AT // 10_000
SECOND = 10_000_000
DAY = 86400 * SECOND


@pytest.fixture
def sim():
    with running_simulator() as running:
        yield running


@pytest.fixture
def rest(sim):
    with rest_of(sim) as client:
        yield client


def numbers(rows):
    return [row["startNumber"]["startNumber"] for row in rows]


def triggers(sim, device=DEVICE, channel=0):
    return sim.control.stored(device, channel)[0]["triggers"]


def test_impulse_is_stored_with_all_its_fields(sim, rest):
    made = sim.control.impulse(DEVICE, 0, 5, at=AT)
    assert made == {"device": DEVICE, "channel": 0, "timestamp": AT, "number": 5}
    assert rest.history() == [
        {
            "deviceId": DEVICE,
            "timestamp": AT,
            "timeOffset": 60,
            "timingChannel": "C0",
            "fallingEdge": True,
            "valid": True,
            "blocked": False,
            "type": "StartNumberTrigger",
            "startNumber": {"startNumber": 5, "type": "SEQUENTIAL"},
        }
    ]
    assert rest.count() == 1
    assert rest.count(channel=1) == rest.count(OTHER) == 0


def test_times_of_now_are_odd_to_no_float_and_never_the_same(sim):
    times = [sim.control.impulse(DEVICE)["timestamp"] for _ in range(200)]
    assert len(set(times)) == 200
    assert all(isinstance(time, int) and time % 100 == 0 and time > 2**53 for time in times)
    assert [one["number"] for one in triggers(sim)] == list(range(1, 201))


def test_device_clock_may_be_wrong(sim):
    before = sim.control.now()
    sim.control.set_device(DEVICE, clock_offset=DAY)
    assert sim.control.impulse(DEVICE)["timestamp"] >= before + DAY


def test_history_is_newest_first_and_paged(sim, rest):
    for number in range(1, 8):
        sim.control.impulse(DEVICE, "C0", number, at=AT + number)
    assert numbers(rest.history()) == [7, 6, 5, 4, 3, 2, 1]
    assert numbers(rest.history(limit=3, offset=0)) == [7, 6, 5]
    assert numbers(rest.history(limit=3, offset=6)) == [1]
    assert rest.history(limit=3, offset=7) == []
    assert rest.history_answer(limit=-1).status_code == 400


def test_offsets_shift_while_triggers_arrive(sim, rest):
    for number in range(1, 5):
        sim.control.impulse(DEVICE, 0, number, at=AT + number)
    assert numbers(rest.history(limit=2, offset=0)) == [4, 3]
    sim.control.impulse(DEVICE, 0, 5, at=AT + 5)
    assert numbers(rest.history(limit=2, offset=2)) == [3, 2]


def test_pages_have_a_default_and_a_longest_length(sim, rest):
    sim.control.late_upload(DEVICE, 0, 300, start=AT)
    assert len(rest.history()) == len(rest.history(limit=1000)) == 200
    sim.control.behave(default_limit=10, max_limit=50)
    assert (len(rest.history()), len(rest.history(limit=1000))) == (10, 50)
    sim.control.behave(max_limit=None)
    assert len(rest.history(limit=1000)) == 300


@pytest.mark.parametrize(("bounds", "expected"), [("inclusive", [3, 2, 1]), ("exclusive", [2])])
def test_bounds_are_milliseconds_of_the_trigger_time(sim, rest, bounds, expected):
    sim.control.behave(bounds=bounds)
    for number in range(5):
        sim.control.impulse(DEVICE, 0, number, at=AT + number * 10_000)
    query = {"timestampFrom_ms": MS + 1, "timestampTo_ms": MS + 3}
    assert numbers(rest.history(**query)) == expected
    assert rest.count(**query) == len(expected)


def test_old_rows_leave_by_retention(sim, rest):
    now = sim.control.now()
    for age in (0, 2, 4):
        sim.control.impulse(DEVICE, 0, age, at=now - age * DAY)
    assert rest.count() == 3
    sim.control.behave(retention_days=3)
    assert (rest.count(), numbers(rest.history())) == (2, [2, 0][::-1])


def test_history_may_be_ordered_by_arrival_or_not_at_all(sim, rest):
    for place, number in enumerate((3, 1, 2, 5, 4, 6)):
        sim.control.impulse(DEVICE, 0, number, at=AT + number, push=place == 0)
    sim.control.behave(history_order="arrival")
    assert numbers(rest.history()) == [6, 4, 5, 2, 1, 3]
    assert numbers(rest.history(limit=2, offset=1)) == [4, 5]
    sim.control.behave(history_order="shuffled")
    assert sorted(numbers(rest.history())) == [1, 2, 3, 4, 5, 6]
    assert len({tuple(numbers(rest.history())) for _ in range(20)}) > 1


@pytest.mark.parametrize(("listed", "counted"), [(True, True), (False, True), (True, False), (False, False)])
def test_clear_triggers_are_rows_of_their_own_or_not(sim, rest, listed, counted):
    sim.control.behave(clears_listed=listed, clears_counted=counted)
    sim.control.impulse(DEVICE, 0, 12, at=AT)
    sim.control.clear(DEVICE, 0, AT)
    kinds = [row["type"] for row in rest.history()]
    assert kinds == ["ClearTrigger"] * listed + ["StartNumberTrigger"]
    assert rest.count() == 1 + counted
    assert [(one["timestamp"], one["in_effect"]) for one in triggers(sim)] == [(AT, False)]


def test_clear_trigger_may_have_its_own_time_and_no_number(sim, rest):
    sim.control.behave(clear_timestamp="own", clear_number=False)
    sim.control.impulse(DEVICE, 0, 12, at=AT)
    sim.control.clear(DEVICE, 0, AT)
    clear = rest.history()[0]
    assert clear["type"] == "ClearTrigger"
    assert clear["timestamp"] > AT
    assert "startNumber" not in clear
    assert [(one["timestamp"], one["in_effect"]) for one in triggers(sim)] == [(AT, False)]


def test_clear_of_something_never_stored(sim, rest):
    sim.control.clear_unknown(DEVICE, 0, AT, 9)
    assert [row["type"] for row in rest.history()] == ["ClearTrigger"]
    assert triggers(sim)[0]["in_effect"] is False


def test_renumbering_there_and_back_ends_where_it_began(sim, rest):
    sim.control.impulse(DEVICE, 0, 12, "MANUAL", at=AT)
    sim.control.renumber(DEVICE, 0, AT, 10)
    sim.control.renumber(DEVICE, 0, AT, 12)
    assert numbers(rest.history()) == [12, 10, 10, 12, 12]
    assert rest.count() == 5
    (truth,) = triggers(sim)
    assert (truth["number"], truth["in_effect"], truth["steps"]) == (12, True, 5)


@pytest.mark.parametrize(
    ("order", "kinds", "number", "in_effect"),
    [
        ("clear_first", ["StartNumberTrigger", "ClearTrigger", "StartNumberTrigger"], 10, True),
        ("new_first", ["StartNumberTrigger", "StartNumberTrigger", "ClearTrigger"], 10, True),
        ("clear_only", ["StartNumberTrigger", "ClearTrigger"], 12, False),
        ("new_only", ["StartNumberTrigger", "StartNumberTrigger"], 10, True),
    ],
)
def test_two_triggers_of_a_renumbering_come_in_any_order_or_alone(sim, order, kinds, number, in_effect):
    sim.control.behave(renumber_order=order)
    sim.control.impulse(DEVICE, 0, 12, at=AT)
    sim.control.renumber(DEVICE, 0, AT, 10)
    (entry,) = sim.control.stored(DEVICE)
    assert [row["type"] for row in entry["rows"]] == kinds
    assert (entry["triggers"][0]["number"], entry["triggers"][0]["in_effect"]) == (number, in_effect)


def test_gap_between_the_two_triggers_of_a_renumbering(sim, rest):
    sim.control.behave(renumber_gap_s=0.2)
    sim.control.impulse(DEVICE, 0, 12, at=AT)
    sim.control.renumber(DEVICE, 0, AT, 10)
    assert triggers(sim)[0]["in_effect"] is False
    sim.wait_for(lambda control: control.stored()[0]["triggers"][0]["in_effect"], what="second trigger")
    assert numbers(rest.history()) == [10, 12, 12]


@pytest.mark.parametrize(("deletion", "left"), [("remove", [1]), ("keep", [2, 1])])
def test_deletion_removes_or_keeps_the_row(sim, rest, deletion, left):
    sim.control.behave(deletion=deletion)
    sim.control.impulse(DEVICE, 0, 1, at=AT)
    sim.control.impulse(DEVICE, 0, 2, at=AT + 100)
    sim.control.delete(DEVICE, 0, AT + 100)
    assert (numbers(rest.history()), rest.count()) == (left, len(left))
    entry = sim.control.stored()[0]
    assert [one["in_effect"] for one in entry["triggers"]] == [True, False]
    assert [(row["deleted"], row["listed"]) for row in entry["rows"]] == [(False, True), (True, deletion == "keep")]


def test_deleted_trigger_can_come_again(sim, rest):
    sim.control.impulse(DEVICE, 0, 7, at=AT)
    sim.control.delete(DEVICE, 0, AT)
    sim.control.impulse(DEVICE, 0, 7, at=AT)
    assert numbers(rest.history()) == [7]
    assert triggers(sim)[0]["in_effect"] is True


def test_edit_changes_the_row_in_place(sim, rest):
    sim.control.impulse(DEVICE, 0, 7, at=AT)
    sim.control.edit(DEVICE, 0, AT, number=8, valid=False, push=False)
    (row,) = rest.history()
    assert (row["startNumber"]["startNumber"], row["valid"]) == (8, False)
    assert triggers(sim)[0]["number"] == 8
    with pytest.raises(ValueError, match="can be edited"):
        sim.control.edit(DEVICE, 0, AT, type="Other")


def test_late_upload_takes_its_place_by_time(sim, rest):
    sim.control.impulse(DEVICE, 0, 50, at=AT)
    times = sim.control.late_upload(DEVICE, 0, 3, start=AT - 10 * SECOND, number=1)
    assert times == [AT - 10 * SECOND, AT - 9 * SECOND, AT - 8 * SECOND]
    assert numbers(rest.history()) == [50, 3, 2, 1]
    assert rest.count(timestampFrom_ms=MS) == 1


@pytest.mark.parametrize(
    ("order", "expected"),
    [("oldest_first", [1, 2, 3, 4]), ("newest_first", [4, 3, 2, 1]), ("history_only", [1, 2, 3, 4])],
)
def test_late_upload_arrives_in_the_order_told(sim, order, expected):
    sim.control.behave(late_upload=order)
    sim.control.late_upload(DEVICE, 0, 4, start=AT)
    rows = sim.control.stored()[0]["rows"]
    assert [row["number"] for row in rows] == expected
    assert {row["pushed"] for row in rows} == {order != "history_only"}


def test_late_upload_may_come_in_any_order(sim):
    sim.control.late_upload(DEVICE, 0, 100, start=AT, order="random")
    arrived = [row["number"] for row in sim.control.stored()[0]["rows"]]
    assert sorted(arrived) == list(range(1, 101)) != arrived


def test_offline_device_keeps_its_triggers_and_uploads_them_later(sim, rest):
    sim.control.set_device(DEVICE, online=False)
    made = [sim.control.impulse(DEVICE, 0)["timestamp"] for _ in range(3)]
    assert (rest.count(), sim.control.stored()) == (0, [])
    sim.control.set_device(DEVICE, online=True)
    assert [row["timestamp"] for row in rest.history()] == made[::-1]


def test_count_may_move_without_history_and_history_without_count(sim, rest):
    sim.control.impulse(DEVICE, 0, 1, at=AT)
    sim.control.add_count(DEVICE, 0, 2)
    assert (rest.count(), len(rest.history())) == (3, 1)
    sim.control.add_count(DEVICE, 0, -3)
    assert rest.count() == 0
    sim.control.add_count(DEVICE, 0, 1)
    sim.control.impulse(DEVICE, 0, 2, at=AT + 1, counted=False)
    assert (rest.count(), len(rest.history())) == (1, 2)
    sim.control.impulse(DEVICE, 0, 3, at=AT + 2, listed=False)
    assert (rest.count(), len(rest.history())) == (2, 2)


def test_flags_and_types_may_be_anything(sim, rest):
    sim.control.impulse(DEVICE, 0, 1, at=AT, valid=False, blocked=True, falling_edge=False, type="BatteryTrigger")
    row = rest.history()[0]
    assert (row["valid"], row["blocked"], row["fallingEdge"], row["type"]) == (False, True, False, "BatteryTrigger")
    sim.control.behave(valid=False, blocked=True, falling_edge=False, default_type="Other")
    sim.control.impulse(DEVICE, 0, 2, at=AT + 1)
    row = rest.history()[0]
    assert (row["valid"], row["blocked"], row["fallingEdge"], row["type"]) == (False, True, False, "Other")


def test_start_number_may_be_missing_or_text_and_fields_may_be_more(sim, rest):
    sim.control.impulse(DEVICE, 0, at=AT, with_number=False, extra={"note": "Zürich"})
    assert "startNumber" not in rest.history()[0]
    assert rest.history()[0]["note"] == "Zürich"
    sim.control.impulse(DEVICE, 0, 3, at=AT + 1)
    sim.control.behave(extra_fields={"id": 77, "sequence": 1}, number_as_text=True)
    row = rest.history()[0]
    assert (row["id"], row["sequence"]) == (77, 1)
    assert (row["timestamp"], row["startNumber"]["startNumber"]) == (str(AT + 1), "3")


def test_twins_have_the_same_time_and_channel(sim, rest):
    sim.control.behave(twins=True)
    sim.control.impulse(DEVICE, 0, 5, at=AT)
    assert [(row["timestamp"], row["startNumber"]["startNumber"]) for row in rest.history()] == [(AT, 6), (AT, 5)]


@pytest.mark.parametrize("offset", [-300, 180, None])
def test_time_offset_changes_for_later_triggers_only(sim, rest, offset):
    sim.control.impulse(DEVICE, 0, 1, at=AT)
    sim.control.set_device(DEVICE, time_offset=offset)
    sim.control.impulse(DEVICE, 0, 2, at=AT + 1)
    assert [row.get("timeOffset") for row in rest.history()] == [offset, 60]
    assert ("timeOffset" in rest.history()[0]) == (offset is not None)


def test_pages_of_a_hundred_thousand_rows_are_whole_and_without_overlap(sim, rest):
    sim.control.late_upload(DEVICE, 0, 100_000, start=AT, order="history_only")
    assert rest.count() == 100_000
    assert numbers(rest.history(limit=200, offset=99_900)) == list(range(100, 0, -1))
    assert numbers(rest.history(limit=2, offset=50_000)) == [50_000, 49_999]


@pytest.mark.parametrize("wrong", ["device", "trigger", "change", "order"])
def test_what_does_not_exist_is_refused(sim, wrong):
    if wrong == "device":
        with pytest.raises(KeyError, match="no such device: 1"):
            sim.control.impulse("1")
    elif wrong == "trigger":
        with pytest.raises(KeyError, match="no trigger with timestamp 5"):
            sim.control.clear(DEVICE, 0, 5)
    elif wrong == "order":
        sim.control.impulse(DEVICE, 0, 1, at=AT)
        with pytest.raises(ValueError, match="no such order: best"):
            sim.control.renumber(DEVICE, 0, AT, 2, order="best")
        with pytest.raises(ValueError, match="no such order: best"):
            sim.control.late_upload(DEVICE, 0, 1, order="best")
    else:
        with pytest.raises(ValueError, match="colour"):
            sim.control.set_device(DEVICE, colour="red")
