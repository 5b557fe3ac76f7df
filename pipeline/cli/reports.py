"""The command for what came back."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, evidence
from pipeline.cli.options import AsJson, By, Config, person, settings_now
from pipeline.display import reports as page
from pipeline.display.console import print_json
from pipeline.display.progress import watching
from pipeline.errors import Misconfigured, Refused
from pipeline.ledger import reports as ledger

_NUMBERS = re.compile(r"(?P<first>[0-9]{1,12})(?:-(?P<last>[0-9]{1,12}))?")


def reports(
    list_: Annotated[
        bool,
        typer.Option(
            "--list", help="List what came back and what waits for a person; read nothing."
        ),
    ] = False,
    seen: Annotated[
        list[str] | None,
        typer.Option(
            "--seen",
            metavar="NUMBERS",
            help="You have looked at these of the list: 12, or 12,14-20; may be repeated.",
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", help="What came of looking at it; kept on record."),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Read what came back, and record what became of the letters.

    Reads the mailbox that reports come to (reports.mailbox: a Maildir or an IMAP folder) and the
    relay's log (reports.relay_log). A report that a letter failed makes its delivery bounced, also
    late; one that it arrived makes it delivered; a doubt is settled by a report, or by the log,
    either way. Delays and automatic answers are told in the letter's story and change nothing. Each
    mail counts once, however often it is read and by however many. letters serve and letters tick
    do the same by themselves.

    A report is matched by the address it came to, which only this program can have made, else by
    the identifier on the envelope, else by the Message-ID of what came back. What fits nothing,
    cannot be read, or came to an address that somebody made up is kept in the archive, moves
    nothing, and waits for a person: --list shows it with the file to open in a mail program, after
    the letters that have come back, by why. --seen NUMBERS --note TEXT puts on record that you have
    looked: at one (12) or at several (12,14-20). A range means those of it that wait; of what is
    named by itself, all or none is put on record.

    Ends with 0 when nothing needs a person; with 1 when a letter has come back, a delivery is still
    in doubt or a mail waits for somebody; with 69 when the mailbox or the log is away, and what was
    read before is kept; with 78 when a setting must be put right.

    With --list it ends with 1 while a mail waits for somebody, with 0 otherwise.

    Example: letters reports --seen 12 --note "a complaint, handed to casework"
    """
    if seen:
        _mark(seen, note, list_=list_, by=by, as_json=as_json)
        return
    if note is not None:
        raise Refused("A note belongs to --seen NUMBERS: say which ones you have looked at.")
    if list_:
        _list(as_json=as_json)
        return
    settings = settings_now()
    sources = bootstrap.sources(settings)
    if not sources:
        raise Misconfigured(
            "Nothing is set that could be read: name the mailbox that reports come to in "
            "reports.mailbox, or the relay's log in reports.relay_log; docs/operating.md says how."
        )
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        with watching(quiet=as_json) as watch:
            reading = evidence.read(pipeline.ledger, pipeline.archive, sources, progress=watch)
        counts = ledger.count_waiting(pipeline.ledger)
        waiting = ledger.waiting(pipeline.ledger, limit=None if as_json else page.SHOWN)
        archive = pipeline.archive
        if as_json:
            print_json(page.reading_facts(reading, waiting, archive))
        else:
            page.print_reading(reading, waiting, counts, archive)
    if reading.troubles:
        raise reading.troubles[0]
    raise typer.Exit(1 if reading.bounced or reading.unsettled or counts else 0)


def _list(*, as_json: bool) -> None:
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        waiting = ledger.waiting(pipeline.ledger)
        came_back = ledger.came_back(pipeline.ledger)
        if as_json:
            print_json(
                {
                    "came_back": [page.came_back_facts(one) for one in came_back],
                    "waiting": [page.mail_facts(one, pipeline.archive) for one in waiting],
                }
            )
        else:
            page.print_came_back(came_back)
            page.print_waiting(waiting, pipeline.archive)
    raise typer.Exit(1 if waiting else 0)


def _mark(
    seen: Sequence[str], note: str | None, *, list_: bool, by: str | None, as_json: bool
) -> None:
    if list_:
        raise Refused("--list and --seen are two different things; say one of them.")
    if note is None or not note.strip():
        raise Refused(
            "It needs a note that will still make sense next year: what it was, and what was done "
            "about it. --note TEXT"
        )
    wanted = [_numbers(each) for each in ",".join(seen).split(",")]
    who = person(by)
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        db = pipeline.ledger
        waits = [one.id for one in ledger.waiting(db)]
        chosen = {number for first, last in wanted for number in _meant(first, last, waits)}
        found = ledger.mark_seen(db, chosen, note=note.strip(), person=who, now=datetime.now(UTC))
        left = sum(ledger.count_waiting(pipeline.ledger).values())
        if as_json:
            facts = [page.mail_facts(one, pipeline.archive) for one in found]
            print_json({"seen": facts, "left": left})
        else:
            page.print_seen(found, who, left)


def _numbers(value: str) -> tuple[int, int | None]:
    """One number, or the first and the last of a range."""
    match = _NUMBERS.fullmatch(value.strip())
    if match is None or (match["last"] and int(match["last"]) < int(match["first"])):
        raise Refused(
            f"“{value.strip()}” is not a number of the list, as 12, nor a range, as 14-20; "
            "letters reports --list shows the numbers."
        )
    return int(match["first"]), int(match["last"]) if match["last"] else None


def _meant(first: int, last: int | None, waits: Sequence[int]) -> list[int]:
    """The numbers that are meant: one as it stands, of a range those that wait."""
    if last is None:
        return [first]
    found = [number for number in waits if first <= number <= last]
    if not found:
        raise Refused(f"Of the returned mails {first} to {last} none waits for a person.")
    return found
