"""The command line: `letters ...`.

Exit codes: 0 nothing needs a person, 1 something does (printed), 2 usage, 69 something leaned on is
unavailable, 78 configuration. `status` and `show` end with 0 whenever they could answer.
"""

import difflib
import getpass
import os
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pipeline import bootstrap, importer, migrate, run
from pipeline.address import ascii_address
from pipeline.delivery import State
from pipeline.display import (
    err,
    interrupted,
    out,
    print_json,
    print_loaded,
    print_story,
    print_summary,
    watching,
)
from pipeline.engines.local import LocalEngine
from pipeline.errors import LetterFault, LettersError, Refused, Unavailable
from pipeline.ledger import messages, runs, story
from pipeline.ledger.runs import Run
from pipeline.ledger.story import Summary
from pipeline.settings import Settings, load

app = typer.Typer(
    name="letters",
    help="Prepare, prove and email the annual review letters, and keep the record of it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db_app = typer.Typer(help="Look after the database.", no_args_is_help=True)
app.add_typer(db_app, name="db")

_chosen: dict[str, Path] = {}
_INTERRUPTED = 128 + 2


def _choose(config: Path | None) -> Path | None:
    """Remember --config wherever it stands: before the command or after it."""
    if config is not None:
        _chosen["config"] = config
    return config


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        callback=_choose,
        help="Another settings file than the project's own config/letters.toml.",
    ),
]
Year = Annotated[
    int, typer.Argument(min=1974, max=9999, help="The year of the letters, such as 2020.")
]
YearOption = Annotated[
    int | None, typer.Option("--year", min=1974, max=9999, help="The year of the letter.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, for scripts.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who does this; else the login name.")
]


@app.callback()
def _letters(config: Config = None) -> None:
    pass


def _settings() -> Settings:
    return load(_chosen.get("config"))


@app.command("run")
def run_year(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Make and send a year's letters, or go on with them.

    Pull, compose, prepare, prove, send, record. Calling it again goes on where it stopped, and
    changes nothing once the year is done.
    """
    settings = _settings()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        with watching(quiet=as_json) as watch:
            result = run.annual_run(
                pipeline, LocalEngine(settings), year, person=_person(by), progress=watch
            )
        if as_json:
            print_json(_status(pipeline, result.run))
        else:
            print_summary(pipeline, result)
    raise typer.Exit(_needs_somebody(result.summary, result.awaiting))


@app.command()
def status(year: Year, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """How a year stands, and what needs a person."""
    settings = _settings()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = _run_of(pipeline, year)
        if as_json:
            print_json(_status(pipeline, found))
            return
        result = run.Result(
            run=found,
            summary=story.summary(pipeline.ledger, found, pipeline.outbox.mode),
            awaiting=run.approvals_wanted(pipeline, found),
        )
        print_summary(pipeline, result)


@app.command()
def show(
    authority: Annotated[str, typer.Argument(help="The authority's code, such as E07000243.")],
    year: YearOption = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """The whole story of one letter.

    Its figures, file, messages, deliveries and events.
    """
    settings = _settings()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = _run_of(pipeline, year)
        letter = _letter_of(pipeline, found, authority)
        told = story.story(pipeline.ledger, letter.id)
        facts = {
            "year": found.year,
            "authority": letter.authority_code,
            "name": letter.authority_name,
            "kind": letter.kind,
            "revision": letter.revision,
            "fault": letter.fault,
            "pdf": letter.pdf,
            "sha256": letter.pdf_sha256,
            "pages": letter.pages,
            "file": pipeline.archive.location(letter.pdf) if letter.pdf else None,
            "figures": letter.figures,
            "recipients": letter.recipients,
            **asdict(told),
        }
        if as_json:
            print_json(facts)
        else:
            print_story(facts)


@app.command()
def resend(
    authority: Annotated[str, typer.Argument(help="The authority's code, such as E07000243.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept on record.")],
    year: YearOption = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Instead of all recipients; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Send one authority's letter again.

    It goes as a new message, linked to the one before. The PDF is the one on record, byte for byte;
    nothing is made anew.
    """
    settings = _settings()
    if not reason.strip():
        raise Refused("A re-send needs a reason that will still make sense next year; --reason.")
    # the same address twice is one recipient, as it is in a letter
    replaced = (
        [_recipient(one) for one in {one.casefold(): one for one in to}.values()] if to else None
    )
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = _run_of(pipeline, year)
        letter = _letter_of(pipeline, found, authority)
        if letter.pdf is None:
            why = letter.fault or "it has not been prepared"
            raise Refused(f"There is no letter to {letter.authority_name} to send again: {why}")
        going = [one["address"] for one in (replaced or letter.recipients)]
        if not yes and sys.stdin.isatty():
            err.print(f"The {found.year} letter to {letter.authority_name} ({letter.pdf})")
            err.print(f"goes again to {', '.join(going)}, in {pipeline.outbox.mode} mode.")
            if not typer.confirm("Send it?", err=True):
                err.print("Nothing was sent.")
                raise typer.Exit(1)
        message = messages.resend(
            pipeline.ledger,
            letter.id,
            pipeline.outbox.sender,
            to=replaced,
            reason=reason.strip(),
            person=_person(by),
            request_key=None,
            now=datetime.now(UTC),
        )
        with watching(quiet=as_json) as watch:
            run.send_one(pipeline, found, message, progress=watch)
        told = story.story(pipeline.ledger, letter.id)
        sent = next(one for one in told.messages if one["id"] == message)
        made = [one for one in told.deliveries if one["message_id"] == sent["message_id"]]
        if as_json:
            print_json({"authority": letter.authority_code, "message": sent, "deliveries": made})
        else:
            for one in made:
                out.print(f"{one['recipient']}: {one['state']}", markup=False)
            out.print(f"Recorded as {sent['message_id']}.", markup=False)
    settled = {State.ACCEPTED.value, State.DELIVERED.value}
    raise typer.Exit(0 if all(one["state"] in settled for one in made) else 1)


@app.command("import")
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
    settings = _settings()
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


@app.command()
def approve(year: Year, by: By = None, as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Approve a year's letters as they stand.

    Any change afterwards voids the approval.
    """
    settings = _settings()
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = _run_of(pipeline, year)
        person = _person(by)
        digest = runs.approve(pipeline.ledger, found, person=person, now=datetime.now(UTC))
        awaiting = run.approvals_wanted(pipeline, found)
    if as_json:
        print_json({"year": year, "by": person, "digest": digest, "awaiting": awaiting})
    else:
        out.print(f"{person} has approved the letters of {year} as they stand ({digest[:12]}).")
        if awaiting:
            out.print(f"{awaiting} more must approve before anything is sent.")
        else:
            out.print(f"They can be sent: letters run {year}")


@db_app.command("upgrade")
def db_upgrade(as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Create the ledger's tables, or bring them up to this version of the program."""
    ledger = bootstrap.open_ledger(_settings())
    try:
        before, after = migrate.upgrade(ledger)
        if as_json:
            print_json({"database": str(ledger), "from": before, "to": after})
        elif before == after:
            out.print(f"{ledger} is at version {after} already.", markup=False)
        else:
            out.print(f"{ledger} is now at version {after}.", markup=False)
    finally:
        ledger.close()


def main() -> NoReturn:
    """Run the command line; every error that is meant for a person ends as one sentence."""
    _chosen.clear()
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as ended:
        code = ended.exit_code
    except typer.Abort:
        err.print("Given up; nothing was changed.")
        code = 1
    except LettersError as error:
        err.print(f"letters: {error}", markup=False, style="bold red")
        code = error.exit_code
    except BrokenPipeError:
        # Whoever was reading has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f" {error.filename}" if error.filename else ""
        err.print(
            f"letters: The operating system refused{where}: {error.strerror}. Everything done so"
            " far is kept; make room or mend what it names, and run it again.",
            markup=False,
            style="bold red",
        )
        code = Unavailable.exit_code
    except typer.TyperException as error:
        # A wrong call: Typer's own class for it, which can show the usage, is not public.
        show_usage = getattr(error, "show", None)
        if show_usage is not None:
            show_usage()
        else:
            err.print(f"letters: {error}", markup=False, style="bold red")
        code = getattr(error, "exit_code", Refused.exit_code)
    if code == _INTERRUPTED:  # Typer turns Ctrl-C into this
        err.print("Interrupted. Everything done so far is kept; run it again to go on.")
    sys.exit(code if isinstance(code, int) else 0)


def _person(by: str | None) -> str:
    if by and by.strip():
        return by.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _recipient(address: str) -> dict[str, Any]:
    try:
        ascii_address(address.strip())
    except LetterFault as fault:
        raise Refused(f"--to {address}: {fault}") from fault
    return {
        "address": address.strip(),
        "name": "",
        "roles": ["named for this message"],
        "kind": "to",
    }


def _run_of(pipeline: run.Pipeline, year: int | None) -> Run:
    if year is None:
        known = runs.years(pipeline.ledger)
        if len(known) != 1:
            listed = ", ".join(map(str, known)) or "none"
            raise Refused(f"Which year? Name it with --year (on record: {listed}).")
        year = known[0]
    found = runs.find_run(pipeline.ledger, year)
    if found is None:
        listed = ", ".join(map(str, runs.years(pipeline.ledger))) or "none"
        raise Refused(f"No run of {year} is on record (there is: {listed}); letters run {year}")
    return found


def _letter_of(pipeline: run.Pipeline, found: Run, authority: str) -> Any:
    letter = story.find_letter(pipeline.ledger, found, authority.strip())
    if letter is not None:
        return letter
    names = story.near_names(pipeline.ledger, found)
    wanted = authority.strip().casefold()
    near = [code for code, name in names.items() if wanted in name.casefold()]
    near += [
        code
        for code, name in names.items()
        if name in difflib.get_close_matches(authority, names.values(), n=3)
    ]
    near += difflib.get_close_matches(authority.upper(), names, n=3)
    hint = "; ".join(f"{code} {names[code]}" for code in dict.fromkeys(near[:5]))
    raise Refused(
        f"The {found.year} run has no letter for the code {authority}."
        + (f" Did you mean {hint}?" if hint else "")
    )


def _needs_somebody(summary: Summary, awaiting: int) -> int:
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


if __name__ == "__main__":
    main()
