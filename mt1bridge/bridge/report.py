"""What people are told of the bridge: states, availability, health. Pure (CONTRACT, sections 4 and 5)."""

from mt1bridge import __version__
from mt1bridge.bridge.parts import Parts
from mt1bridge.model.orders import StatusText
from mt1bridge.model.status import Broker, Note, Upstream, UpstreamStatus
from mt1bridge.mqtt import handover as handing
from mt1bridge.topics import times
from mt1bridge.topics.standing import Facts, standing

HEALTH_EVERY_S = 30.0
WAITING = (Upstream.DISCONNECTED, Upstream.QUOTA, Upstream.LOGIN_REFUSED, Upstream.POLLING)
LOGGING_IN = (Upstream.STARTING, Upstream.LOGGING_IN)  # at most one login a minute, also over restarts
LOGIN_WAITS = "login_waits"
SOON_S = 2.0
MOVED_MS = 1_500  # a next try that moves by less is the same


class Report:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._status: UpstreamStatus | None = None
        self._text = ""
        self._available: dict[str, bool] = {}
        self.health_at = parts.now.monotonic
        self.stopping = False
        self.leaving = False  # to another broker or base topic

    def tell(self) -> None:
        """Tell what has changed since the last step."""
        parts = self._parts
        self._tell_upstream()
        self._tell_availability()
        text = self._one_line()
        if text != self._text:
            self._text = text
            parts.orders.append(StatusText(text))
        if parts.now.monotonic >= self.health_at:
            self.health_at = parts.now.monotonic + HEALTH_EVERY_S
            parts.desk.board.touch("health")

    def again(self) -> None:
        """The desk is another one: tell it all."""
        self._available.clear()
        if self._status is not None:
            self._parts.desk.upstream(self._status)

    # --- upstream -----------------------------------------------------------------------------------

    def _tell_upstream(self) -> None:
        parts = self._parts
        state, reasons = standing(self._facts())
        next_try_ms = self._next_try_ms(state)
        before = self._status
        same_state = before is not None and before.state is state
        same = before is not None and same_state and before.reasons == reasons
        if before is not None and same and not _moved(before.next_try_ms, next_try_ms):
            return
        since_ms = before.since_ms if before is not None and same_state else parts.now.utc_ms
        self._status = UpstreamStatus(state, since_ms, reasons, next_try_ms)
        parts.desk.upstream(self._status)
        if not same_state:
            facts: dict[str, object] = {"state": state.value, "reasons": ", ".join(reasons)}
            parts.orders.append(Note("state_changed", "info", facts))

    def _next_try_ms(self, state: Upstream) -> int | None:
        parts, now = self._parts, self._parts.now
        session, at = parts.session, parts.session.next_try(now)
        degraded = state is Upstream.DEGRADED
        if degraded and (session.rest_works is False or session.in_quota(now)):
            at = min(at, max(session.calls_from(now), parts.reconciliation.next_due(now)))
        elif not (
            state in WAITING
            or (state in LOGGING_IN and at > now.monotonic + SOON_S)
            or (degraded and self._login_waits())
        ):
            return None
        return now.utc_ms + int(max(0.0, at - now.monotonic) * 1000)

    def _facts(self) -> Facts:
        session, now = self._parts.session, self._parts.now
        subscription = session.subscription
        lost = None
        if not subscription.subscribed:
            if subscription.trouble is not None:
                lost = f"{subscription.trouble.value}: {subscription.text}"
            elif session.rest_works is False:
                lost = session.rest_trouble
        return Facts(
            stopping=self.stopping,
            login_refused=session.login_refused,
            quota=session.in_quota(now),
            has_token=session.has_token,
            logging_in=session.calls > 0,
            subscribed=subscription.subscribed,
            opening=subscription.opening,
            polling=session.polling(now),
            lost=lost,
            settled=self._parts.reconciliation.all_settled(),
            degraded=self._degraded(),
        )

    def _degraded(self) -> tuple[str, ...]:
        parts = self._parts
        reasons = [f"device_refused_{device}" for device in sorted(parts.reconciliation.refused_devices)]
        reasons += [f"subscription_refused_{device}" for device in sorted(parts.session.subscription.refused)]
        reasons += [f"channel_refused_{at.device}_{at.channel}" for at in parts.reconciliation.refused_channels]
        reasons += [f"channel_unanswered_{at.device}_{at.channel}" for at in parts.reconciliation.unanswered_channels]
        reasons += [f"not_subscribed_{device}" for device in parts.session.not_subscribed()]
        if parts.reconciliation.missing():
            reasons.append("missing")
        if parts.journal.trouble is not None:
            reasons.append("journal")
        if self._login_waits():
            reasons.append(LOGIN_WAITS)
        if parts.session.rest_works is False and parts.session.subscription.subscribed:
            reasons.append(f"rest_failed: {parts.session.rest_trouble}")
        if parts.session.devices is None and parts.session.list_refused:
            reasons.append("device_list_refused")
        if parts.session.devices == ():
            reasons.append("no_devices")
        return tuple(reasons)

    def _login_waits(self) -> bool:
        """There is a subscription and no token, and that is no matter of a moment."""
        session, now = self._parts.session, self._parts.now
        if session.has_token or not session.subscription.subscribed:
            return False
        told = self._status is not None and LOGIN_WAITS in self._status.reasons
        return told or session.next_try(now) > now.monotonic + SOON_S

    def _tell_availability(self) -> None:
        parts = self._parts
        polling = parts.session.polling(parts.now)
        pushed = set(parts.session.subscription.devices())
        devices = parts.desk.devices()
        self._available = {device: online for device, online in self._available.items() if device in devices}
        for device in devices:
            had = (device in pushed or polling) and device not in parts.reconciliation.refused_devices
            online = had and not (self.stopping or self.leaving)
            if self._available.get(device) != online:
                self._available[device] = online
                parts.desk.availability(device, online)

    def _one_line(self) -> str:
        """For `systemctl status`."""
        parts = self._parts
        assert self._status is not None  # told before
        reasons = f" ({'; '.join(self._status.reasons)})" if self._status.reasons else ""
        broker = parts.broker.state
        if broker is Broker.CONNECTED and parts.handover.backlog() > handing.MANY:
            broker = Broker.DRAINING
        why = f" ({parts.broker.why})" if parts.broker.why and broker is not Broker.CONNECTED else ""
        return f"MT1 server: {self._status.state.value}{reasons}; broker: {broker.value}{why}"

    # --- health -------------------------------------------------------------------------------------

    def health(self) -> dict[str, object]:
        """The body of the health message (CONTRACT, section 5)."""
        parts, now = self._parts, self._parts.now
        status = self._status
        return {
            "state": (status.state if status else Upstream.STARTING).value,
            "since": times.milliseconds(status.since_ms if status else parts.beginning.utc_ms),
            "reasons": list(status.reasons) if status else [],
            "subscription": self._subscription(),
            "token": {
                "obtained_at": times.milliseconds(parts.session.token_obtained_ms),
                "logins": parts.session.logins,
            },
            "rest": {
                "calls": parts.session.calls,
                "quota_until": times.milliseconds(parts.session.memo(now).quota_until_ms),
            },
            "mqtt": self._mqtt(),
            "triggers": dict(parts.counters.triggers(parts.reconciliation.missing())),
            "delay_ms": parts.counters.delay.told(now.monotonic),
            "bridge_ms": parts.counters.bridge.told(now.monotonic),
            "clock_offset_ms": parts.clock_offset_ms,
            "journal": {
                "bytes": parts.journal.bytes(),
                "written_today_bytes": parts.measures.written_today(),
            },
            "uptime_s": int(parts.beginning.age_s(now.monotonic)),
            "rss_mb": round(parts.measures.rss_mb(), 1),
            "version": __version__,
        }

    def _subscription(self) -> dict[str, object]:
        parts, subscription = self._parts, self._parts.session.subscription
        number = subscription.number
        frame_at = parts.measures.last_frame_at(number) if number is not None else None
        return {
            "connected": subscription.subscribed,
            "since": times.milliseconds(subscription.since_ms) if subscription.subscribed else None,
            "reconnects": max(0, subscription.reconnects),
            "last_frame_age_s": None if frame_at is None else round(parts.now.monotonic - frame_at, 1),
        }

    def _mqtt(self) -> dict[str, object]:
        parts = self._parts
        oldest = parts.handover.oldest()
        return {
            "connected": parts.broker.ready,
            "reconnects": max(0, parts.broker.reconnects - 1),
            "backlog": parts.handover.backlog(),
            "oldest_unacknowledged_s": None if oldest is None else round(parts.now.monotonic - oldest, 1),
        }


def _moved(before_ms: int | None, now_ms: int | None) -> bool:
    if before_ms is None or now_ms is None:
        return before_ms is not now_ms
    return abs(before_ms - now_ms) > MOVED_MS
