"""What test-on-debian demands of the installed package, step by step, on a booted machine.

The simulator runs out here, in the machine's network; broker, subscriber and bridge run in there as on any Debian.
The steps build on each other and are run in order.
"""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from debian_machine import Failure, Machine, end, wait_for

CONFIG = """\
mt1:
  url: http://127.0.0.1:8080
  username: club
  password_file: /etc/mt1bridge/mt1-password
mqtt:
  username: mt1bridge
log:
  level: info
"""
FAULTY = CONFIG.replace("level: info", "level: loud")
SECRETS = {"mt1-password": "mt1demo", "mqtt-password": "Gib's zu: %5 #geheim"}
WATCHDOG_S, RESTART_S = 30, 5
MOST_MB = {"3.11": 38.0}  # promised for Python 3.11; others are told without a bound
UNIT = "mt1bridge.service"


def demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise Failure(otherwise)


class Bench:
    """The machine, what feeds it and what hears it."""

    def __init__(self, machine: Machine, source: Path, disk: Path) -> None:
        self.machine = machine
        self._source = source
        self._heard = disk / "heard"
        self._simulator: subprocess.Popen[bytes] | None = None
        self._ear: subprocess.Popen[bytes] | None = None
        self._stored: set[str] = set()
        self.notes: dict[str, str] = {}  # what one step leaves to later ones

    # --- the machine's side

    def run(self, script: str, check: bool = True) -> str:
        return self.machine.run(script, check=check).stdout.strip()

    def put(self, path: str, text: str, mode: str = "644", owner: str = "root:root") -> None:
        command = self.machine.inside("sh", "-c", f"cat > {path} && chmod {mode} {path} && chown {owner} {path}")
        subprocess.run(command, input=text.encode(), check=True, cwd="/", timeout=60)

    def show(self, field: str, unit: str = UNIT) -> str:
        return self.run(f"systemctl show --value -p {field} {unit}")

    def pid(self) -> int:
        """Of the running bridge."""
        pid = int(self.show("MainPID"))
        demand(pid > 1, f"the bridge does not run: {self.show('ActiveState')}, {self.show('Result')}")
        return pid

    def log(self, match: str = "") -> list[dict[str, str]]:
        lines = self.run(f"journalctl -o json -u {UNIT} {match}", check=False).splitlines()
        return [json.loads(line) for line in lines]

    def wait_status(self, text: str, seconds: float = 30, unit: str = UNIT) -> None:
        wait_for(f"status {text!r} of {unit}", lambda: text in self.show("StatusText", unit), seconds)

    def wait_live(self, unit: str = UNIT, seconds: float = 45) -> None:
        self.wait_status("MT1 server: live; broker: connected", seconds, unit)

    # --- what feeds it

    def start_simulator(self) -> None:
        command = [sys.executable, "-m", "mt1bridge", "simulate", "--port", "8080", "--traffic", "none"]
        words, quiet = self.machine.in_its_network(*command), subprocess.DEVNULL
        self._simulator = subprocess.Popen(words, cwd=self._source, stdout=quiet, stderr=quiet)
        wait_for("the simulator", lambda: self._ask("stored") is not None, 20)

    def stop_simulator(self) -> None:
        self._remember()
        end(self._simulator)
        self._simulator = None

    def load(self, count: int, per_second: float) -> None:
        """Impulses; returns when the last one was pushed."""
        number = self._ask("load", json.dumps({"count": count, "per_second": per_second}))
        self._ask(f"wait_load?load={number}&timeout=60")

    def begin_load(self, count: int, per_second: float) -> None:
        self._ask("load", json.dumps({"count": count, "per_second": per_second}))

    def _ask(self, verb: str, body: str | None = None) -> Any:
        code = (
            "import sys, urllib.request as u\n"
            "data = sys.argv[2].encode() if len(sys.argv) > 2 else None\n"
            "print(u.urlopen('http://127.0.0.1:8080/control/' + sys.argv[1], data, 70).read().decode())\n"
        )
        words = [verb] if body is None else [verb, body]
        command = self.machine.in_its_network(sys.executable, "-I", "-c", code, *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        return json.loads(done.stdout)["result"] if done.returncode == 0 else None

    def stored(self) -> set[str]:
        """Ids of all triggers that any simulator of this bench ever held."""
        self._remember()
        return self._stored

    def _remember(self) -> None:
        for row in self._ask("stored") or []:
            for trigger in row["triggers"]:
                self._stored.add(f"{row['device']}-C{row['channel']}-{trigger['timestamp']}")

    # --- what hears it

    def start_ear(self) -> None:
        """A subscriber with a session that the broker keeps."""
        sub = r"mosquitto_sub -u scoreboard -P s -i ear -c -q 1 -t 'mt1/device/+/+/trigger' -F '%t\t%p'"
        with self._heard.open("ab") as heard:
            self._ear = subprocess.Popen(self.machine.inside("sh", "-c", f"exec {sub}"), stdout=heard, cwd="/")

    def heard(self) -> list[dict[str, object]]:
        if not self._heard.exists():
            return []
        lines = self._heard.read_text().splitlines()
        return [json.loads(payload) for topic, _, payload in (line.partition("\t") for line in lines) if payload]

    def wait_delivered(self, seconds: float = 30) -> int:
        """Wait until every stored trigger was heard; return how many."""
        stored = self.stored()

        def all_heard() -> bool:
            return stored <= {str(one["id"]) for one in self.heard()}

        try:
            wait_for("all triggers at the subscriber", all_heard, seconds)
        except Failure as fault:
            missing = stored - {str(one["id"]) for one in self.heard()}
            raise Failure(f"{fault}: {len(missing)} of {len(stored)} are missing") from fault
        return len(stored)

    def repeats(self) -> int:
        told = [(one["id"], one["revision"]) for one in self.heard()]
        return len(told) - len(set(told))

    def retained(self, topic: str) -> str:
        return self.run(f"mosquitto_sub -u homeassistant -P h -t '{topic}' -C 1 -W 5")

    # --- the end

    def situation(self) -> str:
        """What a person wants to see when a step failed."""
        script = (
            f"systemctl show {UNIT} -p ActiveState,Result,ExecMainStatus,StatusText; "
            f"journalctl -u {UNIT} -o short -n 25"
        )
        try:
            return re.sub("^", "    | ", self.run(script, check=False), flags=re.MULTILINE)
        except (OSError, subprocess.SubprocessError) as fault:
            return f"    | {fault}"

    def close(self) -> None:
        end(self._simulator)
        end(self._ear)


# --- the steps: each returns facts worth printing, or raises --------------------------------------

Step = Callable[[Bench], str | None]


def steps() -> Iterator[tuple[str, Step, bool]]:
    """The steps in order: name, function, and whether all later ones make no sense without it."""
    for step in (
        installed,
        units_judged,
        faulty_configuration,
        mended_and_live,
        password_not_world_readable,
        triggers_delivered,
        small,
        log_has_fields,
        reloaded,
        outage_told_once,
        killed,
        hung,
        upgraded_with_backlog,
        instance_beside_it,
        power_cut,
        stopped_in_time,
        nothing_secret_told,
        removed_and_installed_again,
        purged,
    ):
        yield (step.__doc__ or "").partition("\n")[0].rstrip("."), step, step in (installed, mended_and_live)


def installed(bench: Bench) -> None:
    """The package installs; the unit is enabled, waits for its configuration and says how to make one."""
    bench.run("dpkg -i /mnt/shared/mt1bridge_1.0~rc1_all.deb")
    demand(bench.run(f"systemctl is-enabled {UNIT}") == "enabled", "the unit is not enabled")
    demand(bench.show("Result") == "exec-condition", f"the unit's result is {bench.show('Result')}")
    told = bench.run(f"journalctl -u {UNIT} -o cat")
    demand("sudo cp /usr/share/doc/mt1bridge/examples/mt1bridge.yaml" in told, "the log does not say what to do")
    demand(bench.run("systemctl is-system-running") == "running", "the system is degraded")
    demand(bench.run("dpkg --verify mt1bridge; dpkg --audit") == "", "dpkg is not content")
    demand("1.0rc1" in bench.run("mt1bridge version"), "the command does not run")


def units_judged(bench: Bench) -> str:
    """systemd finds no fault with the units and an exposure of at most 1.1."""
    told = bench.machine.run("systemd-analyze verify mt1bridge.service mt1bridge@club.service").stderr
    demand(told == "", told)
    for unit in ("mt1bridge.service", "mt1bridge@club.service"):
        path = f"/usr/lib/systemd/system/{unit.replace('club', '')}"
        bench.run(f"systemd-analyze security --offline=yes --threshold=11 {path}")
    return bench.run("systemctl --version | head -1")


def faulty_configuration(bench: Bench) -> None:
    """A faulty configuration ends with exit code 78, is told with its line, and is not tried again."""
    _broker(bench)
    bench.put("/etc/mt1bridge/mt1-password", SECRETS["mt1-password"] + "\n", "640", "root:mt1bridge")
    bench.put("/etc/mt1bridge/mt1bridge.yaml", FAULTY)
    demand(bench.machine.run("systemctl start mt1bridge", check=False).returncode, "it started nevertheless")
    demand(bench.show("ExecMainStatus") == "78", f"exit code {bench.show('ExecMainStatus')}")
    line = 1 + FAULTY[: FAULTY.index("loud")].count("\n")
    told = bench.run(f"journalctl -u {UNIT} -o cat")
    demand(f"mt1bridge.yaml:{line}:" in told and "log.level" in told, "the log does not name line and key")
    time.sleep(RESTART_S + 2)  # the span in which a restart would come
    demand((bench.show("ActiveState"), bench.show("NRestarts")) == ("failed", "0"), "systemd tried again")


def _broker(bench: Bench) -> None:
    """mosquitto with the users and rights that docs/raspberry-pi.rst gives, and somebody who listens."""
    page = (Path(__file__).resolve().parent.parent / "docs/raspberry-pi.rst").read_text()
    block = page.partition("runs a mosquitto with it\n\n::\n\n")[2]
    acl = re.match(r"(?:    .*\n|\n)+", block)
    demand(acl, "docs/raspberry-pi.rst has no ACL")
    bench.put("/etc/mosquitto/acl", re.sub("^    ", "", acl.group() if acl else "", flags=re.MULTILINE), "640")
    users = {"mt1bridge": SECRETS["mqtt-password"], "homeassistant": "h", "scoreboard": "s"}
    bench.put("/etc/mosquitto/passwd", "", "600")
    for user, word in users.items():
        bench.run(f"mosquitto_passwd -b /etc/mosquitto/passwd {user} {shlex.quote(word)}")
    bench.run("chown mosquitto: /etc/mosquitto/passwd /etc/mosquitto/acl")
    users_conf = "\n".join(
        (
            "per_listener_settings false",
            "listener 1883",
            "allow_anonymous false",
            "password_file /etc/mosquitto/passwd",
            "acl_file /etc/mosquitto/acl\n",
        )
    )
    bench.put("/etc/mosquitto/conf.d/users.conf", users_conf)
    bench.run("systemctl restart mosquitto")
    bench.start_ear()
    bench.run("install -d -m 700 /etc/credstore")
    bench.put("/etc/credstore/mt1bridge.mqtt-password", SECRETS["mqtt-password"] + "\n", "600")


def mended_and_live(bench: Bench) -> str:
    """With the configuration mended it is ready at once, without a server, and live soon after that is there."""
    bench.put("/etc/mt1bridge/mt1bridge.yaml", CONFIG)
    began = time.monotonic()
    bench.run("systemctl restart mt1bridge")
    ready = time.monotonic() - began
    bench.wait_status("MT1 server: disconnected")
    bench.start_simulator()
    began = time.monotonic()
    bench.wait_live(seconds=90)
    return f"ready after {ready:.1f} s, live {time.monotonic() - began:.1f} s after the server came"


def password_not_world_readable(bench: Bench) -> None:
    """Configuration, journal and credential are closed to other users."""
    for path in ("/etc/mt1bridge/mt1bridge.yaml", "/etc/mt1bridge/mt1-password", "/var/lib/mt1bridge/token.json"):
        command = f"setpriv --reuid=nobody --clear-groups --regid=nogroup cat {path}"
        demand("Permission denied" in bench.machine.run(command, check=False).stderr, f"nobody can read {path}")
    modes = bench.run("stat -c %a /var/lib/mt1bridge && find /var/lib/mt1bridge -type f -printf '%m\\n' | sort -u")
    demand(modes.split() == ["700", "600"], f"modes are {modes.split()}")


def triggers_delivered(bench: Bench) -> str:
    """Every trigger arrives once, with the rights of the documented ACL."""
    bench.load(200, 50)
    count = bench.wait_delivered()
    demand(bench.repeats() == 0, f"{bench.repeats()} came twice")
    return f"{count} triggers"


def small(bench: Bench) -> str:
    """It idles in 38 MiB (Python 3.11), in four threads, and writes nothing without a trigger."""
    pid = bench.pid()
    before = _written(bench, pid)
    bench.load(100, 20)
    bench.wait_delivered()
    per_trigger = (_quiet(bench, pid) - before) / 100
    status = dict(line.split(":", 1) for line in bench.run(f"cat /proc/{pid}/status").splitlines())
    rss_mb, threads = int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])
    facts = f"{rss_mb:.1f} MiB, {threads} threads, {per_trigger:.0f} bytes written a trigger"
    python = bench.run("python3 -c 'import platform; print(platform.python_version().rpartition(\".\")[0])'")
    demand(rss_mb <= MOST_MB.get(python, rss_mb) and threads <= 5, facts)
    return f"Python {python}: {facts}"


def _quiet(bench: Bench, pid: int) -> int:
    """Wait for 30 s without a write (a checkpoint may follow the triggers); return what was written until then."""
    began = quiet_since = time.monotonic()
    written = _written(bench, pid)
    while time.monotonic() - quiet_since < 30:
        time.sleep(2)
        if (now := _written(bench, pid)) != written:
            written, quiet_since = now, time.monotonic()
        demand(quiet_since - began < 120, "it writes on and on without a trigger")
    return written


def _written(bench: Bench, pid: int) -> int:
    found = re.search(r"^write_bytes: (\d+)$", bench.run(f"cat /proc/{pid}/io"), re.MULTILINE)
    return int(found.group(1)) if found else 0


def log_has_fields(bench: Bench) -> str:
    """The journal has a field for every fact, and can be searched by them."""
    (started,) = bench.log("EVENT=started")
    demand(started["VERSION"] == "1.0rc1" and started["PRIORITY"] == "6", f"{started}")
    demand(bench.log("EVENT=no_such_event") == [], "the match finds anything")
    states = [entry["STATE"] for entry in bench.log("EVENT=state_changed")]
    demand("live" in states, f"states told: {states}")
    return f"{len(bench.log())} lines so far"


def reloaded(bench: Bench) -> None:
    """A reload applies a good file, refuses a faulty one, and loses nothing."""
    pid = bench.pid()
    bench.put("/etc/mt1bridge/mt1bridge.yaml", CONFIG.replace("log:", "  scalar_topics: true\nlog:"))
    bench.run("systemctl reload mt1bridge")
    wait_for("word of the reload", lambda: bench.log("EVENT=configuration_reloaded"), 20)
    bench.put("/etc/mt1bridge/mt1bridge.yaml", FAULTY)
    bench.run("systemctl reload mt1bridge")
    (refusal,) = wait_for("word of the refusal", lambda: bench.log("EVENT=configuration_refused"), 20)
    demand("log.level" in refusal["TEXT"], refusal["TEXT"])
    bench.load(50, 50)
    bench.wait_delivered()
    bench.retained("mt1/device/231203016/C0/value/start_number")
    bench.put("/etc/mt1bridge/mt1bridge.yaml", CONFIG)
    bench.run("systemctl reload mt1bridge")
    wait_for("word of the second reload", lambda: len(bench.log("EVENT=configuration_reloaded")) == 2, 20)
    bench.wait_live()
    demand(bench.pid() == pid, "the process did not survive")


def outage_told_once(bench: Bench) -> None:
    """An outage of the broker is one warning when it begins and one line when it ends."""
    bench.run("systemctl stop mosquitto")
    bench.wait_status("broker: unreachable")
    before = len(bench.log())
    bench.load(20, 20)
    time.sleep(10)  # the span in which more lines would come
    during = [entry["MESSAGE"] for entry in bench.log()[before:]]
    bench.run("systemctl start mosquitto")
    bench.wait_live()
    bench.wait_delivered()
    demand(during == [], f"told again: {during}")
    after = [entry["EVENT"] for entry in bench.log()[before:]]
    demand(len(after) == 1, f"told at its end: {after}")


def killed(bench: Bench) -> str:
    """Killed under load it is back after five seconds and nothing is lost."""
    pid, journal, already = bench.pid(), _journal_id(bench), len(bench.heard())
    bench.begin_load(400, 50)
    wait_for("the load to be under way", lambda: len(bench.heard()) > already + 50, 30)
    bench.run(f"kill -KILL {pid}")
    back = _wait_new_pid(bench, pid, RESTART_S + 15)
    wait_for("the load's end", lambda: len(bench.stored()) >= already + 400, 30)
    bench.wait_live()
    count = bench.wait_delivered()
    demand(_journal_id(bench) == journal, "a kill is no power cut, but the journal id changed")
    return f"back after {back:.1f} s, {count} triggers in all, {bench.repeats()} came twice"


def _journal_id(bench: Bench) -> str:
    return str(json.loads(bench.retained("mt1/bridge/info"))["journal"])


def _wait_new_pid(bench: Bench, old: int, seconds: float) -> float:
    began = time.monotonic()
    wait_for("a new process", lambda: bench.show("MainPID") not in ("0", str(old)), seconds)
    wait_for("the unit to be ready", lambda: bench.show("ActiveState") == "active", 30)
    return time.monotonic() - began


def hung(bench: Bench) -> str:
    """Stopped dead (SIGSTOP) it is found by the watchdog, started anew, and nothing is lost."""
    pid = bench.pid()
    bench.run(f"kill -STOP {pid}")
    bench.load(100, 50)
    back = _wait_new_pid(bench, pid, WATCHDOG_S + RESTART_S + 20)
    told = bench.run(f"journalctl -u {UNIT} -o cat")
    demand("Watchdog timeout" in told, "it was not the watchdog")
    demand(bench.run("find / -xdev -name 'core*' -size +1M -newer /etc/mt1bridge/mt1bridge.yaml") == "", "a core file")
    bench.wait_live()
    bench.wait_delivered()
    return f"back after {back:.1f} s"


def upgraded_with_backlog(bench: Bench) -> str:
    """An upgrade while the broker is away asks nothing, touches nothing under /etc, and loses no backlog."""
    before, repeats = bench.run("find /etc/mt1bridge -type f -exec sha256sum {} + | sort"), bench.repeats()
    bench.run("systemctl stop mosquitto")
    bench.wait_status("broker: unreachable")
    bench.load(300, 100)
    pid = bench.pid()
    bench.run("dpkg -i /mnt/shared/mt1bridge_1.0_all.deb < /dev/null")
    demand(bench.pid() != pid, "it was not restarted")
    bench.run("systemctl start mosquitto")
    bench.wait_live(seconds=120)
    count = bench.wait_delivered()
    demand(json.loads(bench.retained("mt1/bridge/info"))["version"] == "1.0", "the old version answers")
    demand(bench.run("find /etc/mt1bridge -type f -exec sha256sum {} + | sort") == before, "/etc was touched")
    demand(bench.repeats() - repeats <= 100, f"{bench.repeats() - repeats} came twice")
    return f"{count} triggers in all, {bench.repeats() - repeats} came twice"


def instance_beside_it(bench: Bench) -> None:
    """An instance of the template runs beside it, with names, journal and credentials of its own."""
    unit = "mt1bridge@club.service"
    bench.put("/etc/mt1bridge/club.yaml", CONFIG.replace("  username: mt1bridge\n", "  username: club\n"))
    bench.put("/etc/credstore/mt1bridge@club.mqtt-password", "c", "600")
    bench.run("mosquitto_passwd -b /etc/mosquitto/passwd club c")
    bench.run("printf 'user club\\ntopic readwrite mt1-club/#\\ntopic write homeassistant/#\\n' >> /etc/mosquitto/acl")
    bench.run("systemctl restart mosquitto && systemctl enable --now mt1bridge@club")
    bench.wait_live(unit)
    command = "mosquitto_sub -u club -P c -t mt1-club/bridge/info -C 1 -W 5"
    info = json.loads(bench.run(command))
    demand(info["instance"] == "mt1bridge-club", f"its instance is {info['instance']}")
    demand(bench.run("stat -c %U:%a '/var/lib/mt1bridge@club'") == "mt1bridge:700", "its journal is not its own")
    bench.run(f"systemctl disable --now {unit}")


def power_cut(bench: Bench) -> str:
    """After a power cut it starts with the machine, without server or network, and goes on when they are back."""
    journal = _journal_id(bench)
    bench.stop_simulator()
    bench.machine.cut_power()
    bench.machine.boot()
    wait_for("the unit to be up", lambda: bench.show("ActiveState") == "active", 30)
    bench.wait_status("MT1 server: disconnected")
    bench.start_ear()
    bench.start_simulator()
    bench.load(50, 50)
    bench.wait_live(seconds=120)
    bench.wait_delivered()
    demand(_journal_id(bench) != journal, "the journal id is the old one")
    return f"{len(bench.stored())} triggers in all"


def stopped_in_time(bench: Bench) -> str:
    """It stops within five seconds, says offline, and systemd calls that a success."""
    began = time.monotonic()
    bench.run("systemctl stop mt1bridge")
    took = time.monotonic() - began
    demand(took <= 5, f"it took {took:.1f} s")
    demand((bench.show("Result"), bench.show("ExecMainStatus")) == ("success", "0"), bench.show("Result"))
    demand(bench.retained("mt1/bridge/state") == "offline", "the broker still says online")
    bench.run("systemctl start mt1bridge")
    bench.wait_live(seconds=90)
    return f"{took:.1f} s"


def nothing_secret_told(bench: Bench) -> str:
    """No password, no token and no traceback is in the log."""
    told = bench.run("journalctl -o export --all")
    token = json.loads(bench.run("cat /var/lib/mt1bridge/token.json"))["token"]
    for what, text in {**SECRETS, "token": token}.items():
        demand(text not in told, f"the {what} is in the log")
    demand("Traceback" not in told, "a traceback is in the log")
    return f"{len(bench.log())} lines"


def removed_and_installed_again(bench: Bench) -> None:
    """Removed, it leaves configuration and journal; installed again, it goes on and repeats nothing."""
    repeats = bench.repeats()
    bench.run("dpkg -r mt1bridge")
    demand(bench.show("ActiveState") == "inactive", "it still runs")
    demand(bench.run("ls -d /usr/lib/mt1bridge /usr/bin/mt1bridge 2>/dev/null", check=False) == "", "files are left")
    bench.run("test -s /etc/mt1bridge/mt1bridge.yaml && test -d /var/lib/mt1bridge")
    demand(bench.run("systemctl is-system-running") == "running", "the system is degraded")
    bench.load(50, 50)
    bench.run("dpkg -i /mnt/shared/mt1bridge_1.0_all.deb")
    bench.wait_live(seconds=90)
    bench.wait_delivered()
    demand(bench.repeats() == repeats, f"{bench.repeats() - repeats} came twice")


def purged(bench: Bench) -> None:
    """Purged, it leaves nothing but its locked user."""
    bench.run("dpkg -P mt1bridge")
    found = bench.run("find / -xdev -path /proc -prune -o -iname '*mt1bridge*' -print")
    left = [
        path
        for path in found.splitlines()
        if not path.startswith(("/var/lib/dpkg/", "/var/log/", "/var/cache/man/", "/mnt/"))
    ]
    demand(left == [], f"left behind: {left}")
    demand(bench.run("getent passwd mt1bridge").endswith(":/usr/sbin/nologin"), "the user can log in")
    demand(bench.run("systemctl is-system-running") == "running", "the system is degraded")
