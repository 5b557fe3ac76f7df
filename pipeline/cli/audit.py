"""The commands for whoever has to account for a year."""

from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline import audit, bootstrap
from pipeline.cli.finding import no_letters_of
from pipeline.cli.options import AnyYear, AsJson, Config, Year, settings_now
from pipeline.cli.writing import STANDARD_OUTPUT, Force, output
from pipeline.database import Database
from pipeline.display.account import write_csv, write_json
from pipeline.display.audit import Tally, as_facts, print_audit
from pipeline.display.console import counted, err, print_json
from pipeline.display.progress import watching
from pipeline.errors import Refused
from pipeline.ledger import account, files
from pipeline.ledger.account import Entry
from pipeline.progress import Progress
from pipeline.run import Pipeline


def verify(
    year: AnyYear = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Prove the archive against the ledger.

    Every file that the ledger names is read and its SHA-256 compared with the one on record: each
    letter's PDF, the frozen bytes of each message (.eml), and the Word template of each run, also
    of runs that were cancelled; without a YEAR also each returned mail that was kept for a person.
    Nothing is changed, put right or deleted.

    Prints how many files are whole and unaltered, and names each that is missing, altered or
    unreadable, with its authority and what to do about it: put the very file back from a backup.
    Where a sound message has a lost PDF attached, byte for byte, that is said too. letters remake
    makes a lost PDF again, in another folder: the ledger keeps all that its letter says, but only
    with the same LibreOffice and the same fonts does that come out as the same bytes.

    Files of years that are forgotten (letters forget) must not be there: they are counted, and one
    that is there all the same is named.

    Files that the ledger does not name are counted and listed. Letters (PDF) left behind by a run
    that was killed or that ran beside another are harmless. Messages that the ledger does not know
    of are not, nor is any file when it names none at all: the ledger may be an older copy, or
    another one than the archive belongs to, and what they record may have been sent already.

    Ends with 0 when every file is sound, 1 when one is not or a message is not known, 69 when the
    archive or the ledger cannot be reached.

    Example: letters verify 2020
    """
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        if year is not None:
            _require(pipeline, year)
        tally = Tally()
        with watching(quiet=as_json) as watch:
            tally.take(audit.examine(pipeline.ledger, pipeline.archive, year, progress=watch))
        place = audit.place_of(pipeline.archive)
    if as_json:
        print_json(as_facts(tally, year, place))
    else:
        print_audit(tally, year, place)
    raise typer.Exit(1 if tally.needs_a_person else 0)


def export(
    year: Year,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Write to this file; - is standard output."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Account for a year: who was sent what, when, and what came of it.

    One line of CSV for each delivery, in every mode (see the column mode: only live has reached an
    authority), and one for each letter that has none (its state is fault, withheld, unprepared,
    replaced or prepared), so that every authority is there. Of a run that was refreshed or
    cancelled there are the deliveries that had been tried; run and run_cancelled tell them apart.

    Columns: who (authority, name, recipient, roles), what came of it (state, fault,
    withheld_because, attempts, relay, queue_id, reply: the relay's last), when (tried: first;
    intent: when the whole message was about to be given to the relay; settled), which message
    (message_id, date, resend_of, reason, requested_by, eml, eml_sha256), and which letter (pdf,
    pdf_sha256, pages, prepared; approved_by: who had approved it before it was first tried). Times
    are ISO 8601, in UTC.

    Names and addresses of people are in it, because that is its purpose: keep it as you keep those.
    A file is made readable by you alone. Of a year that is forgotten (forgotten: since when) a
    number stands for each address, the same throughout one letter, and what people and mail servers
    have written is not there any more.

    UTF-8, with a byte order mark in a file (for Excel) and without on standard output. A cell that
    begins with = + - @, a tab or a line break gets an apostrophe before it, so that no spreadsheet
    takes it for a formula; JSON has none. Control characters, which a terminal would obey, are
    replaced; JSON has them escaped. A file is there whole or not at all, and one that is
    there already is left as it is without --force.

    Ends with 0 when it is written, 2 when there is no run of the year or the file is taken, 69 when
    the ledger cannot be read or the file not be written.

    Example: letters export 2020 --out letters-2020.csv
    """
    to_file = out is not None and out != STANDARD_OUTPUT
    with bootstrap.pipeline(settings_now(), writes=False) as pipeline:
        _require(pipeline, year)
        # A bar would be drawn into the data where both go to the same terminal, be it by a pipe.
        quiet = as_json or not to_file
        with output(out, force=force) as file, watching(quiet=quiet) as watch:
            entries = _watched(pipeline.ledger, year, watch)
            if as_json:
                number = write_json(entries, file)
            else:
                number = write_csv(entries, file, marked=to_file)
    if to_file:
        what = counted(number, "object") if as_json else f"{counted(number, 'line')} and a heading"
        err.print(f"{what} written to {out}.", markup=False)


def _watched(ledger: Database, year: int, watch: Progress) -> Iterator[Entry]:
    watch.begin("Exporting", account.count(ledger, year))
    try:
        for entries in account.entries(ledger, year):
            yield from entries
            watch.advance()
    finally:
        watch.end()


def _require(pipeline: Pipeline, year: int) -> None:
    known = files.years(pipeline.ledger)
    if year not in known:
        raise Refused(no_letters_of(pipeline, year, known))
