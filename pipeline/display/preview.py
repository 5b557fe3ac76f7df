"""Letters made to look at a template, and what two templates say otherwise."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from rich.text import Text

from pipeline.comparing import Change, Compared
from pipeline.display.console import counted, out, say
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.preview import Specimen

_SHOWN = 40  # changes, before the rest is only counted
_NAMED = 6  # letters of one change


def print_specimen(
    place: Path, one: Specimen, result: Prepared | Faulted, failed: str | None
) -> None:
    """One letter: why it was chosen, and its file or why it has none, or only a `failed` one."""
    invented = ", invented" if one.invented else ""
    say(out, f"{one.letter.authority_name} ({one.letter.authority_code}{invented})", style="bold")
    say(out, one.why, indent=2)
    match result:
        case Prepared():
            say(out, f"{place / result.pdf}, {counted(result.pages, 'page')}", indent=2)
        case Faulted():
            told = "It fails its proof" if failed else "It cannot be made"
            say(out, f"{told}: {result.reason}", indent=2, style="bold red")
            if failed:
                say(out, f"Its pages all the same: {place / failed}", indent=2)


def specimen_facts(one: Specimen, result: Prepared | Faulted, failed: str | None) -> dict[str, Any]:
    """The same for scripts."""
    made = result if isinstance(result, Prepared) else None
    return {
        "authority": one.letter.authority_code,
        "name": one.letter.authority_name,
        "why": one.why,
        "invented": one.invented,
        "pdf": made and made.pdf,
        "pages": made and made.pages,
        "fault": result.reason if isinstance(result, Faulted) else None,
        "failed": failed,
    }


def print_compared(year: int, found: Compared, files: Sequence[Path]) -> None:
    """Each change once, with the letters that show it."""
    if not found.changes:
        say(out, f"All {found.letters:,} letters of {year} say the same.", style="green")
    for one in found.changes[:_SHOWN]:
        codes = ", ".join(one.letters[:_NAMED]) + (", ..." if len(one.letters) > _NAMED else "")
        every = "all " if len(one.letters) == found.letters else ""
        say(out, f"In {every}{counted(len(one.letters), 'letter')} ({codes}):", style="bold")
        say(out, _words(one), indent=2)
    if len(found.changes) > _SHOWN:
        say(out, f"and {len(found.changes) - _SHOWN:,} more changes; --json lists them all")
    for file in files:
        out.print(str(file), markup=False, soft_wrap=True)


def compared_facts(year: int, found: Compared, files: Sequence[Path]) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "year": year,
        "letters": found.letters,
        "changes": [
            {"before": one.before, "after": one.after, "letters": list(one.letters)}
            for one in found.changes
        ],
        "files": [str(one) for one in files],
    }


def _words(change: Change) -> Text:
    """A paragraph with what was taken out and put in, as [-out-] and {+in+}."""
    before, after = change.before.split(" "), change.after.split(" ")
    if not change.before or not change.after:
        before, after = (
            [change.before] if change.before else [],
            [change.after][: bool(change.after)],
        )
    told = Text()
    for tag, a, b, c, d in SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if tag == "equal":
            told.append(" ".join(before[a:b]) + " ")
            continue
        if a < b:
            told.append(f"[-{' '.join(before[a:b])}-]", style="red").append(" ")
        if c < d:
            told.append(f"{{+{' '.join(after[c:d])}+}}", style="green").append(" ")
    told.rstrip()
    return told
