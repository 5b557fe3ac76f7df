"""What an archive was found to hold, against what the ledger says it should."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.audit import Condition, Finding, Kind
from pipeline.display.console import counted, out

_SHOWN = 20  # files that the ledger does not name, before the rest is only counted

_KINDS = {
    Kind.LETTER: ("letter (PDF)", "letters (PDF)"),
    Kind.MESSAGE: ("message (.eml)", "messages (.eml)"),
    Kind.TEMPLATE: ("template", "templates"),
}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found: how many of each kind in which condition, and what is not sound."""

    counts: Mapping[Kind, Counter[Condition]] = field(
        default_factory=lambda: {kind: Counter() for kind in Kind}
    )
    problems: list[Finding] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def take(self, findings: Iterable[Finding]) -> None:
        """Count them all, and keep what is not sound."""
        for one in findings:
            self.counts[one.kind][one.condition] += 1
            if one.needs_a_person:
                self.problems.append(one)
            elif one.condition is Condition.NOT_NAMED:
                self.unnamed.append(one.place)


def as_facts(tally: Tally, year: int | None, archive: str) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "year": year,
        "archive": archive,
        "counts": {
            kind.value: {
                condition.value: tally.counts[kind][condition]
                for condition in Condition
                if condition is not Condition.NOT_NAMED
            }
            for kind in _KINDS
        },
        "problems": [asdict(one) for one in tally.problems],
        "unnamed": tally.unnamed,
    }


def print_audit(tally: Tally, year: int | None, archive: str) -> None:
    """How many files are sound, each that is not with what to do, and what is left over."""
    whole = "all years" if year is None else str(year)
    out.print(f"The archive {archive} against the ledger, {whole}", markup=False, style="bold")
    width = max(len(f"{tally.counts[kind].total():,}") for kind in _KINDS)
    for kind, (one_name, many) in _KINDS.items():
        total, sound = tally.counts[kind].total(), tally.counts[kind][Condition.SOUND]
        if total:
            name = one_name if total == 1 else many
            well = "whole and unaltered" if sound == total else f"{sound:,} whole and unaltered"
            out.print(f"  {total:>{width},}  {name}, {well}", markup=False)
    out.print()
    for one in tally.problems:
        _print_problem(one)
    if tally.problems:
        files = counted(len(tally.problems), "file needs", "files need")
        out.print(
            f"{files} a person. Put the very file back from a backup, then verify again. Nothing "
            "that was frozen is ever made anew: what was sent must stay what was sent.",
            style="bold red",
        )
    elif any(tally.counts[kind].total() for kind in _KINDS):
        out.print("Every file that the ledger names is there and has its hash.", style="green")
    else:
        out.print("The ledger names no files yet.")
    _print_unnamed(tally.unnamed)


def _print_problem(one: Finding) -> None:
    whose = "" if one.authority is None else f" to {one.authority} {one.authority_name}"
    out.print(
        f"{one.condition.value.capitalize()}: {one.kind.value} of {one.year}{whose}",
        markup=False,
        style="bold",
    )
    out.print(f"  {one.said}", markup=False)
    if one.carrier is not None:
        out.print(
            f"  The same PDF, byte for byte, is attached to {one.carrier}: it can be saved from "
            "there, if no backup has it.",
            markup=False,
        )
    if one.kind is Kind.TEMPLATE:
        out.print(
            f"  It is the Word template that the run was opened with, SHA-256 {one.sha256}; if "
            "the file it was taken from has not been edited since, a copy of that will do.",
            markup=False,
        )
    out.print()


def _print_unnamed(unnamed: list[str]) -> None:
    if not unnamed:
        return
    out.print()
    files = counted(len(unnamed), "file", "files")
    out.print(
        f"The ledger does not name {files}. What a killed run leaves behind is harmless; nothing "
        "is deleted here.",
        style="yellow",
    )
    for place in unnamed[:_SHOWN]:
        out.print(f"  {place}", markup=False)
    if len(unnamed) > _SHOWN:
        out.print(f"  and {len(unnamed) - _SHOWN:,} more; --json lists them all")
