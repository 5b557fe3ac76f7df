"""The commands for whoever edits the template in Word: what is wrong with it, and its versions."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, run, source, stationery
from pipeline.checks import making
from pipeline.cli.options import AnyYear, AsJson, Config, YearOption, settings_now
from pipeline.cli.writing import whole_file
from pipeline.convert.fonts import missing
from pipeline.display.console import print_json
from pipeline.display.template import (
    Version,
    fault_facts,
    print_faults,
    print_versions,
    version_facts,
)
from pipeline.errors import LettersError, Misconfigured, Refused, Unavailable
from pipeline.ledger import templates
from pipeline.letter import MERGE_FIELDS, fields_of
from pipeline.settings import Settings
from pipeline.template import read_template
from pipeline.template.faults import Fault, Looked, look


def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A Word document; without it, the one in use."),
    ] = None,
    year: YearOption = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Say everything that is wrong with a template, in the words of Word.

    Fields that there are none of, with what may have been meant; tags that are not closed, that
    have curly quotes, or that stand where nothing can be printed; rings bound to no figure; links
    without a ScreenTip and pictures without alternative text; fonts that are not installed; links
    to files; tracked changes and comments left in. Each with its place (the part, the heading
    above, the words around) and what to do in Word. Nothing is changed, and nothing is made.

    With --year the template of that year is looked at, or FILE with the facts that the year's
    edition has; without it, any fact counts as known.

    Ends with 0 if letters can be made with it, with 1 if something is blocking, with 2 if there is
    no such file or it is no Word document at all.

    Example: letters template check ~/Documents/letter-2021.docx --year 2021
    """
    settings = settings_now()
    place = file.expanduser() if file is not None else _in_use(settings, year)
    fields = dict(MERGE_FIELDS)
    if year is not None:
        fields = {name: MERGE_FIELDS.get(name, "") for name in sorted(_fields(settings, year))}
    try:
        data = read_template(place)
        found = look(data, fields=fields)
    except Misconfigured as fault:
        raise Refused(str(fault) if str(place) in str(fault) else f"{place}: {fault}") from fault
    faults = [*found.faults, *_fonts(data)]
    seen = Looked(faults=tuple(faults), compiled=found.compiled, unused=found.unused)
    if as_json:
        print_json(fault_facts(place, seen))
    else:
        print_faults(place, seen)
    raise typer.Exit(1 if seen.is_blocked else 0)


def versions(
    year: AnyYear = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FOLDER", help="Write each version there, as a .docx."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Which template each run was opened with, and whether it is kept.

    A run pins its own: whatever becomes of the file, its letters are made with the version that it
    was opened with, which lies in the archive. --save writes the versions out, to be opened in
    Word or compared (letters template diff).

    Ends with 0, or with 1 if a version that letters were made with is not to be had any more.

    Example: letters template versions 2020 --save ~/Documents
    """
    settings = settings_now()
    found: list[Version] = []
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        for one in templates.pinned(pipeline.ledger, year):
            try:
                data = pipeline.archive.get(run.template_name(one.sha256), one.sha256)
            except Unavailable:
                data = b""
            found.append(
                Version(
                    pinned=one, kept=bool(data), current=_is_current(pipeline, one.year, one.sha256)
                )
            )
            if data and save is not None:
                _save(save.expanduser(), f"letter-{one.year}-{one.sha256[:12]}.docx", data)
    if as_json:
        print_json({"versions": [version_facts(one) for one in found]})
    else:
        print_versions(found, save)
    raise typer.Exit(1 if any(one.pinned.letters and not one.kept for one in found) else 0)


def _in_use(settings: Settings, year: int | None) -> Path:
    template = settings.path(settings.template.path)
    return template if year is None else stationery.find(template, year).template


def _fields(settings: Settings, year: int) -> frozenset[str]:
    statistics = bootstrap.open_statistics(settings)
    try:
        with source.pull(statistics, year) as pulled:
            return fields_of(pulled.edition)
    finally:
        statistics.close()


def _fonts(data: bytes) -> list[Fault]:
    there = making.installed()
    if there is None:
        return []
    return [
        Fault(
            blocking=True,
            said=f"Words are set in {name}, which this machine does not have, so that LibreOffice "
            "would take another; install it, or choose another font in Word (Arial is safe).",
        )
        for name in missing(data, there)
    ]


def _is_current(pipeline: run.Pipeline, year: int, sha256: str) -> bool:
    try:
        data = run.template_of(pipeline, year).template.read_bytes()
    except (LettersError, OSError):
        return False
    return hashlib.sha256(data).hexdigest() == sha256


def _save(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    if place.exists() and place.read_bytes() == data:
        return
    with whole_file(place, force=False, private=False) as file:
        file.write(data)
