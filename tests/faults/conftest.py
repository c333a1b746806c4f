"""Helpers lie beside the tests; with MT1BRIDGE_FAULTS=full a test has as long as it needs."""

import os

import pytest

FULL_S = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("MT1BRIDGE_FAULTS") == "full":
        for item in items:
            if "/faults/" in str(item.path):
                item.add_marker(pytest.mark.timeout(FULL_S))
