"""Pure: what a broker means that closes the connection without a word, judged by what it did before.

MQTT 3.1.1 has no DISCONNECT from the broker, mosquitto 2.0.11 does not send one to an MQTT 5 client either when another
takes its place, and some brokers say nothing when asked for a version that they do not know. One such close proves
nothing (a broker that restarts, a port forwarder without a broker behind it); a row does.
"""

from collections import deque

HANG_UPS = 2  # closes of an MQTT 5 CONNECT in a row before the version is blamed
TAKEOVERS = 3  # quiet closes before another client is blamed
TAKEOVER_PERIOD_S = 60.0


class Closures:
    """Remembers closes over all connections to one broker. Times: seconds, monotonic."""

    def __init__(self) -> None:
        self._knows_mqtt5 = False
        self._hang_ups = 0
        self._quiet_closes: deque[float] = deque(maxlen=TAKEOVERS)

    def accepted(self, protocol: int) -> None:
        """CONNACK said yes."""
        self._knows_mqtt5 = self._knows_mqtt5 or protocol == 5
        self._hang_ups = 0

    def closed_on_connect(self, protocol: int) -> bool:
        """Closed after CONNECT without a byte: say whether it is the version that the broker does not like."""
        if protocol != 5 or self._knows_mqtt5:
            return False
        self._hang_ups += 1
        return self._hang_ups >= HANG_UPS

    def closed_while_idle(self, now: float) -> bool:
        """Closed in good order while nothing was on its way: say whether another client seems to use our client id.

        Two clients with one id throw each other out again and again, each time within seconds of connecting; a
        broker that restarts is not there again at once, and one restarts seldom.
        """
        self._quiet_closes.append(now)
        return len(self._quiet_closes) == TAKEOVERS and now - self._quiet_closes[0] <= TAKEOVER_PERIOD_S
