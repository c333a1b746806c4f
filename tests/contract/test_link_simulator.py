"""The link against the project's own MT1 server, whose faults the whole bridge is tried with."""

import json

import pytest
from sockjs_server import Bench, eventually

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.model.upstream import LinkConnected, LinkMessage, LinkSubscribed, Trouble
from mt1bridge.simulator import running_simulator

DEVICE = "231203016"
HASTY = LinkLimits(connect=0.5, opened=0.5, connected=0.5, silence_floor=0.5, silence_unpromised=0.5, receipts=0.2)


def test_impulses_arrive() -> None:
    with running_simulator() as simulator, Bench(simulator.realtime_url) as bench:
        link = bench.open(DEVICE)
        bench.wait(LinkSubscribed)
        for number in range(20):
            simulator.control.impulse(DEVICE, 0, number)
        for number in range(20):
            message = bench.wait(LinkMessage)
            assert (message.link, message.destination) == (link, f"/topic/device/{DEVICE}/trigger")
            assert json.loads(message.body)["dto"]["startNumber"]["startNumber"] == number


@pytest.mark.parametrize(
    ("kind", "options", "trouble"),
    [
        ("hang", {}, Trouble.TIMEOUT),
        ("status", {"status": 502}, Trouble.UPGRADE),
        ("status", {"status": 403}, Trouble.UPGRADE),
        ("reset", {}, Trouble.CLOSED),
        ("wrong_accept", {}, Trouble.PROTOCOL),
        ("no_open", {}, Trouble.TIMEOUT),
        ("close", {"code": 3000}, Trouble.CLOSED),
        ("no_connected", {}, Trouble.TIMEOUT),
        ("error", {"reason": "no"}, Trouble.STOMP_ERROR),
        ("close_after_subscribe", {}, Trouble.CLOSED),
        ("text", {"body": "x"}, Trouble.PROTOCOL),
        ("swallow", {}, Trouble.SILENT),
    ],
)
def test_each_fault_on_the_way_is_told_for_what_it_is(kind: str, options: dict[str, object], trouble: Trouble) -> None:
    with running_simulator() as simulator, Bench(simulator.realtime_url, limits=HASTY) as bench:
        simulator.control.behave(heart_beat=(0, 0))
        simulator.control.connect_fault(kind, **options)
        lost = bench.lost(DEVICE)
        assert lost.trouble is trouble, lost
        assert lost.http_status == (options["status"] if kind == "status" else None)
        assert lost.close_code == (3000 if kind == "close" else lost.close_code)
        bench.open(DEVICE)
        bench.wait(LinkSubscribed)


def test_heart_beats_keep_a_quiet_link_that_a_strict_server_would_drop() -> None:
    limits = LinkLimits(heart_beat_ms=(100, 100), silence_floor=0.6)
    behaviour = {"heart_beat": (100, 100), "drop_silent_clients": True}
    with running_simulator() as simulator, Bench(simulator.realtime_url, limits=limits) as bench:
        simulator.control.behave(**behaviour)
        link = bench.open(DEVICE)
        assert bench.wait(LinkConnected).heart_beat == "100,100"
        bench.wait(LinkSubscribed)
        since = bench.links.last_frame_at(link) or 0.0
        eventually(lambda: (bench.links.last_frame_at(link) or 0.0) > since + 1.2)
        assert bench.inbox.empty()


def test_resets_are_each_told_once() -> None:
    with running_simulator() as simulator, Bench(simulator.realtime_url) as bench:
        for _ in range(10):
            bench.open(DEVICE)
            bench.wait(LinkSubscribed)
            simulator.control.sockets("reset")
            assert bench.end().trouble is Trouble.CLOSED
            assert bench.inbox.empty()
