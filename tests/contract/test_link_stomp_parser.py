"""The seam to stomp.py: what leaves our frame reader goes through its own parser unharmed; its traps are still there.

The traps are tested too: when stomp.py mends one, the test says that our care for it can go.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import stomp.transport
from hypothesis import given, settings
from hypothesis import strategies as st

from mt1bridge.cloud.sockjs import Odd
from mt1bridge.cloud.stomp_frames import FrameReader
from mt1bridge.cloud.transport import hush_stomp


class Replay(stomp.transport.BaseTransport):
    """Feeds stomp.py's io loop with chunks and keeps what it makes of them."""

    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__(auto_decode=False)
        self._chunks: Iterator[bytes] = iter(chunks)
        self.bodies: list[bytes] = []
        self.cleanups = 0
        self.set_listener("replay", self)

    def receive(self) -> bytes:
        return next(self._chunks, b"")

    def cleanup(self) -> None:
        self.cleanups += 1

    def on_message(self, frame: stomp.utils.Frame) -> None:
        self.bodies.append(frame.body)


def replayed(chunks: list[bytes]) -> Replay:
    replay = Replay(chunks)
    replay.start()
    replay.io_thread.join(15)
    assert not replay.io_thread.is_alive()
    return replay


def parsed(chunks: list[bytes]) -> list[bytes]:
    """The bodies of the MESSAGEs that stomp.py finds in these chunks."""
    return replayed(chunks).bodies


def read(texts: list[str]) -> list[bytes]:
    reader = FrameReader()
    found = [item for text in texts for item in reader.feed(text)] + reader.flush()
    return [item for item in found if not isinstance(item, Odd)]


MESSAGE = b"MESSAGE\ndestination:/t\n\nbody\0"


def test_trap_two_line_ends_ahead_of_a_frame_lose_it() -> None:
    assert parsed([b"\n\n" + MESSAGE]) == [], "mended in stomp.py"
    assert parsed(read(["\n\n" + MESSAGE.decode()])) == [b"body"]


def test_trap_a_content_length_too_large_spoils_the_next_frame() -> None:
    wrong = MESSAGE.replace(b"\n\n", b"\ncontent-length:5\n\n")
    assert parsed([wrong, MESSAGE, MESSAGE]) != [b"body"] * 3, "mended in stomp.py"
    assert parsed(read([wrong.decode(), MESSAGE.decode(), MESSAGE.decode()])) == [b"body"] * 3


def test_trap_a_receipt_without_id_closes_the_connection() -> None:
    assert replayed([b"RECEIPT\n\n\0", MESSAGE]).cleanups == 2, "mended in stomp.py: cleaned up at the end alone"
    assert replayed(read(["RECEIPT\n\n\0", MESSAGE.decode()])).cleanups == 1


BODY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(BODY, min_size=1, max_size=6), st.sampled_from(["", "\n", "\n\n", "\r\n"]), st.booleans())
def test_every_body_comes_through_both_parsers(bodies: list[str], filler: str, together: bool) -> None:
    texts = [f"{filler}MESSAGE\ncontent-length:{len(body.encode())}\nx:y\n\n{body}\0{filler}" for body in bodies]
    assert parsed(read(["".join(texts)] if together else texts)) == [body.encode() for body in bodies]


PIECE = st.sampled_from(
    [
        *map(str, range(4)),
        "MESSAGE\n",
        "ERROR\n",
        "RECEIPT\n",
        "CONNECTED\n",
        "\n",
        "\r",
        "\0",
        "content-length:",
        "a:b",
        ":",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(PIECE, max_size=12).map("".join), max_size=6))
def test_no_nonsense_ahead_of_a_good_frame_costs_it(texts: list[str]) -> None:
    assert parsed(read([*texts, MESSAGE.decode()]))[-1:] == [b"body"]


def test_stomp_py_stays_silent_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    hush_stomp()
    caplog.set_level(logging.DEBUG)
    assert parsed([MESSAGE, b"NONSENSE\n\n\0", b"RECEIPT\n\n\0"])
    assert not [record for record in caplog.records if record.name == "stomp.py"]


def test_importing_the_link_asks_no_dns_and_starts_nothing_heavy() -> None:
    program = (
        "import socket, sys, json\n"
        "def asked(*_): raise SystemExit('asked DNS')\n"
        "socket.getaddrinfo = socket.gethostbyname = socket.getfqdn = asked\n"
        "import mt1bridge.cloud.link\n"
        "print(json.dumps([name for name in ('asyncio', 'aiohttp', 'rich', 'python_socks') if name in sys.modules]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "STOMP_SKIP_HOSTNAME_SCAN"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
