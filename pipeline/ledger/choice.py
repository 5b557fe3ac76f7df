"""Choice: several letters of a run at once, by what they have in common or by their codes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode, State
from pipeline.ledger import story
from pipeline.ledger.runs import Run

STATES = ("fault", "unprepared", "prepared", "withheld", *(state.value for state in State))
"""How a letter can stand, as `story.statuses` has it."""

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One letter, the newest revision of its authority's, and whom it goes to."""

    id: int
    authority: str
    name: str
    recipients: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What has come of one delivery, and what was last said of it."""

    message: int
    recipient: str
    state: State
    reply: str | None


def choose(
    db: Database,
    run: Run,
    mode: Mode,
    *,
    kinds: Collection[str] = (),
    states: Collection[str] = (),
    codes: Collection[str] | None = None,
) -> list[Chosen]:
    """The letters of the run that fit everything that is given, in the order of the codes.

    Any of the `kinds`, any of the `states` that they stand in in this mode, any of the `codes`;
    what is not given does not matter.
    """
    table = schema.letters
    with db.read() as connection:
        rows = connection.execute(
            sa.select(
                table.c.id,
                table.c.authority_code,
                table.c.authority_name,
                table.c.kind,
                table.c.recipients,
            )
            .where(table.c.run_id == run.id)
            .order_by(table.c.authority_code, table.c.revision)
        ).all()
    newest = {row.authority_code: row for row in rows}
    standing = {}
    if states:
        standing = {one.authority: one.state for one in story.statuses(db, run, mode)}
    return [
        Chosen(id=row.id, authority=code, name=row.authority_name, recipients=row.recipients)
        for code, row in newest.items()
        if (not kinds or row.kind in kinds)
        and (not states or standing.get(code) in states)
        and (codes is None or code in codes)
    ]


def came_of(db: Database, messages: Sequence[int]) -> list[Came]:
    """The deliveries of these messages (by id), in the order in which they were made."""
    d, a = schema.deliveries, schema.attempts
    found: list[Came] = []
    for start in range(0, len(messages), _CHUNK):
        with db.read() as connection:
            rows = connection.execute(
                sa.select(d.c.message_id, d.c.recipient, d.c.state, a.c.reply)
                .outerjoin(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
                .where(d.c.message_id.in_(messages[start : start + _CHUNK]))
                .order_by(d.c.id)
            ).all()
        found += [
            Came(
                message=row.message_id,
                recipient=row.recipient,
                state=State(row.state),
                reply=row.reply,
            )
            for row in rows
        ]
    return found
