"""The command that looks at everything before the day, a year's letters, and the whole record."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, checks, readiness
from pipeline.checks import Kind
from pipeline.cli.finding import no_letters_of
from pipeline.cli.options import AnyYear, AsJson, Config, settings_now
from pipeline.display import checks as display
from pipeline.display import readiness as display_ready
from pipeline.display import reconciliation as reconciled
from pipeline.display.progress import watching
from pipeline.errors import Refused
from pipeline.ledger import files
from pipeline.reconciliation import reconcile
from pipeline.settings import Settings


def check(
    year: AnyYear = None,
    ledger: Annotated[
        bool,
        typer.Option("--ledger", help="Look at the whole record instead, for what was forgotten."),
    ] = False,
    domains: Annotated[
        bool,
        typer.Option("--domains", help="Of a YEAR: ask the DNS whether each domain takes mail."),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Leave out what takes long: the letter made, files read."),
    ] = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Look at everything that a run leans on, and say what to mend.

    Nothing is sent, nothing is made that is not there, and nothing is changed. One letter is made
    on trial, in memory; --quick leaves that out. Ends with 0 if all is well, with 1 if there is a
    warning or a fault.

    With a YEAR its data and letters are looked at, before anybody reads one: those of its run, or
    those that the statistics would give now while no run is open. Is every authority on the
    register to be sent a letter, or withheld with a reason? Can every officer be written to? Do the
    figures fit together, and with last year's? One list, the worst first, each with what to do. A
    finding is blocking if something would go out wrong or not at all, and advisory if somebody
    should look at it. With --domains the DNS is asked whether each domain takes mail.

    It ends with 0 then if nothing is blocking, also where something is advisory, and with 1 if
    something is; with 2 for a year that is not there, and with 69 if a database cannot be reached.

    With --ledger the record itself is looked at, of one year or of all: for what contradicts
    itself, and for what has stopped without anybody being told. Is every delivery where its events
    lead? Has every attempt an end, every message its bytes, every letter its file and every
    recipient a delivery? Is every file of the archive what it was? Was a letter never planned, a
    delivery left in the middle, a doubt forgotten, something due that nobody tried? Each finding
    has its place and what to do, the worst first. Reading every file takes long; --quick leaves
    that out.

    It ends with 0 then if nothing is wrong, with 1 if something is, with 69 if the ledger or the
    archive cannot be reached. Run it every night, for example from cron:
    0 3 * * * /srv/letters/.venv/bin/letters check --ledger
    """
    settings = settings_now()
    if domains and (ledger or year is None):
        raise Refused("Domains are asked for with a year's letters: letters check YEAR --domains")
    if ledger:
        _reconcile(settings, year, files_too=not quick, as_json=as_json)
        return
    if year is not None:
        if quick:
            raise Refused(
                "Looking at a year's letters leaves out nothing, as it does not take long: "
                f"letters check {year}"
            )
        _ready(settings, year, domains=domains, as_json=as_json)
        return
    looking = checks.look(settings, quick=quick)
    if as_json:
        found = list(looking)
        display.as_json(found)
    else:
        found = display.print_checks(looking)
        display.print_verdict(settings, found, quick=quick)
    if any(one.state in {Kind.WARNING, Kind.FAULT} for one in found):
        raise typer.Exit(1)


def _ready(settings: Settings, year: int, *, domains: bool, as_json: bool) -> None:
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = readiness.look(pipeline, year, now=datetime.now(UTC), domains=domains)
    if as_json:
        display_ready.write_json(found, domains=domains)
    else:
        display_ready.print_readiness(found, domains=domains)
    raise typer.Exit(1 if found.is_blocked else 0)


def _reconcile(settings: Settings, year: int | None, *, files_too: bool, as_json: bool) -> None:
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        known = files.years(pipeline.ledger)
        if year is not None and year not in known:
            raise Refused(no_letters_of(pipeline, year, known))
        with watching(quiet=as_json) as watch:
            findings = reconcile(
                pipeline, year, now=datetime.now(UTC), progress=watch, read_files=files_too
            )
            if as_json:
                tally = reconciled.write_json(findings, year, files=files_too)
            else:
                tally = reconciled.Tally()
                tally.take(findings)
        looked_at = f"The record of {'all years' if year is None else year}"
    if not as_json:
        reconciled.print_findings(tally, looked_at, files=files_too)
    raise typer.Exit(1 if tally.is_wrong else 0)
