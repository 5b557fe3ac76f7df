"""Letters that have their file, as they were frozen: what they can be made again from."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.ledger import enclosures
from pipeline.ledger.enclosures import Enclosed
from pipeline.ledger.letters import FrozenLetter
from pipeline.ledger.runs import Run

_CHUNK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A letter, and the file that it has: its name within the archive, and its SHA-256 in hex.

    `enclosed` are the workbooks that go with it.
    """

    letter: FrozenLetter
    revision: int
    pdf: str
    pdf_sha256: str
    enclosed: Sequence[Enclosed] = ()


def count(db: Database, run: Run, codes: Collection[str] = ()) -> int:
    """How many letters of the run have their file; only those of `codes` if there are any."""
    with db.read() as connection:
        found: int = connection.execute(
            sa.select(sa.func.count()).select_from(_of(run, codes).subquery())
        ).scalar_one()
    return found


def dates(db: Database, run: Run) -> list[datetime]:
    """The times that the files are dated with: when the run, or one before it, was opened.

    A refresh gives a file that did not change to its new run, dated as it was.
    """
    first = _first(run)
    with db.read() as connection:
        return list(connection.scalars(sa.select(first.c.at).distinct().order_by(first.c.at)))


def kept(db: Database, run: Run, dated: datetime, codes: Collection[str] = ()) -> Iterator[Kept]:
    """The run's letters whose files are dated so, streamed in short reads."""
    table, first = schema.letters, _first(run)
    select = (
        _of(run, codes).join(first, first.c.pdf == table.c.pdf).where(first.c.at == dated)
    ).order_by(table.c.id)
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(select.where(table.c.id > last).limit(_CHUNK)).all()
            ids = [row.id for row in rows]
            cases = enclosures.cases(connection, ids)
            enclosed = enclosures.files(connection, ids)
        for row in rows:
            yield Kept(
                letter=FrozenLetter(
                    id=row.id,
                    run_id=run.id,
                    year=run.year,
                    authority_code=row.authority_code,
                    authority_name=row.authority_name,
                    fields=row.fields,
                    cases=cases.get(row.id, {}),
                ),
                revision=row.revision,
                pdf=row.pdf,
                pdf_sha256=row.pdf_sha256,
                enclosed=enclosed.get(row.id, ()),
            )
        if not rows:
            return
        last = rows[-1].id


def _of(run: Run, codes: Collection[str]) -> sa.Select[Any]:
    table = schema.letters
    select = sa.select(
        table.c.id,
        table.c.authority_code,
        table.c.authority_name,
        table.c.revision,
        table.c.fields,
        table.c.pdf,
        table.c.pdf_sha256,
    ).where(table.c.run_id == run.id, table.c.pdf.is_not(None))
    return select.where(table.c.authority_code.in_(codes)) if codes else select


def _first(run: Run) -> sa.Subquery:
    """Each file of the run, and when the first run of the year was opened that had it."""
    table, r = schema.letters, schema.runs
    own = table.alias("own")
    return (
        sa.select(table.c.pdf, sa.func.min(r.c.opened_at).label("at"))
        .join(r, r.c.id == table.c.run_id)
        .where(
            r.c.year == run.year,
            table.c.pdf.in_(sa.select(own.c.pdf).where(own.c.run_id == run.id)),
        )
        .group_by(table.c.pdf)
        .subquery("first")
    )
