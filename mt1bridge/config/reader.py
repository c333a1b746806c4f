"""Nodes of the file and variables of the environment -> values by option; an unknown name is a problem with a guess."""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mt1bridge.config import document, values
from mt1bridge.config.devices import read_devices
from mt1bridge.config.document import Document, Node, place_of
from mt1bridge.config.found import Found
from mt1bridge.config.options import DEVICES, OPTIONS, SECTIONS, Option
from mt1bridge.config.report import GOT, Place, Report, Unfit
from mt1bridge.config.settings import DeviceSettings

PREFIX = "MT1BRIDGE_"
RESERVED = ("MT1BRIDGE_CONFIG", "MT1BRIDGE_UNIT_INSTANCE")
_BY_NAME: Mapping[str, Option[object]] = {option.name: option for option in OPTIONS}
_BY_VARIABLE: Mapping[str, Option[object]] = {option.variable: option for option in OPTIONS}
# What people write who know other programs: spelled too differently for a guess by letters.
_OTHER_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("host", "port", "broker", "server"), "url"),
    "user": "username",
    "pass": "password",
}
_PORTS: Mapping[str, str] = {"mqtt": "mqtt://host:1883", "mt1": "https://host:443"}


@dataclass(frozen=True, slots=True)
class _Read:
    """What one pass over the file needs at every step."""

    document: Document
    found: Found
    report: Report


def read_file(doc: Document, found: Found, report: Report) -> tuple[DeviceSettings, ...] | None:
    """Read all values of the file into `found`; return the devices, None if the file leaves them out."""
    if doc.root is None:
        return None
    for secret in document.secrets(doc.root):
        report.hide(secret)
    devices: list[tuple[DeviceSettings, ...]] = []
    members = document.entries(doc.root, "", report)
    if members is None:
        report.problem(place_of(doc.root), "", f"expected sections with a colon each: {', '.join(SECTIONS)}")
    for name, key, value in members or ():
        if name in SECTIONS:
            devices += _section(name, key, value, _Read(doc, found, report))
        elif name in _BY_NAME:
            _value(_BY_NAME[name], key, value, _Read(doc, found, report))
        else:
            _unknown(name, key, "", [*SECTIONS, *(option.name for option in OPTIONS if not option.section)], report)
    return devices[0] if devices else None


def read_environment(environ: Mapping[str, str], found: Found, report: Report) -> None:
    """Read all values of the environment into `found`, over those of the file."""
    for variable in sorted(name for name in environ if name.startswith(PREFIX) and name not in RESERVED):
        place, text = Place(variable=variable), environ[variable]
        option = _BY_VARIABLE.get(variable)
        if option is not None and option.secret:
            report.hide(text)
        if variable == "MT1BRIDGE_MT1_DEVICES":
            report.problem(place, DEVICES, "devices cannot be set by the environment: give them in the file")
        elif option is None:
            meant = values.guess(variable, (*_BY_VARIABLE, *RESERVED))
            report.problem(place, "", "no setting has this name: unset it", guess=meant)
        elif not text.strip():
            found.tried(option, place)
            report.problem(place, option.name, "is empty: give it a value or unset it")
        else:
            found.tried(option, place)
            found.read(option, text, report)


def _section(name: str, key: Node, node: Node, read: _Read) -> Iterable[tuple[DeviceSettings, ...]]:
    """Read one section and yield the devices, if it holds them."""
    read.found.begin(name, place_of(key))
    if document.is_null(node):
        return
    members = document.entries(node, name, read.report)
    if members is None:
        read.report.problem(place_of(node), name, "expected keys with a colon each, indented below the section")
    known = {option.key: option for option in OPTIONS if option.section == name}
    more = ("devices",) if name == "mt1" else ()
    for member, member_key, value in members or ():
        if member in more:
            yield read_devices(value, read.report)
        elif member in known:
            _value(known[member], member_key, value, read)
        elif document.is_word_within_braces(node, value):
            read.report.problem(place_of(member_key), name, "expected a value: put texts with a comma in quotes")
        else:
            _unknown(member, member_key, name, (*known, *more), read.report)


def _value(option: Option[object], key: Node, node: Node, read: _Read) -> None:
    if document.is_null(node):
        read.found.left_empty(option, place_of(key))
        return
    place, report = place_of(node), read.report
    read.found.tried(option, place)
    members = document.items(node) if option.many else None
    if members is not None:
        texts = [document.scalar(member) for member in members]
        text = ", ".join(text for text in texts if text is not None) if None not in texts else None
    else:
        text = None if option.many else document.scalar(node)
    if text is None:
        meant = _as_list(option, node) if option.many else ""
        expected = "expected a list, as [a, b]" if option.many else "expected a single value"
        report.problem(place, option.name, expected, guess=meant)
    elif option.plain and document.is_truth_word(node):
        got = None if option.secret else text
        report.problem(place, option.name, "is true or false to YAML: put it in quotes if it is meant as a text", got)
    else:
        read.found.read(option, text, report)
        if option.secret and document.is_cut_by_comment(node, read.document):
            report.warn(place, option.name, "ends before the #, which begins a comment: put it in quotes if # is of it")


def _as_list(option: Option[object], node: Node) -> str:
    """What a text without brackets would be as a list, "" where that would not do either."""
    text = document.scalar(node)
    try:
        option.read(text or "")
    except Unfit:
        return ""
    return f"[{text}]"


def _unknown(name: str, key: Node, section: str, known: Iterable[str], report: Report) -> None:
    """Tell that there is no such key here, and which one was meant."""
    known = list(known)
    if name == "<<":
        report.problem(place_of(key), section, "merging (<<) is not supported: write the keys out")
        return
    if name.lower() == "port" and section in _PORTS:
        text = f"there is no key {GOT} here: the port is a part of {section}.url, as {_PORTS[section]}"
        report.problem(place_of(key), section, text, name)
        return
    other = _OTHER_WORDS.get(name.lower(), "")
    meant = other if other in known else values.guess(name, known)
    if not meant:
        homes = [option.name for option in OPTIONS if option.key == name] + [DEVICES] * (name == "devices")
        meant = " or ".join(homes)
    text = f"there is no key {GOT} here" + ("" if meant else f"; known are {', '.join(known)}")
    report.problem(place_of(key), section, text, name, meant)
