"""The files that the ledger names, of every run there ever was: what an archive must hold."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A letter's PDF, a message's frozen bytes or a returned mail, as the ledger has it.

    `name` is its name within the archive, `sha256` the hash it was put there with, in hex. Returned
    mail belongs to no year.
    """

    name: str
    sha256: str
    year: int | None
    authority: str
    authority_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many files there are to look for; what is forgotten is not looked for."""

    letters: int
    messages: int
    templates: int
    returned: int
    enclosures: int = 0


def years(db: Database) -> list[int]:
    """The years that have had a run, also one that was cancelled."""
    r = schema.runs
    with db.read() as connection:
        return list(connection.scalars(sa.select(r.c.year).distinct().order_by(r.c.year)))


def count(db: Database, year: int | None = None) -> Counts:
    """How many files of the year, or of all years, the ledger names."""
    m, found = schema.messages, _letters(year, forgotten=False).subquery()
    with db.read() as connection:
        return Counts(
            letters=connection.scalar(sa.select(sa.func.count()).select_from(found)) or 0,
            messages=connection.scalar(
                sa.select(sa.func.count()).select_from(
                    _of_year(
                        sa.select(m.c.id).where(m.c.eml.is_not(None)), year, forgotten=False
                    ).subquery()
                )
            )
            or 0,
            templates=len(_templates(connection, year)),
            returned=0 if year is not None else _count_returned(connection),
            enclosures=connection.scalar(
                sa.select(sa.func.count()).select_from(
                    _enclosures(year, forgotten=False).subquery()
                )
            )
            or 0,
        )


def templates(db: Database, year: int | None = None) -> list[tuple[int, str]]:
    """The latest year and the SHA-256 of every template that a run was opened with."""
    with db.read() as connection:
        return _templates(connection, year)


def letters(
    db: Database, year: int | None = None, *, forgotten: bool = False
) -> Iterator[NamedFile]:
    """Every PDF that must be there, or every one that must not, once, streamed in short reads.

    A refresh gives a file that did not change to its new run: it is told as that run's.
    """
    return _streamed(db, _letters(year, forgotten=forgotten), schema.letters.c.id)


def messages(
    db: Database, year: int | None = None, *, forgotten: bool = False
) -> Iterator[NamedFile]:
    """The frozen bytes of every message that was ever about to be sent, streamed, as `letters`."""
    table, m, r = schema.letters, schema.messages, schema.runs
    select = sa.select(
        m.c.id,
        m.c.eml.label("name"),
        m.c.eml_sha256.label("sha256"),
        r.c.year,
        table.c.authority_code.label("authority"),
        table.c.authority_name,
    ).where(m.c.eml.is_not(None))
    return _streamed(db, _of_year(select, year, forgotten=forgotten), m.c.id)


def enclosures(
    db: Database, year: int | None = None, *, forgotten: bool = False
) -> Iterator[NamedFile]:
    """The workbooks that go with letters, streamed, as `letters`."""
    return _streamed(db, _enclosures(year, forgotten=forgotten), schema.enclosures.c.id)


def _enclosures(year: int | None, *, forgotten: bool) -> sa.Select[Any]:
    table, e, r = schema.letters, schema.enclosures, schema.runs
    select = (
        sa.select(
            e.c.id,
            e.c.file.label("name"),
            e.c.sha256,
            r.c.year,
            table.c.authority_code.label("authority"),
            table.c.authority_name,
        )
        .join_from(e, table, table.c.id == e.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        # Of a file that a refresh has given to its new run, the new one speaks.
        .where(
            e.c.file.is_not(None),
            r.c.forgotten_at.is_not(None) == forgotten,
            e.c.id.in_(sa.select(sa.func.max(e.c.id)).group_by(e.c.file)),
        )
    )
    return select if year is None else select.where(r.c.year == year)


def returned(db: Database, *, forgotten: bool = False) -> Iterator[NamedFile]:
    """The mails that came back and were kept for a person, streamed, as `letters`."""
    mail = schema.returned_mail
    select = sa.select(
        mail.c.id,
        mail.c.kept.label("name"),
        mail.c.sha256,
        sa.null().label("year"),
        sa.literal("").label("authority"),
        sa.literal("").label("authority_name"),
    ).where(mail.c.kept.is_not(None), mail.c.forgotten_at.is_not(None) == forgotten)
    return _streamed(db, select, mail.c.id)


def _count_returned(connection: sa.Connection) -> int:
    mail = schema.returned_mail
    return (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(mail)
            .where(mail.c.kept.is_not(None), mail.c.forgotten_at.is_(None))
        )
        or 0
    )


def carriers(db: Database, pdf: str) -> list[tuple[str, str]]:
    """Name and SHA-256 of every frozen message that this PDF is attached to."""
    table, m = schema.letters, schema.messages
    with db.read() as connection:
        rows = connection.execute(
            sa.select(m.c.eml, m.c.eml_sha256)
            .join(table, table.c.id == m.c.letter_id)
            .where(table.c.pdf == pdf, m.c.eml.is_not(None))
            .order_by(m.c.id)
        ).all()
    return [(row.eml, row.eml_sha256) for row in rows]


def is_frozen(db: Database, message_id: str) -> bool:
    """Whether there is a message of this Message-ID whose bytes are on record."""
    m = schema.messages
    with db.read() as connection:
        found = connection.scalar(
            sa.select(m.c.id).where(m.c.message_id == message_id, m.c.eml.is_not(None))
        )
    return found is not None


def named(db: Database, names: Collection[str]) -> set[str]:
    """Which of these names within the archive are a letter's, a message's or a returned mail's."""
    table, m, mail = schema.letters, schema.messages, schema.returned_mail
    e = schema.enclosures
    with db.read() as connection:
        return {
            *connection.scalars(sa.select(e.c.file).where(e.c.file.in_(names))),
            *connection.scalars(sa.select(table.c.pdf).where(table.c.pdf.in_(names))),
            *connection.scalars(sa.select(m.c.eml).where(m.c.eml.in_(names))),
            *connection.scalars(sa.select(mail.c.kept).where(mail.c.kept.in_(names))),
        }


What = Literal["letter", "message", "enclosure", "returned mail"]


def forgotten(db: Database, names: Collection[str]) -> dict[str, tuple[What, NamedFile]]:
    """Which of these names are of what is forgotten, and of nothing that is kept; what it is."""
    table, m, r, mail = schema.letters, schema.messages, schema.runs, schema.returned_mail
    e = schema.enclosures
    about = (r.c.year, table.c.authority_code, table.c.authority_name)
    nobody = (sa.null().label("year"), sa.literal("").label("code"), sa.literal("").label("name"))
    selects: tuple[tuple[What, sa.Select[Any]], ...] = (
        (
            "letter",
            sa.select(table.c.pdf, table.c.pdf_sha256, r.c.forgotten_at, *about)
            .join(r, r.c.id == table.c.run_id)
            .where(table.c.pdf.in_(names)),
        ),
        (
            "message",
            sa.select(m.c.eml, m.c.eml_sha256, r.c.forgotten_at, *about)
            .join(table, table.c.id == m.c.letter_id)
            .join(r, r.c.id == table.c.run_id)
            .where(m.c.eml.in_(names)),
        ),
        (
            "enclosure",
            sa.select(e.c.file, e.c.sha256, r.c.forgotten_at, *about)
            .join_from(e, table, table.c.id == e.c.letter_id)
            .join(r, r.c.id == table.c.run_id)
            .where(e.c.file.in_(names)),
        ),
        (
            "returned mail",
            sa.select(mail.c.kept, mail.c.sha256, mail.c.forgotten_at, *nobody).where(
                mail.c.kept.in_(names)
            ),
        ),
    )
    found: dict[str, tuple[What, NamedFile]] = {}
    kept: set[str] = set()
    with db.read() as connection:
        for what, select in selects:
            for name, sha256, at, year, code, authority in connection.execute(select):
                if at is None:
                    kept.add(name)
                found[name] = (
                    what,
                    NamedFile(
                        name=name,
                        sha256=sha256,
                        year=year,
                        authority=code,
                        authority_name=authority,
                    ),
                )
    return {name: one for name, one in found.items() if name not in kept}


def _letters(year: int | None, *, forgotten: bool) -> sa.Select[Any]:
    table, r = schema.letters, schema.runs
    later, later_run = table.alias("later"), r.alias("later_run")
    kept = sa.exists().where(
        later_run.c.year == r.c.year,
        later_run.c.id > r.c.id,
        later.c.run_id == later_run.c.id,
        later.c.authority_code == table.c.authority_code,
        later.c.pdf == table.c.pdf,
        later.c.pdf_sha256 == table.c.pdf_sha256,
    )
    select = (
        sa.select(
            table.c.id,
            table.c.pdf.label("name"),
            table.c.pdf_sha256.label("sha256"),
            r.c.year,
            table.c.authority_code.label("authority"),
            table.c.authority_name,
        )
        .join(r, r.c.id == table.c.run_id)
        .where(table.c.pdf.is_not(None), ~kept, r.c.forgotten_at.is_not(None) == forgotten)
    )
    return select if year is None else select.where(r.c.year == year)


def _of_year(select: sa.Select[Any], year: int | None, *, forgotten: bool) -> sa.Select[Any]:
    table, m, r = schema.letters, schema.messages, schema.runs
    select = select.join_from(m, table, table.c.id == m.c.letter_id).join(
        r, r.c.id == table.c.run_id
    )
    select = select.where(r.c.forgotten_at.is_not(None) == forgotten)
    return select if year is None else select.where(r.c.year == year)


def _templates(connection: sa.Connection, year: int | None) -> list[tuple[int, str]]:
    r = schema.runs
    select = sa.select(sa.func.max(r.c.year), r.c.template_sha256).group_by(r.c.template_sha256)
    if year is not None:
        select = select.where(r.c.year == year)
    return [(row[0], row[1]) for row in connection.execute(select.order_by(sa.func.max(r.c.year)))]


def _streamed(db: Database, select: sa.Select[Any], id_: sa.Column[Any]) -> Iterator[NamedFile]:
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(select.where(id_ > last).order_by(id_).limit(_CHUNK)).all()
        for row in rows:
            yield NamedFile(
                name=row.name,
                sha256=row.sha256,
                year=row.year,
                authority=row.authority,
                authority_name=row.authority_name,
            )
        if not rows:
            return
        last = rows[-1].id
