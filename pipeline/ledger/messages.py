"""Messages: one text to some recipients, frozen at the first attempt to send it."""

import base64
import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.address import ascii_address
from pipeline.database import Database
from pipeline.delivery import LEASED, Mode, State
from pipeline.envelope import ReturnAddress
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import approvals, events, hindrances, letters
from pipeline.message import new_message_id
from pipeline.schema import Event

_CHUNK = 500

# A message of which all deliveries are in these states has reached nobody, for all that is known.
_FAILED = frozenset({State.REJECTED, State.BOUNCED, State.EXPIRED, State.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whom messages come from, where reports of them go, and the mode that they are sent in.

    `address` names the sender in Message-IDs, `mailbox` ("Name <address>") and `reply_to` stand in
    the header. Reports come back to `envelope`, or else to `address`; with `returns` to an address
    of its own for each delivery, which is called for only when a message is planned, so that
    whoever only looks needs no key. In `redirect` mode `redirect_to` is the one inbox that gets
    everything.
    """

    address: str
    mode: Mode
    redirect_to: str = ""
    mailbox: str = ""
    reply_to: str | None = None
    envelope: str = ""
    returns: Callable[[], ReturnAddress] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What a reader sees of the sender: whom it is from, and who gets the answer."""
        return self.mailbox or self.address, self.reply_to or ""

    @property
    def envelope_sender(self) -> str:
        """Where reports come back to, without a delivery's mark."""
        return self.envelope or self.address

    def marked(self, token: str) -> str:
        """The envelope's sender of the delivery with this token."""
        return self.returns().verp(token) if self.returns else self.envelope_sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as recorded, with what is needed of its letter to write it out.

    `again` is the Message-ID of the message that this one repeats.
    """

    id: int
    letter_id: int
    run_id: int
    mode: Mode
    message_id: str
    again: str | None
    mailbox: str
    reply_to: str | None
    recipients: Sequence[Mapping[str, Any]]
    year: int
    authority_code: str
    authority_name: str
    revision: int
    fields: Mapping[str, Any]
    wording: Mapping[str, str]
    pdf: str
    pdf_sha256: str
    eml: str | None
    eml_sha256: str | None


def plan(db: Database, run_id: int, sender: Sender, *, now: datetime, people: int = 0) -> int:
    """Give every letter that is prepared and not withheld its first message in this mode.

    Only those, if any, that so many `people` have approved.

    Returns how many were new; a run that has been cancelled or forgotten gets none.

    Safe to call again and from several processes: a letter has one first message in each mode.
    What was planned and never tried is from this sender from now on: an approval is given for the
    sender as it is now.
    """
    made = 0
    table, r = schema.letters, schema.runs
    # Along the index of a run's letters, so that no part looks again at what earlier parts planned.
    place = sa.tuple_(table.c.authority_code, table.c.revision)
    after: tuple[str, int] = ("", 0)
    may_go = approvals.may_go(table, people)
    while True:
        with db.write() as connection:
            # One planner at a time: the next one then sees what this one has made.
            live = connection.scalar(
                sa.select(r.c.id)
                .where(r.c.id == run_id, r.c.cancelled_at.is_(None), r.c.forgotten_at.is_(None))
                .with_for_update(key_share=True)
            )
            if live is None:
                return made
            if not made:
                _let_be_from(connection, run_id, sender)
            rows = connection.execute(
                sa.select(table.c.id, table.c.recipients, table.c.authority_code, table.c.revision)
                .where(letters.unplanned(run_id, sender.mode), may_go, place > after)
                .order_by(table.c.authority_code, table.c.revision)
                .limit(_CHUNK)
            ).all()
            for row in rows:
                create(connection, run_id, row.id, row.recipients, sender, now=now)
            made += len(rows)
        if not rows:
            return made
        after = (rows[-1].authority_code, rows[-1].revision)


def _let_be_from(connection: sa.Connection, run_id: int, sender: Sender) -> None:
    """Give what was planned for another sender, and is not frozen yet, to this one."""
    m, d, table = schema.messages, schema.deliveries, schema.letters
    mailbox, reply_to = sender.identity[0], sender.reply_to
    others = connection.execute(
        sa.select(m.c.id)
        .join(table, table.c.id == m.c.letter_id)
        .where(
            table.c.run_id == run_id,
            m.c.mode == sender.mode.value,
            m.c.eml.is_(None),
            sa.or_(
                m.c.mailbox != mailbox,
                m.c.reply_to.is_distinct_from(reply_to),
                m.c.envelope_sender != sender.envelope_sender,
            ),
        )
        .order_by(m.c.id)
    ).scalars()
    for message in others.all():
        connection.execute(
            sa.update(m)
            .where(m.c.id == message, m.c.eml.is_(None))
            .values(mailbox=mailbox, reply_to=reply_to, envelope_sender=sender.envelope_sender)
        )
        untried = connection.execute(
            sa.select(d.c.id, d.c.token).where(
                d.c.message_id == message, d.c.attempt == 0, d.c.state == State.QUEUED.value
            )
        ).all()
        for row in untried:
            token = row.token or _new_token()
            connection.execute(
                sa.update(d)
                .where(d.c.id == row.id, d.c.attempt == 0)
                .values(token=token, envelope_sender=sender.marked(token))
            )


def create(
    connection: sa.Connection,
    run_id: int,
    letter_id: int,
    recipients: Sequence[Mapping[str, Any]],
    sender: Sender,
    *,
    now: datetime,
    resend: Mapping[str, Any] | None = None,
) -> int:
    """One message and its deliveries, queued, within the transaction given; its id.

    `resend` says of which message it is a re-send, why, and who asked for it.
    """
    again = dict(resend or {})
    id_: int = connection.execute(
        sa.insert(schema.messages)
        .values(
            letter_id=letter_id,
            mode=sender.mode.value,
            message_id=new_message_id(uuid.uuid4().hex, sender.address),
            created_at=now,
            mailbox=sender.identity[0],
            reply_to=sender.reply_to,
            envelope_sender=sender.envelope_sender,
            recipients=list(recipients),
            **again,
        )
        .returning(schema.messages.c.id)
    ).scalar_one()
    addresses = [one["address"] for one in recipients]
    if sender.mode is Mode.REDIRECT:
        addresses = [sender.redirect_to]
    tokens = [_new_token() for _ in addresses]
    connection.execute(
        sa.insert(schema.deliveries),
        [
            {
                "message_id": id_,
                "letter_id": letter_id,
                "mode": sender.mode.value,
                "recipient": address,
                "token": token,
                "envelope_sender": sender.marked(token),
                "domain": address.rpartition("@")[2].lower(),
                "state": State.QUEUED.value,
                "due_at": now,
            }
            for address, token in zip(addresses, tokens, strict=True)
        ],
    )
    events.note(
        connection,
        Event.RESEND_REQUESTED if resend else Event.MESSAGE_CREATED,
        at=now,
        run_id=run_id,
        letter_id=letter_id,
        message_id=id_,
        person=again.get("requested_by"),
        data={
            "mode": sender.mode.value,
            "recipients": addresses,
            **({"reason": again["reason"], "resend_of": again["resend_of"]} if resend else {}),
        },
    )
    return id_


def _new_token() -> str:
    """A name for one delivery that nobody guesses, short enough for an address."""
    return base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asks for: a letter once more, in a message of its own.

    `to` replaces all recipients; None means those of the letter. A `key` names the request, so that
    asking twice is asking once. Without one, the same person asking for the same on the same day in
    London is asking once, unless `again` says that another copy is wanted on purpose.
    """

    reason: str
    person: str
    to: Sequence[Mapping[str, Any]] | None = None
    key: str | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """The message that answers a request; `new` if this request made it, else it was there.

    `unsent` says that some of it is still queued, or was when its worker died: sending it goes on.
    """

    id: int
    message_id: str
    created_at: datetime
    new: bool
    unsent: bool


def resend(
    db: Database,
    letter_id: int,
    sender: Sender,
    request: Request,
    *,
    now: datetime,
    seen: int | None = None,
) -> Resent:
    """Answer a request with a message of the letter that is linked to the one before it.

    The same request twice is one message, also from two people or processes at once; what is left
    of it to send is for the caller to send. A request without a key is the same no longer once its
    message has failed with everybody it was for. `seen` is the newest message (by id) that whoever
    asks knew of. Raises Refused for everything that `hindrances` tell, for a key that belongs to
    another letter, and where somebody has sent the letter again since the message `seen`.
    """
    for last_try in (False, True):
        try:
            with db.write() as connection:
                return _resend(connection, letter_id, sender, request, now=now, seen=seen)
        except sa.exc.IntegrityError:
            # The key has been used for another letter meanwhile; the next look finds it there.
            if last_try:
                raise
    raise AssertionError("unreachable")


def pdf_of(db: Database, letter_id: int) -> tuple[str, str]:
    """The name within the archive and the SHA-256 of a prepared letter's PDF."""
    table = schema.letters
    with db.read() as connection:
        row = connection.execute(
            sa.select(table.c.pdf, table.c.pdf_sha256).where(table.c.id == letter_id)
        ).one()
    return row.pdf, row.pdf_sha256


def repeated(
    db: Database, letter_id: int, sender: Sender, request: Request, *, now: datetime
) -> Resent | None:
    """The message that has answered this request before, or None; raises Refused as `resend`."""
    with db.read() as connection:
        letter = connection.execute(hindrances.letter_row(letter_id)).one()
        return _answer(connection, letter, sender, request, now=now)[0]


def _resend(
    connection: sa.Connection,
    letter_id: int,
    sender: Sender,
    request: Request,
    *,
    now: datetime,
    seen: int | None,
) -> Resent:
    m, table, r = schema.messages, schema.letters, schema.runs
    # Run first, letter second, as everywhere: pausing and withholding wait, or show by now.
    of_letter = sa.select(table.c.run_id).where(table.c.id == letter_id).scalar_subquery()
    connection.execute(sa.select(r.c.id).where(r.c.id == of_letter).with_for_update(key_share=True))
    connection.execute(
        sa.select(table.c.id).where(table.c.id == letter_id).with_for_update(key_share=True)
    )
    letter = connection.execute(hindrances.letter_row(letter_id)).one()
    answer, key = _answer(connection, letter, sender, request, now=now)
    if answer is not None:
        return answer
    hindered = hindrances.within(connection, letter, sender.mode)
    if hindered:
        raise Refused(hindered)
    before = connection.execute(
        sa.select(m.c.id, m.c.requested_by, m.c.created_at)
        .where(m.c.letter_id == letter_id, m.c.mode == sender.mode.value)
        .order_by(m.c.id.desc())
        .limit(1)
    ).one()
    if seen is not None and before.id != seen:
        raise Refused(
            f"{before.requested_by} has sent the letter to {letter.authority_name} again meanwhile "
            f"({hindrances.london_time(before.created_at)}); look at it first: "
            f"letters show {letter.authority_code} --year {letter.year}"
        )
    made = create(
        connection,
        letter.run_id,
        letter_id,
        letter.recipients if request.to is None else request.to,
        sender,
        now=now,
        resend={
            "resend_of": before.id,
            "reason": request.reason,
            "requested_by": request.person,
            "request_key": key,
        },
    )
    message_id = connection.execute(sa.select(m.c.message_id).where(m.c.id == made)).scalar_one()
    return Resent(id=made, message_id=message_id, created_at=now, new=True, unsent=True)


def _answer(
    connection: sa.Connection, letter: Any, sender: Sender, request: Request, *, now: datetime
) -> tuple[Resent | None, str]:
    """The message that answers the request already, if there is one, and the key for a new one.

    Keys are kept apart by mode, as nothing that was done in one mode counts in another.
    """
    m = schema.messages
    mode = sender.mode.value
    found = sa.select(m.c.id, m.c.message_id, m.c.created_at, m.c.letter_id).order_by(m.c.id)
    if request.key is not None:
        key = f"{mode} key {request.key}"
        named = connection.execute(found.where(m.c.request_key == key)).one_or_none()
        if named is None:
            return None, key
        if named.letter_id != letter.id:
            other = connection.execute(hindrances.letter_row(named.letter_id)).one()
            at = hindrances.london_time(named.created_at)
            raise Refused(
                f"The key {request.key} belongs to another request: it has sent the letter of "
                f"{other.year} to {other.authority_name} again, {at}. "
                "Give this request a key of its own."
            )
        return _made(named, _states(connection, named.id)), key
    base = f"{mode} made {_digest(letter, mode, request, now)}."
    made = connection.execute(
        found.where(m.c.letter_id == letter.id, m.c.request_key.startswith(base, autoescape=True))
    ).all()
    key = f"{base}{len(made) + 1}"
    if not made or request.again:
        return None, key
    states = _states(connection, made[-1].id)
    return (_made(made[-1], states) if states - _FAILED else None), key


def _states(connection: sa.Connection, message: int) -> set[State]:
    d = schema.deliveries
    rows = connection.scalars(sa.select(d.c.state).where(d.c.message_id == message).distinct())
    return {State(state) for state in rows}


def _made(row: Any, states: set[State]) -> Resent:
    return Resent(
        id=row.id,
        message_id=row.message_id,
        created_at=row.created_at,
        new=False,
        unsent=bool(states & {State.QUEUED, *LEASED}),
    )


def _digest(letter: Any, mode: str, request: Request, now: datetime) -> str:
    recipients = letter.recipients if request.to is None else request.to
    same = [
        letter.id,
        mode,
        sorted(_mailbox(one["address"]) for one in recipients),
        " ".join(request.reason.split()),
        request.person,
        now.astimezone(hindrances.LONDON).date().isoformat(),
    ]
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()


def _mailbox(address: str) -> str:
    """The same text for one mailbox in whatever spelling."""
    try:
        return ascii_address(address).casefold()
    except LetterFault:  # on record before addresses were looked at as they are now
        return address.casefold()


def read(db: Database, id_: int) -> Message:
    """One message, with its letter and its run's wording."""
    with db.read() as connection:
        row = connection.execute(_whole(), {"message": id_}).one()
    found = dict(row._mapping)  # noqa: SLF001 - a row's public mapping
    # Messages that were planned before whom they are from was kept have only the address.
    mailbox = found["mailbox"] or found["envelope_sender"]
    del found["envelope_sender"]
    return Message(**{**found, "mode": Mode(row.mode), "mailbox": mailbox})


@cache
def _whole() -> sa.Select[Any]:
    """A message with its letter and its run; made once, as every letter takes it."""
    m, table, r = schema.messages, schema.letters, schema.runs
    first = m.alias("first")
    return (
        sa.select(
            first.c.message_id.label("again"),
            m.c.id,
            m.c.letter_id,
            table.c.run_id,
            m.c.mode,
            m.c.message_id,
            m.c.mailbox,
            m.c.reply_to,
            m.c.envelope_sender,
            m.c.recipients,
            r.c.year,
            table.c.authority_code,
            table.c.authority_name,
            table.c.revision,
            table.c.fields,
            r.c.wording,
            table.c.pdf,
            table.c.pdf_sha256,
            m.c.eml,
            m.c.eml_sha256,
        )
        .join(table, table.c.id == m.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        .outerjoin(first, first.c.id == m.c.resend_of)
        .where(m.c.id == sa.bindparam("message"))
    )


def freeze(db: Database, message: Message, *, dated: datetime, eml: str, eml_sha256: str) -> bool:
    """Record the bytes that are sent from now on.

    False if others were recorded before, or if the message is from another sender by now.
    """
    m = schema.messages
    # Not synced: the intent that follows is, and without that nobody has been sent anything.
    with db.write(synced=False) as connection:
        done = connection.execute(
            sa.update(m)
            .where(
                m.c.id == message.id,
                m.c.eml.is_(None),
                m.c.mailbox.in_(("", message.mailbox)),  # what was written is what is on record
                m.c.reply_to.is_not_distinct_from(message.reply_to),
            )
            .values(dated=dated, eml=eml, eml_sha256=eml_sha256)
        )
        if done.rowcount != 1:
            return False
        events.note(
            connection,
            Event.MESSAGE_FROZEN,
            at=dated,
            run_id=message.run_id,
            letter_id=message.letter_id,
            message_id=message.id,
            data={"eml": eml, "sha256": eml_sha256},
        )
    return True
