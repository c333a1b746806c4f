"""The rules by which the package is built, held by reading its source: imports, purity, where state is.

Each rule takes one module and returns its faults in words. Each is shown to find a fault that is put before it.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mt1bridge"

STAGES = frozenset({"cloud", "feed", "journal", "topics", "mqtt"})
# part -> the other parts of ours that it may import (`config.settings`: frozen values, no code)
MAY_IMPORT = {
    "model": frozenset[str](),
    "runtime": frozenset({"model"}),
    "config": frozenset({"model"}),
    "cloud": frozenset({"model", "runtime"}),
    "feed": frozenset({"model", "runtime"}),
    "journal": frozenset({"model", "runtime"}),
    "topics": frozenset({"model", "runtime", "config.settings"}),
    "mqtt": frozenset({"model", "runtime", "config.settings"}),
    "simulator": frozenset[str](),
    "bridge": STAGES | {"model", "runtime", "config.settings"},
    "turn": frozenset({"bridge", "model", "journal", "runtime"}),
    "app": STAGES | {"bridge", "turn", "model", "runtime", "config"},
    "cli": STAGES | {"app", "bridge", "config", "model", "runtime", "simulator"},
    "__main__": frozenset({"cli"}),
    "__init__": frozenset[str](),
}

# library -> where alone it is imported: a module, or a part with all its modules
DOORS = {
    "stomp": ("cloud.transport",),
    "websocket": ("cloud.transport",),
    "requests": ("cloud.rest",),
    "urllib3": ("cloud.rest", "cloud.rest_trouble", "cloud.rest_watch"),
    "paho": ("mqtt",),
    "yaml": ("config",),
    "systemd": ("runtime",),
    "sqlite3": ("journal", "app"),  # app: what closing the journal may raise
    "structlog": ("runtime",),
    "aiohttp": ("simulator",),
    "amqtt": ("cli",),
    "time": ("runtime.clock", "simulator.clock", "simulator.thread"),
    "sched": (),
    "asyncio": ("simulator", "cli"),
    "signal": ("app", "cli", "simulator.program"),
    "subprocess": ("cli",),
    "multiprocessing": (),
}
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})

PURE = (
    *("model", "feed", "topics"),
    *("cloud.budget", "cloud.decode", "cloud.json_text", "cloud.kept", "cloud.limits", "cloud.replies"),
    *("cloud.calls", "cloud.doubt", "cloud.outcomes"),
    *("cloud.overlap", "cloud.session", "cloud.sockjs", "cloud.stomp_frames", "cloud.subscribing"),
    "cloud.subscription",
    *("mqtt.handover", "mqtt.reasons", "mqtt.session", "mqtt.suspicion"),
    *("runtime.backoff", "config.settings"),
)
# `bridge` asks and writes the journal in line, and is pure in everything else.
ROUTER = "bridge"
ROUTER_ALSO = ("journal",)
PURE_LIBRARIES = frozenset({
    "abc", "base64", "bisect", "calendar", "codecs", "collections", "contextlib", "dataclasses", "datetime", "enum",
    "email", "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "string", "types",
    "typing", "unicodedata", "urllib",
})  # fmt: skip
PURE_NAMES = {
    "random": frozenset({"Random"}),
    "pathlib": frozenset({"Path"}),
}  # for annotations: they come from outside
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
IMPURE_MODULES = ("urllib.request", "email.utils.localtime")

MAKES_MUTABLE = frozenset({
    "list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ChainMap", "WeakSet",
    "WeakKeyDictionary", "WeakValueDictionary", "Queue", "SimpleQueue", "Lock", "RLock", "Event", "Condition",
    "Thread", "local", "count", "cycle", "Random",
})  # fmt: skip
CHANGES = frozenset({
    "append", "extend", "insert", "add", "update", "pop", "popitem", "remove", "discard", "clear", "setdefault",
    "sort", "reverse", "appendleft", "popleft", "difference_update", "intersection_update",
})  # fmt: skip
REMEMBERS = frozenset({"cache", "lru_cache", "cached_property"})


@dataclass(frozen=True)
class Module:
    """name: without `mt1bridge.`, dots between: `cloud.rest`."""

    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]

    def within(self, *places: str) -> bool:
        return any(self.name == place or self.name.startswith(f"{place}.") for place in places)

    def imports(self) -> Iterator[tuple[str, str]]:
        """(module, name that is taken from it or ""), wherever in the file they stand."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((self._absolute(node), alias.name) for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = f"mt1bridge.{self.name}".split(".")[: -node.level]
        return ".".join([*above, *([node.module] if node.module else [])])

    def ours(self) -> Iterator[str]:
        """Modules of ours that it imports: `cloud.rest`, or `cloud` for the part itself."""
        for module, name in self.imports():
            if module == "mt1bridge":
                yield name if name in parts() else "__init__"
            elif module.startswith("mt1bridge."):
                inner = module.removeprefix("mt1bridge.")
                yield f"{inner}.{name}" if f"{inner}.{name}" in names() else inner

    def libraries(self) -> Iterator[tuple[str, str]]:
        for module, name in self.imports():
            if module.partition(".")[0] not in ("mt1bridge", "__future__"):
                yield module, name


@cache
def names() -> frozenset[str]:
    return frozenset(name_of(path) for path in PACKAGE.rglob("*.py"))


@cache
def parts() -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in names())


def name_of(path: Path) -> str:
    words = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" and len(words) > 1 else words)


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(name_of(path), ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py")))


def snippet(name: str, text: str) -> Module:
    return Module(name, ast.parse(text))


# --- rules ----------------------------------------------------------------------------------------


def imports_in_one_direction(module: Module) -> list[str]:
    """Stages never import each other; only bridge, app and cli know several of them."""
    if module.part not in MAY_IMPORT:
        return [f"{module.part} is no part that this test knows: say in MAY_IMPORT what it may import"]
    allowed = MAY_IMPORT[module.part]
    faults = []
    for other in module.ours():
        part = other.partition(".")[0]
        if part not in (module.part, "__init__") and part not in allowed and other not in allowed:
            faults.append(f"imports {other}")
        if part == "__init__" and module.part == "simulator":
            faults.append("imports the package itself")
    return faults


def libraries_by_their_door(module: Module) -> list[str]:
    faults = []
    for library, _ in module.libraries():
        doors = DOORS.get(library.partition(".")[0])
        if doors is not None and not module.within(*doors):
            faults.append(f"imports {library}, whose door is {', '.join(doors) or 'nowhere'}")
    return faults


def clocks_in_one_place(module: Module) -> list[str]:
    """`time` has its door; this is for datetime.now() and its kin."""
    if module.within("runtime.clock", "simulator.clock"):
        return []
    return [
        f"line {node.lineno}: reads a clock by {node.func.attr}()"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCK_CALLS
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and (node.func.value.id if isinstance(node.func.value, ast.Name) else node.func.value.attr)
        in ("datetime", "date")
    ]


def pure_modules_are_pure(module: Module) -> list[str]:
    """No sockets, threads, files, clocks, chance or databases, nor anything of ours that has them."""
    if not module.within(*PURE, ROUTER):
        return []
    faults = []
    for library, name in module.libraries():
        pure = library.partition(".")[0] in PURE_LIBRARIES or name in PURE_NAMES.get(library, ())
        if not pure or library in IMPURE_MODULES:
            faults.append(f"imports {name} of {library}" if name else f"imports {library}")
    allowed = (*PURE, *((ROUTER, *ROUTER_ALSO) if module.within(ROUTER) else ()), "__init__")
    for other in module.ours():
        if not any(other == place or other.startswith(f"{place}.") for place in allowed):
            faults.append(f"imports {other}, which is not pure")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            faults.append(f"line {node.lineno}: calls {node.func.id}()")
    return faults


def no_state_in_modules(module: Module) -> list[str]:
    """What a module or class holds is constant: immutable, or written in capitals and changed nowhere."""
    faults = [f"line {line}: {name} is mutable" for line, name in _mutables(module.tree) if not _constant(name)]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            faults.append(f"line {node.lineno}: global {', '.join(node.names)}")
        faults += [f"line {line}: changes {name}" for line, name in _changed(node) if _constant(name)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            faults += [
                f"line {node.lineno}: {node.name} remembers"
                for decorator in node.decorator_list
                if _last_word(decorator) in REMEMBERS
            ]
    return faults


def _constant(name: str) -> bool:
    return name.isupper() or name == "__all__"


def _mutables(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of module-level and class-level names that are bound to something mutable."""
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for statement in (statement for body in bodies for statement in body):
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if _is_mutable(statement.value):
                yield from ((statement.lineno, ast.unparse(target)) for target in targets)


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
        return True
    if isinstance(value, ast.BinOp):
        return _is_mutable(value.left) or _is_mutable(value.right)
    return isinstance(value, ast.Call) and _last_word(value) in MAKES_MUTABLE


def _changed(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, last word of the name) of what a statement changes in place."""
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
        targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
        for target in targets:
            if isinstance(target, ast.Subscript):
                yield node.lineno, _last_word(target.value)
            elif isinstance(node, ast.AugAssign):
                yield node.lineno, _last_word(target)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        yield node.lineno, _last_word(node.func.value)


def _last_word(node: ast.expr) -> str:
    """`deque` of `deque`, `collections.deque` and `collections.deque[int](…)`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


Rule = Callable[[Module], list[str]]
RULES: tuple[Rule, ...] = (
    imports_in_one_direction,
    libraries_by_their_door,
    clocks_in_one_place,
    pure_modules_are_pure,
    no_state_in_modules,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    faults = {module.name: found for module in modules() if (found := rule(module))}
    assert faults == {}


BAD = [
    (imports_in_one_direction, "feed.scan", "from mt1bridge.journal.store import Store"),
    (imports_in_one_direction, "cloud.rest", "def f():\n    from mt1bridge.mqtt import session"),
    (imports_in_one_direction, "topics.desk", "from mt1bridge import bridge"),
    (imports_in_one_direction, "topics.desk", "from ..mqtt import session"),
    (imports_in_one_direction, "mqtt.publisher", "from mt1bridge.config.loading import load"),
    (imports_in_one_direction, "model.fact", "from mt1bridge.runtime.clock import Clock"),
    (imports_in_one_direction, "runtime.logs", "import mt1bridge.topics.names"),
    (imports_in_one_direction, "simulator.server", "from mt1bridge.model.trigger import Trigger"),
    (imports_in_one_direction, "simulator.server", "from mt1bridge import __version__"),
    (imports_in_one_direction, "bridge.delivery", "from mt1bridge.app import App"),
    (imports_in_one_direction, "attic", "x = 1"),
    (libraries_by_their_door, "cloud.session", "import stomp"),
    (libraries_by_their_door, "cloud.link", "from websocket import ABNF"),
    (libraries_by_their_door, "cloud.dial", "import urllib3.util"),
    (libraries_by_their_door, "cli.devices", "def f():\n    import requests"),
    (libraries_by_their_door, "topics.desk", "from paho.mqtt import client"),
    (libraries_by_their_door, "cli.check", "import yaml"),
    (libraries_by_their_door, "app", "from systemd import journal"),
    (libraries_by_their_door, "bridge.learning", "import sqlite3"),
    (libraries_by_their_door, "app", "import structlog"),
    (libraries_by_their_door, "cli.demo", "import aiohttp"),
    (libraries_by_their_door, "mqtt.session", "from time import monotonic"),
    (libraries_by_their_door, "runtime.systemd", "import subprocess"),
    (clocks_in_one_place, "topics.times", "from datetime import datetime\nx = datetime.now()"),
    (clocks_in_one_place, "cloud.replies", "import datetime\ndef f():\n    return datetime.datetime.utcnow()"),
    (clocks_in_one_place, "app", "from datetime import date\nx = date.today()"),
    (pure_modules_are_pure, "model.fact", "import socket"),
    (pure_modules_are_pure, "feed.intake", "import threading"),
    (pure_modules_are_pure, "feed.intake", "def f():\n    from os import environ"),
    (pure_modules_are_pure, "topics.board", "import random"),
    (pure_modules_are_pure, "topics.board", "from random import choice"),
    (pure_modules_are_pure, "cloud.budget", "import logging"),
    (pure_modules_are_pure, "cloud.session", "from mt1bridge.cloud.rest import RestWorker"),
    (pure_modules_are_pure, "mqtt.session", "from mt1bridge.runtime.clock import SystemClock"),
    (pure_modules_are_pure, "bridge.learning", "from mt1bridge.mqtt.publisher import Publisher"),
    (pure_modules_are_pure, "bridge.learning", "import queue"),
    (pure_modules_are_pure, "topics.names", "def f():\n    return open('x')"),
    (pure_modules_are_pure, "cloud.replies", "import urllib.request"),
    (no_state_in_modules, "feed.scan", "seen = set()"),
    (no_state_in_modules, "feed.scan", "_known: dict[str, int] = {}"),
    (no_state_in_modules, "feed.scan", "import collections\nlatest = collections.deque(maxlen=5)"),
    (no_state_in_modules, "runtime.logs", "import threading\nlock = threading.Lock()"),
    (no_state_in_modules, "feed.scan", "class Scan:\n    pages = []"),
    (no_state_in_modules, "feed.scan", "SEEN = {}\ndef f(x):\n    SEEN[x] = 1"),
    (no_state_in_modules, "feed.scan", "SEEN = []\ndef f(x):\n    SEEN.append(x)"),
    (no_state_in_modules, "feed.scan", "from mt1bridge.topics import desk\ndef f():\n    desk.GAP_S.update(a=1)"),
    (no_state_in_modules, "feed.scan", "N = 0\ndef f():\n    global N\n    N = 1"),
    (no_state_in_modules, "feed.scan", "from functools import lru_cache\n@lru_cache(None)\ndef f(x):\n    return x"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_the_rule_finds_the_fault(rule: Rule, name: str, text: str) -> None:
    assert rule(snippet(name, text)) != []


GOOD = [
    (
        imports_in_one_direction,
        "feed.scan",
        "from mt1bridge.model.trigger import Sighting\nfrom mt1bridge.feed import x",
    ),
    (imports_in_one_direction, "mqtt.publisher", "from mt1bridge.config.settings import MqttSettings"),
    (
        imports_in_one_direction,
        "bridge.bridge",
        "from mt1bridge.mqtt import session\nfrom mt1bridge import __version__",
    ),
    (libraries_by_their_door, "journal.store", "import sqlite3"),
    (clocks_in_one_place, "app", "class Now: ...\ndef f(clock):\n    return clock.now()"),
    (pure_modules_are_pure, "bridge.learning", "from mt1bridge.journal.journal import Journal"),
    (pure_modules_are_pure, "bridge.parts", "from random import Random"),
    (pure_modules_are_pure, "cloud.rest", "import socket"),
    (no_state_in_modules, "feed.scan", "WORDS = {'a': 1}\nPAIR = (1, 2)\nclass A:\n    x: int = 1\n    y = ()"),
    (no_state_in_modules, "feed.scan", "def f():\n    seen = set()\n    seen.add(1)"),
]


@pytest.mark.parametrize(("rule", "name", "text"), GOOD, ids=lambda value: getattr(value, "__name__", None))
def test_the_rule_lets_good_code_pass(rule: Rule, name: str, text: str) -> None:
    assert rule(snippet(name, text)) == []


def test_every_place_named_here_exists() -> None:
    """A rule about a module that was renamed would hold nobody any more."""
    places = {*PURE, ROUTER, *ROUTER_ALSO, *MAY_IMPORT, *(door for doors in DOORS.values() for door in doors)}
    assert {place for place in places if place not in names()} == set()


# --- importing ------------------------------------------------------------------------------------

LOOK = """
import json, logging, os, signal, sys, threading, warnings
def look():
    return {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "path": list(sys.path),
        "umask": [os.umask(mask := os.umask(0)), mask][1],
        "signals": [str(signal.getsignal(n)) for n in (1, 2, 13, 15, 17)],
        "threads": [thread.name for thread in threading.enumerate()],
        "handlers": [str(handler) for handler in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "hooks": [str(sys.excepthook), str(threading.excepthook)],
        "modules": {},
    }
before = look()
"""
TELL = "\nafter = look()\nprint(json.dumps([what for what in before if before[what] != after[what]]))\n"


def side_effects(code: str) -> list[str]:
    """What this code changed in a fresh process, of all that a process shares."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK + code + TELL],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    changed: list[str] = json.loads(done.stdout)
    return changed


def test_importing_changes_nothing_around_it() -> None:
    wanted = sorted(f"mt1bridge.{name}" for name in names() if name not in ("__init__", "__main__"))
    code = "from importlib import import_module\n"
    code += "".join(f"import_module({name!r})\n" for name in wanted if name not in NEEDS_MORE)
    assert side_effects(code) == []


NEEDS_MORE = frozenset({"mt1bridge.cli.embedded_broker"})  # amqtt, of the extra `demo`


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("os.environ['X'] = '1'", "environment"),
        ("os.umask(0o137)", "umask"),
        ("signal.signal(15, signal.SIG_IGN)", "signals"),
        ("logging.basicConfig()", "handlers"),
        ("sys.path.append('/x')", "path"),
        ("threading.Thread(target=threading.Event().wait, daemon=True, name='x').start()", "threads"),
    ],
)
def test_a_side_effect_is_seen(code: str, what: str) -> None:
    assert side_effects(code) == [what]


def test_an_unused_feature_costs_nothing() -> None:
    """`run` imports neither the simulator nor what the commands alone need."""
    code = "import mt1bridge.app, mt1bridge.cli.run\n"
    code += "found = [m for m in ('aiohttp', 'amqtt', 'rich', 'mt1bridge.simulator') if m in sys.modules]\n"
    assert side_effects(code + "assert not found, found") == []


def test_packaging_is_no_package() -> None:
    """It would shadow PyPI's `packaging` for everything that is started from the root."""
    assert sorted((ROOT / "packaging").rglob("__init__.py")) == []
    assert not (ROOT / "tests" / "__init__.py").exists()
