"""The command that sends letters to whoever tries how they arrive."""

from collections.abc import Callable
from typing import Annotated

import typer

from pipeline import bootstrap, run, trials
from pipeline.address import ascii_address
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, By, Config, Year, person, settings_now
from pipeline.cli.request import now
from pipeline.delivery import Mode
from pipeline.display.console import print_json
from pipeline.display.trial import print_tried, tried_facts
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import hindrances, looking
from pipeline.ledger.looking import Looked
from pipeline.ledger.runs import Run
from pipeline.trials import Tried

_MOST = 50  # mails: more of them are no test


def trial(
    year: Year,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Whose inbox; may be given several times."),
    ] = None,
    authority: Annotated[
        list[str] | None,
        typer.Option(
            "--authority",
            metavar="AUTHORITY",
            help="This letter: its code, its name or a part of it; may be given several times.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="NUMBER", min=1, help="So many letters; 5 if not said."),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Send some letters to yourself, to see how they arrive.

    The real message with the real PDF, by the way that is set, to the address given and to nobody
    else: --authority names the letters, or a sample of them is taken, spread over all that would
    go. "[TEST]" stands before the subject, and the first words say that it is a test, whose, and
    whom the letter itself would go to.

    A test makes no message and no delivery of the letter: it counts nowhere as sent, and is kept
    apart on record (letters show AUTHORITY). It needs no approval. In capture mode it is kept on
    this machine; in redirect mode it goes to the one inbox that everything goes to. Each is tried
    once.

    Ends with 0 if all were taken, with 1 if one was not, with 2 for an address that cannot be
    written to, with 69 where the mail server is in trouble.

    Example: letters test 2020 --to me@ombudsman.example --authority stevenage
    """
    if not to:
        raise Refused(f"Say where the test goes: letters test {year} --to ADDRESS")
    if authority and sample is not None:
        raise Refused("Either --authority or --sample, not both.")
    settings = settings_now()
    addresses = [_address(one) for one in to]
    found_all: list[Tried] = []
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year)
        hindrances.refuse_forgotten(found)
        run.refuse_elsewhere(pipeline)
        outside = hindrances.outside(
            "whoever tests", [{"address": one} for one in addresses], pipeline.outbox.only_to
        )
        if outside and pipeline.outbox.mode is Mode.LIVE:
            raise Refused(outside)
        chosen = _chosen(pipeline, found, authority or [], sample or 5)
        if len(chosen) * len(addresses) > _MOST:
            raise Refused(
                f"That would be {len(chosen) * len(addresses):,} mails; a test is {_MOST} at most."
            )
        trials.send(
            pipeline.ledger,
            pipeline.archive,
            found,
            pipeline.outbox,
            chosen,
            addresses,
            person=person(by),
            now=now,
            tried=found_all.append if as_json else _telling(found_all),
        )
    if as_json:
        print_json(
            {
                "year": year,
                "mode": pipeline.outbox.mode.value,
                "tests": [tried_facts(one) for one in found_all],
            }
        )
    raise typer.Exit(0 if all(one.is_well for one in found_all) else 1)


def _telling(found: list[Tried]) -> Callable[[Tried], None]:
    def tell(one: Tried) -> None:
        found.append(one)
        print_tried(one)

    return tell


def _address(typed: str) -> str:
    try:
        return ascii_address(typed.strip())
    except LetterFault as fault:
        raise Refused(f"--to {typed}: {fault}") from fault


def _chosen(
    pipeline: run.Pipeline, found: Run, authorities: list[str], number: int
) -> list[Looked]:
    """The letters that are meant. Raises Refused where one is not made, or none is."""
    db = pipeline.ledger
    if not authorities:
        count = looking.count(db, found)
        if not count:
            raise Refused(
                f"No letter of {found.year} is made yet, so none can be sent as a test. To make "
                f"them: letters prepare {found.year}"
            )
        return trials.spread(looking.letters(db, found), count, number)
    codes = []
    for one in authorities:
        row = letter_of(pipeline, found, one)
        if row.pdf is None:
            raise Refused(
                f"There is no letter to {row.authority_name} to send as a test: "
                + (row.fault or f"it has not been made yet. letters prepare {found.year}")
            )
        codes.append(str(row.authority_code))
    return list(looking.letters(db, found, codes))
