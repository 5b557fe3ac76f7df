"""The commands for a whole year."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer

from pipeline import bootstrap, engines, run, source
from pipeline.cli.finding import run_of
from pipeline.cli.options import AnyYear, AsJson, By, Config, Year, person, settings_now
from pipeline.display.console import err, print_json
from pipeline.display.progress import say, watching
from pipeline.display.summary import print_not_begun, print_summary, waiting
from pipeline.errors import LettersError
from pipeline.ledger import hindrances, relays, runs, starts, story
from pipeline.ledger.relays import Trouble
from pipeline.ledger.starts import Start
from pipeline.settings import Settings
from pipeline.source import Dates
from pipeline.transport import Relay


def run_year(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Make and send a year's letters, or go on with them.

    Pull, compose, prepare, prove, send, record. Calling it again goes on where it stopped, and
    changes nothing once the year is done. Where approval is asked for, it stops before sending and
    says so.

    Ends with 0 when nothing needs a person and with 1 when something does, which it prints.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        with watching(quiet=as_json) as watch:
            result = run.annual_run(
                pipeline, engines.chosen(settings, say=say), year, person=person(by), progress=watch
            )
        _tell(pipeline, result, as_json=as_json)
    raise typer.Exit(0 if result.is_finished else 1)


def prepare(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Make a year's letters, and send nothing.

    Pull, compose, prepare, prove: the first half of letters run. The letters can then be looked
    at (letters letter AUTHORITY --open), approved where that is asked for, and sent (letters send
    YEAR). A running schedule (letters serve) sends them by itself once their time has come.

    Ends with 0 when every letter could be made, with 1 when somebody has to look at one.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        with watching(quiet=as_json) as watch:
            found = run.prepared_run(
                pipeline, engines.chosen(settings, say=say), year, person=person(by), progress=watch
            )
        result = run.stands(pipeline, found)
        _tell(pipeline, result, as_json=as_json)
    letters = result.summary.letters
    raise typer.Exit(1 if letters["fault"] or letters["unprepared"] else 0)


def send(year: Year, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Send what is prepared of a year, or go on sending.

    The second half of letters run: nothing is pulled and nothing is made. Where approval is asked
    for and lacking, or the year is paused, nothing is sent.

    Ends with 0 when nothing needs a person and with 1 when something does, which it prints.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year)
        with watching(quiet=as_json) as watch:
            result = run.sent_run(pipeline, found, progress=watch)
        _tell(pipeline, result, as_json=as_json)
    raise typer.Exit(0 if result.is_finished else 1)


def status(
    year: AnyYear = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """How a year stands, and what needs a person.

    Without a YEAR, the only one on record. Counts of letters and deliveries in the mode that is
    set, where the files lie, when the schedule is to begin, and what to do next. Changes nothing,
    and ends with 0 whenever it could answer.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        if year is None:
            year = run_of(pipeline, None).year
        found = runs.find_run(pipeline.ledger, year)
        dates = _dates(pipeline, year)
        if found is None and dates is None:
            run_of(pipeline, year)  # which says what there is
        mode = pipeline.outbox.mode
        missed = starts.missed(pipeline.ledger, year, mode)
        if (refusal := run.refusal(pipeline)) is not None:
            # Of a ledger that may be yesterday's, what follows may be too.
            err.print(str(refusal), markup=False, style="bold red")
        if found is not None:
            _tell(
                pipeline,
                run.stands(pipeline, found),
                as_json=as_json,
                dates=dates,
                missed=missed,
                trouble=_trouble(pipeline, settings),
            )
        elif as_json:
            none = run.phase_of(pipeline, year, None)
            print_json({"year": year, "mode": mode.value, "phase": none, **_due(dates, missed)})
        else:
            print_not_begun(
                year,
                dates,
                missed,
                hindrances.cancelled(pipeline.ledger, year),
                phase=run.phase_of(pipeline, year, None),
            )


def _dates(pipeline: run.Pipeline, year: int) -> Dates | None:
    """When the year's letters are to be made and sent, as far as the statistics can say."""
    with contextlib.suppress(LettersError):
        for dates in source.calendar(pipeline.statistics).editions:
            if dates.year == year:
                return dates
    return None


def _trouble(pipeline: run.Pipeline, settings: Settings) -> Trouble | None:
    """The trouble that the relay is known to be in, if any; for which no password is read."""
    if pipeline.outbox.relay is None:
        return None
    smtp = settings.smtp
    place = Relay(host=smtp.host, port=smtp.port, security=smtp.security).place
    return relays.in_trouble(pipeline.ledger, place)


def _due(dates: Dates | None, missed: Sequence[Start]) -> dict[str, Any]:
    return {
        "prepare_at": dates.prepare_at.isoformat() if dates else None,
        "dispatch_at": dates.dispatch_at.isoformat() if dates else None,
        "missed": [one.step.value for one in missed],
    }


def _tell(
    pipeline: run.Pipeline,
    result: run.Result,
    *,
    as_json: bool,
    dates: Dates | None = None,
    missed: Sequence[Start] = (),
    trouble: Trouble | None = None,
) -> None:
    if not as_json:
        print_summary(pipeline, result, dates=dates, missed=missed, trouble=trouble)
        return
    found, mode = result.run, pipeline.outbox.mode
    paused = None
    if found.paused_at is not None:
        paused = {
            "at": found.paused_at.isoformat(timespec="seconds"),
            "by": found.paused_by,
            "because": found.paused_because,
        }
    others = waiting(pipeline, found)
    print_json(
        {
            "year": found.year,
            "mode": mode.value,
            "phase": run.phase_of(pipeline, found.year, result),
            "counts": result.summary.deliveries,
            "prepared": result.summary.letters,
            "awaiting_approvals": result.awaiting,
            "unapproved": result.unapproved,
            "paused": paused,
            "forgotten_at": found.forgotten_at and found.forgotten_at.isoformat(timespec="seconds"),
            "only_to_domains": pipeline.outbox.only_to,
            "kept_back": others.kept_back,
            "being_sent": others.in_hand,
            "relay_in_trouble": trouble
            and {
                "relay": trouble.relay,
                "since": trouble.since.isoformat(timespec="seconds"),
                "retry_at": trouble.retry_at.isoformat(timespec="seconds"),
                "reason": trouble.reason,
            },
            **_due(dates, missed),
            "letters": [asdict(one) for one in story.statuses(pipeline.ledger, found, mode)],
        }
    )
