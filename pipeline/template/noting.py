"""One flaw ends the reading of a template, unless all of them are asked for.

A letter needs a sound template and nothing else, so whoever compiles one raises at the first flaw.
Whoever mends the file wants to see every one at once: within `all_noted` what is raised about one
paragraph, drawing or part is noted, and the next one is looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pipeline.errors import Misconfigured
from pipeline.template.flaw import Flaw, Flaws, Kind

ENOUGH = 1000
"""Flaws, after which nobody looks for more."""

_noted: ContextVar[list[Flaw] | None] = ContextVar("noted", default=None)


class Enough(Misconfigured):
    """So much is wrong that nobody reads more of it."""


@contextmanager
def all_noted() -> Iterator[list[Flaw]]:
    """The flaws found within, in the order in which they are come upon."""
    found: list[Flaw] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


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
        if len(found) >= ENOUGH or isinstance(fault, Enough):
            raise Enough("More is wrong with the template than anybody reads.") from fault
        found += flaws_of(fault)


def so_far() -> int:
    """How many flaws have been noted."""
    return len(_noted.get() or ())


def flaws_of(fault: Misconfigured) -> list[Flaw]:
    """What is raised, as flaws; of a mere sentence the last clause is how to mend it."""
    match fault:
        case Flaw():
            return [fault]
        case Flaws():
            return list(fault.each)
        case _:
            what, _, mend = str(fault).rpartition("; ")
            return [Flaw(Kind.OTHER, what, mend) if what else Flaw(Kind.OTHER, mend)]
