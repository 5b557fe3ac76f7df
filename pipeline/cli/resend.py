"""Send one letter again."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pipeline import bootstrap, run
from pipeline.address import ascii_address
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, By, Config, YearOption, person, settings_now
from pipeline.delivery import State
from pipeline.display.console import err, out, print_json
from pipeline.display.progress import watching
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import messages, story


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
    settings = settings_now()
    if not reason.strip():
        raise Refused("A re-send needs a reason that will still make sense next year; --reason.")
    # the same address twice is one recipient, as it is in a letter
    replaced = (
        [_recipient(one) for one in {one.casefold(): one for one in to}.values()] if to else None
    )
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year)
        letter = letter_of(pipeline, found, authority)
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
            person=person(by),
            request_key=None,
            now=datetime.now(UTC),
        )
        with watching(quiet=as_json) as watch:
            run.send_only(pipeline, found, [message], progress=watch)
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
