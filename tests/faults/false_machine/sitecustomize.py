"""In a process of the bridge: the clock is off and names cannot be resolved, as the file says that FALSE_MACHINE names.

Python imports this by itself at its start, where PYTHONPATH has this directory; see lies.py.
"""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["FALSE_MACHINE"])
_time_ns, _getaddrinfo = time.time_ns, socket.getaddrinfo


def _told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_bytes())
    return found


def _wrong_time_ns() -> int:
    return _time_ns() + int(_told()["clock_off_s"] * 1_000_000_000)


def _resolve(host: Any, *arguments: Any, **options: Any) -> Any:
    if _told()["names_fail"] and not str(host).replace(".", "").isdigit():
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _getaddrinfo(host, *arguments, **options)


time.time_ns = _wrong_time_ns
time.time = lambda: _wrong_time_ns() / 1_000_000_000
socket.getaddrinfo = _resolve
