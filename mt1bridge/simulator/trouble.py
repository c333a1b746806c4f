"""Verbs of `Control` that make trouble: behaviour, faults, tokens, quota, sockets, injections."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from mt1bridge.simulator import wire
from mt1bridge.simulator.behaviour import Behaviour, changed
from mt1bridge.simulator.clock import monotonic
from mt1bridge.simulator.faults import CONNECT_FAULTS, REST_FAULTS, made
from mt1bridge.simulator.session import Session
from mt1bridge.simulator.wire import Frame
from mt1bridge.simulator.world import World, device_topic

SOCKET_ACTIONS = (
    "reset",  # RST
    "drop",  # TCP closed without a close frame
    "close",  # c[code,"reason"] and a close frame
    "close_frame",  # a close frame alone, with this code
    "swallow",  # half-open: nothing is read or written any more
    "mute",  # heart-beats only, no MESSAGE
    "unmute",
    "stop_beats",  # messages only, no heart-beats of either kind
    "start_beats",
    "error",  # STOMP ERROR (reason) and a close
)


class Trouble:
    """Each verb takes plain JSON values, so that it is the same over HTTP."""

    def __init__(self, world: World) -> None:
        self._world = world

    def behave(self, **changes: Any) -> dict[str, Any]:
        """Change switches (see `Behaviour`); returns all of them. ValueError names what does not exist."""
        self._world.behaviour = changed(self._world.behaviour, changes)
        return asdict(self._world.behaviour)

    def behave_by_default(self) -> None:
        """Every switch back to its default."""
        self._world.behaviour = Behaviour()

    def rest_fault(self, kind: str, **options: Any) -> None:
        """Let REST calls fail: kinds in `faults.REST_FAULTS`, options are the fields of `faults.Fault`."""
        self._world.faults.rest.append(made(REST_FAULTS, kind, options))

    def connect_fault(self, kind: str, **options: Any) -> None:
        """Let WebSocket connects fail: kinds in `faults.CONNECT_FAULTS`, options are the fields of `faults.Fault`."""
        self._world.faults.connect.append(made(CONNECT_FAULTS, kind, options))

    def clear_faults(self) -> None:
        """Forget the faults that wait for calls and connects; open sockets stay as they are."""
        self._world.faults.clear()

    # --- tokens, quota

    def expire_tokens(self, username: str | None = None) -> int:
        """All tokens (of this account) die now; returns how many."""
        account = None if username is None else self._world.store.accounts[username]
        return self._world.kill_tokens(account)

    def exhaust_quota(self, seconds: float = 90.0) -> None:
        """Every REST call is refused for so long, as if a neighbour had used the quota up; 0 ends it."""
        self._world.quota.exhaust(seconds, monotonic())

    # --- open sockets

    def sockets(self, action: str, session: int | None = None, *, code: int = 3000, reason: str = "Go away!") -> int:
        """Do this (SOCKET_ACTIONS) to all open sockets, or to one; returns to how many."""
        acts: dict[str, Callable[[Session], None]] = {
            "reset": Session.reset,
            "drop": lambda one: one.transport.close(),
            "close": lambda one: one.close(1000, sockjs=(code, reason)),
            "close_frame": lambda one: one.close(code, reason),
            "swallow": Session.swallow,
            "mute": lambda one: setattr(one, "muted", True),
            "unmute": lambda one: setattr(one, "muted", False),
            "stop_beats": lambda one: setattr(one, "beats_stopped", True),
            "start_beats": lambda one: setattr(one, "beats_stopped", False),
            "error": lambda one: one.error(reason),
        }
        if action not in acts:
            raise ValueError(f"no such action: {action}; there are {', '.join(acts)}")
        return self._each(session, acts[action])

    def flap(self, shortest_s: float, longest_s: float, for_s: float) -> None:
        """Reset all sockets again and again, each time after a random pause, for so long."""
        end = monotonic() + for_s

        def strike() -> None:
            if monotonic() < end:
                self.sockets("reset")
                again()

        def again() -> None:
            asyncio.get_running_loop().call_later(self._world.rng.uniform(shortest_s, longest_s), strike)

        again()

    # --- injections: as they are, past all faults of the way

    def inject_body(self, device: str, body: str, headers: dict[str, str] | None = None, repeat: int = 1) -> None:
        """A STOMP MESSAGE with this body to the subscribers of the device; headers given replace or, if empty,
        remove the usual ones."""
        destination = device_topic(device)
        for session in list(self._world.sessions.values()):
            for subscription, wanted in session.subscriptions.items():
                if wanted == destination:
                    for _ in range(repeat):
                        self._inject(session, subscription, destination, body, headers or {})

    def inject_stomp(self, texts: Iterable[str], session: int | None = None) -> int:
        """These texts, verbatim, as strings of one a[...]. NUL is not added."""
        return self._each(session, lambda one: one.send_frames(list(texts)))

    def inject_text(self, text: str, session: int | None = None) -> int:
        """This WebSocket text message, outside of any SockJS framing."""
        return self._each(session, lambda one: one.send_text(text))

    def inject_bytes(self, hex: str, session: int | None = None) -> int:
        """These bytes straight into the TCP (TLS) stream."""
        return self._each(session, lambda one: one.write(bytes.fromhex(hex)))

    def push_body(self, device: str, body: str) -> None:
        """A body of any kind on the usual way of pushes (lost, doubled, delayed as the behaviour says)."""
        self._world.push(device, body)

    # --- inside

    def _inject(
        self, session: Session, subscription: str, destination: str, body: str, headers: dict[str, str]
    ) -> None:
        usual = {
            "destination": destination,
            "content-type": "application/json;charset=UTF-8",
            "subscription": subscription,
            "message-id": f"{session.name}-injected",
            "content-length": str(len(body.encode("utf-8", "surrogatepass"))),
        }
        merged = {name: value for name, value in {**usual, **headers}.items() if value != ""}
        session.send_frames([wire.stomp_encode(Frame("MESSAGE", merged, body))])

    def _each(self, number: int | None, act: Callable[[Session], None]) -> int:
        chosen = [one for one in self._world.sessions.values() if number in (None, one.number)]
        for one in chosen:
            act(one)
        return len(chosen)
