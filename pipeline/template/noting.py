"""One fault ends the reading of a template, unless all of them are asked for.

A letter needs a sound template and nothing else, so whoever compiles one raises at the first fault.
Whoever mends the file wants to see every one at once: within `all_noted` what is raised about one
paragraph, drawing or part is noted, and the next one is looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pipeline.errors import Misconfigured

_noted: ContextVar[list[str] | None] = ContextVar("noted", default=None)


@contextmanager
def all_noted() -> Iterator[list[str]]:
    """The faults found within, in the order in which they are come upon."""
    found: list[str] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def is_noting() -> bool:
    """Whether all faults are asked for."""
    return _noted.get() is not None


@contextmanager
def one_thing() -> Iterator[None]:
    """What is raised within is of one thing alone: the next can be looked at all the same."""
    found = _noted.get()
    if found is None:
        yield
        return
    try:
        yield
    except Misconfigured as fault:
        found += [line for line in str(fault).split("\n") if line not in found]
