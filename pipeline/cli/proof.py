"""The command that makes a year's letters into something to page through."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, proofpack
from pipeline.cli.finding import run_of
from pipeline.cli.options import AsJson, Config, Year, settings_now
from pipeline.cli.request import now
from pipeline.cli.writing import made_folder, whole_file
from pipeline.display.console import print_json
from pipeline.display.progress import watching
from pipeline.display.proof import COLUMNS, facts, print_pack, row
from pipeline.display.sheet import Sheet
from pipeline.ledger import hindrances


def proof(
    year: Year,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Where the files go; made if need be. Without it: var/proof/YEAR in the project.",
        ),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """A year's letters to page through, before somebody approves them.

    One PDF: a cover with the counts, the digest, the list of letters check YEAR, the letters that
    do not go and the message's words; then every letter that would go, with its number and
    authority on each page, and a bookmark for each. A red bar stands beside the letters to look at
    first: those that differ in more than figures from most of their kind, or from last year's
    letter to the same authority, and those that the checks name. Above a thousand letters there are
    several such files.

    Beside it a CSV file with one row for each recipient: who gets what, under which subject, on
    which page of the proof, and why it is marked.

    The digest is what letters approve YEAR --digest takes. It is over the letters' texts and
    figures, their PDFs, whom they go to, the template, the message's words and whom they are from.
    The files are named after it, are readable by you alone, and hold names and addresses: delete
    them when the letters have gone. Nothing is put on record and nothing is sent.

    Ends with 0, with 1 where a check is blocking, with 2 while letters are still to be made, with
    69 where a file of the archive or LibreOffice cannot be had.

    Example: letters proof 2020 --to ~/Documents/proof
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = run_of(pipeline, year)
        hindrances.refuse_forgotten(found)
        place = made_folder(folder or settings.path(f"var/proof/{year}"))
        with watching(quiet=as_json) as watch, bootstrap.converter(settings) as office:
            part = place / f".{year}.rows"
            with whole_file(part, force=True) as file:
                sheet = Sheet(file, COLUMNS, marked=True)
                pack = proofpack.make(
                    pipeline,
                    found,
                    place,
                    to_pdf=office.convert,
                    take=lambda one: sheet.add(row(one)),
                    now=now(),
                    progress=watch,
                )
            rows = part.replace(place / f"{proofpack.name(year, pack.digest)}.csv")
    if as_json:
        print_json(facts(year, pack, rows))
    else:
        print_pack(year, pack, rows, people=settings.approval.people)
    raise typer.Exit(1 if pack.blocking else 0)
