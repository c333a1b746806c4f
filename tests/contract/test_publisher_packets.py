"""Our own packing of properties, held against the library's."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mt1bridge.model.broker import Publication
from mt1bridge.mqtt import packet

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)


@given(
    content_type=st.none() | TEXT,
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    properties=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    correlation=st.none() | st.binary(max_size=300),
)
def test_properties_are_packed_as_the_library_packs_them(
    content_type: str | None, expiry_s: int | None, properties: list[tuple[str, str]], correlation: bytes | None
) -> None:
    expected = Properties(PacketTypes.PUBLISH)
    if content_type is not None:
        expected.ContentType = content_type
    if expiry_s is not None:
        expected.MessageExpiryInterval = expiry_s
    if correlation is not None:
        expected.CorrelationData = correlation
    if properties:
        expected.UserProperty = properties
    message = Publication("t", b"", False, content_type, expiry_s, tuple(properties), correlation)
    assert packet.publish_properties(message) == bytes(expected.pack())


def test_the_properties_of_connect_and_will_too() -> None:
    connect = Properties(PacketTypes.CONNECT)
    connect.SessionExpiryInterval = 30
    connect.MaximumPacketSize = 1_048_576
    assert packet.connect_properties(30, 1_048_576) == bytes(connect.pack())

    will = Properties(PacketTypes.WILLMESSAGE)
    will.WillDelayInterval = 10
    will.ContentType = "text/plain"
    packed = packet.will_properties(Publication("t", b"", content_type="text/plain"), 10)
    assert sorted(packed) == sorted(bytes(will.pack()))  # the same properties; their order is free


@pytest.mark.parametrize(
    "message",
    [
        Publication("t", b"", content_type="x" * 65_536),
        Publication("t", b"", properties=(("a", "\ud800"),)),
        Publication("t", b"", correlation=b"x" * 65_536),
    ],
)
def test_what_has_no_encoding_is_an_error(message: Publication) -> None:
    with pytest.raises(ValueError, match=r"."):
        packet.publish_properties(message)
