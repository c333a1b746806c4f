"""The simulator as a program of its own."""

import argparse
import asyncio
import os
import signal
import ssl
from pathlib import Path

from mt1bridge.simulator.server import DEVICES, Simulator


def serve(args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. OSError: port taken, or certificate, key or ready file not usable."""
    asyncio.run(_serve(args, _tls(args.tls_cert, args.tls_key)))


async def _serve(args: argparse.Namespace, tls: ssl.SSLContext | None) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    devices = tuple(dict.fromkeys(args.device or DEVICES))
    simulator = Simulator(
        host=args.host,
        port=args.port,
        devices=devices,
        username=args.username,
        password=args.password,
        seed=args.seed,
        tls=tls,
    )
    await simulator.start()
    try:
        if args.traffic == "race":
            simulator.control.race(args.speed, seed=args.seed, devices=list(devices))
        _announce(simulator, args)
        await end.wait()
    finally:
        simulator.control.stop_race()
        await simulator.stop()


def _announce(simulator: Simulator, args: argparse.Namespace) -> None:
    """The first line is for programs, the others for people."""
    print(f"listening on {simulator.url}", flush=True)
    print(f"realtime     {simulator.realtime_url}")
    print(f"account      {args.username}, devices {', '.join(sorted(simulator.world.store.devices))}")
    print(f"control      {simulator.url}/control/", flush=True)
    if args.ready_file is not None:
        fresh = args.ready_file.with_name(args.ready_file.name + ".new")
        fresh.write_text(simulator.url + "\n", encoding="utf-8")
        os.replace(fresh, args.ready_file)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    for path in (certificate, key):
        if path is not None and not os.access(path, os.R_OK):
            raise OSError(f"cannot read {path}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as problem:
        raise OSError(f"no usable certificate and key in {certificate}: {problem.reason or problem}") from problem
    return context
