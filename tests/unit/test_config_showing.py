"""What `check` shows of the settings is a file that gives the same settings, but for the passwords."""

from dataclasses import replace
from pathlib import Path

import pytest

from mt1bridge.config.loading import load
from mt1bridge.config.options import OPTIONS
from mt1bridge.config.settings import Loaded, Settings
from mt1bridge.config.showing import HIDDEN, as_yaml, shown
from mt1bridge.model.secret import Secret

FULL = """
mt1:
  username: "club: #1 é"
  password: hunter2
  edges: [falling, rising]
  devices:
    "0231203016": {name: "it's \\"so\\"", channels: {C0: Start gate}}
    "1":
mqtt: {url: 'wss://broker.example', username: b, password: hunter2, protocol: 3.1.1, base_topic: a/b, commands: no}
journal: {directory: /srv/mt1, keep: 36h}
reconcile: {window: 90m, first_start: 0, live_within: 1s}
"""


def loaded(tmp_path: Path, text: str, **environ: str) -> Loaded:
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(text)
    return load(file, {"HOME": "/h", **environ})


def without_passwords(settings: Settings) -> Settings:
    hidden = Secret(HIDDEN)
    mqtt = replace(settings.mqtt, password=hidden if settings.mqtt.password else None)
    return replace(settings, mt1=replace(settings.mt1, password=hidden), mqtt=mqtt)


@pytest.mark.parametrize("text", [FULL, "mt1: {username: a, password: x}"])
def test_what_is_shown_loads_as_the_same_settings(tmp_path: Path, text: str) -> None:
    first = loaded(tmp_path, text)
    second = loaded(tmp_path, as_yaml(first.settings, first.origins))
    assert second.settings == without_passwords(first.settings)
    assert "hunter2" not in as_yaml(first.settings, first.origins)


def test_every_option_is_shown(tmp_path: Path) -> None:
    told = shown(loaded(tmp_path, FULL).settings)
    names = {f"{section}.{key}" for section, value in told.items() if isinstance(value, dict) for key in value}
    options = {option.name for option in OPTIONS if option.section and not option.name.endswith("password_file")}
    assert names == {*options, "mt1.devices"}
    assert "instance" in told


def test_a_relative_password_file_is_shown_with_its_whole_path(tmp_path: Path) -> None:
    secret = tmp_path / "mt1-password"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    found = loaded(tmp_path, "mt1:\n  username: a\n  password_file: mt1-password\n")
    assert found.origins["mt1.password_file"] == f"line 3: {secret}"


def test_each_value_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    secret = tmp_path / "mt1-password"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    text = f"mt1:\n  username: a\n  password_file: {secret}\n"
    found = loaded(tmp_path, text, MT1BRIDGE_LOG_LEVEL="debug")
    lines = as_yaml(found.settings, found.origins).splitlines()
    assert '  username: "a"  # line 2' in lines
    assert f'  password: "(hidden)"  # line 3: {secret}' in lines
    assert '  level: "debug"  # MT1BRIDGE_LOG_LEVEL' in lines
    assert '  format: "auto"  # default' in lines


def test_a_password_from_systemd_says_so(tmp_path: Path) -> None:
    (tmp_path / "mt1-password").write_text("hunter2")
    found = loaded(tmp_path, "mt1: {username: a}", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert '  password: "(hidden)"  # systemd credential' in as_yaml(found.settings, found.origins).splitlines()
