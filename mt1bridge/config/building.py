"""Values that were read and checked -> frozen settings. Pure."""

from pathlib import Path

from mt1bridge.config import options as o
from mt1bridge.config.found import Found
from mt1bridge.config.settings import (
    DeviceSettings,
    HomeAssistantSettings,
    JournalSettings,
    LogSettings,
    MqttSettings,
    Mt1Settings,
    ReconcileSettings,
    Settings,
)
from mt1bridge.model.secret import Secret

Devices = tuple[DeviceSettings, ...] | None


def build(
    found: Found, devices: Devices, mt1_password: Secret, mqtt_password: Secret | None, directory: Path, unit: str
) -> Settings:
    """Return the settings. directory: of the journal. unit: the instance of the systemd template unit, "" for none."""
    suffix = f"-{unit}" if unit else ""
    instance = found.get(o.INSTANCE) or f"mt1bridge{suffix}"
    return Settings(
        instance=instance,
        mt1=_mt1(found, devices, mt1_password),
        mqtt=_mqtt(found, mqtt_password, instance, found.get(o.BASE_TOPIC) or f"mt1{suffix}"),
        home_assistant=HomeAssistantSettings(found.need(o.ENABLED), found.need(o.PREFIX)),
        journal=JournalSettings(directory, found.need(o.KEEP)),
        reconcile=ReconcileSettings(
            interval_s=found.need(o.INTERVAL),
            full_interval_s=found.need(o.FULL_INTERVAL),
            window_s=found.need(o.WINDOW),
            first_start_s=found.need(o.FIRST_START),
            calls_per_minute=found.need(o.CALLS),
            live_within_s=found.need(o.LIVE_WITHIN),
        ),
        log=LogSettings(found.need(o.LEVEL), found.need(o.FORMAT)),
    )


def _mt1(found: Found, devices: Devices, password: Secret) -> Mt1Settings:
    url, realtime = found.need(o.URL).url, found.get(o.REALTIME_URL)
    return Mt1Settings(
        username=found.need(o.USERNAME),
        password=password,
        url=url,
        realtime_url=realtime.url if realtime is not None else f"{url}/devices",
        ca_file=found.get(o.MT1_CA_FILE),
        edges=found.need(o.EDGES),
        devices=devices,
    )


def _mqtt(found: Found, password: Secret | None, instance: str, base_topic: str) -> MqttSettings:
    address = found.need(o.MQTT_URL)
    return MqttSettings(
        url=address.url,
        scheme=address.scheme,
        host=address.host,
        port=address.port,
        path=address.path,
        username=found.get(o.MQTT_USERNAME),
        password=password,
        client_id=found.get(o.CLIENT_ID) or instance,
        protocol=found.need(o.PROTOCOL),
        base_topic=base_topic,
        ca_file=found.get(o.MQTT_CA_FILE),
        cert_file=found.get(o.CERT_FILE),
        key_file=found.get(o.KEY_FILE),
        scalar_topics=found.need(o.SCALAR_TOPICS),
        commands=found.need(o.COMMANDS),
    )
