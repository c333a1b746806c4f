"""The file, the environment and the secrets -> settings, or every problem at once (contract, section 8)."""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mt1bridge.config import certificates, credentials, document, rules
from mt1bridge.config import options as o
from mt1bridge.config.building import build
from mt1bridge.config.credentials import read_password
from mt1bridge.config.found import Found
from mt1bridge.config.opening import Unreadable, read_regular
from mt1bridge.config.options import Option
from mt1bridge.config.reader import read_environment, read_file
from mt1bridge.config.report import NOWHERE, Report, TooManyProblems, Unfit
from mt1bridge.config.sample import sample
from mt1bridge.config.settings import Loaded, Settings
from mt1bridge.config.surroundings import Surroundings, surroundings
from mt1bridge.model.errors import ConfigurationError

SECRETS = (o.PASSWORD, o.MQTT_PASSWORD)
PATHS = (o.MT1_CA_FILE, o.MQTT_CA_FILE, o.CERT_FILE, o.KEY_FILE, o.DIRECTORY)


def load(path: Path, environ: Mapping[str, str], now_ms: int | None = None) -> Loaded:
    """Read the settings. Raises ConfigurationError with all problems (and the warnings) at once.

    environ: MT1BRIDGE_<SECTION>_<KEY> beats the file; HOME, STATE_DIRECTORY, CREDENTIALS_DIRECTORY are looked at too.
    now_ms: milliseconds since 1970 UTC, to warn of certificates that have ended; None leaves that out.
    """
    report, found = Report(str(path)), Found()
    settings: Settings | None = None
    with suppress(TooManyProblems):  # the report says so itself
        settings = _load(path, environ, now_ms, found, report)
    if settings is None or report.problems:
        raise ConfigurationError(report.problems, report.warnings)
    return Loaded(settings, report.warnings, MappingProxyType(found.origins()))


def _load(path: Path, environ: Mapping[str, str], now_ms: int | None, found: Found, report: Report) -> Settings | None:
    around = surroundings(path, environ, report)
    content = _content(path, report)
    doc = document.parse(content[0], report) if content is not None else None
    devices = read_file(doc, found, report) if doc is not None else None
    read_environment(environ, found, report)
    if doc is None or content is None:
        return None  # what is missing, or in conflict, cannot be told without the file
    holds_password = any(place.variable is None for option in SECRETS for place in found.places(option))
    if holds_password and content[1] & stat.S_IROTH:
        report.warn(NOWHERE, "", f"every user of this machine can read the password in it: chmod o-rwx {path}")
    _make_absolute(found, around, report)
    mt1 = read_password(credentials.MT1, found, around, report)
    mqtt = read_password(credentials.MQTT, found, around, report)
    rules.check(found, mqtt is not None, report)
    _check_certificates(found, now_ms, report)
    directory = found.get(o.DIRECTORY) or around.journal_directory()
    if directory is None:
        report.problem(found.place(o.DIRECTORY), o.DIRECTORY.name, "is missing, and no home directory is known: set it")
    if mt1 is None or directory is None or report.problems:
        return None
    return build(found, devices, mt1, mqtt, directory, around.unit)


def _content(path: Path, report: Report) -> tuple[bytes, int] | None:
    """Return the bytes of the file and its mode."""
    try:
        data, status = read_regular(path, document.LARGEST_FILE)
    except Unreadable as error:
        more = f": write one, or name another with -c; {sample()}" if error.missing else ""
        report.problem(NOWHERE, "", error.reason + more)
        return None
    return data, status.st_mode


def _make_absolute(found: Found, around: Surroundings, report: Report) -> None:
    for option in PATHS:
        path = found.get(option)
        if path is not None:
            _check(option, partial(_put_absolute, option, path, found, around), found, report)


def _put_absolute(option: Option[Path], path: Path, found: Found, around: Surroundings) -> None:
    found.put(option, around.absolute(path, found.place(option)))


def _check_certificates(found: Found, now_ms: int | None, report: Report) -> None:
    """Look into the files of TLS: whether they can be used, and whether they have ended."""
    cert, key = found.get(o.CERT_FILE), found.get(o.KEY_FILE)
    for option in (o.MT1_CA_FILE, o.MQTT_CA_FILE):
        path = found.get(option)
        if path is not None:
            _check(option, partial(certificates.check_ca, path), found, report)
    if cert is not None and key is not None:
        _check(o.CERT_FILE, partial(certificates.check_pair, cert, key), found, report)
    for option in (o.MT1_CA_FILE, o.MQTT_CA_FILE, o.CERT_FILE):
        path = found.get(option)
        ended = certificates.expired(path, now_ms) if path is not None and now_ms is not None else ""
        if ended:
            report.warn(found.place(option), option.name, f"the certificate in {path} ended on {ended}: renew it")


def _check(option: Option[Path], look: Callable[[], object], found: Found, report: Report) -> None:
    try:
        look()
    except Unfit as error:
        report.problem(found.place(option), option.name, f"expected {error.expected}")
