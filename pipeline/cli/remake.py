"""The command that makes an old year's letters again, to prove that it can."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, log, remaking
from pipeline.archive import Archive
from pipeline.cli import completion
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, Config, Year, settings_now
from pipeline.display.console import print_json
from pipeline.display.progress import watching
from pipeline.display.remaking import Tally, print_remade
from pipeline.engines.local import LocalEngine
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import hindrances
from pipeline.ledger.runs import Run
from pipeline.run import Pipeline


def remake(
    year: Year,
    authorities: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AUTHORITY]...",
            autocompletion=completion.authorities,
            help="Only these: codes, names or parts of names; without, all.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Where the new PDFs go; made if need be."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Make a year's letters again from what was frozen, and compare.

    The words and figures of each letter come from the ledger as they were frozen, and the template
    is the very one that the run was opened with: the year's own file if it is still the same, else
    the copy in the archive. The statistics are not asked, nor today's settings of the year. Each
    new PDF is held against the one on record: the same bytes, the same words in another file, or
    other words, of which the first are shown.

    The same LibreOffice with the same fonts gives the same bytes; another one gives at best the
    same words. The new PDFs go into FOLDER, below the year, together with the template. Nothing on
    record is changed, nothing is sent, and no file of the archive is touched; FOLDER cannot be in
    the archive. A letter whose file is lost from the archive is made like any other; where the new
    one has the same bytes, it is the lost file.

    Ends with 0 if all say the same, with 1 if a letter says something else, could not be made or
    could not be compared, with 2 where there are no such letters or the template is lost, with 69
    where something leaned on is unavailable.

    Example: letters remake 2020 --to /tmp/letters-2020 stevenage
    """
    if folder is None:
        raise Refused(f"Say where the new PDFs go: letters remake {year} --to FOLDER")
    settings = settings_now()
    log.begin(None)  # nobody's letters are made: a log that counts letters would be wrong
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = run_of(pipeline, year)
        hindrances.refuse_forgotten(found)
        codes = [_code(pipeline, found, one) for one in authorities or []]
        place = _made(pipeline, folder)
        target = settings.archive.model_copy(update={"url": str(place)})
        engine = LocalEngine(settings.model_copy(update={"archive": target}))
        tally = Tally()
        with watching(quiet=as_json) as watch:
            remade = remaking.remake(
                pipeline, engine, found, Archive(str(place)), codes=codes, progress=watch
            )
            for one in remade:
                tally.take(one, keep=as_json)
        if as_json:
            print_json(
                {
                    "year": year,
                    "folder": str(place),
                    "counts": tally.counts,
                    "letters": [
                        {**asdict(one), "outcome": one.outcome.value} for one in tally.kept
                    ],
                }
            )
        else:
            print_remade(tally, year, place, pipeline.archive)
    if not tally.total:
        raise typer.Exit(1)
    raise typer.Exit(1 if tally.needs_a_person else 0)


def _code(pipeline: Pipeline, found: Run, authority: str) -> str:
    """The code that is meant. Raises Refused for a letter that has no file to be compared with."""
    row = letter_of(pipeline, found, authority)
    if row.pdf is None:
        why = row.fault or "it has not been made yet."
        raise Refused(f"There is no letter to {row.authority_name} to make again: {why}")
    return str(row.authority_code)


def _made(pipeline: Pipeline, folder: Path) -> Path:
    """The folder, made if need be. Raises Refused for one in the archive."""
    place = folder.expanduser().absolute()
    if "://" in str(folder):
        raise Refused(f"{folder} is no folder of this machine; name one, as in --to /tmp/letters")
    if remaking.inside(pipeline.archive, place):
        raise Refused(
            f"{place} is in the archive, where nothing is made twice; name another folder."
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise Refused(f"{place} is a file; name a folder.") from None
    except OSError as error:
        raise Unavailable(
            f"The folder {place} cannot be made: {error.strerror}. Make it, or name another."
        ) from error
    return place
