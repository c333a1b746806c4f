"""README's table of log events is read against the code: every event, at the loudest level that it is told at."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = ("debug", "info", "warning", "error")  # from quiet to loud
TELLERS = ("note", "render")  # log.note(level, event, ...); the log's own `render(level, event, ...)`
EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def table(text: str) -> dict[str, str]:
    """Event -> level, as the section "Log events" has it."""
    section = text.split("\nLog events\n", 1)[1].split("\nHow it is built\n", 1)[0]
    rows = re.findall(r"^``(\w+)`` +(\w+) +\S", section, re.MULTILINE)
    assert len(rows) == len({event for event, _ in rows}), "an event stands in the table twice"
    return dict(rows)


def told(tree: ast.AST) -> Iterator[tuple[str, frozenset[str]]]:
    """(event, levels that it is told at as far as they are literal) of every call that tells one."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "Note":
            event, level = (*node.args, None, None)[:2]
            named = {one.arg: one.value for one in node.keywords}
            level = named.get("level", level)
            found = literals(named.get("event", event)), literals(level) if level else frozenset({"info"})
        elif name_of(node.func) in TELLERS and len(node.args) >= 2:
            found = literals(node.args[1]), literals(node.args[0])
        else:
            continue
        yield from ((event, found[1]) for event in found[0] if EVENT.fullmatch(event))


def name_of(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def literals(node: ast.expr | None) -> frozenset[str]:
    """The texts that an expression may have, as far as they stand there: one, or both of `a if b else c`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return frozenset({node.value})
    if isinstance(node, ast.IfExp):
        return literals(node.body) | literals(node.orelse)
    return frozenset()


@pytest.fixture(scope="module")
def in_code() -> dict[str, set[str]]:
    """Event -> levels. An event whose level is worked out at run time has none here."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "mt1bridge").rglob("*.py")):
        if "simulator" in path.parts:
            continue  # a server of our own: it has no log of events
        for event, levels in told(ast.parse(path.read_text("utf-8"))):
            found.setdefault(event, set()).update(levels)
    return found


@pytest.fixture(scope="module")
def in_readme() -> dict[str, str]:
    return table((ROOT / "README.rst").read_text("utf-8"))


def test_readme_lists_every_event_of_the_log_and_no_other(in_code, in_readme):
    assert sorted(in_readme) == sorted(in_code)


def test_readme_gives_the_loudest_level_of_each_event(in_code, in_readme):
    loudest = {event: max(levels, key=LEVELS.index) for event, levels in in_code.items() if levels}
    assert {event: level for event, level in in_readme.items() if event in loudest} == loudest


def test_every_event_of_the_table_can_be_looked_up_in_order(in_readme):
    assert list(in_readme) == sorted(in_readme)


def test_events_are_found_however_they_are_told():
    source = """
Note("first_found")
Note("second_found", "debug" if told else "warning", facts, public=True)
self._log.note("error", "third_found", text="x")
log.note(level, "fourth_found")
parts.tell(Note(event="fifth_found", level="warning"))
render("warning", "sixth_found", {}, 0)
Note("seventh_found", level)
other("info", "no_event")
"""
    assert dict(told(ast.parse(source))) == {
        "first_found": {"info"},
        "second_found": {"debug", "warning"},
        "third_found": {"error"},
        "fourth_found": set(),
        "fifth_found": {"warning"},
        "sixth_found": {"warning"},
        "seventh_found": set(),
    }
