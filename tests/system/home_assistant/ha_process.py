"""A real Home Assistant: started, set up as a user would, asked over its own API, stopped."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket

CLIENT = "http://127.0.0.1/"


@dataclass(frozen=True)
class Installation:
    """Where a version of Home Assistant is. root: `/`, or a root directory to enter with chroot."""

    version: str
    root: Path
    venv: str  # as seen inside root

    def command(self, config: Path) -> list[str]:
        inside = "/" + str(config.relative_to(self.root))
        enter = [] if self.root == Path("/") else ["chroot", str(self.root)]
        certificates = "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"  # for what it installs by itself
        clean = ["env", "-i", "HOME=/root", f"PATH={self.venv}/bin:/usr/bin:/bin", "LANG=C.UTF-8", certificates]
        return [*enter, *clean, f"{self.venv}/bin/hass", "-c", inside]


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer of the condition, asked five times a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class HomeAssistant:
    """One configuration directory, and the process that runs on it (if it runs)."""

    installation: Installation
    config: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    token: str = ""
    refresh: str = ""
    socket: websocket.WebSocket | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write_configuration(self, extra: str = "") -> None:
        shutil.rmtree(self.config, ignore_errors=True)
        self.config.mkdir(parents=True)
        (self.config / "configuration.yaml").write_text(
            "homeassistant: {name: Hut, time_zone: Europe/Vienna, unit_system: metric, currency: EUR, country: AT}\n"
            f"http: {{server_host: 127.0.0.1, server_port: {self.port}}}\n"
            "logger: {default: info}\n" + extra
        )

    # --- the process ----------------------------------------------------------------------------------------

    def start(self) -> None:
        with (self.config / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(self.installation.command(self.config), stdout=output, stderr=output)
        wait_for("an answer over HTTP", self._answers, 600)
        if self.refresh:
            self._renew()
            self._connect()
        else:
            self._onboard()
            self._connect()
            if tuple(map(int, self.installation.version.split("."))) > (2026, 8):
                self.call("http/config/promote")  # or it goes back to its own port after five minutes
        wait_for("Home Assistant to be running", lambda: self.call("get_config")["state"] == "RUNNING", 300)

    def stop(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)
        self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.config / "output.txt").read_text()[-4000:]
        try:
            return requests.get(f"{self.url}/api/", timeout=5).status_code in (200, 401)
        except requests.RequestException:
            return False

    # --- its log --------------------------------------------------------------------------------------------

    def log(self) -> str:
        return (self.config / "output.txt").read_text(errors="replace")

    def complaints(self, about: re.Pattern[str]) -> list[str]:
        """Warnings and worse (with what follows them, such as a traceback) that say a word of the pattern."""
        entries = re.split(r"\n(?=(?:\x1b\[\d+m)?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", self.log())
        return [
            entry
            for entry in entries
            if re.search(r"^\S* ?\S+ \S+ (WARNING|ERROR|CRITICAL) ", entry) and about.search(entry)
        ]

    # --- its API --------------------------------------------------------------------------------------------

    def _onboard(self) -> None:
        user = {"client_id": CLIENT, "name": "Test", "username": "test", "password": "test-test", "language": "en"}
        ready = lambda: requests.get(f"{self.url}/api/onboarding", timeout=5).status_code == 200  # noqa: E731
        wait_for("onboarding", ready, 300)
        answer = requests.post(f"{self.url}/api/onboarding/users", json=user, timeout=60)
        answer.raise_for_status()
        self._token({"grant_type": "authorization_code", "code": answer.json()["auth_code"]})
        self.post("/api/onboarding/analytics", {})
        self.post("/api/onboarding/integration", {"client_id": CLIENT, "redirect_uri": CLIENT})

    def _renew(self) -> None:
        self._token({"grant_type": "refresh_token", "refresh_token": self.refresh})

    def _token(self, form: dict[str, str]) -> None:
        answer = requests.post(f"{self.url}/auth/token", data=form | {"client_id": CLIENT}, timeout=30)
        answer.raise_for_status()
        self.token = answer.json()["access_token"]
        self.refresh = answer.json().get("refresh_token", self.refresh)

    def post(self, path: str, body: object) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.post(f"{self.url}{path}", json=body, headers=headers, timeout=600)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer.json()

    def _connect(self) -> None:
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{self.port}/api/websocket", timeout=120)
        assert json.loads(self.socket.recv())["type"] == "auth_required"
        self.socket.send(json.dumps({"type": "auth", "access_token": self.token}))
        assert json.loads(self.socket.recv())["type"] == "auth_ok"

    def call(self, kind: str, **arguments: object) -> Any:
        """One command of the websocket API. Events that come meanwhile are kept in `events`."""
        assert self.socket is not None
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "type": kind, **arguments}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer["type"] == "event":
                self.events.append(answer["event"])
            elif answer["id"] == number:
                assert answer["type"] == "pong" or answer["success"], (kind, arguments, answer)
                return answer.get("result")

    def seen(self, event_type: str) -> list[dict[str, Any]]:
        """The events of a type that came since they were subscribed to."""
        self.call("ping")
        return [event for event in self.events if event["event_type"] == event_type]

    def states(self) -> dict[str, dict[str, Any]]:
        return {state["entity_id"]: state for state in self.call("get_states")}

    def state(self, entity_id: str) -> str | None:
        found = self.states().get(entity_id)
        return None if found is None else found["state"]

    def add_mqtt(self, broker_port: int) -> None:
        """What a user does under "Add integration"."""
        flow = self.post("/api/config/config_entries/flow", {"handler": "mqtt", "show_advanced_options": False})
        while flow["type"] == "menu":
            step = {"next_step_id": "broker"}
            flow = self.post(f"/api/config/config_entries/flow/{flow['flow_id']}", step)
        answer: dict[str, object] = {"broker": "127.0.0.1", "port": broker_port}
        if any(wanted["name"] == "other_settings" for wanted in flow["data_schema"]):  # newer ones
            answer["other_settings"] = {"set_client_cert": False, "set_ca_cert": "off"}
        flow = self.post(f"/api/config/config_entries/flow/{flow['flow_id']}", answer)
        assert flow["type"] == "create_entry", flow


def installation_from_environment() -> Installation | None:
    """MT1BRIDGE_HASS is `version:root:venv`, as the script `run` sets it."""
    text = os.environ.get("MT1BRIDGE_HASS")
    if not text:
        return None
    version, root, venv = text.split(":")
    return Installation(version, Path(root), venv)
