"""The commands that bring data in and out."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, importer, migrate
from pipeline.cli.options import AsJson, Config, settings_now
from pipeline.display.console import print_json
from pipeline.display.loaded import print_loaded
from pipeline.errors import Refused


def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of CSV files.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what the files do not hold any more.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Load statistics from a folder of CSV files.

    Everything is loaded, or nothing. Every row of every file is checked first, and all faults are
    reported at once.
    """
    settings = settings_now()
    if settings.source.url:
        raise Refused(
            "source.url names another statistics database, which is read only; "
            "import into it with its own tools, or leave source.url empty."
        )
    ledger = bootstrap.open_ledger(settings)
    try:
        migrate.ensure_current(ledger)
        loaded = importer.import_folder(ledger, folder, replace=replace)
    finally:
        ledger.close()
    if as_json:
        print_json(asdict(loaded))
    else:
        print_loaded(loaded)
