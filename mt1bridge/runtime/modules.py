"""What stays in memory of an import: for a daemon that runs for months, less than the libraries would bring along."""

import gc
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module


def import_without(library: str, *choices: Collection[str]) -> None:
    """Import a library as where some optional modules, its own or others', are not installed.

    choices: what to leave out; the first with which the library can be imported counts, and without any it is imported
    as it is. Nothing happens to what is imported already. Afterwards what was left out can be imported as ever.
    """
    if library in sys.modules:
        return
    for absent in choices:
        try:
            with _left_out(absent), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some complain of what they miss
                import_module(library)
            return
        except ImportError:
            let_go(library)  # what it had imported of itself before it noticed
    import_module(library)


@contextmanager
def _left_out(names: Collection[str]) -> Iterator[None]:
    """None in `sys.modules` is Python's own word for "not to be found" (language reference, 5.3.1)."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # typeshed knows modules only
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def let_go(*packages: str, keep: Collection[str] = ()) -> None:
    """Forget packages with all their modules, but for those in keep, and free their memory.

    It is free only if nobody holds anything of theirs: no object, class, function, nor the module itself. The next
    import of them begins anew, with classes of its own.
    """
    for name in [name for name in sys.modules if _within(name, packages) and name not in keep]:
        _forget(name)
    gc.collect()


def settle() -> None:
    """Let the garbage collector pass over all that is there now: once all is imported, it stays for life.

    A full collection looks at every object: 70 ms for all that is imported, ten times that on a small machine, and a
    trigger may be waiting. Nothing is lost of what comes and goes later.
    """
    gc.collect()  # what importing left over
    gc.freeze()


def _forget(name: str) -> None:
    module = sys.modules.pop(name)
    above, _, last = name.rpartition(".")
    holder = sys.modules.get(above)
    if holder is not None and getattr(holder, last, None) is module:
        delattr(holder, last)


def _within(name: str, packages: Collection[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
