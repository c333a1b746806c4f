"""Passwords: to the byte, in one way, from a file that nobody else could have put there, and never shown."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt1bridge.config.loading import load
from mt1bridge.config.report import Place, Unfit
from mt1bridge.config.secret_files import read_secret_file
from mt1bridge.config.surroundings import Surroundings
from mt1bridge.model.errors import ConfigurationError
from mt1bridge.model.secret import Secret

NOBODY = 65_534
AWKWARD = [
    "a:b",
    "#hash",
    "a #b",
    "100%",
    "%s{}",
    "'",
    '"',
    'it\'s "so"',
    "pä߀🏁",
    "\\n\\",
    "-",
    "~x",
    "!x",
    "&x *y",
    "0017",
]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of the configuration file."""

    def write(text: str, mode: int = 0o600) -> Path:
        file = tmp_path / "mt1bridge.yaml"
        file.write_text(text)
        file.chmod(mode)
        return file

    return write


@pytest.fixture
def secret(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of secret files."""

    def write(content: str | bytes = "hunter2\n", name: str = "secret", mode: int = 0o600) -> Path:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    return write


def with_file(path: Path | str) -> str:
    return f"mt1: {{username: a, password_file: '{path}'}}"


def password(file: Path, **environ: str) -> Secret:
    return load(file, {"HOME": "/h", **environ}).settings.mt1.password


def faults(file: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"HOME": "/h", **environ})
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    return [str(problem).removeprefix(f"{file}:").strip() for problem in caught.value.problems]


def warnings(file: Path, **environ: str) -> list[str]:
    return [str(warning) for warning in load(file, {"HOME": "/h", **environ}).warnings]


# --- to the byte ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", AWKWARD)
def test_a_quoted_password_is_exact(config: Callable[..., Path], text: str) -> None:
    single = "'" + text.replace("'", "''") + "'"
    assert password(config(f"mt1:\n  username: a\n  password: {single}\n")) == Secret(text)


@pytest.mark.parametrize("text", AWKWARD)
def test_a_password_of_the_environment_is_exact(config: Callable[..., Path], text: str) -> None:
    assert password(config("mt1: {username: a}"), MT1BRIDGE_MT1_PASSWORD=text) == Secret(text)


@pytest.mark.parametrize("text", AWKWARD)
def test_a_password_in_a_file_is_exact(config: Callable[..., Path], secret: Callable[..., Path], text: str) -> None:
    assert password(config(with_file(secret(text)))) == Secret(text)


@pytest.mark.parametrize(
    ("content", "text"),
    [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("a\r", "a\r"), ("a\nb\n", "a\nb")],
)
def test_one_line_break_at_the_end_of_a_secret_file_does_not_count(
    config: Callable[..., Path], secret: Callable[..., Path], content: str, text: str
) -> None:
    file = config(with_file(secret(content)))
    assert password(file) == Secret(text)
    assert any("begins or ends with a space or line break" in said for said in warnings(file)) == (text != text.strip())


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00")).filter(lambda text: text.strip()))
@settings(deadline=None)
def test_any_password_survives_its_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any-password"
    file.write_bytes(text.encode() + b"\n")
    if not text.startswith("\ufeff"):
        assert read_secret_file(file, os.geteuid())[0] == text.removesuffix("\r")


def test_a_text_that_a_comment_cuts_short_is_warned_about(config: Callable[..., Path]) -> None:
    (said,) = warnings(config("mt1:\n  username: a\n  password: abc #def\n"))
    assert ":3:13: mt1.password: ends before the #" in said


# --- in one way -----------------------------------------------------------------------------------


def test_the_second_half_of_a_password_with_a_comma_is_not_repeated(config: Callable[..., Path]) -> None:
    (told,) = faults(config("mt1: {username: a, password: abc,hunter2}"))
    assert told == "1:34: mt1: expected a value: put texts with a comma in quotes"


@pytest.mark.parametrize("key", ["mt1", "mqtt"])
def test_a_secret_given_in_two_ways_is_an_error(
    config: Callable[..., Path], secret: Callable[..., Path], key: str
) -> None:
    twice = f"password: hunter2, password_file: '{secret()}'"
    text = "\n".join(
        f"{section}: {{username: a, {twice if section == key else 'password: x'}}}" for section in ("mt1", "mqtt")
    )
    (told,) = faults(config(text))
    assert f"{key}.password: the password is given in 2 ways: {key}.password (line" in told
    assert told.endswith("; keep one")


def test_a_secret_of_the_file_and_of_the_environment_is_given_twice(config: Callable[..., Path]) -> None:
    (told,) = faults(config("mt1: {username: a, password: hunter2}"), MT1BRIDGE_MT1_PASSWORD="hunter2")
    assert "2 ways: mt1.password (line 1), mt1.password (MT1BRIDGE_MT1_PASSWORD); keep one" in told


def test_another_path_in_the_environment_beats_the_path_in_the_file(
    config: Callable[..., Path], secret: Callable[..., Path]
) -> None:
    file = config(with_file("/nowhere/at/all"))
    assert password(file, MT1BRIDGE_MT1_PASSWORD_FILE=str(secret())) == Secret("hunter2")


def test_a_systemd_credential_is_found(config: Callable[..., Path], secret: Callable[..., Path]) -> None:
    directory = str(secret("hunter2\n", "mt1-password", mode=0o440).parent)
    secret("other\n", "mqtt-password")
    found = load(config("mt1: {username: a}\nmqtt: {username: b}"), {"CREDENTIALS_DIRECTORY": directory}).settings
    assert found.mt1.password == Secret("hunter2")
    assert found.mqtt.password == Secret("other")


def test_a_credential_beside_a_password_file_says_how_to_mend_it(
    config: Callable[..., Path], secret: Callable[..., Path]
) -> None:
    directory = str(secret("hunter2\n", "mt1-password").parent)
    (told,) = faults(config(with_file(secret())), CREDENTIALS_DIRECTORY=directory)
    assert "mt1.password_file (line 1), the systemd credential mt1-password; keep one" in told
    assert "remove LoadCredential= or SetCredential= from the unit (systemctl edit)" in told


def test_a_credential_belongs_to_whomever_systemd_chose(
    config: Callable[..., Path], secret: Callable[..., Path]
) -> None:
    file = secret("hunter2", "mt1-password")
    if os.geteuid() == 0:
        os.chown(file, 1234, 1234)
    assert password(config("mt1: {username: a}"), CREDENTIALS_DIRECTORY=str(file.parent)) == Secret("hunter2")


def test_an_empty_credential_is_told_by_its_name(config: Callable[..., Path], secret: Callable[..., Path]) -> None:
    directory = str(secret("\n", "mt1-password").parent)
    (told,) = faults(config("mt1: {username: a}"), CREDENTIALS_DIRECTORY=directory)
    assert told.startswith("systemd credential mt1-password: expected a file with the password, but")
    assert told.endswith("is empty")


def test_a_missing_password_names_every_way(config: Callable[..., Path]) -> None:
    (told,) = faults(config("mt1: {username: a}"))
    assert told == (
        "1:1: mt1.password: is missing: give password_file (best), password or MT1BRIDGE_MT1_PASSWORD; "
        "a systemd credential mt1-password is seen by the service alone"
    )


# --- unusable -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["''", "'  '", '"\\n"'])
def test_an_empty_password_is_refused(config: Callable[..., Path], text: str) -> None:
    (told,) = faults(config(f"mt1:\n  username: a\n  password: {text}\n"))
    assert told == "3:13: mt1.password: expected a password that is not empty"


@pytest.mark.parametrize("text", ["yes", "[hunter2]", "{hunter2: x}", '"hunter2\\0"'])
def test_a_password_that_is_none_is_refused_and_not_repeated(config: Callable[..., Path], text: str) -> None:
    (told,) = faults(config(f"mt1:\n  username: a\n  password: {text}\n"))
    assert told.startswith("3:13: mt1.password: ")
    assert "got" not in told


def test_a_password_of_the_environment_that_is_no_text_is_refused(config: Callable[..., Path]) -> None:
    (told,) = faults(config("mt1: {username: a}"), MT1BRIDGE_MT1_PASSWORD="hunter2\udcff")
    assert told == "MT1BRIDGE_MT1_PASSWORD: expected text that is valid UTF-8"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"\xef\xbb\xbfhunter2", "begins with a byte order mark"),
        (b"hunter2" * 20_000, "is too large for a password"),
        (b"hunter2\x00", "expected a password without a NUL character"),
    ],
)
def test_a_secret_file_without_a_usable_secret(
    config: Callable[..., Path], secret: Callable[..., Path], content: bytes, told: str
) -> None:
    (said,) = faults(config(with_file(secret(content))))
    assert told in said


def test_a_secret_file_that_is_missing_or_none(config: Callable[..., Path], tmp_path: Path) -> None:
    assert "does not exist" in faults(config(with_file(tmp_path / "none")))[0]
    assert "is a directory" in faults(config(with_file(tmp_path)))[0]


def test_a_password_written_where_its_file_belongs_is_not_repeated(config: Callable[..., Path]) -> None:
    (told,) = faults(config(with_file("hunter2")))
    assert told.endswith("mt1.password_file: no such file; expected the path of a file that holds the password")


# --- whose file it is -----------------------------------------------------------------------------


def test_a_secret_file_of_another_user_is_refused(secret: Callable[..., Path]) -> None:
    file = secret()
    if os.geteuid() == 0:
        os.chown(file, 1234, 1234)
    with pytest.raises(Unfit, match=r"belongs to .*who is neither root nor uid 4321: chown it, or run this command as"):
        read_secret_file(file, 4321)
    assert read_secret_file(file, file.stat().st_uid)[0] == "hunter2"


def test_a_secret_file_of_root_is_fine(secret: Callable[..., Path]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of root")
    assert read_secret_file(secret(), 4321)[0] == "hunter2"


def test_a_link_that_leads_elsewhere_is_refused(secret: Callable[..., Path], tmp_path: Path) -> None:
    link = tmp_path / "etc" / "secret"
    link.parent.mkdir()
    link.symlink_to(secret())
    with pytest.raises(Unfit, match="is a link that leads out of its directory"):
        read_secret_file(link, os.geteuid())


def test_a_link_within_its_directory_is_fine_as_kubernetes_mounts_secrets(tmp_path: Path) -> None:
    data = tmp_path / "mount" / "..2026"
    data.mkdir(parents=True)
    (data / "secret").write_text("hunter2")
    (tmp_path / "mount" / "..data").symlink_to("..2026")
    (tmp_path / "mount" / "secret").symlink_to("..data/secret")
    (tmp_path / "other").symlink_to(tmp_path / "mount")
    assert read_secret_file(tmp_path / "mount" / "secret", os.geteuid())[0] == "hunter2"
    assert read_secret_file(tmp_path / "other" / "secret", os.geteuid())[0] == "hunter2"


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_secret_that_everybody_can_read_is_warned_about(
    config: Callable[..., Path], secret: Callable[..., Path], mode: int, warned: bool
) -> None:
    file = secret(mode=mode)
    said = warnings(config(with_file(file), mode=0o644))
    assert [f"chmod o-rwx {file}" in text for text in said] == [True] * warned


def test_a_configuration_with_a_password_in_it_that_everybody_can_read_is_warned_about(
    config: Callable[..., Path],
) -> None:
    text = "mt1: {username: a, password: hunter2}"
    assert warnings(config(text)) == []
    file = config(text, mode=0o644)
    assert warnings(file) == [f"{file}: every user of this machine can read the password in it: chmod o-rwx {file}"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_that_we_may_not_read_are_told_with_who_we_are(open_directory: Path) -> None:
    hidden = open_directory / "secret"
    hidden.write_text("hunter2")
    hidden.chmod(0o600)
    file = open_directory / "mt1bridge.yaml"
    file.write_text(with_file(hidden))
    os.seteuid(NOBODY)
    try:
        (told,) = faults(file)
        file_told = faults(hidden)
    finally:
        os.seteuid(0)
    assert f"{hidden} may not be read by nobody (uid {NOBODY}): chown or chmod it" in told
    assert file_told[0].startswith(f"may not be read by nobody (uid {NOBODY})")


# --- on the wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mqtt://broker.example", "ws://192.0.2.7"])
def test_a_password_in_clear_towards_another_machine_is_warned_about(config: Callable[..., Path], url: str) -> None:
    said = warnings(config(f"mt1: {{username: a, password: x}}\nmqtt:\n  url: {url}\n  username: b\n  password: y\n"))
    assert len(said) == 1
    assert ":3:8: mqtt.url: everybody on the way to" in said[0]


@pytest.mark.parametrize("url", ["mqtt://localhost", "mqtt://[::1]", "mqtts://broker.example", "ws://127.0.0.1"])
def test_a_password_to_this_machine_or_with_tls_is_fine(config: Callable[..., Path], url: str) -> None:
    text = f"mt1: {{username: a, password: x}}\nmqtt: {{url: '{url}', username: b, password: y}}\n"
    assert warnings(config(text)) == []


def test_what_looks_like_the_secret_is_hidden_wherever_it_stands(config: Callable[..., Path]) -> None:
    told = faults(
        config("mt1: {username: a, password: hunter2}\nlog: {level: hunter2}\nhunter2: 1\nmqtt: {url: unter}\n"),
    )
    assert len(told) == 3
    assert all("(hidden)" in text for text in told)


def test_a_home_that_is_not_known_is_told() -> None:
    around = Surroundings(Path("/etc"), Path("/"), None, None, None, "", 0)
    assert around.journal_directory() is None
    with pytest.raises(Unfit, match="no home directory is known"):
        around.absolute(Path("~/journal"), Place(1, 1))
