"""Simulator, `mt1bridge run`, mosquitto and the scoreboard in a browser. Started by `run`, beside this file."""

import os

import pytest
from mosquitto import Options, free_port, wait_until
from process import DEVICE, Stage
from test_scoreboard import PAGE, Browser

pytestmark = [
    pytest.mark.skipif("MT1BRIDGE_CHROMIUM" not in os.environ, reason="needs chromium: tests/system/scoreboard/run"),
    pytest.mark.timeout(180),
]


def run(stage: Stage, number: int, ticks: int) -> int:
    """One run of a number; the timestamp of its finish."""
    start = stage.simulator.impulse(device=DEVICE, channel=0, number=number)["timestamp"]
    finish: int = stage.simulator.impulse(device=DEVICE, channel=1, number=number, at=start + ticks)["timestamp"]
    return finish


def test_a_race_is_shown_live_after_a_reload_and_after_a_correction(tmp_path):
    web_port = free_port()
    web = Options(extra=(f"listener {web_port} 127.0.0.1", "protocol websockets"))
    with Stage(tmp_path, broker=web) as stage:
        stage.bridge.start()
        stage.wait_live()
        browser = Browser(tmp_path)
        try:

            def results() -> list[str]:
                rows = "[...document.querySelectorAll('#results tr')].map((one) => one.innerText.replace(/\\s+/g, ' '))"
                return [row.strip() for row in browser.ask(rows)]

            address = f"{PAGE.as_uri()}#broker=ws://127.0.0.1:{web_port}"
            browser.open(address)
            assert wait_until(lambda: browser.text("#chip") == "live"), browser.text("body")
            run(stage, 7, 421_000_001)
            finish = run(stage, 12, 420_000_009)
            both = ["1 12 42.0000009", "2 7 42.1000001 +0.09"]
            assert wait_until(lambda: results() == both), results()
            browser.open("about:blank")
            browser.open(address)
            assert wait_until(lambda: results() == both), results()
            stage.simulator.clear(device=DEVICE, channel=1, timestamp=finish)
            assert wait_until(lambda: results() == ["1 7 42.1000001"]), results()
            # More than the newest 20 impulses, and a reload: the bridge is asked for the rest.
            for number in range(30, 45):
                run(stage, number, 430_000_000 + number)
            assert wait_until(lambda: len(results()) == 16), results()
            browser.open("about:blank")
            browser.open(f"{address}&hours=1")
            assert wait_until(lambda: len(results()) == 16), results()
            assert browser.errors == []
        finally:
            browser.stop()
