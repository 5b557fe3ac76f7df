"""Doubts, around the moment in which a person settles one: what speaks against it, what was said.

The doubts themselves, and the move out of them, are in `deliveries`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode, State
from pipeline.ledger.deliveries import Doubt
from pipeline.schema import Event

HANDING_OVER = timedelta(hours=1)
"""How long after its intent a worker may still write the dot: no relay waits longer for one.

RFC 5321 asks of a server to wait five minutes; those that are slow to give up wait much longer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a doubt ended: `target` is what the delivery became then, `because` is the evidence.

    `person` is None where it was evidence that settled it. `attempt` is whose doubt it was; it is
    None in what was recorded before that was kept.
    """

    recipient: str
    attempt: int | None
    target: State
    at: datetime
    person: str | None
    because: str


def may_write_until(doubt: Doubt, *, gone: Callable[[str], bool], now: datetime) -> datetime | None:
    """Until when the worker may still hand the message over; None if it certainly does not.

    A worker that has itself said that no answer came is through with it. One that was given up by
    others may only have been stopped: unless its process is `gone`, time alone ends it, when no
    relay would wait any longer.
    """
    until = doubt.intent_at + HANDING_OVER
    if doubt.outcome == "lost" or until <= now or gone(doubt.owner):
        return None
    return until


def elsewhere(db: Database, letter_id: int, mode: Mode) -> dict[Mode, int]:
    """How many deliveries of the letter are in doubt in the other modes, by mode."""
    d = schema.deliveries
    with db.read() as connection:
        rows = connection.execute(
            sa.select(d.c.mode, sa.func.count())
            .where(
                d.c.letter_id == letter_id,
                d.c.mode != mode.value,
                d.c.state == State.IN_DOUBT.value,
            )
            .group_by(d.c.mode)
            .order_by(d.c.mode)
        ).all()
    return {Mode(row[0]): row[1] for row in rows}


def settled(db: Database, letter_id: int, mode: Mode) -> list[Settled]:
    """How each doubt of the letter in this mode ended that has ended, oldest first."""
    d, e = schema.deliveries, schema.events
    with db.read() as connection:
        rows = connection.execute(
            sa.select(d.c.recipient, e.c.at, e.c.person, e.c.data)
            .join(d, d.c.id == e.c.delivery_id)
            .where(
                e.c.letter_id == letter_id,
                e.c.kind == Event.DELIVERY_MOVED.value,
                d.c.mode == mode.value,
            )
            .order_by(e.c.id)
        ).all()
    return [
        Settled(
            recipient=row.recipient,
            attempt=row.data.get("attempt"),
            target=State(row.data["to"]),
            at=row.at,
            person=row.person,
            because=row.data.get("evidence") or row.data.get("said") or "",
        )
        for row in rows
        if row.data["from"] == State.IN_DOUBT.value
    ]
