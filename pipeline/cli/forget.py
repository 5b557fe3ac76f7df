"""The command that forgets the people of old years."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, forgetting
from pipeline.cli.finding import agreed, at_terminal
from pipeline.cli.options import AsJson, BeforeYear, Config, person, settings_now
from pipeline.display.console import err, print_json
from pipeline.display.forgetting import (
    forgotten_facts,
    look_facts,
    print_forgotten,
    print_look,
)
from pipeline.display.progress import watching
from pipeline.errors import Refused
from pipeline.forgetting import Look

ByWhom = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does this; without it, it is only shown."),
]


def forget(
    before: BeforeYear,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: ByWhom = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Forget the people of old years: names, addresses, letters.

    Without --by it shows what letters forget --before 2014 would concern, and changes nothing. With
    --by NAME it asks for the number of letters to be typed, and then takes out of the ledger, for
    all years before 2014: every word of each letter but the figures, names and addresses of
    recipients, what mail servers and people have written, sender and subject of returned mail. The
    letters (PDF), the messages as they were sent, returned mail that was kept, and captured mail
    are removed. Where the statistics are in the ledger's database, officers who left before 2014
    and remarks of the years before are deleted. The database's files are written anew, so that
    nothing is left in them.

    What stays: how many letters and deliveries there were and for which authority, the figures, the
    hashes, when what happened, what became of each delivery, who of the office approved and did
    what, the template. A number stands for each address. letters verify says forgotten, not
    missing; letters show, status and export go on to work.

    For how many years letters have to be kept is set in retention.years (7; 0: nothing is ever
    forgotten), and younger years are refused. So is a year that is not finished, of which something
    is still to be sent or in doubt; it is said what to do first. Backups, copies and exports are
    beyond its reach: docs/operating.md, Personal data.

    Calling it again is safe: it goes on where it stopped, and removes what has come back. Ends with
    0, with 1 if it was given up or files are left that the ledger does not know, with 2 where it is
    refused, with 69 where something does not let itself be removed just now.

    Example: letters forget --before 2014 --by "Ann Other"
    """
    settings = settings_now()
    keep, own, now = settings.retention.years, not settings.source.url, datetime.now(UTC)
    if yes and by is None:
        raise Refused("Say who does this, as it stays on record: --by NAME")
    who = None if by is None else person(by)
    with bootstrap.pipeline(settings, writes=who is not None) as pipeline:
        found = forgetting.look(pipeline, before, keep=keep, statistics=own, now=now)
        if who is None or not as_json:
            if as_json:
                print_json(look_facts(found))
            else:
                print_look(found, going=who is not None)
        if who is None:
            return
        if not yes and not _agreed(found):
            err.print("Nothing was changed.")
            raise typer.Exit(1)
        with watching(quiet=as_json) as watch:
            done = forgetting.forget(
                pipeline,
                before,
                keep=keep,
                statistics=own,
                person=who,
                now=datetime.now(UTC),
                progress=watch,
            )
    if as_json:
        print_json(forgotten_facts(before, done))
    else:
        print_forgotten(before, done)
    raise typer.Exit(1 if done.left else 0)


def _agreed(found: Look) -> bool:
    """Whether somebody has said that it may be done; what was begun before needs no new word."""
    if found.is_empty:
        return True
    if not at_terminal():
        raise Refused(
            "It cannot be taken back, and nobody is there to be asked; say --yes to do it without "
            "asking."
        )
    letters = sum(found.extent.letters.values())
    if not letters:
        return agreed("Forget it, for good?")
    answer = typer.prompt(
        f"Type {letters} to forget {'it' if letters == 1 else 'them'}, for good",
        default="",
        show_default=False,
        err=True,
    )
    return str(answer).strip().replace(",", "") == str(letters)
