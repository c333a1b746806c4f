"""The link from its opening to its end, against a server that behaves."""

import json
import logging
import re
import threading
from dataclasses import replace

import pytest
from sockjs_server import PATIENCE, PING, PONG, QUICK, Bench, Peer, RawServer, eventually, header, message, raw

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.model.upstream import (
    LinkConnected,
    LinkEvent,
    LinkLost,
    LinkMessage,
    LinkOddity,
    LinkSubscribed,
    Trouble,
)


def serve_one(peer: Peer) -> None:
    peer.serve(1)
    peer.strings(message("7", '{"a":1}'))
    peer.hold()


def test_events_come_in_order_and_end_with_one_lost() -> None:
    with raw(serve_one) as bench:
        link = bench.open("7")
        assert bench.next() == LinkConnected(link, "1.2", "0,0", 60.0)
        assert bench.next() == LinkSubscribed(link, ("7",))
        assert bench.next() == LinkMessage(link, "/topic/device/7/trigger", b'{"a":1}')
        bench.close(link)
        bench.close(link)
        assert bench.next() == LinkLost(link, Trouble.STOPPED, "closed by us")
    assert bench.inbox.empty()


def test_connect_says_what_the_server_expects_and_nothing_else() -> None:
    said: list[str] = []
    with raw(lambda peer: said.append(peer.greet())) as bench:
        bench.lost("7", token="0123\r\nevil:1\nABCD\0\r")
    (connect,) = said
    head, end = connect.split("\n\n")
    assert end == "\0"
    assert sorted(head.split("\n")) == sorted(
        ["CONNECT", "accept-version:1.1,1.2", "authorization:0123evil:1ABCD", "heart-beat:10000,10000"]
    )


def test_subscribe_names_topic_id_and_receipt() -> None:
    said: list[str] = []

    def script(peer: Peer) -> None:
        peer.greet()
        said.extend(peer.read_stomp() for _ in range(2))
        for one in said:
            peer.receipt(one)
        peer.hold()

    with raw(script) as bench:
        bench.open("231203016", "231203037")
        bench.wait(LinkSubscribed)
    assert [header(one, "destination") for one in said] == [
        "/topic/device/231203016/trigger",
        "/topic/device/231203037/trigger",
    ]
    assert [header(one, "id") for one in said] == ["sub-0", "sub-1"]
    assert {header(one, "ack") for one in said} == {"auto"}
    assert len({header(one, "receipt") for one in said}) == 2


def test_every_connection_has_a_session_of_its_own_and_no_origin() -> None:
    with RawServer(lambda peer: peer.upgrade()) as server, Bench(server.url) as bench:
        for _ in range(5):
            bench.lost("7")
    paths = [peer.request.split(" ")[1] for peer in server.peers]
    assert len(set(paths)) == 5
    assert all(re.fullmatch(r"/devices/\d{3}/[0-9a-f]{12}/websocket", path) for path in paths)
    assert not any("origin" in peer.request.lower() for peer in server.peers)


def test_an_origin_is_sent_if_one_is_given() -> None:
    with (
        RawServer(lambda peer: peer.upgrade()) as server,
        Bench(server.url, origin="https://www.alge-results.com") as bench,
    ):
        bench.lost("7")
    assert "\r\nOrigin: https://www.alge-results.com\r\n" in server.peers[0].request


def test_a_server_without_receipts_is_taken_at_its_silence() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.hold()

    with raw(script) as bench:
        bench.open("7", "8")
        assert bench.wait(LinkSubscribed).devices == ("7", "8")


def test_without_devices_the_link_stands_at_once() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.hold()

    with raw(script, replace(QUICK, receipts=PATIENCE * 2)) as bench:
        bench.open()
        assert bench.wait(LinkSubscribed).devices == ()


def test_one_by_one_subscribes_after_the_receipt_of_the_former() -> None:
    seen: list[str] = []

    def script(peer: Peer) -> None:
        peer.greet()
        for _ in range(3):
            one = peer.read_stomp()
            peer.sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                peer.read_frame()  # no second one before the receipt
            peer.sock.settimeout(PATIENCE)
            seen.append(header(one, "destination"))
            peer.receipt(one)
        peer.hold()

    with raw(script, LinkLimits(one_by_one=PATIENCE * 2)) as bench:
        bench.open("1", "2", "3", one_by_one=True)
        bench.wait(LinkSubscribed)
    assert seen == [f"/topic/device/{number}/trigger" for number in (1, 2, 3)]


def test_one_by_one_goes_on_without_receipts() -> None:
    seen: list[str] = []

    def script(peer: Peer) -> None:
        peer.greet()
        seen.extend(header(peer.read_stomp(), "id") for _ in range(3))
        peer.hold()

    with raw(script, LinkLimits(one_by_one=0.05, receipts=0.1)) as bench:
        bench.open("1", "2", "3", one_by_one=True)
        bench.wait(LinkSubscribed)
    assert seen == ["sub-0", "sub-1", "sub-2"]


def test_an_error_while_subscribing_one_by_one_names_the_device() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.receipt(peer.read_stomp())
        peer.read_stomp()
        peer.strings("ERROR\nmessage:Access is denied\n\n\0")
        peer.hold()

    with raw(script) as bench:
        lost = bench.lost("1", "2", "3", one_by_one=True)
    assert (lost.trouble, lost.text, lost.device) == (Trouble.STOMP_ERROR, "Access is denied", "2")


def test_an_error_that_names_the_receipt_names_the_device_behind_it() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        refused = peer.read_stomp()
        peer.read_stomp()
        peer.strings(f"ERROR\nmessage:no\nreceipt-id:{header(refused, 'receipt')}\n\n\0")
        peer.hold()

    with raw(script, LinkLimits(one_by_one=0.05)) as bench:
        assert bench.lost("1", "2", "3", one_by_one=True).device == "1"


def test_an_error_when_all_were_subscribed_at_once_names_nobody() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.read_stomp()
        peer.strings("ERROR\nmessage:no\n\n\0")
        peer.hold()

    with raw(script) as bench:
        assert bench.lost("1", "2").device is None


def test_make_before_break_has_two_links_and_no_third() -> None:
    with raw(serve_one) as bench:
        first, second = bench.open("7"), bench.open("7")
        third = bench.open("7")
        refused = bench.end()
        assert (refused.link, refused.trouble) == (third, Trouble.NETWORK)
        while {event.link for event in bench.events if isinstance(event, LinkMessage)} != {first, second}:
            bench.next()
        bench.close(first)
        assert bench.end().link == first
        bench.open("7")
        bench.wait(LinkSubscribed)


def test_the_last_byte_is_known() -> None:
    now = threading.Event()

    def script(peer: Peer) -> None:
        peer.serve(1)
        now.wait(PATIENCE)
        peer.text("h")
        peer.hold()

    with raw(script) as bench:
        link = bench.open("7")
        assert bench.links.last_frame_at(99) is None
        bench.wait(LinkSubscribed)
        before = bench.links.last_frame_at(link)
        assert before is not None
        now.set()
        eventually(lambda: (bench.links.last_frame_at(link) or 0) > before)
        bench.close(link)
        bench.end()
        bench.links.join(PATIENCE)
        assert bench.links.last_frame_at(link) is None


def test_the_server_hears_a_goodbye_when_we_close() -> None:
    heard: list[object] = []

    def script(peer: Peer) -> None:
        peer.serve(1)
        heard.append(peer.read_stomp())
        heard.append(peer.read_frame())

    with raw(script) as bench:
        link = bench.open("7")
        bench.wait(LinkSubscribed)
        bench.close(link)
        bench.end()
        eventually(lambda: len(heard) == 2)
    assert heard == ["DISCONNECT\n\n\0", (8, b"\x03\xe8")]


def test_of_a_flood_of_pings_the_latest_is_answered() -> None:
    pongs: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.serve(1)
        for number in range(2000):
            peer.frame(PING, b"%d" % number)
        while b"1999" not in pongs:
            opcode, data = peer.read_frame()
            if opcode == PONG:
                pongs.append(data)
        peer.strings(message("7", "after"))
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"after"
    assert len(pongs) < 1000


def test_heart_beats_are_sent_as_agreed() -> None:
    beats: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.serve(1, connected="CONNECTED\nversion:1.2\nheart-beat:0,50\n\n\0")
        while len(beats) < 5:
            opcode, data = peer.read_frame()
            if opcode == 1:
                beats.append(data)
        peer.strings(message("7", "enough"))
        peer.hold()

    with raw(script, LinkLimits(heart_beat_ms=(50, 50))) as bench:
        bench.open("7")
        bench.wait(LinkMessage)
    assert beats == [b'["\\n"]'] * 5


def test_without_agreed_heart_beats_pings_go_out_and_their_answers_are_life() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        for _ in range(5):
            opcode = 0
            while opcode != PING:
                opcode, data = peer.read_frame()
            peer.frame(PONG, data)
        peer.strings(message("7", "alive"))
        peer.hold()

    with raw(script, LinkLimits(ping_every=0.2, silence_unpromised=0.9)) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"alive"


def test_a_server_that_never_pauses_still_gets_our_heart_beats_and_the_stop() -> None:
    stop = threading.Event()
    beat = threading.Event()

    def script(peer: Peer) -> None:
        peer.serve(1, connected="CONNECTED\nversion:1.2\nheart-beat:50,50\n\n\0")

        def listen() -> None:
            while True:
                if peer.read_frame()[1] == b'["\\n"]':
                    beat.set()

        def listener() -> None:
            try:
                listen()
            except (EOFError, OSError):
                return

        thread = threading.Thread(target=listener, daemon=True)
        thread.start()
        flood = message("7", "x" * 1000)
        try:
            while not stop.is_set():
                peer.strings(*[flood] * 20)
        finally:
            thread.join(PATIENCE)

    with raw(script, LinkLimits(heart_beat_ms=(50, 50))) as bench:
        link = bench.open("7")
        bench.wait(LinkMessage)
        assert beat.wait(PATIENCE)
        bench.close(link)
        assert bench.end().trouble is Trouble.STOPPED
        stop.set()


def test_tokens_never_reach_a_log_however_loud(caplog: pytest.LogCaptureFixture) -> None:
    with raw(serve_one) as bench:
        caplog.set_level(logging.DEBUG)
        bench.open("7", token="TOPSECRET")
        bench.wait(LinkMessage)
    assert "TOPSECRET" not in caplog.text
    assert not [record for record in caplog.records if record.name in ("stomp.py", "websocket")]


def test_a_server_that_repeats_the_token_gives_nothing_away() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.strings("what is TOPSECRET?\0", "ERROR\nmessage:no such token TOPSECRET\n\n\0")
        peer.hold()

    with raw(script) as bench:
        assert bench.lost("7", token="TOP\r\nSECRET").text == "no such token (token)"
        (odd,) = [event for event in bench.events if isinstance(event, LinkOddity)]
        assert odd.raw == "what is (token)?"


def test_a_fault_of_ours_in_a_callback_ends_the_link_by_name() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.hold()

    with RawServer(script) as server, Bench(server.url) as bench:
        sound = bench.inbox.put

        def faulty(event: LinkEvent) -> None:
            if isinstance(event, LinkConnected):
                raise ZeroDivisionError("token=TOPSECRET")
            sound(event)

        broken = Bench(server.url)
        broken.links = type(bench.links)(server.url, None, faulty, limits=QUICK)
        broken.open("7")
        lost = bench.end()
        assert lost.trouble is Trouble.NETWORK
        assert "ZeroDivisionError" in lost.text
        assert "TOPSECRET" not in lost.text
        broken.links.join(PATIENCE)
        assert not broken.links.dead(), "it told its end"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_without_telling_is_found() -> None:
    def deaf(event: LinkEvent) -> None:
        raise ValueError(type(event).__name__)

    with RawServer(lambda peer: peer.upgrade()) as server:
        bench = Bench(server.url)
        bench.links = type(bench.links)(server.url, None, deaf, limits=QUICK)
        bench.open("7")
        bench.links.join(PATIENCE)
        assert bench.links.dead()


@pytest.mark.parametrize("phase", ["tcp", "upgrade", "opened", "connecting", "subscribing", "live", "trickling"])
def test_a_close_ends_every_phase_at_once(phase: str) -> None:
    reached = threading.Event()
    steps = {
        "tcp": lambda _peer: None,
        "upgrade": lambda peer: peer.read_head(),
        "opened": lambda peer: peer.upgrade(),
        "connecting": lambda peer: (peer.upgrade(), peer.text("o"), peer.read_stomp()),
        "subscribing": lambda peer: (peer.greet(), peer.read_stomp()),
        "live": lambda peer: peer.serve(1),
        "trickling": lambda peer: (peer.serve(1), peer.write(b"\x81\x7e\xff\xff" + b"a" * 100)),
    }

    def script(peer: Peer) -> None:
        steps[phase](peer)
        reached.set()
        peer.hold()

    patient = LinkLimits(connect=600, opened=600, connected=600, receipts=600, silence_unpromised=600)
    with raw(script, patient) as bench:
        link = bench.open("7")
        assert reached.wait(PATIENCE)
        bench.close(link)
        assert bench.end() == LinkLost(link, Trouble.STOPPED, "closed by us")


def test_oddities_and_messages_of_one_array_are_all_told() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.text('a[null,"nonsense",' + json.dumps(message("7", "good")) + "]")
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"good"
    assert len([event for event in bench.events if isinstance(event, LinkOddity)]) == 2
