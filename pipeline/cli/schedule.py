"""The commands that let letters go by themselves when they are due."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from pipeline import bootstrap, engines, log, schedule
from pipeline.cli import unforeseen
from pipeline.cli.metrics import text_now
from pipeline.cli.options import AsJson, Config, settings_now
from pipeline.display.console import err, out, print_json
from pipeline.display.progress import say, watching
from pipeline.display.schedule import Teller, facts, print_tick
from pipeline.errors import LettersError, Unavailable
from pipeline.metrics import LOOPBACK, served
from pipeline.schedule import Returns, Tick, Ticking
from pipeline.settings import Settings


def serve(
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port", metavar="N", min=1, max=65535, help="Answer Prometheus at this port."
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", metavar="ADDRESS", help="And at this address.")
    ] = LOOPBACK,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Make and send letters when they are due, until told to stop.

    Every edition in the statistics says when its letters are made (prepare_on, else a week before
    the letter's date) and when they are sent (dispatch_at, else nine o'clock in London on the
    letter's date). This command looks at those dates every minute (schedule.every), begins what
    is due and goes on with what was begun, by this server or another. Moving a date in the
    statistics moves the start. Each year is made once and sent once, however many servers look and
    however often they are stopped and started.

    A start that nobody was there to make is caught up within schedule.catch_up_days. After that it
    is missed: this is said once, and letters run YEAR still does it by hand. What is paused, lacks
    an approval or was put off by the mail server stays open and goes on by itself when it can; what
    a person has cancelled is left alone.

    What came back is read every few minutes (reports.every), as letters reports does. What a
    process that ended had in hand is taken back at each look.

    When a person is needed, whoever alerts.to names is told by mail, once for each cause, and again
    when it is over; letters alerts shows what is open. From a day before letters are sent on, that
    is also so while approval lacks.

    It begins with the plan: what it will do, and when. Then it prints a line when something
    changes: what it did, what waits for a person, what is due next, in London time. An error is
    said once, and the next look tries again. Settings are read at the start; to change one, start
    it anew.

    With --metrics-port Prometheus is answered at http://127.0.0.1:N/metrics with what letters
    metrics prints; only this machine can ask, unless --metrics-host names another address of it.

    Ctrl-C or SIGTERM stops it. Deliveries in hand are finished and recorded first, which takes as
    long as the mail server takes to answer; everything else waits for the next start. It then ends
    with 0. setup/systemd/letters.service runs it as a system service; letters tick is for cron.
    """
    settings = settings_now(unattended=True)
    teller = Teller()
    before: dict[str, LettersError] = {}
    planned = False
    returns = Returns(sources=bootstrap.sources(settings), every=settings.reports.every)
    try:
        teller.begin(settings.mail.mode, settings.schedule.every)
        with (
            _metrics(settings, metrics_host, metrics_port),
            Ticking(settings.schedule.every) as ticking,
        ):
            while True:
                ticking.wait()
                with watching(quiet=True) as watch:
                    watch.advance()  # a request to stop that came at a moment nobody could hear it
                try:
                    planned = planned or _tell_plan(settings, teller)
                    teller.tell(_tick(settings, returns, quiet=False))
                except BrokenPipeError:
                    raise
                except LettersError as error:
                    teller.tell_trouble(error)
                except Exception as error:  # noqa: BLE001 - a server outlives what nobody foresaw
                    teller.tell_trouble(_unforeseen(error, before))
    except KeyboardInterrupt:
        teller.end()
    except BrokenPipeError:
        # Elsewhere this means that a reader has seen enough. A server that ended quietly because
        # its log went away would leave letters unsent: ended so, it is started anew.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise typer.Exit(Unavailable.exit_code) from None


@contextmanager
def _metrics(settings: Settings, host: str, port: int | None) -> Iterator[None]:
    """Answer Prometheus meanwhile, if a port was named."""
    if port is None:
        yield
        return
    with served(partial(text_now, settings), host=host, port=port) as url:
        out.print(f"Prometheus is answered at {url}", markup=False)
        yield


def tick(as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Do what is due now, and end: for cron and systemd timers.

    Does what letters serve does at each of its looks. Run it every few minutes, for example from
    cron: */5 * * * * /srv/letters/.venv/bin/letters tick. When two run at once, one does the work
    and the other ends.

    Like letters serve it tells whoever alerts.to names when a person is needed.

    It prints what is news and nothing otherwise, so that cron writes a mail only when there is
    something to read. What waits for a person is said when it begins to wait, not at each look;
    letters status YEAR says it at any time.

    Ends with 0 when nothing needs a person, with 1 when there is news of something that does (a
    start that was missed, a letter that cannot be made, a delivery that failed or is in doubt,
    approval that is lacking, a letter or a mail that came back, another alert), with 69 when
    something it leans on is unavailable and with 78 when a setting or the statistics must be put
    right: the next look tries again.
    """
    settings = settings_now(unattended=True)
    returns = Returns(sources=bootstrap.sources(settings))
    done = _tick(settings, returns, quiet=as_json or not err.is_terminal)
    if as_json:
        print_json(facts(done))
    else:
        print_tick(done)
    raise typer.Exit(done.exit_code)


def _tick(settings: Settings, returns: Returns, *, quiet: bool) -> Tick:
    """One look. Everything is opened anew: what was away or was replaced is met afresh."""
    with (
        _logged(),
        bootstrap.pipeline(settings, writes=True, at_once=False) as pipeline,
        watching(quiet=quiet) as watch,
    ):
        return schedule.tick(
            pipeline,
            engines.chosen(settings, say=say),
            datetime.now(UTC),
            catch_up_days=settings.schedule.catch_up_days,
            progress=watch,
            returns=returns,
            telling=bootstrap.telling(settings),
        )


def _tell_plan(settings: Settings, teller: Teller) -> bool:
    """Say what the schedule will do; whether that could be found out."""
    reports = settings.reports
    reads = bool(bootstrap.sources(settings))
    with (
        suppress(LettersError),  # the look that follows says what is in the way
        bootstrap.pipeline(settings, writes=True, at_once=False) as pipeline,
    ):
        catch_up_days = settings.schedule.catch_up_days
        teller.plan(
            schedule.plan(pipeline, datetime.now(UTC), catch_up_days=catch_up_days),
            bootstrap.telling(settings),
            every=settings.schedule.every,
            reports_every=reports.every if reads else None,
        )
        return True
    return False


@contextmanager
def _logged() -> Iterator[None]:
    """Log what keeps a whole tick from looking."""
    try:
        yield
    except Exception as error:
        log.error("tick.failed", error=type(error).__name__)
        raise


def _unforeseen(error: Exception, before: dict[str, LettersError]) -> LettersError:
    """The sentence for what nobody foresaw; the same for the same place, with its one file."""
    place = f"{type(error).__name__} {traceback.format_tb(error.__traceback__)[-1:]}"
    if place not in before:
        before[place] = Unavailable(f"{unforeseen.told(error)} The next look tries again.")
    return before[place]
