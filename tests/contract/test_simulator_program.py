"""`mt1bridge simulate` as a process."""

import os
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from simulator_probe import DEVICE, OTHER, Push

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from mt1bridge.cli import main; sys.exit(main(['simulate', *sys.argv[1:]]))"


def command(*arguments, before=""):
    return [sys.executable, "-W", "error", "-c", before + PROGRAM, *map(str, arguments)]


def environment():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


@contextmanager
def running(*arguments):
    """The process and the URL of its first line."""
    process = subprocess.Popen(
        command("--port", 0, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), line + process.stderr.read()
        yield process, line.split()[2]
    finally:
        process.kill()
        process.communicate()


def ended(*arguments, before=""):
    return subprocess.run(
        command(*arguments, before=before), capture_output=True, text=True, env=environment(), timeout=30, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly_while_a_client_is_there(number):
    with running() as (process, url):
        push = Push(_Address(url))
        assert push.text() == "o"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        push.ws.shutdown()


def test_race_begins_with_the_first_subscriber():
    with running("--speed", 1000, "--device", "7") as (_, url):
        assert requests.get(f"{url}/control/stored", timeout=5).json()["result"] == []
        push = Push(_Address(url))
        push.connect()
        assert push.frame()[0] == "CONNECTED"
        push.subscribe("/topic/device/7/trigger")
        assert push.push()["dto"]["deviceId"] == "7"
        push.ws.shutdown()


def test_account_devices_and_ready_file_are_as_told(tmp_path):
    ready = tmp_path / "ready"
    options = ("--traffic", "none", "--username", "me", "--password", "pass word", "--ready-file", ready)
    with running(*options) as (process, url):
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[1].strip() == f"account      me, devices {DEVICE}, {OTHER}"
        answer = requests.post(f"{url}/mt1/api/user/login", json={"username": "me", "password": "pass word"}, timeout=5)
        assert answer.json()["status"] == 0
        assert requests.post(f"{url}/control/now", timeout=5).json()["ok"]
        process.terminate()
        process.communicate(timeout=20)
        assert ready.read_text() == url + "\n"


def test_https_with_a_certificate_of_ones_own(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    with running("--tls-cert", certificate, "--tls-key", key, "--traffic", "none") as (_, url):
        assert url.startswith("https://")
        assert requests.get(f"{url}/devices/info", verify=str(certificate), timeout=5).json()["websocket"]
        push = Push(_Address(url), sslopt={"ca_certs": str(certificate), "cert_reqs": ssl.CERT_REQUIRED})
        assert push.text() == "o"
        push.ws.shutdown()
    result = ended("--port", 0, "--tls-cert", certificate)
    assert result.returncode == 1
    assert result.stderr.startswith("mt1bridge: the simulator cannot serve: no usable certificate and key in")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "65536"), "65536 is not a port: 0 to 65535"),
        (("--device", "abc"), "'abc' is not a device id: digits only"),
        (("--speed", "0"), "0 is not a positive number"),
        (("--speed", "fast"), "fast is not a positive number"),
        (("--tls-key", "x"), "--tls-key needs --tls-cert"),
    ],
)
def test_wrong_usage_is_refused(arguments, message):
    result = ended(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_port_in_use_and_missing_files_are_one_line():
    with running() as (_, url):
        result = ended("--port", url.rpartition(":")[2])
        assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
        assert "address already in use" in result.stderr
    result = ended("--port", 0, "--tls-cert", "/nowhere.pem")
    assert (result.returncode, result.stderr) == (
        1,
        "mt1bridge: the simulator cannot serve: cannot read /nowhere.pem\n",
    )


def test_missing_aiohttp_is_told_with_the_remedy():
    result = ended("--port", 0, before="import sys; sys.modules['aiohttp'] = None\n")
    assert result.returncode == 1
    assert result.stderr.startswith("mt1bridge: the library aiohttp is not installed")
    assert result.stderr.endswith("pip install 'mt1bridge[simulate]'\n")


def test_command_is_known_without_importing_the_simulator():
    code = "import sys, mt1bridge.cli.simulate; sys.exit('aiohttp' in sys.modules or 'asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0


def test_help_has_an_example():
    result = ended("--help")
    assert result.returncode == 0
    assert "curl -s http://127.0.0.1:8080/control/impulse" in result.stdout


class _Address:
    """What `Push` asks of a simulator."""

    def __init__(self, url):
        self.realtime_url = f"{url}/devices"


def test_documentation_names_every_switch_verb_and_fault():
    from mt1bridge.simulator.behaviour import described
    from mt1bridge.simulator.control import VERBS
    from mt1bridge.simulator.faults import CONNECT_FAULTS, REST_FAULTS

    text = (ROOT / "docs" / "simulator.rst").read_text(encoding="utf-8")
    names = {*VERBS, *CONNECT_FAULTS, *REST_FAULTS, *(one["name"] for one in described())} - {"now"}
    words = set(text.replace("`", " ").replace(",", " ").split())
    assert {name for name in names if name not in words} == set()
