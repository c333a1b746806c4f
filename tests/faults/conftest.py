"""Two sizes: a part that every change bears, and everything, by `python -m tests.faults --full`."""

import os

import pytest

FULL = os.environ.get("MT1BRIDGE_FAULTS") == "full"
FULL_S = 3600


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: run by `python -m tests.faults --full` alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.parent.name == "faults"]
    if FULL:
        for item in ours:
            item.add_marker(pytest.mark.timeout(FULL_S))
        return
    later = [item for item in ours if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]
