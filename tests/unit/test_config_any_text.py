"""Any text at all as configuration: settings or our error, never anything else, and never the secret."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mt1bridge.config import document
from mt1bridge.config.loading import load
from mt1bridge.config.report import Report, TooManyProblems
from mt1bridge.model.errors import ConfigurationError

SECRET = "Horse-Battery-Staple"
SAMPLE = (Path(__file__).parents[2] / "etc" / "mt1bridge.yaml").read_text()
FULL = f"""instance: finish
mt1:
  username: club@example.org
  password: "{SECRET}"
  url: https://mt1.example
  edges: [rising, falling]
  devices:
    "231203016": &hut
      name: Finish hut
      channels: {{C0: Start gate, C1: Finish line}}
    190801013: *hut
mqtt: {{url: 'mqtt://broker.example:1883', username: bridge, password: '{SECRET}', protocol: 3.1.1}}
journal: {{directory: /srv/mt1, keep: 30d}}
reconcile: {{interval: 10s, full_interval: 1m, calls_per_minute: 60}}
"""
MARKS = [
    "\n",
    "\n  ",
    "\t",
    ":",
    ": ",
    "'",
    '"',
    "{",
    "}",
    "[",
    "]",
    "*",
    "&a ",
    "!x ",
    "#",
    " #",
    "-",
    "- ",
    "? ",
    "| ",
]
WORDS = [">\n", "%", "@", "`", "~", "<<: ", "---\n", "...\n", ",", "\\", "\x00", "\ufeff", "0", "yes", "null", "@host/"]
PIECES = st.one_of(st.sampled_from(MARKS + WORDS), st.text(max_size=5))


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good file with pieces cut out and put in."""
    text = FULL
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = start + draw(st.integers(0, 12))
        text = text[:start] + draw(PIECES) + text[stop:]
    return text


def told(file: Path, content: bytes) -> str:
    """Return everything that is told of the content: of good settings, what is shown in place of a password."""
    file.write_bytes(content)
    try:
        loaded = load(file, {"HOME": "/home/club"}, now_ms=0)
    except ConfigurationError as error:
        return f"{error}{error!r}{error.problems}{error.warnings}" if error.problems else pytest.fail("no problem told")
    found = loaded.settings
    return f"{[str(said) for said in loaded.warnings]}{found.mt1.password}{found.mqtt.password!r}{found.digest()}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "mt1bridge.yaml"


def test_the_file_to_be_damaged_is_good(file: Path) -> None:
    assert "mqtt.url: everybody on the way to broker.example" in told(file, FULL.encode())


@given(content=st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
@settings(deadline=None)
def test_any_bytes_give_settings_or_our_error(file: Path, content: bytes) -> None:
    told(file, content)


@given(text=damaged())
@example(text=f"mt1: {{username: a, password: *{SECRET}}}")
@example(text=f"mt1: {{username: a, password: b,{SECRET}}}")
@example(text=f"mt1: {{username: a, password: !{SECRET} x}}")
@example(text=f"mt1: {{username: a, password: {{{SECRET}: }}}}")
@example(text=f"mqtt: {{url: 'mqtt://u:{SECRET}@host'}}")
@example(text=f"mqtt: {{url: 'tcp://u:{SECRET}@host'}}")
@example(text=SECRET)
@example(text=f"password:{SECRET}")
@settings(max_examples=300, deadline=None)
def test_no_damage_to_a_file_makes_the_secret_seen(file: Path, text: str) -> None:
    said = told(file, text.encode("utf-8", "surrogatepass"))
    assert SECRET not in said


@given(text=damaged())
@settings(deadline=None)
def test_libyaml_and_the_parser_in_python_agree_on_what_is_there(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    trees = []
    for in_python in (False, True):
        report = Report("f")
        try:
            parsed = document.parse(data, report, in_python=in_python)
        except TooManyProblems:
            parsed = None
        trees.append(shape(parsed.root, set()) if parsed is not None and parsed.root is not None else None)
    if None not in trees:
        assert trees[0] == trees[1]


def shape(node: document.Node, above: set[int]) -> object:
    """Return a tree as plain values: raw text, whether it is null or a truth word."""
    if id(node) in above:
        return "itself"
    inside = above | {id(node)}
    text = document.scalar(node)
    if text is not None:
        return text, document.is_null(node), document.is_truth_word(node)
    members = document.items(node)
    if members is not None:
        return [shape(member, inside) for member in members]
    return [(shape(key, inside), shape(value, inside)) for key, value in node.value]
