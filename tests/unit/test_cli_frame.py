"""The frame of the command line: choosing, helping, failing, and importing no more than the chosen command."""

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from mt1bridge.cli import COMMANDS, DEFAULT_CONFIG, EXTRAS, _Parser, add_config_option, config_path, main
from mt1bridge.model.errors import BridgeError, ConfigurationError, MissingExtraError, Problem, UsageError

ROOT = Path(__file__).parents[2]
WRITTEN = [name for name in COMMANDS if find_spec(f"mt1bridge.cli.{name}") is not None]
HEAVY = ("aiohttp", "asyncio", "requests", "stomp", "paho", "structlog", "sqlite3", "yaml", "mt1bridge.simulator")


def python(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def modules_after(code: str) -> set[str]:
    """Return what is imported in a fresh process after the code."""
    process = python("-c", f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)")
    return set(json.loads(process.communicate(timeout=60)[1].splitlines()[-1]))


# --- choosing -------------------------------------------------------------------------------------


def test_without_a_command_all_are_listed_and_the_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("mt1bridge: which command?\n")
    assert all(f"  {name:<10}{text}\n" in shown.err for name, text in COMMANDS.items())


def test_help_lists_all_commands_and_the_code_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert all(f"  {name:<10}{text}\n" in shown.out for name, text in COMMANDS.items())


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(COMMANDS) == {"run", "check", "devices", "monitor", "journal", "simulate", "demo", "version"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["chek"], "mt1bridge: there is no command 'chek'; did you mean check?\n"),
        (["xyzzy"], "mt1bridge: there is no command 'xyzzy'\n"),
        (["../check"], "mt1bridge: there is no command '../check'"),
        (["check", "--nope"], "mt1bridge: unrecognized arguments: --nope\nusage: mt1bridge check"),
        (["check", "--js"], "mt1bridge: unrecognized arguments: --js\n"),
        (["check", "-c"], "mt1bridge: argument -c/--config: expected one argument\n"),
        (["--nope"], "mt1bridge: unrecognized arguments: --nope\n"),
        (["version", "more"], "mt1bridge: unrecognized arguments: more\n"),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_code_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], told: str
) -> None:
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(told)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_helps_with_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    command = import_module(f"mt1bridge.cli.{name}")
    assert command.HELP
    assert f"mt1bridge {name}" in command.EXAMPLE
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: mt1bridge {name}")
    assert "example:\n" in shown


def test_the_configuration_file_is_that_of_the_option_the_environment_or_the_default() -> None:
    parser = _Parser()
    add_config_option(parser)
    given = parser.parse_args(["-c", "a.yaml"])
    silent = parser.parse_args([])
    assert config_path(given, {"MT1BRIDGE_CONFIG": "b.yaml"}) == "a.yaml"
    assert config_path(silent, {"MT1BRIDGE_CONFIG": "b.yaml"}) == "b.yaml"
    assert config_path(silent, {}) == DEFAULT_CONFIG == "/etc/mt1bridge/mt1bridge.yaml"


# --- importing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["--help"], ["version"], ["xyzzy"]])
def test_help_and_version_import_nothing_heavy(argv: list[str]) -> None:
    imported = modules_after(f"from mt1bridge.cli import main\nmain({argv!r})")
    assert not [name for name in HEAVY if name in imported]


def test_check_imports_yaml_and_nothing_of_other_commands(tmp_path: Path) -> None:
    file = tmp_path / "mt1bridge.yaml"
    file.write_text("mt1: {username: a, password: x}")
    imported = modules_after(f"from mt1bridge.cli import main\nassert main(['check', '-c', {str(file)!r}]) == 0")
    assert [name for name in HEAVY if name in imported] == ["yaml"]
    assert not {f"mt1bridge.cli.{name}" for name in COMMANDS if name != "check"} & imported


def test_the_settings_alone_do_not_import_yaml() -> None:
    imported = modules_after("import mt1bridge.config.settings, mt1bridge.model.errors")
    assert not [name for name in HEAVY if name in imported]


# --- failing --------------------------------------------------------------------------------------


def test_every_error_knows_its_exit_code_and_what_to_do() -> None:
    assert BridgeError("x").exit_code == 1
    assert UsageError("x").exit_code == 2
    assert ConfigurationError([Problem("x")]).exit_code == 78
    missing = MissingExtraError("aiohttp", "sudo apt install python3-aiohttp")
    assert missing.exit_code == 1
    assert str(missing).endswith("install it with  sudo apt install python3-aiohttp")


def test_the_extras_are_those_of_the_package() -> None:
    declared = (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2]
    for command, libraries in EXTRAS.items():
        assert command in COMMANDS
        body = declared.partition(f"\n{command} =\n")[2].partition(" =\n")[0]
        assert all(f"    {library} " in body for library in libraries)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("is wrong", "mqtt.url", "a.yaml", 3, 7), "a.yaml:3:7: mqtt.url: is wrong"),
        (Problem("is empty", file="a.yaml"), "a.yaml: is empty"),
        (Problem("is wrong", "mqtt.url", variable="MT1BRIDGE_MQTT_URL"), "MT1BRIDGE_MQTT_URL: is wrong"),
    ],
)
def test_a_problem_is_told_with_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def command_that(body: str) -> str:
    """Return a program that runs `mt1bridge demo`, where that command does what the body says."""
    return (
        "import sys, types\nfrom mt1bridge.cli import main\n"
        "demo = sys.modules['mt1bridge.cli.demo'] = types.ModuleType('demo')\n"
        "demo.HELP = demo.EXAMPLE = 'x'\ndemo.add_arguments = lambda parser: None\n"
        f"def run(args):\n    {body}\n    return 0\ndemo.run = run\nsys.exit(main(['demo']))"
    )


def test_an_interrupt_ends_with_130_and_without_a_traceback() -> None:
    process = python("-c", command_that("print('ready', flush=True); sys.stdin.read()"), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"")


@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
def test_a_reader_that_goes_away_is_no_traceback(unbuffered: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = python(*unbuffered, "-m", "mt1bridge", "version", stdout=writing)
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
def test_a_full_disk_behind_the_output_is_told(unbuffered: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        process = python(*unbuffered, "-m", "mt1bridge", "version", stdout=full)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"mt1bridge: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"exec {sys.executable} -m mt1bridge version {closed}"
    assert subprocess.run(["sh", "-c", command], env=environment, timeout=60, capture_output=True).returncode == 0


def test_a_missing_library_of_an_extra_says_how_to_get_it() -> None:
    process = python("-c", command_that("sys.modules['aiohttp'] = None; import aiohttp"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    told = f"the library aiohttp is not installed: install it with  {sys.executable} -m pip install 'mt1bridge[demo]'"
    assert said.decode() == f"mt1bridge: {told}\n"


def test_a_fault_of_our_own_is_not_hidden() -> None:
    process = python("-c", command_that("import no_such_module_of_ours"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"ModuleNotFoundError: No module named 'no_such_module_of_ours'" in said


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", command_that("print('Zürich')")]
    assert subprocess.run(command, env=environment, timeout=60, capture_output=True).stdout == b"Z\\xfcrich\n"
