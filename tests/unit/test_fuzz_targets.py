"""The promises that tests/fuzz holds against any input, on hypothesis' examples and on damaged good ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


def damaged(seed: bytes) -> st.SearchStrategy[bytes]:
    """A good input with a stretch of it replaced by anything."""
    at = st.integers(0, len(seed))
    return st.builds(lambda a, b, new: seed[: min(a, b)] + new + seed[max(a, b) :], at, at, st.binary(max_size=40))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_whatever_comes_is_borne(name):
    target = TARGETS[name]()
    inputs = st.binary(max_size=400) | st.one_of([damaged(seed) for seed in SEEDS[name]])

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def bears(data: bytes) -> None:
        target(data)

    try:
        for seed in SEEDS[name]:
            target(seed)
        bears()
    finally:
        target.close()
