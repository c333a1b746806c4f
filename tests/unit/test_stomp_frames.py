"""STOMP frames out of strings: split, joined, repaired, and never run over a border."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.sockjs import Odd
from mt1bridge.cloud.stomp_frames import FrameReader

GOOD = "MESSAGE\ndestination:/t\n\ngood\0"
GOOD_OUT = b"MESSAGE\ncontent-length:4\ndestination:/t\n\ngood\0"


def read(*texts: str) -> list[bytes | Odd]:
    reader = FrameReader()
    return [item for text in texts for item in reader.feed(text)]


def frames(*texts: str) -> list[bytes]:
    found = read(*texts)
    assert all(isinstance(item, bytes) for item in found), found
    return [item for item in found if isinstance(item, bytes)]


def bodies(*texts: str) -> list[bytes]:
    return [frame.split(b"\n\n", 1)[1][:-1] for frame in frames(*texts)]


def reasons(*texts: str) -> list[str]:
    return [item.reason for item in read(*texts) if isinstance(item, Odd)]


def test_a_frame_gets_the_content_length_it_has() -> None:
    assert frames(GOOD) == [GOOD_OUT]


def test_line_ends_between_frames_are_heart_beats_and_leave_no_trace() -> None:
    assert frames("\n", "\n\n" + GOOD + "\n\r\n", "\n\n", GOOD) == [GOOD_OUT, GOOD_OUT]


def test_several_frames_in_one_string_are_split() -> None:
    assert frames(GOOD + GOOD + "\n" + GOOD) == [GOOD_OUT] * 3


@pytest.mark.parametrize("at", range(1, len(GOOD)))
def test_a_frame_over_two_strings_is_joined(at: int) -> None:
    assert frames(GOOD[:at], GOOD[at:], GOOD) == [GOOD_OUT, GOOD_OUT]


def test_carriage_returns_end_lines_too() -> None:
    assert frames("MESSAGE\r\ndestination:/t\r\n\r\ngood\0") == [GOOD_OUT]
    assert frames("MESSAGE\r\ndestination:/t\n\r\ngood\0") == [GOOD_OUT]


def test_a_body_with_nuls_is_whole_when_its_length_says_so() -> None:
    assert bodies("MESSAGE\ncontent-length:5\n\na\0b\0c\0" + GOOD) == [b"a\0b\0c", b"good"]


def test_a_body_with_a_nul_and_no_length_ends_there_and_the_rest_is_told() -> None:
    found = read("MESSAGE\n\na\0b\0", GOOD)
    assert found[0] == b"MESSAGE\ncontent-length:1\n\na\0"
    assert isinstance(found[1], Odd)
    assert found[1].raw == "b"
    assert found[2] == GOOD_OUT


@pytest.mark.parametrize(
    "length", ["0", "1", "3", "5", "9", "4000", "99999999999", "-4", "x", "", " 4 ", "4.0", "9" * 5000]
)
def test_a_wrong_content_length_costs_neither_this_frame_nor_the_next(length: str) -> None:
    wrong = f"MESSAGE\ncontent-length:{length}\ndestination:/t\n\ngood\0"
    assert frames(wrong, GOOD) == [GOOD_OUT, GOOD_OUT]
    assert frames(wrong + GOOD) == [GOOD_OUT, GOOD_OUT]
    assert frames(wrong + "\n", GOOD) == [GOOD_OUT, GOOD_OUT]


def test_of_repeated_content_lengths_the_first_counts() -> None:
    assert bodies("MESSAGE\ncontent-length:3\ncontent-length:1\n\na\0b\0") == [b"a\0b"]


def test_content_length_counts_bytes() -> None:
    assert bodies("MESSAGE\ncontent-length:4\n\n\u00fc\0\u0041\0") == ["ü\0A".encode()]


def test_a_frame_without_its_nul_is_whole_when_its_length_says_so() -> None:
    assert bodies("MESSAGE\ncontent-length:4\n\ngood") == [b"good"]
    assert bodies("MESSAGE\ncontent-length:4\n\ngood", "\0", GOOD) == [b"good", b"good"]


def test_a_frame_without_its_nul_is_taken_as_it_is_when_another_begins() -> None:
    assert frames(GOOD[:-1], GOOD) == [GOOD_OUT, GOOD_OUT]


def test_a_frame_without_its_nul_is_taken_as_it_is_at_a_heart_beat() -> None:
    assert frames(GOOD[:-1], "\n") == [GOOD_OUT]


def test_what_waits_for_its_second_half_is_taken_on_a_flush() -> None:
    reader = FrameReader()
    assert reader.feed(GOOD[:-1]) == []
    assert reader.flush() == [GOOD_OUT]
    assert reader.flush() == []


def test_a_frame_cut_in_its_headers_is_told_and_the_next_is_whole() -> None:
    assert reasons("MESSAGE\ndestin", GOOD) == ["STOMP frame cut in its headers"]
    assert read("MESSAGE\ndestin", GOOD)[-1] == GOOD_OUT


def test_a_frame_of_headers_alone_is_a_frame() -> None:
    assert frames("RECEIPT\nreceipt-id:r1\0") == [b"RECEIPT\ncontent-length:0\nreceipt-id:r1\n\n\0"]


@pytest.mark.parametrize(
    "text", ["hello", "SEND\n\nx\0", "message\n\nx\0", "MESSAGES\n\n\0", "{}\0", "MESSAGE : 1\n\n\0"]
)
def test_what_is_no_frame_of_a_server_is_told_and_the_next_is_whole(text: str) -> None:
    found = read(text, GOOD)
    assert reasons(text, GOOD) == ["no STOMP frame"]
    assert found[-1] == GOOD_OUT


def test_a_receipt_for_nothing_is_told() -> None:
    assert reasons("RECEIPT\nreceipt:1\n\n\0") == ["RECEIPT without receipt-id"]


def test_a_lone_surrogate_is_kept_as_bytes_that_are_no_utf8() -> None:
    (body,) = bodies("MESSAGE\n\n\ud800\0")
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert body.decode("utf-8", "surrogatepass") == "\ud800"


def test_a_frame_without_end_does_not_wait_for_ever() -> None:
    reader = FrameReader(pending_limit=100)
    found = [item for _ in range(30) for item in reader.feed("MESSAGE\nx:y\n\n" if _ == 0 else "0123456789")]
    assert [type(item) for item in found][:1] == [Odd]
    assert reader.feed(GOOD)[-1] == GOOD_OUT


PIECE = st.sampled_from(
    ["MESSAGE", "CONNECTED", "ERROR", "RECEIPT", "\n", "\r\n", "\0", "content-length:", "3", "a:b", "receipt-id:1", "ü"]
)


@given(st.lists(st.text(max_size=30) | st.lists(PIECE, max_size=12).map("".join), max_size=8))
def test_no_text_raises_and_all_that_leaves_is_whole(texts: list[str]) -> None:
    reader = FrameReader(pending_limit=200)
    found = [item for text in texts for item in reader.feed(text)] + reader.flush()
    for item in found:
        if isinstance(item, bytes):
            head, body = item.split(b"\n\n", 1)
            command, length, *_ = head.split(b"\n")
            assert command in (b"CONNECTED", b"MESSAGE", b"RECEIPT", b"ERROR")
            assert length == b"content-length:%d" % (len(body) - 1)
            assert body.endswith(b"\0")
            assert b"\r" not in head
    assert reader.flush() == []


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(st.lists(TEXT, min_size=1, max_size=5), st.data())
def test_frames_cut_anywhere_come_out_as_they_went_in(texts: list[str], data: st.DataObject) -> None:
    stream = "".join(f"MESSAGE\ncontent-length:{len(text.encode())}\n\n{text}\0" for text in texts)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert bodies(*chunks) == [text.encode() for text in texts]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=5))
def test_bodies_with_nuls_come_out_as_they_went_in(texts: list[str]) -> None:
    strings = [f"MESSAGE\ncontent-length:{len(text.encode())}\n\n{text}\0" for text in texts]
    assert bodies(*strings) == [text.encode() for text in texts]
    assert bodies("".join(strings)) == [text.encode() for text in texts]
