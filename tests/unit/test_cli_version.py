"""`mt1bridge version`: what people copy into a report of a fault."""

import json
import platform

import pytest

from mt1bridge import __version__
from mt1bridge.cli import main


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_comes_first(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"mt1bridge {__version__}", f"python {platform.python_version()}"]
    assert any(line.startswith("paho-mqtt 2.") for line in lines)


def test_the_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mt1bridge"] == __version__
    assert told["libraries"]["PyYAML"]
    assert set(told["libraries"]) >= {"paho-mqtt", "stomp.py", "requests", "structlog", "systemd-python"}
