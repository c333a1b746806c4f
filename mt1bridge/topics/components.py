"""The components of our Home Assistant devices: pure, constants but for topics and labels (CONTRACT, section 7)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mt1bridge.model.status import Upstream

LINKED = (Upstream.RECONCILING, Upstream.LIVE, Upstream.DEGRADED, Upstream.POLLING)  # triggers can be had
CORRECTIONS = ("cleared", "deleted", "renumbered", "changed", "restored")
EXACT = (
    "id",
    "revision",
    "start_number",
    "start_number_type",
    "time",
    "local_time",
    "time_of_day",
    "timestamp",
    "time_offset",
)

_DATA = "(value_json | default({}, true))"
# Home Assistant's recorder warns of attributes above 16 KiB, and names may have any length: they are cut here.
_EVENT = (
    "{% if value_json is mapping %}"
    "{{ dict(value_json.items() | rejectattr(0, 'eq', 'raw'),"
    " device_name=(value_json.device_name | default(value_json.device, true) | string)[:100],"
    " channel_name=(value_json.channel_name | default(value_json.channel, true) | string)[:100]) | to_json }}"
    "{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Component:
    """One entity or device trigger. options: what its platform wants beyond ids and qos."""

    platform: str
    options: dict[str, object] = field(default_factory=dict)

    def config(self, unique_id: str, entity_id: str) -> dict[str, object]:
        """The component as Home Assistant reads it. entity_id: without its domain; a wish, for 2025.10 and newer."""
        base: dict[str, object] = {"platform": self.platform, "qos": 1}
        if self.platform != "device_automation":
            base |= {"unique_id": unique_id, "default_entity_id": f"{self.platform}.{entity_id}"}
        return base | self.options


def bridge_components(root: str) -> dict[str, Component]:
    """The bridge's own diagnostics. root: `<base_topic>/bridge`."""
    state, upstream, info, health = f"{root}/state", f"{root}/upstream", f"{root}/info", f"{root}/health"
    common: dict[str, object] = {"entity_category": "diagnostic"} | _while_running(state)
    counted: dict[str, object] = common | {"state_topic": health, "state_class": "measurement"}
    linked = f"{{{{ 'ON' if {_DATA}.state | default('') in {[state.value for state in LINKED]} else 'OFF' }}}}"
    return {
        "running": _running(state),
        "cloud_link": Component(
            "binary_sensor",
            common
            | {"name": "Cloud link", "device_class": "connectivity", "state_topic": upstream, "value_template": linked},
        ),
        "state": Component(
            "sensor",
            common
            | {
                "name": "State",
                "device_class": "enum",
                "options": [state.value for state in Upstream],
                "icon": "mdi:state-machine",
            }
            | {"state_topic": upstream, "value_template": _value("state")}
            | _attributes(upstream, ("since", "reasons", "next_try_at")),
        ),
        "backlog": Component(
            "sensor",
            counted | {"name": "Backlog", "icon": "mdi:tray-full", "value_template": _value("mqtt", "backlog")},
        ),
        "latency": Component(
            "sensor",
            counted
            | {"name": "Latency", "device_class": "duration", "unit_of_measurement": "ms"}
            | {"suggested_display_precision": 1, "value_template": _value("bridge_ms", "p99")},
        ),
        "reconnects": Component(
            "sensor",
            counted
            | {"name": "Reconnects", "icon": "mdi:connection", "state_class": "total_increasing"}
            | {"value_template": _value("subscription", "reconnects")},
        ),
        "started": Component(
            "sensor",
            common
            | {"name": "Started", "device_class": "timestamp", "state_topic": info}
            | {"value_template": _value("started_at")},
        ),
        "version": Component(
            "sensor",
            common
            | {"name": "Version", "icon": "mdi:tag-outline", "state_topic": info}
            | {"value_template": _value("version")},
        ),
    }


def device_components(root: str, bridge_state: str) -> dict[str, Component]:
    """What an MT1 has beside its channels. root: `<base_topic>/device/<device>`."""
    return {
        "subscribed": Component(
            "binary_sensor",
            {
                "name": "Subscribed",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": f"{root}/availability",
                "payload_on": "online",
                "payload_off": "offline",
            }
            | _while_running(bridge_state),
        )
    }


def channel_components(root: str, channel: str, label: str, bridge_state: str) -> dict[str, Component]:
    """What each channel has. root: `<base_topic>/device/<device>/<channel>`; label: the channel's name on the screen.

    Impulses and missing are counted for each channel, as `tally` counts them: Home Assistant cannot add up topics.
    """
    last, tally = f"{root}/last", f"{root}/tally"
    number: dict[str, object] = {"name": f"{label} last start number", "icon": "mdi:numeric"}
    time: dict[str, object] = {"name": f"{label} last time", "device_class": "timestamp"}
    impulses: dict[str, object] = {"name": f"{label} impulses", "icon": "mdi:counter", "state_class": "total"}
    missing: dict[str, object] = {"name": f"{label} missing", "icon": "mdi:alert-circle-outline"}
    return {
        f"{channel}_impulse": _event(
            f"{root}/trigger", f"{label} impulse", ("trigger", "late"), "mdi:flag-checkered", enabled=True
        ),
        f"{channel}_last_start_number": Component("sensor", number | _always(last, "start_number")),
        f"{channel}_last_time": Component("sensor", time | _always(last, "time") | _attributes(last, EXACT)),
        f"{channel}_impulses": Component("sensor", impulses | _always(tally, "published")),
        f"{channel}_missing": Component(
            "sensor",
            missing
            | {"entity_category": "diagnostic", "state_class": "measurement"}
            | {"state_topic": tally, "value_template": _value("missing")}
            | _attributes(tally, ("complete", "checked_at", "in_effect", "server_count"))
            | _while_running(bridge_state),
        ),
        f"{channel}_correction": _event(
            f"{root}/correction", f"{label} correction", CORRECTIONS, "mdi:pencil", enabled=False
        ),
        f"{channel}_rejected": _event(
            f"{root}/rejected", f"{label} rejected", ("rejected",), "mdi:cancel", enabled=False
        ),
        f"{channel}_on_trigger": _automation(f"{root}/trigger", "trigger", channel),
        f"{channel}_on_cleared": _automation(f"{root}/correction", "cleared", channel),
    }


def _running(state: str) -> Component:
    return Component(
        "binary_sensor",
        {
            "name": "Running",
            "device_class": "running",
            "entity_category": "diagnostic",
            "availability": [],  # so that it reads off, not unavailable
            "state_topic": state,
            "payload_on": "online",
            "payload_off": "offline",
        },
    )


def _event(topic: str, name: str, event_types: Iterable[str], icon: str, *, enabled: bool) -> Component:
    return Component(
        "event",
        {
            "name": name,
            "icon": icon,
            "availability": [],
            "enabled_by_default": enabled,
            "event_types": list(event_types),
            "state_topic": topic,
            "value_template": _EVENT,
        },
    )


def _automation(topic: str, event_type: str, channel: str) -> Component:
    """A device trigger. subtype: the channel and not its name, as users' automations are stored with it."""
    return Component(
        "device_automation",
        {
            "automation_type": "trigger",
            "type": event_type,
            "subtype": channel,
            "topic": topic,
            "value_template": f"{{{{ {_DATA}.event_type | default('') }}}}",
            "payload": event_type,
        },
    )


def _value(*path: str) -> str:
    """A template for one key of a JSON payload; what is null or missing becomes unknown."""
    data = _DATA
    for key in path[:-1]:
        data = f"({data}.{key} | default({{}}, true))"
    return f"{{{{ {data}.{path[-1]} | default(none) }}}}"


def _attributes(topic: str, keys: tuple[str, ...]) -> dict[str, object]:
    template = f"{{{{ dict({_DATA}.items() | selectattr(0, 'in', {list(keys)})) | to_json }}}}"
    return {"json_attributes_topic": topic, "json_attributes_template": template}


def _always(topic: str, key: str) -> dict[str, object]:
    return {"availability": [], "state_topic": topic, "value_template": _value(key)}


def _while_running(state: str) -> dict[str, object]:
    return {"availability": [{"topic": state, "payload_available": "online", "payload_not_available": "offline"}]}
