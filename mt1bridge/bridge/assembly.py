"""Settings -> the parts that the stages share. Pure."""

from random import Random

from mt1bridge import __version__
from mt1bridge.bridge.beginning import Beginning
from mt1bridge.bridge.opening import Opening
from mt1bridge.bridge.parts import Measures, Parts, Start
from mt1bridge.cloud.budget import Budget
from mt1bridge.cloud.session import CloudSession
from mt1bridge.config.settings import Settings
from mt1bridge.feed.clocks import DeviceClocks
from mt1bridge.feed.intake import Intake
from mt1bridge.feed.reconcile import Reconcile, Reconciliation
from mt1bridge.journal.journal import Journal
from mt1bridge.journal.staging import Staging
from mt1bridge.model.clock import Now
from mt1bridge.mqtt import session as broking
from mt1bridge.mqtt.handover import Handover
from mt1bridge.mqtt.session import BrokerSession
from mt1bridge.topics.desk import Called, Desk, Identity, will
from mt1bridge.topics.health import Counters
from mt1bridge.topics.names import Names


def parts(
    settings: Settings, journal: Journal, staging: Staging, start: Start, now: Now, random: Random, measures: Measures
) -> Parts:
    mt1, calls_per_minute = settings.mt1, settings.reconcile.calls_per_minute
    session = CloudSession(
        mt1.username, mt1.password, configured(settings), Budget(calls_per_minute, random.random), random.random
    )
    session.restore(start.kept, start.memo, now, start.forgetful)
    beginning = Beginning(start.began, start.first_ms, start.fresh)
    called = Called(mt1.devices or ())
    reconciliation = Reconciliation(pace(settings), calls_per_minute)
    names = Names(settings.mqtt.base_topic)
    return Parts(
        settings=settings,
        journal=journal,
        staging=staging,
        start=start,
        beginning=beginning,
        opening=Opening(journal, start.began),
        random=random,
        measures=measures,
        names=names,
        called=called,
        session=session,
        reconciliation=reconciliation,
        clocks=DeviceClocks(journal.device_offsets()),
        intake=Intake(mt1.edges, called.names),
        handover=Handover(),
        broker=broker_session(settings, names, random, 0),
        desk=desk(settings, names, journal, beginning, reconciliation, called),
        counters=Counters(),
        orders=[],
        now=now,
    )


def desk(
    settings: Settings,
    names: Names,
    journal: Journal,
    beginning: Beginning,
    reconciliation: Reconciliation,
    called: Called,
) -> Desk:
    home_assistant = settings.home_assistant
    identity = Identity(
        instance=settings.instance,
        version=__version__,
        url=settings.mt1.url,
        config_digest=settings.digest(),
        started_ms=beginning.utc_ms,
        scalar_topics=settings.mqtt.scalar_topics,
        discovery_prefix=home_assistant.discovery_prefix if home_assistant.enabled else None,
    )
    return Desk(names, identity, journal, reconciliation.memory, called.names)


def broker_session(settings: Settings, names: Names, random: Random, connection: int) -> BrokerSession:
    """connection: the last number that was used."""
    subscriptions = [names.info, names.state]
    if settings.mqtt.commands:
        subscriptions.append(names.requests)
    if settings.home_assistant.enabled:
        subscriptions += birth_topics(settings)
    place = broking.Place(
        instance=settings.instance,
        protocol=settings.mqtt.protocol,
        will=will(names),
        info_topic=names.info,
        state_topic=names.state,
        subscriptions=tuple(subscriptions),
    )
    return BrokerSession(place, random.random, connection)


def birth_topics(settings: Settings) -> list[str]:
    """Home Assistant says that it is born on `homeassistant/status`, whatever the discovery prefix, unless told to."""
    return sorted({"homeassistant/status", f"{settings.home_assistant.discovery_prefix}/status"})


def pace(settings: Settings) -> Reconcile:
    reconcile = settings.reconcile
    return Reconcile(reconcile.interval_s, reconcile.full_interval_s, reconcile.window_s)


def configured(settings: Settings) -> tuple[str, ...] | None:
    devices = settings.mt1.devices
    return None if devices is None else tuple(device.id for device in devices)
