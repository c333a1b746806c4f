"""The scoreboard in a real browser, over a real broker's WebSocket. Started by `run`, beside this file."""

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import websocket
from paho.mqtt.enums import CallbackAPIVersion

CHROMIUM = os.environ.get("MT1BRIDGE_CHROMIUM")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: tests/system/scoreboard/run"),
    pytest.mark.timeout(180),
]
PAGE = Path(__file__).parents[3] / "docs" / "examples" / "scoreboard" / "index.html"
DEVICE = "231203016"
TICKS_1970 = 10_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Broker:
    """mosquitto with a listener for MQTT and one for WebSocket.

    One message at a time may be unacknowledged: a page that does not acknowledge gets no second one.
    """

    def __init__(self, directory: Path) -> None:
        self.port, self.web_port = free_port(), free_port()
        self.configuration = directory / "mosquitto.conf"
        self.configuration.write_text(
            f"listener {self.port} 127.0.0.1\nlistener {self.web_port} 127.0.0.1\nprotocol websockets\n"
            f"allow_anonymous true\nmax_inflight_messages 1\nuser root\n"
            f"persistence true\npersistence_location {directory}/\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = subprocess.Popen([program, "-c", str(self.configuration)], stderr=subprocess.DEVNULL)
        wait_for("mosquitto", lambda: listens(self.port) and listens(self.web_port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


class Browser:
    """Chromium, spoken to by its DevTools protocol."""

    def __init__(self, directory: Path) -> None:
        assert CHROMIUM is not None
        profile = directory / "profile"
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={profile}", "--window-size=1600,900", "--no-first-run", "about:blank"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]  # nothing is fetched from anywhere
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.numbers = itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        port_file = profile / "DevToolsActivePort"
        wait_for("chromium", lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, 60)
        port = port_file.read_text().split()[0]
        target = wait_for("a page", lambda: self._page(port))
        self.socket = websocket.create_connection(target, suppress_origin=True, timeout=30)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _page(port: str) -> str | None:
        import requests

        targets = requests.get(f"http://127.0.0.1:{port}/json", timeout=10).json()
        return next((target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"), None)

    def call(self, method: str, **parameters: object) -> Any:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, answer: dict[str, Any]) -> None:
        if answer.get("method") == "Network.requestWillBeSent":
            self.requests.append(answer["params"]["request"]["url"])
        if answer.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def ask(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.ask(f"document.querySelector({selector!r})?.innerText ?? ''"))

    def screenshot(self, name: str, width: int = 1600, height: int = 900) -> None:
        if directory := os.environ.get("SCREENSHOTS"):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.call("Emulation.setDeviceMetricsOverride", **size)
            time.sleep(0.5)
            data = self.call("Page.captureScreenshot")["data"]
            (Path(directory) / f"{name}.png").write_bytes(base64.b64decode(data))
            self.call("Emulation.clearDeviceMetricsOverride")

    def stop(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


class Bridge:
    """Says what the bridge says of starts and finishes, and keeps `recent` and `last` as it does."""

    def __init__(self, port: int) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.journal, self.sequence = "k3v9", 0
        self.newest: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.client.on_message = lambda _client, _data, message: self.requests.append(json.loads(message.payload))
        self.client.subscribe("mt1/bridge/request/replay", 1)
        self.begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)

    def publish(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        data = payload if isinstance(payload, str) else json.dumps(payload)
        self.client.publish(f"mt1/{topic}", data, qos=1, retain=retain).wait_for_publish(20)

    def online(self) -> None:
        self.publish("bridge/state", "online", retain=True)
        self.publish("bridge/upstream", {"state": "live", "reasons": []}, retain=True)

    def message(self, channel: str, number: int, ticks: int, **changes: Any) -> dict[str, Any]:
        """ticks: 100 ns since the beginning."""
        timestamp = int(self.begin.timestamp()) * TICKS_1970 + ticks
        moment = self.begin + timedelta(microseconds=ticks // 10)
        self.sequence += 1
        facts: dict[str, Any] = {"schema": 1, "event_type": "trigger", "id": f"{DEVICE}-{channel}-{timestamp}"}
        facts |= {"revision": 1, "journal": self.journal, "sequence": self.sequence, "device": DEVICE}
        facts |= {"channel": channel, "start_number": number, "timestamp": str(timestamp), "in_effect": True}
        facts |= {"time_of_day": f"{moment:%H:%M:%S}.{timestamp % TICKS_1970:07d}"}
        facts |= {"received_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z", "device_name": "Finish hut"}
        return facts | changes

    def tell(self, message: dict[str, Any]) -> dict[str, Any]:
        kind = "trigger" if message["event_type"] in ("trigger", "late") else "correction"
        self.publish(f"device/{DEVICE}/{message['channel']}/{kind}", message)
        return message

    def keep(self, message: dict[str, Any]) -> None:
        """What is retained, after a message."""
        self.newest = [one for one in self.newest if one["id"] != message["id"]]
        if message["in_effect"]:
            self.newest.insert(0, {key: value for key, value in message.items() if key != "sequence"})
        self.publish(f"device/{DEVICE}/recent", self.newest[:20], retain=True)

    def impulse(self, channel: str, number: int, ticks: int, **changes: Any) -> dict[str, Any]:
        message = self.tell(self.message(channel, number, ticks, **changes))
        self.keep(message)
        return message

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Site:
    def __init__(self, broker: Broker, browser: Browser, bridge: Bridge) -> None:
        self.broker, self.browser, self.bridge = broker, browser, bridge

    def open(self, more: str = "") -> None:
        self.browser.open("about:blank")
        self.browser.open(f"{PAGE.as_uri()}#broker=ws://127.0.0.1:{self.broker.web_port}&title=Night+race{more}")

    def results(self) -> list[str]:
        rows = "[...document.querySelectorAll('#results tr')].map((row) => row.innerText.replace(/\\s+/g, ' ').trim())"
        return list(self.browser.ask(rows))

    def shows(self, *rows: str) -> None:
        try:
            wait_for(f"{rows}", lambda: self.results() == list(rows))
        except AssertionError as error:
            raise AssertionError(f"{error}; instead {self.results()}") from None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        broker = Broker(tmp_path)
        broker.start()
        stack.callback(broker.stop)
        bridge = Bridge(broker.port)
        stack.callback(bridge.stop)
        bridge.online()
        browser = Browser(tmp_path)
        stack.callback(browser.stop)
        site = Site(broker, browser, bridge)
        site.open()
        wait_for("the link", lambda: browser.text("#chip") == "live")
        yield site
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("file:", "ws://127.0.0.1", "about:"))] == []


def test_a_run_is_shown_exactly(site: Site) -> None:
    site.bridge.impulse("C0", 12, 0)
    site.bridge.impulse("C1", 12, 621_234_568)
    site.shows("1 12 1:02.1234568")
    assert site.browser.text("#latest .time") == "1:02.1234568"
    assert site.browser.text("#latest .bib") == "12"
    assert site.browser.text("#notice") == ""


def test_runs_are_ranked_and_late_ones_count(site: Site) -> None:
    for number, ticks in ((1, 500_000_002), (2, 500_000_001), (3, 499_999_999)):
        site.bridge.impulse("C0", number, number * 10_000_000_000)
        site.bridge.impulse("C1", number, number * 10_000_000_000 + ticks, event_type="late")
    site.shows("1 3 49.9999999", "2 2 50.0000001 +0.00", "3 1 50.0000002 +0.00")
    assert site.browser.text("#latest .bib") == "3"


def test_a_repeat_changes_nothing_and_a_correction_does(site: Site) -> None:
    site.bridge.impulse("C0", 7, 0)
    finish = site.bridge.impulse("C1", 7, 400_000_000)
    site.shows("1 7 40.0000000")
    changed = finish | {"event_type": "renumbered", "revision": 2, "start_number": 8}
    site.bridge.tell(changed)
    site.bridge.tell(finish)
    site.bridge.impulse("C0", 9, 1)
    site.shows()
    assert "Nobody yet" in site.browser.text("#latest")
    site.bridge.tell(changed | {"revision": 3, "start_number": 7, "event_type": "renumbered"})
    site.shows("1 7 40.0000000")
    site.bridge.tell(changed | {"revision": 4, "start_number": 7, "event_type": "cleared", "in_effect": False})
    site.shows()


def test_another_journal_wins_by_coming_last(site: Site) -> None:
    site.bridge.impulse("C0", 7, 0)
    site.bridge.impulse("C1", 7, 400_000_000, revision=5)
    site.shows("1 7 40.0000000")
    site.bridge.journal = "m7p2"
    site.bridge.impulse("C0", 6, 0, event_type="late")
    site.bridge.impulse("C1", 6, 400_000_000, event_type="late")
    site.shows("1 6 40.0000000")


def test_a_reload_shows_the_same_again(site: Site) -> None:
    for number in range(1, 11):
        site.bridge.impulse("C0", number, number * 1_000_000_000)
    for number in range(1, 11):
        site.bridge.impulse("C1", number, number * 1_000_000_000 + 420_000_000 + number)
    wait_for("ten results", lambda: len(site.results()) == 10)
    before = site.results()
    site.open()
    site.shows(*before)


def test_what_happened_while_the_broker_was_away_is_made_good(site: Site) -> None:
    site.bridge.impulse("C0", 1, 0)
    cleared = site.bridge.impulse("C1", 1, 300_000_000)
    site.shows("1 1 30.0000000")
    site.broker.stop()
    wait_for("the notice", lambda: "No connection to the broker" in site.browser.text("#notice"))
    site.broker.start()
    # Told while the page is not yet back, so that only what is retained can tell it.
    wait_for("the bridge to be back", site.bridge.client.is_connected)
    site.bridge.tell(gone := cleared | {"event_type": "cleared", "revision": 2, "in_effect": False})
    site.bridge.keep(gone)
    site.bridge.impulse("C0", 2, 1_000_000_000)
    site.bridge.impulse("C1", 2, 1_310_000_000)
    site.shows("1 2 31.0000000")
    assert site.browser.text("#notice") == ""


def test_who_is_on_the_course_is_shown_running(site: Site) -> None:
    now = (datetime.now(UTC) - site.bridge.begin).total_seconds()
    site.bridge.impulse("C0", 33, int((now - 12) * TICKS_1970))
    wait_for("the runner", lambda: site.browser.text("#course .bib") == "33")
    first = site.browser.text("#course li span:last-child")
    wait_for("the time to run", lambda: site.browser.text("#course li span:last-child") != first)
    assert 12 <= float(first) < 20
    site.bridge.impulse("C0", 34, 0)  # half an hour ago: does not come any more
    site.bridge.impulse("C1", 33, int(now * TICKS_1970))
    wait_for("nobody on the course", lambda: "Nobody" in site.browser.text("#course"))


def test_with_hours_the_bridge_is_asked_for_more(site: Site) -> None:
    site.open("&hours=6")
    request = wait_for("the request", lambda: site.bridge.requests)[0]
    since = datetime.fromisoformat(request["since"].replace("Z", "+00:00"))
    assert timedelta(hours=5.9) < datetime.now(UTC) - since < timedelta(hours=6.1)
    for number in range(1, 31):
        for channel, ticks in (("C0", 0), ("C1", 450_000_000)):
            message = site.bridge.message(channel, number, number * 500_000_000 + ticks)
            site.bridge.publish(f"bridge/replay/{request['transaction']}", message | {"replayed": True, "topic": "x"})
    wait_for("thirty results", lambda: len(site.results()) == 30)


def test_the_state_of_bridge_and_link_is_told(site: Site) -> None:
    site.bridge.publish("bridge/upstream", {"state": "disconnected"}, retain=True)
    wait_for("the link lost", lambda: "link to the MT1 server is not up" in site.browser.text("#notice"))
    site.bridge.publish("bridge/state", "offline", retain=True)
    wait_for("the bridge off", lambda: "bridge does not run" in site.browser.text("#notice"))
    site.bridge.online()
    wait_for("all well", lambda: site.browser.text("#notice") == "" and site.browser.text("#chip") == "live")


def test_what_is_no_message_of_ours_does_no_harm(site: Site) -> None:
    for payload in ("", "null", "[]", "{}", '{"id": 1}', "<b>", '{"id": "x", "timestamp": "1e5"}'):
        for topic in (f"device/{DEVICE}/C0/trigger", f"device/{DEVICE}/recent", f"device/{DEVICE}/C0/last"):
            site.bridge.publish(topic, payload)
    site.bridge.impulse("C0", 1, 0)
    site.bridge.impulse("C1", 1, 300_000_000)
    site.shows("1 1 30.0000000")


def test_it_looks_as_it_should(site: Site) -> None:
    """Kept as a picture where SCREENSHOTS says; nothing reaches over the edge of the screen."""
    for place, number in enumerate((7, 12, 3, 21, 15, 9, 18, 4)):
        begin = place * 900_000_000
        site.bridge.impulse("C0", number, begin)
        site.bridge.impulse("C1", number, begin + 621_234_568 + (place * 7919 % 31) * 1_337_411)
    now = (datetime.now(UTC) - site.bridge.begin).total_seconds()
    for number, ago in ((31, 41.3), (26, 11.7)):
        site.bridge.impulse("C0", number, int((now - ago) * TICKS_1970))
    wait_for("eight results", lambda: len(site.results()) == 8)
    site.browser.screenshot("scoreboard")
    for width, height in ((1600, 900), (390, 844), (1024, 768)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        site.browser.call("Emulation.setDeviceMetricsOverride", **size)
        assert site.browser.ask("document.documentElement.scrollWidth <= innerWidth"), width
        inside = "document.querySelector('#latest .time').scrollWidth <= document.querySelector('#latest').clientWidth"
        assert site.browser.ask(inside), width
    site.browser.screenshot("scoreboard-telephone", 390, 844)
