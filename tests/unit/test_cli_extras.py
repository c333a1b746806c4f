"""How to get what is missing depends on where we are installed."""

from pathlib import Path

from mt1bridge.cli import EXTRAS
from mt1bridge.cli.extras import DEBIAN_PACKAGES, remedy

CLONE = Path("/home/club/mt1bridge/lib/python3.11/site-packages/mt1bridge/cli/extras.py")
DEBIAN = Path("/usr/lib/mt1bridge/app/mt1bridge/cli/extras.py")


def test_in_an_environment_it_is_installed_by_the_python_that_runs_us() -> None:
    told = remedy("aiohttp", "demo", "/home/club/mt1bridge/bin/python", CLONE)
    assert told == "/home/club/mt1bridge/bin/python -m pip install 'mt1bridge[demo]'"
    assert remedy("aiohttp", "demo", "/a b/python", CLONE).startswith("'/a b/python' -m pip")


def test_in_the_debian_package_it_is_a_package_of_debian() -> None:
    assert remedy("aiohttp", "simulate", "/usr/bin/python3", DEBIAN) == "sudo apt install python3-aiohttp"
    assert remedy("amqtt", "demo", "/usr/bin/python3", DEBIAN) == "sudo apt install mosquitto"


def test_every_library_of_an_extra_has_its_package() -> None:
    assert set(DEBIAN_PACKAGES) == {library for libraries in EXTRAS.values() for library in libraries}


def test_the_debian_package_suggests_it_and_has_our_modules_there() -> None:
    packaging = Path(__file__).parents[2] / "packaging"
    control = (packaging / "debian" / "control").read_text()
    assert all(package in control for package in DEBIAN_PACKAGES.values())
    assert '"/usr/lib/mt1bridge/app"' in (packaging / "launcher").read_text()
