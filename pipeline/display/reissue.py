"""What a correction changes in one letter, and moves in others."""

from dataclasses import asdict
from typing import Any

from pipeline.display.console import counted, out, say
from pipeline.display.renewal import NAMES, print_difference
from pipeline.letter import long_date
from pipeline.reissuing import Correction

_SHOWN = 15  # lines, before the rest is only counted
_NAMED = 3  # letters with the same average


def print_correction(year: int, correction: Correction) -> None:
    """What the new revision would say, and what else a person should know."""
    old = correction.old
    say(
        out,
        f"{old.authority_name} ({old.authority_code}), letter of {year}: revision "
        f"{old.revision + 1}, dated {long_date(correction.dated)}",
        style="bold",
    )
    for one in correction.differences:
        print_difference(one)
    out.print()
    moved = correction.moved
    if moved:
        letters = len({one.authority for one in moved})
        say(
            out,
            f"Averages printed in {counted(letters, 'other letter')} would be others now; these "
            "letters are left as they are:",
            style="yellow",
        )
        alike: dict[tuple[str, int | None, int | None], list[str]] = {}
        for other in moved:
            key = (other.measure, other.before, other.after)
            alike.setdefault(key, []).append(f"{other.name} ({other.authority})")
        for (measure, before, after), some in list(alike.items())[:_SHOWN]:
            named = ", ".join(some[:_NAMED]) + (", ..." if len(some) > _NAMED else "")
            say(
                out,
                f"{NAMES.get(measure, measure)}: {_percent(before)} becomes {_percent(after)} in "
                f"{counted(len(some), 'letter')}: {named}",
                indent=2,
            )
        if len(alike) > _SHOWN or any(len(some) > _NAMED for some in alike.values()):
            say(out, "--json lists them all.", indent=2)
    else:
        say(out, "No other letter's average moves.")
    if correction.also:
        named = ", ".join(f"{name} ({code})" for code, name in correction.also[:_SHOWN])
        more = len(correction.also) - len(correction.also[:_SHOWN]) + correction.more
        say(
            out,
            f"Figures of their own have changed too, and are left as they are: {named}"
            + (f" and {more:,} more." if more else "."),
            style="yellow",
        )


def print_made(year: int, row: Any, wanted: int) -> None:
    """That it was made, or why not; and what comes next."""
    own = f"{row.authority_code} --year {year}"
    if row.fault is not None:
        say(out, f"Revision {row.revision} is on record, and cannot be made: {row.fault}")
        return
    say(
        out,
        f"Revision {row.revision} is made, proved and archived; nothing is sent. To look at it: "
        f"letters letter {own} --open",
        style="bold",
    )
    people = counted(wanted, "person", "people")
    say(out, f"{people} must approve it: letters approve {year} --authority {row.authority_code}")
    say(out, f"Then: letters send {year}")


def correction_facts(correction: Correction) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "authority": correction.old.authority_code,
        "name": correction.old.authority_name,
        "replaces_revision": correction.old.revision,
        "dated": correction.dated.isoformat(),
        "differences": [asdict(one) for one in correction.differences],
        "averages_moved": [asdict(one) for one in correction.moved],
        "changed_too": [code for code, _ in correction.also],
        "changed_too_more": correction.more,
    }


def _percent(value: int | None) -> str:
    return "none" if value is None else f"{value}%"
