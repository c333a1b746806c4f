"""What must hold between settings: each rule looks at what was found and tells the report. Pure."""

from __future__ import annotations  # typing would keep every Option[…] for ever (runtime/modules.py)

from collections.abc import Callable

from mt1bridge.config import options as o
from mt1bridge.config.found import Found
from mt1bridge.config.options import Option
from mt1bridge.config.report import Report
from mt1bridge.config.values import written


def check(found: Found, has_mqtt_password: bool, report: Report) -> None:
    """Tell the report of every pair of settings that do not go together."""
    for option in o.OPTIONS:
        if option.required and not found.given(option):
            what = "is empty" if found.is_empty(option) else "is missing"
            text = f"{what}: give it here or as {option.variable}"
            report.problem(found.place(option), option.name, text)
    for rule in RULES:
        rule(found, report)
    _mqtt_password(found, has_mqtt_password, report)


def _tls_of_mt1(found: Found, report: Report) -> None:
    url, realtime = found.get(o.URL), found.get(o.REALTIME_URL)
    plain = url is not None and url.scheme == "http" and (realtime is None or realtime.scheme == "http")
    if found.get(o.MT1_CA_FILE) is not None and plain:
        _conflict(o.MT1_CA_FILE, "has no use with an http:// URL: remove it, or use https://", found, report)


def _tls_of_mqtt(found: Found, report: Report) -> None:
    url = found.get(o.MQTT_URL)
    if url is not None and url.scheme in ("mqtt", "ws"):
        better = {"mqtt": "mqtts://", "ws": "wss://"}[url.scheme]
        for option in (o.MQTT_CA_FILE, o.CERT_FILE, o.KEY_FILE):
            if found.get(option) is not None:
                text = f"has no use with {url.scheme}://: remove it, or begin mqtt.url with {better}"
                _conflict(option, text, found, report)


def _pair(found: Found, report: Report) -> None:
    for one, other in ((o.CERT_FILE, o.KEY_FILE), (o.KEY_FILE, o.CERT_FILE)):
        if found.given(one) and not found.given(other):
            _conflict(one, f"needs {other.name} too", found, report)


def _times(found: Found, report: Report) -> None:
    _at_most(o.WINDOW, o.KEEP, "what a full read brings must still be known, or it would be told again", found, report)
    _at_most(o.FIRST_START, o.KEEP, "what the first start brings would be dropped at once", found, report)
    _at_most(o.INTERVAL, o.FULL_INTERVAL, "a full read includes the counts", found, report)


RULES: tuple[Callable[[Found, Report], None], ...] = (_tls_of_mt1, _tls_of_mqtt, _pair, _times)


def _mqtt_password(found: Found, has_password: bool, report: Report) -> None:
    url = found.get(o.MQTT_URL)
    if not has_password:
        return
    if not found.given(o.MQTT_USERNAME):
        text = "is missing, though there is a password for the broker: set it, or remove the password"
        report.problem(found.place(o.MQTT_USERNAME), o.MQTT_USERNAME.name, text)
    if url is not None and url.scheme in ("mqtt", "ws") and not url.local:
        better = {"mqtt": "mqtts://", "ws": "wss://"}[url.scheme]
        text = f"everybody on the way to {url.host} can read the password: use {better} if the broker can"
        report.warn(found.place(o.MQTT_URL), o.MQTT_URL.name, text)


def _at_most(less: Option[int], more: Option[int], why: str, found: Found, report: Report) -> None:
    low, high = found.get(less), found.get(more)
    if low is not None and high is not None and low > high:
        option, other = (less, more) if found.given(less) else (more, less)
        relation = "may not be longer than" if option is less else "may not be shorter than"
        values = f"{relation} {other.name} ({written(high if option is less else low)}): {why}"
        _conflict(option, values, found, report)


def _conflict(option: Option[object], text: str, found: Found, report: Report) -> None:
    report.problem(found.place(option), option.name, text)
