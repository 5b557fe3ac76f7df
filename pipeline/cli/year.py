"""The commands for a whole year."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from pipeline import bootstrap, run
from pipeline.cli.finding import run_of
from pipeline.cli.options import AsJson, By, Config, Year, person, settings_now
from pipeline.display.console import out, print_json
from pipeline.display.progress import watching
from pipeline.display.summary import print_summary
from pipeline.engines.local import LocalEngine
from pipeline.ledger import runs, story
from pipeline.ledger.runs import Run
from pipeline.ledger.story import Summary


def run_year(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Make and send a year's letters, or go on with them.

    Pull, compose, prepare, prove, send, record. Calling it again goes on where it stopped, and
    changes nothing once the year is done.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        with watching(quiet=as_json) as watch:
            result = run.annual_run(
                pipeline, LocalEngine(settings), year, person=person(by), progress=watch
            )
        if as_json:
            print_json(_status(pipeline, result.run))
        else:
            print_summary(pipeline, result)
    raise typer.Exit(needs_somebody(result.summary, result.awaiting))


def status(year: Year, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """How a year stands, and what needs a person."""
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = run_of(pipeline, year)
        if as_json:
            print_json(_status(pipeline, found))
            return
        print_summary(pipeline, run.stands(pipeline, found))


def approve(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Approve a year's letters as they stand.

    Any change afterwards voids the approval.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year)
        approver = person(by)
        digest = runs.approve(pipeline.ledger, found, person=approver, now=datetime.now(UTC))
        awaiting = run.approvals_wanted(pipeline, found)
    if as_json:
        print_json({"year": year, "by": approver, "digest": digest, "awaiting": awaiting})
    else:
        out.print(f"{approver} has approved the letters of {year} as they stand ({digest[:12]}).")
        if awaiting:
            out.print(f"{awaiting} more must approve before anything is sent.")
        else:
            out.print(f"They can be sent: letters run {year}")


def needs_somebody(summary: Summary, awaiting: int) -> int:
    """The exit code of a command that has taken a run as far as it goes: 1 if it stops short."""
    return 1 if summary.needs_a_person or summary.unfinished or awaiting else 0


def _status(pipeline: run.Pipeline, found: Run) -> dict[str, Any]:
    mode = pipeline.outbox.mode
    summary = story.summary(pipeline.ledger, found, mode)
    return {
        "year": found.year,
        "mode": mode.value,
        "counts": summary.deliveries,
        "prepared": summary.letters,
        "awaiting_approvals": run.approvals_wanted(pipeline, found),
        "letters": [asdict(one) for one in story.statuses(pipeline.ledger, found, mode)],
    }
