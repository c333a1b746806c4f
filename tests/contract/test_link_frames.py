"""What the server may send that it should not: some is passed over, some ends the link, nothing good is lost."""

import json
import threading
from dataclasses import replace

import pytest
from sockjs_server import BINARY, CLOSE, PATIENCE, PING, QUICK, TEXT, Peer, array_of, message, raw

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.model.upstream import LinkConnected, LinkMessage, LinkOddity, LinkSubscribed, Trouble

GOOD = message("7", "good")


# --- passed over -------------------------------------------------------------------------------------------

ODD_TEXTS = {
    "empty frame": "",
    "unknown letter": "x",
    "a without an array": "a",
    "a cut": 'a["MESS',
    "strangers in the array": "a[1]",
    "m that is no string": "m[1]",
    "a second o": "o",
    "no STOMP": array_of("hello\0"),
    "unknown command": array_of("GREETINGS\n\nx\0"),
    "receipt for nothing": array_of("RECEIPT\nreceipt-id:nothing\n\n\0"),
    "receipt without id": array_of("RECEIPT\n\n\0"),
    "a second CONNECTED": array_of("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0"),
    "foreign destination": array_of(message("7", "x", destination="/topic/device/8/trigger")),
    "unknown subscription": array_of(message("7", "x", subscription="sub-9")),
    "neither destination nor subscription": array_of("MESSAGE\nmessage-id:1\n\nx\0"),
    "headers cut": array_of("MESSAGE\ndestina"),
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_what_is_not_understood_is_told_and_the_next_message_comes(text: str) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.text(text)
        peer.strings(GOOD)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"good"
    odd = [event for event in bench.events if isinstance(event, LinkOddity)]
    assert len(odd) == 1
    assert odd[0].reason
    assert len([event for event in bench.events if isinstance(event, LinkConnected)]) == 1


def test_a_binary_message_is_told_and_the_next_comes() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.frame(BINARY, b"\xff\x00")
        peer.strings(GOOD)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkOddity).raw == "\\xff\x00"
        assert bench.wait(LinkMessage).body == b"good"


def test_a_message_before_connected_is_told_and_not_taken() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.text("o")
        peer.read_stomp()
        peer.strings(GOOD, "RECEIPT\nreceipt-id:receipt-0\n\n\0")
        peer.strings("CONNECTED\nversion:1.2\n\n\0")
        peer.receipt(peer.read_stomp())
        peer.strings(message("7", "later"))
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"later"
    odd = [event for event in bench.events if isinstance(event, LinkOddity)]
    assert [one.reason for one in odd] == ["MESSAGE before CONNECTED", "RECEIPT for nothing that waits for one"]
    assert "good" in odd[0].raw


@pytest.mark.parametrize(
    ("head", "oddities"),
    [
        ("version:1.2\n", 0),
        ("version:1.1\nheart-beat:10000,10000\n", 0),
        ("version:1.0\nheart-beat:0,0\n", 1),
        ("version:9.9\nheart-beat:0,0\n", 1),
        ("heart-beat:0,0\n", 1),
        ("version:1.2\nheart-beat:x,y\n", 1),
        ("version:1.2\nheart-beat:10000\n", 1),
        ("version:1.2\nheart-beat:1,2,3\n", 1),
        ("version:1.2\nheart-beat:1000000000,1000000000\n", 0),
        ("version:1.2\nheart-beat:0,0\nuser-name:a\\cb\\tc\nno colon\nversion:9\n", 0),
    ],
)
def test_any_connected_will_do(head: str, oddities: int) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1, connected=f"CONNECTED\n{head}\n\0")
        peer.strings(GOOD)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        connected = bench.wait(LinkConnected)
        assert 30.0 <= connected.silence_limit_s <= 180.0
        assert bench.wait(LinkMessage).body == b"good"
    assert len([event for event in bench.events if isinstance(event, LinkOddity)]) == oddities


# --- taken although odd ------------------------------------------------------------------------------------

TAKEN = {
    "m frame": ("m" + json.dumps(GOOD),),
    "two in one string": (array_of(GOOD + message("7", "next")),),
    "line ends all around": (
        array_of("\n\n" + GOOD + "\n\r\n\n"),
        array_of("\n\n"),
        array_of("\n" + message("7", "next")),
    ),
    "over two strings of one array": (array_of(GOOD[:30], GOOD[30:]),),
    "over two messages": (array_of(GOOD[:90]), array_of(GOOD[90:])),
    "carriage returns": (array_of(GOOD.replace("\n", "\r\n")),),
    "without its NUL": (array_of(GOOD[:-1]),),
    "without its NUL and length, then h": (array_of(message("7", "good", content_length="")[:-1]), "h"),
    "length too large": (array_of(message("7", "good", content_length="5")),),
    "length far too large": (array_of(message("7", "good", content_length="5000")),),
    "length too small": (array_of(message("7", "good", content_length="2")),),
    "length negative": (array_of(message("7", "good", content_length="-2")),),
    "length no number": (array_of(message("7", "good", content_length="x")),),
    "no length": (array_of(message("7", "good", content_length="")),),
    "no destination": (array_of(message("7", "good", destination="")),),
    "no subscription": (array_of(message("7", "good", subscription="")),),
    "header without colon, repeated, badly escaped": (
        array_of(
            GOOD.replace("MESSAGE\n", "MESSAGE\nnonsense\na\\c:\\t\n").replace("\n\n", "\nsubscription:sub-9\n\n", 1)
        ),
    ),
}


@pytest.mark.parametrize("texts", TAKEN.values(), ids=TAKEN.keys())
def test_a_message_in_an_unusual_dress_is_taken_and_so_is_the_next(texts: tuple[str, ...]) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        for text in texts:
            peer.text(text)
        peer.strings(message("7", "next"))
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"good"
        following = bench.wait(LinkMessage)
        assert following.body == b"next"
        assert following.destination == "/topic/device/7/trigger"
    assert not [event for event in bench.events if isinstance(event, LinkOddity)]


@pytest.mark.parametrize("beat", ["h", array_of("\n")])
def test_a_frame_without_its_end_waits_no_longer_than_to_the_next_heart_beat(beat: str) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.strings(message("7", "good", content_length="")[:-1])
        peer.text(beat)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"good"


@pytest.mark.parametrize("body", ["a\0b\0\0c", "\0", "", "\n\n\n", "MESSAGE\n\n\0", "ü" * 1000, "\u2028\ufeff"])
def test_bodies_come_byte_for_byte(body: str) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.strings(message("7", body))
        peer.strings(GOOD)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == body.encode()
        assert bench.wait(LinkMessage).body == b"good"


def test_fragments_and_pings_between_them_make_one_message() -> None:
    text = array_of(message("7", "käse")).encode("utf-8")
    text = text.replace(b"\\u00e4", "ä".encode())
    cut = text.index("ä".encode()) + 1  # inside the character

    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.frame(TEXT, text[:cut], fin=0)
        peer.frame(PING, b"between")
        peer.frame(0, b"", fin=0)
        peer.frame(0, text[cut:])
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == "käse".encode()


def test_a_lone_surrogate_comes_as_bytes_that_a_strict_decoder_refuses() -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.text(array_of(GOOD).replace("good", "\\ud800"))
        peer.strings(GOOD)
        peer.hold()

    with raw(script) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"\xed\xa0\x80"
        assert bench.wait(LinkMessage).body == b"good"


# --- the end -------------------------------------------------------------------------------------------------


def goodbye(peer: Peer) -> bytes:
    """The payload of the close frame that the client sends."""
    while True:
        opcode, data = peer.read_frame()
        if opcode == CLOSE:
            return data


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda peer: peer.frame(TEXT, b"a", rsv=4), 1002),
        (lambda peer: peer.frame(TEXT, b"h", mask=True), 1002),
        (lambda peer: peer.frame(3, b"x"), 1002),
        (lambda peer: peer.frame(11, b"x"), 1002),
        (lambda peer: peer.frame(PING, b"x" * 126), 1002),
        (lambda peer: peer.frame(PING, b"x", fin=0), 1002),
        (lambda peer: peer.frame(0, b"x"), 1002),
        (lambda peer: (peer.frame(TEXT, b"x", fin=0), peer.frame(TEXT, b"y")), 1002),
        (lambda peer: peer.frame(CLOSE, b"x"), 1002),
        (lambda peer: peer.frame(CLOSE, b"\x00\x01"), 1002),
        (lambda peer: peer.frame(TEXT, b'a["\xff"]'), 1007),
        (lambda peer: peer.write(b"\x81\x7f" + b"\x7f" + b"\xff" * 7), 1009),
        (lambda peer: peer.write(b"\x81\x7f" + (64 * 1024 * 1024).to_bytes(8) + b"a" * 1000), 1009),
        (lambda peer: [peer.frame(TEXT if not n else 0, b"a" * 1_000_000, fin=0) for n in range(9)], 1009),
    ],
    ids=[
        "reserved bits",
        "masked",
        "unknown opcode",
        "unknown control",
        "long ping",
        "fragmented ping",
        "nothing to continue",
        "text in a text",
        "close of one byte",
        "close with a forbidden code",
        "no UTF-8",
        "2^63 bytes",
        "64 MB",
        "9 MB in fragments",
    ],
)
def test_what_websocket_forbids_ends_the_link_with_the_right_code(send: object, code: int) -> None:
    heard: list[bytes] = []
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.serve(1)
        assert callable(send)
        send(peer)
        heard.append(goodbye(peer))
        over.set()

    with raw(script) as bench:
        lost = bench.lost("7")
        assert over.wait(PATIENCE)
    assert lost.trouble is Trouble.PROTOCOL
    assert lost.text
    assert heard == [code.to_bytes(2)]


@pytest.mark.parametrize("first", ["h", "a[]", "x", "", 'a["CONNECTED\\n\\n\\u0000"]'])
def test_a_first_frame_that_is_not_o_ends_the_link(first: str) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.text(first)
        peer.hold()

    with raw(script) as bench:
        assert bench.lost("7").trouble is Trouble.PROTOCOL


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('c[3000,"Go away!"]', 3000, "Go away!"),
        ('c[2010,"Another connection still open"]', 2010, "Another connection still open"),
        ('c[1002,"bad\\u001b[31m"]', 1002, "bad\\x1b[31m"),
        ("c[1000]", 1000, "1000"),
        ("c", None, "closed"),
        ("c[", None, "closed"),
        ('c["x",5]', None, "closed"),
    ],
)
def test_a_close_of_the_session_is_told_with_its_code(opened: bool, text: str, code: int | None, words: str) -> None:
    def script(peer: Peer) -> None:
        if opened:
            peer.serve(1)
        else:
            peer.upgrade()
        peer.text(text)
        peer.hold()

    with raw(script) as bench:
        lost = bench.lost("7")
    assert (lost.trouble, lost.close_code) == (Trouble.CLOSED, code)
    assert words in lost.text


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\x03\xe9bye", 1001), (b"", None), (b"\x0f\xa0\xff", 4000), (b"\x03\xf4", 1012)]
)
def test_a_close_of_the_websocket_is_told_with_its_code(payload: bytes, code: int | None) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.frame(CLOSE, payload)
        goodbye(peer)

    with raw(script) as bench:
        lost = bench.lost("7")
    assert (lost.trouble, lost.close_code) == (Trouble.CLOSED, code)


@pytest.mark.parametrize("before", [True, False], ids=["before CONNECTED", "later"])
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ("ERROR\nmessage:Access is denied\n\n\0", "Access is denied"),
        ("ERROR\nmessage:<html>\\n<b>no\\cno</b>\n\nbody\0", "<html>\\n<b>no:no</b>"),
        ("ERROR\n\nthe body\x1b says it\0", "the body\\x1b says it"),
        ("ERROR\n\n\0", "an ERROR frame without a word"),
        ("ERROR\nmessage:" + "x" * 10_000 + "\n\n\0", "x" * 500),
        ("ERROR\nmessage:cut", None),
    ],
)
def test_an_error_frame_is_told_in_its_words(before: bool, frame: str, text: str | None) -> None:
    def script(peer: Peer) -> None:
        if before:
            peer.upgrade()
            peer.text("o")
            peer.read_stomp()
        else:
            peer.serve(1)
        peer.strings(frame)
        if text is None:
            return  # and the server goes
        peer.hold()

    with raw(script) as bench:
        lost = bench.lost("7")
    if text is None:
        assert lost.trouble is Trouble.CLOSED
    else:
        assert (lost.trouble, lost.text) == (Trouble.STOMP_ERROR, text)


def test_a_server_that_goes_or_breaks_off_is_told_as_closed() -> None:
    def go(peer: Peer) -> None:
        peer.serve(1)

    def break_off(peer: Peer) -> None:
        peer.serve(1)
        peer.reset()

    for script in (go, break_off):
        with raw(script) as bench:
            assert bench.lost("7").trouble is Trouble.CLOSED


def test_a_server_that_closes_after_each_subscribe_is_survived_ten_times() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.read_stomp()
        peer.frame(CLOSE, b"\x03\xe8")
        goodbye(peer)

    with raw(script) as bench:
        for _ in range(10):
            assert bench.lost("7").close_code == 1000


# --- silence ---------------------------------------------------------------------------------------------------

SHORT = replace(QUICK, silence_floor=0.5, silence_unpromised=0.5, ping_every=0.1)


@pytest.mark.parametrize("beats", ["0,0", "50,50"])
def test_a_half_open_connection_is_found_by_its_silence(beats: str) -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.serve(1, connected=f"CONNECTED\nversion:1.2\nheart-beat:{beats}\n\n\0")
        release.wait(PATIENCE)  # neither reads nor writes

    with raw(script, replace(SHORT, heart_beat_ms=(50, 50))) as bench:
        bench.open("7")
        limit = bench.wait(LinkConnected).silence_limit_s
        bench.wait(LinkSubscribed)
        lost = bench.end()
        release.set()
    assert limit == 0.5
    assert lost.trouble is Trouble.SILENT


@pytest.mark.parametrize("sign", ["h", array_of("\n")])
def test_signs_of_life_keep_a_link_that_has_nothing_to_say(sign: str) -> None:
    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.sock.settimeout(0.1)
        for _ in range(15):
            peer.hold()  # for as long as the time-out
            peer.text(sign)
        peer.strings(GOOD)
        peer.sock.settimeout(PATIENCE)
        peer.hold()

    with raw(script, replace(SHORT, ping_every=PATIENCE)) as bench:
        bench.open("7")
        assert bench.wait(LinkMessage).body == b"good"


def test_a_large_message_that_trickles_in_is_life_and_our_beats_go_on() -> None:
    beats: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.serve(1, connected="CONNECTED\nversion:1.2\nheart-beat:50,50\n\n\0")
        text = array_of(message("7", "x" * 60_000)).encode()
        peer.write(b"\x81\x7e" + len(text).to_bytes(2))
        step = len(text) // 12
        for start in range(0, len(text) - step, step):
            peer.write(text[start : start + step])
            beats.append(peer.read_frame()[1])  # one within each pause
        peer.write(text[step * len(beats) :])
        peer.hold()

    with raw(script, replace(SHORT, heart_beat_ms=(100, 100))) as bench:
        bench.open("7")
        assert len(bench.wait(LinkMessage).body) == 60_000
    assert set(beats) == {b'["\\n"]'}


def test_a_message_at_the_limit_is_taken() -> None:
    limits = LinkLimits(message_bytes=100_000)
    frame = array_of(message("7", "x" * (100_000 - len(array_of(message("7", ""))) - 4)))
    assert 99_990 < len(frame) <= 100_000

    def script(peer: Peer) -> None:
        peer.serve(1)
        peer.text(frame)
        peer.text(frame + " " * 20)
        peer.hold()

    with raw(script, limits) as bench:
        bench.open("7")
        bench.wait(LinkMessage)
        assert bench.end().trouble is Trouble.PROTOCOL
