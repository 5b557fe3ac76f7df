"""Several letters sent again at once; each stands for itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import run
from pipeline.cli.asking import answer
from pipeline.cli.request import WELL, Asked, now, send, unapproved
from pipeline.delivery import Mode
from pipeline.display import resend as page
from pipeline.display.console import err, out, print_json
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import choice, hindrances, messages
from pipeline.ledger.choice import Came, Chosen
from pipeline.ledger.messages import Resent
from pipeline.ledger.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """The letters by what can be done: sent, left as this request has sent them, or left out."""

    going: list[Chosen] = field(default_factory=list)
    answered: list[tuple[Chosen, Resent]] = field(default_factory=list)
    left_out: list[tuple[Chosen, str]] = field(default_factory=list)


def send_several(
    pipeline: run.Pipeline, found: Run, chosen: Sequence[Chosen], asked: Asked, count: int | None
) -> bool:
    """Send these letters again; whether all of them have reached everybody, as far as is known.

    Those that cannot go are left out and said. Raises Refused if the run is paused, if `count` is
    neither the number chosen nor that of those which can go, and without
    any word on the number.
    """
    held = hindrances.paused(found)
    if held:
        raise Refused(held)
    run.refuse_elsewhere(pipeline)
    if chosen:
        asked = asked.with_reason()
    by_hand = _sorted(pipeline, found, chosen, asked)
    if count is not None and count not in {len(chosen), len(by_hand.going)}:
        raise Refused(
            f"--count says {count}, but {len(chosen)} {_letters(len(chosen))} fit, and "
            f"{len(by_hand.going)} can go. Nothing was sent."
        )
    if by_hand.going:
        _show(pipeline, found, by_hand, asked)
        if not _agreed(len(by_hand.going), asked, count):
            err.print("Nothing was sent.")
            return False
    sent: list[tuple[Chosen, Resent]] = []
    for one in by_hand.going:
        try:
            made = messages.resend(
                pipeline.ledger,
                one.id,
                pipeline.outbox.sender,
                asked.request(part=one.authority),
                now=now(),
            )
            sent.append((one, made))
        except Refused as refused:  # something has changed since it was looked at
            by_hand.left_out.append((one, str(refused)))
    send(pipeline, found, [made for _, made in sent], quiet=asked.as_json)
    return _told(pipeline, found, chosen, sent, by_hand, asked)


def _sorted(pipeline: run.Pipeline, found: Run, chosen: Sequence[Chosen], asked: Asked) -> _Sorted:
    db, sender = pipeline.ledger, pipeline.outbox.sender
    piles = _Sorted()
    for one in chosen:
        outside = hindrances.outside(one.name, one.recipients, pipeline.outbox.only_to)
        try:
            request = asked.request(part=one.authority)
            before = messages.repeated(db, one.id, sender, request, now=now())
            hindered = None if before else hindrances.hindrance(db, one.id, sender.mode)
            if hindered:  # perhaps by the message of the same request, made this very moment
                before = messages.repeated(db, one.id, sender, request, now=now())
        except Refused as refused:
            piles.left_out.append((one, str(refused)))
            continue
        if before is None:
            hindered = hindered or outside or _lost(pipeline, one)
        else:
            hindered = (hindrances.held(db, one.id) or outside) if before.unsent else None
        if not hindered and (before is None or before.unsent):
            hindered = unapproved(pipeline, found, one.id, one.authority, one.name)
        if hindered:
            piles.left_out.append((one, hindered))
        elif before and not before.unsent:
            piles.answered.append((one, before))
        else:
            piles.going.append(one)
    return piles


def _lost(pipeline: run.Pipeline, letter: Chosen) -> str | None:
    """What is wrong with the letter's file; raises Unavailable if the archive itself is away."""
    name, sha256 = messages.pdf_of(pipeline.ledger, letter.id)
    try:
        pipeline.archive.get(name, sha256)
    except Unavailable as error:
        pipeline.archive.exists(name)
        return str(error)
    return None


def _show(pipeline: run.Pipeline, found: Run, piles: _Sorted, asked: Asked) -> None:
    outbox = pipeline.outbox
    if asked.as_json and not asked.ask:
        return
    page.print_several(
        piles.going,
        _addresses(piles.going, outbox.mode),
        len(piles.answered),
        piles.left_out,
        year=found.year,
        mode=outbox.mode,
        inbox=outbox.sender.redirect_to,
        reason=asked.request().reason,
        sender=outbox.sender.mailbox,
    )


def _addresses(letters: Sequence[Chosen], mode: Mode) -> int:
    if mode is Mode.REDIRECT:
        return min(1, len(letters))
    return len({one["address"].casefold() for letter in letters for one in letter.recipients})


def _agreed(number: int, asked: Asked, count: int | None) -> bool:
    """Whether somebody has said how many letters go: by typing it, or beforehand."""
    if asked.yes or (count is not None and not asked.ask):
        return True
    if not asked.ask:
        raise Refused(
            f"Say how many letters are sent again, as nobody is there to be asked: --count {number}"
        )
    return answer(f"Type {number} to send {'it' if number == 1 else 'them'}") == str(number)


def _told(
    pipeline: run.Pipeline,
    found: Run,
    chosen: Sequence[Chosen],
    sent: Sequence[tuple[Chosen, Resent]],
    piles: _Sorted,
    asked: Asked,
) -> bool:
    both = [*sent, *piles.answered]
    came = choice.came_of(pipeline.ledger, [made.id for _, made in both])
    if asked.as_json:
        print_json(
            {
                "year": found.year,
                "letters": [_plain(one, made, came) for one, made in both],
                "left_out": [
                    {"authority": one.authority, "name": one.name, "because": because}
                    for one, because in piles.left_out
                ],
            }
        )
    elif not chosen:
        out.print(f"No letter of {found.year} fits; nothing was sent.")
    else:
        page.print_several_resent(
            {made.id: one for one, made in both},
            came,
            sent=len(sent),
            already=len(piles.answered),
            left_out=piles.left_out,
        )
    return not piles.left_out and all(one.state in WELL for one in came)


def _plain(one: Chosen, made: Resent, came: Sequence[Came]) -> dict[str, Any]:
    return {
        "authority": one.authority,
        "name": one.name,
        "new": made.new,
        "message_id": made.message_id,
        "deliveries": [
            {"recipient": each.recipient, "state": each.state.value, "reply": each.reply}
            for each in came
            if each.message == made.id
        ],
    }


def _letters(number: int) -> str:
    return "letter" if number == 1 else "letters"
