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
    Kind.ENCLOSURE: ("enclosure (.xlsx)", "enclosures (.xlsx)"),
    Kind.TEMPLATE: ("template", "templates"),
    Kind.RETURNED: ("returned mail (.eml)", "returned mails (.eml)"),
}


_PAST = (Condition.FORGOTTEN, Condition.NOT_REMOVED)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found: how many of each kind in which condition, and what is not sound.

    Of what the ledger does not name, `strange` are the places of messages, which may record mail
    that this ledger does not know of, and `unnamed` those of all the rest.
    """

    counts: Mapping[Kind, Counter[Condition]] = field(
        default_factory=lambda: {kind: Counter() for kind in Kind}
    )
    problems: list[Finding] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    @property
    def names_any(self) -> bool:
        """Whether the ledger names any file at all, or did before it was forgotten."""
        return any(self.counts[kind].total() for kind in _KINDS)

    @property
    def foreign(self) -> list[str]:
        """Places of files that speak for another ledger: all of them if this one names none."""
        return self.strange if self.names_any else self.strange + self.unnamed

    @property
    def needs_a_person(self) -> bool:
        """Whether a file is not sound, or speaks for another ledger."""
        return bool(self.problems or self.foreign)

    def take(self, findings: Iterable[Finding]) -> None:
        """Count them all, and keep what is not sound."""
        for one in findings:
            self.counts[one.kind][one.condition] += 1
            if one.needs_a_person:
                self.problems.append(one)
            elif one.condition is Condition.NOT_NAMED:
                kept = self.strange if one.stranger else self.unnamed
                kept.append(one.place)


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
        "unknown": tally.foreign,
        "unnamed": tally.unnamed if tally.names_any else [],
    }


def print_audit(tally: Tally, year: int | None, archive: str) -> None:
    """How many files are sound, each that is not with what to do, and what is left over."""
    whole = "all years" if year is None else str(year)
    out.print(f"The archive {archive} against the ledger, {whole}", markup=False, style="bold")
    width = max(len(f"{tally.counts[kind].total():,}") for kind in _KINDS)
    for kind, (one_name, many) in _KINDS.items():
        counts = tally.counts[kind]
        sound, gone, left = (counts[one] for one in (Condition.SOUND, *_PAST))
        total = counts.total() - gone - left
        if total:
            name = one_name if total == 1 else many
            well = "whole and unaltered" if sound == total else f"{sound:,} whole and unaltered"
            out.print(f"  {total:>{width},}  {name}, {well}", markup=False)
        if gone:
            name = one_name if gone == 1 else many
            removed = f"; {left:,} not removed" if left else ""
            out.print(f"  {gone:>{width},}  {name}, forgotten{removed}", markup=False)
    out.print()
    for one in tally.problems:
        _print_problem(one)
    lost = [one for one in tally.problems if one.condition is not Condition.NOT_REMOVED]
    if lost:
        files = counted(len(lost), "file needs", "files need")
        out.print(
            f"{files} a person. Put the very file back from a backup, then verify again. Nothing "
            "that was frozen is ever made anew: what was sent must stay what was sent.",
            style="bold red",
        )
    elif tally.problems:
        files = counted(len(tally.problems), "file", "files")
        out.print(
            f"{files} should not be there any more. To remove what is left: call letters forget "
            "again; it goes on where it stopped.",
            style="bold red",
        )
    elif tally.names_any:
        some = any(tally.counts[kind][Condition.FORGOTTEN] for kind in _KINDS)
        which = " and has not forgotten" if some else ""
        out.print(
            f"Every file that the ledger names{which} is there and has its hash.", style="green"
        )
    else:
        out.print("The ledger names no files yet.")
    _print_foreign(tally)
    if tally.names_any:
        _print_unnamed(tally.unnamed)


def _print_problem(one: Finding) -> None:
    whose = "" if one.authority is None else f" to {one.authority} {one.authority_name}"
    of_year = "" if one.year is None else f" of {one.year}"
    out.print(
        f"{one.condition.value.capitalize()}: {one.kind.value}{of_year}{whose}",
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


def _print_foreign(tally: Tally) -> None:
    if not tally.foreign:
        return
    out.print()
    files = counted(len(tally.foreign), "file" if tally.strange != tally.foreign else "message")
    out.print(
        f"The archive holds {files} that this ledger does not know of. Is it an older copy of the "
        "ledger, or database.url another one? Do not send before that is clear: what they record "
        "may have been sent already.",
        style="bold red",
    )
    out.print(
        "Such a file can also be left behind by a run killed in the very moment of writing one "
        "down, or belong to one that is at work now; then it is harmless."
    )
    _print_places(tally.foreign)


def _print_unnamed(unnamed: list[str]) -> None:
    if not unnamed:
        return
    out.print()
    files = counted(len(unnamed), "file", "files")
    out.print(
        f"The ledger does not name {files}. What was left behind by a run that was killed or that "
        "ran beside another is harmless; nothing is deleted here.",
        style="yellow",
    )
    _print_places(unnamed)


def _print_places(places: list[str]) -> None:
    for place in places[:_SHOWN]:
        out.print(f"  {place}", markup=False)
    if len(places) > _SHOWN:
        out.print(f"  and {len(places) - _SHOWN:,} more; --json lists them all")
