"""What forgetting old years would concern, and what was forgotten."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.display.console import counted, out, row, say
from pipeline.forgetting import Forgotten, Look

_SHOWN = 20  # files that are left, before the rest is only counted


def print_look(found: Look, *, going: bool) -> None:
    """How much of what there is and what stays; unless somebody is `going` on, how to do that."""
    extent = found.extent
    before = extent.before
    if extent.interrupted:
        say(out, _interrupted(extent.pending), style="bold yellow")
    if found.is_empty:
        if not extent.interrupted and not going:
            say(out, f"Nobody of before {before} is on record who could be forgotten.")
            say(out, f"To look once more for files of theirs: {_command(before)}")
        return
    years = list(extent.letters)
    of = f"the letters of {listed(years)}" if years else f"what there is of before {before}"
    say(out, f"To be forgotten: {of}", style="bold")
    _table(
        (
            sum(extent.letters.values()),
            "letter: all of it but the figures",
            "letters: all of them but the figures",
        ),
        (extent.addresses, "address that they went to", "addresses that they went to"),
        (extent.files, "file of the archive", "files of the archive"),
        (extent.mails, "returned mail", "returned mails"),
        (found.captured, "captured mail", "captured mails"),
        (
            extent.officers or 0,
            f"officer who left before {before}",
            f"officers who left before {before}",
        ),
        (extent.remarks or 0, "remark", "remarks"),
    )
    if extent.officers is None:
        say(
            out,
            "The statistics are in another database (source.url): whoever keeps that sees to its "
            "officers and remarks.",
        )
    out.print()
    say(
        out,
        "What stays: which authority had a letter, its figures and hashes, what became of each "
        "delivery and when, and who approved it. The rest cannot be had back.",
    )
    if not going:
        say(out, f"To forget it: {_command(before)}", style="bold yellow")


def print_forgotten(before: int, done: Forgotten) -> None:
    """What was forgotten, and what a person has to see to."""
    nothing = not (
        done.letters or done.files or done.captured or done.mails or done.officers or done.remarks
    )
    if nothing:
        say(out, f"Nothing was left to forget of before {before}.", style="green")
    else:
        of = f" the letters of {listed(done.years)}" if done.years else f" before {before}"
        say(out, f"Forgotten:{of}", style="bold green")
        _table(
            (done.letters, "letter", "letters"),
            (done.files, "file removed from the archive", "files removed from the archive"),
            (done.mails, "returned mail", "returned mails"),
            (done.captured, "captured mail removed", "captured mails removed"),
            (done.officers, "officer", "officers"),
            (done.remarks, "remark", "remarks"),
        )
    if done.versions:
        say(
            out,
            "The archive's bucket keeps older versions, so what was removed is still there: let a "
            "rule of the bucket expire versions that are not current.",
            style="bold yellow",
        )
    if done.left:
        files = counted(len(done.left), "file lies", "files lie")
        say(
            out,
            f"{files} in the archive of these years that this ledger does not know of. Names may "
            "be in them; look whose they are, and remove them by hand:",
            style="bold yellow",
        )
        for place in done.left[:_SHOWN]:
            say(out, place, indent=2)
        if len(done.left) > _SHOWN:
            say(out, f"and {len(done.left) - _SHOWN:,} more; --json lists them all", indent=2)
    if not nothing:
        say(
            out,
            "Backups, copies and exports made before still have them: docs/operating.md, Personal "
            "data.",
        )


def look_facts(found: Look) -> dict[str, Any]:
    """The same for scripts."""
    extent = found.extent
    return {
        "before": extent.before,
        "forgotten": False,
        "years": list(extent.letters),
        "letters": sum(extent.letters.values()),
        "addresses": extent.addresses,
        "files": extent.files,
        "returned_mails": extent.mails,
        "captured_mails": found.captured,
        "officers": extent.officers,
        "remarks": extent.remarks,
        "interrupted": extent.interrupted,
        "pending": extent.pending,
    }


def forgotten_facts(before: int, done: Forgotten) -> dict[str, Any]:
    """The same for scripts."""
    facts = asdict(done)
    return {
        "before": before,
        "forgotten": True,
        "years": list(done.years),
        "letters": facts["letters"],
        "files": facts["files"],
        "returned_mails": facts["mails"],
        "captured_mails": facts["captured"],
        "officers": facts["officers"],
        "remarks": facts["remarks"],
        "left": list(done.left),
        "older_versions_kept": facts["versions"],
    }


def listed(years: Sequence[int]) -> str:
    """2011, 2012 and 2013."""
    *most, last = map(str, years)
    return f"{', '.join(most)} and {last}" if most else last


def _command(before: int) -> str:
    return f"letters forget --before {before} --by NAME"


def _interrupted(pending: int) -> str:
    of = f" of {counted(pending, 'letter')}" if pending else ""
    return (
        f"An earlier call did not come to its end: names{of} or files may be left. This one goes "
        "on with it."
    )


def _table(*lines: tuple[int, str, str]) -> None:
    width = max(len(f"{count:,}") for count, _, _ in lines)
    for count, one, many in lines:
        if count:
            row(out, f"{count:>{width},}", one if count == 1 else many, width=width)
