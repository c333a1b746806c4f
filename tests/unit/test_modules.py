"""What stays of an import, tried on libraries made for the purpose."""

import subprocess
import sys
import weakref
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from mt1bridge.runtime.modules import import_without, let_go

MADE = ("mt1_library", "mt1_heavy", "mt1_heavier")
LENIENT = """
import warnings
try:
    import mt1_heavy
except ImportError:
    warnings.warn("mt1_heavy is missing", RuntimeWarning)
    mt1_heavy = None
"""
DEMANDING = """
import mt1_library.part
try:
    import mt1_heavier as heavy
except ImportError:
    import mt1_heavy as heavy
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for libraries."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in MADE[1:]:
        (tmp_path / f"{name}.py").write_text("class Weight:\n    pass\n")
    yield tmp_path
    let_go(*MADE)


def library(place: Path, text: str) -> None:
    package = place / "mt1_library"
    package.mkdir()
    (package / "__init__.py").write_text(text)
    (package / "part.py").write_text("class Part:\n    pass\n")


def test_a_library_does_without_what_is_left_out_and_without_complaint(place: Path) -> None:
    library(place, LENIENT)
    import_without("mt1_library", ("mt1_heavy",))
    assert import_module("mt1_library").mt1_heavy is None
    assert "mt1_heavy" not in sys.modules


def test_what_was_left_out_can_be_imported_afterwards(place: Path) -> None:
    library(place, LENIENT)
    import_without("mt1_library", ("mt1_heavy",))
    assert import_module("mt1_heavy").Weight


def test_the_first_choice_that_the_library_bears_counts(place: Path) -> None:
    library(place, DEMANDING)
    import_without("mt1_library", ("mt1_heavy", "mt1_heavier"), ("mt1_heavier",))
    assert import_module("mt1_library").heavy.__name__ == "mt1_heavy"
    assert "mt1_heavier" not in sys.modules


def test_a_library_that_bears_no_choice_is_imported_whole(place: Path) -> None:
    library(place, DEMANDING)
    import_without("mt1_library", ("mt1_heavy", "mt1_heavier"))
    assert import_module("mt1_library").heavy.__name__ == "mt1_heavier"


@pytest.mark.usefixtures("place")
def test_a_library_that_is_not_there_is_told_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match="mt1_library"):
        import_without("mt1_library", ("mt1_heavy",))
    assert [name for name in MADE if name in sys.modules] == []


def test_what_is_imported_already_stays_as_it_is(place: Path) -> None:
    library(place, LENIENT)
    whole, heavy = import_module("mt1_library"), import_module("mt1_heavy")
    import_without("mt1_library", ("mt1_heavy",))
    assert import_module("mt1_library") is whole
    assert whole.mt1_heavy is heavy


def test_memory_of_what_is_let_go_is_free(place: Path) -> None:
    library(place, "from mt1_library import part")
    part = weakref.ref(import_module("mt1_library").part.Part)
    let_go("mt1_library")
    assert part() is None
    assert [name for name in sys.modules if name.startswith("mt1_library")] == []


def test_what_is_kept_keeps_its_classes_and_the_rest_begins_anew(place: Path) -> None:
    library(place, "from mt1_library import part, other")
    (place / "mt1_library" / "other.py").write_text("class Other:\n    pass\n")
    package = import_module("mt1_library")
    kept, other = package.part.Part, weakref.ref(package.other.Other)
    let_go("mt1_library", keep=("mt1_library", "mt1_library.part"))
    assert other() is None
    assert not hasattr(package, "other")
    assert import_module("mt1_library.part").Part is kept
    assert import_module("mt1_library.other").Other


@pytest.mark.usefixtures("place")
def test_a_name_that_merely_begins_alike_stays() -> None:
    for name in MADE[1:]:
        import_module(name)
    let_go("mt1_heavy")
    assert [name for name in MADE if name in sys.modules] == ["mt1_heavier"]


SETTLED = """
import gc, weakref
from mt1bridge.runtime.modules import settle
class Ring: pass
def made():
    ring = Ring(); ring.itself = ring
    return weakref.ref(ring)
left_over = made()
settle()
later = made()
gc.collect()
print(gc.get_freeze_count() > 1000, left_over(), later())
"""


def test_collections_pass_over_what_is_settled_alone() -> None:
    """In a process of its own: it holds for a whole process."""
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True None None\n"
