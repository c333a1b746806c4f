"""A visit to the account at the MT1 server, for commands that run beside the bridge or before it.

It has the manners of the daemon, because it is the daemon's own session: a kept token is used again, the budget file
holds back a login that comes too soon, what a login brings is kept for the daemon. While a daemon holds the state
directory, its token is read and nothing is written: the token and the budget are the daemon's.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Iterable
from random import SystemRandom
from urllib.parse import urlsplit

from mt1bridge.cloud import kept, replies
from mt1bridge.cloud.budget import Budget
from mt1bridge.cloud.outcomes import DevicesListed, KeepBudget, KeepToken, KeptToken, Outcome
from mt1bridge.cloud.rest import RestWorker
from mt1bridge.cloud.session import CloudSession
from mt1bridge.config.settings import Settings
from mt1bridge.model.clock import Now
from mt1bridge.model.errors import CloudError
from mt1bridge.model.history import Counted, CountWanted, WantFailed
from mt1bridge.model.status import Device, Note
from mt1bridge.model.trigger import ChannelId
from mt1bridge.model.upstream import Answer, Call, RestEvent
from mt1bridge.runtime.clock import SystemClock
from mt1bridge.runtime.state_directory import InUseError, StateDirectory
from mt1bridge.runtime.tls import client_context

PATIENCE_S = 5.0  # to wait for our own budget; more is for the caller to decide
ANSWER_S = 60.0
_GIVE_UP = {"rest_failed", "login_refused", "quota_hit", "device_list_refused"}


class AccountVisit:
    """Logs in if need be and asks. Use as a context manager.

    daemon: another process holds the state directory. logged_in: this visit made a login. offset_ms: how far the
    server's clock is ahead of ours, by its Date header; None until it answered with one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._state = StateDirectory(settings.journal.directory)
        self.daemon = self._lock()
        self.logged_in = False
        self.offset_ms: int | None = None
        self._asked = self._clock.now()
        self._flying = False
        self._inbox: queue.SimpleQueue[RestEvent] = queue.SimpleQueue()
        https = urlsplit(settings.mt1.url).scheme == "https"
        tls = client_context(settings.mt1.ca_file) if https else None
        self._rest = RestWorker(settings.mt1.url, tls, self._inbox.put)
        mt1, random = settings.mt1, SystemRandom()
        self._budget = Budget(settings.reconcile.calls_per_minute, random.random)
        self._session = CloudSession(mt1.username, mt1.password, None, self._budget, random.random)
        self._token = kept.token_from(self._state.read_json(kept.TOKEN_FILE), mt1.url)
        memo = kept.memo_from(self._state.read_json(kept.BUDGET_FILE))
        self._session.restore(self._token, memo, self._now())

    def __enter__(self) -> "AccountVisit":
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.close()
        if not self.daemon:  # the lock, and the file that names its holder, are the other's
            self._state.unlock()

    @property
    def token(self) -> KeptToken | None:
        """The token that was last known to be good."""
        return self._token

    def devices(self) -> tuple[Device, ...]:
        """The devices of the account. Raises CloudError with a sentence that says what to do."""
        while True:
            for outcome in self._step():
                if isinstance(outcome, DevicesListed):
                    return outcome.devices
                self._carry_out(outcome)

    def refusal(self, device: str) -> str | None:
        """Why the server refuses this device to the account, None if it does not. After `devices`. CloudError."""
        self._wait(self._budget.next_at(self._now(), login=False))
        for outcome in self._session.ask(CountWanted(ChannelId(device, "C0")), self._now()):
            self._carry_out(outcome)
        while True:
            for outcome in self._turn() if self._flying else self._step():
                if isinstance(outcome, Counted):
                    return None
                if isinstance(outcome, WantFailed):
                    return outcome.text
                self._carry_out(outcome)

    # --- steps --------------------------------------------------------------------------------------

    def _lock(self) -> bool:
        try:
            self._state.lock()
        except InUseError:
            return True
        if self._state.trouble is not None:
            raise CloudError(
                f"{self._state.path} cannot be used ({self._state.trouble}): token and budget are kept there, and "
                "without them each call would be a login. Run this as the user of the bridge, or as root"
            )
        return False

    def _step(self) -> Iterable[Outcome]:
        """Make the next call of the session's own, or wait until one may be made. Raises CloudError."""
        if self.daemon and not self._session.has_token:
            raise CloudError(
                "the bridge that is running has no token that the MT1 server accepts. It logs in itself; "
                "its log says how that goes:  systemctl status mt1bridge"
            )
        return self._session.tick(self._now()) or self._turn()

    def _turn(self) -> Iterable[Outcome]:
        """Wait for the answer that is due, or, if there is none, until the next call may go."""
        if not self._flying:
            self._wait(self._budget.next_at(self._now(), login=not self._session.has_token))
            return []
        try:
            event = self._inbox.get(timeout=ANSWER_S)
        except queue.Empty:
            raise CloudError("the MT1 server does not answer: try again later") from None
        self._flying = False
        if isinstance(event, Answer):
            self._compare(event)
        return self._session.rest_event(event, self._now())

    def _wait(self, moment: float) -> None:
        wait_s = moment - self._now().monotonic
        if wait_s > PATIENCE_S and self._session.in_quota(self._now()):
            raise CloudError(f"the MT1 server's call quota is used up: try again in {wait_s:.0f} s")
        if wait_s > PATIENCE_S:
            raise CloudError(f"a login was tried not long ago, and the server wants few: try again in {wait_s:.0f} s")
        if wait_s > 0:
            threading.Event().wait(wait_s)

    def _carry_out(self, outcome: Outcome) -> None:
        if isinstance(outcome, Call):
            self._asked, self._flying = self._now(), True
            self._rest.submit(outcome)
        elif isinstance(outcome, KeepToken):
            self._token = outcome.kept
            self.logged_in = self.logged_in or outcome.kept is not None
            self._keep_token(outcome.kept)
        elif isinstance(outcome, KeepBudget):
            self._keep(kept.BUDGET_FILE, kept.memo_to_text(outcome.memo))
        elif isinstance(outcome, Note) and outcome.event in _GIVE_UP:
            raise CloudError(str(outcome.facts.get("text", outcome.event)))

    def _keep_token(self, token: KeptToken | None) -> None:
        if self.daemon:
            return
        if token is None:
            self._state.remove(kept.TOKEN_FILE)
        else:
            self._keep(kept.TOKEN_FILE, kept.token_to_text(token, self._settings.mt1.url))

    def _keep(self, name: str, content: bytes) -> None:
        """For the daemon, so by the directory's owner if we are root."""
        if self.daemon:
            return
        trouble = self._state.write(name, content)
        if trouble is not None:
            raise CloudError(f"what a login brings cannot be kept: {trouble}")
        if os.geteuid() == 0:
            owner = self._state.path.stat()
            with contextlib.suppress(OSError):
                os.chown(self._state.path / name, owner.st_uid, owner.st_gid)

    def _compare(self, answer: Answer) -> None:
        server_ms = replies.server_date_ms(answer.date)
        if server_ms is not None:
            now = self._now()
            halfway_ms = int((now.monotonic - self._asked.monotonic) * 500)
            self.offset_ms = server_ms + 500 - (now.utc_ms - halfway_ms)

    def _now(self) -> Now:
        return self._clock.now()
