"""A good file, the environment over it, and what is assumed where both are silent."""

from pathlib import Path

import pytest

from mt1bridge.config.loading import load
from mt1bridge.config.options import OPTIONS
from mt1bridge.config.settings import Loaded
from mt1bridge.model.errors import ConfigurationError
from mt1bridge.model.secret import Secret

MINIMAL = "mt1: {username: club@example.org, password: x}\n"


def loaded(tmp_path: Path, text: str = MINIMAL, **environ: str) -> Loaded:
    file = tmp_path / "mt1bridge.yaml"
    file.write_text(text)
    file.chmod(0o600)
    return load(file, {"HOME": "/home/club", **environ})


def faults(tmp_path: Path, text: str = MINIMAL, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, text, **environ)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_username_and_password_are_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings

    assert settings.instance == settings.mqtt.client_id == "mt1bridge"
    assert settings.mt1.password == Secret("x")
    assert settings.mt1.realtime_url == "https://www.alge-results.com/devices"
    assert settings.mt1.edges == {"falling"}
    assert settings.mt1.devices is None
    assert (settings.mqtt.scheme, settings.mqtt.host, settings.mqtt.port) == ("mqtt", "localhost", 1883)
    assert (settings.mqtt.protocol, settings.mqtt.base_topic, settings.mqtt.password) == (5, "mt1", None)
    assert settings.journal.directory == Path("/home/club/.local/state/mt1bridge")
    assert (settings.journal.keep_s, settings.reconcile.window_s) == (90 * 86_400, 48 * 3600)
    assert settings.reconcile.first_start_s == 0
    assert (settings.log.level, settings.log.format) == ("info", "auto")


def test_everything_can_be_said_in_the_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
instance: finish
mt1:
  username: club@example.org
  password: x
  url: https://mt1.example/
  edges: [rising, falling]
  devices:
    "231203016":
      name: Finish hut
      channels: {C0: Start gate, C1: Finish line}
    190801013:
mqtt:
  url: wss://broker.example/mqtt
  username: bridge
  password: y
  client_id: other
  protocol: 3.1.1
  base_topic: race/mt1
  scalar_topics: yes
  commands: off
home_assistant: {enabled: no, discovery_prefix: ha}
journal: {directory: /srv/mt1, keep: 30d}
reconcile: {interval: 10s, full_interval: 1m, window: 1h, first_start: 0, calls_per_minute: 60, live_within: 5s}
log: {level: debug, format: json}
""",
    ).settings

    assert settings.mt1.realtime_url == "https://mt1.example/devices"
    assert settings.mt1.edges == {"falling", "rising"}
    assert settings.mt1.devices is not None
    assert [(device.id, device.name, dict(device.channels)) for device in settings.mt1.devices] == [
        ("231203016", "Finish hut", {"C0": "Start gate", "C1": "Finish line"}),
        ("190801013", None, {}),
    ]
    assert (settings.mqtt.url, settings.mqtt.port, settings.mqtt.path) == ("wss://broker.example/mqtt", 443, "/mqtt")
    assert (settings.mqtt.client_id, settings.mqtt.protocol) == ("other", 4)
    assert (settings.mqtt.scalar_topics, settings.mqtt.commands) == (True, False)
    assert (settings.home_assistant.enabled, settings.home_assistant.discovery_prefix) == (False, "ha")
    assert settings.journal.directory == Path("/srv/mt1")
    assert settings.reconcile.calls_per_minute == 60


def test_what_was_written_is_kept_where_yaml_would_change_it(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
mt1:
  username: 017
  password: 1:30
  devices:
    0231203016: {name: 0x1F, channels: {C0: 1_000, C1: 2026-01-01, C2: 1e3}}
mqtt: {username: 1.10, client_id: 0o17}
""",
    ).settings

    assert (settings.mt1.username, settings.mt1.password) == ("017", Secret("1:30"))
    assert settings.mt1.devices is not None
    assert (settings.mt1.devices[0].id, settings.mt1.devices[0].name) == ("0231203016", "0x1F")
    assert dict(settings.mt1.devices[0].channels) == {"C0": "1_000", "C1": "2026-01-01", "C2": "1e3"}
    assert (settings.mqtt.username, settings.mqtt.client_id) == ("1.10", "0o17")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_the_line_ends_of_windows_are_accepted(
    tmp_path: Path, mark: bytes, line_end: bytes
) -> None:
    file = tmp_path / "mt1bridge.yaml"
    text = "mt1:\n  username: ü\n  password: x\n"
    file.write_bytes(mark + text.encode().replace(b"\n", line_end))
    assert load(file, {"HOME": "/h"}).settings.mt1.username == "ü"


def test_null_and_empty_sections_mean_the_default(tmp_path: Path) -> None:
    text = MINIMAL + "mqtt:\n  url:\n  username: null\n  ca_file: ~\nlog:\n"
    assert loaded(tmp_path, text).settings == loaded(tmp_path).settings


def test_an_alias_stands_for_what_it_names(tmp_path: Path) -> None:
    text = "mt1: {username: a, password: x, devices: {'1': {channels: &c {C0: Start}}, '2': {channels: *c}}}"
    devices = loaded(tmp_path, text).settings.mt1.devices
    assert devices is not None
    assert [dict(device.channels) for device in devices] == [{"C0": "Start"}] * 2


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        MINIMAL + "mqtt: {url: mqtt://file, base_topic: file}\nhome_assistant: {enabled: true}",
        MT1BRIDGE_INSTANCE="envy",
        MT1BRIDGE_MT1_EDGES="rising, falling",
        MT1BRIDGE_MQTT_URL="mqtt://environment:2000",
        MT1BRIDGE_HOME_ASSISTANT_ENABLED="false",
        MT1BRIDGE_RECONCILE_CALLS_PER_MINUTE="7",
        MT1BRIDGE_JOURNAL_KEEP="10d",
    )
    settings = found.settings

    assert (settings.instance, settings.mqtt.client_id) == ("envy", "envy")
    assert settings.mt1.edges == {"falling", "rising"}
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.base_topic) == ("environment", 2000, "file")
    assert not settings.home_assistant.enabled
    assert (settings.reconcile.calls_per_minute, settings.journal.keep_s) == (7, 864_000)
    assert found.origins["mqtt.url"] == "MT1BRIDGE_MQTT_URL"
    assert found.origins["mqtt.base_topic"] == "line 2"
    assert "mqtt.commands" not in found.origins


def test_every_option_has_a_variable_of_its_own() -> None:
    variables = [option.variable for option in OPTIONS]
    assert len(set(variables)) == len(variables)
    assert {"MT1BRIDGE_MQTT_URL", "MT1BRIDGE_MT1_PASSWORD", "MT1BRIDGE_HOME_ASSISTANT_DISCOVERY_PREFIX"} <= {*variables}


def test_problems_of_the_environment_name_the_variable(tmp_path: Path) -> None:
    assert faults(
        tmp_path,
        MT1BRIDGE_LOG_LEVEL="infos",
        MT1BRIDGE_MQTT_TOPIC="mt1",
        MT1BRIDGE_MQTT_USERNAME="",
        MT1BRIDGE_MT1_DEVICES="1,2",
        MT1BRIDGE_CONFIG="/anything",
    ) == [
        "MT1BRIDGE_LOG_LEVEL: expected one of debug, info, warning, error, got 'infos'; did you mean info?",
        "MT1BRIDGE_MQTT_TOPIC: no setting has this name: unset it; did you mean MT1BRIDGE_MQTT_BASE_TOPIC?",
        "MT1BRIDGE_MQTT_USERNAME: is empty: give it a value or unset it",
        "MT1BRIDGE_MT1_DEVICES: devices cannot be set by the environment: give them in the file",
    ]


def test_a_template_unit_changes_the_defaults_and_nothing_else(tmp_path: Path) -> None:
    plain = loaded(tmp_path, MT1BRIDGE_UNIT_INSTANCE="foo").settings
    assert (plain.instance, plain.mqtt.client_id, plain.mqtt.base_topic) == (
        "mt1bridge-foo",
        "mt1bridge-foo",
        "mt1-foo",
    )

    text = MINIMAL + "instance: mine\nmqtt: {base_topic: race}\n"
    said = loaded(tmp_path, text, MT1BRIDGE_UNIT_INSTANCE="foo").settings
    assert (said.instance, said.mqtt.client_id, said.mqtt.base_topic) == ("mine", "mine", "race")


def test_a_unit_instance_that_is_no_name_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, MT1BRIDGE_UNIT_INSTANCE="a/b")
    assert fault.startswith("MT1BRIDGE_UNIT_INSTANCE: expected a unit instance of at most 50 letters")


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/mt1bridge"}, "/var/lib/mt1bridge"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": ""}, "/home/club/.local/state/mt1bridge"),
        ({"MT1BRIDGE_JOURNAL_DIRECTORY": "~/journal"}, "/home/club/journal"),
    ],
)
def test_where_the_journal_is_kept(tmp_path: Path, environ: dict[str, str], directory: str) -> None:
    assert loaded(tmp_path, **environ).settings.journal.directory == Path(directory)


def test_without_home_the_user_database_is_asked(tmp_path: Path) -> None:
    import os
    import pwd

    file = tmp_path / "mt1bridge.yaml"
    file.write_text(MINIMAL)
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    assert load(file, {}).settings.journal.directory == home / ".local/state/mt1bridge"


def test_relative_paths_begin_at_the_file_and_those_of_the_environment_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    text = MINIMAL + "journal: {directory: journal}"
    assert loaded(tmp_path, text).settings.journal.directory == tmp_path / "journal"
    directory = loaded(tmp_path, MT1BRIDGE_JOURNAL_DIRECTORY="journal").settings.journal.directory
    assert directory == here / "journal"


def test_the_digest_changes_with_the_settings_but_not_with_secrets(tmp_path: Path) -> None:
    one = loaded(tmp_path).settings.digest()
    assert one == loaded(tmp_path, MINIMAL.replace("password: x", "password: other")).settings.digest()
    assert one != loaded(tmp_path, MINIMAL.replace("club@", "other@")).settings.digest()
    assert one != loaded(tmp_path, MINIMAL + "mqtt: {commands: false}").settings.digest()
    assert len(one) == 12
    assert int(one, 16) >= 0
