"""What a refresh changes."""

from typing import Any

from pipeline.display.console import counted, out
from pipeline.ledger.renewal import Change, Difference, Renewal

_SHOWN = 20  # letters told one by one, before the rest is only counted
_WIDTH = 60  # of a value, before it is cut

NAMES = {
    "upheld": "complaints upheld",
    "compliance": "compliance",
    "remedy": "satisfactory remedies",
    "part": "number",
    "whole": "out of",
    "percent": "rate in %",
    "average": "average of similar authorities in %",
    "averages": "averages in %",
}
"""What parts of a difference are called."""

_WORDS = {"new": "gets a letter now", "gone": "gets no letter any more"}


def print_renewal(year: int, renewed: Renewal, *, dry_run: bool) -> None:
    """What changes for all letters alike, what for each, and what to do next."""
    if renewed.is_empty:
        out.print(f"Nothing has changed; the run of {year} stays as it is.", style="green")
        return
    if renewed.shared:
        out.print("For all letters alike:", style="bold")
        for one in renewed.shared:
            print_difference(one)
    for change in renewed.changes[:_SHOWN]:
        _print_change(change)
    if len(renewed.changes) > _SHOWN:
        out.print(f"and {len(renewed.changes) - _SHOWN:,} more letters; --json lists them all")
    out.print()
    if dry_run:
        out.print(f"Nothing was changed. To take this in: letters refresh {year}", style="yellow")
        return
    kept = counted(renewed.kept, "letter is unchanged and kept", "letters are unchanged and kept")
    out.print(f"Taken in; {kept}. To make the others: letters prepare {year}", style="bold")


def _print_change(change: Change) -> None:
    told = f" {_WORDS[change.change]}" if change.change in _WORDS else ""
    out.print(f"{change.authority} {change.name}{told}", markup=False, style="bold")
    for one in change.differences:
        print_difference(one)


def print_difference(one: Difference) -> None:
    """What one value was and is."""
    what = ", ".join(NAMES.get(part, part.replace("_", " ")) for part in one.what.split("."))
    out.print(f"  {what}: {_value(one.before)} becomes {_value(one.after)}", markup=False)


def _value(value: Any) -> str:
    match value:
        case None | "" | []:
            return "none"
        case list():
            text = "; ".join(map(str, value))
        case _:
            text = str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
