"""What the publisher's tests share: settings, an inbox that can be waited on, and orders."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mt1bridge.config.settings import MqttSettings
from mt1bridge.model.broker import (
    BrokerConnected,
    BrokerEvent,
    BrokerLost,
    CloseBroker,
    OpenBroker,
    Publication,
    Publish,
    Subscribed,
)
from mt1bridge.model.secret import Secret
from mt1bridge.mqtt.client import Limits
from mt1bridge.mqtt.publisher import Publisher

PATIENCE_S = 20.0
WILL = Publication("mt1/bridge/state", b"offline", retain=True)

Event = TypeVar("Event")


def settings(
    port: int,
    host: str = "127.0.0.1",
    scheme: str = "mqtt",
    path: str = "",
    username: str | None = None,
    password: str | None = None,
    client_id: str = "mt1bridge",
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> MqttSettings:
    return MqttSettings(
        url=f"{scheme}://{host}:{port}{path}",
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        username=username,
        password=None if password is None else Secret(password),
        client_id=client_id,
        protocol=5,
        base_topic="mt1",
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        scalar_topics=False,
        commands=True,
    )


class Inbox:
    """Takes events as the loop's inbox does, and keeps them all."""

    def __init__(self) -> None:
        self._events: list[BrokerEvent] = []
        self._changed = threading.Condition(threading.RLock())

    def __call__(self, event: BrokerEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def all(self, kind: type[Event]) -> list[Event]:
        with self._changed:
            return [event for event in self._events if isinstance(event, kind)]

    def clear(self) -> None:
        with self._changed:
            self._events.clear()

    def every(self) -> list[BrokerEvent]:
        with self._changed:
            return list(self._events)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), self._events[-5:]

    def wait(self, kind: type[Event], number: int = 1) -> list[Event]:
        """Wait for so many events of one kind, and return all of that kind."""
        self.wait_until(lambda: len(self.all(kind)) >= number)
        return self.all(kind)


class Rig:
    """A publisher with its inbox, closed and looked over at the end of `with`.

    Every connection gets the next number, every message the next token.
    """

    def __init__(self, what: MqttSettings, limits: Limits | None = None) -> None:
        self.inbox = Inbox()
        self.publisher = Publisher(what, self.inbox, limits=limits)
        self.connection = 0
        self.token = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.end()
        else:
            self.close()

    def open(self, *filters: str, protocol: int = 5, will: Publication | None = WILL) -> int:
        self.connection += 1
        self.publisher.open(OpenBroker(self.connection, will, filters, protocol))
        return self.connection

    def connect(self, *filters: str, protocol: int = 5, will: Publication | None = WILL) -> BrokerConnected:
        """Open a connection and wait until it stands."""
        number = self.open(*filters, protocol=protocol, will=will)
        self.inbox.wait_until(
            lambda: any(e.connection == number for e in (*self.inbox.all(Subscribed), *self.inbox.all(BrokerLost)))
        )
        return next(event for event in self.inbox.all(BrokerConnected) if event.connection == number)

    def publish(self, message: Publication) -> int:
        self.token += 1
        self.publisher.publish(Publish(self.connection, self.token, message))
        return self.token

    def close(self) -> None:
        self.publisher.close(CloseBroker(self.connection))

    def lost(self) -> BrokerLost:
        """Wait for the end of the newest connection and return it."""
        number = self.connection
        self.inbox.wait_until(lambda: any(event.connection == number for event in self.inbox.all(BrokerLost)))
        return next(event for event in self.inbox.all(BrokerLost) if event.connection == number)

    def end(self) -> None:
        """Close what is open, and see that nothing of it stays behind."""
        self.close()
        self.publisher.join(PATIENCE_S)
        assert not self.connection or len(self.inbox.all(BrokerLost)) == self.connection
