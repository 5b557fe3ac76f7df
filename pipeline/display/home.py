"""What is known of a ledger that may be a copy, and what came of confirming it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import home
from pipeline.database import Database
from pipeline.display.console import err, out, say
from pipeline.highwater import MarkFile
from pipeline.home import Home, moment


def print_home(
    db: Database,
    file: MarkFile,
    found: Home,
    to_hold: Sequence[int] | None,
    *,
    paused: Sequence[int],
) -> None:
    """The ledger, its mark and what is the matter; on standard error, as a question follows.

    `to_hold`: the years that would be paused; None if none is to be. `paused`: those that are.
    """
    say(err, f"Ledger   {db}, named {found.ledger[:8]}")
    newest = "nothing recorded yet"
    if found.newest is not None:
        newest = f"entry {found.newest.event}, {moment(found.newest.at)}"
    say(err, f"Newest   {newest}")
    say(err, f"Mark     {file}: {_marked(found)}")
    err.print()
    if found.may_send:
        say(err, f"{home.sentence(db, file, found)} Nothing is known to be missing.")
    else:
        say(err, f"{home.sentence(db, file, found)}.", style="bold yellow")
    if to_hold is None:
        say(
            err,
            "No year is paused by this (--no-hold): what is queued goes with the next letters "
            "send, or by the schedule, at once.",
        )
    else:
        years = ", ".join(map(str, to_hold)) or "none at this moment"
        say(
            err,
            "Years of which anything might still go out are paused first, as what went out since "
            f"looks unsent here: {years}. A year that is opened within {home.HOLDS_FOR.days} days "
            "is paused, too.",
        )
    if paused:
        say(err, f"{_already(paused)}.")
    err.print()


def print_confirmed(
    db: Database, file: MarkFile, paused: Sequence[int], *, before: Sequence[int], held: bool
) -> None:
    """What confirming has done, and what comes next; `before`: what was paused already."""
    say(out, f"The ledger {db} is confirmed; its mark is {file}.", style="bold")
    if paused:
        say(out, f"Paused: {', '.join(map(str, paused))}. Nothing of that is sent yet.")
        year = paused[0]
        say(
            out,
            "For each: find out what has gone (the relay's log, the archive's messages, the "
            "recipients), and withhold that: letters cancel AUTHORITY --year YEAR --reason TEXT",
        )
        say(out, f"Then let it go on: letters resume {year}")
    elif held:
        say(out, "There was nothing more to pause." if before else "There was nothing to pause.")
    else:
        say(out, "Nothing was paused (--no-hold): what is queued may go from now on.")
    if before:
        say(out, f"{_already(before)}, until somebody says: letters resume YEAR")


def facts(db: Database, file: MarkFile, found: Home) -> Mapping[str, Any]:
    """What `print_home` says, for scripts."""
    mark = found.mark
    return {
        "database": str(db),
        "ledger": found.ledger,
        "found": found.standing.value,
        "newest": None
        if found.newest is None
        else {"event": found.newest.event, "at": found.newest.at.isoformat()},
        "known_until": None if found.known_until is None else found.known_until.isoformat(),
        "mark": {
            "file": str(file),
            "ledger": None if mark is None else mark.ledger,
            "event": None if mark is None else mark.event,
            "at": None if mark is None else mark.at.isoformat(),
        },
    }


def _already(years: Sequence[int]) -> str:
    return f"Paused already, and stays so: {', '.join(map(str, years))}"


def _marked(found: Home) -> str:
    if found.found is None:
        return "there is none"
    mark = found.mark
    if mark is None:
        return "it is damaged"
    of = "this ledger" if mark.ledger == found.ledger else f"another ledger, {mark.ledger[:8]}"
    where = f" on {found.found.host}" if found.found.host else ""
    return f"of {of}, entry {mark.event}, {moment(mark.at)}{where}"
