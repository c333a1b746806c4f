"""What is agreed about heart-beats, whatever the server says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.cloud.limits import LinkLimits, agree


@pytest.mark.parametrize(
    ("words", "send_every", "silence", "pings"),
    [
        ("10000,10000", 8.0, 30.0, False),
        (" 10000 , 10000 ", 8.0, 30.0, False),
        ("20000,5000", 8.0, 60.0, False),
        ("1000,60000", 48.0, 30.0, False),
        ("25000,0", None, 75.0, False),
        ("0,10000", 8.0, 60.0, True),
        ("0,0", None, 60.0, True),
        (None, None, 60.0, True),
        ("1000000000,1000000000", 800_000.0, 60.0, True),
    ],
)
def test_heart_beats_follow_the_server_and_our_offer(
    words: str | None, send_every: float | None, silence: float, pings: bool
) -> None:
    agreed = agree(words, LinkLimits())
    assert agreed.send_every == pytest.approx(send_every)
    assert agreed.silence_limit == silence
    assert (agreed.ping_every is not None) is pings
    assert agreed.understood


@pytest.mark.parametrize("words", ["x,y", "", "10000", "1,2,3", "-1,5", "1.5,2", "9" * 5000 + ",1", "１,１x"])
def test_words_that_are_no_two_numbers_promise_nothing_and_are_told(words: str) -> None:
    agreed = agree(words, LinkLimits())
    assert not agreed.understood
    assert agreed.send_every is None
    assert agreed.silence_limit == 60.0


def test_without_an_offer_of_ours_nothing_is_agreed() -> None:
    agreed = agree("10000,10000", LinkLimits(heart_beat_ms=(0, 0)))
    assert (agreed.send_every, agreed.silence_limit) == (None, 60.0)


@given(st.text())
def test_no_words_raise(words: str) -> None:
    assert agree(words, LinkLimits()).silence_limit > 0
