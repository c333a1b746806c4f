"""etc/mt1bridge.yaml is complete, tells the truth about defaults, and says what the table of options says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mt1bridge.config.loading import load
from mt1bridge.config.options import OPTIONS, SECTIONS
from mt1bridge.config.settings import DeviceSettings, Settings

SAMPLE = Path(__file__).parents[2] / "etc" / "mt1bridge.yaml"
COMMENTED_OUT = re.compile(r"^( *)#(?=[a-z]|  +\S)")  # prose has one space after its #
MINIMAL = "mt1: {username: club@example.org, password: x}"


def settings_of(tmp_path: Path, text: str) -> Settings:
    password = tmp_path / "mt1-password"
    password.write_text("x\n")
    password.chmod(0o600)
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(text.replace("/etc/mt1bridge/mt1-password", str(password)))
    return load(file, {"HOME": "/home/club"}).settings


def uncommented(text: str) -> str:
    lines = text.splitlines()
    in_prose = lines.index("")  # the introduction has an indented example of its own
    return "\n".join(lines[:in_prose] + [COMMENTED_OUT.sub(r"\1", line) for line in lines[in_prose:]])


def test_the_sample_as_shipped_loads_and_has_the_defaults(tmp_path: Path) -> None:
    assert settings_of(tmp_path, SAMPLE.read_text()) == settings_of(tmp_path, MINIMAL)


def test_every_commented_out_option_loads_and_shows_the_real_default(tmp_path: Path) -> None:
    found = settings_of(tmp_path, uncommented(SAMPLE.read_text()))

    hut = DeviceSettings("231203016", "Finish hut", {"C0": "Start gate", "C1": "Finish line"})
    assert found.mt1.devices == (hut,)
    assert replace(found, mt1=replace(found.mt1, devices=None)) == settings_of(tmp_path, MINIMAL)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_in_the_sample_with_its_description_above_it(option) -> None:  # type: ignore[no-untyped-def]
    section = option.section
    text = SAMPLE.read_text()
    if section:
        text = re.split(rf"^(?:{'|'.join(SECTIONS)}):$", text[text.index(f"\n{section}:") :], flags=re.M)[1]
    key = re.search(rf"^ *#?{option.key}:", text, re.M)
    assert key is not None
    above = text[: key.start()].rpartition("\n\n")[2]
    assert re.sub(r"\s*\n *# ", " ", above).lstrip(" #").startswith(option.help)


def test_nothing_is_in_the_sample_but_the_options() -> None:
    keys = re.findall(r"^ *#?([a-z_0-9]+):", "\n".join(uncommented(SAMPLE.read_text()).split("\n")), re.M)
    known = [option.key for option in OPTIONS]
    assert sorted(keys) == sorted([*known, *SECTIONS, "devices", "name", "channels"])
