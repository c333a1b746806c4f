"""Certificates for tests: a CA of our own (with keyUsage, which Python 3.13 demands) and what it signs (with SAN)."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two PEM files. cert: with the chain."""

    cert: Path
    key: Path


class Authority:
    """A CA that keeps its files, and those that it signs, in one directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._name = name
        self._ca = trustme.CA(organization_name=f"{name} for tests")
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *hosts: str, expired: bool = False, not_yet: bool = False) -> Certificate:
        """Return a certificate for these names and addresses; localhost, 127.0.0.1 and ::1 if none is given."""
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        day = datetime.timedelta(days=1)
        not_before = now + day if not_yet else now - 30 * day
        not_after = now - day if expired else now + 30 * day
        names = hosts or ("localhost", "127.0.0.1", "::1")
        state = "expired" if expired else "not-yet" if not_yet else "good"
        return self._write(f"server-{names[0]}-{state}", *names, not_before=not_before, not_after=not_after)

    def client(self, name: str = "mt1bridge") -> Certificate:
        """Return a client's certificate with this common name."""
        return self._write(f"client-{name}", f"{name}@example.org", common_name=name)

    def _write(self, file: str, *identities: str, **options: object) -> Certificate:
        leaf = self._ca.issue_cert(*identities, **options)
        cert = self._directory / f"{self._name}-{file}.pem"
        key = self._directory / f"{self._name}-{file}.key"
        cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return Certificate(cert, key)
