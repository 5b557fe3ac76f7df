"""The commands for whoever edits the template in Word: what is wrong with it, and its versions."""

import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, run, source, stationery, wording
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
from pipeline.ledger.templates import Pinned
from pipeline.letter import MERGE_FIELDS, fields_of
from pipeline.settings import Settings
from pipeline.stationery import Stationery
from pipeline.template import read_template
from pipeline.template.faults import Fault, Looked, look
from pipeline.template.flaw import Kind
from pipeline.template.survey import Where

_LINE = re.compile(r"(.*?), line (\d+): (.*)", re.DOTALL)


def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A Word document; without it, the one in use."),
    ] = None,
    year: YearOption = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Say everything that is wrong with a template, in the words of Word.

    All of it at once, in the order of the document: each fault with the page where the file says
    it, the heading above, the paragraph counted from there, the words around and what to do in
    Word. Nothing is changed, and nothing is made.

    Blocking is what a run would refuse, and what no PDF would pass its proof or PDF/UA with: fields
    that there are none of, with what may have been meant; tags that are not closed, that are split
    over a link, or that stand where nothing can be printed; rings bound to no figure; links without
    a ScreenTip and pictures without alternative text; headings that skip a level; links to files,
    and whatever is fetched from elsewhere; tracked changes. Advisory is the rest: curly quotes in
    tags, comments left in, fonts that this machine does not have. Fields that are not used are
    listed.

    Without FILE it is the template in use, and the message's words beside it. With --year the
    template of that year is looked at, or FILE with the facts that the year's edition has; without
    it, any fact counts as known.

    Ends with 0 if nothing is blocking, with 1 if something is, with 2 if there is no such file or
    it is no Word document.

    Example: letters template check ~/Documents/letter-2021.docx --year 2021
    """
    settings = settings_now()
    fields: Collection[str] = MERGE_FIELDS
    if year is not None:
        known = _fields(settings, year)
        fields = [*(name for name in MERGE_FIELDS if name in known)]
        fields += sorted(known - set(fields))
    ours = None if file is not None else _in_use(settings, year)
    place = file.expanduser() if file is not None else (ours or _in_use(settings, year)).template
    data = _read(place, named=file is not None)
    try:
        found = look(data, fields=fields, lacking=lambda: _lacking(data))
    except Misconfigured as fault:
        raise Refused(f"{place}: {fault}") from fault
    if ours is not None:
        faults = (*found.faults, *_of_message(ours, fields))
        found = Looked(faults=faults, compiled=found.compiled, unused=found.unused)
    if as_json:
        print_json(fault_facts(place, hashlib.sha256(data).hexdigest(), found))
    else:
        print_faults(place, found)
    raise typer.Exit(1 if found.is_blocked else 0)


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
    was opened with, which lies in the archive. For each run, also one that was cancelled or
    refreshed: the version by its SHA-256, when the run was opened and by whom, how many letters
    were made with it, whether it is still in the archive, and whether it is the file that a run
    would be opened with now. --save writes the versions out, to be opened in Word or compared
    (letters template diff); a file that is there already and says otherwise is left as it is.

    Ends with 0, with 1 if a version that letters were made with is not to be had any more, with 2
    for a folder that cannot be written to.

    Example: letters template versions 2020 --save ~/Documents
    """
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        found = kept(pipeline, year, None if save is None else save.expanduser())
    if as_json:
        print_json({"versions": [version_facts(one) for one in found]})
    else:
        print_versions(found)
    raise typer.Exit(1 if any(one.pinned.letters and not one.kept for one in found) else 0)


def _read(place: Path, *, named: bool) -> bytes:
    if named and not place.exists():
        raise Refused(f"There is no file {place}; name a Word document (.docx).")
    try:
        return read_template(place)
    except Misconfigured as fault:
        raise Refused(str(fault)) from fault


def _in_use(settings: Settings, year: int | None) -> Stationery:
    template = settings.path(settings.template.path)
    if year is None:
        return Stationery(template=template, wording=template.parent, own=False)
    return stationery.find(template, year)


def _fields(settings: Settings, year: int) -> frozenset[str]:
    statistics = bootstrap.open_statistics(settings)
    try:
        with source.pull(statistics, year) as pulled:
            return fields_of(pulled.edition)
    finally:
        statistics.close()


def _lacking(data: bytes) -> list[str]:
    """The fonts that are not here; none where nobody can be asked which are."""
    there = making.installed()
    return [] if there is None else missing(data, there)


def _of_message(ours: Stationery, fields: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the message's words, which a run would refuse as well."""
    try:
        wording.check(wording.read_wording(ours.wording), fields)
    except Misconfigured as error:
        for line in str(error).split("\n"):
            found = _LINE.fullmatch(line)
            place = f"{Path(found[1]).name}, line {found[2]}" if found else "the message"
            said = found[3] if found else line
            what, _, mend = said.rpartition("; ")
            if mend.startswith("did you mean "):  # then the question belongs to what is wrong
                what, mend = said, f"write {mend.removeprefix('did you mean ').rstrip('?')} there"
            yield Fault(
                kind=Kind.MESSAGE,
                blocking=True,
                what=_sentence(what or said),
                mend=_sentence(mend if what else ""),
                where=Where(part="message", name=place),
            )


def _sentence(words: str) -> str:
    end = "" if not words or words.endswith((".", "?")) else "."
    return f"{words[:1].upper()}{words[1:]}{end}"


def _current(pipeline: run.Pipeline, year: int) -> str:
    """The hash of the file that a run of the year would be opened with; "" if there is none."""
    try:
        return hashlib.sha256(read_template(run.template_of(pipeline, year).template)).hexdigest()
    except LettersError:
        return ""


def kept(pipeline: run.Pipeline, year: int | None, folder: Path | None) -> list[Version]:
    """The template of each run of the year, or of all years; written to `folder` if there is one.

    Raises Refused for a folder that cannot be written to, or that has another file of the name.
    """
    current: dict[int, str] = {}
    found = []
    for one in templates.pinned(pipeline.ledger, year):
        if one.year not in current:
            current[one.year] = _current(pipeline, one.year)
        found.append(_version(pipeline, one, current[one.year], folder))
    return found


def _version(pipeline: run.Pipeline, one: Pinned, current: str, folder: Path | None) -> Version:
    try:
        data = pipeline.archive.get(run.template_name(one.sha256), one.sha256)
    except Unavailable:
        data = b""
    saved = None
    if data and folder is not None:
        saved = folder / f"letter-{one.year}-{one.sha256[:12]}.docx"
        _save(saved, data)
    return Version(pinned=one, kept=bool(data), current=one.sha256 == current, saved=saved)


def _save(place: Path, data: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_file() and place.read_bytes() == data:
            return
    except (FileExistsError, NotADirectoryError) as error:
        raise Refused(f"{place.parent} is not a folder; name another one with --save.") from error
    except OSError as error:
        raise Refused(
            f"{place.parent} cannot be written to ({error.strerror}); name another one with --save."
        ) from error
    with whole_file(place, force=False, private=False) as file:
        file.write(data)
