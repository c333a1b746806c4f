"""Sightings and history -> facts -> journal. Pure.

What is learned is appended in line; the loop commits before anything of it is handed over.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from mt1bridge.bridge.devices import Devices
from mt1bridge.bridge.parts import Parts
from mt1bridge.feed import outcomes as plan
from mt1bridge.feed.awaited import Awaited
from mt1bridge.feed.intake import questions
from mt1bridge.model.fact import Kind
from mt1bridge.model.known import Known, Learned
from mt1bridge.model.status import AlertOver, AlertRaised, Note
from mt1bridge.model.trigger import TICKS_PER_MS, Change, ChannelId, Malformed, Seen, Sighting, TriggerId

BATCH = 100  # identities compared with history at a time
MISSED_AFTER_MS = 30_000
HISTORY_LAGS_S = 60.0  # what happened before a start stands in history by then, whatever the lag
EVENT_GAP_S = 1.0
REJECTED_IN_A_ROW = 5


class Learning:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.devices = Devices(parts, self.feed)
        self._compares: deque[plan.CompareNext] = deque()
        self._awaited = Awaited()
        self._malformed_told_at = float("-inf")
        self._malformed_hidden = 0
        self._rejected_in_a_row: dict[ChannelId, int] = {}
        self.found_in_history = 0

    @property
    def busy(self) -> bool:
        """History waits to be compared."""
        return bool(self._compares)

    def go_on(self) -> None:
        """Compare the next batch."""
        if self._compares:
            self._compare(self._compares.popleft())

    def stop(self) -> None:
        self._compares.clear()

    # --- push ---------------------------------------------------------------------------------------

    def pushed(self, seen: tuple[Seen, ...]) -> None:
        parts = self._parts
        placed: list[tuple[ChannelId, Seen]] = []
        for one in seen:
            at = one.channel if isinstance(one, Malformed) else one.id.at
            if at is not None and not self.devices.is_ours(at.device):
                self._malformed(Malformed(None, one.raw or str(at), f"device {at.device} is not ours"))
            elif at is not None:
                placed.append((at, one))
                if parts.reconciliation.memory(at) is None:
                    self.devices.add(at.device)
            elif isinstance(one, Malformed):
                self._malformed(one)
        if not placed:
            return
        sightings = [one for _, one in placed]
        ids, odd = questions(sightings)
        self._awaited.pushed(ids)
        known = parts.journal.known(ids)
        self._watch_clocks(sightings, known)
        told = parts.journal.oddities(odd)
        learned, repeated = parts.intake.pushed(sightings, known, told, parts.now.utc_ms, self._is_live)
        parts.counters.repeated += repeated
        for at in dict.fromkeys(at for at, _ in placed):
            here = [one for where, one in placed if where == at]
            newest_ms = max((one.id.timestamp for one in here if isinstance(one, Sighting)), default=0) // TICKS_PER_MS
            self.feed(parts.reconciliation.pushed(at, sum(map(_is_end, here)), newest_ms))
        self._learn(learned)

    def _is_live(self, trigger: TriggerId) -> bool:
        return not self._parts.late(trigger.device, trigger.timestamp)

    def _malformed(self, one: Malformed) -> None:
        """Told on `bridge/event`, at most one a second; all are counted."""
        parts = self._parts
        parts.counters.malformed += 1
        if parts.now.monotonic - self._malformed_told_at < EVENT_GAP_S:
            self._malformed_hidden += 1
            return
        self._malformed_told_at = parts.now.monotonic
        facts: dict[str, object] = {"reason": one.reason, "raw": one.raw}
        if self._malformed_hidden:
            facts["not_told"] = self._malformed_hidden
            self._malformed_hidden = 0
        parts.tell(Note("malformed", "warning", facts, public=True))

    def _watch_clocks(self, seen: Iterable[Seen], known: dict[TriggerId, Known]) -> None:
        parts = self._parts
        for one in seen:
            if not isinstance(one, Sighting) or one.change is not Change.SET or one.id in known:
                continue
            parts.counters.delay.add(parts.now.monotonic, parts.now.utc_ms - one.id.timestamp // TICKS_PER_MS)
            device = one.id.device
            offset = parts.clocks.pushed(device, one.id.timestamp, parts.now)
            if offset is not None:
                parts.journal.set_device_offset(device, offset, parts.now.utc_ms)
                self.devices.clock_alert(device)

    # --- history ------------------------------------------------------------------------------------

    def feed(self, outcomes: Iterable[plan.Outcome]) -> None:
        parts = self._parts
        for outcome in outcomes:
            if isinstance(outcome, plan.Stage):
                parts.staging.stage(outcome.scan, outcome.rows)
            elif isinstance(outcome, plan.Odd):
                self._odd_rows(outcome)
            elif isinstance(outcome, plan.CompareNext):
                self._compares.append(outcome)
            elif isinstance(outcome, plan.Forget):
                parts.staging.forget(outcome.scan)
            elif isinstance(outcome, plan.Remember):
                parts.journal.remember(outcome.memory, parts.now.utc_ms)
                if outcome.durable:
                    parts.journal.sync()
                if outcome.memory.seen:
                    parts.desk.channel(outcome.memory.at)
                parts.desk.changed(outcome.memory.at, last=False)
                self._note_read()
            elif isinstance(outcome, plan.Checked):
                parts.desk.changed(outcome.at, last=False)
                self._note_read()
            elif isinstance(outcome, plan.DeviceRefused):
                self._refused(outcome)
            elif isinstance(outcome, plan.DeviceAccepted):
                parts.session.refused_devices(parts.reconciliation.refused_devices)
                parts.tell(Note("device_accepted", "info", {"device": outcome.device}, public=True))
                parts.tell(AlertOver(f"device_refused_{outcome.device}"))
            else:
                parts.tell(outcome)

    def _refused(self, outcome: plan.DeviceRefused) -> None:
        parts, device = self._parts, outcome.device
        parts.session.refused_devices(parts.reconciliation.refused_devices)
        facts: dict[str, object] = {"device": device, "text": outcome.text}
        parts.tell(Note("device_refused", "warning", facts, public=True))
        text = f"The MT1 server refuses device {device}: {outcome.text}. Add it to the account in ALGE-Results."
        parts.tell(AlertRaised(f"device_refused_{device}", text, facts))

    def _odd_rows(self, outcome: plan.Odd) -> None:
        parts = self._parts
        ids, odd = questions(outcome.rows)
        told = parts.journal.oddities(odd)
        learned = parts.intake.odd_rows(outcome.rows, parts.journal.known(ids), told, parts.now.utc_ms)
        self.feed(parts.reconciliation.grown(outcome.at, len(learned)))
        self._learn(learned)

    def _compare(self, order: plan.CompareNext) -> None:
        """One batch of staged identities, in the order of time, with what the journal knows and history lacks."""
        parts = self._parts
        scan = parts.reconciliation.scan_of(order.scan, order.at)
        if scan is None:
            return
        staged = parts.staging.next(order.scan, order.at, order.after, BATCH)
        done = len(staged) < BATCH
        last = staged[-1].timestamp if staged else order.after
        upto = max(last, order.absent_to) if done else last
        most = 10 * BATCH
        rows = {one.timestamp: one.rows for one in staged}
        known = parts.journal.known([TriggerId(order.at.device, order.at.channel, one.timestamp) for one in staged])
        above = max(order.after, order.absent_from - 1)
        expected = parts.journal.expected_between(order.at, above, min(upto, order.absent_to), most)
        if len(expected) == most and expected[-1].id.timestamp < upto:  # the rest with the next batch
            upto, done = expected[-1].id.timestamp, False
            rows = {timestamp: listed for timestamp, listed in rows.items() if timestamp <= upto}
        for absent in expected:
            if absent.id.timestamp not in rows:
                rows[absent.id.timestamp] = ()
                known[absent.id] = absent
        growth, loss, again = self._compare_each(order.at, rows, known, scan.asked_ms)
        self.feed(parts.reconciliation.compared(scan, upto, growth, loss, again, done, parts.now))

    def _compare_each(
        self, at: ChannelId, rows: dict[int, tuple[Sighting, ...]], known: dict[TriggerId, Known], asked_ms: int
    ) -> tuple[int, int, bool]:
        """(rows first listed, rows listed no more, look again soon)."""
        parts = self._parts
        memory = parts.reconciliation.memory(at)
        assert memory is not None  # a scan runs on it
        is_live = (
            _never if self._may_repeat() and not parts.reconciliation.was_read(at, self._lagged()) else self._is_live
        )
        learned: list[Learned] = []
        growth, loss, again = 0, 0, False
        for timestamp in sorted(rows):
            trigger = TriggerId(at.device, at.channel, timestamp)
            before, listed = known.get(trigger), rows[timestamp]
            was_listed = before.row_count if before else 0
            loss += max(0, was_listed - len(listed))
            if not listed and before is not None and not parts.reconciliation.may_be_deleted(at, before):
                if was_listed:  # if it comes back, the count rises too
                    learned.append(Learned(at, replace(before, row_count=0)))
                continue
            growth += max(0, len(listed) - was_listed)
            if before is None and not memory.baselined and timestamp // TICKS_PER_MS < memory.cut_ms:
                learned.append(parts.intake.baseline(trigger, listed, asked_ms))
                continue
            one, soon = parts.intake.listed(trigger, listed, before, asked_ms, parts.now.utc_ms, is_live)
            again = again or soon
            if one is not None:
                learned.append(one)
        self._learn(learned)
        self.found_in_history += sum(1 for one in learned if one.fact is not None)
        self._look_for_missed(at, learned, asked_ms)
        return growth, loss, again

    def _may_repeat(self) -> bool:
        """Whether it was told before, under another `journal`, what this journal may not know of."""
        journal = self._parts.journal
        return journal.may_repeat and (journal.was_lost or not self._parts.beginning.is_first)

    def _lagged(self) -> float:
        """Monotonic second from which a scan shows all that happened before we began."""
        return self._parts.start.began.monotonic + HISTORY_LAGS_S

    def _note_read(self) -> None:
        parts = self._parts
        if self._may_repeat() and parts.reconciliation.all_read(self._lagged()):
            parts.journal.history_read(parts.now.utc_ms)

    def _look_for_missed(self, at: ChannelId, learned: Iterable[Learned], asked_ms: int) -> None:
        """History alone shows impulses that a standing subscription should have brought: renew it."""
        parts = self._parts
        since_ms = parts.session.subscription.since_ms
        if since_ms is None:
            return
        missed = sum(1 for one in learned if self._push_missed(one, since_ms, asked_ms))
        missed += self._awaited.missed(since_ms, parts.now.monotonic)
        if missed and parts.session.subscription.push_missed(parts.now):
            parts.tell(Note("push_missed", "warning", {"channel": str(at), "triggers": missed}, public=True))

    def _push_missed(self, learned: Learned, since_ms: int, asked_ms: int) -> bool:
        """What is fresh may be on its way: it is awaited for a while."""
        parts, fact = self._parts, learned.fact
        if fact is None or fact.kind is not Kind.TRIGGER or fact.timestamp is None:
            return False
        if fact.at.device not in parts.session.subscription.devices():
            return False
        at_ms = fact.timestamp // TICKS_PER_MS
        if at_ms <= since_ms + MISSED_AFTER_MS:
            return False
        if at_ms >= asked_ms - MISSED_AFTER_MS:
            trigger = TriggerId(fact.at.device, fact.at.channel, fact.timestamp)
            self._awaited.shown(trigger, since_ms, parts.now.monotonic)
            return False
        return True

    # --- journal ------------------------------------------------------------------------------------

    def _learn(self, learned: list[Learned]) -> None:
        parts = self._parts
        parts.journal.write(learned, parts.now.utc_ms)
        for one in learned:
            if one.fact is None:
                continue
            self.feed(parts.reconciliation.noticed(one.at))
            parts.handover.owes(one.at, 1)
            parts.desk.changed(one.at, last=one.fact.kind is not Kind.REJECTED)
            self._count(one)

    def _count(self, learned: Learned) -> None:
        fact, counters = learned.fact, self._parts.counters
        assert fact is not None  # the caller has looked
        if fact.kind is Kind.CORRECTION:
            counters.corrected += 1
        elif fact.kind is Kind.REJECTED:
            counters.rejected += 1
            self._note_rejected(fact.at, ", ".join(fact.reasons))
        else:
            counters.published += 1
            counters.late += fact.late_at_birth
            if self._rejected_in_a_row.pop(fact.at, 0) >= REJECTED_IN_A_ROW:
                self._parts.tell(AlertOver(f"only_rejected_{fact.at.device}_{fact.at.channel}"))

    def _note_rejected(self, at: ChannelId, reasons: str) -> None:
        facts: dict[str, object] = {"device": at.device, "channel": at.channel, "reasons": reasons}
        self._parts.tell(Note("trigger_rejected", "info", facts))
        self._rejected_in_a_row[at] = count = self._rejected_in_a_row.get(at, 0) + 1
        if count == REJECTED_IN_A_ROW:
            text = (
                f"The last {count} triggers of channel {at.channel} of device {at.device} were all rejected "
                f"({reasons}): is mt1.edges right?"
            )
            self._parts.tell(AlertRaised(f"only_rejected_{at.device}_{at.channel}", text, facts))


def _never(_trigger: TriggerId) -> bool:
    """What stands in history when another `journal` begins may have been told before."""
    return False


def _is_end(seen: Seen) -> bool:
    return isinstance(seen, Sighting) and seen.change in (Change.CLEAR, Change.DELETE)
