"""The proof pack, for reading; and its rows for a spreadsheet."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.display.console import counted, out, say
from pipeline.proofpack import Pack, Row

COLUMNS = (
    "number",
    "authority",
    "name",
    "kind",
    "revision",
    "recipient",
    "address",
    "roles",
    "copied",
    "subject",
    "pages",
    "marks",
    "file",
    "page",
    "pdf",
    "pdf_sha256",
    "digest",
)
"""The columns of the rows: who gets what, and where it stands in the proof."""


def row(one: Row) -> dict[str, Any]:
    """One recipient as the rows have it."""
    return {**asdict(one), "copied": "copy" if one.copied else ""}


def facts(year: int, pack: Pack, sheet: Path) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "year": year,
        **{
            name: getattr(pack, name)
            for name in (
                "digest", "letters", "pages", "marked",
                "withheld", "faults", "blocking", "advisory",
            )
        },
        "files": [str(one) for one in pack.files],
        "rows": str(sheet),
    }  # fmt: skip


def print_pack(year: int, pack: Pack, sheet: Path, *, people: int) -> None:
    """What was made, what to look at, and what comes next."""
    say(out, f"Proof of the letters of {year}", style="bold")
    say(out, f"{counted(pack.letters, 'letter')}, {pack.pages:,} pages, with the cover", indent=2)
    if pack.marked:
        say(
            out,
            f"{counted(pack.marked, 'letter')} to look at first, with a red bar",
            indent=2,
            style="yellow",
        )
    for count, told in (
        (pack.withheld, "withheld, and not in it"),
        (pack.faults, "that cannot be made, and not in it"),
    ):
        if count:
            say(out, f"{counted(count, 'letter')} {told}", indent=2, style="yellow")
    if pack.blocking or pack.advisory:
        say(
            out,
            f"Checks: {pack.blocking:,} blocking, {pack.advisory:,} advisory; they stand on the "
            f"cover, and letters check {year} says them too",
            indent=2,
            style="bold red" if pack.blocking else "yellow",
        )
    out.print()
    for file in pack.files:
        out.print(str(file), markup=False, soft_wrap=True)
    out.print(str(sheet), markup=False, soft_wrap=True)
    out.print()
    say(out, f"Digest {pack.digest}")
    if people:
        say(
            out,
            "When you have looked at them: "
            f"letters approve {year} --digest {pack.digest[:12]} --by NAME",
        )
    else:
        say(out, "Nobody is asked to approve: approval.people is 0 in the settings.")
