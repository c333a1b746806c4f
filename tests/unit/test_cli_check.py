"""`mt1bridge check`: all faults, or what is in effect; for people and as JSON."""

import json
from pathlib import Path

import pytest

from mt1bridge.cli import main

GOOD = "mt1:\n  username: club@example.org\n  password: hunter2\nmqtt:\n  url: mqtt://broker.example\n"
FAULTY = "mt1:\n  username: club@example.org\n  password: hunter2\nmqtt:\n  urll: mqtt://a\nlog: {level: loud}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "MT1BRIDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/club")
    path = tmp_path / "mt1bridge.yaml"
    path.touch(0o600)
    return path


def test_a_good_file_shows_what_is_in_effect(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD)
    assert main(["check", "-c", str(file)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"# {file} is fine.")
    assert '  url: "mqtt://broker.example"  # line 5\n' in shown.out
    assert '  directory: "/home/club/.local/state/mt1bridge"  # default\n' in shown.out
    assert "hunter2" not in shown.out


def test_warnings_go_to_stderr_and_do_not_fail(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "  username: b\n  password: hunter2\n")
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().err.startswith(f"warning: {file}:5:8: mqtt.url: everybody on the way")


def test_every_fault_is_told_with_its_place_and_the_code_is_78(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FAULTY)
    assert main(["check", "-c", str(file)]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first.startswith(f"{file}:5:3: mqtt: there is no key 'urll' here")
    assert first.endswith("did you mean url?")
    assert second.startswith(f"{file}:6:14: log.level: expected one of debug, info, warning, error, got 'loud'")
    assert "hunter2" not in shown.err


def test_a_good_file_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "  username: b\n  password: hunter2\n")
    assert main(["check", "-c", str(file), "--json"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["ok"], told["problems"], shown.err) == (True, [], "")
    assert [warning["key"] for warning in told["warnings"]] == ["mqtt.url"]
    assert told["settings"]["mqtt"]["url"] == "mqtt://broker.example"
    assert told["settings"]["mt1"]["password"] == "(hidden)"
    assert told["origins"]["mqtt.url"] == "line 5"
    assert "hunter2" not in shown.out


def test_faults_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FAULTY)
    assert main(["check", "-c", str(file), "--json"]) == 78
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["ok"], shown.err, "settings" in told) == (False, "", False)
    assert [(problem["line"], problem["column"], problem["key"]) for problem in told["problems"]] == [
        (5, 3, "mqtt"),
        (6, 14, "log.level"),
    ]
    assert told["problems"][0]["file"] == str(file)


def test_the_file_may_be_named_by_the_environment(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(GOOD)
    monkeypatch.setenv("MT1BRIDGE_CONFIG", str(file))
    monkeypatch.setenv("MT1BRIDGE_LOG_LEVEL", "debug")
    assert main(["check"]) == 0
    assert '  level: "debug"  # MT1BRIDGE_LOG_LEVEL\n' in capsys.readouterr().out


def test_a_missing_file_is_told_with_what_to_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", f"{file}.none"]) == 78
    assert capsys.readouterr().err.startswith(f"{file}.none: does not exist: write one")
