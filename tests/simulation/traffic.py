"""What devices and their users do: impulses, corrections, late uploads (MT1-API, section 10 and U14 to U20)."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation.links import Links
from tests.simulation.plan import Entry, Manners
from tests.simulation.server import Server
from tests.simulation.timeline import Timeline
from tests.simulation.truth import START, Identity, PushMark, Row, Truth

UPLOAD_AFTER_S = 0.05
MINUTE_TICKS = 600_000_000

Push = tuple[dict[str, Any], PushMark]


class Traffic:
    """One method for each kind of entry."""

    def __init__(self, timeline: Timeline, manners: Manners, truth: Truth, server: Server, links: Links) -> None:
        self._timeline = timeline
        self._manners = manners
        self._truth = truth
        self._server = server
        self._links = links
        self.was_read: Callable[[str, int], bool] = lambda _device, _channel: True

    def before(self) -> None:
        """What the server has before the first start."""
        for number in range(self._manners.before):
            timestamp = self._timeline.ticks - (number + 1) * MINUTE_TICKS
            one = self._truth.identity(self._server.devices[0], 0, timestamp, old=True)
            self._truth.start(one, Row(timestamp, START, number + 1))
            one.steps[-1].pushes.clear()
            self._server.show(one.device, 0, one.id, one.rows, 0.0, 0.0)

    # --- impulses -----------------------------------------------------------------------------------

    def impulse(self, entry: Entry) -> None:
        args, random = entry.args, entry.random()
        timestamp = self._device_ticks()
        row = Row(
            timestamp,
            START,
            args["number"],
            args.get("valid", True),
            args.get("blocked", False),
            args.get("fallingEdge", True),
            number_type=random.choice(("MANUAL", "SEQUENTIAL")),
        )
        one = self._truth.identity(self._device(entry), args["channel"], timestamp)
        self._later(one, lambda: self._truth.start(one, row), args["fate"], random, UPLOAD_AFTER_S)

    def late_upload(self, entry: Entry) -> None:
        """A device comes back to the network with what it has stored."""
        args, random = entry.args, entry.random()
        moments = sorted(random.uniform(0.5, args["seconds"]) for _ in range(args["impulses"]))  # seconds ago
        if args["order"] == "oldest":
            moments.reverse()
        elif args["order"] == "random":
            random.shuffle(moments)
        fate = "lost" if args["order"] == "history" else "ok"
        for number, ago in enumerate(moments):
            timestamp = self._device_ticks(ago)
            one = self._truth.identity(self._device(entry), random.choice((0, 1)), timestamp)
            row = Row(timestamp, START, number + 1)
            self._later(one, lambda one=one, row=row: self._truth.start(one, row), fate, random, number * 0.01)

    def odd(self, entry: Entry) -> None:
        """What is no trigger that we know, pushed only."""
        device, what = self._device(entry), entry.args["what"]
        if what == "type":
            one = self._truth.identity(device, 1, self._device_ticks(), old=True)
            body, _ = self._truth.start(one, Row(one.timestamp, START, 1))
            body["dto"]["type"] = "NewTrigger"
            self._links.push(device, one.id, body, None)
        elif what == "field":
            dto = {"deviceId": device, "timingChannel": "C1", "timestamp": "soon"}
            self._links.push(device, "odd", {"type": "ENTITY_ADD", "dto": dto}, None)
        else:
            self._links.push(device, "odd", b"\xff not json", None)

    # --- corrections --------------------------------------------------------------------------------

    def clear(self, entry: Entry) -> None:
        one = self._picked(entry)
        if one is None or not one.state.in_effect or not self._clearable(one):
            return
        number = one.state.row.number
        fate = self._clear_fate(entry.args["fate"], number)
        self._tell(one, self._truth.clear(one, number), fate, entry.random())

    def delete(self, entry: Entry) -> None:
        one = self._picked(entry)
        if one is not None and one.state.in_effect and (len(one.live) == 1 or self._manners.deletes == "remove"):
            self._tell(one, self._truth.delete(one), entry.args["fate"], entry.random())

    def again(self, entry: Entry) -> None:
        """What was cleared or deleted comes back."""
        one = self._picked(entry)
        if one is not None and not one.state.in_effect:
            self._tell(one, self._truth.start(one, one.state.row), entry.args["fate"], entry.random())

    def twin(self, entry: Entry) -> None:
        """Another start with the same timestamp and channel (U20)."""
        one = self._picked(entry)
        if one is None or not one.state.in_effect:
            return
        here = one.live if self._manners.clears == "listed" else [row for step in one.steps for row in step.rows]
        numbers = {row.number for row in here}
        number = entry.args["number"]
        if None not in {*numbers, number} and number not in numbers | self._earlier(one):
            row = replace(one.state.row, number=number)
            self._tell(one, self._truth.start(one, row), entry.args["fate"], entry.random())

    def edit(self, entry: Entry) -> None:
        """On the platform: the row is changed in place (U2)."""
        one, args = self._picked(entry), entry.args
        if one is None or not one.state.in_effect:
            return
        if args["what"] == "number" and args["number"] in [row.number for row in one.rows]:
            return  # of two rows with one number, where clears are not listed, nobody could tell which one is cleared

        def change(row: Row) -> Row:
            if args["what"] == "number":
                return replace(row, number=args["number"])
            return replace(row, **{args["what"]: not getattr(row, args["what"])})

        self._tell(one, self._truth.edit(one, change), args["fate"], entry.random())

    def renumber(self, entry: Entry) -> None:
        """Two messages: the clear of the old number and the start with the new one (U17)."""
        one, args, random = self._picked(entry), entry.args, entry.random()
        if one is None or not one.state.in_effect or not self._clearable(one):
            return
        if args["number"] in [row.number for row in one.live] or self._edited_away(one, args["number"]):
            return
        old = one.state.row
        new = replace(old, number=args["number"])
        nameless = old.number is None and self._manners.clears != "listed"
        if args["order"] == "clear_first" or nameless:
            self._tell(one, self._truth.clear(one, old.number), self._clear_fate(args["fate"], old.number), random)

            def start_new() -> None:
                if all(row.number != old.number for row in one.live):  # else it came back meanwhile: that were a twin
                    self._tell(one, self._truth.start(one, new), args["fate2"], random)

            self._timeline.after(args["gap"], start_new)
            return
        self._tell(one, self._truth.start(one, new), args["fate"], random)
        fate = self._clear_fate(args["fate2"], old.number)

        def clear_old() -> None:
            if any(row.number == old.number for row in one.live):  # and not deleted meanwhile
                self._tell(one, self._truth.clear(one, old.number), fate, random)

        self._timeline.after(args["gap"], clear_old)

    def _edited_away(self, one: Identity, number: int | None) -> bool:
        """A number that an edit took out of the rows, and that nobody could tell apart where clears are not listed."""
        return self._manners.clears == "hidden" and number in self._earlier(one)

    def _earlier(self, one: Identity) -> set[int | None]:
        """Numbers that no row of it bears any more."""
        return {row.number for step in one.steps for row in step.rows} - {row.number for row in one.rows}

    def _clearable(self, one: Identity) -> bool:
        """Not where nobody could tell what is meant: one of several, or without a number and never listed."""
        if len(one.live) > 1 and not (self._manners.clears == "listed" and self._manners.clear_number):
            return False
        return one.state.row.number is not None or self._manners.clears != "hidden"

    def _clear_fate(self, fate: str, number: int | None) -> str:
        """Two clears that name no number are two clears, unless history tells."""
        nameless = number is None or not self._manners.clear_number
        return "ok" if fate == "twice" and nameless and self._manners.clears != "listed" else fate

    # --- the way to the bridge ----------------------------------------------------------------------

    def _device(self, entry: Entry) -> str:
        return self._server.devices[entry.args["device"] % len(self._server.devices)]

    def _device_ticks(self, ago_s: float = 0.0) -> int:
        return self._timeline.ticks + int((self._manners.device_ahead_s - ago_s) * 1e7)

    def _picked(self, entry: Entry) -> Identity | None:
        """Within the window: what is older is read once a day."""
        after = self._timeline.ticks - self._manners.window_s * 10_000_000 + 2 * MINUTE_TICKS
        one = self._truth.newest(self._device(entry), entry.args["pick"], after)
        if one is None or not one.steps:
            return None
        unseen = one.unlisted
        if self._manners.clears == "hidden" or one.deleted_at:
            unseen = [push for step in one.steps[1:] for push in step.pushes]
        if any(mark.taken is None for mark in unseen):
            return None  # what history does not show and push did not bring, nobody knows
        return one

    def _later(self, one: Identity, do: Callable[[], Push], fate: str, random: Random, seconds: float) -> None:
        self._timeline.after(seconds, lambda: self._tell(one, do(), fate, random))

    def _tell(self, one: Identity, push: Push, fate: str, random: Random) -> None:
        """The server shows it in history soon, and pushes it."""
        body, mark = push
        rows, lag_s, count_lag_s = one.rows, self._manners.lag_s, self._manners.count_lag_s
        if not one.shown_at:
            listed_at = self._timeline.now + lag_s + self._manners.listing_lag_s
            one.shown_at, one.shown_first = listed_at, not self.was_read(one.device, one.channel)
        later = (count_lag_s, self._manners.listing_lag_s)
        self._timeline.after(lag_s, lambda: self._server.show(one.device, one.channel, one.id, rows, *later))
        if fate == "lost":
            return
        delay = random.choice((1.0, 15.0)) if fate == "slow" else 0.0
        for _ in range(2 if fate == "twice" else 1):
            self._links.push(one.device, one.id, body, mark, delay)
