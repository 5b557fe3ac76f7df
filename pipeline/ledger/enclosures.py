"""What is enclosed with letters: the cases frozen with each, and the workbooks made of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.letter import Letter

_CHUNK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosed:
    """A workbook: what it is (`decisions`), its name within the archive, its SHA-256 in hex."""

    kind: str
    file: str
    sha256: str


def insert(connection: sa.Connection, run_id: int, letters: Sequence[Letter]) -> None:
    """Freeze what goes with these new letters of the run, which are the first revisions."""
    with_cases = {one.authority_code: one for one in letters if one.enclosures}
    if not with_cases:
        return
    table = schema.letters
    ids = connection.execute(
        sa.select(table.c.id, table.c.authority_code).where(
            table.c.run_id == run_id,
            table.c.revision == 1,
            table.c.authority_code.in_(with_cases),
        )
    )
    for row in ids:
        insert_one(connection, row.id, with_cases[row.authority_code])


def insert_one(connection: sa.Connection, letter_id: int, letter: Letter) -> None:
    """Freeze what goes with one letter."""
    for kind, cases in letter.enclosures.items():
        connection.execute(
            sa.insert(schema.enclosures).values(
                letter_id=letter_id, kind=kind, cases=[list(one) for one in cases]
            )
        )


def cases(
    connection: sa.Connection, letters: Collection[int]
) -> dict[int, dict[str, list[list[Any]]]]:
    """What goes with each of these letters (by id), by what it is."""
    e = schema.enclosures
    found: dict[int, dict[str, list[list[Any]]]] = {}
    for row in connection.execute(
        sa.select(e.c.letter_id, e.c.kind, e.c.cases)
        .where(e.c.letter_id.in_(letters))
        .order_by(e.c.id)
    ):
        found.setdefault(row.letter_id, {})[row.kind] = row.cases
    return found


def record(connection: sa.Connection, made: Collection[tuple[int, Collection[Enclosed]]]) -> None:
    """Put the workbooks of letters on record, with the letters' own files."""
    e = schema.enclosures
    for letter_id, enclosed in made:
        for one in enclosed:
            connection.execute(
                sa.update(e)
                .where(e.c.letter_id == letter_id, e.c.kind == one.kind)
                .values(file=one.file, sha256=one.sha256)
            )


def carry(connection: sa.Connection, old_id: int, new_id: int) -> None:
    """Give a letter of a run that was refreshed the workbooks that the old one had."""
    e = schema.enclosures
    for row in connection.execute(
        sa.select(e.c.kind, e.c.file, e.c.sha256).where(
            e.c.letter_id == old_id, e.c.file.is_not(None)
        )
    ).all():
        connection.execute(
            sa.update(e)
            .where(e.c.letter_id == new_id, e.c.kind == row.kind)
            .values(file=row.file, sha256=row.sha256)
        )


def of(db: Database, letter_id: int) -> list[Enclosed]:
    """The workbooks of one letter, in the order in which they are attached."""
    e = schema.enclosures
    with db.read() as connection:
        return [
            Enclosed(kind=row.kind, file=row.file, sha256=row.sha256)
            for row in connection.execute(
                sa.select(e.c.kind, e.c.file, e.c.sha256)
                .where(e.c.letter_id == letter_id, e.c.file.is_not(None))
                .order_by(e.c.id)
            )
        ]


def hashes(
    connection: sa.Connection, run_id: int, letter_id: int | None = None
) -> Mapping[int, list[list[str | None]]]:
    """Kind and SHA-256 of all that goes with each letter of the run, by the letter's id."""
    e, table = schema.enclosures, schema.letters
    found: dict[int, list[list[str | None]]] = {}
    select = (
        sa.select(e.c.letter_id, e.c.kind, e.c.sha256)
        .join(table, table.c.id == e.c.letter_id)
        .where(table.c.run_id == run_id)
        .order_by(e.c.letter_id, e.c.id)
    )
    if letter_id is not None:
        select = select.where(e.c.letter_id == letter_id)
    for row in connection.execute(select.execution_options(yield_per=_CHUNK)):
        found.setdefault(row.letter_id, []).append([row.kind, row.sha256])
    return found
