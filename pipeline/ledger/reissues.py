"""Re-issues: a letter of which the figures were corrected, as a new revision beside the old one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import LEASED, Mode, State
from pipeline.errors import Refused
from pipeline.ledger import enclosures, events, holds, runs
from pipeline.ledger.letters import FrozenLetter
from pipeline.ledger.runs import Run
from pipeline.letter import Letter
from pipeline.schema import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A revision before the newest: its file, if it has one, and when it was replaced, and why."""

    revision: int
    pdf: str | None
    pdf_sha256: str | None
    superseded_at: datetime
    because: str
    by: str


def refuse_unsettled(db: Database, run: Run, letter: Any) -> None:
    """Raise Refused for a letter (its row) that cannot be replaced as it stands at this moment."""
    with db.read() as connection:
        _refuse_unsettled(connection, run, letter)


def figures(db: Database, run: Run, codes: Collection[str]) -> dict[str, Any]:
    """The newest letters of these authorities by code: rows with name, kind, figures, fields."""
    table = schema.letters
    with db.read() as connection:
        return {
            row.authority_code: row
            for row in connection.execute(
                sa.select(table).where(
                    table.c.run_id == run.id,
                    table.c.superseded_at.is_(None),
                    table.c.authority_code.in_(codes),
                )
            )
        }


def other_cases(db: Database, old: Any, letter: Letter) -> bool:
    """Whether other cases would be enclosed with the letter than with the old one (its row)."""
    with db.read() as connection:
        before = enclosures.cases(connection, [old.id]).get(old.id, {})
    return before != enclosures.cases_of(letter)


def make(
    db: Database,
    run: Run,
    old: Any,
    letter: Letter,
    *,
    because: str,
    changed: Sequence[str],
    moved: int,
    person: str,
    now: datetime,
) -> FrozenLetter:
    """Put the new revision on record in the place of `old`, a row of `letters`.

    What is still queued of the old one is cancelled; what has gone stays as it went. `changed` are
    the names of what differs, and `moved` how many other letters have another average by it: on
    record for whoever asks why. Raises Refused if the letter has been replaced, or is being sent,
    since it was looked at.
    """
    table = schema.letters
    with db.write() as connection:
        runs.lock(connection, run)
        done = connection.execute(
            sa.update(table)
            .where(table.c.id == old.id, table.c.superseded_at.is_(None))
            .values(superseded_at=now)
        )
        if done.rowcount != 1:
            raise Refused(
                f"The letter to {old.authority_name} has just been replaced by somebody else; look "
                f"at it as it is now: letters show {old.authority_code} --year {run.year}"
            )
        _refuse_unsettled(connection, run, old)
        why = f"replaced: {because}"
        which = table.c.id == old.id
        holds.cancel_queued(connection, which, run, because=why, person=person, now=now)
        holds.refuse_while_sending(connection, which, run)
        id_: int = connection.execute(
            sa.insert(table)
            .values(
                run_id=run.id,
                authority_code=old.authority_code,
                revision=old.revision + 1,
                authority_name=letter.authority_name,
                kind=letter.kind,
                figures=letter.figures,
                fields=letter.fields,
                recipients=letter.recipients,
                replaces_id=old.id,
                reissued_because=because,
                reissued_by=person,
            )
            .returning(table.c.id)
        ).scalar_one()
        enclosures.insert_one(connection, id_, letter)
        data: Mapping[str, Any] = {
            "reason": because,
            "replaces": old.id,
            "revision": old.revision + 1,
            "changed": list(changed),
            "averages_moved": moved,
        }
        for letter_id in (old.id, id_):
            events.note(
                connection,
                Event.LETTER_REISSUED,
                at=now,
                run_id=run.id,
                letter_id=letter_id,
                person=person,
                data=data,
            )
    return FrozenLetter(
        id=id_,
        run_id=run.id,
        year=run.year,
        authority_code=old.authority_code,
        authority_name=letter.authority_name,
        fields=letter.fields,
        cases=enclosures.cases_of(letter),
    )


def earlier(db: Database, letter: Any) -> list[Earlier]:
    """The revisions before this letter (its row), the newest first."""
    table, later = schema.letters, schema.letters.alias("later")
    with db.read() as connection:
        return [
            Earlier(
                revision=row.revision,
                pdf=row.pdf,
                pdf_sha256=row.pdf_sha256,
                superseded_at=row.superseded_at,
                because=row.reissued_because,
                by=row.reissued_by,
            )
            for row in connection.execute(
                sa.select(
                    table.c.revision,
                    table.c.pdf,
                    table.c.pdf_sha256,
                    table.c.superseded_at,
                    later.c.reissued_because,
                    later.c.reissued_by,
                )
                .join(later, later.c.replaces_id == table.c.id)
                .where(
                    table.c.run_id == letter.run_id,
                    table.c.authority_code == letter.authority_code,
                    table.c.revision < letter.revision,
                )
                .order_by(table.c.revision.desc())
            )
        ]


def _refuse_unsettled(connection: sa.Connection, run: Run, letter: Any) -> None:
    d = schema.deliveries
    states = {
        State(state)
        for state in connection.scalars(
            sa.select(d.c.state).where(d.c.letter_id == letter.id, d.c.mode == Mode.LIVE.value)
        )
    }
    own = f"{letter.authority_code} --year {run.year}"
    if State.IN_DOUBT in states:
        raise Refused(
            f"It is in doubt whether the letter to {letter.authority_name} has gone, so it is not "
            f"replaced before that is settled: letters resolve {own}"
        )
    if states.intersection(LEASED):
        raise Refused(
            f"The letter to {letter.authority_name} is being sent at this moment; replace it when "
            f"that has ended. letters show {own} says how it stands."
        )
