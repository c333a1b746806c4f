"""Whoever has no configuration is shown one that exists."""

from pathlib import Path

import pytest

from mt1bridge.config.loading import load
from mt1bridge.config.sample import SHORTEST, sample
from mt1bridge.model.errors import ConfigurationError


def test_the_first_sample_that_is_there_is_named(tmp_path: Path) -> None:
    none, one, other = tmp_path / "none", tmp_path / "one", tmp_path / "other"
    one.touch()
    other.touch()
    assert sample([none, one, other]) == f"a sample with every setting is {one}"


def test_without_a_sample_there_is_a_line_that_will_do(tmp_path: Path) -> None:
    assert sample([tmp_path / "none"]) == f"the shortest is one line:  {SHORTEST}"
    (tmp_path / "mt1-password").write_text("x")
    (tmp_path / "mt1-password").chmod(0o600)
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(SHORTEST)
    assert load(file, {"HOME": "/home/club"}).settings.mt1.username == "club@example.org"


@pytest.mark.parametrize("text", [None, " \n"])
def test_a_file_that_is_missing_or_empty_leads_to_it(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "mt1bridge.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"HOME": "/home/club"})
    assert str(caught.value).endswith(f"; {sample()}")
