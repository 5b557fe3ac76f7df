"""Messages: one text to some recipients, frozen at the first attempt to send it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import OPEN, Mode, State
from pipeline.errors import Refused
from pipeline.ledger import events
from pipeline.message import new_message_id
from pipeline.schema import Event

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whom messages come from: the envelope's address, and the mode that they are sent in.

    In `redirect` mode `redirect_to` is the one inbox that gets everything.
    """

    address: str
    mode: Mode
    redirect_to: str = ""


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
    envelope_sender: str
    recipients: Sequence[Mapping[str, Any]]
    year: int
    authority_code: str
    authority_name: str
    fields: Mapping[str, Any]
    wording: Mapping[str, str]
    pdf: str
    pdf_sha256: str
    eml: str | None
    eml_sha256: str | None


def plan(db: Database, run_id: int, sender: Sender, *, now: datetime) -> int:
    """Give every letter that is prepared and not withheld its first message in this mode.

    Returns how many were new.

    Safe to call again and from several processes: a letter has one first message in each mode.
    """
    made = 0
    table, m = schema.letters, schema.messages
    first = sa.exists().where(
        m.c.letter_id == table.c.id, m.c.mode == sender.mode.value, m.c.resend_of.is_(None)
    )
    while True:
        with db.write() as connection:
            # One planner at a time: the next one then sees what this one has made.
            connection.execute(
                sa.select(schema.runs.c.id).where(schema.runs.c.id == run_id).with_for_update()
            )
            rows = connection.execute(
                sa.select(table.c.id, table.c.recipients)
                .where(
                    table.c.run_id == run_id,
                    table.c.pdf.is_not(None),
                    table.c.withheld_at.is_(None),
                    ~first,
                )
                .order_by(table.c.id)
                .limit(_CHUNK)
            ).all()
            for row in rows:
                create(connection, run_id, row.id, row.recipients, sender, now=now)
            made += len(rows)
        if not rows:
            return made


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
            envelope_sender=sender.address,
            recipients=list(recipients),
            **again,
        )
        .returning(schema.messages.c.id)
    ).scalar_one()
    addresses = [one["address"] for one in recipients]
    if sender.mode is Mode.REDIRECT:
        addresses = [sender.redirect_to]
    connection.execute(
        sa.insert(schema.deliveries),
        [
            {
                "message_id": id_,
                "letter_id": letter_id,
                "mode": sender.mode.value,
                "recipient": address,
                "state": State.QUEUED.value,
                "due_at": now,
            }
            for address in addresses
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


def resend(
    db: Database,
    letter_id: int,
    sender: Sender,
    *,
    to: Sequence[Mapping[str, Any]] | None,
    reason: str,
    person: str,
    request_key: str | None,
    now: datetime,
) -> int:
    """A new message of the same letter, linked to the one before it; its id.

    `to` replaces all recipients; None means those of the letter. The same `request_key` twice is
    one message. Raises Refused while an earlier delivery of the letter may still arrive, or if the
    letter has never been sent in this mode.
    """
    m, d, table = schema.messages, schema.deliveries, schema.letters
    with db.write() as connection:
        letter = connection.execute(
            sa.select(table).where(table.c.id == letter_id).with_for_update()
        ).one()
        if request_key is not None:
            made = connection.scalar(sa.select(m.c.id).where(m.c.request_key == request_key))
            if made is not None:
                return int(made)
        before = connection.scalar(
            sa.select(m.c.id)
            .where(m.c.letter_id == letter_id, m.c.mode == sender.mode.value)
            .order_by(m.c.id.desc())
            .limit(1)
        )
        if before is None:
            raise Refused(
                f"The letter to {letter.authority_name} has not been sent in {sender.mode.value} "
                "mode yet, so it cannot be sent again; send it first: letters run YEAR"
            )
        pending = connection.execute(
            sa.select(d.c.recipient, d.c.state).where(
                d.c.letter_id == letter_id,
                d.c.mode == sender.mode.value,
                d.c.state.in_([state.value for state in OPEN]),
            )
        ).all()
        if pending:
            listed = ", ".join(f"{one.recipient} ({one.state})" for one in pending)
            raise Refused(
                f"An earlier delivery of the letter to {letter.authority_name} may still arrive: "
                f"{listed}. Let it finish first (letters run YEAR), so that nobody gets it twice."
            )
        return create(
            connection,
            letter.run_id,
            letter_id,
            letter.recipients if to is None else to,
            sender,
            now=now,
            resend={
                "resend_of": before,
                "reason": reason,
                "requested_by": person,
                "request_key": request_key,
            },
        )


def read(db: Database, id_: int) -> Message:
    """One message, with its letter and its run's wording."""
    m, table, r = schema.messages, schema.letters, schema.runs
    first = m.alias("first")
    with db.read() as connection:
        row = connection.execute(
            sa.select(
                first.c.message_id.label("again"),
                m.c.id,
                m.c.letter_id,
                table.c.run_id,
                m.c.mode,
                m.c.message_id,
                m.c.envelope_sender,
                m.c.recipients,
                r.c.year,
                table.c.authority_code,
                table.c.authority_name,
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
            .where(m.c.id == id_)
        ).one()
    return Message(**{**row._mapping, "mode": Mode(row.mode)})  # noqa: SLF001


def freeze(db: Database, message: Message, *, dated: datetime, eml: str, eml_sha256: str) -> bool:
    """Record the bytes that are sent from now on; False if others were recorded before."""
    m = schema.messages
    with db.write() as connection:
        done = connection.execute(
            sa.update(m)
            .where(m.c.id == message.id, m.c.eml.is_(None))
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
