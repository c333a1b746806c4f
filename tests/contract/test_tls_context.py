"""Contexts from files: each fault of a file has its words, and a context always verifies."""

import ssl
import subprocess
from pathlib import Path

import pytest
from certificates import Authority

from mt1bridge.runtime.tls import ContextKeeper, TlsFileError, client_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def fault(*files: Path | None) -> TlsFileError:
    with pytest.raises(TlsFileError) as raised:
        client_context(*files)
    return raised.value


def test_a_context_always_verifies(authority: Authority) -> None:
    own = authority.client()
    for files in ((None,), (authority.file,), (authority.file, own.cert, own.key), (None, own.cert, own.key)):
        context = client_context(*files)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_private_ca_takes_the_place_of_the_systems(authority: Authority) -> None:
    assert len(client_context(authority.file).get_ca_certs()) == 1


def test_the_key_may_stand_in_the_certificates_file(tmp_path: Path, authority: Authority) -> None:
    own = authority.client()
    both = tmp_path / "both.pem"
    both.write_bytes(own.key.read_bytes() + own.cert.read_bytes())
    client_context(authority.file, both)


def test_missing_files_are_named(tmp_path: Path, authority: Authority) -> None:
    own, missing = authority.client(), tmp_path / "missing.pem"
    for files, setting in (
        ((missing,), "ca_file"),
        ((None, missing, own.key), "cert_file"),
        ((None, own.cert, missing), "key_file"),
    ):
        error = fault(*files)
        assert (error.setting, error.file) == (setting, missing)
        assert str(error) == f"{setting} {missing}: does not exist"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "is a directory" in str(fault(tmp_path))


def test_files_without_certificate_or_key_are_said(tmp_path: Path, authority: Authority) -> None:
    own, text, empty = authority.client(), tmp_path / "text", tmp_path / "empty"
    text.write_text("hello\n")
    empty.write_text("")
    assert "ca_file" in str(fault(text))
    assert "no PEM certificate" in str(fault(text))
    assert "no PEM certificate" in str(fault(empty))
    assert "no PEM certificate" in str(fault(None, own.key, own.key))
    assert fault(None, own.cert, text).setting == "key_file"
    assert fault(None, own.cert).setting == "cert_file"  # without a key
    assert "without cert_file" in str(fault(None, None, own.key))


def test_a_damaged_certificate_is_said(tmp_path: Path, authority: Authority) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert fault(damaged).setting == "ca_file"
    assert fault(None, damaged, authority.client().key).setting in ("cert_file", "key_file")


def test_a_key_of_another_certificate_is_said(authority: Authority) -> None:
    error = fault(None, authority.client("a").cert, authority.client("b").key)
    assert error.setting == "key_file"
    assert "does not belong" in str(error)


def test_a_key_with_a_password_is_said_and_nobody_is_asked(tmp_path: Path, authority: Authority) -> None:
    own, locked = authority.client(), tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(own.key), "-out", str(locked), "-passout", "pass:geheim"],
        check=True,
        capture_output=True,
    )
    error = fault(None, own.cert, locked)
    assert error.setting == "key_file"
    assert "protected by a password" in str(error)


def test_one_context_serves_until_a_file_changes(authority: Authority) -> None:
    keeper = ContextKeeper(authority.file, None, None)
    first = keeper.get()
    assert keeper.get() is first
    authority.file.write_bytes(authority.file.read_bytes() + b"\n")
    second = keeper.get()
    assert second is not first
    assert keeper.get() is second
    authority.file.unlink()
    with pytest.raises(TlsFileError):
        keeper.get()
