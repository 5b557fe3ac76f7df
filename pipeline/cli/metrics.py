"""The command that tells Prometheus how the letters stand."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import bootstrap, migrate
from pipeline.cli.options import Config, settings_now
from pipeline.cli.writing import output, whole_file
from pipeline.ledger import counts
from pipeline.metrics import exposition
from pipeline.settings import Settings


def metrics(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write to this file, or replace it, at once."),
    ] = None,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Print how the letters stand, for Prometheus.

    The text format, from the ledger at this moment: letters by year and how they stand, deliveries
    by year, mode and state, how long the oldest doubt has lasted, how long ago the last thing
    happened, relays in trouble, starts due and missed, returned mail that waits for a person.
    Years, modes, states and relays are labels; no authority is, and no person.

    With --out the file is there whole or not at all, and takes the place of the one before: for
    node_exporter's textfile collector, from cron or a timer. letters serve --metrics-port answers
    Prometheus itself.

    Ends with 0 when it is written, with 69 when the ledger cannot be read.

    Example: letters metrics --out /var/lib/node_exporter/letters.prom
    """
    text = text_now(settings_now())
    if out is None:
        with output(None, force=False) as file:
            file.write(text)
        return
    with whole_file(out, force=True, private=False) as file:
        file.write(text)


def text_now(settings: Settings) -> bytes:
    """The metrics of the ledger as it is at this moment; it is opened anew."""
    with closing(bootstrap.open_ledger(settings)) as ledger:
        migrate.require_current(ledger)
        return exposition(counts.count(ledger), now=datetime.now(UTC))
