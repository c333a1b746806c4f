"""The session with the MT1 server: login, token, device list, one call at a time, the subscription. Pure.

MT1-API sections 2 to 5 say how the server behaves; CONTRACT section 4 names the states.
"""

from collections.abc import Callable

from mt1bridge.cloud import calls, replies, subscription
from mt1bridge.cloud.budget import Budget, BudgetMemo
from mt1bridge.cloud.calls import InFlight, Purpose, Request
from mt1bridge.cloud.decode import decode_push
from mt1bridge.cloud.doubt import Doubt
from mt1bridge.cloud.json_text import text_of
from mt1bridge.cloud.outcomes import DevicesListed, KeepBudget, KeepToken, KeptToken, Outcome, Pushed
from mt1bridge.cloud.overlap import Overlap
from mt1bridge.cloud.subscription import Subscription, TokenDoubted
from mt1bridge.model.clock import Now
from mt1bridge.model.history import Failure, Wanted, WantFailed
from mt1bridge.model.secret import Secret
from mt1bridge.model.status import AlertOver, AlertRaised, Device, Note
from mt1bridge.model.trigger import Malformed
from mt1bridge.model.upstream import (
    Answer,
    Call,
    LinkConnected,
    LinkLost,
    LinkMessage,
    LinkOddity,
    LinkSubscribed,
    NoAnswer,
    Trouble,
)
from mt1bridge.runtime.backoff import Backoff, Pace

LIST_EVERY_S = 3600.0
POLL_AFTER_S = 15.0
LIST_AGAIN_S = 300.0
UNSENT = {Trouble.DNS, Trouble.REFUSED, Trouble.TLS, Trouble.PROXY}
QUOTA_TEXT = "The MT1 server's call quota is used up; no REST call is made until it is over. Push goes on."
NO_WEBSOCKET = {Trouble.UPGRADE, Trouble.PROXY}


class CloudSession:
    """devices: the configured ones, or None for all of the account."""

    def __init__(
        self,
        username: str,
        password: Secret,
        devices: tuple[str, ...] | None,
        budget: Budget,
        rand: Callable[[], float],
    ) -> None:
        self._username = username
        self._password = password
        self._configured = devices
        self._budget = budget
        self.subscription = Subscription(rand)
        self._overlap = Overlap()
        self._rest_backoff = Backoff(Pace(2.0, 60.0), rand, forget_after_s=0.0)
        self._rest_try_at = 0.0
        self._failing: set[str] = set()  # paths of counts and pages that were not answered when last asked
        self._others_answered = False  # a count or a page was, since REST failed last
        self._kept: KeptToken | None = None
        self._doubt = Doubt()
        self._in_flight: InFlight | None = None
        self._repeat: Request | None = None
        self._list_at = 0.0
        self._listed: tuple[str, ...] | None = None
        self._refused_devices: frozenset[str] = frozenset()
        self._stopping = False
        self._quota_told = False
        self.login_refused: str | None = None
        self.list_refused = False
        self.rest_works: bool | None = None
        self.rest_trouble = ""
        self.logins = 0
        self.calls = 0

    # --- what people ask ----------------------------------------------------------------------------

    @property
    def account(self) -> str | None:
        return self._kept.account if self._kept else None

    @property
    def token_obtained_ms(self) -> int | None:
        return self._kept.obtained_ms if self._kept else None

    @property
    def devices(self) -> tuple[str, ...] | None:
        """Our devices; None while the account's list is not known yet."""
        return self._configured if self._configured is not None else self._listed

    @property
    def has_token(self) -> bool:
        return self._kept is not None

    def not_subscribed(self) -> tuple[str, ...]:
        """Devices that the present subscription lacks, and that another connection could not be had for."""
        return self.subscription.lacks(self._wanted_devices())

    def in_quota(self, now: Now) -> bool:
        return self._budget.in_quota(now)

    def next_try(self, now: Now) -> float:
        """Monotonic second of the next try to get further, for people; now while one is under way."""
        if self._kept is not None and self.devices is not None and not self.subscription.subscribed:
            return self.subscription.try_at
        if self._in_flight is not None:
            return now.monotonic
        at = max(self._budget.next_at(now, login=self._kept is None), self._rest_try_at)
        return at if self._own_purpose(now) is not None else max(at, self._list_at)

    def calls_from(self, now: Now) -> float:
        """Monotonic second from which quota, budget and back-off let a call out."""
        return max(self._budget.next_at(now, login=False), self._rest_try_at)

    def polling(self, now: Now) -> bool:
        """No push to be had, but REST works."""
        if self.subscription.subscribed or not self.rest_works or self._kept is None:
            return False
        if self.subscription.trouble in NO_WEBSOCKET:
            return True
        return self.subscription.lost_since is not None and now.monotonic >= self.subscription.lost_since + POLL_AFTER_S

    def memo(self, now: Now) -> BudgetMemo:
        return self._budget.memo(now)

    # --- orders from outside ------------------------------------------------------------------------

    def restore(self, kept: KeptToken | None, memo: BudgetMemo | None, now: Now, forgetful: bool = False) -> None:
        """What an earlier process left. forgetful: it could not write down when it logged in."""
        if kept is not None and kept.username == self._username:
            self._kept = kept
        if memo is not None:
            self._budget.restore(memo, now)
            if self._kept is None and memo.refused and self._budget.login_paused(now):
                self.login_refused = "refused before the last start of mt1bridge"
        if forgetful:
            self._budget.may_have_logged_in(now)
        self.subscription.lost_since = now.monotonic
        self._list_at = now.monotonic

    def resumed(self, now: Now) -> list[Outcome]:
        """What stands since an earlier process: a pause after a refused login, the quota's."""
        outcomes: list[Outcome] = []
        if self.login_refused is not None:
            outcomes.append(self._login_alert(self.login_refused))
        if self._budget.in_quota(now):
            self._quota_told = True
            outcomes.append(AlertRaised("quota", QUOTA_TEXT))
        return outcomes

    def reconfigure(
        self,
        username: str,
        password: Secret,
        devices: tuple[str, ...] | None,
        calls_per_minute: int,
        now: Now,
        other_server: bool,
    ) -> list[Outcome]:
        """New settings. Another account or server means another session; other devices a renewed subscription."""
        outcomes: list[Outcome] = []
        self._budget.calls_per_minute = calls_per_minute
        if username != self._username or other_server:
            outcomes += self._forget_session()
        if (username, password) != (self._username, self._password) or other_server:
            if self._in_flight is not None and self._in_flight.request.purpose is Purpose.LOGIN:
                self._in_flight = None  # its answer is about credentials that hold no longer
            if username != self._username or other_server:
                outcomes += self._login_no_longer_refused()
            self._budget.login_accepted(now)  # it may be tried at once; until it has worked, what was said stands
        self._username, self._password = username, password
        if devices is None and self._configured is not None:
            self._list_at = now.monotonic
        self._configured = devices
        return outcomes

    def _forget_session(self) -> list[Outcome]:
        """Nothing of the session with this account or server holds any longer."""
        closing = [outcome for one in self.subscription.drop() for outcome in self._link_outcome(one)]
        self._kept = self._listed = self._in_flight = self._repeat = None
        self._doubt = Doubt()
        self._failing.clear()
        self._list_at, self.list_refused = 0.0, False
        self._overlap = Overlap()
        return [*closing, KeepToken(None)]

    def refused_devices(self, devices: frozenset[str]) -> None:
        """Devices that REST refuses: not subscribed to until they are accepted."""
        self._refused_devices = devices

    def stop(self) -> list[Outcome]:
        self._stopping = True
        return [outcome for one in self.subscription.stop() for outcome in self._link_outcome(one)]

    # --- time passes --------------------------------------------------------------------------------

    def tick(self, now: Now) -> list[Outcome]:
        if self._stopping:
            return []
        self._budget.look_at_clock(now)
        token = self._kept.token if self._kept else None
        outcomes: list[Outcome] = []
        for one in self.subscription.tick(now, token, self._wanted_devices()):
            outcomes += self._link_outcome(one)
        if self._in_flight is None:
            outcomes += self._own_call(now)
        return outcomes

    def _wanted_devices(self) -> tuple[str, ...]:
        return tuple(device for device in self.devices or () if device not in self._refused_devices)

    def next_due(self, now: Now) -> float:
        """Monotonic second when tick has something to do, but for the wants of others."""
        if self._stopping:
            return float("inf")
        due = self.subscription.next_due(now, self._kept.token if self._kept else None, self._wanted_devices())
        lost_since = self.subscription.lost_since
        if self.rest_works and lost_since is not None and now.monotonic < lost_since + POLL_AFTER_S:
            due = min(due, lost_since + POLL_AFTER_S)  # for the state to be told
        if self._in_flight is None and (purpose := self._own_purpose(now)) is not None:
            at = max(self._budget.next_at(now, login=purpose is Purpose.LOGIN), self._rest_try_at)
            due = min(due, at)
        elif self._in_flight is None:
            due = min(due, self._list_at)
        return due

    def free_at(self, now: Now) -> float:
        """Monotonic second from which a wanted count or page may be asked; infinity while that is not to be had."""
        if self._in_flight is not None or self._kept is None or self._stopping or self._own_purpose(now) is not None:
            return float("inf")
        return max(self._budget.next_at(now, login=False), self._rest_try_at)

    def ask(self, wanted: Wanted, now: Now) -> list[Outcome]:
        """Ask for a count or a page now; only when `free_at` has come."""
        assert self._kept is not None
        return [self._call(calls.want(wanted), now)]

    def _own_purpose(self, now: Now) -> Purpose | None:
        if self._kept is None:
            return Purpose.LOGIN
        if self._doubt.verify:
            return Purpose.VERIFY
        if self._repeat is not None:
            return self._repeat.purpose
        if now.monotonic >= self._list_at:
            return Purpose.LIST
        return None

    def _own_call(self, now: Now) -> list[Outcome]:
        purpose = self._own_purpose(now)
        if purpose is None:
            return []
        login = purpose is Purpose.LOGIN
        if now.monotonic < max(self._budget.next_at(now, login=login), self._rest_try_at):
            return []
        if login:
            call = self._call(calls.login(), now)
            return [KeepBudget(self._budget.memo(now)), call]
        assert self._kept is not None
        if purpose is Purpose.VERIFY:
            return [self._call(calls.verify(), now)]
        if self._repeat is not None:
            repeat, self._repeat = self._repeat, None
            return [self._call(repeat, now)]
        self._list_at = now.monotonic + LIST_EVERY_S
        return [self._call(calls.list_devices(self._kept.account), now)]

    def _call(self, request: Request, now: Now) -> Call:
        self.calls += 1
        is_login = request.purpose is Purpose.LOGIN
        login = (self._username, self._password) if is_login else None
        token = self._kept.token if self._kept and not is_login else None
        call = Call(self.calls, request.method, request.path, request.query, login, token)
        self._budget.made(now, login=is_login)
        self._in_flight = InFlight(request, call, now.utc_ms)
        return call

    # --- what comes from the link -------------------------------------------------------------------

    def link_event(
        self, event: LinkConnected | LinkSubscribed | LinkMessage | LinkOddity | LinkLost, now: Now
    ) -> list[Outcome]:
        if isinstance(event, LinkMessage):
            if not self.subscription.owns(event.link):
                return []
            beside = self.subscription.overlaps
            brought = decode_push(event.body, _device_of(event.destination))
            new = tuple(seen for seen in brought if self._overlap.is_new(event.link, seen, beside))
            return [Pushed(new)] if new else []
        if isinstance(event, LinkOddity):
            return [Pushed((Malformed(None, text_of(event.raw.encode("utf-8", "backslashreplace")), event.reason),))]
        if isinstance(event, LinkConnected):
            self.subscription.connected_now(event)
            return []
        found = (
            self.subscription.subscribed_now(event, now)
            if isinstance(event, LinkSubscribed)
            else self.subscription.lost(event, now)
        )
        return [outcome for one in found for outcome in self._link_outcome(one)]

    def _link_outcome(self, outcome: subscription.Outcome) -> list[Outcome]:
        if isinstance(outcome, TokenDoubted):
            self._doubt.verify = True
            return []
        return [outcome]

    # --- what comes from REST -----------------------------------------------------------------------

    def rest_event(self, event: Answer | NoAnswer, now: Now) -> list[Outcome]:
        flight = self._in_flight
        if flight is None or event.call != flight.call.call:
            return []
        self._in_flight = None
        request = flight.request
        outcome = replies.without(replies.judge(event, now.utc_ms), _secrets(flight.call))
        if isinstance(outcome, replies.QuotaExceeded):
            return self._rest_answers(now) + self._quota(outcome, request, now)
        login = None
        if request.purpose is Purpose.LOGIN and isinstance(event, Answer) and isinstance(outcome, replies.Ok):
            login = replies.read_login(event, outcome)
        if isinstance(login, replies.Transient):
            outcome = login
        found = None
        if request.wanted is not None and isinstance(outcome, replies.Ok):
            found = calls.found(request.wanted, outcome.data, flight.asked_ms)
            if found is None:
                outcome = replies.Transient("the count cannot be read")
        if isinstance(outcome, replies.Transient):
            return self._transient(outcome, request, now)
        was_quota = self._quota_told
        self._failing.discard(request.path)
        self._others_answered = self._others_answered or request.wanted is not None
        outcomes = self._rest_answers(now) + self._quota_over()
        if isinstance(login, replies.Login):
            return outcomes + self._logged_in(login, now)
        if request.purpose is Purpose.LOGIN:
            return outcomes + self._login_refused(outcome.text, now)
        if isinstance(outcome, replies.AuthRefused):
            return outcomes + self._token_refused(outcome.text, request, now)
        if request.purpose is Purpose.VERIFY and not isinstance(outcome, replies.Ok):
            return outcomes + self._token_refused(outcome.text, request, now)
        self._budget.succeeded(now)
        if was_quota:
            outcomes.append(KeepBudget(self._budget.memo(now)))
        self._doubt.accepted()
        outcomes += self._login_no_longer_refused()
        if request.purpose is Purpose.VERIFY:
            return outcomes + self._verified(now)
        if isinstance(outcome, replies.Refused):
            return outcomes + self._path_refused(outcome.text, request, now)
        self._doubt.answered(request.path)
        return [*outcomes, found] if found is not None else outcomes + self._devices(outcome)

    def _rest_answers(self, now: Now) -> list[Outcome]:
        """The server answered, whatever it said: an outage is over."""
        outcomes: list[Outcome] = [Note("rest_restored", "info")] if self.rest_works is False else []
        self._rest_backoff.well(now.monotonic)
        self.rest_works, self.rest_trouble, self._rest_try_at = True, "", 0.0
        return outcomes

    def _quota_over(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        if self._quota_told:
            self._quota_told = False
            outcomes += [AlertOver("quota"), Note("quota_over", "info", public=True)]
        return outcomes

    def _quota(self, outcome: replies.QuotaExceeded, request: Request, now: Now) -> list[Outcome]:
        self._budget.quota_hit(now, outcome.retry_after_s)
        memo = self._budget.memo(now)
        pause_s = ((memo.quota_until_ms or now.utc_ms) - now.utc_ms) / 1000
        facts: dict[str, object] = {"pause_s": round(pause_s), "text": outcome.text}
        self._quota_told = True
        return [
            KeepBudget(memo),
            Note("quota_hit", "warning", facts, public=True),
            AlertRaised("quota", QUOTA_TEXT, facts),
            *self._not_now(request, outcome.text, now),
        ]

    def _transient(self, outcome: replies.Transient, request: Request, now: Now) -> list[Outcome]:
        facts: dict[str, object]
        if request.wanted is not None and request.path in self._failing and self._others_answered:
            facts = {"text": outcome.text, "call": request.path}  # the server answers for others: no outage
            return [Note("rest_failed", "debug", facts), *self._not_now(request, outcome.text, now)]
        if request.wanted is not None:
            self._failing.add(request.path)
        delay = self._rest_backoff.failed(now.monotonic)
        self._rest_try_at = now.monotonic + delay
        outcomes: list[Outcome] = []
        if request.purpose is Purpose.LOGIN and outcome.trouble in UNSENT:
            self._budget.login_unsent()
            outcomes.append(KeepBudget(self._budget.memo(now)))
        facts = {"text": outcome.text, "call": request.path, "retry_in_s": round(delay, 1)}
        self._others_answered = False
        told = self.rest_works is False
        outcomes.append(Note("rest_failed", "debug" if told else "warning", facts))
        self.rest_works, self.rest_trouble = False, outcome.text
        if request.purpose is Purpose.VERIFY and outcome.trouble is None:  # it answers this alone so: do not insist
            return outcomes + self._waiting_not_now(outcome.text, now)
        return outcomes + self._not_now(request, outcome.text, now)

    def _not_now(self, request: Request, text: str, now: Now) -> list[Outcome]:
        """It was not answered: it is asked for again later, and other calls are not kept waiting for it."""
        if request.purpose is Purpose.LIST:
            self._list_at = 0.0 if self.devices is None else now.monotonic + LIST_AGAIN_S
        if request.wanted is None:
            return []
        return [WantFailed(request.wanted, Failure.TRANSIENT, text)]

    def _waiting_not_now(self, text: str, now: Now) -> list[Outcome]:
        """What waited for the token to be verified is judged no more."""
        waiting = self._doubt.settled()
        return self._not_now(waiting, text, now) if waiting is not None else []

    def _logged_in(self, login: replies.Login, now: Now) -> list[Outcome]:
        if not login.account.may_time:
            text = f"the account lacks the role {replies.ROLE}: enable the Timekeeper feature in ALGE-Results"
            return self._login_refused(text, now)
        self._budget.login_accepted(now)
        self.logins += 1
        self._kept = KeptToken(self._username, login.token, login.account.id, now.utc_ms)
        self._doubt.obtained(now.monotonic)
        if self.login_refused is not None:
            self._doubt.verify = True  # the trouble is over once the token is accepted too
        self.subscription.retry_now(now)
        facts = {"note": login.note} if login.note else {}
        return [
            KeepToken(self._kept),
            KeepBudget(self._budget.memo(now)),
            Note("token_renewed", "info", facts, public=True),
        ]

    def _login_no_longer_refused(self) -> list[Outcome]:
        if self.login_refused is None:
            return []
        self.login_refused = None
        return [AlertOver("login_refused")]

    def _login_refused(self, text: str, now: Now) -> list[Outcome]:
        self._budget.login_refused(now)
        first = self.login_refused is None
        self.login_refused = text
        self._kept = self._repeat = None
        self._doubt.settled()
        wait_s = self._budget.next_at(now, login=True) - now.monotonic
        facts: dict[str, object] = {"text": text, "retry_in_s": round(wait_s)}
        return [
            KeepToken(None),
            KeepBudget(self._budget.memo(now)),
            Note("login_refused", "error" if first else "warning", facts, public=True),
            self._login_alert(text),
        ]

    def _login_alert(self, text: str) -> AlertRaised:
        words = f"The MT1 server refuses our login: {text}. Check mt1.username and the password."
        return AlertRaised("login_refused", words, {"username": self._username})

    def _token_refused(self, text: str, request: Request, now: Now) -> list[Outcome]:
        """The first refusal of a token is its end; the second in a row is no matter of age."""
        if request.purpose is Purpose.VERIFY:
            waiting = self._waiting_not_now(text, now)
            return waiting + (self._login_refused(text, now) if self._doubt.is_unproven else self._forget_token(text))
        if self._doubt.refused(request, now.monotonic):
            return []
        self._repeat = request
        return self._forget_token(text)

    def _forget_token(self, text: str) -> list[Outcome]:
        self._kept = None
        return [KeepToken(None), Note("token_expired", "info", {"text": text})]

    def _verified(self, now: Now) -> list[Outcome]:
        """The token is good: what was refused with it is refused for good, for this path alone."""
        waiting = self._doubt.settled()
        if waiting is None:
            return []
        self._doubt.is_the_path(waiting.path)
        return self._path_refused("the MT1 server refuses this call, though it accepts the token", waiting, now)

    def _path_refused(self, text: str, request: Request, now: Now) -> list[Outcome]:
        if request.wanted is not None:
            return [WantFailed(request.wanted, Failure.REFUSED, text)]
        told, self.list_refused = self.list_refused, True
        if self.devices is None:
            self._list_at = now.monotonic + LIST_AGAIN_S
        return [Note("device_list_refused", "debug" if told else "warning", {"text": text})]

    def _devices(self, outcome: replies.Ok) -> list[Outcome]:
        found = replies.devices(outcome.data)
        outcomes: list[Outcome] = []
        self.list_refused = False
        if self._configured is None:
            listed = tuple(device.id for device in found)
            if listed != self._listed:
                outcomes.append(Note("devices_listed", "info", {"devices": ", ".join(listed) or "none"}))
            self._listed = listed
        return [*outcomes, DevicesListed(tuple(Device(d.id, d.name, d.type, d.raw) for d in found))]


def _secrets(call: Call) -> tuple[Secret, ...]:
    """What the server may repeat in its words."""
    return tuple(one for one in (call.token, call.login[1] if call.login else None) if one is not None)


def _device_of(destination: str) -> str | None:
    parts = destination.split("/")
    return parts[3] if len(parts) == 5 and parts[1:3] == ["topic", "device"] else None
