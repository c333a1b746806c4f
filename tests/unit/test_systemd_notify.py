"""Word to systemd, read at the other end of a real datagram socket."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.runtime.systemd import Notifier, boot_id, runtime_directory


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def notifier(systemd: socket.socket, **environ: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": systemd.getsockname(), **environ})


def test_each_word_is_one_message(systemd: socket.socket) -> None:
    told = notifier(systemd)
    told.ready()
    told.watchdog()
    told.reloading(123456)
    told.stopping()
    assert [systemd.recv(4096) for _ in range(4)] == [
        b"READY=1",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=123456",
        b"STOPPING=1",
    ]


def test_a_status_is_sent_when_it_changes(systemd: socket.socket) -> None:
    told = notifier(systemd)
    told.status("live; broker connected")
    told.status("live; broker connected")
    told.status("disconnected: Übung")
    assert systemd.recv(4096) == b"STATUS=live; broker connected"
    assert systemd.recv(4096) == "STATUS=disconnected: Übung".encode()


@given(st.text(st.characters()))
def test_a_status_can_be_nothing_but_a_status(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # the kernel chooses an abstract name
        receiver.setblocking(False)
        told = Notifier({"NOTIFY_SOCKET": "@" + receiver.getsockname()[1:].decode()})
        told.status("something else")
        receiver.recv(4096)
        told.status(text + "x")
        message = receiver.recv(4096)
    assert message.startswith(b"STATUS=")
    assert b"\n" not in message
    assert len(message.decode()) <= 307


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # the kernel chooses an abstract name
        receiver.settimeout(10)
        Notifier({"NOTIFY_SOCKET": "@" + receiver.getsockname()[1:].decode()}).ready()
        assert receiver.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify", "vsock:2:1", "@" + "x" * 200, "/a\0b"])
def test_without_systemd_nothing_happens(address: str) -> None:
    told = Notifier({"NOTIFY_SOCKET": address})
    told.ready()
    told.status("x")
    told.watchdog()
    told.reloading(1)
    told.stopping()


def test_a_systemd_that_does_not_read_holds_nobody(systemd: socket.socket) -> None:
    told = notifier(systemd)
    for _ in range(5000):
        told.watchdog()
    assert systemd.recv(4096) == b"WATCHDOG=1"


def test_the_process_is_watched_when_systemd_says_so() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_interval_s() == 30.0
    assert Notifier({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}).watchdog_interval_s() == 0.5


@pytest.mark.parametrize("value", ["", "0", "-1", "abc", "1.5", "1e6", " 7", "٣", "9" * 400])
def test_an_odd_watchdog_value_means_not_watched(value: str) -> None:
    assert Notifier({"WATCHDOG_USEC": value}).watchdog_interval_s() is None


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    environ = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(environ).watchdog_interval_s() is None
    assert Notifier({**environ, "WATCHDOG_PID": "x"}).watchdog_interval_s() is None
    assert Notifier({}).watchdog_interval_s() is None


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (None, b"READY=1"),
        ("def notify(state): raise OSError('gone')\n", None),
        ("def notify(state):\n import os, socket\n s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
         " s.sendto(b'library: ' + state.encode(), os.environ['NOTIFY_SOCKET'])\n s.close()\n", b"library: READY=1"),
    ],
)  # fmt: skip
def test_systemd_python_is_used_where_it_can_be_imported(
    systemd: socket.socket, tmp_path: Path, library: str | None, expected: bytes | None
) -> None:
    """In a process of its own: what can be imported is a matter of the whole process."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "__init__.py").touch()
    if library is not None:
        (tmp_path / "systemd" / "daemon.py").write_text(library)
    environ = {**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "PYTHONPATH": str(tmp_path)}
    code = "from mt1bridge.runtime.systemd import Notifier; Notifier().ready()"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60, cwd=root)
    systemd.settimeout(10 if expected else 0.0)
    if expected is None:
        with pytest.raises(BlockingIOError):
            systemd.recv(4096)
    else:
        assert systemd.recv(4096) == expected


BOOT = "8e35e52138084186892f88082ff8208f"


def test_the_boot_id_is_the_same_from_the_unit_and_from_the_kernel(tmp_path: Path) -> None:
    kernel = tmp_path / "boot_id"
    kernel.write_text("8e35e521-3808-4186-892f-88082ff8208f\n")
    assert boot_id({"BOOT_ID": BOOT}, "/nonexistent") == BOOT
    assert boot_id({}, str(kernel)) == BOOT
    assert re.fullmatch("[0-9a-f]{32}", boot_id({}))


@pytest.mark.parametrize("environ", [{}, {"BOOT_ID": "%b"}, {"BOOT_ID": BOOT + "0"}])
def test_no_boot_id_is_better_than_a_wrong_one(environ: dict[str, str]) -> None:
    assert boot_id(environ, "/nonexistent") == ""


def test_the_directory_in_memory_is_the_first_that_systemd_names():
    assert runtime_directory({"RUNTIME_DIRECTORY": "/run/mt1bridge:/run/other"}) == Path("/run/mt1bridge")
    assert runtime_directory({"RUNTIME_DIRECTORY": "relative"}) is None
    assert runtime_directory({}) is None
