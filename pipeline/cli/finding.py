"""From what a person typed to the run and the letter that are meant."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
import typer

from pipeline import run, schema, source
from pipeline.cli import asking
from pipeline.display.console import err
from pipeline.errors import LettersError, Refused
from pipeline.ledger import hindrances, runs, story
from pipeline.ledger.runs import Run
from pipeline.register import Entry, look_up

_LISTED = 10  # authorities that are named before the rest is only counted
_TRIES = 2  # answers to one question; whoever gives none that fits does not see what is asked


def at_terminal() -> bool:
    """Whether somebody is there to be asked, who sees the question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def run_of(pipeline: run.Pipeline, year: int | None, *, ask: bool = True) -> Run:
    """The year's live run; without a year, the only one there is, or the one a person chooses.

    With `ask`, somebody at a terminal is asked which. Raises Refused, naming the years on record.
    """
    known = runs.years(pipeline.ledger)
    if year is None:
        if not known:
            raise Refused("No letters are on record; make a year's first: letters prepare YEAR")
        year = known[0] if len(known) == 1 else _year(known, ask=ask)
    found = runs.find_run(pipeline.ledger, year)
    if found is None:
        raise Refused(no_letters_of(pipeline, year, known))
    return found


def no_letters_of(pipeline: run.Pipeline, year: int, known: Sequence[int]) -> str:
    """That there are no letters of a year, why if they were cancelled, and how to make them.

    `known` are the years that there are letters of. A command is named only if the statistics have
    the year: a mistyped one must not be answered with a way to make it.
    """
    listed = " and ".join(filter(None, [", ".join(map(str, known[:-1])), *map(str, known[-1:])]))
    cancelled = hindrances.cancelled(pipeline.ledger, year)
    if cancelled is not None:
        said = f"{cancelled} There are letters of {listed}." if listed else cancelled
    elif listed:
        said = f"There are no letters of {year} on record; there are of {listed}."
    else:
        said = f"There are no letters of {year} on record, nor of any other year."
    # The statistics may be in another database, which may be away: that is no reason to fail here.
    with contextlib.suppress(LettersError, sa.exc.SQLAlchemyError):
        if any(one.year == year for one in source.calendar(pipeline.statistics).editions):
            anew = " anew" if cancelled else ""
            said += f" To make them{anew}: letters prepare {year}"
    return said


def agreed(question: str) -> bool:
    """Whether somebody at the terminal says yes; Return is a no, and so is nonsense given twice."""
    for _ in range(_TRIES):
        said = asking.answer(f"{question} [y/N]").casefold()
        if said in {"y", "yes"}:
            return True
        if said in {"", "n", "no"}:
            return False
        err.print("Type y for yes, or n for no.")
    return False


def _year(known: Sequence[int], *, ask: bool) -> int:
    listed = ", ".join(map(str, known))
    if not (ask and at_terminal()):
        raise Refused(f"Which year? Name it with --year (on record: {listed}).")
    for _ in range(_TRIES):
        answer = asking.answer(f"Which year ({listed})?", default=str(known[-1]))
        if answer.strip() in map(str, known):
            return int(answer)
        err.print(f"There are letters of {listed}.", markup=False)
    raise Refused(f"No year was chosen; name it with --year (on record: {listed}).")


def letter_of(pipeline: run.Pipeline, found: Run, authority: str, *, ask: bool = True) -> Any:
    """The letter of the run that is meant by a code, a name or a part of one, as its row.

    With `ask`, somebody at a terminal may choose among several. Raises Refused, with what was
    found or what is near.
    """
    names = story.near_names(pipeline.ledger, found)
    entries = [Entry(code=code, name=name) for code, name in names.items()]
    match = look_up(authority, entries)
    other = None
    # What may be a whole name may be that of an authority which has no letter in this run.
    if not match.entries or (not match.exact and " " in authority.strip()):
        other = _other(pipeline, found, authority, names, exact=bool(match.entries))
    if other is not None:
        code = _choice(other.said, other.instead, "These are related to it and have one", ask=ask)
    elif len(match.entries) == 1:
        code = match.entries[0].code
    elif match.entries:
        said = f"{authority.strip()} may mean several authorities of the {found.year} run."
        code = _choice(said, match.entries, "Name one by its code", ask=ask)
    else:
        said = "Name an authority: its code, its name or a part of it."
        if authority.strip():
            said = f"The {found.year} run has no letter for {authority.strip()}."
        if authority.strip() and not match.near:
            said += (
                " Give a part of its name, or its code; "
                f"letters status {found.year} --json lists them all."
            )
        code = _choice(said, match.near, "Did you mean", ask=ask)
    return story.find_letter(pipeline.ledger, found, code)


def _choice(said: str, entries: Sequence[Entry], lead: str, *, ask: bool) -> str:
    """The code that a person chooses of those listed; raises Refused where nobody can be asked."""
    shown = entries[:_LISTED]
    more = len(entries) - len(shown)
    if not entries or more or not (ask and at_terminal()):
        lines = [f"  {one}" for one in shown] + ([f"  and {more} more"] if more else [])
        raise Refused("\n".join([f"{said} {lead}:", *lines] if lines else [said]))
    err.print(said, markup=False)
    if len(shown) == 1:
        if agreed(f"Did you mean {shown[0].name} ({shown[0].code})?"):
            return shown[0].code
        raise typer.Abort
    for number, one in enumerate(shown, start=1):
        err.print(f"  {number:>2}  {one}", markup=False)
    for _ in range(_TRIES):
        question = f"Which one (1 to {len(shown)}; Return for none)"
        answer = asking.answer(question)
        if not answer:
            raise typer.Abort
        if answer.isdecimal() and 1 <= int(answer) <= len(shown):
            return shown[int(answer) - 1].code
        err.print("Type the number that stands before it.")
    raise Refused("No authority was chosen; name it by its code.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other:
    """An authority without a letter in this run: what to say of it, and who may be meant."""

    said: str
    instead: Sequence[Entry]


def _other(
    pipeline: run.Pipeline, found: Run, authority: str, names: dict[str, str], *, exact: bool
) -> _Other | None:
    """The authority that is meant, if it is known but has no letter in the run.

    The register may be in another database, which may be away: that is no reason to fail here.
    """
    a = schema.authorities
    rows: dict[str, Any] = {}
    columns = (a.c.code, a.c.name, a.c.active_from, a.c.active_to, a.c.successor_code)
    away = contextlib.suppress(LettersError, sa.exc.SQLAlchemyError)
    with away, pipeline.statistics.read() as connection:
        rows = {row.code: row for row in connection.execute(sa.select(*columns))}
    known = {code: row.name for code, row in rows.items()}
    years: dict[str, list[int]] = {}
    for year in runs.years(pipeline.ledger):
        one = runs.find_run(pipeline.ledger, year)
        for code, name in (story.near_names(pipeline.ledger, one) if one else {}).items():
            known.setdefault(code, name)
            years.setdefault(code, []).append(year)
    match = look_up(
        authority,
        [Entry(code=code, name=name) for code, name in known.items() if code not in names],
    )
    if len(match.entries) != 1 or (exact and not match.exact):
        return None
    [entry] = match.entries
    row = rows.get(entry.code)
    said = [f"{entry.name} ({entry.code}) is on record, but has no letter in the {found.year} run."]
    if row is not None and row.active_from:
        said.append(f"It exists from {_day(row.active_from)}.")
    if row is not None and row.active_to:
        said.append(f"It existed until {_day(row.active_to)}.")
    if entry.code in years:
        listed = " and ".join(map(str, years[entry.code]))
        said.append(f"Its letter of {listed} is on record: name that year with --year.")
    successor = row.successor_code if row is not None else None
    near = [code for code, one in rows.items() if one.successor_code == entry.code]
    instead = [
        Entry(code=code, name=names[code])
        for code in [*([successor] if successor else []), *near]
        if code in names
    ]
    return _Other(said=" ".join(said), instead=instead)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
