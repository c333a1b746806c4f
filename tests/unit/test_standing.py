"""Which state of the upstream link is told: the precedence of the contract, section 4, over all that may be true."""

from dataclasses import fields
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from mt1bridge.model.status import Upstream
from mt1bridge.topics.standing import Facts, standing

ANY = st.builds(
    Facts,
    stopping=st.booleans(),
    login_refused=st.sampled_from([None, "wrong password"]),
    quota=st.booleans(),
    has_token=st.booleans(),
    logging_in=st.booleans(),
    subscribed=st.booleans(),
    opening=st.booleans(),
    polling=st.booleans(),
    lost=st.sampled_from([None, "dns: no such name"]),
    settled=st.booleans(),
    degraded=st.sampled_from([(), ("missing",), ("journal", "missing")]),
)


def state(**facts):
    return standing(Facts(**facts))[0]


def told(**facts):
    return standing(Facts(**facts))


# --- the way up -------------------------------------------------------------------------------------


def test_from_the_start_to_live():
    assert [
        told(),
        told(logging_in=True),
        told(logging_in=True, has_token=True, opening=True),
        told(logging_in=True, has_token=True, subscribed=True),
        told(logging_in=True, has_token=True, subscribed=True, settled=True),
    ] == [
        (Upstream.STARTING, ()),
        (Upstream.LOGGING_IN, ()),
        (Upstream.SUBSCRIBING, ()),
        (Upstream.RECONCILING, ()),
        (Upstream.LIVE, ()),
    ]


# --- precedence -------------------------------------------------------------------------------------


@given(ANY)
def test_stopping_comes_before_everything(facts):
    if facts.stopping:
        assert standing(facts) == (Upstream.STOPPING, ())


@given(ANY)
def test_a_refused_login_comes_before_everything_else_and_says_why(facts):
    if not facts.stopping and facts.login_refused:
        found, reasons = standing(facts)
        assert found is Upstream.LOGIN_REFUSED
        assert reasons[0] == "wrong password"


@given(ANY)
def test_quota_without_a_subscription_comes_next(facts):
    if not facts.stopping and not facts.login_refused and facts.quota and not facts.subscribed:
        assert standing(facts)[0] is Upstream.QUOTA


@given(ANY)
def test_quota_with_a_subscription_is_degraded_by_it(facts):
    if not facts.stopping and not facts.login_refused and facts.quota and facts.subscribed:
        found, reasons = standing(facts)
        assert found is Upstream.DEGRADED
        assert "quota" in reasons


@given(ANY)
def test_live_means_subscribed_with_history_read_and_nothing_wrong(facts):
    if standing(facts)[0] is Upstream.LIVE:
        assert facts.subscribed
        assert facts.settled
        assert not facts.degraded
        assert not facts.quota


@given(ANY)
def test_degraded_always_says_what_is_wrong(facts):
    found, reasons = standing(facts)
    if found in (Upstream.DEGRADED, Upstream.DISCONNECTED, Upstream.LOGIN_REFUSED, Upstream.QUOTA):
        assert reasons


@given(ANY)
def test_what_is_wrong_is_never_hidden_while_a_subscription_stands(facts):
    if facts.subscribed and facts.degraded and not facts.stopping and not facts.login_refused:
        found, reasons = standing(facts)
        assert found is Upstream.DEGRADED
        assert set(facts.degraded) <= set(reasons)


def test_every_combination_has_a_state_and_all_states_are_reached():
    kinds = {"login_refused": (None, "no"), "lost": (None, "dns"), "degraded": ((), ("missing",))}
    names = [field.name for field in fields(Facts)]
    combinations = product(*(kinds.get(name, (False, True)) for name in names))
    assert {standing(Facts(*values))[0] for values in combinations} == set(Upstream)


# --- without a subscription -------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached_is_disconnected_with_its_reason():
    assert told(has_token=True, lost="dns: no such name") == (Upstream.DISCONNECTED, ("dns: no such name",))
    assert told(lost="dns: no such name") == (Upstream.DISCONNECTED, ("dns: no such name",))


def test_while_the_connection_is_tried_again_it_stays_disconnected():
    assert state(has_token=True, opening=True, lost="closed: gone") is Upstream.DISCONNECTED


def test_where_rest_still_brings_triggers_it_is_polling_and_not_disconnected():
    assert told(has_token=True, polling=True, lost="websocket_refused: 403", degraded=("missing",)) == (
        Upstream.POLLING,
        ("websocket_refused: 403", "missing"),
    )


def test_an_account_without_devices_is_degraded_though_nothing_can_be_subscribed_to():
    assert told(has_token=True, degraded=("no_devices",)) == (Upstream.DEGRADED, ("no_devices",))


def test_a_refused_login_says_that_the_subscription_goes_on_while_it_does():
    assert told(login_refused="wrong password", subscribed=True) == (
        Upstream.LOGIN_REFUSED,
        ("wrong password", "subscription_goes_on"),
    )
    assert told(login_refused="wrong password") == (Upstream.LOGIN_REFUSED, ("wrong password",))
