"""A stand-in for the bridge that says what CONTRACT sections 2, 3 and 5 say, word by word, when it is told to."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from mt1bridge.model.broker import Publication
from mt1bridge.topics.discovery import House, discovery

DEVICE = "231203016"


def exact(moment: datetime, ticks: int) -> str:
    """ISO 8601 with seven decimals; ticks: the 100 ns within the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ticks:07d}"


class Told:
    """One MQTT client with a will, as the bridge has it."""

    def __init__(self, port: int, house: House, before: "Told | None" = None) -> None:
        self.house = house
        self.journal = "k3v9"
        self.sequence = 0 if before is None else before.sequence
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=house.instance, protocol=paho.MQTTv5)
        will = Properties(9)  # type: ignore[no-untyped-call]  # will properties
        self.client.will_set(f"{house.base_topic}/bridge/state", "offline", qos=1, retain=True, properties=will)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.reconnected()

    def reconnected(self) -> None:
        end = time.monotonic() + 30
        while not self.client.is_connected():
            assert time.monotonic() < end, "no connection to the broker"
            time.sleep(0.05)

    def publish(self, topic: str, payload: bytes | str | dict[str, Any], *, retain: bool) -> None:
        data = json.dumps(payload, ensure_ascii=False) if isinstance(payload, dict) else payload
        self.client.publish(f"{self.house.base_topic}/{topic}", data, qos=1, retain=retain).wait_for_publish(10)

    def retain(self, publications: Iterable[Publication]) -> None:
        for one in publications:
            self.client.publish(one.topic, one.payload, qos=1, retain=True).wait_for_publish(10)

    def announce(self) -> None:
        self.retain(discovery(self.house))
        self.publish("bridge/state", "online", retain=True)
        self.upstream("live")
        started = "2026-02-14T08:00:00.000Z"
        self.publish("bridge/info", {"version": self.house.version, "started_at": started, "schema": 1}, retain=True)
        self.health()
        for device in self.house.devices:
            self.publish(f"device/{device.id}/availability", "online", retain=True)
            for channel, _ in device.channels:
                nothing = {"id": None, "time": None, "start_number": None}
                self.publish(f"device/{device.id}/{channel}/last", nothing, retain=True)
                self.tally(channel, 0, device.id)

    def announce_again(self) -> None:
        """What a bridge that knows its last triggers sends on every connect."""
        self.retain(discovery(self.house))
        self.publish("bridge/state", "online", retain=True)
        self.upstream("live")

    def upstream(self, state: str, reasons: list[str] | None = None) -> None:
        facts = {"state": state, "since": "2026-02-14T08:00:01.000Z", "reasons": reasons or [], "next_try_at": None}
        self.publish("bridge/upstream", facts, retain=True)

    def health(self, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "state": "live",
            "subscription": {"connected": True, "reconnects": 2},
            "mqtt": {"connected": True, "reconnects": 0, "backlog": 3},
            "bridge_ms": {"p50": 4.2, "p99": 8.53},
        }
        self.publish("bridge/health", facts | changes, retain=True)

    def tally(self, channel: str, published: int, device: str = DEVICE, missing: int | None = 0) -> None:
        facts = {"published": published, "in_effect": published, "server_count": published, "missing": missing}
        facts |= {"complete": True, "checked_at": "2026-02-14T08:00:02.000Z"}
        self.publish(f"device/{device}/{channel}/tally", facts, retain=True)

    def message(self, channel: str, start_number: int | None, **changes: Any) -> dict[str, Any]:
        """A trigger payload; each call is another impulse, 1.0000001 s after the one before."""
        self.sequence += 1
        moment = datetime(2026, 2, 14, 9, 30, 15, tzinfo=UTC) + timedelta(seconds=self.sequence)
        ticks = 1_234_500 + self.sequence
        seconds = int(moment.timestamp())
        timestamp = f"{seconds}{ticks:07d}"
        local = exact(moment + timedelta(hours=1), ticks)
        facts: dict[str, Any] = {
            "schema": 1,
            "event_type": "trigger",
            "id": f"{DEVICE}-{channel}-{timestamp}",
            "revision": 1,
            "sequence": self.sequence,
            "journal": self.journal,
            "device": DEVICE,
            "device_name": "Finish hut",
            "channel": channel,
            "channel_name": "Finish line",
            "start_number": start_number,
            "start_number_type": "MANUAL",
            "time": exact(moment, ticks) + "Z",
            "local_time": local + "+01:00",
            "time_of_day": local[11:],
            "timestamp": timestamp,
            "time_offset": 60,
            "valid": True,
            "blocked": False,
            "falling_edge": True,
            "in_effect": True,
            "source": "push",
            "received_at": f"{moment:%Y-%m-%dT%H:%M:%S}.418Z",
            "delay_ms": 295,
        }
        return facts | changes

    def trigger(self, channel: str, start_number: int | None, **changes: Any) -> dict[str, Any]:
        """An impulse as the bridge tells it: the event, then what is retained of it."""
        facts = self.message(channel, start_number, **changes)
        self.publish(f"device/{DEVICE}/{channel}/trigger", facts, retain=False)
        last = {key: value for key, value in facts.items() if key not in ("sequence", "delay_ms")}
        self.publish(f"device/{DEVICE}/{channel}/last", last, retain=True)
        self.tally(channel, self.sequence)
        return facts

    def correction(self, told: dict[str, Any], event_type: str) -> dict[str, Any]:
        self.sequence += 1
        previous = {key: told[key] for key in ("start_number", "start_number_type", "valid", "blocked", "falling_edge")}
        facts = told | {"event_type": event_type, "revision": told["revision"] + 1, "sequence": self.sequence}
        facts |= {"in_effect": False, "previous": previous | {"in_effect": True}}
        self.publish(f"device/{DEVICE}/{told['channel']}/correction", facts, retain=False)
        return facts

    def rejected(self, channel: str, reasons: list[str], **changes: Any) -> dict[str, Any]:
        facts = self.message(channel, None, event_type="rejected", reasons=reasons, **changes)
        self.publish(f"device/{DEVICE}/{channel}/rejected", facts, retain=False)
        return facts

    def stop(self) -> None:
        """A clean end: says offline itself."""
        self.publish("bridge/state", "offline", retain=True)
        self.client.disconnect()
        self.client.loop_stop()

    def die(self) -> None:
        """The connection breaks: the broker publishes the will."""
        self.client._sock_close()  # paho has no other way to vanish
        self.client.loop_stop()
