"""python -m tests.faults.soak [--reconnects N] [--triggers N] [--minutes M]: one process, worn.

One bridge gets all the triggers and is made to reconnect so often: its broker connection by RST and by reloads that
change it, its link by RST and by reloads that change the devices. Every few seconds memory, threads and descriptors are
read. It ends with 0 if they stay flat, nothing is lost and no contract is breached, and prints the figures.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system"), str(HERE.parent / "contract")]
for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(name, None)  # every server is on this machine

import yaml  # noqa: E402 - after the path is set
from process import DEVICE, OTHER  # noqa: E402
from scene import Scene  # noqa: E402

LATELY = "190801013"  # the device that comes and goes
SAMPLE_S = 5.0
GROWTH_MB = 5.0
THREADS_MORE = FILES_MORE = 4  # a connection more, or a checkpoint, at the moment of the look
LINK_EVERY_S = 6.5  # the old connection stands 5 s beside the new one
RESET_LINK_EVERY_S = 75.0  # a link that stood a minute begins its back-off anew
BROKER_EVERY_S = 1.3


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    rss_mb: float
    threads: int
    files: int
    reconnects: int
    told: int


class Soak:
    def __init__(self, scene: Scene, reconnects: int, triggers: int, minutes: float) -> None:
        self._scene = scene
        self._reconnects, self._triggers, self._seconds = reconnects, triggers, minutes * 60
        self._settings = scene.bridge.settings
        self.samples: list[Sample] = []
        self._begun = time.monotonic()
        self._turn = 0

    def run(self) -> None:
        scene = self._scene
        scene.start("live")
        scene.simulator.load(
            count=self._triggers, per_second=self._triggers / self._seconds, devices=[DEVICE, OTHER], corrections=0.05
        )
        self._begun = time.monotonic()
        sample_at = link_at = reset_at = 0.0
        while not self._done():
            now = time.monotonic() - self._begun
            if now >= sample_at:
                sample_at = now + SAMPLE_S
                self._look(now)
            if now >= link_at:
                link_at = now + LINK_EVERY_S
                self._toggle_device()
            if now >= reset_at:
                reset_at = now + RESET_LINK_EVERY_S
                scene.simulator.sockets(action="reset")
            self._break_broker()
            time.sleep(BROKER_EVERY_S)
        self._settle()

    def _done(self) -> bool:
        assert self._scene.bridge.running(), self._scene.tail()
        through = self._scene.simulator.load_progress(load=1)["done"]
        return bool(through) and self.connections() >= self._reconnects

    def connections(self) -> int:
        """How often it connected, to both."""
        links = self._scene.simulator.counters()["connects"]
        return int(links) + self._scene.mqtt.connections

    def _break_broker(self) -> None:
        self._turn += 1
        if self._turn % 2:
            self._scene.mqtt.reset()
        else:
            self._settings["mqtt"]["scalar_topics"] = not self._settings["mqtt"].get("scalar_topics", False)
            self._reload()

    def _toggle_device(self) -> None:
        devices = self._settings["mt1"]["devices"]
        if devices.pop(LATELY, None) is None:
            devices[LATELY] = {}
        self._reload()

    def _reload(self) -> None:
        self._scene.bridge.file.write_text(yaml.safe_dump(self._settings))
        self._scene.bridge.signal(signal.SIGHUP)

    def _look(self, now: float) -> None:
        process = Path(f"/proc/{self._scene.bridge.pid}")
        threads, files = len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))
        told = self._scene.witness.told()
        self.samples.append(Sample(now, self._scene.rss_mb(), threads, files, self.connections(), told))

    def _settle(self) -> None:
        scene = self._scene
        books = scene.witness.books  # what was cleared before it was told is no impulse
        scene.until(lambda: len(books.newest) >= self._triggers, "every trigger", 900.0)
        scene.drained()
        self._look(time.monotonic() - self._begun)

    # --- verdict ------------------------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        books = self._scene.witness.books
        lost = wrong = 0
        for device in (DEVICE, OTHER):
            for channel in (0, 1):
                stored = self._scene.simulator.stored(device=device, channel=channel)
                difference = self._scene.witness.compare(stored)
                lost, wrong = lost + len(difference.lost), wrong + len(difference.wrong)
        if lost or wrong:
            yield f"{lost} lost, {wrong} not as they are"
        yield from books.breaches
        if again := books.event_types["restored"]:  # nothing ever is, so they were told twice, by two connections
            yield f"{again} told as restored"
        self._scene.check_log()
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        for what, more in (("rss_mb", GROWTH_MB), ("threads", THREADS_MORE), ("files", FILES_MORE)):
            before, after = (max(getattr(one, what) for one in part) for part in (early, late))
            if after > before + more:
                yield f"{what} grew from {before} to {after}"

    def figures(self) -> str:
        step = max(1, len(self.samples) // 12)
        lines = ["     s   rss MB  threads  files  connections  triggers"]
        for one in [*self.samples[::step], self.samples[-1]]:
            lines.append(
                f"{one.at_s:6.0f}  {one.rss_mb:7.1f}  {one.threads:7}  {one.files:5}  {one.reconnects:11}  {one.told:8}"
            )
        books = self._scene.witness.books
        lines.append(f"repeats {books.repeats}, breaches {len(books.breaches)}, journals {len(books.journals)}")
        lines.append(f"logins {self._scene.logins()}, event types {dict(books.event_types)}")
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--reconnects", type=int, default=2000)
    parser.add_argument("--triggers", type=int, default=200_000)
    parser.add_argument("--minutes", type=float, default=45.0, help="over which the triggers come")
    given = parser.parse_args()
    settings: dict[str, Any] = {"log": {"level": "info"}, "reconcile": {"window": "5m"}}
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        Scene(Path(directory), settings, devices=(DEVICE, OTHER)) as scene,
    ):
        scene.simulator.add_device(device=LATELY)
        soak = Soak(scene, given.reconnects, given.triggers, given.minutes)
        soak.run()
        print(soak.figures())
        faults = list(soak.faults())
        code = scene.bridge.stop()
        print("\n".join(faults) or "nothing wrong")
    return 1 if faults or code else 0


if __name__ == "__main__":
    sys.exit(main())
