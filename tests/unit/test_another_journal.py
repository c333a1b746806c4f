"""What may have been told before another `journal` began is told again as `late`, whatever the device's clock says."""

import sqlite3

from bridge_house import HUT, device, house, settings

from mt1bridge.model.broker import BrokerLost, BrokerTrouble
from mt1bridge.model.orders import JournalTrouble


def loses_the_broker(running):
    running.pending.append(BrokerLost(running.brokers[-1].connection, BrokerTrouble.LOST, "reset"))


def test_what_was_learned_before_the_disk_failed_is_told_again_as_late(tmp_path):
    """The device's clock is 5 s ahead, which nobody knows yet: by its stamp the impulse is younger than the journal."""
    with house(tmp_path, settings(tmp_path, device(HUT))) as running:
        running.acknowledges = False
        running.impulse(age_s=-5)
        running.run(1)
        assert [body["event_type"] for body in running.told("/C1/trigger")] == ["trigger"]
        running.journal._disk_failed(sqlite3.OperationalError("disk I/O error"), running.now().utc_ms)
        loses_the_broker(running)
        running.run(5)
        assert [body["event_type"] for body in running.told("/C1/trigger")] == ["trigger", "late"]
        running.acknowledges = True
        running.impulse(age_s=0.3)
        loses_the_broker(running)
        running.run(5)
        assert running.told("/C1/trigger")[-1]["event_type"] == "trigger"


def test_what_an_unread_journal_says_was_retained_is_emptied_once_it_can_be_read(tmp_path):
    gone = "mt1/device/190801013/info"
    with house(tmp_path, settings(tmp_path, device(HUT))) as running:
        running.journal.retain(gone, True, running.now().utc_ms)
        running.retained[gone] = b"{}"
        running.run(10)
        assert gone in running.retained
        running.journal.was_unread = True
        running.turn.tell(running.bridge.step(JournalTrouble(None), running.now()))
        running.run(10)
        assert gone not in running.retained
