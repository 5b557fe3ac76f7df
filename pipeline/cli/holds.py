"""The commands that hold back, let go again, and take corrections in."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pipeline import bootstrap, owner, run
from pipeline.cli import completion
from pipeline.cli.finding import agreed, letter_of, run_of
from pipeline.cli.options import AsJson, By, Config, Year, YearOption, person, settings_now
from pipeline.display.console import counted, err, out, print_json
from pipeline.display.progress import watching
from pipeline.display.renewal import print_renewal
from pipeline.errors import Refused
from pipeline.ledger import deliveries, holds
from pipeline.ledger.runs import Run

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept on record.")]
What = Annotated[
    str,
    typer.Argument(
        metavar="YEAR|AUTHORITY",
        autocompletion=completion.authorities,
        help="A year, such as 2020; or one authority, by its code, its name or a part of it.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def pause(
    year: Year,
    reason: Reason = "the stop button",
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Stop sending a year's letters: the stop button.

    Whoever is sending, on this machine or another, finishes the delivery in hand and stops before
    the next. Nothing is lost; letters resume YEAR lets it go on. Preparing is not stopped, as it
    sends nothing.
    """
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        found = run_of(pipeline, year)
        who = person(by)
        new = holds.pause(
            pipeline.ledger, found, because=_said(reason), person=who, now=datetime.now(UTC)
        )
    if as_json:
        print_json({"year": year, "paused": True, "new": new})
    elif new:
        out.print(f"The letters of {year} are paused; nothing more is sent.", style="bold")
        out.print(f"To let them go on: letters resume {year}")
    else:
        out.print(f"The letters of {year} were paused already; nothing is sent.", markup=False)


def resume(
    what: What,
    year: YearOption = None,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Let a paused year go on, or release a letter that was withheld.

    letters resume 2020 takes the pause away; letters resume stevenage --year 2020 releases one
    letter. Neither sends anything by itself: letters send YEAR does, or the schedule. Where
    approval is asked for, a letter that is released has to be approved, as what it had ended when
    it was withheld; the other letters keep theirs.
    """
    whole = _year_in(what, year)
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        found = run_of(pipeline, whole or year)
        if whole:
            new = holds.resume(pipeline.ledger, found, person=person(by), now=datetime.now(UTC))
            name = f"The letters of {found.year}"
            told = f"{name} {'may go on' if new else 'were not paused'}."
        else:
            letter = letter_of(pipeline, found, what)
            new = holds.release(
                pipeline.ledger,
                found,
                letter.id,
                pipeline.outbox.sender,
                person=person(by),
                now=datetime.now(UTC),
            )
            name = f"The letter to {letter.authority_name}"
            told = f"{name} {'is released' if new else 'was not withheld'}."
        wanted = run.approvals_wanted(pipeline, found)
    if as_json:
        print_json({"year": found.year, "what": what, "new": new, "awaiting_approvals": wanted})
    else:
        out.print(told, markup=False, style="bold")
        if new and wanted:
            people = counted(wanted, "more person", "more people")
            out.print(
                f"{people} must approve first (a letter that is withheld loses its approvals): "
                f"letters approve {found.year}"
            )
        elif new:
            out.print(f"To send: letters send {found.year}")


def cancel(
    what: What,
    reason: Reason,
    year: YearOption = None,
    unsent: Annotated[
        bool,
        typer.Option("--unsent", help="With a YEAR: withhold each letter that has not been sent."),
    ] = False,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Cancel a year's run, or withhold one letter.

    letters cancel 2020 --reason TEXT gives the run up, so that the year can be opened anew; it is
    refused once anything has gone to an authority. The schedule leaves it to a person to open it
    anew (letters prepare) and to say that it may go (letters approve or letters send).

    letters cancel 2020 --unsent withholds what has not gone. letters cancel stevenage --year 2020
    withholds one letter; letters resume releases it. What has been sent stays sent, and everything
    stays on record.
    """
    whole = _year_in(what, year)
    if unsent and not whole:
        raise Refused("--unsent is for a whole year: letters cancel YEAR --unsent --reason TEXT")
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        found = run_of(pipeline, whole or year)
        letter = None if whole else letter_of(pipeline, found, what)
        if not yes:
            _ask(_question(found, letter, unsent=unsent))
        # What a crash has left in nobody's hands is not being sent.
        deliveries.recover(pipeline.ledger, found.id, gone=owner.is_gone, now=datetime.now(UTC))
        ledger, because, who = pipeline.ledger, _said(reason), person(by)
        now = datetime.now(UTC)
        if letter is not None:
            done = holds.withhold(ledger, found, letter.id, because=because, person=who, now=now)
            told = f"The letter to {letter.authority_name} is withheld."
            if not done.letters:
                told = f"The letter to {letter.authority_name} was withheld already."
        elif unsent:
            done = holds.withhold_unsent(ledger, found, because=because, person=who, now=now)
            told = f"{counted(done.letters, 'letter')} of {found.year} withheld."
        else:
            cancelled = holds.cancel(ledger, found, because=because, person=who, now=now)
            done = holds.Withheld(letters=0, deliveries=cancelled)
            told = (
                f"The run of {found.year} is cancelled. "
                f"To open the year anew: letters prepare {found.year}. The schedule does not send "
                f"it by itself then; letters send {found.year} does."
            )
    if as_json:
        print_json({"year": found.year, "what": what, **asdict(done)})
        return
    out.print(told, markup=False, style="bold")
    if done.deliveries:
        queued = counted(done.deliveries, "delivery that was", "deliveries that were")
        out.print(f"{queued} waiting to be sent will not be.")


def refresh(
    year: Year,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Take corrections of the statistics into a year that is open.

    Pulls the year again with the template and settings of today and shows what changes, letter by
    letter. Possible until somebody has approved the letters or any has been sent (rehearsals do not
    count). Letters that do not change keep their files; letters prepare YEAR makes the others.
    """
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        found = run_of(pipeline, year)
        with watching(quiet=as_json) as watch:
            renewed = run.refresh(
                pipeline, found, person=person(by), keep=not dry_run, progress=watch
            )
    if as_json:
        print_json({"year": year, "kept_as_it_was": dry_run or renewed.is_empty, **asdict(renewed)})
    else:
        print_renewal(year, renewed, dry_run=dry_run)


def _year_in(what: str, year: int | None) -> int | None:
    """The year, if a year is what was named; None if it is an authority."""
    if not (what.isdigit() and len(what) == 4):
        return None
    if year not in {None, int(what)}:
        raise Refused(f"{what} and --year {year} are two different years; name one.")
    return int(what)


def _ask(question: str) -> None:
    """Ask on a terminal; raises Exit for a no, and Refused where the question would not be seen."""
    if not sys.stdin.isatty():
        return
    if not sys.stderr.isatty():
        raise Refused("The question cannot be seen here; say --yes to go on without it.")
    if not agreed(question):
        err.print("Nothing was changed.")
        raise typer.Exit(1)


def _said(reason: str) -> str:
    if not reason.strip():
        raise Refused("Give a reason that will still make sense next year: --reason TEXT")
    return reason.strip()


def _question(found: Run, letter: Any | None, *, unsent: bool) -> str:
    if letter is not None:
        return f"Withhold the letter of {found.year} to {letter.authority_name}?"
    if unsent:
        return f"Withhold every letter of {found.year} that has not been sent?"
    return f"Cancel the run of {found.year}, with everything that has been made for it?"
