"""SockJS framing: what each text of the server means, and that no text at all upsets it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.sockjs import (
    RAW_LIMIT,
    Alive,
    Closed,
    Odd,
    Opened,
    Strings,
    endpoint,
    plain,
    read_frame,
    write_frame,
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("o", Opened()),
        ("o\n", Opened()),
        ("h", Alive()),
        ("a[]", Strings(())),
        ('a["x"]', Strings(("x",))),
        ('a["x","ü\\n\\u0000"]', Strings(("x", "ü\n\0"))),
        ('m"one"', Strings(("one",))),
        ('c[3000,"Go away!"]', Closed(3000, "Go away!")),
        ('c[2010,"Another connection still open"]', Closed(2010, "Another connection still open")),
        ("c[1000]", Closed(1000, "")),
        ("c[true,1]", Closed(None, "")),
        ("c[99999999,1]", Closed(None, "")),
        ("c", Closed(None, "")),
        ("cut short", Closed(None, "ut short")),
    ],
)
def test_a_text_is_told_for_what_it_is(text: str, meaning: object) -> None:
    assert read_frame(text) == meaning


@pytest.mark.parametrize(
    "text",
    ["", "x", "a", 'a"x"', 'a["cut', 'a{"a":1}', "m1", "m", 'm["x"]', "open", "hello", " o", "a" + "[" * 100_000],
)
def test_what_is_no_frame_is_odd_and_no_error(text: str) -> None:
    found = read_frame(text)
    assert isinstance(found, Odd)
    assert found.raw == text[:RAW_LIMIT]
    assert found.reason


def test_the_strings_of_an_array_survive_strangers_among_them() -> None:
    found = read_frame('a[1,"first",null,{"k":"v"},"second",[["deep"]]]')
    assert isinstance(found, Strings)
    assert found.texts == ("first", "second")
    assert [one.raw for one in found.odd] == ["1", "null", '{"k": "v"}', '[["deep"]]']


def test_an_element_nested_to_the_limit_of_recursion_is_odd() -> None:
    for depth in (900, 990, 5_000):
        text = 'a["good",' + "[" * depth + "]" * depth + "]"
        found = read_frame(text)
        assert isinstance(found, Odd | Strings)


@given(st.text(max_size=200) | st.builds("{}{}".format, st.sampled_from("aomhc"), st.text(max_size=100)))
def test_no_text_raises(text: str) -> None:
    read_frame(text)


@given(st.lists(st.text()))
def test_any_strings_come_through_an_array(texts: list[str]) -> None:
    assert read_frame("a" + json.dumps(texts)) == Strings(tuple(texts))


@given(st.text())
def test_what_we_write_is_a_json_array_of_one_string(text: str) -> None:
    assert json.loads(write_frame(text)) == [text]
    write_frame(text).encode("ascii")


@given(st.text())
def test_plain_words_hold_no_control_character_and_can_be_encoded(text: str) -> None:
    words = plain(text, 50)
    assert len(words) <= 50
    assert words.encode().decode().isprintable() or not text.isprintable()
    assert not set(words) & set(map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029]))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.alge-results.com/devices", "wss://www.alge-results.com/devices/007/abc/websocket"),
        ("https://host/devices/", "wss://host/devices/007/abc/websocket"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/007/abc/websocket"),
        ("http://[::1]:8080/x?y=1#z", "ws://[::1]:8080/x/007/abc/websocket"),
        ("https://user:secret@host/d", "wss://host/d/007/abc/websocket"),
    ],
)
def test_the_endpoint_lies_below_the_realtime_url(url: str, expected: str) -> None:
    assert endpoint(url, 7, "abc") == expected


@pytest.mark.parametrize("url", ["", "host/devices", "ftp://host", "https://", "http://host:0/", "http://host:99999/"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        endpoint(url, 7, "abc")
