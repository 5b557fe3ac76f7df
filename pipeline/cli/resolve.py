"""Settle what is in doubt, by a person's word."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from pipeline import bootstrap, evidence, owner, run
from pipeline.address import ascii_address
from pipeline.cli.asking import answer
from pipeline.cli.finding import agreed, at_terminal, letter_of, run_of
from pipeline.cli.options import AsJson, Authority, By, Config, YearOption, person, settings_now
from pipeline.cli.request import now
from pipeline.delivery import State
from pipeline.display import resolve as page
from pipeline.display.console import LONDON, err, out, print_json
from pipeline.display.progress import watching
from pipeline.display.words import how_to_resolve
from pipeline.display.words import who as process
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import deliveries, doubts, hindrances
from pipeline.ledger.deliveries import Doubt
from pipeline.ledger.doubts import Settled
from pipeline.ledger.runs import Run

_TARGETS = {"sent": State.ACCEPTED, "requeue": State.QUEUED, "cancel": State.CANCELLED}
_TOO_SOON = {
    "requeue": "so that they would get two",
    "cancel": "so that they would get what is given up, and two if it is sent again",
}
"""Words that a process which was only stopped could belie, and what would come of it."""
_NO_NOTE = (
    "It needs a note that will still make sense next year: what was found, and where. --note TEXT"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """One letter's doubts in the mode that is set, and what has been said of it before."""

    run: Run
    letter: Any
    doubts: Sequence[Doubt]
    settled: Sequence[Settled]
    writing: dict[int, datetime]

    @property
    def name(self) -> str:
        return f"{self.letter.authority_name} ({self.letter.authority_code})"

    @property
    def command(self) -> str:
        return how_to_resolve(self.letter.authority_code, self.run.year)


def resolve(
    authority: Authority,
    sent: Annotated[
        bool, typer.Option("--sent", help="It has gone: record it as taken by the relay.")
    ] = False,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="It has not gone: send it at the next run.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give it up.")] = False,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", help="What was found, and where; kept on record."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Only the doubt about this recipient."),
    ] = None,
    year: YearOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Settle a letter's deliveries that are in doubt.

    A delivery is in doubt when the whole message was handed to the relay and no answer came back:
    it may have gone, or not. It is not sent again by itself, so that nobody gets two. Evidence (the
    relay's log, a report) settles it without you; this command settles it by your word.

    Without --sent, --requeue or --cancel it shows what is known of each doubt and what to look for.
    Then say one of them, with a note of what you found:

    \b
    --sent     it has gone: recorded as taken by the relay; nothing is sent
    --requeue  it has not gone: it is sent again at the next run, and if
               the first one did arrive, they get two
    --cancel   given up: not sent again by itself, not counted as sent

    All doubts of the letter in the mode that is set are settled alike, or the one with --to. On a
    terminal it asks; elsewhere it needs --yes. What somebody else or evidence has settled meanwhile
    stays as it is, and is said. --requeue and --cancel have to wait while the process that tried
    may still be alive: an hour at most, or until it is known to have ended.

    Ends with 0 when nothing of the letter is left in doubt, or all was settled as asked, by whom
    ever; with 1 when it only showed doubts, somebody said no, or something had been settled
    otherwise before; with 2 when nothing ever was in doubt, or nothing may be settled yet.

    Example: letters resolve stevenage --sent --note "queued as 4XyZ12, by the relay's log"
    """
    word = _word(sent=sent, requeue=requeue, cancel=cancel)
    if word is None and note is not None:
        raise Refused("A note belongs to --sent, --requeue or --cancel: say which.")
    ask = not yes and at_terminal()
    if word is not None and not yes and not ask:
        raise Refused("Nobody can be asked here; look first, and then say --yes to settle it.")
    if word is not None and (note is not None or not ask):
        note = _said(note)
    who = person(by)
    with bootstrap.pipeline(settings_now(), writes=True) as pipeline:
        _ask_the_log(pipeline)
        known = _known(pipeline, year, authority, to, ask=ask)
        if word is None:
            _show(pipeline, known, as_json=as_json)
            raise typer.Exit(1 if known.doubts else 0)
        if not known.doubts:
            well = _none_left(pipeline, known, _TARGETS[word], as_json=as_json)
            raise typer.Exit(0 if well else 1)
        if word in _TOO_SOON:
            _refuse_while_it_may_go(known, word)
        if ask:
            note = _agreed(pipeline, known, word, note)
            if note is None:
                err.print("Nothing was changed.")
                raise typer.Exit(1)
        well = _settle(pipeline, known, word, _said(note), who, as_json=as_json)
    raise typer.Exit(0 if well else 1)


def _ask_the_log(pipeline: run.Pipeline) -> None:
    """What the relay's log shows counts before anybody's word: nobody should send what it took."""
    found = replace(bootstrap.sources(settings_now()), mailbox=None)
    if found:
        with watching(quiet=True) as watch:
            reading = evidence.read(pipeline.ledger, pipeline.archive, found, progress=watch)
        for trouble in reading.troubles:
            err.print(f"The relay's log was not asked: {trouble}", markup=False, style="yellow")


def _word(**said: bool) -> str | None:
    """The one that was said, if any; raises Refused for more than one."""
    words = [word for word, was_said in said.items() if was_said]
    if len(words) > 1:
        listed = " and ".join(f"--{word}" for word in words)
        raise Refused(f"{listed} contradict each other; say one of them.")
    return words[0] if words else None


def _said(note: str | None) -> str:
    if note is None or not note.strip():
        raise Refused(_NO_NOTE)
    return note.strip()


def _known(
    pipeline: run.Pipeline, year: int | None, authority: str, to: str | None, *, ask: bool
) -> _Known:
    """The letter's doubts, after what a crash has left in nobody's hands was taken back."""
    db, mode = pipeline.ledger, pipeline.outbox.mode
    found = run_of(pipeline, year, ask=ask)
    letter = letter_of(pipeline, found, authority, ask=ask)
    deliveries.recover(db, found.id, gone=owner.is_gone, now=now())
    of_letter = [one for one in deliveries.doubts(db, found.id, mode) if one.letter_id == letter.id]
    settled = doubts.settled(db, letter.id, mode)
    if to is not None:
        meant = _mailbox(to)
        listed = [*(one.recipient for one in of_letter), *(one.recipient for one in settled)]
        if meant not in map(_mailbox, listed):
            others = f" There are of {', '.join(dict.fromkeys(listed))}." if listed else ""
            raise Refused(
                f"There is no doubt on record whether the letter to {letter.authority_name} has "
                f"reached {to.strip()} in {mode.value} mode.{others}"
            )
        of_letter = [one for one in of_letter if _mailbox(one.recipient) == meant]
        settled = [one for one in settled if _mailbox(one.recipient) == meant]
    writing = {
        one.delivery_id: until
        for one in of_letter
        if (until := doubts.may_write_until(one, gone=owner.is_gone, now=now())) is not None
    }
    return _Known(run=found, letter=letter, doubts=of_letter, settled=settled, writing=writing)


def _mailbox(address: str) -> str:
    try:
        return ascii_address(address.strip()).casefold()
    except LetterFault as fault:
        raise Refused(f"--to {address}: {fault}") from fault


def _show(pipeline: run.Pipeline, known: _Known, *, as_json: bool) -> None:
    mode = pipeline.outbox.mode
    elsewhere = doubts.elsewhere(pipeline.ledger, known.letter.id, mode)
    if as_json:
        print_json(_facts(pipeline, known))
        return
    if known.doubts:
        page.print_doubts(out, known.name, known.run.year, mode, known.doubts, known.writing)
        page.print_choices(out, mode, known.run.year, known.command)
    else:
        page.print_none(known.name, known.run.year, mode, known.settled)
    page.print_elsewhere(out, elsewhere, known.command)


def _none_left(pipeline: run.Pipeline, known: _Known, target: State, *, as_json: bool) -> bool:
    """Nothing is in doubt any more: whether all was settled as asked, by whomever.

    Raises Refused if nothing ever was in doubt.
    """
    mode = pipeline.outbox.mode
    if known.settled:
        if as_json:
            print_json(_facts(pipeline, known))
        else:
            page.print_none(known.name, known.run.year, mode, known.settled)
        well = {one.target for one in known.settled} == {target}
        if not well:
            err.print("It was not settled as asked; nothing was changed.", style="bold yellow")
        return well
    said = [
        f"Nothing of the letter of {known.run.year} to {known.name} is in doubt in {mode.value} "
        "mode, so nothing was changed.",
    ]
    for other, number in doubts.elsewhere(pipeline.ledger, known.letter.id, mode).items():
        said.append(
            f"In {other.value} mode {number:,} {'is' if number == 1 else 'are'}: "
            f"LETTERS_MAIL__MODE={other.value} {known.command}"
        )
    raise Refused("\n".join(said))


def _refuse_while_it_may_go(known: _Known, word: str) -> None:
    if not known.writing:
        return
    until = max(known.writing.values()).astimezone(LONDON)
    writing = [one for one in known.doubts if one.delivery_id in known.writing]
    people = ", ".join(one.recipient for one in writing)
    workers = " and ".join(dict.fromkeys(process(one.owner) for one in writing))
    raise Refused(
        f"The process that was handing the message for {people} over is not known to have ended. "
        f"It may only have been stopped, and could still finish, {_TOO_SOON[word]}. It was "
        f"{workers}: once that is known to have ended, --{word} can be said at once, and in any "
        f"case from {until:%H:%M:%S} on, London time, when no mail server waits any longer."
    )


def _agreed(pipeline: run.Pipeline, known: _Known, word: str, note: str | None) -> str | None:
    """The note, once somebody has seen what is known and said yes; None for a no."""
    mode = pipeline.outbox.mode
    page.print_doubts(err, known.name, known.run.year, mode, known.doubts, known.writing)
    if note is None:
        told = answer("What was found, and where")
        note = _said(str(told))
    page.print_consequence(word, note)
    many = "it" if len(known.doubts) == 1 else f"all {len(known.doubts)}"
    question = {
        "sent": f"Record {many} as sent?",
        "requeue": f"Send {many} again at the next run?",
        "cancel": f"Give {many} up?",
    }[word]
    return note if agreed(question) else None


def _settle(
    pipeline: run.Pipeline, known: _Known, word: str, note: str, who: str, *, as_json: bool
) -> bool:
    """Settle each doubt that is still one; whether all were."""
    db, mode, target = pipeline.ledger, pipeline.outbox.mode, _TARGETS[word]
    done = [
        one
        for one in known.doubts
        if deliveries.resolve(db, one, target, evidence=note, person=who, now=now())
    ]
    told = doubts.settled(db, known.letter.id, mode)
    overtaken = [(one, _end_of(one, told)) for one in known.doubts if one not in done]
    if as_json:
        print_json(
            _facts(pipeline, known)
            | {"settled": [_plain(one) for doubt in known.doubts if (one := _end_of(doubt, told))]}
        )
    else:
        following = _following(pipeline, known, target) if done else None
        page.print_settled(known.name, target, done, overtaken, following=following)
    return all(end is not None and end.target is target for _, end in overtaken)


def _end_of(doubt: Doubt, told: Sequence[Settled]) -> Settled | None:
    """How this very doubt ended."""
    return next(
        (one for one in told if (one.recipient, one.attempt) == (doubt.recipient, doubt.attempt)),
        None,
    )


def _following(pipeline: run.Pipeline, known: _Known, target: State) -> str | None:
    code, year = known.letter.authority_code, known.run.year
    if target is State.CANCELLED:
        return f"To write to them all the same: letters resend {code} --year {year} --to ADDRESS"
    if target is not State.QUEUED:
        return None
    held = hindrances.held(pipeline.ledger, known.letter.id)
    return held or f"To send it now: letters send {year}"


def _facts(pipeline: run.Pipeline, known: _Known) -> dict[str, Any]:
    """What there is to tell, for scripts: plain values; the doubts are those at this moment."""
    db, mode = pipeline.ledger, pipeline.outbox.mode
    ids = {one.delivery_id for one in known.doubts}
    left = [one for one in deliveries.doubts(db, known.run.id, mode) if one.delivery_id in ids]
    return {
        "year": known.run.year,
        "authority": known.letter.authority_code,
        "name": known.letter.authority_name,
        "mode": mode.value,
        "doubts": [_doubt(one, known.writing.get(one.delivery_id)) for one in left],
        "settled": [_plain(one) for one in known.settled],
        "elsewhere": {
            other.value: number
            for other, number in doubts.elsewhere(db, known.letter.id, mode).items()
        },
    }


def _doubt(one: Doubt, writing: datetime | None) -> dict[str, Any]:
    return {
        "delivery": one.delivery_id,
        "recipient": one.recipient,
        "message_id": one.message_id,
        "attempt": one.attempt,
        "by": one.owner,
        "relay": one.relay,
        "local_host": one.local_host,
        "local_port": one.local_port,
        "intent_at": one.intent_at.isoformat(timespec="seconds"),
        "ended_at": one.ended_at.isoformat(timespec="seconds") if one.ended_at else None,
        "outcome": one.outcome,
        "reply": one.reply,
        "may_still_go_until": writing.isoformat(timespec="seconds") if writing else None,
    }


def _plain(one: Settled) -> dict[str, Any]:
    return {
        "recipient": one.recipient,
        "attempt": one.attempt,
        "became": one.target.value,
        "at": one.at.isoformat(timespec="seconds"),
        "by": one.person,
        "because": one.because,
    }
