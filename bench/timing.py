"""How long parts of the program take while it works."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def timed(place: object, name: str, part: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the seconds of every call of a function in `place` to `spent`, under its part's name."""
    original: Callable[..., object] = getattr(place, name)

    def timed(*arguments: object, **named: object) -> object:
        begun = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - begun

    setattr(place, name, timed)
    try:
        yield
    finally:
        setattr(place, name, original)
