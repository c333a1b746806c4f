"""`python -m tests.fuzz TARGET --seconds N`: coverage-guided, with atheris."""

import argparse
import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")
    try:
        atheris = importlib.import_module("atheris")
    except ModuleNotFoundError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 1
    with atheris.instrument_imports(include=["mt1bridge", "paho"]):
        targets = importlib.import_module("tests.fuzz.targets")
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="a directory to begin with and to add to")
    args = parser.parse_args()
    corpus = args.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(targets.SEEDS[args.target]):
        (corpus / f"seed{number}").write_bytes(seed)
    target = targets.TARGETS[args.target]()
    begun, inputs = time.monotonic(), 0

    def one(data: bytes) -> None:
        nonlocal inputs
        inputs += 1
        target(data)
        if time.monotonic() - begun > args.seconds:
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{args.target}: {inputs} inputs in {args.seconds} s, no failure, peak RSS {peak_mb} MB", flush=True)
            os._exit(0)

    atheris.Setup([sys.argv[0], str(corpus), "-max_len=4096", "-rss_limit_mb=2048"], one)
    atheris.Fuzz()
    return 0


sys.exit(main())
