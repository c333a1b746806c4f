"""Files of TLS are looked into before the broker is: present, matching, open, not ended."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mt1bridge.config.certificates import expired
from mt1bridge.config.loading import load
from mt1bridge.config.settings import Loaded
from mt1bridge.model.errors import ConfigurationError

NOW_MS = int(datetime(2026, 2, 14, tzinfo=UTC).timestamp() * 1000)
YEAR_MS = 365 * 86_400_000


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with cert.pem and key.pem, other.pem (another key), locked.pem (the key, with a password)."""
    directory = tmp_path_factory.mktemp("pems")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    for name in ("key.pem", "other.pem"):
        openssl("genpkey", *curve, "-out", name)
    openssl("pkey", "-in", "key.pem", "-aes256", "-passout", "pass:hunter2", "-out", "locked.pem")
    openssl("req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=mt1bridge", "-days", "30", "-out", "cert.pem")
    (directory / "text.pem").write_text("no certificate\n")
    return directory


def loaded(tmp_path: Path, pems: Path, now_ms: int | None = None, **files: str) -> Loaded:
    keys = "".join(f", {key}: {pems / name}" for key, name in files.items())
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(f"mt1: {{username: a, password: x}}\nmqtt: {{url: 'mqtts://broker.example'{keys}}}\n")
    file.chmod(0o600)
    return load(file, {"HOME": "/h"}, now_ms)


def fault(tmp_path: Path, pems: Path, **files: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, pems, **files)
    (problem,) = caught.value.problems
    assert problem.line == 2
    return f"{problem.key}: {problem.text}".replace(f"{pems}/", "")


def test_good_files_are_taken(tmp_path: Path, pems: Path) -> None:
    mqtt = loaded(tmp_path, pems, ca_file="cert.pem", cert_file="cert.pem", key_file="key.pem").settings.mqtt
    assert (mqtt.ca_file, mqtt.cert_file, mqtt.key_file) == (pems / "cert.pem", pems / "cert.pem", pems / "key.pem")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"ca_file": "none.pem"}, "mqtt.ca_file: expected a file, but none.pem does not exist"),
        ({"ca_file": "text.pem"}, "mqtt.ca_file: expected certificates in PEM format, but text.pem holds none"),
        ({"ca_file": "."}, "is a directory, not a file"),
        (
            {"cert_file": "cert.pem", "key_file": "other.pem"},
            "mqtt.cert_file: expected the key that belongs to cert.pem, but other.pem is another one",
        ),
        (
            {"cert_file": "cert.pem", "key_file": "locked.pem"},
            "expected a key without a password, but locked.pem has one",
        ),
        ({"cert_file": "cert.pem", "key_file": "none.pem"}, "expected a file, but none.pem does not exist"),
        ({"cert_file": "text.pem", "key_file": "key.pem"}, "expected a certificate and its key in PEM format"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, pems: Path, files: dict[str, str], told: str) -> None:
    assert told in fault(tmp_path, pems, **files)


def test_the_ca_file_of_the_mt1_server_is_looked_into_too(tmp_path: Path, pems: Path) -> None:
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(f"mt1: {{username: a, password: x, ca_file: {pems / 'text.pem'}}}")
    with pytest.raises(ConfigurationError, match=r"mt1\.ca_file: expected certificates in PEM format"):
        load(file, {"HOME": "/h"})


def test_a_certificate_that_has_ended_is_warned_about(tmp_path: Path, pems: Path) -> None:
    made_ms = int((pems / "cert.pem").stat().st_mtime * 1000)
    files = {"cert_file": "cert.pem", "key_file": "key.pem"}
    assert loaded(tmp_path, pems, made_ms + 29 * 86_400_000, **files).warnings == ()
    (warning,) = loaded(tmp_path, pems, made_ms + 31 * 86_400_000, **files).warnings
    assert (warning.key, warning.line) == ("mqtt.cert_file", 2)
    assert "cert.pem ended on 20" in warning.text


def test_the_end_is_the_one_that_openssl_shows(pems: Path) -> None:
    shown = subprocess.run(
        ["openssl", "x509", "-in", pems / "cert.pem", "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    end = datetime.strptime(shown, "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert expired(pems / "cert.pem", int(end.timestamp() * 1000) + 1) == f"{end:%Y-%m-%d %H:%M} UTC"
    assert expired(pems / "cert.pem", int(end.timestamp() * 1000)) == ""


def test_what_is_no_certificate_has_no_end(pems: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    for path in (broken, pems / "text.pem", pems / "none.pem"):
        assert expired(path, NOW_MS + 100 * YEAR_MS) == ""
