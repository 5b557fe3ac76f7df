"""What is wrong with a template, and which versions of it are kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from pipeline.display.console import counted, out, row, say
from pipeline.display.words import moment
from pipeline.ledger.templates import Pinned
from pipeline.template.faults import Fault, Looked
from pipeline.template.survey import Where

_WIDTH = len("100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A run's template: `kept` if the archive has it, `current` if it is what is in use now.

    `saved` is the file that it was written to, if it was asked for.
    """

    pinned: Pinned
    kept: bool
    current: bool
    saved: Path | None = None


def print_faults(place: Path, found: Looked) -> None:
    """Every fault in the order of the document, with its place and fix; and one last line."""
    say(out, str(place), style="bold")
    blocking = sum(one.blocking for one in found.faults)
    advisory = len(found.faults) - blocking
    said: dict[str, int] = {}
    for number, one in enumerate(found.faults, start=1):
        _print_fault(number, one, said)
    if found.unused:
        say(out, f"Fields that it does not use: {', '.join(found.unused)}.", indent=2)
    also = f" {counted(advisory, 'more thing')} to look at." if advisory else ""
    if blocking:
        things = counted(blocking, "thing")
        say(out, f"No letter can go out with it: {things} to mend first.{also}", style="bold red")
    elif advisory:
        also = also.replace("more ", "")
        say(out, f"Letters can be made with it.{also}", style="yellow")
    else:
        say(out, "Letters can be made with it, and there is nothing to mend.", style="green")


def _print_fault(number: int, one: Fault, said: dict[str, int]) -> None:
    """A fault; how to mend it is said once, however many of its kind there are."""
    line = Text("blocking: ", style="bold red") if one.blocking else Text("advisory: ", "yellow")
    line.append(one.what, style="not bold default")
    row(out, f"{number:>{_WIDTH}}", line, width=_WIDTH)
    row(out, "", where(one.where), width=_WIDTH, style="cyan")
    if one.mend:
        before = said.setdefault(one.mend, number)
        mend = one.mend if before == number else f"as in {before}."
        there = "To do" if one.where.part == "message" else "In Word"
        row(out, "", f"{there}: {_lower(mend)}", width=_WIDTH)


def where(place: Where) -> str:
    """A place in one line: the page where it is known, heading, paragraph, the words around."""
    steps = []
    if place.part == "text box":
        steps.append("a text box")
    elif place.part != "body" or place.page is None:
        steps.append(place.name or "the file")
    if place.page is not None:
        steps.append(f"page {place.page}")
    if place.heading:
        steps.append(f"under “{place.heading}”")
    if place.below is not None or (place.paragraph is not None and place.part == "text box"):
        count = place.paragraph if place.part == "text box" else place.below
        steps.append(f"{ordinal(count or 1)} paragraph")
    elif place.paragraph is not None:
        steps.append("the heading")
    said = ", ".join(steps)
    words = f": “{place.words}”" if place.words else ""
    if place.part != "message":  # which begins with a file's name
        said = f"{said[:1].upper()}{said[1:]}"
    return f"{said}{words}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if number % 100 in {11, 12, 13} else ends.get(number % 10, "th")
    return f"{number}{end}"


def _lower(sentence: str) -> str:
    """As the second half of a sentence, unless it begins with a name: a tab or menu of Word's."""
    first = sentence.split(" > ", maxsplit=1)[0]
    return sentence if " " not in first else f"{sentence[:1].lower()}{sentence[1:]}"


def fault_facts(place: Path, sha256: str, found: Looked) -> dict[str, Any]:
    """The same for scripts."""
    blocking = sum(one.blocking for one in found.faults)
    return {
        "file": str(place),
        "sha256": sha256,
        "usable": not found.is_blocked,
        "blocking": blocking,
        "advisory": len(found.faults) - blocking,
        "faults": [_facts(one) for one in found.faults],
        "unused": list(found.unused),
    }


def _facts(one: Fault) -> dict[str, Any]:
    place = {
        name: value
        for name, value in asdict(one.where).items()
        if name not in {"order", "repeated"}
    }
    return {
        "kind": one.kind.value,
        "blocking": one.blocking,
        "what": one.what,
        "in_word": one.mend,
        "where": where(one.where),
        **place,
    }


def print_versions(found: Sequence[Version]) -> None:
    """A few lines for each run, the newest first."""
    if not found:
        say(out, "No run is on record, so no template is pinned.")
    for one in found:
        pinned = one.pinned
        opened = f"opened {moment(pinned.opened_at)} by {pinned.opened_by}"
        if pinned.cancelled_at is not None:
            opened += f", cancelled {moment(pinned.cancelled_at)}"
        row(out, str(pinned.year), Text(pinned.sha256, style="bold"), width=4, indent=0)
        row(out, "", f"{opened}; {counted(pinned.letters, 'letter')} made", width=4, indent=0)
        kept = "kept in the archive" if one.kept else "not in the archive any more"
        now = "the same as the one in use now" if one.current else "another one is in use now"
        row(
            out,
            "",
            f"{kept}; {now}",
            width=4,
            indent=0,
            style="" if one.kept else "bold red",
        )
        if one.saved is not None:
            row(out, "", f"written to {one.saved}", width=4, indent=0)


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
        "saved": one.saved and str(one.saved),
    }
