"""`mt1bridge simulate`: an MT1 server of our own to try against."""

import argparse
from pathlib import Path

from mt1bridge.model.errors import BridgeError, UsageError

HELP = (
    "Run an MT1 server of our own: REST, SockJS and STOMP, with the traffic of an alpine race. To let the bridge talk\n"
    "to it, give mt1.url its address, with the account below. What it can be told to do: GET <address>/control/"
)
EXAMPLE = """mt1bridge simulate --port 8080 --device 231203016 --device 231203037
  curl -s http://127.0.0.1:8080/control/impulse -d '{"device": "231203016", "channel": 0}'
  curl -s http://127.0.0.1:8080/control/stored     all that the bridge should have delivered"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="0: chosen by the system (default %(default)s)")
    parser.add_argument(
        "--device",
        type=_device,
        action="append",
        metavar="ID",
        help="digits; repeatable, from start to finish (default 231203016 and 231203037)",
    )
    parser.add_argument("--username", default="club", help="of the only account (default %(default)s)")
    parser.add_argument("--password", default="mt1demo", help="of the only account (default %(default)s)")
    parser.add_argument("--traffic", choices=("race", "none"), default="race", help="default %(default)s")
    parser.add_argument(
        "--speed", type=_speed, default=12.0, help="race faster than life; 12 is a trigger a second (default)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, another race (default %(default)s)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM: serve https with this certificate")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM: its key, if not in the same file")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="write the URL here when listening")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT: 0. ModuleNotFoundError: aiohttp is missing; BridgeError: it cannot serve."""
    if args.tls_key is not None and args.tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert")
    from mt1bridge.simulator.program import serve

    try:
        serve(args)
    except OSError as problem:
        raise BridgeError(f"the simulator cannot serve: {problem}") from problem
    return 0


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return int(text)


def _device(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device id: digits only")
    return text


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return speed
