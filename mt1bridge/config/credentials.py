"""The two passwords, each of which may be given in one of four ways, and in one alone."""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

import os
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.config import options as o
from mt1bridge.config.found import Found
from mt1bridge.config.options import Option
from mt1bridge.config.report import Place, Report, Unfit
from mt1bridge.config.secret_files import read_credential, read_secret_file
from mt1bridge.config.surroundings import Surroundings
from mt1bridge.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Way:
    """What leads to one password: the key itself, the key of a file, and the name of the systemd credential."""

    text: Option[str]
    file: Option[Path]
    credential: str
    required: bool


MT1 = Way(o.PASSWORD, o.PASSWORD_FILE, "mt1-password", required=True)
MQTT = Way(o.MQTT_PASSWORD, o.MQTT_PASSWORD_FILE, "mqtt-password", required=False)


def read_password(way: Way, found: Found, around: Surroundings, report: Report) -> Secret | None:
    """Return the password, None if there is none or it cannot be had; tell the report of every fault."""
    credential = around.credentials / way.credential if around.credentials is not None else None
    if credential is not None and not os.path.lexists(credential):
        credential = None
    told = [f"{way.text.name} ({place})" for place in found.places(way.text)]
    told += [f"{way.file.name} ({found.place(way.file)})"] * found.given(way.file)
    told += [f"the systemd credential {way.credential}"] * (credential is not None)
    if len(told) > 1:
        place = found.place(way.file if found.given(way.file) else way.text)
        report.problem(place, way.text.name, _mend(told, credential is not None))
    if not told and way.required:
        empty = next((option for option in (way.text, way.file) if found.is_empty(option)), None)
        report.problem(found.place(empty or way.text), (empty or way.text).name, _missing(way, empty is not None))
    text, path = found.get(way.text), found.get(way.file)
    if text is not None:
        if text != text.strip():
            report.warn(found.place(way.text), way.text.name, "begins or ends with a space or line break")
        return Secret(text)
    if path is not None:
        return _from_file(way, path, found, around, report)
    return _from_credential(way, credential, report) if credential is not None else None


def _missing(way: Way, empty: bool) -> str:
    return (
        f"is {'empty' if empty else 'missing'}: give {way.file.key} (best), {way.text.key} or {way.text.variable}; "
        f"a systemd credential {way.credential} is seen by the service alone"
    )


def _mend(told: list[str], credential: bool) -> str:
    text = f"the password is given in {len(told)} ways: {', '.join(told)}; keep one"
    if credential:
        text += (
            ": either remove the key or variable, or remove LoadCredential= or SetCredential= "
            "from the unit (systemctl edit)"
        )
    return text


def _from_file(way: Way, path: Path, found: Found, around: Surroundings, report: Report) -> Secret | None:
    place, key = found.place(way.file), way.file.name
    if path.name == str(path) and not (around.config_directory / path).exists():
        # Perhaps the password itself: it must not be told.
        report.problem(place, key, "no such file; expected the path of a file that holds the password")
        return None
    try:
        path = around.absolute(path, place)
        text, odd = read_secret_file(path, around.user)
    except Unfit as error:
        report.problem(place, key, f"expected {error.expected}")
        return None
    for warning in odd:
        report.warn(place, key, warning)
    found.put(way.file, path)
    return Secret(text)


def _from_credential(way: Way, path: Path, report: Report) -> Secret | None:
    place = Place(variable=f"systemd credential {way.credential}")
    try:
        text, odd = read_credential(path)
    except Unfit as error:
        report.problem(place, way.text.name, f"expected {error.expected}")
        return None
    for warning in odd:
        report.warn(place, way.text.name, warning)
    return Secret(text)
