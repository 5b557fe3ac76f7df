"""The command line: `letters ...`.

Exit codes: 0 nothing needs a person, 1 something does (printed), 2 usage, 69 something leaned on is
unavailable, 70 a fault of the program itself, 78 configuration, 130 interrupted. `status` and
`show` end with 0 whenever they could answer.
"""

import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from pipeline.cli import options, unforeseen
from pipeline.cli.listing import Listed
from pipeline.display.interruption import interrupted
from pipeline.errors import BadData, LettersError, Refused, Unavailable

# A new command is one entry here: its name, its module and function, and the first line of that
# function's docstring. They are listed in this order, and imported only when they are called.
_COMMANDS = (
    (
        "import",
        "data.import_statistics",
        "Load statistics from a folder of CSV files or from a workbook.",
    ),
    ("edition", "edition.edition", "A year's settings: to look at, to start a year, to change."),
    ("check", "check.check", "Look at everything that a run leans on, and say what to mend."),
    ("run", "year.run_year", "Make and send a year's letters, or go on with them."),
    ("prepare", "year.prepare", "Make a year's letters, and send nothing."),
    ("proof", "proof.proof", "A year's letters to page through, before somebody approves them."),
    ("test", "trial.trial", "Send some letters to yourself, to see how they arrive."),
    ("approve", "approve.approve", "Approve a year's letters, or some of them, as they stand."),
    ("send", "year.send", "Send what is prepared of a year, or go on sending."),
    ("status", "year.status", "How a year stands, and what needs a person."),
    ("show", "letter.show", "The whole story of one letter."),
    ("letter", "letter.letter", "One letter's PDF: where it is, to look at, or a copy of it."),
    (
        "resend",
        "resend.resend",
        "Send a letter again, or several with --kind, --state and --codes.",
    ),
    ("resolve", "resolve.resolve", "Settle a letter's deliveries that are in doubt."),
    ("reports", "reports.reports", "Read what came back, and record what became of the letters."),
    ("refresh", "holds.refresh", "Take corrections of the statistics into a year that is open."),
    ("reissue", "reissue.reissue", "Replace one letter after its figures were corrected."),
    ("pause", "holds.pause", "Stop sending a year's letters: the stop button."),
    ("resume", "holds.resume", "Let a paused year go on, or release a letter that was withheld."),
    ("cancel", "holds.cancel", "Cancel a year's run, or withhold one letter."),
    ("serve", "schedule.serve", "Make and send letters when they are due, until told to stop."),
    ("tick", "schedule.tick", "Do what is due now, and end: for cron and systemd timers."),
    ("alerts", "alerts.alerts", "What needs a person now, the worst first, and what to do."),
    ("metrics", "metrics.metrics", "Print how the letters stand, for Prometheus."),
    ("verify", "audit.verify", "Prove the archive against the ledger."),
    ("remake", "remake.remake", "Make a year's letters again from what was frozen, and compare."),
    ("export", "audit.export", "Account for a year: who was sent what, when, and what came of it."),
    ("forget", "forget.forget", "Forget the people of old years: names, addresses, letters."),
    (
        "template check",
        "template.check",
        "Say everything that is wrong with a template, in the words of Word.",
    ),
    ("template preview", "preview.show", "Make some letters with a template, to look at them."),
    (
        "template diff",
        "preview.diff",
        "What another template would say in a year's letters.",
    ),
    (
        "template versions",
        "template.versions",
        "Which template each run was opened with, and whether it is kept.",
    ),
    (
        "db upgrade",
        "machine.db_upgrade",
        "Create the ledger's tables, or bring them up to this version.",
    ),
    (
        "db confirm",
        "machine.db_confirm",
        "Let a ledger send that was copied or put back from a backup.",
    ),
)
_GROUPS = {
    "template": "Look after the letter's template.",
    "db": "Look after the database.",
}


class _Letters(TyperGroup):
    """All commands and groups of commands, by their names alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        groups = {
            name: TyperGroup(name=name, help=told, no_args_is_help=True, rich_markup_mode=None)
            for name, told in _GROUPS.items()
        }
        for full_name, place, first_line in _COMMANDS:
            *within, name = full_name.split()
            command = Listed(name, place, first_line)
            (groups[within[0]] if within else self).add_command(command)
        for group in groups.values():
            self.add_command(group)


app = typer.Typer(
    name="letters",
    help="""Prepare, prove and email the annual review letters, and keep the record of it.

    \b
    A year, in order:
      letters import FOLDER    bring the year's statistics in
      letters check            is everything there that a run needs?
      letters prepare 2020     make and prove every letter; nothing is sent
      letters proof 2020       page through them, with the checks on top
      letters approve 2020     where the settings ask for it
      letters send 2020        send them, and record what came of it
      letters status 2020      how it stands, and what needs a person

    letters run 2020 does all of it at once; letters serve does it when it is due. Calling a command
    again is always safe: it goes on where it stopped, and sends nothing twice. Out of the box all
    mail is kept on this machine.

    \b
    Exit codes: 0 nothing needs a person, 1 something does (it is printed),
    2 a wrong call, 69 something leaned on is unavailable, 70 a fault of the
    program itself, 78 a setting is wrong, 130 it was told to stop (Ctrl-C).

    More: docs/operating.md. Every command explains itself: letters COMMAND --help
    """,
    cls=_Letters,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 128 + 2
_READABLE = 100  # faults


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"letters {version('annual-letters')}")
        raise typer.Exit


@app.callback()
def _letters(
    config: options.Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    pass


def _readable(error: LettersError) -> str:
    """On a terminal no more faults than a person reads; a file or a pipe gets every one."""
    from pipeline.display.console import err

    if not (isinstance(error, BadData) and err.is_terminal and len(error.faults) > _READABLE):
        return str(error)
    more = len(error.faults) - _READABLE
    return (
        f"{BadData(error.summary, error.faults[:_READABLE])}\n"
        f"and {more:,} more; to have them all in a file, add 2> faults.txt"
    )


def _open_what_is_closed() -> None:
    """Nothing, in the place of standard streams that were closed before the program began.

    Otherwise the next file that is opened would take the place, be it the ledger, and whatever a
    child process prints would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free place
            nothing = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, nothing)


def _show_every_name() -> None:
    """A name that a terminal has no letters for is better shown oddly than not at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _heed_signals() -> None:
    """Finish in good order after Ctrl-C, a request to end and a closed terminal.

    What nohup has made deaf to a closed terminal stays so.
    """
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupted)


def _let_go() -> None:
    """Drop what no stream takes: Python would try again at its end, and make the exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(sentence: str, style: str | None = None) -> None:
    """A sentence on standard error, if that takes any: it must not cost the exit code."""
    from pipeline.display.console import err

    with suppress(OSError):
        err.print(sentence, markup=False, style=style)


def main() -> NoReturn:
    """Run the command line; every error that is meant for a person ends as one sentence."""
    options.forget()
    _open_what_is_closed()
    _show_every_name()
    try:
        _heed_signals()
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as ended:
        code = ended.exit_code
    except typer.Abort:
        _say("Given up; nothing was changed.")
        code = 1
    except LettersError as error:
        _say(f"letters: {_readable(error)}", "bold red")
        code = error.exit_code
    except KeyboardInterrupt:  # before Typer has begun with the command
        code = _INTERRUPTED
    except BrokenPipeError:
        code = 0  # whoever was reading has seen enough
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _say(
            f"letters: The operating system refused{where}: {error.strerror}. Everything done so"
            " far is kept; make room or mend what it names, and run it again.",
            "bold red",
        )
        code = Unavailable.exit_code
    except typer.TyperException as error:
        # A wrong call: Typer's own class for it, which can show the usage, is not public.
        show_usage = getattr(error, "show", None)
        if show_usage is not None:
            with suppress(OSError):
                show_usage()
        else:
            _say(f"letters: {error}", "bold red")
        code = getattr(error, "exit_code", Refused.exit_code)
    except Exception as error:  # noqa: BLE001 - the last place where it can become a sentence
        _say(f"letters: {unforeseen.told(error)}", "bold red")
        code = unforeseen.EXIT_CODE
    if code == _INTERRUPTED:  # Typer turns Ctrl-C into this
        _say("Interrupted. Everything done so far is kept. To go on, give the same command again.")
    _let_go()
    sys.exit(code if isinstance(code, int) else 0)
