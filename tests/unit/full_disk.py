"""A disk without room, as far as one process can have it."""

import resource
from contextlib import contextmanager


@contextmanager
def no_room_for_files():
    """No file can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
