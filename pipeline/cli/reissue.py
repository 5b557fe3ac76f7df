"""The command that replaces a letter of which the figures were corrected."""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, engines, reissuing, run
from pipeline.cli.finding import agreed, at_terminal, letter_of, run_of
from pipeline.cli.options import AsJson, Authority, By, Config, YearOption, person, settings_now
from pipeline.display.console import err, print_json
from pipeline.display.progress import say, watching
from pipeline.display.reissue import correction_facts, print_correction, print_made
from pipeline.errors import Refused
from pipeline.ledger.letters import Prepared
from pipeline.london import LONDON


def reissue(
    authority: Authority,
    year: YearOption = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept on record.")
    ] = None,
    dated: Annotated[
        str | None,
        typer.Option(
            "--dated", metavar="DATE", help="The new letter's date, as in 2020-09-14; else today."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Replace one letter after its figures were corrected.

    When the correction has been imported, this pulls the year anew and shows, field by field, what
    the letter would say unlike the one on record, and which other letters' averages move, and by
    how much. After a yes it makes a new revision of this one letter, with the officers in force on
    its own date, and its PDF. The old revision stays as it was sent; what of it had not gone yet is
    not sent any more.

    A letter that could not be made because of its data is replaced in the same way when others have
    been approved or sent already, and letters refresh takes no correction in any more.

    Where the wording or the template of the year asks for it, the new letter says "This replaces
    our letter of 22 July 2020." The other letters stay as they are: nothing is ever re-issued by
    itself, however an average has moved.

    Nothing is sent. The new revision has to be approved by at least one person, whatever
    approval.people says: letters approve YEAR --authority AUTHORITY, then letters send YEAR.

    Ends with 0 if it was made, or shown with --dry-run; with 1 if its PDF could not be made, or the
    answer was no; with 2 where nothing has changed, or the letter is in doubt or being sent.

    Example: letters reissue E07000243 --year 2020 --reason "one decision was counted twice"
    """
    settings = settings_now()
    if not dry_run and not (reason and reason.strip()):
        raise Refused("Give a reason that will still make sense next year: --reason TEXT")
    day = _day(dated)
    with bootstrap.pipeline(settings, writes=not dry_run) as pipeline:
        found = run_of(pipeline, year)
        old = letter_of(pipeline, found, authority)
        with watching(quiet=as_json) as watch:
            correction = reissuing.look(pipeline, found, old, dated=day, progress=watch)
        if not as_json:
            print_correction(found.year, correction)
        if dry_run:
            if as_json:
                print_json({"year": found.year, "made": None, **correction_facts(correction)})
            return
        if not yes and not _wanted(correction):
            err.print("Nothing was changed.")
            raise typer.Exit(1)
        made = reissuing.reissue(
            pipeline,
            engines.chosen(settings, say=say),
            found,
            correction,
            because=str(reason).strip(),
            person=person(by),
            now=datetime.now(UTC),
        )
        row = letter_of(pipeline, found, str(old.authority_code))
        wanted = run.approvals_lacking(pipeline, found, row.id)
    if as_json:
        print_json(
            {
                "year": found.year,
                "made": {
                    "revision": row.revision,
                    "pdf": row.pdf,
                    "sha256": row.pdf_sha256,
                    "fault": row.fault,
                    "approvals_wanted": wanted,
                },
                **correction_facts(correction),
            }
        )
    else:
        print_made(found.year, row, wanted)
    raise typer.Exit(0 if isinstance(made, Prepared) else 1)


def _day(typed: str | None) -> date:
    if typed is None:
        return datetime.now(LONDON).date()
    try:
        return date.fromisoformat(typed.strip())
    except ValueError:
        raise Refused(f"--dated {typed}: write a date as in 2020-09-14.") from None


def _wanted(correction: reissuing.Correction) -> bool:
    if not at_terminal():
        raise Refused("Nobody is there to be asked; say --yes to replace it, or --dry-run to look.")
    old = correction.old
    return agreed(f"Make revision {old.revision + 1} of the letter to {old.authority_name}?")
