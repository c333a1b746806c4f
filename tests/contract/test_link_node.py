"""The link against the SockJS reference server (npm `sockjs`), where node and npm are at hand."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sockjs_server import PATIENCE, QUICK, Bench, eventually

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.model.upstream import LinkConnected, LinkMessage, LinkSubscribed, Trouble

PACKAGE = "sockjs@0.3.24"
COUNT, STRANGE = 300, "Zieleinlauf äöü – 東京 🏁 \u2028"

# What it does is chosen by the device subscribed to.
SERVER = """
const http = require('http'), sockjs = require('sockjs');
const frame = (command, headers, body = '') =>
  command + '\\n' + Object.entries(headers).map(([k, v]) => k + ':' + v + '\\n').join('') + '\\n' + body + '\\0';
const echo = sockjs.createServer({ log: () => {}, heartbeat_delay: 200 });
echo.on('connection', conn => conn.on('data', data => {
  const head = Object.fromEntries(data.split('\\n').map(line => line.split(/:(.*)/s).slice(0, 2)));
  if (data.startsWith('CONNECT\\n')) conn.write(frame('CONNECTED', { version: '1.2', 'heart-beat': '0,0' }));
  if (!data.startsWith('SUBSCRIBE\\n')) return;
  conn.write(frame('RECEIPT', { 'receipt-id': head.receipt }));
  const push = body => conn.write(frame('MESSAGE', { destination: head.destination, subscription: head.id,
    'message-id': 'm', 'content-length': Buffer.byteLength(body) }, body));
  const device = head.destination.split('/')[3];
  if (device === '1') for (let n = 0; n < COUNT; n++) push(JSON.stringify([n, STRANGE]));
  if (device === '2') push(STRANGE.repeat(40000));
  if (device === '3') conn.close(3456, 'told you');
  if (device === '4') push('\\ud800');
}));
const server = http.createServer();
echo.installHandlers(server, { prefix: '/devices' });
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@pytest.fixture(scope="module")
def url(pytestconfig: pytest.Config) -> Iterator[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    assert pytestconfig.cache is not None
    directory = pytestconfig.cache.mkdir("npm-sockjs")
    install(npm, directory)
    values = f"const COUNT = {COUNT}, STRANGE = {json.dumps(STRANGE)};\n"
    (directory / "server.js").write_text(values + SERVER, encoding="utf-8")
    with subprocess.Popen([node, "server.js"], cwd=directory, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/devices"
        server.kill()


def install(npm: str, directory: Path) -> None:
    if (directory / "node_modules" / "sockjs").exists():
        return
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", PACKAGE]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}")


def test_many_messages_come_in_order_and_whole(url: str) -> None:
    with Bench(url) as bench:
        bench.open("1")
        bodies = [json.loads(bench.wait(LinkMessage).body) for _ in range(COUNT)]
    assert bodies == [[number, STRANGE] for number in range(COUNT)]


def test_a_body_of_a_megabyte_comes_whole(url: str) -> None:
    with Bench(url) as bench:
        bench.open("2")
        assert bench.wait(LinkMessage).body == (STRANGE * 40_000).encode()


def test_its_close_is_told_with_code_and_reason(url: str) -> None:
    with Bench(url) as bench:
        lost = bench.lost("3")
    assert (lost.trouble, lost.close_code) == (Trouble.CLOSED, 3456)
    assert "told you" in lost.text


def test_its_heart_beats_keep_a_quiet_link(url: str) -> None:
    limits: LinkLimits = replace(QUICK, silence_unpromised=0.8, ping_every=PATIENCE)
    with Bench(url, limits=limits) as bench:
        link = bench.open("9")
        bench.wait(LinkConnected)
        bench.wait(LinkSubscribed)
        since = bench.links.last_frame_at(link) or 0.0
        eventually(lambda: (bench.links.last_frame_at(link) or 0.0) > since + 1.2)
        assert bench.inbox.empty()


def test_a_lone_surrogate_comes_as_something(url: str) -> None:
    with Bench(url) as bench:
        bench.open("4")
        assert bench.wait(LinkMessage).body in (b"\xed\xa0\x80", "\ufffd".encode())


def test_a_path_that_it_does_not_know_is_no_link(url: str) -> None:
    with Bench(url.replace("/devices", "/elsewhere"), limits=LinkLimits(connect=0.5)) as bench:
        assert bench.lost("1").trouble in (Trouble.TIMEOUT, Trouble.UPGRADE, Trouble.CLOSED)
