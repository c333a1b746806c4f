"""Why a connection ended or never came to be, from what the socket, TLS and the library said."""

import socket
import ssl
from dataclasses import dataclass

from mt1bridge.model.broker import BrokerTrouble
from mt1bridge.mqtt.closures import Closures
from mt1bridge.runtime.tls import explain


@dataclass(frozen=True, slots=True)
class Ending:
    """The part of a BrokerLost that is found out. reason: the broker's own code, if it gave one."""

    trouble: BrokerTrouble
    text: str
    reason: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client knows of its connection's trouble.

    error: what the socket raised. reached: a TCP connection stood. malformed: bytes came that are no MQTT.
    silent: the library itself gave the broker up for dead.
    """

    error: BaseException | None = None
    reached: bool = False
    malformed: bool = False
    silent: bool = False


class UpgradeRefusedError(ConnectionError):
    """The server answered the upgrade to WebSocket with something else. path: what was asked for."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)


def no_answer(failure: Failure, place: str) -> Ending:
    """Return the end of a connection for which the time to connect is over."""
    if failure.reached:
        return Ending(BrokerTrouble.SILENT, f"{place} accepts connections but does not answer")
    return Ending(BrokerTrouble.UNREACHABLE, f"{place} does not answer, or its name cannot be resolved in time")


def after_dialling(error: Exception, failure: Failure, place: str) -> Ending:
    """Return the end of a connection that never came to be."""
    if isinstance(error, socket.gaierror):
        text = f"the name in {place} cannot be resolved: {error.strerror or error}"
    elif isinstance(error, ssl.SSLError):
        return Ending(BrokerTrouble.TLS, explain(error, place))
    elif isinstance(error, UpgradeRefusedError):
        text = f"{place} does not accept a WebSocket for MQTT at the path {error.path}"
    elif isinstance(error, TimeoutError):
        return no_answer(failure, place)
    elif isinstance(error, OSError):
        text = f"{place}: {_said(error)}"
    elif isinstance(error, UnicodeError):
        text = f"the name in {place} is no host name"
    else:
        text = f"{place}: {type(error).__name__}: {error}"
    return Ending(BrokerTrouble.UNREACHABLE, text)


def after_failure(
    failure: Failure, place: str, closures: Closures, protocol: int, connected_now: float | None, idle: bool
) -> Ending:
    """Return the end of a connection whose socket was closed, by the other side or by the library.

    connected_now: the time, seconds monotonic, if CONNACK had said yes; None if there was none. idle: no message
    was waiting for its acknowledgement.
    """
    error = failure.error
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return Ending(BrokerTrouble.TLS, explain(error, place))
    if failure.malformed:
        hint = "" if connected_now is not None else ": does this port speak MQTT, and without TLS?"
        return Ending(BrokerTrouble.LOST, f"{place} sent bytes that are no valid MQTT{hint}")
    if failure.silent:
        return Ending(BrokerTrouble.SILENT, f"{place} is silent")
    if connected_now is None:
        if closures.closed_on_connect(protocol):
            text = f"{place} closes the connection when asked for MQTT 5"
            return Ending(BrokerTrouble.PROTOCOL_VERSION, text)
        how = "" if error is None else f" ({_said(error)})"
        return Ending(BrokerTrouble.LOST, f"{place} closed the connection instead of answering CONNECT{how}")
    if error is None and idle and closures.closed_while_idle(connected_now):
        text = f"{place} keeps closing the connection: another client probably uses our client id"
        return Ending(BrokerTrouble.TAKEN_OVER, text)
    return Ending(BrokerTrouble.LOST, f"{place} closed the connection" + ("" if error is None else f": {_said(error)}"))


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
