"""python -m tests.faults [--full] [words for pytest]: the fault tests, in the size for every change or whole."""

import os
import subprocess
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    surroundings = dict(os.environ)
    if "--full" in words:
        surroundings["MT1BRIDGE_FAULTS"] = "full"
    rest = [word for word in words if word != "--full"]
    here = Path(__file__).parent
    pytest = [sys.executable, "-m", "pytest", "-s", "--durations=10", str(here), *rest]
    return subprocess.run(pytest, env=surroundings, cwd=here.parents[1], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
