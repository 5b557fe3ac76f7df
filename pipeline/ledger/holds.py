"""Holding back: a run paused and resumed or cancelled, a letter withheld and released.

Holding back never takes back: what has gone has gone, what is being sent at this moment is let
finish, and what is in doubt stays in doubt.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import LEASED, Mode, State, may_follow
from pipeline.errors import Refused
from pipeline.ledger import approvals, events, messages, runs
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.schema import Event

_CHUNK = 500
_LOOKS = 5

# Live deliveries in these states may have reached an authority.
_MAY_HAVE_GONE = (
    State.SENDING,
    State.IN_DOUBT,
    State.ACCEPTED,
    State.DELIVERED,
    State.BOUNCED,
)


def pause(db: Database, run: Run, *, because: str, person: str, now: datetime) -> bool:
    """From now on nothing more of the run's year is sent; False if it was paused already.

    What is being sent at this moment is finished; every worker, on every machine, stops before the
    next delivery. Where somebody has just refreshed the run, it is the new one that is paused.
    """
    paused = {"paused_at": now, "paused_by": person, "paused_because": because}
    return _turned(
        db, run, Event.RUN_PAUSED, paused, data={"reason": because}, person=person, now=now
    )


def resume(db: Database, run: Run, *, person: str, now: datetime) -> bool:
    """The run's year may be sent again; False if it was not paused."""
    free = dict.fromkeys(("paused_at", "paused_by", "paused_because"))
    return _turned(db, run, Event.RUN_RESUMED, free, data={}, person=person, now=now)


def _turned(
    db: Database,
    run: Run,
    kind: Event,
    values: dict[str, Any],
    *,
    data: dict[str, Any],
    person: str,
    now: datetime,
) -> bool:
    """Pause or free whatever run of the year is live; False if it stands so already.

    Raises Refused if none is live any more.
    """
    r = schema.runs
    wanted = r.c.paused_at.is_(None) if values["paused_at"] else r.c.paused_at.is_not(None)
    live = sa.and_(r.c.year == run.year, r.c.cancelled_at.is_(None))
    for _ in range(_LOOKS):
        with db.write() as connection:
            turned = connection.scalar(
                sa.update(r).where(live, wanted).values(**values).returning(r.c.id)
            )
            if turned is not None:
                events.note(connection, kind, at=now, run_id=turned, person=person, data=data)
                return True
            # Of a run that was refreshed while we waited for it, the new one is seen only now.
            found = connection.execute(sa.select(r.c.id, wanted).where(live)).one_or_none()
        if found is None:
            raise Refused(
                f"The run of {run.year} has just been cancelled by somebody else; "
                f"look at it as it is now: letters status {run.year}"
            )
        if not found[1]:
            return False
    raise Refused(f"The run of {run.year} is being changed by others again and again; try again.")


def cancel(db: Database, run: Run, *, because: str, person: str, now: datetime) -> int:
    """Give the run up, with all that it has queued; how many deliveries that concerned.

    The year can then be opened anew. Raises Refused once anything of it may have reached an
    authority: a new run would send that again.
    """
    r = schema.runs
    with db.write() as connection:
        runs.lock(connection, run)
        gone = count_gone(connection, run)
        if gone:
            raise Refused(
                f"{gone:,} {'delivery' if gone == 1 else 'deliveries'} of {run.year} may have "
                "reached an authority, so the run cannot be cancelled: a new one would send them "
                "again. To withhold all that has not been sent: "
                f"letters cancel {run.year} --unsent --reason TEXT"
            )
        everything = schema.letters.c.run_id == run.id
        cancelled = cancel_queued(
            connection, everything, run, because=because, person=person, now=now
        )
        refuse_while_sending(connection, everything, run)
        connection.execute(sa.update(r).where(r.c.id == run.id).values(cancelled_at=now))
        events.note(
            connection,
            Event.RUN_CANCELLED,
            at=now,
            run_id=run.id,
            person=person,
            data={"reason": because},
        )
    return cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What withholding did: letters newly withheld, and deliveries that were queued and are not."""

    letters: int
    deliveries: int


def withhold(
    db: Database, run: Run, letter_id: int, *, because: str, person: str, now: datetime
) -> Withheld:
    """Do not send this letter, or what is left of it.

    Raises Refused while it is being sent, while it is in doubt, and once it has gone to everybody.
    """
    table, d = schema.letters, schema.deliveries
    with db.write() as connection:
        runs.lock(connection, run)
        letter = connection.execute(sa.select(table).where(table.c.id == letter_id)).one()
        live = [
            State(state)
            for state in connection.scalars(
                sa.select(d.c.state).where(d.c.letter_id == letter_id, d.c.mode == Mode.LIVE.value)
            )
        ]
        if State.IN_DOUBT in live:
            raise Refused(
                f"It is in doubt whether the letter to {letter.authority_name} has gone, so it "
                "cannot be withheld before that is settled: "
                f"letters resolve {letter.authority_code} --year {run.year}"
            )
        if live and all(state in _MAY_HAVE_GONE and state not in LEASED for state in live):
            raise Refused(
                f"The letter to {letter.authority_name} has been sent to everybody it was for; "
                "there is nothing left to withhold."
            )
        return _withhold(
            connection, table.c.id == letter_id, run, because=because, person=person, now=now
        )


def withhold_unsent(
    db: Database, run: Run, *, because: str, person: str, now: datetime
) -> Withheld:
    """Withhold every letter of the run that has not gone to everybody it is for, in live mode.

    Of a letter that has gone to some, the rest is withheld.
    """
    table, one = schema.letters, schema.deliveries.alias("one")

    def any_in(states: Iterable[State]) -> sa.ColumnElement[bool]:
        return sa.exists().where(
            one.c.letter_id == table.c.id,
            one.c.mode == Mode.LIVE.value,
            one.c.state.in_([state.value for state in states]),
        )

    gone = sa.and_(any_in(_MAY_HAVE_GONE), ~any_in((State.QUEUED, State.CLAIMED)))
    with db.write() as connection:
        runs.lock(connection, run)
        return _withhold(
            connection,
            sa.and_(
                table.c.run_id == run.id,
                table.c.withheld_at.is_(None),
                table.c.superseded_at.is_(None),
                ~gone,
            ),
            run,
            because=because,
            person=person,
            now=now,
        )


def release(
    db: Database, run: Run, letter_id: int, sender: Sender, *, person: str, now: datetime
) -> bool:
    """Let a withheld letter go again; False if it was not withheld.

    Whom it was withheld from gets it in a new message, in each mode in which it was, as a cancelled
    delivery stays cancelled. Where approval is asked for, it needs one: what it had ended when it
    was withheld.
    """
    table = schema.letters
    with db.write() as connection:
        runs.lock(connection, run)
        done = connection.execute(
            sa.update(table)
            .where(table.c.id == letter_id, table.c.withheld_at.is_not(None))
            .values(withheld_at=None, withheld_because=None)
        )
        if done.rowcount != 1:
            return False
        events.note(
            connection,
            Event.LETTER_RELEASED,
            at=now,
            run_id=run.id,
            letter_id=letter_id,
            person=person,
            data={},
        )
        for mode in Mode:
            _owed(connection, run, letter_id, replace(sender, mode=mode), person=person, now=now)
    return True


def _owed(
    connection: sa.Connection,
    run: Run,
    letter_id: int,
    sender: Sender,
    *,
    person: str,
    now: datetime,
) -> None:
    """A new message to whom the letter was withheld from in one mode, if anybody."""
    d, m = schema.deliveries, schema.messages
    in_mode = sa.and_(d.c.letter_id == letter_id, d.c.mode == sender.mode.value)
    newest = sa.select(sa.func.max(d.c.id)).where(in_mode).group_by(d.c.recipient)
    # Not only of the latest message: what was in doubt may have come back to the queue since. And
    # not what a person gave up in doubt: it may have arrived.
    taken = connection.execute(
        sa.select(d.c.recipient, m.c.recipients)
        .join(m, m.c.id == d.c.message_id)
        .where(d.c.id.in_(newest), d.c.state == State.CANCELLED.value, ~_given_up())
        .order_by(d.c.id)
    ).all()
    if sender.mode is Mode.REDIRECT and taken:
        taken = taken[-1:]  # one inbox stands for everybody
        sender = replace(sender, redirect_to=taken[0].recipient)
    again = [
        one
        for row in taken
        for one in row.recipients
        if one["address"] == row.recipient or sender.mode is Mode.REDIRECT
    ]
    latest = connection.scalar(
        sa.select(sa.func.max(m.c.id)).where(
            m.c.letter_id == letter_id, m.c.mode == sender.mode.value
        )
    )
    if again:
        messages.create(
            connection,
            run.id,
            letter_id,
            again,
            sender,
            now=now,
            resend={
                "resend_of": latest,
                "reason": "withheld before, and released",
                "requested_by": person,
            },
        )


def count_gone(connection: sa.Connection, run: Run) -> int:
    """How many deliveries of the run may have reached an authority."""
    table, d = schema.letters, schema.deliveries
    return (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(d)
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run.id,
                d.c.mode == Mode.LIVE.value,
                sa.or_(d.c.state.in_([state.value for state in _MAY_HAVE_GONE]), _given_up()),
            )
        )
        or 0
    )


def _given_up() -> sa.ColumnElement[bool]:
    """That a delivery was cancelled while in doubt: nobody knows whether it has arrived."""
    e = schema.events
    return sa.exists().where(
        e.c.delivery_id == schema.deliveries.c.id,
        e.c.kind == Event.DELIVERY_MOVED.value,
        e.c.data["from"].as_string() == State.IN_DOUBT.value,
        e.c.data["to"].as_string() == State.CANCELLED.value,
    )


def _withhold(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    run: Run,
    *,
    because: str,
    person: str,
    now: datetime,
) -> Withheld:
    table = schema.letters
    held = connection.scalars(
        sa.update(table)
        .where(which, table.c.withheld_at.is_(None))
        .values(withheld_at=now, withheld_because=because)
        .returning(table.c.id)
    ).all()
    withheld = sa.and_(table.c.run_id == run.id, table.c.withheld_at.is_not(None))
    cancelled = cancel_queued(connection, withheld, run, because=because, person=person, now=now)
    refuse_while_sending(connection, withheld, run)
    approvals.void(connection, held, [approvals.WITHHELD], now=now)
    for letter_id in held:
        events.note(
            connection,
            Event.LETTER_WITHHELD,
            at=now,
            run_id=run.id,
            letter_id=letter_id,
            person=person,
            data={"reason": because},
        )
    return Withheld(letters=len(held), deliveries=cancelled)


def refuse_while_sending(
    connection: sa.Connection, which: sa.ColumnElement[bool], run: Run
) -> None:
    """Asked after what is queued was cancelled: a claim that came first shows by then."""
    table, d = schema.letters, schema.deliveries
    sending = connection.scalar(
        sa.select(sa.func.count())
        .select_from(d)
        .join(table, table.c.id == d.c.letter_id)
        .where(which, d.c.state.in_([state.value for state in LEASED]))
    )
    if sending:
        one = sending == 1
        raise Refused(
            f"{sending:,} {'delivery is' if one else 'deliveries are'} being made at this moment. "
            f"Pause the run first (letters pause {run.year}) and do this when it has stopped. "
            f"If it was a crash that left them so, letters send {run.year} settles them first."
        )


def cancel_queued(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    run: Run,
    *,
    because: str,
    person: str,
    now: datetime,
) -> int:
    """Cancel what is queued of the letters, in every mode; how many deliveries that were."""
    table, d = schema.letters, schema.deliveries
    assert may_follow(State.QUEUED, State.CANCELLED)  # noqa: S101 - the table is the authority
    rows = connection.execute(
        sa.update(d)
        .where(
            d.c.letter_id.in_(sa.select(table.c.id).where(which)),
            d.c.state == State.QUEUED.value,
        )
        .values(state=State.CANCELLED.value, settled_at=now)
        .returning(d.c.id, d.c.letter_id, d.c.message_id, d.c.attempt)
    ).all()
    noted: list[dict[str, Any]] = [
        {
            "kind": Event.DELIVERY_MOVED.value,
            "at": now,
            "run_id": run.id,
            "letter_id": row.letter_id,
            "message_id": row.message_id,
            "delivery_id": row.id,
            "person": person,
            "data": {
                "from": State.QUEUED.value,
                "to": State.CANCELLED.value,
                "attempt": row.attempt,
                "said": because,
            },
        }
        for row in rows
    ]
    for start in range(0, len(noted), _CHUNK):
        connection.execute(sa.insert(schema.events), noted[start : start + _CHUNK])
    return len(rows)
