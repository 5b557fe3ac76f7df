"""The commands for one letter."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import bootstrap, run
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, Authority, Config, YearOption, settings_now
from pipeline.cli.writing import STANDARD_OUTPUT, Force, output, whole_file
from pipeline.display.console import err, out, print_json
from pipeline.display.story import print_letter, print_story
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import enclosures, hindrances, reissues, story
from pipeline.ledger.runs import Run
from pipeline.message import pdf_filename, workbook_filename
from pipeline.run import Pipeline

_VIEWER_S = 5  # a viewer that has not failed by then has opened


def letter(
    authority: Authority,
    year: YearOption = None,
    opened: Annotated[
        bool, typer.Option("--open", help="Open a copy with the desktop's viewer.")
    ] = False,
    copy: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write a copy to this file or into this folder; - is standard output.",
        ),
    ] = None,
    enclosed: Annotated[
        str | None,
        typer.Option(
            "--enclosures",
            metavar="FOLDER",
            help="Write copies of the workbooks that go with it into this folder.",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """One letter's PDF: where it is, to look at, or a copy of it.

    Prints its name in the archive, its full place, its pages and its SHA-256, after reading it and
    comparing that. It is the very file that was or will be sent. A letter that has no PDF says why:
    it has a fault, is withheld, or has not been made yet.

    --open shows a copy with the desktop's own viewer, so that nothing can be saved over the file in
    the archive. --out FILE writes a copy, whole or not at all; --out FOLDER/ gives it the name that
    it has in the mail. A different file that is there already is left as it is without --force.
    --out - writes the bytes to standard output, for another program.

    Where the edition encloses workbooks, they are named as well, and --enclosures FOLDER writes
    copies of them there, under the names that they have in the mail. They hold one authority's
    cases and are for nobody else: only you can read the copies.

    Ends with 0, or 1 when the letter has no PDF, 2 when a copy cannot have that name or nothing is
    enclosed, 69 when the archive's file is missing or altered or there is nothing to open it with.

    Example: letters letter E07000243 --year 2020 --out stevenage.pdf
    """
    _refuse_contradictions(copy, opened=opened, as_json=as_json)
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        found = run_of(pipeline, year)
        row = letter_of(pipeline, found, authority)
        hindrances.refuse_forgotten(found)
        facts = _letter(pipeline, found, row)
        if row.pdf is None:
            if as_json:
                print_json(facts)
            else:
                print_letter(facts, console=out if copy is None and not opened else err)
            raise typer.Exit(1)
        data = pipeline.archive.get(row.pdf, row.pdf_sha256)
        books = [] if enclosed is None else _books(pipeline, row)
    said = []
    if enclosed is not None:
        facts["enclosure_copies"] = []
        for name, book in books:
            place, new = _copied(f"{enclosed}{os.sep}", name, book, force=force, private=True)
            facts["enclosure_copies"].append(str(place))
            said.append(_said(place, new=new))
    if copy == STANDARD_OUTPUT:
        with output(copy, force=force) as file:
            file.write(data)
        return
    if copy is not None:
        place, new = _copied(copy, facts["filename"], data, force=force)
        facts["copy"] = str(place)
        said.append(_said(place, new=new))
    elif opened:
        _open(facts["filename"], data, facts["file"])
    if as_json:
        print_json(facts)
    else:
        print_letter(facts)
        for one in said:
            out.print(one, markup=False)


def show(
    authority: Authority,
    year: YearOption = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """The whole story of one letter.

    How it stands with everybody it is for, and what comes next; then what happened, day by day in
    London time: who did what and why, each attempt to send it and what the mail server said, and
    what earlier runs of the year held for this authority, if any was refreshed or cancelled; then
    the file, the messages and the figures. A letter that is withheld says so first. --json has
    every fact.

    Ends with 0 whenever there is such a letter, whatever its state, and 2 when there is none.

    Example: letters show E07000243 --year 2020
    """
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        found = run_of(pipeline, year)
        row = letter_of(pipeline, found, authority)
        told = story.story(pipeline.ledger, row.id)
        facts = {
            "year": found.year,
            "authority": row.authority_code,
            "name": row.authority_name,
            "kind": row.kind,
            "revision": row.revision,
            "withheld": row.withheld_because,
            "withheld_at": row.withheld_at and row.withheld_at.isoformat(timespec="seconds"),
            "withheld_by": story.withheld_by(pipeline.ledger, found, row),
            "forgotten_at": found.forgotten_at and found.forgotten_at.isoformat(timespec="seconds"),
            "forgotten_by": found.forgotten_by,
            "fault": row.fault,
            "pdf": row.pdf,
            "sha256": row.pdf_sha256,
            "pages": row.pages,
            "file": pipeline.archive.location(row.pdf) if row.pdf else None,
            "figures": row.figures,
            "recipients": row.recipients,
            "enclosures": _enclosed(pipeline, row),
            **asdict(told),
            "earlier_revisions": [
                {**asdict(one), "superseded_at": one.superseded_at.isoformat(timespec="seconds")}
                for one in reissues.earlier(pipeline.ledger, row)
            ],
            "earlier_runs": story.earlier(pipeline.ledger, found, row.authority_code),
            "approvals_wanted": run.approvals_lacking(pipeline, found, row.id),
            "mode": pipeline.outbox.mode.value,
            "only_to_domains": pipeline.outbox.only_to,
            "paused": hindrances.paused(found),
        }
        if as_json:
            print_json(facts)
        else:
            print_story(facts)


def _refuse_contradictions(copy: str | None, *, opened: bool, as_json: bool) -> None:
    if opened and copy is not None:
        raise Refused("Either --open or --out, not both.")
    if copy == STANDARD_OUTPUT and as_json:
        raise Refused("--out - writes the PDF to standard output, where --json writes too.")
    if copy == STANDARD_OUTPUT and sys.stdout.isatty():
        raise Refused("A PDF is not for a terminal; send it to a file: --out FILE, or | or >.")


def _letter(pipeline: Pipeline, found: Run, row: Any) -> dict[str, Any]:
    archive = pipeline.archive
    return {
        "year": found.year,
        "authority": row.authority_code,
        "name": row.authority_name,
        "revision": row.revision,
        "fault": row.fault,
        "withheld": row.withheld_because,
        "forgotten_at": None,
        "pdf": row.pdf,
        "file": archive.location(row.pdf) if row.pdf else None,
        "filename": pdf_filename(found.year, row.authority_name),
        "pages": row.pages,
        "sha256": row.pdf_sha256,
        "enclosures": _enclosed(pipeline, row),
    }


def _enclosed(pipeline: Pipeline, row: Any) -> list[dict[str, Any]]:
    """What goes with the letter; of one that is forgotten, its name in the mail is not known."""
    return [
        {
            **asdict(one),
            "place": pipeline.archive.location(one.file),
            "filename": workbook_filename(one.kind, row.fields) if row.fields else None,
        }
        for one in enclosures.of(pipeline.ledger, row.id)
    ]


def _books(pipeline: Pipeline, row: Any) -> list[tuple[str, bytes]]:
    """The workbooks that go with the letter. Raises Refused where there are none."""
    books = enclosures.of(pipeline.ledger, row.id)
    if not books:
        raise Refused(f"Nothing is enclosed with the letter to {row.authority_name}.")
    return [
        (workbook_filename(one.kind, row.fields), pipeline.archive.get(one.file, one.sha256))
        for one in books
    ]


def _said(place: Path, *, new: bool) -> str:
    return f"Copied to {place}." if new else f"{place} is this file already."


def _copied(
    copy: str, filename: str, data: bytes, *, force: bool, private: bool = False
) -> tuple[Path, bool]:
    """Where the copy lies, and whether it had to be written."""
    path = Path(copy)
    if copy.endswith(os.sep) or path.is_dir():
        if not path.is_dir():
            raise Refused(f"There is no folder {path}; make it first, or name a file.")
        path /= filename
    path = Path(os.path.realpath(path))
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return path, False
    with whole_file(path, force=force, private=private) as file:
        file.write(data)
    return path, True


def _open(filename: str, data: bytes, place: str) -> None:
    """Show a copy: a viewer that saves what was marked in it must not reach the frozen file."""
    otherwise = f"The letter is {place}; letters letter ... --out FILE writes a copy."
    viewer = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    desktop = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if viewer is None or not desktop:
        raise Unavailable(f"There is no desktop here to open a PDF with. {otherwise}")
    path = Path(tempfile.mkdtemp(prefix="letters-")) / filename
    path.write_bytes(data)
    path.chmod(0o400)
    process = subprocess.Popen(  # noqa: S603 - the desktop's own command, and a file made here
        [viewer, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(timeout=_VIEWER_S)
    except subprocess.TimeoutExpired:
        return  # some viewers stay for as long as they show it
    if code != 0:
        raise Unavailable(f"The desktop has nothing that opens a PDF ({viewer}). {otherwise}")
