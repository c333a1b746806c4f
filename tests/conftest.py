"""What holds for all tests: where helpers are found, and that the same source gives the same result."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent

# Helpers (mosquitto.py, simulator_probe.py, process.py ...) lie beside the tests that they were written for.
sys.path[:0] = [str(TESTS / name) for name in ("contract", "system") if str(TESTS / name) not in sys.path]

# `tests.fuzz` and the like are found from the root; at the end, so that the package is the installed one.
sys.path.append(str(TESTS.parent))

os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")  # importing stomp.py resolves names, 20 s without DNS
for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(name, None)  # every server of the tests is on this machine

# HYPOTHESIS_PROFILE=wandering looks for new examples; otherwise the same ones are tried every time.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("wandering", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """The bridge silences loggers of its libraries for the whole process: a test gives them back."""
    loggers = [logging.getLogger(name) for name in ("stomp.py", "urllib3", "websocket", "paho")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
