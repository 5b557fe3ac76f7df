"""What is enclosed with letters: the cases frozen with each, and the workbooks made of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import LetterFault
from pipeline.letter import CASES, Letter, digest_of

_RECORD = (
    sa.update(schema.enclosures)
    .where(
        schema.enclosures.c.letter_id == sa.bindparam("of"),
        schema.enclosures.c.kind == sa.bindparam("what"),
    )
    .values(file=sa.bindparam("name"), sha256=sa.bindparam("digest"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """The rows to enclose as they were frozen, and the SHA-256 that they had then."""

    rows: Sequence[Sequence[Any]]
    sha256: str

    @property
    def is_whole(self) -> bool:
        """Whether they are what they were."""
        return digest_of(self.rows) == self.sha256


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
    _insert(connection, {row.id: with_cases[row.authority_code] for row in ids})


def insert_one(connection: sa.Connection, letter_id: int, letter: Letter) -> None:
    """Freeze what goes with one letter."""
    _insert(connection, {letter_id: letter})


def _insert(connection: sa.Connection, letters: Mapping[int, Letter]) -> None:
    rows = [
        {"letter_id": id_, "kind": kind, "cases": one.rows, "cases_sha256": one.sha256}
        for id_, letter in letters.items()
        for kind, one in cases_of(letter).items()
    ]
    if rows:
        connection.execute(sa.insert(schema.enclosures), rows)


def cases(connection: sa.Connection, letters: Collection[int]) -> dict[int, dict[str, Cases]]:
    """What goes with each of these letters (by id), by what it is."""
    e = schema.enclosures
    found: dict[int, dict[str, Cases]] = {}
    for row in connection.execute(
        sa.select(e.c.letter_id, e.c.kind, e.c.cases, e.c.cases_sha256)
        .where(e.c.letter_id.in_(letters))
        .order_by(e.c.id)
    ):
        one = Cases(rows=row.cases, sha256=row.cases_sha256)
        found.setdefault(row.letter_id, {})[row.kind] = one
    return found


def cases_of(letter: Letter) -> dict[str, Cases]:
    """What goes with a letter that was composed just now, by what it is."""
    return {
        kind: Cases(rows=[list(one) for one in rows], sha256=digest_of(rows))
        for kind, rows in letter.enclosures.items()
    }


def record(connection: sa.Connection, made: Collection[tuple[int, Collection[Enclosed]]]) -> None:
    """Put the workbooks of letters on record, with the letters' own files."""
    rows = [
        {"of": id_, "what": one.kind, "name": one.file, "digest": one.sha256}
        for id_, enclosed in made
        for one in enclosed
    ]
    if rows:
        connection.execute(_RECORD, rows)


def carry(connection: sa.Connection, letters: Mapping[int, int]) -> None:
    """Give letters of a run that was refreshed the workbooks of the old ones: ids, old to new."""
    record(
        connection,
        [(letters[old], enclosed) for old, enclosed in files(connection, list(letters)).items()],
    )


def files(connection: sa.Connection, letters: Collection[int]) -> dict[int, list[Enclosed]]:
    """The workbooks of these letters (by id), in the order in which they are attached."""
    e = schema.enclosures
    found: dict[int, list[Enclosed]] = {}
    for row in connection.execute(
        sa.select(e.c.letter_id, e.c.kind, e.c.file, e.c.sha256)
        .where(e.c.letter_id.in_(letters), e.c.file.is_not(None))
        .order_by(e.c.id)
    ):
        one = Enclosed(kind=row.kind, file=row.file, sha256=row.sha256)
        found.setdefault(row.letter_id, []).append(one)
    return found


def of(db: Database, letter_id: int) -> list[Enclosed]:
    """The workbooks of one letter, in the order in which they are attached."""
    with db.read() as connection:
        return files(connection, [letter_id]).get(letter_id, [])


def to_attach(db: Database, letter_id: int, fields: Mapping[str, Any]) -> list[Enclosed]:
    """The same, all of them: raises LetterFault if the letter speaks of any that is not there.

    `fields` are the letter's merge fields.
    """
    e = schema.enclosures
    with db.read() as connection:
        kinds = connection.scalars(sa.select(e.c.kind).where(e.c.letter_id == letter_id)).all()
        found = files(connection, [letter_id]).get(letter_id, [])
    if len(found) < len(kinds) or bool(fields.get("enclosures")) != bool(found):
        there = ", ".join(one.kind for one in found) or "nothing"
        raise LetterFault(
            f"What is to be enclosed is not whole: of {', '.join(kinds) or 'what it speaks of'} "
            f"the ledger has {there}. Nothing is sent without it; see what has changed the ledger."
        )
    return found


def digests(letter_id: sa.ColumnElement[int]) -> list[sa.Label[str]]:
    """Columns with the SHA-256 of each workbook of a letter, for `said_of`."""
    e = schema.enclosures
    return [
        sa.select(e.c.sha256)
        .where(e.c.letter_id == letter_id, e.c.kind == kind)
        .scalar_subquery()
        .label(f"enclosed_{kind}")
        for kind in CASES
    ]


def said_of(row: Any) -> list[list[str]]:
    """Kind and SHA-256 of all that goes with a letter, from a row with the columns of `digests`."""
    found = [[kind, getattr(row, f"enclosed_{kind}")] for kind in CASES]
    return [one for one in found if one[1] is not None]
