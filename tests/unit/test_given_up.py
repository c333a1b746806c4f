"""A message that is larger than the broker takes is left out, loudly, and is not counted as published."""

from contextlib import closing

from bridge_house import HUT, House, device, settings

from mt1bridge.model.broker import Acknowledged
from mt1bridge.mqtt.handover import TOO_LARGE, TOO_LARGE_TRIES


class Narrow(House):
    """Its broker does not take the impulse of start number 12."""

    def _publish(self, order):
        if order.message.topic.endswith("/trigger") and b'"start_number":12,' in order.message.payload:
            self.messages.append(order.message)
            self.pending.append(Acknowledged(order.connection, order.token, TOO_LARGE))
        else:
            super()._publish(order)


def test_what_is_too_large_is_not_published_and_in_effect_never_less_than_none(tmp_path):
    tally = f"mt1/device/{HUT}/C1/tally"

    def counted():
        return [running.says(tally)[key] for key in ("published", "in_effect", "missing", "complete")]

    with closing(Narrow(tmp_path, settings(tmp_path, device(HUT)))) as running:
        running.run(60)
        running.impulse()
        running.run(600)
        assert len(running.told("/C1/trigger")) == TOO_LARGE_TRIES
        assert "publish_given_up" in running.events()
        assert counted() == [0, 0, 0, True]
        running.server.rows[HUT, "1"] = []
        running.run(4000)
        assert [body["event_type"] for body in running.told("/C1/correction")] == ["deleted"]
        assert counted() == [0, 0, 0, True]
        running.impulse(number=13)
        running.run(600)
        assert counted() == [1, 1, 0, True]
