"""What came of making a year's letters again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.archive import Archive
from pipeline.display.console import out, say
from pipeline.remaking import Outcome, Remade

_SHOWN = 20
_WORDS = {
    Outcome.SAME: ("the same, byte for byte", ""),
    Outcome.SAME_WORDS: ("the same words, in another file", ""),
    Outcome.OTHER_WORDS: ("other words", "bold red"),
    Outcome.NOT_MADE: ("could not be made", "bold red"),
    Outcome.NOT_COMPARED: ("made, and nothing to compare with", "bold red"),
}


@dataclass(slots=True)
class Tally:
    """How many came out how; `kept` are those that somebody has to look at, or all."""

    kept: list[Remade] = field(default_factory=list)
    _counts: Counter[Outcome] = field(default_factory=Counter)

    def take(self, one: Remade, *, keep: bool) -> None:
        """One more; with `keep` it is kept even if it is well."""
        self._counts[one.outcome] += 1
        if keep or one.needs_a_person:
            self.kept.append(one)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of each outcome."""
        return {one.value: self._counts[one] for one in Outcome}

    @property
    def total(self) -> int:
        """How many letters there were."""
        return self._counts.total()

    @property
    def needs_a_person(self) -> bool:
        """Whether any does not say what the archived one says, or nobody can tell."""
        return any(one.needs_a_person for one in self.kept)


def print_remade(tally: Tally, year: int, folder: Path, archive: Archive) -> None:
    """The counts, each letter that came out otherwise, and where the new ones are."""
    say(out, f"The letters of {year}, made again from what was frozen", style="bold")
    out.print()
    if not tally.total:
        say(out, f"No letter of {year} has been made yet: letters prepare {year}", style="yellow")
        return
    width = max(len(f"{count:,}") for count in tally.counts.values())
    for outcome, (words, style) in _WORDS.items():
        if count := tally.counts[outcome.value]:
            say(out, f"{count:>{width},}  {words}", indent=2, style=style)
    out.print()
    trouble = sorted(
        (one for one in tally.kept if one.needs_a_person), key=lambda one: one.authority
    )
    for one in trouble[:_SHOWN]:
        _print_one(one, folder, archive)
    if len(trouble) > _SHOWN:
        say(out, f"and {len(trouble) - _SHOWN:,} more; --json has them all", indent=2)
    if tally.counts[Outcome.SAME_WORDS.value]:
        say(
            out,
            "Where the words are the same and the bytes are not, LibreOffice or the fonts are not "
            "those of that year.",
        )
    say(out, f"The new PDFs are in {folder / f'{year:04d}'}. Nothing on record was changed.")


def _print_one(one: Remade, folder: Path, archive: Archive) -> None:
    revision = f", revision {one.revision}" if one.revision > 1 else ""
    say(out, f"{one.name} ({one.authority}{revision}): {_WORDS[one.outcome][0]}", style="bold")
    if one.said:
        say(out, one.said, indent=2)
    if one.outcome is Outcome.OTHER_WORDS:
        say(out, f"it said: ... {one.before} ...", indent=2)
        say(out, f"says now: ... {one.after} ...", indent=2)
    if one.made is not None:
        say(out, f"archived: {archive.location(one.archived)}", indent=2)
        say(out, f"made now: {folder / one.made}", indent=2)
    out.print()
