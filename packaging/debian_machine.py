"""A Debian made by debootstrap and booted, systemd and all, in a container of its own: for test-on-debian.

Needs root, debootstrap and systemd-nspawn. The root directory is made once and kept; a machine writes into an overlay
over it, which outlives its boots, and has a network of its own with nothing but loopback.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
RELEASES = {"12": "bookworm", "13": "trixie"}
PACKAGES = (
    "systemd,systemd-sysv,dbus,iproute2,ca-certificates,adduser,man-db,"
    "python3,python3-yaml,python3-requests,python3-systemd,mosquitto,mosquitto-clients"
)
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")


class Failure(Exception):
    """Something is not as it must be."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mt1bridge" / "roots"


def root_of(release: str) -> Path:
    """Return the root directory of a release, made by debootstrap if there is none yet (some minutes, 330 MB)."""
    root = cache() / release
    if not root.exists():
        new = cache() / f"{release}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        print(f"making a root of Debian {release} in {root}", flush=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASES[release], str(new), MIRROR]
        with (cache() / f"{release}.log").open("w") as log:
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
                raise Failure(f"debootstrap failed: see {log.name}")
        new.rename(root)
    hosts = root / "etc/hosts"
    if not hosts.exists() or not hosts.read_text().strip():
        hosts.write_text("127.0.0.1 localhost\n")
    return root


class Machine:
    """One machine, which can be booted and put off again and again.

    disk: an empty directory for all that it writes. shared: a directory of ours, /mnt/shared in there, read-only.
    """

    def __init__(self, release: str, disk: Path, shared: Path) -> None:
        self._root, self._disk, self._shared = root_of(release), disk, shared
        self._name = f"mt1bridge-{release}-{os.getpid()}"
        for directory in ("upper", "work", "merged"):
            (disk / directory).mkdir()
        self.boot()

    def boot(self) -> None:
        disk = self._disk
        layers = f"lowerdir={self._root},upperdir={disk}/upper,workdir={disk}/work"
        # nspawn wants a cgroup v2 tree. Both mounts are private to it: a host with v1 stays as it is.
        script = (
            "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
            f"mount -t overlay overlay -o {layers} {disk}/merged && "
            "exec systemd-nspawn --quiet --register=no --keep-unit --kill-signal=SIGRTMIN+3 --private-network "
            f"--machine={self._name} --bind-ro={self._shared}:/mnt/shared -D {disk}/merged --boot"
        )
        with (disk / "console.log").open("a") as console:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--cgroup", "--propagation", "private", "bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.init = wait_for("the container's init", self._find_init, 30)
        wait_for("systemd to be up", self._is_up, 60)

    def _find_init(self) -> int | None:
        if self._nspawn.poll() is not None:
            raise Failure(f"systemd-nspawn ended with {self._nspawn.returncode}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return next((int(pid) for pid in children if _comm(pid) == "systemd"), None)

    def _is_up(self) -> bool:
        return self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def inside(self, *command: str) -> list[str]:
        """The command as run in the container from here."""
        return ["nsenter", "-t", str(self.init), "-a", *command]

    def in_its_network(self, *command: str) -> list[str]:
        """The command as run out here, but in the container's network."""
        return ["nsenter", "-t", str(self.init), "-n", *command]

    def run(self, script: str, check: bool = True, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a shell script in the container. Raises Failure if it does not end with 0, unless check is off."""
        environ = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root"
        done = subprocess.run(
            self.inside(*environ.split(), "sh", "-c", script),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd="/",
            start_new_session=True,  # a `kill 0` in there must not be one out here
        )
        if check and done.returncode:
            raise Failure(f"{script!r} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def off(self) -> None:
        """Power off in good order."""
        self._end(signal.SIGRTMIN + 4)

    def cut_power(self) -> None:
        """Kill everything in it at once. (What was written stays: the disk is ours, not the machine's.)"""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        for attempt in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.init, attempt)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(30)
                return
        raise Failure("the machine cannot be stopped")


def end(process: "subprocess.Popen[bytes] | None") -> None:
    """Stop one of our own processes, by force if need be."""
    if process is not None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _comm(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_for(what: str, probe: Callable[[], T | None], seconds: float) -> T:
    """Return the first true answer of the probe, asked over and over. Raises Failure after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.2)
