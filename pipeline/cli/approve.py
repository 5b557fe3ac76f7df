"""The command with which a person says that letters may go."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap, run
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, By, Config, Year, login, person, settings_now
from pipeline.display.approval import print_approved, voided_facts
from pipeline.display.console import print_json
from pipeline.errors import Refused
from pipeline.ledger import approvals

_SHORTEST = 8  # digits of a digest: one in four thousand million agrees by chance


def approve(
    year: Year,
    authority: Annotated[
        list[str] | None,
        typer.Option(
            "--authority",
            metavar="AUTHORITY",
            help="Only this letter: its code, its name or a part of it; may be given several"
            " times.",
        ),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="HEX",
            help="The digest on the proof that you have looked at, or its first eight digits.",
        ),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Approve a year's letters, or some of them, as they stand.

    An approval is of each letter by itself: its text and figures, its PDF, whom it goes to, the
    template, the words of the message and whom it is from. A letter that changes in any of these,
    or is withheld, loses its own approvals, and no other does; letters status YEAR says what has
    changed. Letters that are withheld or have a fault are not covered.

    How many people have to approve each letter is set in approval.people: 0, 1 or 2. One login is
    one person: the login name, or of whoever called sudo; --by gives the name that is put on
    record with it. Letters still to be made have to be made first (letters prepare YEAR). With
    --digest, the approval is refused if the letters are no longer those of the proof (letters
    proof YEAR).

    Ends with 0, and with 2 where it is refused.
    """
    settings = settings_now()
    seen = _hexadecimal(digest)
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year)
        codes = None
        if authority:
            codes = [letter_of(pipeline, found, one).authority_code for one in authority]
        approver, sender = person(by), pipeline.outbox.sender.identity
        lost = approvals.voided(pipeline.ledger, found, sender)
        lacked = run.approvals_wanted(pipeline, found)
        done = approvals.approve(
            pipeline.ledger,
            found,
            person=approver,
            login=login(),
            now=datetime.now(UTC),
            sender=sender,
            codes=codes,
            seen=seen,
        )
        standing = run.approval_of(pipeline, found)
    if as_json:
        print_json(
            {
                "year": year,
                "by": approver,
                "login": login(),
                "digest": done.digest,
                "letters": done.letters,
                "new": done.new,
                "left_out": done.left_out,
                "awaiting": standing.wanted,
                "lacking": standing.lacking,
                "ended_before": voided_facts(lost),
            }
        )
    else:
        print_approved(
            year, approver, done, standing, lost, asked=bool(settings.approval.people or lacked)
        )


def _hexadecimal(typed: str | None) -> str:
    """A digest's first digits as somebody typed them, in small letters; "" where none were."""
    if typed is None:
        return ""
    digits = "".join(typed.split()).lower()
    if not _SHORTEST <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise Refused(
            f"--digest {typed}: write at least the first {_SHORTEST} digits of the digest that "
            "stands on the proof, as in 3fa9c1d2."
        )
    return digits
