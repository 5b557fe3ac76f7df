"""What is wrong with a template, and which versions of it are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.display.console import counted, out, say
from pipeline.display.words import moment
from pipeline.ledger.templates import Pinned
from pipeline.template.faults import Looked


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A run's template: `kept` if the archive has it, `current` if it is what is in use now."""

    pinned: Pinned
    kept: bool
    current: bool


def print_faults(place: Path, found: Looked) -> None:
    """Every fault with its place and fix, the blocking ones first; and one last line."""
    say(out, str(place), style="bold")
    for one in found.faults:
        kind = "blocking" if one.blocking else "advisory"
        style = "bold red" if one.blocking else "yellow"
        say(out, f"{kind}: {one.said}", indent=2, style=style)
    if found.unused:
        say(out, f"Fields that it does not use: {', '.join(found.unused)}.", indent=2)
    blocking = sum(one.blocking for one in found.faults)
    if blocking:
        things = counted(blocking, "thing")
        say(out, f"No letter can be made with it: {things} to mend.", style="bold red")
    else:
        say(out, "Letters can be made with it.", style="green")


def fault_facts(place: Path, found: Looked) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "file": str(place),
        "sha256": None if found.compiled is None else found.compiled.sha256,
        "usable": not found.is_blocked,
        "faults": [
            {"kind": "blocking" if one.blocking else "advisory", "said": one.said}
            for one in found.faults
        ],
        "unused": list(found.unused),
    }


def print_versions(found: Sequence[Version], saved: Path | None) -> None:
    """One line for each run, the newest first."""
    if not found:
        say(out, "No run is on record, so no template is pinned.")
    for one in found:
        pinned = one.pinned
        letters = counted(pinned.letters, "letter")
        said = f"{pinned.year}  {pinned.sha256[:12]}  {moment(pinned.opened_at)}, {letters}"
        if pinned.cancelled_at is not None:
            said += ", cancelled since"
        if one.current:
            said += ", the one in use"
        if not one.kept:
            said += ", not in the archive any more"
        say(out, said, style="" if one.kept else "bold red")
    if found and saved is not None:
        say(out, f"Written to {saved}")


def version_facts(one: Version) -> dict[str, Any]:
    """The same for scripts."""
    pinned = one.pinned
    return {
        "year": pinned.year,
        "run": pinned.run,
        "sha256": pinned.sha256,
        "opened_at": pinned.opened_at.isoformat(timespec="seconds"),
        "opened_by": pinned.opened_by,
        "cancelled_at": pinned.cancelled_at and pinned.cancelled_at.isoformat(timespec="seconds"),
        "letters": pinned.letters,
        "kept": one.kept,
        "current": one.current,
    }
