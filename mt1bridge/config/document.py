"""Bytes of the file -> YAML nodes, which know their line; the one door to the yaml library.

Nothing is constructed: tags are refused and every scalar keeps its raw text, so that no value is changed on the way
(YAML reads 017 as 15 and 1:30 as 90). Size, depth, aliases and the number of values are limited before anything grows.
"""

import re
from collections.abc import Iterator

import yaml

from mt1bridge.config.report import GOT, Place, Report
from mt1bridge.config.sample import sample

LARGEST_FILE = 1 << 20  # bytes
DEEPEST = 16  # levels; the settings need 5
MOST_ALIASES = 100
MOST_VALUES = 20_000
TOO_DEEP = "too much nesting: is it the right file?"

# What YAML does not allow in a document, by its specification (5.1).
_NOT_PRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HINTS = (
    (
        "mapping values are not allowed",
        "a colon too many, or a line that is indented wrongly; quote texts with a colon",
    ),
    ("could not find expected ':'", "expected `key: value` with a space after the colon"),
    ("unknown escape character", "a backslash within double quotes must be doubled; or use single quotes"),
    ("undefined alias", "a value that begins with * must be put in quotes"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("expected a single document", "only one document is allowed: remove the line ---"),
    ("cannot start any token", "a value that begins with this character must be put in quotes"),
    ("expected <block end>", "this line is indented differently from those it belongs to, or a quote is out of place"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
)

Node = yaml.nodes.Node
Entry = tuple[str, Node, Node]


class Document:
    """A parsed file. root: None if the file holds nothing but comments."""

    def __init__(self, root: Node | None, lines: list[str]) -> None:
        self.root = root
        self._lines = lines

    def rest_of_line(self, node: Node) -> str:
        """Return what follows the node on its last line."""
        mark = node.end_mark
        return self._lines[mark.line][mark.column :] if mark.line < len(self._lines) else ""


def parse(data: bytes, report: Report, in_python: bool = False) -> Document | None:
    """Return the document, or None after telling the report why there is none.

    in_python: do without libyaml, as where PyYAML was built without it.
    """
    text = _decode(data, report)
    if text is None:
        return None
    loader: type[yaml.SafeLoader] = yaml.SafeLoader if in_python else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    try:
        if not _within_limits(text, loader, report):
            return None
        return Document(yaml.compose(text, Loader=loader), lines)
    except yaml.YAMLError as error:
        place, line = _where(error, lines)
        report.problem(place, "", _explained(error, line, place))
        return None


def place_of(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def is_null(node: Node) -> bool:
    """Whether the value is left empty, or is ~ or null without quotes."""
    return _is_plain(node) and node.tag == "tag:yaml.org,2002:null"


def is_truth_word(node: Node) -> bool:
    """Whether YAML 1.1 takes the text for true or false: yes, no, on, off, true, false without quotes."""
    return _is_plain(node) and node.tag == "tag:yaml.org,2002:bool"


def is_word_within_braces(mapping: Node, value: Node) -> bool:
    """Whether a key within {…} has no value: often the rest of a text that a comma cut in two, even a password."""
    braces = isinstance(mapping, yaml.MappingNode) and bool(mapping.flow_style)
    return braces and is_null(value) and not value.value


def is_cut_by_comment(node: Node, document: Document) -> bool:
    """Whether a text without quotes is followed by a comment that might have been meant as a part of it."""
    return _is_plain(node) and document.rest_of_line(node).lstrip().startswith("#")


def scalar(node: Node) -> str | None:
    """Return the raw text of a scalar, None for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def items(node: Node) -> list[Node] | None:
    """Return the members of a list, None for anything else."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else None


def entries(node: Node, key: str, report: Report) -> list[Entry] | None:
    """Return (text of the key, its node, value) of a mapping, each key once; None if the node is no mapping."""
    if not isinstance(node, yaml.MappingNode):
        return None
    seen: dict[str, Place] = {}
    found: list[Entry] = []
    for key_node, value in node.value:
        name = scalar(key_node)
        if name is None:
            report.problem(place_of(key_node), key, "a key must be a plain word")
        elif name in seen:
            report.problem(
                place_of(key_node), key, f"the key {GOT} is given a second time, first on {seen[name]}", name
            )
        else:
            seen[name] = place_of(key_node)
            found.append((name, key_node, value))
    return found


def secrets(root: Node | None) -> Iterator[str]:
    """Yield every text that stands under a key that sounds secret, wherever it is."""
    todo, seen = [root] if root is not None else [], set[int]()
    while todo:
        node = todo.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        for member in node.value:
            if isinstance(member, tuple):
                name, text = scalar(member[0]), scalar(member[1])
                if text and name and re.search("(?i)pass|secret|token|pw", name) and not name.endswith("_file"):
                    yield text
                todo.extend(member)
            else:
                todo.append(member)


def _is_plain(node: Node) -> bool:
    """Whether the value is a scalar without quotes: its style is None, or "" where libyaml read it."""
    return isinstance(node, yaml.ScalarNode) and not node.style


def _decode(data: bytes, report: Report) -> str | None:
    """Return the text without a byte order mark."""
    if len(data) > LARGEST_FILE:
        report.problem(Place(), "", "is larger than 1 MB: is it the right file?")
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        report.problem(Place(1, 1), "", "is UTF-16: save it as UTF-8")
    elif not data.strip():
        report.problem(Place(), "", f"is empty: it needs at least mt1.username and a password; {sample()}")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            report.problem(_place_at(data[: error.start]), "", "is not UTF-8 from here on: save the file as UTF-8")
            return None
        wrong = _NOT_PRINTABLE.search(text)
        if wrong is None:
            return text
        place = _place_at(text[: wrong.start()].encode())
        report.problem(place, "", f"the character U+{ord(wrong[0]):04X} is not allowed in this file: remove it")
    return None


def _place_at(before: bytes) -> Place:
    lines = before.decode("utf-8-sig", "replace").split("\n")
    return Place(len(lines), len(lines[-1]) + 1)


def _within_limits(text: str, loader: type[yaml.SafeLoader], report: Report) -> bool:
    """Look at the events, which need no memory, and tell the report what must not be composed."""
    depth = values = aliases = 0
    fine = True
    for event in yaml.parse(text, Loader=loader):
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place()
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        values += isinstance(event, yaml.NodeEvent)
        if getattr(event, "tag", None) is not None:
            fine = False
            report.problem(place, "", "YAML tags (!…) are not allowed: remove it, or put the value in quotes")
        if depth > DEEPEST or aliases > MOST_ALIASES or values > MOST_VALUES:
            what = "many aliases (*…)" if aliases > MOST_ALIASES else "many values"
            report.problem(place, "", TOO_DEEP if depth > DEEPEST else f"too {what}: is it the right file?")
            return False
    return fine


def _where(error: yaml.YAMLError, lines: list[str]) -> tuple[Place, str]:
    """Return the place of a syntax error and its line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Place(), ""
    return Place(mark.line + 1, mark.column + 1), lines[mark.line] if mark.line < len(lines) else ""


def _explained(error: yaml.YAMLError, line: str, place: Place) -> str:
    """Say in our words what is wrong: the library's own may quote the text, which may be a password."""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or line[(place.column or 1) - 1 :].startswith("\t"):
        return "a tab: indent with spaces, YAML does not allow tabs"
    said = str(getattr(error, "problem", None) or getattr(error, "reason", ""))
    said += str(getattr(error, "context", None) or "")
    if "nesting depth" in said:  # newer libyaml reads ahead and finds it first
        return TOO_DEEP
    hint = next((hint for start, hint in _HINTS if start in said), "check quotes, colons and indentation here")
    return f"is not valid YAML: {hint}"
