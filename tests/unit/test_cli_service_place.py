"""Where the service keeps what it keeps."""

from pathlib import Path

import pytest

from mt1bridge.cli.service_place import load_beside, service_environment

CONFIGURATION = "mt1: {username: club@example.org, password: hunter2}\n"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """/etc/mt1bridge and /var/lib of a machine where the service and its instance `garden` have run."""
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    etc.mkdir()
    for name in ("mt1bridge", "mt1bridge@garden"):
        (lib / name).mkdir(parents=True)
    for name in ("mt1bridge", "garden", "barn"):
        (etc / f"{name}.yaml").touch(0o600)
        (etc / f"{name}.yaml").write_text(CONFIGURATION)
    return etc, lib


def test_the_service_has_its_state_in_var_lib(places: tuple[Path, Path]) -> None:
    etc, lib = places
    settings = load_beside(etc / "mt1bridge.yaml", {"HOME": "/home/club"}, etc, lib).settings
    assert settings.journal.directory == lib / "mt1bridge"
    assert settings.instance == "mt1bridge"


def test_an_instance_of_the_template_unit_has_its_own_names(places: tuple[Path, Path]) -> None:
    etc, lib = places
    settings = load_beside(etc / "garden.yaml", {"HOME": "/home/club"}, etc, lib).settings
    assert settings.journal.directory == lib / "mt1bridge@garden"
    assert settings.instance == "mt1bridge-garden"
    assert settings.mqtt.base_topic == "mt1-garden"


def test_a_file_of_no_service_is_read_as_it_stands(places: tuple[Path, Path], tmp_path: Path) -> None:
    etc, lib = places
    own = tmp_path / "mt1bridge.yaml"
    own.touch(0o600)
    own.write_text(CONFIGURATION)
    settings = load_beside(own, {"HOME": "/home/club"}, etc, lib).settings
    assert settings.journal.directory == Path("/home/club/.local/state/mt1bridge")
    assert service_environment(etc / "barn.yaml", {}, etc, lib) == {}


def test_what_systemd_says_comes_first(places: tuple[Path, Path]) -> None:
    etc, lib = places
    settings = load_beside(etc / "mt1bridge.yaml", {"HOME": "/h", "STATE_DIRECTORY": "/srv/state"}, etc, lib).settings
    assert settings.journal.directory == Path("/srv/state")
