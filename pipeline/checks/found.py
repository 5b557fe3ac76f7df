"""What a check finds, and what keeps one that fails, or never ends, from stopping the others."""

import queue
import re
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from pipeline.errors import LettersError

T = TypeVar("T")


class Kind(StrEnum):
    """How well a thing is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing."""
    WARNING = "warning"
    """Will need a person."""
    FAULT = "fault"
    """A run would fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found of one thing, in whole sentences; `fix` says how to mend what is not well."""

    check: str
    state: Kind
    found: str
    fix: str = ""


Looking = Generator[Check, None, T]
"""Yields what is found, as it is found, and returns what later checks want of it."""


def ok(check: str, found: str) -> Check:
    """All is well."""
    return Check(check=check, state=Kind.OK, found=found)


def note(check: str, found: str, fix: str = "") -> Check:
    """Worth knowing."""
    return Check(check=check, state=Kind.NOTE, found=found, fix=fix)


def warning(check: str, found: str, fix: str) -> Check:
    """Will need a person."""
    return Check(check=check, state=Kind.WARNING, found=found, fix=fix)


def fault(check: str, found: str, fix: str) -> Check:
    """A run would fail."""
    return Check(check=check, state=Kind.FAULT, found=found, fix=fix)


# Errors say what is wrong first and then how to mend it; a path's full stops have no blank behind.
_FIX_BEGINS = re.compile(r"(?<=[a-z0-9)'”\"])(\.|;) (?=\S)")


def of_error(check: str, error: LettersError, *, state: Kind = Kind.FAULT) -> Check:
    """The fault that an error is: its first sentence is what was found, the rest how to mend it."""
    said = str(error)
    divided = None if "\n" in said else _FIX_BEGINS.search(said)
    if divided is None:
        return Check(check=check, state=state, found=said, fix="Put right what it names.")
    fix = said[divided.end() :]
    return Check(
        check=check,
        state=state,
        found=f"{said[: divided.start()]}.",
        fix=f"{fix[:1].upper()}{fix[1:]}",
    )


def guarded(check: str, look: Callable[[], Looking[T]]) -> Looking[T | None]:
    """What `look` finds; an error becomes a fault of `check`, and None is returned."""
    try:
        return (yield from look())
    except LettersError as error:
        yield of_error(check, error)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        yield fault(
            check,
            f"The operating system refused{where}: {error.strerror or error}.",
            "Mend what it names, or make room on the disk.",
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are looked at
        yield fault(
            check,
            f"This could not be looked at: {type(error).__name__}: {error}",
            "If what it says does not help, tell whoever looks after the program.",
        )
    return None


@dataclass(frozen=True, slots=True)
class _End(Generic[T]):
    value: T


def bounded(
    check: str, seconds: float, look: Callable[[], Looking[T]], *, fix: str
) -> Looking[T | None]:
    """As `guarded`, given up after `seconds`: a name server or a network drive may never answer."""
    said: queue.SimpleQueue[Check | _End[T | None]] = queue.SimpleQueue()

    def work() -> None:
        looking = guarded(check, look)
        while True:
            try:
                said.put(next(looking))
            except StopIteration as stop:
                said.put(_End(stop.value))
                return

    threading.Thread(target=work, name=check, daemon=True).start()
    deadline = time.monotonic() + seconds
    while True:
        try:
            one = said.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield fault(check, f"There was no answer within {seconds:g} seconds.", fix)
            return None
        if isinstance(one, _End):
            return one.value
        yield one


def size(octets: int) -> str:
    """12.3 GB, as people say it."""
    amount = float(octets)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:,.1f} {unit}"
