"""The commands that bring data in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from pipeline import bootstrap, importer, migrate
from pipeline.cli.options import AsJson, By, Config, person, settings_now
from pipeline.database import Database
from pipeline.display.console import err, print_json
from pipeline.display.loaded import print_loaded
from pipeline.errors import Refused
from pipeline.importer import Loaded
from pipeline.ledger import events, holds, runs
from pipeline.schema import Event


def import_statistics(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A folder of CSV files, or a workbook (.xlsx)."),
    ],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Delete what files or sheets do not hold any more."),
    ] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Load statistics from a folder of CSV files or from a workbook.

    Everything is loaded, or nothing: every row is checked first, and all faults are reported at
    once, each with its file or sheet and its line or cell. docs/data.md says what the files or
    sheets hold. A row with the key of one that is there already replaces it; other rows stay,
    unless --replace is given: then a relation that has a file or sheet holds exactly its rows.

    Prints how many rows of each relation were added, replaced, unchanged and removed, and notes on
    what looks odd. Who imported what, with the SHA-256 of each file, is kept on record. A run that
    is open keeps what it was opened with: if nothing of it has gone to an authority yet, it is said
    how to take the changes in.

    Ends with 0 when it is loaded, 1 when there are faults (nothing is loaded then), 2 when there is
    no such folder or workbook, 69 when the database cannot be used.

    Example: letters import statistics-2020.xlsx --by "Ann Other"
    """
    settings = settings_now()
    if settings.source.url:
        raise Refused(
            "source.url names another statistics database, which is read only; "
            "import into it with its own tools, or leave source.url empty."
        )
    who = person(by)

    def record(connection: sa.Connection, loaded: Loaded) -> None:
        events.note(
            connection,
            Event.STATISTICS_IMPORTED,
            at=datetime.now(UTC),
            person=who,
            data={
                "path": _text(path.absolute()),
                "sources": [asdict(one) for one in loaded.sources],
                "counts": {name: asdict(one) for name, one in loaded.counts.items()},
                "replace": replace,
            },
        )

    ledger = bootstrap.open_ledger(settings)
    try:
        migrate.ensure_current(ledger)
        with _busy(quiet=as_json):
            loaded = importer.import_from(ledger, path, replace=replace, record=record)
        concerned = _open_years(ledger) if _has_changed(loaded) else []
    finally:
        ledger.close()
    if as_json:
        print_json({**asdict(loaded), "open_runs": concerned})
    else:
        print_loaded(loaded, concerned)


@contextmanager
def _busy(*, quiet: bool) -> Iterator[None]:
    """A sign of life while a person waits; how long it takes is not known beforehand."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status("Reading, checking and storing"):
        yield


def _has_changed(loaded: Loaded) -> bool:
    return any(one.added or one.replaced or one.removed for one in loaded.counts.values())


def _open_years(ledger: Database) -> list[int]:
    """The years whose run could still take something in: nothing of it has gone."""
    found = []
    for year in runs.years(ledger):
        run = runs.find_run(ledger, year)
        if run is None:
            continue
        with ledger.read() as connection:
            if not holds.count_gone(connection, run):
                found.append(year)
    return found


def _text(path: Path) -> str:
    """The path as text that can be stored, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "replace").decode()
