"""What `letters check` found, line by line as it is found, and whether the letters can go."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.text import Text

from pipeline.checks import Check, Kind
from pipeline.delivery import Mode
from pipeline.display.console import counted, harmless_json, out
from pipeline.settings import Settings

_SIGNS = {
    Kind.OK: ("✓", "+", "green"),
    Kind.NOTE: ("·", "-", "cyan"),
    Kind.WARNING: ("!", "!", "bold yellow"),
    Kind.FAULT: ("✗", "X", "bold red"),
}
_KIND_WIDTH = max(len(kind.value) for kind in Kind)
_NAME_WIDTH = 17
_INDENT = 2 + _KIND_WIDTH + 2 + _NAME_WIDTH + 1
_NARROW = 76
"""Columns below which what was found goes under its name and not beside it."""


def print_checks(checks: Iterable[Check]) -> list[Check]:
    """Print each check as it is found; all of them, for the verdict."""
    found = []
    with _working():
        for one in checks:
            found.append(one)
            _print(one)
    return found


def print_verdict(settings: Settings, found: Sequence[Check], *, quick: bool) -> None:
    """One last line: whether the letters can go, and where to."""
    faults, warnings = _names(found, Kind.FAULT), _names(found, Kind.WARNING)
    parts = []
    if faults:
        parts.append(f"{counted(len(faults), 'fault')} ({_listed(faults)})")
    if warnings:
        parts.append(f"{counted(len(warnings), 'warning')} ({_listed(warnings)})")
    if faults:
        line, style = f"Not ready, a run would fail: {' and '.join(parts)}.", "bold red"
    elif warnings:
        line, style = f"A run would go, but somebody should see to {parts[0]}.", "bold yellow"
    else:
        line, style = _ready(settings), "bold green"
    if quick:
        line += " LibreOffice was not tried."
    _say("", style="")
    _wrapped(line, "", style)


def as_json(found: Sequence[Check]) -> None:
    """The checks as a list, and nothing else, on standard output."""
    rows = [{**asdict(one), "state": one.state.value} for one in found]
    text = json.dumps(rows, ensure_ascii=not _can("é✓"), indent=2)
    sys.stdout.write(f"{harmless_json(text)}\n")


def _ready(settings: Settings) -> str:
    match settings.mail.mode:
        case Mode.CAPTURE:
            return "Ready for a rehearsal: capture mode, nothing leaves this machine."
        case Mode.REDIRECT:
            inbox = settings.mail.redirect_to
            return f"Ready for a rehearsal: redirect mode, all mail goes to {inbox}."
        case Mode.LIVE:
            return "Ready to send: live mode, letters go to the authorities."


def _names(found: Sequence[Check], kind: Kind) -> list[str]:
    return [one.check for one in found if one.state is kind]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _print(one: Check) -> None:
    sign, plain, style = _SIGNS[one.state]
    sign = sign if _can(sign) else plain
    head = f"{sign} {one.state.value:{_KIND_WIDTH}}  {one.check:{_NAME_WIDTH}}"
    if out.is_terminal and _columns() < _NARROW:
        _say(head.rstrip(), style=style, length=len(sign) + 1 + _KIND_WIDTH)
        indent = " " * 4
    else:
        indent = ""
    for number, line in enumerate(_lines(one, indent)):
        if number == 0 and not indent:
            _say(f"{head} {line}", style=style, length=len(sign) + 1 + _KIND_WIDTH)
        else:
            _say(f"{indent or ' ' * _INDENT}{line}", style="")


def _lines(one: Check, indent: str) -> Iterator[str]:
    """What was found and how to mend it: filled on a terminal, a line each elsewhere."""
    width = _columns() - (len(indent) or _INDENT)
    fix = f"{'→' if _can('→') else '->'} {one.fix}" if one.fix else ""
    for paragraph in (*one.found.splitlines(), fix):
        if not paragraph.strip():
            continue
        if not out.is_terminal:
            yield paragraph.strip()
            continue
        hanging = "  " if paragraph == fix else ""
        yield from textwrap.wrap(
            paragraph.strip(),
            width,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _wrapped(line: str, indent: str, style: str) -> None:
    lines = [line]
    if out.is_terminal:
        lines = textwrap.wrap(line, _columns(), break_long_words=False, break_on_hyphens=False)
    for each in lines:
        _say(f"{indent}{each}", style=style)


def _say(line: str, *, style: str, length: int | None = None) -> None:
    """Print a line, its first `length` characters (or all of it) in a style."""
    if not _can(line):
        line = line.encode(_encoding(), "replace").decode(_encoding())
    text = Text(line)
    if style:
        text.stylize(style, 0, length)
    out.print(text)


def _columns() -> int:
    return max(40, shutil.get_terminal_size().columns)


def _can(text: str) -> bool:
    """Whether standard output's encoding has all of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def _encoding() -> str:
    # not sys.stdout: while something shows that work goes on, that stands in its place
    return getattr(sys.__stdout__, "encoding", None) or "ascii"


@contextmanager
def _working() -> Iterator[None]:
    """On a terminal, show that something goes on: a letter takes some seconds."""
    if not out.is_terminal:
        yield
        return
    with out.status("looking", spinner="line"):  # of plain characters
        yield
