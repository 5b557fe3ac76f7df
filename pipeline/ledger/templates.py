"""Which template each run was opened with."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The template of one run; `letters` counts those that have been made with it."""

    run: int
    year: int
    sha256: str
    opened_at: datetime
    opened_by: str
    cancelled_at: datetime | None
    letters: int


def pinned(db: Database, year: int | None = None) -> list[Pinned]:
    """The runs of the year, or of all years, the newest first."""
    r, table = schema.runs, schema.letters
    made = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.run_id == r.c.id, table.c.pdf.is_not(None))
        .scalar_subquery()
    )
    select = sa.select(
        r.c.id,
        r.c.year,
        r.c.template_sha256,
        r.c.opened_at,
        r.c.opened_by,
        r.c.cancelled_at,
        made.label("letters"),
    ).order_by(r.c.year.desc(), r.c.id.desc())
    if year is not None:
        select = select.where(r.c.year == year)
    with db.read() as connection:
        return [
            Pinned(
                run=row.id,
                year=row.year,
                sha256=row.template_sha256,
                opened_at=row.opened_at,
                opened_by=row.opened_by,
                cancelled_at=row.cancelled_at,
                letters=row.letters,
            )
            for row in connection.execute(select)
        ]
