"""The commands for whoever keeps the machine."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, home, migrate
from pipeline.cli.finding import agreed, at_terminal
from pipeline.cli.options import AsJson, By, Config, person, settings_now
from pipeline.database import Database
from pipeline.display.console import err, out, print_json
from pipeline.display.home import facts, print_confirmed, print_home
from pipeline.errors import Refused
from pipeline.ledger import runs


def db_upgrade(as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Create the ledger's tables, or bring them up to this version.

    An embedded SQLite ledger is upgraded by the commands that write to it; a PostgreSQL database
    only by this command, so that it happens when somebody means it. Several at once are one.
    Migrations only go up: back up the database before; the backup is the way back.
    """
    ledger = bootstrap.open_ledger(settings_now())
    try:
        before, after = migrate.upgrade(ledger)
        if as_json:
            print_json({"database": str(ledger), "from": before, "to": after})
        elif before == after:
            out.print(f"{ledger} is at version {after} already.", markup=False)
        else:
            out.print(f"{ledger} is now at version {after}.", markup=False)
    finally:
        ledger.close()


def db_confirm(
    note: Annotated[
        str,
        typer.Option(
            "--note", metavar="TEXT", help="What has happened, and how you know; kept on record."
        ),
    ],
    no_hold: Annotated[
        bool, typer.Option("--no-hold", help="Do not pause the years that might still go.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Let a ledger send that was copied or put back from a backup.

    A ledger that was put back does not know what has been sent since the backup, and a copy not
    what the original sends. Outside the ledger a small file, the high-water mark (database.mark),
    holds the newest entry there has been on this machine. Where the two disagree, nothing is sent
    in redirect or live mode until a person has said here that this is the ledger to go on with.

    First put back the newest ledger there is. This command then shows what is known: the ledger,
    the mark, and from when to when entries are missing. It asks, keeps your note on record, and
    makes this machine the ledger's own.

    What went out in the time that is missing looks unsent in this ledger. So every year of which
    anything might still go out is paused first, and each that is opened soon after. Find
    out what has gone, withhold it (letters cancel AUTHORITY --year YEAR --reason TEXT), and then
    letters resume YEAR. Use --no-hold only where nothing can be missing: another machine that joins
    those which share a PostgreSQL ledger, or a ledger that was moved while nothing ran. What is
    queued goes then as soon as anybody sends, or the schedule does; what is paused stays paused.

    Never confirm two copies of one ledger: neither would know what the other sends.

    Ends with 0 when it is confirmed, 1 when you say no, 2 where nobody is there to be asked and
    --yes is not given, 69 when the ledger or the mark cannot be used.

    Example: letters db confirm --note "disk replaced; ledger from the backup of 03:00"
    """
    if not note.strip():
        raise Refused("Say what has happened, so that it makes sense next year: --note TEXT")
    settings = settings_now()
    who = person(by)
    ledger, file = bootstrap.open_ledger(settings), bootstrap.mark(settings)
    try:
        migrate.require_current(ledger)
        found = home.look(ledger, file)
        before = [year for year in runs.years(ledger) if _is_paused(ledger, year)]
        if not yes or not as_json:
            to_hold = None if no_hold else home.to_hold(ledger)
            print_home(ledger, file, found, to_hold, paused=before)
        if not yes and not at_terminal():
            raise Refused(
                "Nobody is there to be asked whether this is the ledger to go on with; --yes "
                "confirms it without a question."
            )
        if not yes and not agreed("Is this the ledger to go on with, and the only one?"):
            err.print("Nothing was changed.")
            raise typer.Exit(1)
        paused = home.confirm(
            ledger, file, note=note.strip(), person=who, hold=not no_hold, now=datetime.now(UTC)
        )
        if as_json:
            print_json(
                {
                    **facts(ledger, file, found),
                    "held": not no_hold,
                    "paused": paused,
                    "paused_before": before,
                }
            )
        else:
            print_confirmed(ledger, file, paused, before=before, held=not no_hold)
    finally:
        ledger.close()


def _is_paused(ledger: Database, year: int) -> bool:
    found = runs.find_run(ledger, year)
    return found is not None and found.paused_at is not None
