"""A run's letters for somebody who looks at all of them: those that would go, and the others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.ledger.runs import Run

_CHUNK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A letter that is made and not withheld, with all that is frozen of it."""

    id: int
    authority_code: str
    authority_name: str
    revision: int
    kind: str
    fields: Mapping[str, Any]
    recipients: Sequence[Mapping[str, Any]]
    pdf: str
    pdf_sha256: str
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A letter that would not go: withheld by a person, or it cannot be made."""

    authority: str
    name: str
    because: str
    withheld: bool


def letters(db: Database, run: Run, codes: Collection[str] | None = None) -> Iterator[Looked]:
    """The letters that would go, in the order of the codes; streamed in short reads.

    With `codes` those of these authorities, also where they are withheld.
    """
    table = schema.letters
    which = _goes(run)
    if codes is not None:
        which = sa.and_(_made(run), table.c.authority_code.in_(codes))
    place = sa.tuple_(table.c.authority_code, table.c.revision)
    after: tuple[str, int] = ("", 0)
    while True:
        with db.read() as connection:
            rows = connection.execute(
                sa.select(
                    table.c.id,
                    table.c.authority_code,
                    table.c.authority_name,
                    table.c.revision,
                    table.c.kind,
                    table.c.fields,
                    table.c.recipients,
                    table.c.pdf,
                    table.c.pdf_sha256,
                    table.c.pages,
                )
                .where(which, place > after)
                .order_by(table.c.authority_code, table.c.revision)
                .limit(_CHUNK)
            ).all()
        for row in rows:
            yield Looked(**row._mapping)  # noqa: SLF001 - a row's public mapping
        if not rows:
            return
        after = (rows[-1].authority_code, rows[-1].revision)


def composed(db: Database, run: Run) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Code, name and fields of the newest letters that could be composed; streamed."""
    table = schema.letters
    after = ""
    while True:
        with db.read() as connection:
            rows = connection.execute(
                sa.select(table.c.authority_code, table.c.authority_name, table.c.fields)
                .where(
                    table.c.run_id == run.id,
                    table.c.superseded_at.is_(None),
                    table.c.faulted_in.is_distinct_from("compose"),
                    table.c.authority_code > after,
                )
                .order_by(table.c.authority_code)
                .limit(_CHUNK)
            ).all()
        for row in rows:
            yield row.authority_code, row.authority_name, row.fields
        if not rows:
            return
        after = rows[-1].authority_code


def fields_before(db: Database, run: Run, codes: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The fields of the newest letters that a run holds for these authorities, by code."""
    table = schema.letters
    with db.read() as connection:
        return {
            row.authority_code: row.fields
            for row in connection.execute(
                sa.select(table.c.authority_code, table.c.fields)
                .where(
                    table.c.run_id == run.id,
                    table.c.authority_code.in_(codes),
                    table.c.fault.is_(None),
                )
                .order_by(table.c.revision)
            )
        }


def left_out(db: Database, run: Run, limit: int = 1000) -> Iterator[LeftOut]:
    """The letters that would not go, in the order of the codes."""
    table = schema.letters
    with db.read() as connection:
        for row in connection.execute(
            sa.select(
                table.c.authority_code,
                table.c.authority_name,
                table.c.fault,
                table.c.withheld_because,
            )
            .where(
                table.c.run_id == run.id,
                table.c.superseded_at.is_(None),
                sa.or_(table.c.fault.is_not(None), table.c.withheld_at.is_not(None)),
            )
            .order_by(table.c.authority_code, table.c.revision)
            .limit(limit)
        ):
            yield LeftOut(
                authority=row.authority_code,
                name=row.authority_name,
                because=row.withheld_because or row.fault or "",
                withheld=row.withheld_because is not None,
            )


def count_recipients(db: Database, run: Run) -> tuple[int, int]:
    """How many people the letters that would go are for, and how many have a copy."""
    table, to, copied = schema.letters, 0, 0
    with db.read() as connection:
        for recipients in connection.scalars(
            sa.select(table.c.recipients).where(_goes(run)).execution_options(yield_per=_CHUNK)
        ):
            for one in recipients:
                if one["kind"] == "cc":
                    copied += 1
                else:
                    to += 1
    return to, copied


def count_pages(db: Database, run: Run) -> int:
    """How many pages the letters that would go have."""
    with db.read() as connection:
        return (
            connection.scalar(sa.select(sa.func.sum(schema.letters.c.pages)).where(_goes(run))) or 0
        )


def count(db: Database, run: Run) -> int:
    """How many letters would go."""
    with db.read() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count()).select_from(schema.letters).where(_goes(run))
            )
            or 0
        )


def _made(run: Run) -> sa.ColumnElement[bool]:
    table = schema.letters
    return sa.and_(
        table.c.run_id == run.id, table.c.pdf.is_not(None), table.c.superseded_at.is_(None)
    )


def _goes(run: Run) -> sa.ColumnElement[bool]:
    return sa.and_(_made(run), schema.letters.c.withheld_at.is_(None))
