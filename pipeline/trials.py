"""Test sends: real letters to whoever tries how they arrive, and to nobody else.

A test is marked in its subject and in its first words, and says whom the letter itself is for. It
makes no message and no delivery of the letter: nothing of it counts as sent, and it is put on
record as an event of its own. It needs no approval, as no authority is written to.
"""

import html
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import wording
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Accepted, Deferred, Mode, NotTried, Outcome, Rejected, Reply
from pipeline.dispatch import CAPTURED, Outbox, enclosed_with, opened_relay
from pipeline.errors import LetterFault, Unavailable
from pipeline.ledger import events, instance, relays
from pipeline.ledger.looking import Looked
from pipeline.ledger.runs import Run
from pipeline.london import LONDON
from pipeline.message import Recipient, Wording, compose_message, new_message_id, pdf_filename
from pipeline.schema import Event
from pipeline.transport import Session, Transport

MARK = "[TEST] "
"""What the subject of a test begins with."""

_HEADER = "X-Letters-Test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one test: the letter's authority, to whom it went, and what the relay said."""

    authority: str
    name: str
    address: str
    outcome: Outcome
    message_id: str

    @property
    def is_well(self) -> bool:
        """Whether a server has taken it."""
        return isinstance(self.outcome, Accepted)


def send(
    db: Database,
    archive: Archive,
    run: Run,
    outbox: Outbox,
    chosen: Sequence[Looked],
    to: Sequence[str],
    *,
    person: str,
    now: Callable[[], datetime],
    tried: Callable[[Tried], None],
) -> None:
    """Send each of these letters to each address as a test; `tried` is told what came of each.

    In redirect mode they go to the one inbox that everything goes to. Each is tried once. Raises
    Unavailable where the relay itself is in trouble, and tries no more then.
    """
    place = CAPTURED
    with opened_relay(outbox) as relay:
        place = CAPTURED if outbox.relay is None else relay.place
        trouble = relays.in_trouble(db, place)
        if trouble is not None and trouble.holds(now()) and not outbox.at_once:
            raise Unavailable(f"The relay {place} is in trouble. {trouble.reason}")
        with Transport(relay) as transport:
            for letter in chosen:
                for address in _addresses(outbox, to):
                    one = _one(db, archive, run, outbox, transport, letter, address, person, now)
                    _note(db, run, outbox, letter, one, person=person, now=now())
                    tried(one)
                    if isinstance(one.outcome, NotTried) and one.outcome.trouble:
                        relays.fails(
                            db,
                            place,
                            reason=one.outcome.reason,
                            chance=random.random(),  # noqa: S311 - nothing secret about it
                            now=now(),
                        )
                        raise Unavailable(one.outcome.reason)
                    if trouble is not None and isinstance(
                        one.outcome, Accepted | Deferred | Rejected
                    ):
                        relays.answers(db, place, now=now())


def spread(letters: Iterator[Looked], count: int, number: int) -> list[Looked]:
    """So many of `count` letters, as far apart as can be, the first and the last among them."""
    if number >= count:
        return list(letters)
    wanted = {round(at * (count - 1) / max(1, number - 1)) for at in range(number)}
    return [letter for at, letter in enumerate(letters) if at in wanted]


def _addresses(outbox: Outbox, to: Sequence[str]) -> Sequence[str]:
    sender = outbox.sender
    return (sender.redirect_to,) if sender.mode is Mode.REDIRECT else to


def _one(
    db: Database,
    archive: Archive,
    run: Run,
    outbox: Outbox,
    transport: Transport,
    letter: Looked,
    address: str,
    person: str,
    now: Callable[[], datetime],
) -> Tried:
    message_id = new_message_id(uuid.uuid4().hex, outbox.sender.address)
    about: dict[str, Any] = {
        "authority": letter.authority_code,
        "name": letter.authority_name,
        "address": address,
        "message_id": message_id,
    }
    try:
        data = written(
            run,
            outbox,
            letter,
            address,
            archive.get(letter.pdf, letter.pdf_sha256),
            enclosed=enclosed_with(db, archive, letter.id, letter.fields),
            message_id=message_id,
            person=person,
            ledger=instance.newest(db)[0],
            now=now(),
        )
        outcome = transport.send(outbox.sender.envelope_sender, address, data, _always)
    except LetterFault as fault:  # words that do not come out, or an address that no system takes
        outcome = Rejected(reply=Reply(code=0, text=str(fault)))
    return Tried(outcome=outcome, **about)


def _always(_session: Session) -> bool:
    """A test sent twice by a crash does no harm: nothing has to be committed before its dot."""
    return True


def written(
    run: Run,
    outbox: Outbox,
    letter: Looked,
    address: str,
    pdf: bytes,
    *,
    enclosed: Sequence[tuple[str, bytes]] = (),
    message_id: str,
    person: str,
    ledger: str,
    now: datetime,
) -> bytes:
    """The letter's message as it would go, marked as a test, with CRLF line endings."""
    words = wording.render(wording.WordingTemplates(**run.wording), letter.fields)
    local = now.astimezone(LONDON)
    meant = ", ".join(
        f"{one['name']} <{one['address']}>" + (" in copy" if one["kind"] == "cc" else "")
        for one in letter.recipients
    )
    told = (
        f"This is a test, which {person} had sent on {local.day} {local:%B %Y at %H:%M}. Nobody "
        f"else has got it. The letter itself would go to: {meant}."
    )
    sender = outbox.sender
    return compose_message(
        wording=Wording(
            subject=f"{MARK}{words.subject}",
            text=f"{told}\n\n{'-' * 72}\n\n{words.text}",
            html=_with_note(words.html, told),
        ),
        sender=sender.identity[0],
        reply_to=sender.reply_to,
        recipients=[Recipient(address=address, name="", role="tester", kind="to")],
        pdf=pdf,
        pdf_filename=pdf_filename(run.year, letter.authority_name),
        enclosures=enclosed,
        message_id=message_id,
        date=now,
        extra_headers={_HEADER: f"{run.year} {letter.authority_code} {ledger}"},
    )


def _with_note(page: str, told: str) -> str:
    """The HTML with what was told as its first paragraph."""
    note = (
        '<p style="border: 3px solid #b00; padding: 0.6em; font-weight: bold">'
        f"{html.escape(told)}</p>"
    )
    start = page.lower().find("<body")
    end = page.find(">", start) if start >= 0 else -1
    return f"{page[: end + 1]}{note}{page[end + 1 :]}" if end >= 0 else f"{note}{page}"


def _note(
    db: Database,
    run: Run,
    outbox: Outbox,
    letter: Looked,
    one: Tried,
    *,
    person: str,
    now: datetime,
) -> None:
    """On record that there was a test: of which letter, by whom, and what came of it."""
    with db.write() as connection:
        events.note(
            connection,
            Event.TEST_SENT,
            at=now,
            run_id=run.id,
            letter_id=letter.id,
            person=person,
            data={
                "mode": outbox.mode.value,
                "recipients": [one.address],
                "outcome": type(one.outcome).__name__.lower(),
                "message": one.message_id,
            },
        )
