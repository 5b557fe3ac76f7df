"""The log: what the program does, a line for each event, for machines and whoever looks after them.

A line has a name, a time, identifiers, counts and durations, and nothing that was written by or
about a person: no address, no name, no message, no word of a relay. That does not rest on care
where a line is logged: the last step before it is written lets only fields through that are known
to be harmless, each with values of the form that it is known to have. The ledger is where the rest
can be looked up.

Nothing is logged before `begin`, and structlog is not even loaded. Nothing here raises: a log that
cannot be written must not stop a letter, least of all between its dot and what came of it.
"""

import os
import re
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any


class Level(StrEnum):
    """How much is logged, from all to little; `off`: nothing."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    OFF = "off"


class Form(StrEnum):
    """How a line is written: for eyes, or as one JSON object."""

    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged, how and where; without a file, to standard error."""

    level: Level
    form: Form = Form.CONSOLE
    file: Path | None = None


Value = int | float | bool | str | datetime | None

LEFT_OUT = "(left out)"
"""Stands for a value that a field is not known to have."""

_NUMBERS = frozenset(
    {"run", "year", "letter", "message", "delivery", "attempt", "mail", "code", "count", "seconds"}
    | {"letters", "faults", "deliveries", "starts", "troubles", "pages", "awaiting", "exit_code"}
)
_WORDS = {
    "authority": re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}"),
    "queue_id": re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9._-]{0,79}"),
    "relay": re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*( port \d{1,5})?|captured mail"),
    "status": re.compile(r"[245]\.\d{1,3}\.\d{1,3}"),
    "outcome": re.compile(r"[a-z_]{1,30}"),
    "error": re.compile(r"[A-Z][A-Za-z]{0,60}"),
}
_CHOICES = frozenset({"mode", "state", "step", "standing", "kind", "matched_by"})
_TIMES = frozenset({"due_at", "retry_at"})
_FLAGS = frozenset({"ours", "again", "news"})
_ALWAYS = frozenset({"event", "level", "at"})
_STATUS = re.compile(r"(?<!\S)[245]\.\d{1,3}\.\d{1,3}(?!\S)")

_logger: Any = None
_begun: Log | None = None


def begin(log: Log | None) -> str | None:
    """Log from now on in this process, or not any more; why that cannot be, as a sentence.

    Where it cannot be, nothing is logged and everything else goes on.
    """
    global _logger, _begun  # noqa: PLW0603 - a process has one log
    _logger = _begun = None
    if log is None or log.level is Level.OFF:
        return None
    if log.file is not None:
        try:
            os.close(_opened(log.file))
        except OSError as error:
            return (
                f"log.file names {log.file}, which cannot be written to: "
                f"{error.strerror or error}. Nothing is logged; name a file in a folder that is "
                "there, which whoever runs this may write to."
            )
    import structlog  # noqa: PLC0415 - takes a sixth of a second, and most commands log nothing

    def timed(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> Any:
        return {**line, "at": datetime.now(UTC).isoformat(timespec="microseconds")}

    shown: Any = structlog.processors.JSONRenderer()
    if log.form is Form.CONSOLE:
        shown = structlog.dev.ConsoleRenderer(
            colors=log.file is None and sys.stderr is not None and sys.stderr.isatty(),
            timestamp_key="at",
        )
    _logger = structlog.wrap_logger(
        _Lines(log.file),
        processors=[structlog.processors.add_log_level, _only_harmless, timed, shown],
        wrapper_class=structlog.make_filtering_bound_logger(log.level.value),
    )
    _begun = log
    return None


def begun() -> Log | None:
    """What is logged in this process, for another process to log in the same way."""
    return _begun


def debug(event: str, **fields: Value) -> None:
    """One step of many."""
    _log(Level.DEBUG, event, fields)


def info(event: str, **fields: Value) -> None:
    """Something was done."""
    _log(Level.INFO, event, fields)


def warning(event: str, **fields: Value) -> None:
    """Something went wrong that is recorded, and the rest goes on."""
    _log(Level.WARNING, event, fields)


def error(event: str, **fields: Value) -> None:
    """Something stopped the work."""
    _log(Level.ERROR, event, fields)


def status_in(reply: str) -> str | None:
    """The enhanced status code (5.1.1) in what a relay said, which is all of it that is logged."""
    found = _STATUS.search(reply)
    return found[0] if found else None


def _log(level: Level, event: str, fields: dict[str, Value]) -> None:
    if _logger is not None:
        with suppress(Exception):  # whatever it is, a letter must not hang on it
            getattr(_logger, level.value)(event, **fields)


def _only_harmless(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    """The line with what is known to be harmless, in an order of its own."""
    kept = {name: line[name] for name in ("event", "level") if name in line}
    for name, value in line.items():
        if name not in _ALWAYS and value is not None:
            kept[name] = _harmless(name, value)
    return kept


def _harmless(name: str, value: object) -> Value:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _NUMBERS and number and isinstance(value, int | float):
        return round(value, 3)
    if name in _CHOICES and isinstance(value, Enum):
        return str(value.value)
    if name in _FLAGS and isinstance(value, bool):
        return value
    if name in _TIMES and isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    pattern = _WORDS.get(name)
    if pattern is not None and isinstance(value, str) and pattern.fullmatch(value):
        return str(value)
    return LEFT_OUT


def _opened(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


class _Lines:
    """Writes each line at once, whole, whoever else writes to the same file.

    The file is opened for each: it may be moved away and begun anew (logrotate) at any time.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._turn = threading.Lock()

    def msg(self, line: str) -> None:
        text = f"{line}\n"
        with self._turn, suppress(OSError, ValueError):
            if self._file is None:
                sys.stderr.write(text)
                sys.stderr.flush()
                return
            place = _opened(self._file)
            try:
                os.write(place, text.encode("utf-8", "backslashreplace"))
            finally:
                os.close(place)

    debug = info = warning = error = msg
