"""Every fault of a configuration: told at once, with its place, what is right, and no more."""

import os
from pathlib import Path

import pytest

from mt1bridge.config import document
from mt1bridge.config.loading import load
from mt1bridge.config.report import MOST_PROBLEMS, Report
from mt1bridge.model.errors import ConfigurationError

MINIMAL = "mt1: {username: club@example.org, password: x}\n"


def faults(tmp_path: Path, content: str | bytes) -> list[str]:
    """Return what is told of the content, as `line:column: key: text`."""
    file = tmp_path / "mt1bridge.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return faults_of(file)


def faults_of(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"HOME": "/home/club"})
    assert caught.value.exit_code == 78
    return [str(problem).removeprefix(f"{file}:").strip() for problem in caught.value.problems]


def fault(tmp_path: Path, content: str | bytes) -> str:
    (only,) = faults(tmp_path, content)
    return only


# --- the file as a whole --------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    (told,) = faults_of(tmp_path / "none.yaml")
    assert told.startswith("does not exist: write one")


def test_a_directory(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == ["is a directory, not a file"]


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert faults_of(tmp_path / "pipe") == ["is not a file"]


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "a\x00b") == ["has a name that no file can have"]
    assert faults_of(tmp_path / ("a" * 5000)) == ["cannot be read (File name too long)"]


@pytest.mark.parametrize("content", ["", "  \n\n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    assert fault(tmp_path, content).startswith("is empty")


def test_a_file_of_comments_lacks_the_account(tmp_path: Path) -> None:
    told = faults(tmp_path, "# nothing\n")
    assert [text.split(":")[0] for text in told] == ["mt1.password", "mt1.username"]


def test_what_is_missing_is_told_where_its_section_begins(tmp_path: Path) -> None:
    told = faults(tmp_path, "instance: a\nmt1:\n  edges: [falling]\n")
    assert [text.split(" is missing")[0] for text in told] == ["2:1: mt1.password:", "2:1: mt1.username:"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"mt1:\n  username: a\x00b\n", "2:14: the character U+0000 is not allowed in this file: remove it"),
        ("\ufeffa: b\x07\n".encode(), "1:5: the character U+0007 is not allowed in this file: remove it"),
        (b"mt1:\n  username: M\xfcller\n", "2:14: is not UTF-8 from here on: save the file as UTF-8"),
        ("mt1:\n".encode("utf-16"), "1:1: is UTF-16: save it as UTF-8"),
        (b"#" * (1 << 20) + b"\n", "is larger than 1 MB: is it the right file?"),
        ("mt1:\n\tusername: a\n", "2:1: a tab: indent with spaces, YAML does not allow tabs"),
        ("mt1:\n  username: a\n\tpassword: b\n", "3:1: a tab: indent with spaces, YAML does not allow tabs"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes | str, told: str) -> None:
    assert fault(tmp_path, content) == told


@pytest.mark.parametrize(
    "content",
    [
        "mt1: [",
        "mt1: 'open",
        "mt1: {username: a",
        "a: b: c",
        "mt1:\n  username: a\n password: hunter2\n",
        "password: *hunter2",
        "password: %hunter2",
        "password: @hunter2",
        'password: "hunter2\\q"',
        "password: `hunter2`",
        "password: 'hunter2'hunter2",
        "--- hunter2\n--- hunter2\n",
        "password: &hunter2 &hunter2 x",
        "password: [hunter2}",
    ],
)
@pytest.mark.parametrize("in_python", [False, True])
def test_what_is_no_yaml_is_told_with_its_place_and_without_its_text(content: str, in_python: bool) -> None:
    report = Report("f.yaml")
    assert document.parse(content.encode(), report, in_python=in_python) is None
    (problem,) = report.problems
    assert problem.line is not None
    assert problem.text.startswith("is not valid YAML: ")
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "content", ["mt1: !!python/object:os.system {}", "mt1: !secret x", "mt1: {username: !!str 5}", "mt1: !!binary aGk="]
)
def test_yaml_tags_are_refused(tmp_path: Path, content: str) -> None:
    assert "YAML tags (!…) are not allowed" in fault(tmp_path, content)


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghijklmno", "abcdefghijklmn", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    assert "too many aliases" in fault(tmp_path, bomb)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "too much nesting" in fault(tmp_path, "mt1: " + "[" * 100_000)


def test_a_file_of_very_many_values_is_refused(tmp_path: Path) -> None:
    assert "too many values" in fault(tmp_path, "- a\n" * 30_000)


def test_a_recursive_alias_ends(tmp_path: Path) -> None:
    assert faults(tmp_path, "mt1: &a {username: a, password: b, devices: *a}\n")


def test_very_many_problems_are_cut_short(tmp_path: Path) -> None:
    told = faults(tmp_path, "mt1:\n" + "".join(f"  key{number}: 1\n" for number in range(9000)))
    assert len(told) == MOST_PROBLEMS + 1
    assert told[-1] == "that is enough; there may be more below"


@pytest.mark.parametrize("content", ["just text", "- a\n- b\n", "5"])
def test_a_file_without_sections(tmp_path: Path, content: str) -> None:
    assert faults(tmp_path, content)[0].startswith("1:1: expected sections with a colon each: mt1, mqtt")


# --- keys -----------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """mt1:
  username: club@example.org
  password: x
  edges: [fallling]
  devices:
    finish: {name: Hut}
mqtt:
  url: localhost:1883
  base-topic: mt1
  protocol: 4
  base_topic: a/#
reconcile:
  interval: 5
  calls_per_minute: "abc"
jornal:
  keep: 90d
""",
    )
    assert told == [
        "4:10: mt1.edges: expected one of falling, rising, got 'fallling'; did you mean falling?",
        "6:5: mt1.devices: expected a device id, digits alone, in quotes, got 'finish'",
        "8:8: mqtt.url: expected a URL such as mqtt://localhost:1883, got 'localhost:1883'; "
        "did you mean mqtt://localhost:1883?",
        "9:3: mqtt: there is no key 'base-topic' here; did you mean base_topic?",
        '10:13: mqtt.protocol: expected "5" or "3.1.1", got \'4\'; did you mean "3.1.1"?',
        "11:15: mqtt.base_topic: expected a topic without #, + and control characters, got 'a/#'; did you mean a?",
        "13:13: reconcile.interval: expected a duration such as 90s, 5m, 12h or 30d, got '5'; did you mean 5s?",
        "14:21: reconcile.calls_per_minute: expected a whole number from 1 to 6000, got 'abc'",
        "15:1: there is no key 'jornal' here; did you mean journal?",
    ]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (
            MINIMAL + "log: {level: info}\nlog: {level: debug}",
            "3:1: the key 'log' is given a second time, first on line 2",
        ),
        ("mt1:\n  username: a\n  username: b\n  password: x", "3:3: mt1: the key 'username' is given a second time"),
        ("mt1: {username: a, password: x, devices: {'1': , 1: }}", "1:50: mt1.devices: the key '1' is given a second"),
        (
            "mt1: {username: a, password: x, devices: {'1': {channels: {C0: a, C0: b}}}}",
            "1:67: mt1.devices.1.channels: the key 'C0' is given a second time",
        ),
    ],
)
def test_a_key_given_twice_is_an_error(tmp_path: Path, content: str, place: str) -> None:
    assert fault(tmp_path, content).startswith(place)


@pytest.mark.parametrize(("section", "url"), [("mqtt", "mqtt://host:1883"), ("mt1", "https://host:443")])
def test_a_port_is_led_to_the_url(tmp_path: Path, section: str, url: str) -> None:
    text = "mt1: {username: a, password: x, port: 1}" if section == "mt1" else f"{MINIMAL}mqtt: {{port: 1}}"
    told = fault(tmp_path, text)
    assert told.endswith(f"there is no key 'port' here: the port is a part of {section}.url, as {url}")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("falling", "expected a list, as [a, b]; did you mean [falling]?"),
        ("falling, rising", "expected a list, as [a, b]; did you mean [falling, rising]?"),
        ("both", "expected a list, as [a, b]"),
        ("{a: b}", "expected a list, as [a, b]"),
    ],
)
def test_a_list_without_brackets_is_shown_with_them(tmp_path: Path, text: str, end: str) -> None:
    file = f"mt1:\n  username: a\n  password: x\n  edges: {text}\n"
    assert fault(tmp_path, file) == f"4:10: mt1.edges: {end}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mt1:\n  username: a\n  password:\n", "3:3: mt1.password: is empty: give password_file (best), password or"),
        ("mt1:\n  password_file: null\n  username: a\n", "2:3: mt1.password_file: is empty: give password_file"),
        ("mt1:\n  password: x\n  username: ~\n", "3:3: mt1.username: is empty: give it here or as MT1BRIDGE_MT1_"),
    ],
)
def test_what_is_left_empty_though_it_is_needed_is_told_on_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert fault(tmp_path, text).startswith(told)


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("Username", "username"),
        ("user", "username"),
        ("host", "url"),
        ("scalar-topics", "scalar_topics"),
        ("edges", "mt1.edges"),
        ("keep", "journal.keep"),
        ("devices", "mt1.devices"),
    ],
)
def test_an_unknown_key_gets_a_guess(tmp_path: Path, key: str, guess: str) -> None:
    assert fault(tmp_path, f"{MINIMAL}mqtt: {{{key}: 1}}").endswith(f"did you mean {guess}?")


def test_an_unknown_key_that_is_like_no_other_gets_the_whole_list(tmp_path: Path) -> None:
    told = fault(tmp_path, f"{MINIMAL}log: {{zzz: 1}}")
    assert told == "2:7: log: there is no key 'zzz' here; known are level, format"


def test_keys_without_their_section_are_sent_home(tmp_path: Path) -> None:
    told = faults(tmp_path, "username: a\nedges: [falling]\n")
    assert told[0].endswith("did you mean mt1.username or mqtt.username?")
    assert told[1].endswith("did you mean mt1.edges?")


def test_a_merge_key_is_refused(tmp_path: Path) -> None:
    assert "merging (<<) is not supported" in fault(tmp_path, f"{MINIMAL}mqtt:\n  <<: {{url: mqtt://a}}\n")


@pytest.mark.parametrize("content", ["? [a]\n: b\n", "{? {a: b} : c}"])
def test_a_key_that_is_no_word(tmp_path: Path, content: str) -> None:
    assert any("a key must be a plain word" in told for told in faults(tmp_path, content))


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("instance: yes", "is true or false to YAML: put it in quotes"),
        ("mqtt: {username: no}", "is true or false to YAML: put it in quotes"),
        ("mqtt: {base_topic: On}", "is true or false to YAML: put it in quotes"),
        ("mqtt: {url: [a]}", "mqtt.url: expected a single value"),
        ("mqtt: {commands: {a: b}}", "mqtt.commands: expected a single value"),
        ("mqtt: text", "mqtt: expected keys with a colon each, indented below the section"),
        ("mqtt: [a]", "mqtt: expected keys with a colon each, indented below the section"),
        ("mqtt: {commands: 1}", "expected true or false, got '1'; did you mean true?"),
        ("mqtt: {url: 'mqtt://host:65536'}", "expected a port from 1 to 65535 after the host"),
        ("mqtt: {url: 'mqtt://host:0'}", "expected a port from 1 to 65535 after the host"),
        ("mqtt: {base_topic: ''}", "expected a topic"),
        ('mqtt: {base_topic: "a\\0"}', "expected a topic without #, + and control characters"),
        ("mqtt: {client_id: ' '}", "expected a text that is not empty"),
        ("reconcile: {calls_per_minute: 017}", "without a leading zero"),
        ("reconcile: {interval: 1:30}", "expected a duration such as 90s, 5m, 12h or 30d"),
        ("reconcile: {interval: true}", "expected a duration such as 90s, 5m, 12h or 30d"),
        ("log: {level: INFO}", "expected one of debug, info, warning, error, got 'INFO'; did you mean info?"),
        ("journal: {directory: ~root/x}", "expected a path from / or from ~/ on"),
        ('journal: {directory: "a\\nb"}', "expected the path of a file, in one line"),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, line: str, told: str) -> None:
    assert told in fault(tmp_path, MINIMAL + line)


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ("falling", "expected a list, as [a, b]"),
        ("[]", "expected at least one of falling, rising"),
        ("[[falling]]", "expected a list, as [a, b]"),
        ("[up]", "expected one of falling, rising"),
        ("{falling: true}", "expected a list, as [a, b]"),
    ],
)
def test_edges_that_do_not_fit(tmp_path: Path, edges: str, told: str) -> None:
    assert told in fault(tmp_path, f"mt1: {{username: a, password: x, edges: {edges}}}")


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ("", "is empty: remove the key to take every device of the account"),
        ("{}", "is empty: remove the key to take every device of the account"),
        ("['231203016']", 'write "231203016":'),
        ("231203016", 'write "231203016":'),
        ("{a1: }", "expected a device id, digits alone"),
        ("{1_000: }", "expected a device id, digits alone"),
        ("{0x1F: }", "expected a device id, digits alone"),
        ("{1:30: x}", "expected a device id, digits alone"),
        ("{'٣': }", "expected a device id, digits alone"),
        ("{'1': Hut}", "mt1.devices.1: expected name and channels"),
        ("{'1': {nme: Hut}}", "expected name or channels, got 'nme'; did you mean name?"),
        ("{'1': {name: [a]}}", "mt1.devices.1.name: expected a text"),
        ("{'1': {name: off}}", "mt1.devices.1.name: is true or false to YAML: put it in quotes"),
        ('{"1": {name: "a\\nb"}}', "mt1.devices.1.name: expected one line"),
        ('{"1": {name: "\\ud800"}}', "4:"),
        ("{'1': {name: ' '}}", "mt1.devices.1.name: expected a text that is not empty"),
        ("{'1': {channels: [C0]}}", "mt1.devices.1.channels: expected channels and their names"),
        ("{'1': {channels: {C9: a}}}", "expected a channel from C0 to C8, got 'C9'"),
        ("{'1': {channels: {c1: a}}}", "expected a channel from C0 to C8, got 'c1'; did you mean C1?"),
        ("{'1': {channels: {C1: no}}}", "mt1.devices.1.channels.C1: is true or false to YAML: put it in quotes"),
    ],
)
def test_devices_that_do_not_fit(tmp_path: Path, devices: str, told: str) -> None:
    content = f"mt1:\n  username: a\n  password: x\n  devices: {devices}\n"
    assert told in fault(tmp_path, content)


# --- what does not go together --------------------------------------------------------------------


def test_plain_http_to_another_machine_is_refused_with_the_line(tmp_path: Path) -> None:
    told = fault(tmp_path, "mt1:\n  username: a\n  password: x\n  url: http://mt1.example\n")
    assert told.startswith("4:8: mt1.url: expected https://: with http:// everybody on the way could read the password")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mqtt: {ca_file: /a.pem}", "2:17: mqtt.ca_file: has no use with mqtt://: remove it, or begin mqtt.url with m"),
        ("mqtt: {url: 'ws://a', ca_file: /a.pem}", "has no use with ws://: remove it, or begin mqtt.url with wss://"),
        ("mqtt: {url: 'mqtts://a', cert_file: /a.pem}", "mqtt.cert_file: needs mqtt.key_file too"),
        ("mqtt: {url: 'mqtts://a', key_file: /a.pem}", "mqtt.key_file: needs mqtt.cert_file too"),
        ("mqtt: {url: 'mqtts://a', password: x}", "mqtt.username: is missing, though there is a password"),
        ("journal: {keep: 1d}", "journal.keep: may not be shorter than reconcile.window (2d)"),
        ("reconcile: {window: 91d}", "reconcile.window: may not be longer than journal.keep (90d)"),
        ("reconcile: {first_start: 91d}", "reconcile.first_start: may not be longer than journal.keep (90d)"),
        ("reconcile: {interval: 1h}", "reconcile.interval: may not be longer than reconcile.full_interval (30m)"),
    ],
)
def test_settings_in_conflict(tmp_path: Path, line: str, told: str) -> None:
    assert any(told in text for text in faults(tmp_path, MINIMAL + line))


def test_a_ca_file_for_a_plain_http_server_is_refused(tmp_path: Path) -> None:
    content = "mt1: {username: a, password: x, url: 'http://localhost', ca_file: /a.pem}"
    assert any("mt1.ca_file: has no use with an http:// URL" in told for told in faults(tmp_path, content))
