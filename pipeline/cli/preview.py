"""The commands that show what a template makes of letters, before a run does."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, comparing, log, preview, run, source
from pipeline.archive import Archive
from pipeline.cli.options import AsJson, Config, YearOption, settings_now
from pipeline.cli.request import now
from pipeline.cli.writing import made_folder, whole_file
from pipeline.display.console import print_json
from pipeline.display.preview import (
    compared_facts,
    print_compared,
    print_specimen,
    specimen_facts,
)
from pipeline.display.progress import watching
from pipeline.engines.local import LocalEngine
from pipeline.errors import LetterFault, Misconfigured, Refused
from pipeline.ledger import runs
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.letter import MERGE_FIELDS
from pipeline.preview import Specimen
from pipeline.run import Pipeline
from pipeline.settings import Settings
from pipeline.template import CompiledTemplate, compile_template, read_template

_FEW = 6  # letters for which one LibreOffice is there sooner than several

To = Annotated[
    Path | None,
    typer.Option("--to", metavar="FOLDER", help="Where the PDFs go; made if need be."),
]


def show(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A Word document; without it, the one in use."),
    ] = None,
    year: YearOption = None,
    authority: Annotated[
        list[str] | None,
        typer.Option("--authority", metavar="CODE", help="This authority's; several times."),
    ] = None,
    worst: Annotated[
        bool, typer.Option("--worst-cases", help="The letters that a template may not fit.")
    ] = False,
    folder: To = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Make some letters with a template, to look at them.

    Composed from the year's statistics as they are now, made and proved as a run's letters are, and
    written into FOLDER. --authority CODE names letters. --worst-cases takes those that a template
    may not fit: the longest name, nothing to divide by, no similar authorities, joint and vacant
    posts, the most remarks, an abolished authority, the largest numbers; what the data has not is
    invented, and so is one letter with all of it at once. Without either it is --worst-cases.

    A letter that fails its proof is written too, as FAILED-CODE.pdf, so that it can be seen why.
    Nothing is put on record, nothing is sent, and no run is opened.

    Ends with 0 if all could be made and proved, with 1 if one could not, which says why, with 2 for
    a file or an authority that is not there, with 69 where LibreOffice cannot be had.

    Example: letters template preview new.docx --year 2020 --worst-cases --to ~/Documents/preview
    """
    if folder is None:
        raise Refused("Say where the PDFs go: letters template preview --to FOLDER")
    settings = settings_now()
    log.begin(None)  # nobody's letters are made: a log that counts letters would be wrong
    codes = authority or []
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        year = year or _newest(pipeline)
        place = made_folder(folder)
        path = file.expanduser() if file else run.template_of(pipeline, year).template
        data = _read(path)
        with watching(quiet=as_json) as watch:
            chosen = preview.choose(
                pipeline, year, codes=codes, worst=worst or not codes, progress=watch
            )
            workers = 1 if len(chosen.specimens) <= _FEW else settings.convert.workers
            engine = LocalEngine(
                settings.model_copy(
                    update={
                        "archive": settings.archive.model_copy(update={"url": str(place)}),
                        "convert": settings.convert.model_copy(update={"workers": workers}),
                    }
                )
            )
            try:
                made = list(
                    preview.make(
                        engine,
                        chosen,
                        data,
                        Archive(str(place)),
                        now=now(),
                        progress=watch,
                    )
                )
            except Misconfigured as fault:
                raise Refused(
                    f"{path}: {fault}\nAll that is wrong with it: letters template check"
                ) from fault
            failed = [one for one, result in made if isinstance(result, Faulted)]
            files = _failed(settings, failed, data, place) if failed else {}
    listed = [(one, result, files.get(one.letter.authority_code)) for one, result in made]
    if as_json:
        print_json(
            {
                "year": year,
                "folder": str(place),
                "letters": [specimen_facts(*one) for one in listed],
            }
        )
    else:
        for each in listed:
            print_specimen(place, *each)
    raise typer.Exit(0 if all(isinstance(result, Prepared) for _, result in made) else 1)


def _failed(
    settings: Settings, failed: Sequence[Specimen], template: bytes, place: Path
) -> dict[str, str]:
    """Write what there is of letters that failed: their files' names, by their codes."""
    compiled = compile_template(template, fields=MERGE_FIELDS)
    written: dict[str, str] = {}
    with bootstrap.converter(settings) as office:
        for letter in (one.letter for one in failed if one.letter.fault is None):
            with suppress(LetterFault):  # what is said of it says why already
                pdf = preview.unproved(letter, compiled, office.convert)
                name = f"FAILED-{letter.authority_code}.pdf"
                with whole_file(place / name, force=True) as file:
                    file.write(pdf)
                written[letter.authority_code] = name
    return written


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A Word document, or a year.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another one.")],
    year: YearOption = None,
    folder: To = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """What another template would say in a year's letters.

    OLD and NEW are Word documents, or years: then the template that the year's run was opened with.
    Both are filled in for every letter of --year, without converting them, and compared paragraph
    by paragraph, with names, dates and figures taken out: each change is told once, with the number
    of letters that show it.

    With --to FOLDER a few letters that show every change are converted, and each is written there
    as a PDF with its old pages on the left and its new ones on the right, a red bar beside what has
    changed. Only words are compared: what changes in looks alone shows on those pages.

    Ends with 0 if all letters say the same, with 1 if they do not, with 2 for a template that is
    not there or cannot be used.

    Example: letters template diff 2020 new.docx --to ~/Documents/diff
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        year = year or _year_of(old) or _year_of(new) or _newest(pipeline)
        sides = _compiled(pipeline, old), _compiled(pipeline, new)
        with watching(quiet=as_json) as watch:
            found = comparing.compare(*sides, comparing.letters(pipeline, year), progress=watch)
        files: list[Path] = []
        if folder is not None:
            place = made_folder(folder)
            shown = found.shown or list(islice(comparing.letters(pipeline, year), 1))
            with bootstrap.converter(settings) as office:
                for one in shown:
                    pages = comparing.side_by_side(
                        *sides, one, office.convert, heads=(f"OLD {old}", f"NEW {new}")
                    )
                    files.append(place / f"diff-{one.code}.pdf")
                    with whole_file(files[-1], force=True) as file:
                        file.write(pages)
    if as_json:
        print_json(compared_facts(year, found, files))
    else:
        print_compared(year, found, files)
    raise typer.Exit(1 if found.changes else 0)


def _year_of(typed: str) -> int | None:
    return int(typed) if len(typed) == 4 and typed.isdigit() else None


def _compiled(pipeline: Pipeline, typed: str) -> CompiledTemplate:
    year = _year_of(typed)
    if year is not None and not Path(typed).exists():
        found = runs.find_run(pipeline.ledger, year)
        if found is None:
            raise Refused(f"There is no run of {year}, so no template is pinned for it.")
        data = pipeline.archive.get(run.template_name(found.template_sha256), found.template_sha256)
    else:
        data = _read(Path(typed).expanduser())
    try:
        return compile_template(data, fields=MERGE_FIELDS)
    except Misconfigured as fault:
        raise Refused(
            f"{typed}: {fault}\nAll that is wrong with it: letters template check"
        ) from fault


def _read(path: Path) -> bytes:
    try:
        return read_template(path)
    except Misconfigured as fault:
        raise Refused(str(fault)) from fault


def _newest(pipeline: Pipeline) -> int:
    editions = source.calendar(pipeline.statistics).editions
    if not editions:
        raise Refused("There is no edition in the statistics yet; name a year with --year.")
    return max(one.year for one in editions)
