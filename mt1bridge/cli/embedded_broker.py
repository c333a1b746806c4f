"""The demo's broker where no mosquitto is installed: amqtt, as a process of its own, on a free loopback port.

`python -m mt1bridge.cli.embedded_broker` writes its port as the first line and serves until its standard input ends,
so that it never outlives the demo. amqtt speaks MQTT 3.1.1 alone; asked for MQTT 5, it does not answer.
"""

import asyncio
import logging
import sys
from functools import partial

from amqtt.broker import Broker
from amqtt.session import Session

LISTENER = "default"


class FaithfulBroker(Broker):  # type: ignore[misc]  # amqtt says nothing of its types
    """amqtt 0.12 sends whoever connects what is retained below the subscriptions of all others (MQTT 3.1.1, 3.3.1.3
    and 4.7: to matching subscriptions of the client's own). Here it goes to those who have subscribed."""

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(one is session for one, _ in self.subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def serve() -> None:
    """The listener is ours, because amqtt does not tell which port the system chose for its own."""
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = FaithfulBroker({"listeners": {LISTENER: {"type": "external"}}, "plugins": plugins})
    await broker.start()
    connected = partial(broker.stream_connected, listener_name=LISTENER)
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # it reports every client that goes away as a failure of its own
    asyncio.run(serve())
