"""Which state of the upstream link to tell. Pure (CONTRACT, section 4)."""

from dataclasses import dataclass

from mt1bridge.model.status import Upstream


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the state follows from. degraded: reasons why something cannot be checked or had."""

    stopping: bool = False
    login_refused: str | None = None
    quota: bool = False
    has_token: bool = False
    logging_in: bool = False
    subscribed: bool = False
    opening: bool = False  # connecting for the first time, or after a loss that is not told yet
    polling: bool = False
    lost: str | None = None  # why there is no subscription
    settled: bool = False  # history was read since the subscription
    degraded: tuple[str, ...] = ()


def standing(facts: Facts) -> tuple[Upstream, tuple[str, ...]]:
    """(state, reasons) by the contract's precedence; quota with a subscription is degraded."""
    if facts.stopping:
        return Upstream.STOPPING, ()
    if facts.login_refused is not None:
        if facts.subscribed:
            return Upstream.LOGIN_REFUSED, (facts.login_refused, "subscription_goes_on")
        return Upstream.LOGIN_REFUSED, (facts.login_refused,)
    if facts.quota and not facts.subscribed:
        return Upstream.QUOTA, ("quota",)
    if not facts.subscribed:
        return _without_subscription(facts)
    degraded = (*facts.degraded, *(("quota",) if facts.quota else ()))
    if degraded:
        return Upstream.DEGRADED, degraded
    return (Upstream.LIVE if facts.settled else Upstream.RECONCILING), ()


def _without_subscription(facts: Facts) -> tuple[Upstream, tuple[str, ...]]:
    if facts.polling:
        return Upstream.POLLING, ((facts.lost,) if facts.lost else ()) + facts.degraded
    if facts.lost is not None:
        return Upstream.DISCONNECTED, (facts.lost, *facts.degraded)
    if not facts.has_token:
        return (Upstream.LOGGING_IN if facts.logging_in else Upstream.STARTING), ()
    if facts.opening:
        return Upstream.SUBSCRIBING, ()
    return (Upstream.DEGRADED, facts.degraded) if facts.degraded else (Upstream.SUBSCRIBING, ())
