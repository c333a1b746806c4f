"""The Debian package and the units: built, opened and judged by Debian's and systemd's own tools.

What only a booted system shows is tested by packaging/test-on-debian. Needs the Debian packages systemd, dpkg,
lintian and man-db.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mt1bridge import __version__
from mt1bridge.cli import COMMANDS, DEFAULT_CONFIG

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
UNITS = ("mt1bridge.service", "mt1bridge@.service")
LOWEST_EXPOSURE = 11  # tenths


def run(*command: object, check: bool = True, **environ: str) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environ},
    )
    assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def build(directory: Path, *options: str, source: Path = ROOT, **environ: str) -> Path:
    run(source / "packaging/build-deb", *options, directory, PYTHON=sys.executable, **environ)
    (package,) = directory.glob("*.deb")
    return package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def opened(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, with just enough of a system around them for systemd to judge the units."""
    root = tmp_path_factory.mktemp("opened")
    run("dpkg-deb", "-x", package, root)
    run("dpkg-deb", "-e", package, root / "DEBIAN")
    (root / "bin").mkdir()
    shutil.copy("/bin/sh", root / "bin/sh")
    for target in ("sysinit", "basic", "shutdown", "multi-user"):
        (root / f"usr/lib/systemd/system/{target}.target").write_text("[Unit]\nDescription=of the system\n")
    return root


def listing(package: Path) -> dict[str, tuple[str, str]]:
    """path -> (mode, owner/group)"""
    rows = [line.split(maxsplit=5) for line in run("dpkg-deb", "-c", package).splitlines()]
    return {row[5].removeprefix("."): (row[0], row[1]) for row in rows}


# --- the package ----------------------------------------------------------------------------------


def test_one_file_serves_every_architecture_from_python_3_11_on(package: Path) -> None:
    fields = dict(re.findall(r"^(\S+): (.*)$", run("dpkg-deb", "-f", package), re.MULTILINE))
    assert package.name == f"mt1bridge_{__version__}_all.deb"
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == ("mt1bridge", __version__, "all")
    depends = set(fields["Depends"].split(", "))
    assert {"python3 (>= 3.11)", "python3-yaml", "python3-requests", "python3-systemd", "ca-certificates"} <= depends


def test_it_brings_service_command_manual_completion_and_sample(package: Path) -> None:
    expected = {
        "/usr/bin/mt1bridge": "-rwxr-xr-x",
        "/usr/lib/mt1bridge/has-configuration": "-rwxr-xr-x",
        "/usr/lib/mt1bridge/app/mt1bridge/cli/__init__.py": "-rw-r--r--",
        "/usr/lib/systemd/system/mt1bridge.service": "-rw-r--r--",
        "/usr/lib/systemd/system/mt1bridge@.service": "-rw-r--r--",
        "/usr/lib/sysusers.d/mt1bridge.conf": "-rw-r--r--",
        "/usr/share/python3/runtime.d/mt1bridge.rtupdate": "-rwxr-xr-x",
        "/usr/share/bash-completion/completions/mt1bridge": "-rw-r--r--",
        "/usr/share/man/man1/mt1bridge.1.gz": "-rw-r--r--",
        "/usr/share/doc/mt1bridge/examples/mt1bridge.yaml": "-rw-r--r--",
        "/usr/share/doc/mt1bridge/raspberry-pi.rst": "-rw-r--r--",
        "/usr/share/doc/mt1bridge/copyright": "-rw-r--r--",
    }
    found = listing(package)
    assert {path: found.get(path, ("missing",))[0] for path in expected} == expected


def test_it_puts_nothing_where_it_has_no_business(package: Path) -> None:
    found = listing(package)
    files = [path for path in found if not path.endswith("/")]
    homes = (
        "/usr/bin/mt1bridge",
        "/usr/lib/mt1bridge/",
        "/usr/lib/systemd/system/mt1bridge",
        "/usr/lib/sysusers.d/mt1bridge.conf",
        "/usr/share/bash-completion/completions/mt1bridge",
        "/usr/share/doc/mt1bridge/",
        "/usr/share/lintian/overrides/mt1bridge",
        "/usr/share/man/man1/mt1bridge.1.gz",
        "/usr/share/python3/runtime.d/mt1bridge.rtupdate",
    )
    assert [path for path in files if not path.startswith(homes)] == []
    assert {owner for _mode, owner in found.values()} == {"root/root"}
    assert [path for path in files if re.search(r"\.so|\.pyc|__pycache__|/tests?/", path)] == []
    assert [path for path, (mode, _owner) in found.items() if mode[8] == "w"] == []


def test_an_upgrade_asks_nothing_because_there_are_no_conffiles(opened: Path) -> None:
    assert {path.name for path in (opened / "DEBIAN").iterdir()} == {
        "control",
        "md5sums",
        "postinst",
        "postrm",
        "prerm",
    }


def test_every_file_bears_its_checksum(package: Path, opened: Path) -> None:
    sums = dict(line.split("  ")[::-1] for line in (opened / "DEBIAN/md5sums").read_text().splitlines())
    files = {path[1:] for path in listing(package) if not path.endswith("/")}
    assert set(sums) == files
    for path, digest in sums.items():
        assert hashlib.md5((opened / path).read_bytes(), usedforsecurity=False).hexdigest() == digest


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_sound_shell(opened: Path, script: str) -> None:
    run("sh", "-n", opened / "DEBIAN" / script)
    assert "set -e" in (opened / "DEBIAN" / script).read_text()


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for directory in ("mt1bridge", "packaging", "docs", "etc"):
        shutil.copytree(ROOT / directory, source / directory, ignore=shutil.ignore_patterns("__pycache__"))
    first = build(tmp_path / "1", source=source, SOURCE_DATE_EPOCH="1771061415")
    for path in source.rglob("*"):
        os.utime(path, (0, 0))
    second = build(tmp_path / "2", source=source, SOURCE_DATE_EPOCH="1771061415", TZ="Pacific/Auckland")
    assert first.read_bytes() == second.read_bytes()
    assert b"Feb 2026" in gzip.decompress(changelog(second, tmp_path))


def changelog(package: Path, directory: Path) -> bytes:
    run("dpkg-deb", "-x", package, directory / "x")
    return (directory / "x/usr/share/doc/mt1bridge/changelog.gz").read_bytes()


def test_another_version_can_be_built_and_pre_releases_come_first(tmp_path: Path) -> None:
    package = build(tmp_path, "--version", "1.0rc2")
    assert package.name == "mt1bridge_1.0~rc2_all.deb"
    run("dpkg", "--compare-versions", "1.0~rc2", "lt", "1.0")
    run("dpkg-deb", "-x", package, tmp_path / "x")
    told = (tmp_path / "x/usr/lib/mt1bridge/app/mt1bridge/__init__.py").read_text()
    assert '__version__ = "1.0rc2"' in told


def test_the_packaged_command_runs_on_what_it_brings_along(opened: Path) -> None:
    app, vendor = opened / "usr/lib/mt1bridge/app", opened / "usr/lib/mt1bridge/vendor"
    code = (
        f"import sys; sys.path[:0] = [{str(app)!r}, {str(vendor)!r}]\n"
        "import mt1bridge, paho, stomp, structlog, websocket\n"
        "from mt1bridge.cli import main\n"
        "print(*(module.__path__[0] for module in (mt1bridge, paho, stomp, structlog, websocket)), sep='\\n')\n"
        "sys.exit(main(['version']))\n"
    )
    told = run(sys.executable, "-I", "-c", code, STOMP_SKIP_HOSTNAME_SCAN="1").splitlines()
    homes = [str(app / "mt1bridge"), *(str(vendor / name) for name in ("paho", "stomp", "structlog", "websocket"))]
    assert told[:6] == [*homes, f"mt1bridge {__version__}"]


def test_the_launcher_finds_what_the_package_installs(opened: Path) -> None:
    launcher = (opened / "usr/bin/mt1bridge").read_text()
    assert launcher.startswith("#!/usr/bin/python3 -Iu\n")
    for path in re.findall(r'"(/usr/[^"]+)"', launcher):
        assert (opened / path[1:]).is_dir()


def test_vendored_licences_are_brought_along(opened: Path) -> None:
    for library in ("paho_mqtt", "stomp_py", "structlog", "websocket_client"):
        (licences,) = (opened / "usr/lib/mt1bridge/vendor").glob(f"{library}-*.dist-info/licenses")
        assert list(licences.iterdir())
    named = re.findall(r"/usr/lib/mt1bridge/([^\s*]+)\.$", (PACKAGING / "debian/copyright").read_text(), re.MULTILINE)
    assert len(named) == 2
    assert [path for path in named if not (opened / "usr/lib/mt1bridge" / path).exists()] == []


@needs("lintian")
def test_lintian_has_nothing_to_say(package: Path) -> None:
    assert run("lintian", "--allow-root", "--fail-on", "error,warning", package) == ""


# --- the units ------------------------------------------------------------------------------------


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["mt1bridge.service", "mt1bridge@club.service"])
def test_systemd_finds_no_fault_with_the_units(opened: Path, unit: str) -> None:
    assert run("systemd-analyze", "verify", "--man=no", f"--root={opened}", unit) == ""


@needs("systemd-analyze")
def test_verify_would_have_told_of_a_fault(opened: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(opened, root)
    unit = root / "usr/lib/systemd/system/mt1bridge.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=soon\nColour=blue"))
    told = run("systemd-analyze", "verify", "--man=no", f"--root={root}", "mt1bridge.service", check=False)
    assert "soon" in told
    assert "Colour" in told


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["mt1bridge.service", "mt1bridge@club.service"])
def test_exposure_stays_low(opened: Path, unit: str) -> None:
    security = ("systemd-analyze", "security", "--offline=yes", f"--root={opened}")
    run(*security, f"--threshold={LOWEST_EXPOSURE}", unit)
    assert "exposure level" in run(*security, f"--threshold={LOWEST_EXPOSURE - 1}", unit, check=False), (
        "lower the bound"
    )


def settings(unit: str) -> list[str]:
    lines = (PACKAGING / unit).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_an_instance_differs_from_the_plain_unit_by_its_name_alone() -> None:
    plain, template = settings(UNITS[0]), settings(UNITS[1])
    assert "Environment=MT1BRIDGE_UNIT_INSTANCE=%i" in template
    plain_of = {
        " (%i)": "",
        "StateDirectory=mt1bridge@%i": "StateDirectory=mt1bridge",
        "RuntimeDirectory=mt1bridge@%i": "RuntimeDirectory=mt1bridge",
        "mt1bridge@%i.mt1-password": "mt1bridge.mt1-password",
        "mt1bridge@%i.mqtt-password": "mt1bridge.mqtt-password",
        "/etc/mt1bridge/%i.yaml": DEFAULT_CONFIG,
    }
    text = "\n".join(template)
    for ours, theirs in plain_of.items():
        text = text.replace(ours, theirs)
    same = text.splitlines()
    same.remove("Environment=MT1BRIDGE_UNIT_INSTANCE=%i")
    assert same == plain


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_keeps_its_promises_about_restarts(unit: str) -> None:
    assert {
        "Type=notify",
        "Restart=always",
        "RestartSec=5",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=2 78",
        "WatchdogSec=30",
        "WantedBy=multi-user.target",
    } <= set(settings(unit))


def test_a_missing_configuration_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mt1bridge.yaml"
    done = subprocess.run(
        [PACKAGING / "has-configuration", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"{path} does not exist" in done.stdout
    assert "sudo cp /usr/share/doc/mt1bridge/examples/mt1bridge.yaml" in done.stdout
    path.touch()
    assert run(PACKAGING / "has-configuration", path) == ""


# --- what people read and type --------------------------------------------------------------------


def test_the_manual_tells_every_command(opened: Path) -> None:
    page = gzip.decompress((opened / "usr/share/man/man1/mt1bridge.1.gz").read_bytes()).decode()
    assert __version__ in page
    told = page[page.index(".SH COMMANDS") : page.index(".SH OPTIONS")]
    assert [command for command in COMMANDS if not re.search(rf'^\.BR? "?{command}\b', told, re.MULTILINE)] == []


@needs("man")
def test_the_manual_is_sound(opened: Path) -> None:
    page = opened / "usr/share/man/man1/mt1bridge.1.gz"
    told = run("man", "--warnings=w", "--local-file", page, MANWIDTH="100", MAN_KEEP_FORMATTING="")
    assert "warning" not in told
    assert "bridge from the ALGE MT1 timing server to MQTT" in told


def complete(*words: str) -> list[str]:
    """What bash offers behind these words."""
    script = (
        f'source "{PACKAGING}/completion.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'COMPREPLY=(); _mt1bridge; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return [line for line in run("bash", "-c", script, "bash", *words).splitlines() if line]


def test_completion_offers_the_commands() -> None:
    assert [word for word in complete("mt1bridge", "") if not word.startswith("-")] == list(COMMANDS)
    assert complete("mt1bridge", "ch") == ["check"]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_completion_offers_every_option_of_a_command(command: str) -> None:
    parser = argparse.ArgumentParser()
    import_module(f"mt1bridge.cli.{command}").add_arguments(parser)
    verbs = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verbs = dict(action.choices)
        elif action.choices:
            assert complete("mt1bridge", command, action.option_strings[-1], "") == list(action.choices)
    assert set(complete("mt1bridge", command, "")) == options(parser) | set(verbs)
    for verb, its_parser in verbs.items():
        assert set(complete("mt1bridge", command, verb, "")) == options(its_parser)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for option in parser._option_string_actions if option.startswith("--")}


def test_completion_offers_files_where_a_file_is_meant(tmp_path: Path) -> None:
    (tmp_path / "garden.yaml").touch()
    assert complete("mt1bridge", "run", "-c", f"{tmp_path}/gar") == [f"{tmp_path}/garden.yaml"]
