"""The table of devices, and what a check says of them, of clocks and of neighbours."""

from pathlib import Path

import pytest

from mt1bridge.cli.devices import rows, table
from mt1bridge.cli.finding import Result
from mt1bridge.cli.online import clock_findings, device_finding
from mt1bridge.cli.online_broker import neighbour_finding
from mt1bridge.config.loading import load
from mt1bridge.config.settings import Settings
from mt1bridge.model.status import Device
from mt1bridge.topics.names import Names

LISTED = (Device("231203016", None, "MT1"), Device("231203037", "Split\x1b[2J", "MT1"))


def settings(tmp_path: Path, devices: str = "") -> Settings:
    file = tmp_path / "mt1bridge.yaml"
    file.touch(0o600)
    file.write_text(f"mt1:\n  username: club@example.org\n  password: hunter2\n{devices}")
    return load(file, {"HOME": "/home/club"}).settings


def test_without_configured_devices_all_are_taken(tmp_path: Path) -> None:
    found = rows(LISTED, settings(tmp_path))
    assert [(row.id, row.listed, row.configured) for row in found] == [
        ("231203016", True, None),
        ("231203037", True, None),
    ]
    assert [line.split("  ")[-1].strip() for line in table(found)] == [
        "configured",
        *["yes (all devices are taken)"] * 2,
    ]


def test_a_configured_device_that_is_not_listed_stands_there_too(tmp_path: Path) -> None:
    found = rows(LISTED, settings(tmp_path, '  devices: {"231203016": {name: Finish hut}, "231209999": {}}\n'))
    lines = table(found)
    assert lines[1].split() == ["231203016", "MT1", "Finish", "hut", "yes"]
    assert lines[2].endswith("  no")
    assert lines[3].split()[:4] == ["231209999", "-", "-", "yes,"]
    assert "\x1b" not in "".join(lines)


def test_an_account_without_devices_says_what_to_do(tmp_path: Path) -> None:
    assert table(rows((), settings(tmp_path))) == [
        "The account has no devices: register yours to it at the MT1 server's web page."
    ]


@pytest.mark.parametrize(
    ("listed", "refusal", "result"),
    [
        (True, None, Result.OK),
        (False, None, Result.WARNING),
        (False, "-2011", Result.FAILED),
        (True, "x", Result.FAILED),
    ],
)
def test_what_is_said_of_a_device(listed: bool, refusal: str | None, result: Result) -> None:
    finding = device_finding("231203016", listed, refusal)
    assert finding.result is result
    assert "231203016" in finding.text
    assert ("mend the id in mt1.devices" in finding.text) == (result is not Result.OK)


@pytest.mark.parametrize(
    ("offset_ms", "result", "words"),
    [
        (None, Result.UNCHECKED, "not compared"),
        (-1_999, Result.OK, "agrees"),
        (61_000, Result.WARNING, "61 s behind"),
        (-61_000, Result.WARNING, "61 s ahead of"),
    ],
)
def test_what_is_said_of_the_clock(offset_ms: int | None, result: Result, words: str) -> None:
    (finding,) = clock_findings(offset_ms)
    assert finding.result is result
    assert words in finding.text


@pytest.mark.parametrize(
    ("info", "state", "result", "words"),
    [
        (None, None, Result.OK, "No bridge has published"),
        (b"[]", b"online", Result.OK, "No bridge has published"),
        (b'{"instance": "mt1bridge"}', b"online", Result.OK, "is online"),
        (b'{"instance": "other"}', b"offline", Result.WARNING, "would take its place"),
        (b'{"instance": "other"}', b"online", Result.FAILED, "mqtt.base_topic of its own"),
    ],
)
def test_who_else_is_there(tmp_path: Path, info: bytes | None, state: bytes | None, result: Result, words: str) -> None:
    names = Names("mt1")
    seen = {topic: payload for topic, payload in ((names.info, info), (names.state, state)) if payload is not None}
    finding = neighbour_finding(seen, names, settings(tmp_path))
    assert finding.result is result
    assert words in finding.text
