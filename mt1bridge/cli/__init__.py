"""The command line: one file per command, imported only when that command is chosen (contract, section 9).

A command's module has HELP and EXAMPLE (texts), `add_arguments(parser)` and `run(args) -> exit code`. It raises our
errors (model/errors.py); `main` alone turns them into text and an exit code.
"""

import argparse
import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import NoReturn, Protocol, cast

from mt1bridge.model.errors import BridgeError, ConfigurationError, MissingExtraError, UsageError

DEFAULT_CONFIG = "/etc/mt1bridge/mt1bridge.yaml"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE: whoever read our output went away

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "the daemon: every trigger from the MT1 server to MQTT",
        "check": "check the configuration and show what is in effect",
        "devices": "list the devices of the account",
        "monitor": "watch live: state, and the latest impulse of every channel",
        "journal": "list, export or verify what was recorded",
        "simulate": "an MT1 server of our own to try against",
        "demo": "simulator, broker and bridge in one: nothing else needed",
        "version": "show the version of mt1bridge and what it runs on",
    }
)
# What a command needs beyond a plain installation; the extra that brings it bears the command's name (setup.cfg;
# cli/extras.py).
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType({"simulate": ("aiohttp",), "demo": ("aiohttp", "amqtt")})


class Command(Protocol):
    """What a command's module offers."""

    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 failed, 2 wrong usage, 78 faulty configuration."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show must not end us
        code = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # None where it was closed before we began
            sys.stdout.flush()
        return code
    except ConfigurationError as error:
        _say(*(f"warning: {warning}" for warning in error.warnings), str(error))
        return error.exit_code
    except UsageError as error:
        _say(f"mt1bridge: {error}", error.usage)
        return error.exit_code
    except BridgeError as error:
        _say(f"mt1bridge: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        _say(f"mt1bridge: the output cannot be written: {error.strerror}")
        return BridgeError.exit_code


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add `-c/--config FILE`; the value is None unless given, see `config_path`."""
    text = f"configuration file (default: $MT1BRIDGE_CONFIG, else {DEFAULT_CONFIG})"
    parser.add_argument("-c", "--config", metavar="FILE", help=text)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs instead of text for people")


def config_path(args: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """Return the path of the configuration file: the option, the environment, the default."""
    return args.config or environ.get("MT1BRIDGE_CONFIG") or DEFAULT_CONFIG


def config_words(args: argparse.Namespace) -> str:
    """` -c FILE` where the user gave it, for commands that a message advises; else ""."""
    from shlex import quote  # only a message needs it

    return f" -c {quote(args.config)}" if args.config else ""


class _Parser(argparse.ArgumentParser):
    """argparse, but with our error instead of an exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().rstrip())


def _run(argv: list[str]) -> int:
    top = _top_parser()
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen is None or argv[0] != chosen:
        return _without_command(top, argv)
    if chosen not in COMMANDS:
        raise UsageError(f"there is no command {chosen!r}{_meant(chosen)}", top.format_usage().rstrip())
    try:
        command = cast("Command", import_module(f"mt1bridge.cli.{chosen}"))
        parser = _Parser(
            prog=f"mt1bridge {chosen}",
            description=command.HELP,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(parser)
        try:
            args = parser.parse_args(argv[1:])
        except SystemExit as stop:  # --help
            return int(stop.code or 0)
        return command.run(args)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in EXTRAS.get(chosen, ()):
            from mt1bridge.cli.extras import remedy  # only where something is missing

            raise MissingExtraError(library, remedy(library, chosen)) from error
        raise


def _without_command(top: argparse.ArgumentParser, argv: list[str]) -> int:
    """Answer --help and --version; anything else lacks a command."""
    try:
        args = top.parse_args(argv)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    if args.version:
        return _run(["version"])
    raise UsageError("which command?", top.format_help().rstrip())


def _top_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    parser = _Parser(
        prog="mt1bridge",
        usage="mt1bridge COMMAND [options]",
        description="Every trigger of an ALGE MT1, from the MT1 server to MQTT.",
        epilog=f"commands:\n{lines}\n\nmt1bridge COMMAND --help tells more about each, with an example.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="the same as the command version")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _meant(word: str) -> str:
    from difflib import get_close_matches  # only a slip needs it

    near = get_close_matches(word.lower(), list(COMMANDS), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _drop_output() -> None:
    """Send what is still buffered nowhere: it would raise again when Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(*texts: str) -> None:
    """Print to standard error; nobody there to read it is no error."""
    with suppress(BrokenPipeError):
        for text in texts:
            if text and sys.stderr is not None:
                print(text, file=sys.stderr)
