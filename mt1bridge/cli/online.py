"""`mt1bridge check --online`: is everything out there as the bridge needs it? Nothing is published."""

import os
import queue
from collections.abc import Callable, Generator, Iterator
from urllib.parse import urlsplit

from mt1bridge.cli.finding import Finding, Result
from mt1bridge.cli.online_broker import check_broker
from mt1bridge.config.settings import Settings
from mt1bridge.model.errors import BridgeError
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import Device
from mt1bridge.model.upstream import CloseLink, LinkConnected, LinkEvent, LinkLost, LinkSubscribed, OpenLink, Trouble

CLOCK_TOLERATED_MS = 2_000
DEVICES_ASKED = 8  # REST calls are few; more devices than that are not asked one by one
LINK_S = 60.0  # more than all that the link itself waits for


def check_online(settings: Settings) -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")  # importing stomp.py resolves names, 20 s without DNS
    yield from _check_server(settings)
    yield from check_broker(settings)


def _check_server(settings: Settings) -> Iterator[Finding]:
    from mt1bridge.cli.account import AccountVisit

    try:
        visit = AccountVisit(settings)
    except BridgeError as error:
        yield Finding("login", Result.FAILED, f"{error}.")
        return
    with visit:
        try:
            listed = visit.devices()
        except BridgeError as error:
            yield Finding("login", Result.FAILED, f"{error}. {_login_help(str(error), settings)}".strip())
            yield Finding("devices", Result.UNCHECKED, "The devices and the push need a login first.")
            yield from clock_findings(visit.offset_ms)
            return
        yield Finding("login", Result.OK, _login_text(settings, visit.daemon, visit.logged_in))
        refusals = yield from _check_devices(settings, listed, visit.refusal)
        yield from clock_findings(visit.offset_ms)
        token = visit.token
    if token is None:
        yield Finding("realtime", Result.UNCHECKED, "The MT1 server's push was not tried: the token is gone again.")
        return
    configured = settings.mt1.devices
    ours = [one.id for one in listed] if configured is None else [one.id for one in configured]
    yield check_realtime(settings, token.token, tuple(one for one in ours if one not in refusals))


def _login_text(settings: Settings, daemon: bool, logged_in: bool) -> str:
    who = f"The MT1 server accepts the account {settings.mt1.username}"
    if logged_in:
        return f"{who}; it has the role that the API wants. The new token is kept for the bridge."
    if daemon:
        return f"{who}: asked with the token of the bridge that is running. Name and password were not tried."
    return f"{who}: asked with the token kept from the last login. Name and password were not tried."


def _login_help(text: str, settings: Settings) -> str:
    if "TIMING_POINT_ACCOUNT" in text:
        return "It is called Timekeeper on the account's web page."
    if "refused the credentials" in text:
        return "Check mt1.username and the password: log in with them on the MT1 server's web page."
    if "cannot be resolved" in text or "refused" in text or "reached" in text:
        return f"Check the network of this machine and mt1.url ({settings.mt1.url})."
    return ""


def _check_devices(
    settings: Settings, listed: tuple[Device, ...], refusal: Callable[[str], str | None]
) -> Generator[Finding, None, list[str]]:
    """Returns those that are refused."""
    configured = settings.mt1.devices
    known = {one.id for one in listed}
    ours = [one.id for one in listed] if configured is None else [one.id for one in configured]
    if not ours:
        text = "The account has no devices: register yours to it on the MT1 server's web page."
        yield Finding("devices", Result.FAILED, text)
        return []
    bad: list[str] = []
    for device in sorted(ours, key=lambda one: one in known)[:DEVICES_ASKED]:
        try:
            why = refusal(device)
        except BridgeError as error:
            yield Finding("devices", Result.FAILED, f"Device {device}: {error}.")
            return bad
        if why is not None:
            bad.append(device)
        yield device_finding(device, device in known, why)
    if len(ours) > DEVICES_ASKED:
        text = f"{len(ours) - DEVICES_ASKED} more devices are listed and were not asked one by one, to save REST calls."
        yield Finding("devices", Result.UNCHECKED, text)
    return bad


def device_finding(device: str, listed: bool, refusal: str | None) -> Finding:
    """What is known of one device of ours."""
    register = "register it to this account on the MT1 server's web page, or mend the id in mt1.devices"
    if refusal is not None:
        return Finding("devices", Result.FAILED, f"Device {device}: {refusal}. If it is yours, {register}.")
    if not listed:
        text = f"Device {device} is configured and can be asked, but the account does not list it: {register}."
        return Finding("devices", Result.WARNING, text)
    return Finding("devices", Result.OK, f"Device {device} is listed and can be asked.")


def clock_findings(offset_ms: int | None) -> Iterator[Finding]:
    """offset_ms: how far the server's clock is ahead of ours; its Date has whole seconds."""
    if offset_ms is None:
        yield Finding("clock", Result.UNCHECKED, "The clocks were not compared: no answer with a Date came.")
    elif abs(offset_ms) <= CLOCK_TOLERATED_MS:
        yield Finding("clock", Result.OK, "This machine's clock agrees with the MT1 server's within 2 s.")
    else:
        way = "behind" if offset_ms > 0 else "ahead of"
        text = (
            f"This machine's clock is {abs(offset_ms) / 1000:.0f} s {way} the MT1 server's. The bridge makes up for "
            "it, but let the machine synchronise its time:  timedatectl set-ntp true"
        )
        yield Finding("clock", Result.WARNING, text)


def check_realtime(settings: Settings, token: Secret, devices: tuple[str, ...]) -> Finding:
    """Open the push as the bridge does, subscribe, and close again."""
    from mt1bridge.cloud.link import Links
    from mt1bridge.runtime.tls import client_context

    url = settings.mt1.realtime_url
    inbox: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
    try:
        tls = client_context(settings.mt1.ca_file) if urlsplit(url).scheme == "https" else None
    except BridgeError as error:
        return Finding("realtime", Result.FAILED, f"{error}.")
    links = Links(url, tls, inbox.put)
    links.open(OpenLink(1, token, devices))
    connected: LinkConnected | None = None
    try:
        while True:
            event = inbox.get(timeout=LINK_S)
            if isinstance(event, LinkConnected):
                connected = event
            elif isinstance(event, LinkSubscribed):
                return _realtime_works(url, connected, len(devices))
            elif isinstance(event, LinkLost):
                return _realtime_failed(url, event, connected is not None)
    except queue.Empty:
        return Finding("realtime", Result.FAILED, f"The push at {url} got stuck: try again.")
    finally:
        links.close(CloseLink(1))
        links.join(2.0)


def _realtime_works(url: str, connected: LinkConnected | None, devices: int) -> Finding:
    beats = f", heart-beats {connected.heart_beat or 'none'}" if connected else ""
    text = f"The MT1 server pushes: {url} answers as WebSocket and STOMP{beats}; {devices} device(s) subscribed."
    return Finding("realtime", Result.OK, text)


def _realtime_failed(url: str, lost: LinkLost, connected: bool) -> Finding:
    helps = {
        Trouble.UPGRADE: "Something between here and the server does not let WebSockets pass, or mt1.realtime_url is "
        "wrong. Without the push the bridge polls, which is slower",
        Trouble.DNS: "Check the network and mt1.realtime_url",
        Trouble.TLS: "Check the clock, mt1.ca_file and mt1.realtime_url",
        Trouble.PROXY: "Check the proxy in the environment (HTTPS_PROXY)",
        Trouble.REFUSED: "Check mt1.realtime_url",
        Trouble.STOMP_ERROR: "A device may not belong to this account"
        if connected
        else "The token may be too old: try again in a minute",
    }
    help_text = helps.get(lost.trouble, "Try again; if it stays so, see what the network does with WebSockets")
    return Finding("realtime", Result.FAILED, f"The push at {url} cannot be had: {lost.text}. {help_text}.")
