"""The command line: `letters ...`.

Exit codes: 0 nothing needs a person, 1 something does (printed), 2 usage, 69 something leaned on is
unavailable, 70 a fault of the program itself, 78 configuration. `status` and `show` end with 0
whenever they could answer.
"""

import io
import os
import signal
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline.cli import (
    audit,
    check,
    data,
    holds,
    letter,
    machine,
    options,
    resend,
    schedule,
    unforeseen,
    year,
)
from pipeline.display.console import err
from pipeline.display.progress import interrupted
from pipeline.errors import BadData, LettersError, Refused, Unavailable

app = typer.Typer(
    name="letters",
    help="""Prepare, prove and email the annual review letters, and keep the record of it.

    \b
    A year, in order:
      letters import FOLDER    bring the year's statistics in
      letters check            is everything there that a run needs?
      letters prepare 2020     make and prove every letter; nothing is sent
      letters approve 2020     where the settings ask for it
      letters send 2020        send them, and record what came of it
      letters status 2020      how it stands, and what needs a person

    letters run 2020 does all of it at once; letters serve does it when it is due. Calling a command
    again is always safe: it goes on where it stopped, and sends nothing twice. Out of the box all
    mail is kept on this machine.

    \b
    Exit codes: 0 nothing needs a person, 1 something does (it is printed),
    2 a wrong call, 69 something leaned on is unavailable, 70 a fault of the
    program itself, 78 a setting is wrong.

    More: docs/operating.md. Every command explains itself: letters COMMAND --help
    """,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("import")(data.import_statistics)
app.command()(check.check)
app.command("run")(year.run_year)
app.command()(year.prepare)
app.command()(year.approve)
app.command()(year.send)
app.command()(year.status)
app.command()(letter.show)
app.command()(letter.letter)
app.command()(resend.resend)
app.command()(holds.refresh)
app.command()(holds.pause)
app.command()(holds.resume)
app.command()(holds.cancel)
app.command()(schedule.serve)
app.command()(schedule.tick)
app.command()(audit.verify)
app.command()(audit.export)

db_app = typer.Typer(help="Look after the database.", no_args_is_help=True)
db_app.command("upgrade")(machine.db_upgrade)
app.add_typer(db_app, name="db")

_INTERRUPTED = 128 + 2
_READABLE = 100  # faults


def _version(wanted: bool) -> None:
    if wanted:
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
