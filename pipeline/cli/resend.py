"""Send letters again: one, or several at once."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline import bootstrap, run
from pipeline.address import ascii_address
from pipeline.cli import completion
from pipeline.cli.finding import agreed, at_terminal, letter_of, run_of
from pipeline.cli.options import AsJson, By, Config, YearOption, person, settings_now
from pipeline.cli.request import WELL, Asked, now, refuse_unapproved, send
from pipeline.cli.selection import select
from pipeline.cli.several import send_several
from pipeline.display import resend as page
from pipeline.display.console import err, print_json
from pipeline.display.words import how_to_resolve
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import choice, hindrances, messages, story
from pipeline.ledger.messages import Request
from pipeline.ledger.runs import Run


def resend(
    authority: Annotated[
        str | None,
        typer.Argument(
            metavar="AUTHORITY",
            autocompletion=completion.authorities,
            help="An authority: its code, its name or a part of it, such as stevenage.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept on record.")
    ] = None,
    year: YearOption = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Instead of all recipients; may be repeated."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            autocompletion=completion.kinds,
            help="Several: all of a kind, such as county; may be repeated.",
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            autocompletion=completion.states,
            help="Several: all that stand so, such as bounced; may be repeated.",
        ),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            "--codes",
            metavar="FILE",
            help="Several: one code a line, or a CSV file with a code column; - for input.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", metavar="N", min=0, help="With several: how many letters they must be."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="A name for this request: asked twice, it is sent once."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Another copy, though the same was sent today already.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Send a letter again, or several with --kind, --state and --codes.

    It goes as a new message, linked to the one before. The PDF is the one on record, byte for byte;
    nothing is made anew. The same request twice on one day is one message.
    """
    settings = settings_now()
    several = bool(kind or state or codes is not None)
    _refuse_what_does_not_fit(
        authority=authority, several=several, to=to, count=count, key=key, again=again
    )
    asked = Asked(
        reason=reason,
        person=person(by),
        key=key,
        again=again,
        ask=not yes and at_terminal(),
        yes=yes,
        as_json=as_json,
    )
    if sys.stdin.isatty() and not asked.ask and not yes:
        raise Refused(
            "What will be sent cannot be shown, as standard error is not a terminal; "
            "--yes sends without asking."
        )
    if reason is not None or not asked.ask:
        asked = asked.with_reason()
    replaced = _recipients(to) if to else None
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run_of(pipeline, year, ask=asked.ask)
        if authority is not None:
            letter = letter_of(pipeline, found, authority, ask=asked.ask)
            well = _send_one(pipeline, found, letter, asked, replaced)
        else:
            chosen = select(pipeline, found, kinds=kind or [], states=state or [], codes=codes)
            well = send_several(pipeline, found, chosen, asked, count)
    raise typer.Exit(0 if well else 1)


def _refuse_what_does_not_fit(
    *,
    authority: str | None,
    several: bool,
    to: list[str] | None,
    count: int | None,
    key: str | None,
    again: bool,
) -> None:
    if several and authority is not None:
        raise Refused("Name one authority, or several with --kind, --state or --codes; not both.")
    if not several and authority is None:
        raise Refused("Name an authority, or several letters with --kind, --state or --codes.")
    if several and to:
        raise Refused("--to is for one letter; several go to the recipients that each of them has.")
    if count is not None and not several:
        raise Refused("--count says how many letters --kind, --state and --codes must make.")
    if key is not None and not key.strip():
        raise Refused("--key needs a name, such as the number of a form or a ticket.")
    if key is not None and again:
        raise Refused("Another copy needs a key of its own: leave out --again, or --key.")


def _send_one(
    pipeline: run.Pipeline,
    found: Run,
    letter: Any,
    asked: Asked,
    to: Sequence[dict[str, Any]] | None,
) -> bool:
    """Send one letter again; whether it has reached everybody, as far as is known."""
    db, sender = pipeline.ledger, pipeline.outbox.sender
    seen = _show_history(pipeline, found, letter) if asked.ask else None
    if asked.reason is None:
        _refuse_if_hindered(pipeline, letter)
        _refuse_outside(pipeline, letter, to)
        asked = asked.with_reason()
    request = asked.request(to)
    before = messages.repeated(db, letter.id, sender, request, now=now())
    if before is None or before.unsent:
        _refuse_outside(pipeline, letter, to)
    if before is None and not _overtaken(pipeline, letter, request):
        refuse_unapproved(pipeline, found, letter)
        pipeline.archive.get(letter.pdf, letter.pdf_sha256)  # a lost file is no request to keep
        if asked.ask and not _confirmed(pipeline, letter, request):
            err.print("Nothing was sent.")
            return False
    made = messages.resend(db, letter.id, sender, request, now=now(), seen=seen)
    if made.unsent and not made.new:
        _refuse_if_held(pipeline, letter)
        refuse_unapproved(pipeline, found, letter)
    send(pipeline, found, [made], quiet=asked.as_json)
    came = choice.came_of(db, [made.id])
    if asked.as_json:
        told = story.story(db, letter.id)
        print_json(
            {
                "year": found.year,
                "authority": letter.authority_code,
                "name": letter.authority_name,
                "new": made.new,
                "message": next(one for one in told.messages if one["id"] == made.id),
                "deliveries": [
                    one for one in told.deliveries if one["message_id"] == made.message_id
                ],
            }
        )
    else:
        resolve = how_to_resolve(letter.authority_code, found.year)
        page.print_resent(_name(letter), made, came, resolve=resolve)
    return all(one.state in WELL for one in came)


def _name(letter: Any) -> str:
    return f"{letter.authority_name} ({letter.authority_code})"


def _show_history(pipeline: run.Pipeline, found: Run, letter: Any) -> int | None:
    """Show what was sent of the letter before; the newest message in this mode, by id."""
    mode = pipeline.outbox.mode
    told = story.story(pipeline.ledger, letter.id)
    page.print_history(_name(letter), found.year, mode, told, show=letter.authority_code)
    return max((one["id"] for one in told.messages if one["mode"] == mode.value), default=None)


def _refuse_if_hindered(pipeline: run.Pipeline, letter: Any) -> None:
    hindered = hindrances.hindrance(pipeline.ledger, letter.id, pipeline.outbox.mode)
    if hindered:
        raise Refused(hindered)


def _refuse_outside(
    pipeline: run.Pipeline, letter: Any, to: Sequence[dict[str, Any]] | None
) -> None:
    """Raise Refused where mail may not go to somebody whom it would be for."""
    outside = hindrances.outside(
        letter.authority_name, letter.recipients if to is None else to, pipeline.outbox.only_to
    )
    if outside:
        raise Refused(outside)


def _overtaken(pipeline: run.Pipeline, letter: Any, request: Request) -> bool:
    """Whether somebody has made the same request this very moment; raises Refused if hindered.

    What hinders may be the message of that request, so it is looked for once more.
    """
    hindered = hindrances.hindrance(pipeline.ledger, letter.id, pipeline.outbox.mode)
    if hindered is None:
        return False
    sender = pipeline.outbox.sender
    if messages.repeated(pipeline.ledger, letter.id, sender, request, now=now()) is None:
        raise Refused(hindered)
    return True


def _refuse_if_held(pipeline: run.Pipeline, letter: Any) -> None:
    held = hindrances.held(pipeline.ledger, letter.id)
    if held:
        raise Refused(held)


def _confirmed(pipeline: run.Pipeline, letter: Any, request: Request) -> bool:
    outbox = pipeline.outbox
    page.print_going(
        pdf=pipeline.archive.location(letter.pdf),
        pages=letter.pages,
        recipients=letter.recipients if request.to is None else request.to,
        sender=outbox.sender.mailbox,
        mode=outbox.mode,
        inbox=outbox.sender.redirect_to,
        reason=request.reason,
    )
    return agreed("Send it?")


def _recipients(addresses: Sequence[str]) -> list[dict[str, Any]]:
    """One recipient for each mailbox, however often and in whatever spelling it was named."""
    found: dict[str, dict[str, Any]] = {}
    for address in addresses:
        plain = address.strip()
        try:
            mailbox = ascii_address(plain).casefold()
        except LetterFault as fault:
            raise Refused(f"--to {address}: {fault}") from fault
        found.setdefault(
            mailbox,
            {"address": plain, "name": "", "roles": ["named for this message"], "kind": "to"},
        )
    return list(found.values())
